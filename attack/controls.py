"""Experiments with a known answer.

`planted` copies must be found and `null` piles must show nothing: both go through the attack's real path from images
to probabilities, without training anything. `redrawn` and `blind` are run on the user's own data and printed beside
the result; they must show nothing either.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats
from sklearn import decomposition, linear_model, model_selection, pipeline, preprocessing

from attack import calibration, choice, crossfit, estimate, layout, model, target
from attack.combiners import MAXIMUM
from attack.crossfit import Labelled, Options
from attack.estimate import MeanAuc
from attack.signals.sight import Sight
from attack.statistics import ranking
from attack.target import Target
from attack.vectors import embeddings
from shadow import keys, membership
from shadow.config import AttackConfig, MembershipConfig

_TRIES = 20  # memberships drawn for one that is enough, where shadows are missing


@dataclass(frozen=True)
class SelfTest:
    """What the attack says of a case whose answer is known.

    two_way: its estimate on the shadows; score, probability [candidate]: of the target's candidates, with the answer
    label [candidate].
    """

    two_way: MeanAuc
    score: np.ndarray
    probability: np.ndarray
    label: np.ndarray


@dataclass(frozen=True)
class Size:
    """How large a self-test is."""

    shadows: int = 8
    dev: int = 40
    test: int = 40
    pile: int = 60
    side: int = 8
    draws: int = 1
    folds: int = 2


def _images(count: int, side: int, rng: np.random.Generator) -> np.ndarray:
    """Smooth random images float64 [count, side, side] around 128: each its own, all of one kind."""
    coarse = rng.normal(size=(count, side // 2, side // 2)).repeat(2, 1).repeat(2, 2)
    return 128 + 30 * coarse + 10 * rng.normal(size=(count, side, side))


def _pile(members: np.ndarray, copies: float, size: Size, rng: np.random.Generator) -> np.ndarray:
    """A pile of `size.pile` images, a share `copies` of them slightly disturbed members and the rest unrelated."""
    pile = _images(size.pile, size.side, rng)
    planted = round(copies * size.pile)
    chosen = rng.permutation(np.resize(np.arange(len(members)), planted))
    pile[:planted] = members[chosen] + rng.normal(size=(planted, size.side, size.side))
    return pile


@dataclass(frozen=True)
class Case:
    """The evidence of a self-test: what the shadows show, what the target shows, and the answer label [candidate]."""

    data: Labelled
    asked: Target
    label: np.ndarray


def evidence_of(copies: float, seed: int, size: Size) -> Case:
    """Piles of which a share `copies` are slightly disturbed members, measured; everything a function of `seed`."""
    rng = keys.generator(seed, "selftest")
    dev, test = _images(size.dev, size.side, rng), _images(size.test, size.side, rng)
    dev_ids = tuple(f"dev{i}" for i in range(size.dev))
    test_ids = tuple(f"test{i}" for i in range(size.test))
    held = membership.draw(dev_ids, size.shadows, MembershipConfig(unit="image", block=size.shadows), seed)
    label = np.arange(size.test) < size.test // 2
    dev_used = np.arange(size.dev) < size.dev // 2
    piles = [_pile(dev[held[k]], copies, size, rng) for k in range(size.shadows)]
    piles.append(_pile(np.concatenate([dev[dev_used], test[label]]), copies, size, rng))

    names, ids = AttackConfig().embeddings, (*dev_ids, *test_ids)
    plan = layout.plan(names, ("nearest", "ball", "mosaic", "votes"))
    real = {e: embeddings.embed(e, np.concatenate([dev, test])) for e in names}

    def measured(pile: np.ndarray) -> np.ndarray:
        return plan.measure(lambda e: [Sight(real[e], size.dev, ids, embeddings.embed(e, pile))])

    values = np.stack([measured(pile) for pile in piles])
    shadows, nobody = values[:-1], np.zeros((size.shadows, size.test), bool)
    bank = calibration.Bank(shadows[:, : size.dev], held, held, plan)
    other = calibration.Bank(shadows[:, size.dev :], nobody, nobody, plan)
    asked = Target(values[-1, : size.dev], values[-1, size.dev :], ~dev_used, other, test_ids)
    return Case(Labelled(bank, dev_ids, np.arange(size.dev)), asked, label.astype(int))


def run(copies: float, seed: int, size: Size | None = None, model_name: str = "logistic") -> SelfTest:
    """One experiment: `copies = 0` is the null (nothing to find), 1 plants every member."""
    size = size or Size()
    case = evidence_of(copies, seed, size)
    if model_name == MAXIMUM:
        whole = dataclasses.replace(case.data.bank, whole=True)
        case = dataclasses.replace(case, data=dataclasses.replace(case.data, bank=whole))
    options = Options(references=8, folds=size.folds, ridge=1.0, seed=seed, model=model_name)
    models = choice.nested(case.data, options)
    held = [crossfit.two_way(case.data, options, draw, models) for draw in range(size.draws)]
    logit, member = np.mean([h.logit for h in held], axis=0), case.data.bank.member
    recalibration = model.fit_recalibration(logit.ravel(), member.ravel().astype(float))
    score = target.score(case.data, case.asked, target.fit_draws(case.data, options, size.draws), options)
    return SelfTest(
        estimate.mean_auc(logit, member, case.data.group, size.test),
        score,
        recalibration.probability(score, 0.5),
        case.label,
    )


def planted(seed: int = 0, size: Size | None = None, model_name: str = "logistic") -> SelfTest:
    """Piles of slightly disturbed members: the attack must find nearly all of them."""
    return run(1.0, seed, size, model_name)


def null(seed: int = 0, size: Size | None = None, model_name: str = "logistic") -> SelfTest:
    """Piles of unrelated images: the interval must cover .5 and the probabilities must stay at the prior."""
    return run(0.0, seed, size, model_name)


def redrawn(
    data: Labelled,
    groups: tuple[str, ...],
    config: MembershipConfig,
    options: Options,
    auc: float,
    redraws: int,
    shadows: Sequence[int] | None = None,
    models: Sequence[Sequence[str]] | None = None,
) -> dict[str, Any]:
    """The two-way attack on memberships drawn anew at the unit's level, which no shadow was trained on.

    `shadows`: the rows of the data as numbers in the fleet (all in turn where None). Where some are missing, their rows
    of a matrix drawn anew are missing too, and one that leaves too few references is passed over. `models`: the
    combiner of each shadow and fold, those of the real attack (see `crossfit.two_way`). Returns a control row
    {"name", "auc", "interval", "p", "what", "result_p"}: mean and range of the AUCs; `p`, the chance that a single one
    lies as far above .5 as their mean does; `result_p`, the share of redrawn memberships (the real one counted in) that
    look as strong as the real one.
    """
    rows = list(range(len(data.bank.member)) if shadows is None else shadows)
    whole = -(-(max(rows) + 1) // config.block) * config.block
    aucs: list[float] = []
    for i in range(_TRIES * redraws):
        held = membership.draw(groups, whole, config, options.seed + 1_000_003 * (i + 1))[rows]
        if not calibration.enough(held, data.bank.ratio):
            continue
        bank = dataclasses.replace(data.bank, member=held, touched=membership.touched(held, groups, groups))
        other = dataclasses.replace(data, bank=bank)
        scores = crossfit.two_way(other, options, 0, models)
        aucs.append(estimate.mean_auc(scores.logit, held, data.group, len(data.ids)).auc)
        if len(aucs) == redraws:
            break
    if not aucs:
        return {"name": "membership redrawn", "auc": None, "why": "too few shadows are there to redraw who is in which"}
    found = np.array(aucs)
    spread = found.std(ddof=1) if len(aucs) > 1 else np.inf
    asked = f"{len(aucs)} memberships that no shadow was trained on"
    return {
        "name": "membership redrawn",
        "auc": float(found.mean()),
        "interval": [float(found.min()), float(found.max())],
        "p": float(stats.norm.sf((found.mean() - 0.5) / max(spread, 1e-9))),
        "what": f"The same attack asked about {asked}; range of the AUCs.",
        "result_p": float((1 + (found >= auc).sum()) / (1 + len(aucs))),
    }


def blind(images: np.ndarray, label: np.ndarray, groups: np.ndarray, seed: int) -> dict[str, Any]:
    """Can used and not-used dev slices be told apart without any generated image?

    images [dev image, height, width], label 0/1, groups int. A logistic regression on ten principal components of
    the slices, judged on groups it has not seen. Returns a control row; an AUC above .5 (one-sided p) is
    a finding about how the challenge was split (Das, Zhang and Tramer 2024, arXiv 2406.16201).
    """
    if len(set(label.tolist())) < 2:
        return {"name": "blind", "auc": None, "why": "no used and not-used slices are labelled"}
    folds = min(5, len(np.unique(groups)))
    parts = max(1, min(10, len(images) // 4))
    attack = pipeline.make_pipeline(
        decomposition.PCA(parts, svd_solver="full"), preprocessing.StandardScaler(), linear_model.LogisticRegression()
    )
    score = np.full(len(label), np.nan)
    splitter = model_selection.StratifiedGroupKFold(folds, shuffle=True, random_state=seed % 2**32)
    vectors = images.reshape(len(images), -1).astype(np.float64)
    if np.ptp(vectors, axis=0).max() < 1e-9:
        return {"name": "blind", "auc": None, "why": "the slices are all the same"}
    for fit, judge in splitter.split(vectors, label, groups):
        if len(set(label[fit].tolist())) == 2:
            score[judge] = attack.fit(vectors[fit], label[fit]).decision_function(vectors[judge])
    kept = np.isfinite(score)
    if len(set(label[kept].tolist())) < 2:
        return {"name": "blind", "auc": None, "why": "too few groups to judge it on slices it has not seen"}
    low, high = ranking.auc_interval_grouped(score[kept], label[kept], groups[kept])
    area, variance = ranking.delong(score[kept], label[kept])
    return {
        "name": "blind",
        "auc": area,
        "interval": [low, high],
        "p": float(stats.norm.sf((area - 0.5) / max(np.sqrt(variance), 1e-9))),
        "what": "A classifier that never sees a generated image, on the labelled development slices.",
    }

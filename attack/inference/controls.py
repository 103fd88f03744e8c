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
from sklearn import decomposition, pipeline, preprocessing

from attack.evidence import layout
from attack.evidence.embedded_pile import EmbeddedPile
from attack.evidence.embeddings import builtin
from attack.inference import calibration, crossfit, estimate, model, target
from attack.inference.crossfit import Labelled, Options
from attack.inference.estimate import MeanAuc
from attack.inference.target import Target
from attack.metrics import ranking
from shadow import keys
from shadow.config import AttackConfig, MembershipConfig
from shadow.training import membership

_DEALS = 999  # of the roles for the control `blind`: its p is a multiple of .001
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

    names = AttackConfig().embeddings
    plan = layout.plan(names, ("nearest", "ratio", "mosaic", "votes"))
    real = {e: builtin.embed(e, np.concatenate([dev, test])) for e in names}

    def measured(pile: np.ndarray) -> np.ndarray:
        return plan.signals(plan.measure(lambda e: EmbeddedPile(real[e], builtin.embed(e, pile))))

    values = np.stack([measured(pile) for pile in piles])
    shadows, nobody = values[:-1], np.zeros((size.shadows, size.test), bool)
    about = calibration.ShadowSignals(
        shadows, shadows[None], np.hstack([held, nobody]), np.hstack([held, nobody]), plan.names
    )
    shadow_signals, other = about.about(np.arange(size.dev)), about.about(size.dev + np.arange(size.test))
    asked = Target(values[-1, : size.dev], values[-1, size.dev :], ~dev_used, other, test_ids)
    return Case(Labelled(shadow_signals, dev_ids, np.arange(size.dev)), asked, label.astype(int))


def run(copies: float, seed: int, size: Size | None = None) -> SelfTest:
    """One experiment: `copies = 0` is the null (nothing to find), 1 plants every member."""
    size = size or Size()
    case = evidence_of(copies, seed, size)
    options = Options(references=8, folds=size.folds, ridge=1.0, seed=seed)
    held = [crossfit.two_way(case.data, options, draw) for draw in range(size.draws)]
    logit, member = np.mean([h.logit for h in held], axis=0), case.data.shadow_signals.member
    recalibration = model.fit_recalibration(logit.ravel(), member.ravel().astype(float))
    score = target.score(case.data, case.asked, target.fit_draws(case.data, options, size.draws), options)
    return SelfTest(
        estimate.mean_auc(logit, member, case.data.group, size.test),
        score,
        recalibration.probability(score, 0.5),
        case.label,
    )


def planted(seed: int = 0, size: Size | None = None) -> SelfTest:
    """Piles of slightly disturbed members: the attack must find nearly all of them."""
    return run(1.0, seed, size)


def null(seed: int = 0, size: Size | None = None) -> SelfTest:
    """Piles of unrelated images: the interval must cover .5 and the probabilities must stay at the prior."""
    return run(0.0, seed, size)


@dataclass(frozen=True)
class Redraw:
    """A membership that no shadow was trained on, member bool [shadow, candidate].

    logit: the attack's two-way held-out log odds for it, [shadow, candidate]."""

    member: np.ndarray
    logit: np.ndarray


def redraw(
    data: Labelled,
    groups: tuple[str, ...],
    config: MembershipConfig,
    options: Options,
    redraws: int,
    shadows: Sequence[int] | None = None,
) -> tuple[Redraw, ...]:
    """The two-way attack on up to `redraws` memberships drawn anew at the unit's level, which no shadow was trained on.

    `shadows`: the rows of the data as numbers in the fleet (all in turn where None). Where some are missing, their rows
    of a matrix drawn anew are missing too, and one that leaves too few references is passed over.

    Each redraw has its own order of references (its number is the draw). The piles are the same for all redraws. With
    one order as well, all their AUCs would share a chance effect. References of an image are the first in the order
    that do not hold it, and a member has one more to choose from than a non-member. So the expected AUC, given piles
    and order, is not .5: on the demo's 8 shadows it lay between .499 and .506 for four orders. With an order of its own
    the references of a redraw are a uniform choice, for members and non-members alike.
    """
    rows = list(range(len(data.shadow_signals.member)) if shadows is None else shadows)
    whole = -(-(max(rows) + 1) // config.block) * config.block
    found: list[Redraw] = []
    for i in range(_TRIES * redraws):
        held = membership.draw(groups, whole, config, options.seed + 1_000_003 * (i + 1))[rows]
        if not calibration.enough(held):
            continue
        shadow_signals = dataclasses.replace(
            data.shadow_signals, member=held, holds_relative=membership.holds_relative(held, groups, groups)
        )
        other = dataclasses.replace(data, shadow_signals=shadow_signals)
        found.append(Redraw(held, crossfit.two_way(other, options, i).logit))
        if len(found) == redraws:
            break
    return tuple(found)


def redrawn(found: Sequence[Redraw], auc: float) -> dict[str, Any]:
    """What `redraw` found, beside the real attack's `auc`, both not weighted.

    Returns a control row {"name", "auc", "interval", "p", "what", "result_p"}. "auc" and "interval" are the mean and
    the range of the within-shadow AUCs. `p` is one-sided, of a test that their mean lies above .5: Student's t with
    redraws - 1 degrees of freedom, None for a single redraw. `result_p` is the share of redrawn memberships (the real
    one counted in) that look as strong as the real one. Where there is no redraw, "auc" is None and "why" says so.
    """
    if not found:
        return {"name": "membership redrawn", "auc": None, "why": "too few shadows are there to redraw who is in which"}
    aucs = np.array([estimate.mean_within(drawn.logit, drawn.member) for drawn in found])
    p = None
    if len(aucs) > 1:
        error = max(float(aucs.std(ddof=1)) / np.sqrt(len(aucs)), 1e-9)
        p = float(stats.t.sf((aucs.mean() - 0.5) / error, len(aucs) - 1))
    asked = f"{len(aucs)} memberships that no shadow was trained on"
    return {
        "name": "membership redrawn",
        "auc": float(aucs.mean()),
        "interval": [float(aucs.min()), float(aucs.max())],
        "p": p,
        "what": f"The same attack asked about {asked}; range of the AUCs.",
        "result_p": float((1 + (aucs >= auc).sum()) / (1 + len(aucs))),
    }


def blind(images: np.ndarray, label: np.ndarray, groups: np.ndarray, seed: int) -> dict[str, Any]:
    """Can used and not-used dev slices be told apart without any generated image?

    images [dev image, height, width], label 0/1, groups int [dev image]. A linear discriminant (least squares) of ten
    principal components of the slices, judged on groups that it has not seen. The AUC is the mean of the AUCs within
    folds, a fold weighing as its pairs: scores of two folds are of two discriminants, and pooled they push the AUC of a
    random split below .5.

    Returns a control row. `p`, one-sided, compares the AUC with those of roles that are dealt anew within the folds,
    `_DEALS` times: groups of one role swap theirs, and in a group of both its slices do. It holds for a split by slice
    and for one by patient. A low `p` is a finding about how the challenge was split (Das, Zhang and Tramer 2024, arXiv
    2406.16201). The interval is Student's t on the logit scale, with the larger of two variances: that of groups, and
    that of dealing.
    """
    label = np.asarray(label).astype(int)
    if len(set(label.tolist())) < 2:
        return {"name": "blind", "auc": None, "why": "no used and not-used slices are labelled"}
    vectors = images.reshape(len(images), -1).astype(np.float64)
    if np.ptp(vectors, axis=0).max() < 1e-9:
        return {"name": "blind", "auc": None, "why": "the slices are all the same"}
    number = np.unique(groups, return_inverse=True)[1].reshape(-1)
    fold = _blind_folds(label, number, seed)
    parts = max(1, min(10, len(images) // 4))
    # Fitted on all slices: it sees no label, and so no deal of the roles needs its own.
    seen = pipeline.make_pipeline(decomposition.PCA(parts, svd_solver="full"), preprocessing.StandardScaler())
    dealt = _dealt(label, number, fold, keys.generator(seed, "blind/deals"))
    score = _discriminant(seen.fit_transform(vectors), dealt, fold)
    placed, pairs = _within_folds(score, dealt, fold)
    if not pairs[0] > 0:
        return {"name": "blind", "auc": None, "why": "too few groups to judge it on slices it has not seen"}
    aucs = placed[pairs > 0] / pairs[pairs > 0]
    area = float(aucs[0])
    variance = max(
        _group_variance(score[:, 0], label, number, fold, area),
        # The spread of deals is that at .5, which shrinks towards 0 and 1 as A (1 - A) does on the logit scale.
        float(aucs[1:].var()) * (4 * area * (1 - area)) ** 2 if len(aucs) > 1 else 0.0,
    )
    trials = min(len(np.unique(number[label == kind])) for kind in (0, 1))
    return {
        "name": "blind",
        "auc": area,
        "interval": list(estimate.interval(area, variance, max(trials - 1, 1), trials)),
        "p": float((1 + (aucs[1:] >= area - 1e-12).sum()) / len(aucs)),
        "what": "A classifier that never sees a generated image, on the labelled development slices.",
    }


def _blind_folds(label: np.ndarray, number: np.ndarray, seed: int) -> np.ndarray:
    """Fold of each slice, int [slice]: groups in random order, those of each role (used, not used, both) dealt in turn,
    so that each fold holds every role where there are enough groups."""
    share = np.bincount(number, label) / np.bincount(number)
    order = keys.generator(seed, "blind/folds").permutation(len(share))
    role = np.where(share == 1, 2, np.where(share == 0, 0, 1))
    order = order[np.argsort(role[order], kind="stable")]
    scarcest = min(int(np.sum(share > 0)), int(np.sum(share < 1)))
    count = int(np.clip(min(scarcest, len(share) // 2), 2, 5))
    fold = np.empty(len(share), int)
    fold[order] = np.arange(len(share)) % count
    return fold[number]


def _dealt(label: np.ndarray, number: np.ndarray, fold: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Roles 0/1 [slice, 1 + _DEALS]: first the real ones, then deals as in `blind`."""
    dealt = np.repeat(label[:, None], 1 + _DEALS, 1)
    share = np.bincount(number, label) / np.bincount(number)
    pure = (share == 0) | (share == 1)
    of_group = np.zeros(len(share), int)
    of_group[number] = fold
    for f in range(int(fold.max()) + 1):
        mine = np.flatnonzero(pure & (of_group == f))
        if len(mine):
            roles = rng.permuted(np.repeat(share[mine].astype(int)[:, None], _DEALS, 1), axis=0)
            here = pure[number] & (fold == f)
            dealt[here, 1:] = roles[np.searchsorted(mine, number[here])]
    for g in np.flatnonzero(~pure):
        here = number == g
        dealt[here, 1:] = rng.permuted(dealt[here, 1:], axis=0)
    return dealt


def _discriminant(vectors: np.ndarray, dealt: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Scores [slice, deal]: the least-squares direction of the roles `dealt` [slice, deal] in `vectors` [slice, part],
    fitted on the other folds. The ridge of 1 is that of scikit-learn's logistic regression by default."""
    score = np.zeros(dealt.shape)
    for f in range(int(fold.max()) + 1):
        fit, judge = fold != f, fold == f
        inside = vectors[fit] - vectors[fit].mean(0)
        roles = dealt[fit] - dealt[fit].mean(0)
        score[judge] = vectors[judge] @ np.linalg.solve(inside.T @ inside + np.eye(inside.shape[1]), inside.T @ roles)
    return score


def _within_folds(score: np.ndarray, dealt: np.ndarray, fold: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of a used and a not-used slice in one fold that are in the right order (ties one half), and all such pairs:
    each [deal]; `score` and `dealt` [slice, deal]."""
    right, pairs = np.zeros((2, dealt.shape[1]))
    for f in range(int(fold.max()) + 1):
        roles = dealt[fold == f]
        members = roles.sum(0)
        ranks = stats.rankdata(score[fold == f], axis=0)
        right += (ranks * roles).sum(0) - members * (members + 1) / 2
        pairs += members * (len(roles) - members)
    return right, pairs


def _group_variance(score: np.ndarray, label: np.ndarray, number: np.ndarray, fold: np.ndarray, area: float) -> float:
    """Variance of the AUC within folds, `area`, clustered by group: DeLong's influences [slice] summed over groups."""
    influence, pairs = np.zeros(len(label)), 0
    for f in range(int(fold.max()) + 1):
        here = fold == f
        members = int(label[here].sum())
        others = int(here.sum()) - members
        if members and others:
            placed = ranking.placements(score[here], label[here]) - area
            influence[here] = placed * np.where(label[here] == 1, others, members)
            pairs += members * others
    sums = np.bincount(number, influence) / pairs
    return len(sums) / max(len(sums) - 1, 1) * float(sums @ sums)

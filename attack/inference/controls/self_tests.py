"""Cases with a known answer, without training: planted copies must be found, piles of nobody must show nothing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from attack.evidence import layout
from attack.evidence.embedded_pile import EmbeddedPile
from attack.evidence.embeddings import builtin
from attack.inference import crossfit, estimate, model, target
from attack.inference.crossfit import Labelled, Options
from attack.inference.estimate import MeanAuc
from attack.inference.shadow_signals import ShadowSignals
from attack.inference.target import Target
from shadow import keys
from shadow.config import AttackConfig, MembershipConfig
from shadow.training import membership


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
    about = ShadowSignals(shadows, shadows[None], np.hstack([held, nobody]), np.hstack([held, nobody]), plan.names)
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

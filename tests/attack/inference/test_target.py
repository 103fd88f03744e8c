"""What a target's pile shows of its candidates, against a loop."""

import dataclasses

import numpy as np
import pytest
from naive_expectation import held_out, means, residuals

from attack.inference import calibration, crossfit, reference_choice, target
from attack.inference.crossfit import Labelled, Options
from attack.inference.shadow_signals import ShadowSignals
from attack.metrics import ranking
from shadow.config import MembershipConfig
from shadow.training import membership

GROUPS, SHADOWS = 60, 8
OPTIONS = Options(references=8, folds=2, ridge=1.0, seed=0)


def world(seed, relatives=2.0):
    """Signals of piles at two training steps that show the slices they hold, late more than early, and their relatives
    by so much: three dev slices and two candidates a group. Each slice lies so near to any pile. (data, target, used
    bool [candidate])."""
    rng = np.random.default_rng(seed)
    dev, test = np.repeat(np.arange(GROUPS), 3), np.repeat(np.arange(GROUPS), 2)
    names = [f"g{g}" for g in dev]
    held = membership.draw(names, SHADOWS, MembershipConfig(unit="mixed", block=SHADOWS), seed)
    mine = rng.random(len(dev) + len(test)) < 0.5  # in the target's training set
    group = np.concatenate([dev, test])
    level = rng.normal(0, 4, len(group))

    def shown(inside, share):
        near = np.bincount(group, inside, GROUPS)[group] > inside
        value = level + rng.normal(size=len(group)) + share * (4 * inside + relatives * (near & ~inside))
        return value[:, None]

    rows = [np.concatenate([row, np.zeros(len(test), bool)]) for row in held]
    steps = np.array([[shown(row, share) for row in rows] for share in (0.5, 1.0)])
    ids = tuple(f"c{i}" for i in range(len(test)))
    no_reference = membership.draw(
        ids, SHADOWS, MembershipConfig(unit="image", block=SHADOWS), seed
    )  # are no references
    sides = (steps[:, :, : len(dev)], held), (steps[:, :, len(dev) :], no_reference)
    shadow_signals, other = (ShadowSignals(side[1], side, member, member, ("mosaic",)) for side, member in sides)
    pile = shown(mine, 1.0)
    asked_about = target.Target(pile[: len(dev)], pile[len(dev) :], ~mine[: len(dev)], other, ids)
    return Labelled(shadow_signals, tuple(f"d{i}" for i in range(len(dev))), dev), asked_about, mine[len(dev) :]


def relative(shadow_signals, ids, count):
    """References' means [step, image, column], by a loop over the shadows in their order."""
    order, chosen = reference_choice.priorities(ids, SHADOWS, 0, 0), []
    for x in range(len(ids)):
        free = [m for m in range(SHADOWS) if not shadow_signals.member[m, x]]
        chosen.append(sorted(free, key=lambda m: order[x, m])[:count])
    return means(shadow_signals, chosen)


def naive_known(data, asked, left):
    """Residuals of the pool's images on the target's pile, each by weights of the other folds, not `left`."""
    shown = relative(data.shadow_signals, data.ids, 2)  # half of 8 shadows lack an image, and two stand aside
    return held_out(asked.pile_pool, shown, crossfit.folds(data.group, 2, 0)[data.group], left)


@pytest.mark.parametrize("presumed", [False, True])
@pytest.mark.parametrize("aside", [False, True])
def test_candidates_on_a_target_against_a_loop(presumed, aside):
    """What is expected of them is fitted on the whole pool, and the unit is of the images of the mask alone, known by
    what is fitted without their fold."""
    data, asked, _ = world(0)
    some = np.arange(len(data.ids)) < 100
    asked = dataclasses.replace(asked, null=some if presumed else asked.null & some, presumed=presumed)
    out = np.arange(GROUPS) % 7 == 0 if aside else None
    left = np.zeros(len(data.ids), bool) if out is None else out[data.group]
    known = naive_known(data, asked, left)
    pool, shown = relative(data.shadow_signals, data.ids, 2), relative(asked.shadow_signals, asked.ids, 2)
    own = np.concatenate([asked.pile_pool, asked.pile_candidates])
    both = residuals(own, np.concatenate([pool, shown], 1), np.concatenate([~left, np.zeros(len(asked.ids), bool)]))
    mine = both[len(data.ids) :]
    null, pooled = known[asked.null], np.array([2.0])
    mean, square, count = null.mean(0), null.var(0), len(null)
    if presumed:
        found = calibration.shadow_residuals(
            data.shadow_signals, reference_choice.priorities(data.ids, SHADOWS, 0, 0), 2
        )
        nulls = calibration.presumed_nulls(null, found.outside(left), ~data.shadow_signals.member, pooled)
        mean = nulls.total[0] / count
        square = nulls.square[0] / count - mean**2
    wanted = np.clip((mine - mean) / np.sqrt((count * square + 10 * pooled) / (count + 10)), -8, 8)
    np.testing.assert_allclose(target.candidate_z(data, asked, pooled, OPTIONS, 0, out), wanted, atol=1e-8)


def test_a_slice_of_the_pool_is_as_new_as_a_candidate():
    """Asked about as a candidate, it is in no expectation of its own."""
    data, asked, _ = world(1)
    dev = dataclasses.replace(asked, pile_candidates=asked.pile_pool, shadow_signals=data.shadow_signals, ids=data.ids)
    known, pooled = naive_known(data, asked, np.zeros(len(data.ids), bool)), np.ones(1)
    null = known[asked.null]
    spread = np.sqrt((len(null) * null.var(0) + 10) / (len(null) + 10))
    wanted = np.clip((known - null.mean(0)) / spread, -8, 8)
    np.testing.assert_allclose(target.candidate_z(data, dev, pooled, OPTIONS, 0), wanted, atol=1e-8)


def test_dev_slices_on_a_target_are_in_nothing_that_is_fitted_for_them():
    data, asked, _ = world(0)
    dev = dataclasses.replace(asked, pile_candidates=asked.pile_pool, shadow_signals=data.shadow_signals, ids=data.ids)
    fold, found = crossfit.folds(data.group, 2, 0), target.score_pools(data, [dev], OPTIONS, 1)[0]
    assert ranking.auc(found, (~asked.null).astype(int)) > 0.85
    for f in range(2):
        out = fold == f
        hidden = out[data.group]
        ((combiner, pooled),) = target.fit_draws(data, OPTIONS, 1, out)
        z = target.candidate_z(data, dev, pooled, OPTIONS, 0, out)
        np.testing.assert_array_equal(found[hidden], combiner.logit(z)[hidden])
        rng, shown = (
            np.random.default_rng(f),
            [data.shadow_signals.values.copy(), data.shadow_signals.references.copy()],
        )
        for values in shown:
            values[..., hidden, :] = rng.normal(0, 9, values[..., hidden, :].shape)
        pile = np.where(hidden[:, None], rng.normal(0, 9, dev.pile_pool.shape), dev.pile_pool)
        shadow_signals = dataclasses.replace(data.shadow_signals, values=shown[0], references=shown[1])
        garbled = dataclasses.replace(data, shadow_signals=shadow_signals)
        ((other, variance),) = target.fit_draws(garbled, OPTIONS, 1, out)
        np.testing.assert_array_equal((other.weights, variance), (combiner.weights, pooled))
        known = dataclasses.replace(asked, null=asked.null & ~hidden)  # else the pile's mean would tell
        spoilt = dataclasses.replace(known, pile_pool=pile)
        one = target.candidate_z(data, known, pooled, OPTIONS, 0, out)
        two = target.candidate_z(garbled, spoilt, pooled, OPTIONS, 0, out)
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("presumed", [False, True])
def test_a_score_is_of_its_candidate_alone_to_the_last_bit(presumed):
    data, asked, used = world(2)
    asked = dataclasses.replace(asked, null=asked.null | presumed, presumed=presumed)
    fitted = target.fit_draws(data, OPTIONS, 2)
    whole = target.score(data, asked, fitted, OPTIONS)
    assert ranking.auc(whole, used.astype(int)) > 0.9
    for some in ([3], [11, 2, 7], list(range(50, 120))):
        few = dataclasses.replace(
            asked,
            pile_candidates=asked.pile_candidates[some],
            shadow_signals=asked.shadow_signals.about(np.array(some)),
            ids=tuple(asked.ids[i] for i in some),
        )
        np.testing.assert_array_equal(target.score(data, few, fitted, OPTIONS), whole[some])

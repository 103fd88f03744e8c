"""Recalibration on dev labels against a plain minimiser, its limits, and the step rule against all orders."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, special

from attack import metrics
from attack.decision import dev_evaluation, platt
from attack.decision.platt import Labels, ShadowPairs
from attack.inference import model
from shadow.config import Config
from shadow.errors import UserError
from shadow.validate import validate

NONE = Labels(np.zeros(0), np.zeros(0, int), np.zeros(0, int))


def pairs(count=400, seed=0):
    """Scores whose true log odds are 2 x score."""
    label = np.arange(count) % 2
    return ShadowPairs(np.random.default_rng(seed).normal(size=count) + 2.0 * label - 1.0, label)


def slices(count, seed=1, drop=1.0, size=2):
    """As `pairs`, but members are `drop` lower: the target gives them away less. Groups of `size` slices."""
    score = pairs(count, seed).score - drop * (np.arange(count) % 2)
    return Labels(score, np.arange(count) % 2, np.arange(count) // size)


def test_the_fit_is_the_minimum_of_the_loss_written_out():
    dev, shadows = slices(30), pairs(60)

    def loss(theta):
        scale = np.concatenate([dev.score, shadows.score]).std()
        total = (30 + platt.SHADOWS_WORTH) * 5e-4 * (theta[0] * scale) ** 2  # Platt's slope is held finite
        for found, worth in ((dev, len(dev.label)), (shadows, platt.SHADOWS_WORTH)):
            for kind in (0, 1):
                margin = theta[0] * found.score[found.label == kind] + theta[1]
                total += worth / 2 * np.mean(-np.log(special.expit(margin if kind else -margin)))
        return total

    wanted = optimize.minimize(loss, [1.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12}).x
    got = platt.fit(dev, shadows)
    assert (got.slope, got.offset) == pytest.approx(wanted, abs=1e-3)


def test_no_dev_slices_give_the_shadows_map_and_one_class_alone_too():
    shadows = pairs()
    wanted = model.fit_recalibration(shadows.score, shadows.label.astype(float))
    one = Labels(np.array([5.0, 6.0]), np.array([1, 1]), np.array([0, 1]))
    for dev in (NONE, one):
        got = platt.fit(dev, shadows)
        assert (got.slope, got.offset) == pytest.approx((wanted.slope, wanted.offset), abs=1e-3)


def test_many_dev_slices_give_their_own_map():
    dev = slices(8000)  # means -1 and 0, variance 1: true log odds are score + 1 / 2
    got = platt.fit(dev, pairs())
    assert (got.slope, got.offset) == pytest.approx((1.0, 0.5), abs=0.08)


def test_the_slope_is_never_negative():
    dev = slices(200, drop=6.0)  # members score lower
    assert platt.fit(dev, pairs(10)).slope == pytest.approx(0.0, abs=1e-9)


def test_counts_are_repetitions():
    dev, shadows = slices(40), pairs(50)
    counts = np.random.default_rng(2).integers(0, 3, 40)
    again = np.repeat(np.arange(40), counts)
    a = platt.fit(dev, shadows, counts.astype(float))
    b = platt.fit(Labels(dev.score[again], dev.label[again], dev.group[again]), shadows)
    assert (a.slope, a.offset) == pytest.approx((b.slope, b.offset), abs=1e-3)


def test_cross_validated_figures_do_not_know_the_labels_they_are_judged_by():
    dev, shadows = slices(40), pairs()
    before = platt.cross_validated(dev, shadows, 4, 0)
    group = dev.group == dev.group[7]
    turned = Labels(dev.score, np.where(group, 1 - dev.label, dev.label), dev.group)
    after = platt.cross_validated(turned, shadows, 4, 0)
    np.testing.assert_array_equal(before[group], after[group])
    assert (before != after).any()  # other folds learn from them


@settings(deadline=None)  # a busy machine is no fault
@given(st.integers(1, 60), st.sampled_from([0.05, 0.1, 0.29, 0.4]))
def test_the_step_rule_over_all_places_of_a_new_slice(count, share):
    """Of n + 1 equally likely values the new one is each in turn: those it is flagged at are at most the share, and one
    step lower would be too many."""
    values = np.arange(count + 1.0)
    flagged = lower = 0
    for new in values:
        rest = np.delete(values, int(new))
        found = platt.threshold(np.random.default_rng(0).permutation(rest), share)
        if found is None:
            assert np.floor(round(share * (count + 1), 9)) < 2
            return
        flagged += new >= found
        below = np.sort(rest[rest < found])  # the next threshold down flags all above the second highest of these
        lower += new > (below[-2] if len(below) > 1 else -1.0)
    assert flagged <= share * (count + 1) + 1e-9 < lower
    assert flagged >= 2


@pytest.mark.parametrize(("count", "share"), [(19, 0.1), (30, 0.1), (80, 0.29)])
def test_what_a_threshold_flags_lies_within_its_limits(count, share):
    """Of uniform scores a threshold t flags a new one with a chance of 1 - t: no distribution is needed to know it."""
    limits = platt.fpr_interval(count, share)
    assert limits is not None
    sets = np.random.default_rng(0).random((20_000, count))
    chance = np.array([1 - platt.threshold(scores, share) for scores in sets])
    assert chance.mean() <= share + 0.002
    for part, limit in zip((0.025, 0.975), limits, strict=True):
        assert np.mean(chance < limit) == pytest.approx(part, abs=0.004)


def test_without_a_threshold_there_are_no_limits():
    assert platt.fpr_interval(18, 0.1) is None
    assert platt.threshold(np.arange(18.0), 0.1) is None


def test_ties_stay_below_the_threshold():
    found = platt.threshold(np.zeros(50), 0.1)
    assert 0 < found < 1e-300


def test_unseen_candidates_of_a_generator_that_leaks_less_are_calibrated():
    """The fault it was made for: members of the target score lower than those of shadows."""
    shadows, dev = pairs(2000), slices(160, drop=1.5)
    asked = slices(4000, seed=9, drop=1.5)
    plain = model.fit_recalibration(shadows.score, shadows.label.astype(float))
    before = metrics.ece(plain.probability(asked.score, 0.5), asked.label)
    after = metrics.ece(platt.fit(dev, shadows).probability(asked.score, 0.5), asked.label)
    assert before > 0.2
    assert after < 0.08


def test_figures_before_and_after_are_given():
    shadows, dev = pairs(), slices(80, drop=1.5)
    plain = model.fit_recalibration(shadows.score, shadows.label.astype(float))
    other = dataclasses.replace(dev, score=dev.score - 1)
    found = dev_evaluation.recalibrated(dev, other, shadows, plain, 5, 0)
    measured = dev_evaluation.measured(other, plain, True, 0)
    assert found.before.brier == measured.brier
    assert measured.brier.value == pytest.approx(
        np.mean((plain.probability(other.score, 0.5) - dev.label) ** 2), abs=1e-12
    )
    assert found.cross_validated.brier.value < found.before.brier.value
    for figure in vars(found.cross_validated).values():
        assert figure.low <= figure.value <= figure.high
    mapped = platt.fit(dev, shadows)
    assert (found.slope, found.offset, found.slices) == (mapped.slope, mapped.offset, 80)


def test_dev_labels_of_another_generator_are_refused():
    config = Config()
    config.attack.recalibrate = "dev"
    for said in ("auto", "false"):  # whoever insists on dev labels says that one generator made both piles
        config.attack.same_generator = said
        with pytest.raises(UserError, match=r"attack\.recalibrate.*same_generator"):
            validate(config)
    config.attack.same_generator = "true"
    validate(config)
    config.fleet.shadows = 0
    with pytest.raises(UserError, match=r"attack\.recalibrate.*only with shadows"):
        validate(config)
    config.fleet.shadows = 8
    config.attack.recalibrate = "test"
    with pytest.raises(UserError, match="recalibrate"):
        validate(config)

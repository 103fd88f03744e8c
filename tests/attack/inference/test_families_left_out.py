"""Families are left out whole, and gains have the error that they say."""

import dataclasses

import numpy as np
import pytest
from naive_expectation import means, residuals

from attack.inference import calibration, controls, crossfit, estimate, reference_choice
from attack.inference.ablation import families_left_out
from attack.inference.crossfit import Options


@pytest.fixture(scope="module")
def leaky():
    return controls.evidence_of(0.3, 1, controls.Size(test=4)).data


@pytest.fixture(scope="module")
def two_families():
    data = controls.evidence_of(0.3, 2, controls.Size(shadows=16, dev=24, test=4)).data
    return dataclasses.replace(data, family=np.arange(16) // 8)


def garbled(data, shadows):
    """Other evidence of these shadows."""
    rng = np.random.default_rng(5)
    shown = data.shadow_signals.values.copy(), data.shadow_signals.references.copy()
    for values in shown:
        values[..., shadows, :, :] = rng.normal(size=values[..., shadows, :, :].shape)
    return dataclasses.replace(
        data, shadow_signals=dataclasses.replace(data.shadow_signals, values=shown[0], references=shown[1])
    )


def test_paired_gain_is_the_difference_of_naive_aucs():
    rng = np.random.default_rng(4)
    member = rng.random((5, 20)) < 0.5
    a, b = np.round(rng.normal(size=(2, 5, 20)), 1)

    def naive(score):
        each = []
        for s, m in zip(score, member, strict=True):
            each.append(np.mean([(i > o) + 0.5 * (i == o) for i in s[m] for o in s[~m]]))
        return np.mean(each)

    gain, error = estimate.paired_gain(a, b, member, np.arange(20))
    assert gain == pytest.approx(naive(a) - naive(b))
    assert estimate.mean_within(a, member) == pytest.approx(naive(a))
    assert 0.01 < error < 0.3


def test_the_error_of_a_gain_is_its_spread():
    """Independent noise: over replicates the gain varies as the standard error says."""
    rng = np.random.default_rng(6)
    member = np.array([rng.permutation(30) < 15 for _ in range(6)])
    found = np.array([estimate.paired_gain(*rng.normal(size=(2, 6, 30)), member, np.arange(30)) for _ in range(150)])
    assert found[:, 1].mean() == pytest.approx(found[:, 0].std(), rel=0.25)
    assert abs(found[:, 0].mean()) < 0.02


def test_a_family_left_out_is_in_nothing_fitted(two_families):
    options = Options(8, 3, 0.1, 0)
    one, two = (
        families_left_out.leave_one_out(data, options, 0) for data in (two_families, garbled(two_families, [8]))
    )
    np.testing.assert_array_equal(one.logit[9:], two.logit[9:])  # family 1: fitted on family 0 alone
    assert (one.logit[8] != two.logit[8]).any()
    assert (one.logit[:8] != two.logit[:8]).any()


def test_a_family_left_out_as_a_naive_loop_has_it(two_families):
    data, options = two_families, Options(8, 3, 0.1, 0)
    found = families_left_out.leave_one_out(data, options, 0)
    fold = crossfit.folds(data.group, 3, 0)
    known = data.only(np.arange(8))
    order = reference_choice.priorities(data.ids, 16, 0, 0)[:, :8]
    count = min(sum(not held for held in column) for column in known.shadow_signals.member.T.tolist()) - 1
    references = reference_choice.choose_references(known.shadow_signals, order, count)
    k, f = 12, 1
    here = fold[data.group] == f
    each = []
    for j in range(8):
        chosen = reference_choice.choose_references(known.shadow_signals, order, count, (j,))
        each.append(residuals(known.shadow_signals.values[j], means(known.shadow_signals, chosen), ~here))
    combiner, pooled = crossfit.fit_on(np.stack(each), known, range(8), fold == f, 0.1)
    own = residuals(data.shadow_signals.values[k], means(known.shadow_signals, references), ~here)
    nulls = calibration.null_sums(own, ~data.shadow_signals.member[k], data.group, data.groups)
    wanted = combiner.logit(calibration.standardise(own, nulls, pooled))[here]
    np.testing.assert_allclose(found.logit[k, here], wanted, rtol=1e-6)
    assert np.isfinite(found.logit).all()


def test_leaving_out_needs_two_families(leaky):
    with pytest.raises(ValueError, match="two families"):
        families_left_out.leave_one_out(leaky, Options(8, 3, 0.1, 0), 0)


def test_spread_is_the_textbooks_random_effects():
    """Moments of a simulated nest: families with deviation .1, shadows with .05."""
    rng = np.random.default_rng(1)
    family = np.repeat(np.arange(5), 4)
    draws = rng.normal(0, 0.1, (4000, 5))[:, family] + rng.normal(0, 0.05, (4000, 20))
    found = np.array([estimate.spread(a, family) for a in draws])
    assert found[:, 0].mean() == pytest.approx(0.05**2 + 0.1**2 * (1 + 1 / 5), rel=0.1)
    assert found[0, 2] == 15
    one = estimate.spread(draws[0], np.zeros(20, int))
    assert one == (pytest.approx(draws[0].var(ddof=1)), 0.0, 19)


def test_families_that_differ_widen_the_prediction_and_equal_ones_do_not():
    rng = np.random.default_rng(0)
    member = np.array([rng.permutation(40) < 20 for _ in range(8)])
    score = rng.normal(size=member.shape) + member
    unlike = score + 3 * member * (np.arange(8) >= 4)[:, None]
    family, group = np.arange(8) // 4, np.arange(40)

    def width(s, kinds):
        low, high = estimate.mean_auc(s, member, group, 40, kinds=estimate.Kinds(kinds)).prediction
        return high - low

    assert width(unlike, family) > 1.3 * width(unlike, None)  # from 0 to 1: it cannot be wider
    assert width(score, family) < 1.5 * width(score, None)

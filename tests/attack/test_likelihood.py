"""Student-t likelihood ratios against scipy and brute force."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from attack import likelihood
from attack.likelihood import BOUND, Prior
from attack.signals import SIGNALS
from attack.signals.evidence import Evidence

NO_DIFFERENCE = ("ball", "discriminator")  # signals that are no plain difference to the references' mean


def drawn(count, seed=0, images=6, columns=3):
    """References' values [image, R, column], one more pile's [image, column], and a prior."""
    rng = np.random.default_rng(seed)
    theirs = rng.normal(size=(images, count, columns)) * rng.uniform(0.2, 3, (images, 1, columns))
    known = Prior(rng.uniform(0.3, 9, (1, columns)), rng.uniform(0.1, 4, (1, columns)))
    return theirs, rng.normal(0, 2, (images, columns)), known


def parts_of(theirs, own):
    mean = theirs.mean(1)
    return own - mean, ((theirs - mean[:, None]) ** 2).sum(1)


def predictive(theirs, known, column):
    """scipy's distribution of one more value, for the references of one pair, [R]."""
    count, nu = len(theirs), float(known.freedom[0, column])
    square = sum((r - np.mean(theirs)) ** 2 for r in theirs)
    variance = (nu * float(known.variance[0, column]) + square) / (nu + count - 1)
    return stats.t(nu + count - 1, loc=np.mean(theirs), scale=np.sqrt(variance * (1 + 1 / count)))


@pytest.mark.parametrize("count", [2, 3, 8])
def test_offline_is_the_normal_quantile_of_scipys_t(count):
    theirs, own, known = drawn(count)
    found = likelihood.offline(*parts_of(theirs, own), count, known)
    for i, j in np.ndindex(own.shape):
        below = predictive(theirs[i, :, j], known, j).cdf(own[i, j])
        np.testing.assert_allclose(found[i, j], stats.norm.ppf(below), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("count", [2, 3, 8])
def test_online_is_the_log_ratio_of_scipys_densities(count):
    (out, own, first), (inside, _, second) = drawn(count, 1), drawn(count, 2)
    parts = np.stack([*parts_of(out, own), *parts_of(inside, own)])
    found = likelihood.scores(parts, count, [first, second])
    for i, j in np.ndindex(own.shape):
        pair = [(predictive(r[i, :, j], p, j)).logpdf(own[i, j]) for r, p in ((inside, second), (out, first))]
        np.testing.assert_allclose(found[i, j], pair[0] - pair[1], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("count", [2, 4])
def test_the_predictive_is_the_integral_over_mean_and_variance(count):
    """Bayes' rule on a grid of means and variances, from the references themselves: no sum of squares, no t."""
    theirs, own, known = drawn(count, 3, images=2, columns=2)
    mine = parts_of(theirs, own)
    density, quantile = likelihood.log_density(*mine, count, known), likelihood.offline(*mine, count, known)
    log_variance = np.linspace(-16, 24, 1601)[:, None]
    sd = np.exp(log_variance / 2)
    # flat in the mean: over a grid in units of each variance's sd
    step = np.linspace(-9, 9, 1201)[None]
    for i, j in np.ndindex(own.shape):
        nu, scale = float(known.freedom[0, j]), float(known.variance[0, j])
        mean = theirs[i, :, j].mean() + step * sd / np.sqrt(count)
        log_weight = stats.chi2.logpdf(nu * scale / sd**2, nu) + np.log(nu * scale / sd**2)  # by unit of log variance
        for r in theirs[i, :, j]:
            log_weight = log_weight + stats.norm.logpdf(r, mean, sd)
        weight = np.exp(log_weight - log_weight.max()) * sd  # sd: the width of a step of the mean
        weight /= weight.sum()
        np.testing.assert_allclose(
            np.exp(density[i, j]), (weight * stats.norm.pdf(own[i, j], mean, sd)).sum(), rtol=1e-4
        )
        below = (weight * stats.norm.cdf(own[i, j], mean, sd)).sum()
        np.testing.assert_allclose(special.ndtr(quantile[i, j]), below, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("count", [2, 3, 6])
@pytest.mark.parametrize(("freedom", "variance"), [(4.0, 0.3), (12.0, 5.0), (1.5, 1.0)])
def test_the_prior_finds_what_the_variances_were_drawn_from(count, freedom, variance):
    rng = np.random.default_rng(count)
    drawn_from = freedom * variance / rng.chisquare(freedom, (60_000, 1))
    square = drawn_from * rng.chisquare(count - 1, (60_000, 1))
    found = likelihood.prior(square, count)
    assert found.freedom.shape == found.variance.shape == (1, 1)
    assert found.freedom.item() == pytest.approx(freedom, rel=0.2)
    assert found.variance.item() == pytest.approx(variance, rel=0.08)


@pytest.mark.parametrize("count", [2, 5])
def test_equal_variances_are_pooled(count):
    rng = np.random.default_rng(0)
    found = likelihood.prior(2.0 * rng.chisquare(count - 1, (40_000, 1)), count)
    assert found.freedom.item() > 50
    assert found.variance.item() == pytest.approx(2.0, rel=0.05)
    alike = likelihood.prior(np.full((5, 1), 3.0), count)  # they vary less than chance
    assert alike.freedom.item() == pytest.approx(1e6)
    assert likelihood.prior(np.full((1, 1), 3.0), count).freedom.item() == pytest.approx(1e6)


def test_priors_are_of_each_pile_and_column_alone():
    square = np.random.default_rng(0).chisquare(1, (3, 20, 2))
    whole = likelihood.prior(square, 2)
    for k in range(3):
        for j in range(2):
            one = likelihood.prior(square[k, :, j : j + 1], 2)
            np.testing.assert_allclose([whole.freedom[k, 0, j], whole.variance[k, 0, j]], np.ravel(one), rtol=1e-9)


@given(st.floats(1e-5, 1e4))
def test_inverse_trigamma(y):
    assert likelihood.inverse_trigamma(special.polygamma(1, np.array([y])))[0] == pytest.approx(y, rel=1e-9)


def evidence_of(name, seed, count, low=-3.0, high=3.0):
    """References' evidence [2, count, number], and one more's, of a signal."""
    block, rng = SIGNALS[name].block, np.random.default_rng(seed)
    numbers = len(block.numbers) if isinstance(block.numbers, tuple) else 10
    values = np.sort(rng.uniform(low, high, (2, count + 1, numbers)).astype(np.float32), axis=-1)[..., ::-1]
    shadows = np.tile(np.arange(count + 1), (2, 1))
    return Evidence({block.name: values[:, :count]}, shadows[:, :count]), Evidence(
        {block.name: values[:, count:]}, shadows[:, count:]
    )


@pytest.mark.parametrize("name", [name for name in SIGNALS if name not in NO_DIFFERENCE])
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(2, 8), scale=st.floats(0.01, 8))
def test_left_out_references_give_the_sum_of_squares(name, seed, count, scale):
    references, other = evidence_of(name, seed, count, -scale, scale)
    found = likelihood.sum_of_squares(SIGNALS[name].calibrated, references)
    block = SIGNALS[name].block.name
    value = [  # relative to one and the same other pile
        SIGNALS[name].calibrated(Evidence({block: references[block][:, j]}), other) for j in range(count)
    ]
    np.testing.assert_allclose(found, np.var(value, axis=0) * count, rtol=1e-4, atol=1e-9 + 1e-6 * scale**2)
    assert found.shape == (2, len(SIGNALS[name].columns))


@pytest.mark.parametrize("name", NO_DIFFERENCE)
def test_other_signals_have_a_sum_of_squares_too(name):
    references, _ = evidence_of(name, 0, 4)
    found, block = likelihood.sum_of_squares(SIGNALS[name].calibrated, references), SIGNALS[name].block.name
    total = np.zeros((2, len(SIGNALS[name].columns)))
    for j in range(4):
        rest = [i for i in range(4) if i != j]
        others = Evidence({block: references[block][:, rest]}, references.shadows[:, rest])
        total += SIGNALS[name].calibrated(Evidence({block: references[block][:, j]}), others) ** 2
    np.testing.assert_allclose(found, total * (3 / 4) ** 2)


def test_one_reference_differs_by_nothing():
    references, _ = evidence_of("mosaic", 0, 1)
    with pytest.raises(ValueError, match="1 references differ by nothing"):
        likelihood.sum_of_squares(SIGNALS["mosaic"].calibrated, references)


FAR = np.concatenate([np.geomspace(1e-12, 1e38, 400), [0.0]])


@pytest.mark.parametrize("square", [0.0, 1e-30, 1.0, 1e30])
@pytest.mark.parametrize("freedom", [0.05, 1.0, 30.0, 1e6])
@pytest.mark.parametrize("count", [2, 8])
def test_far_values_stay_finite_in_order_and_odd(square, freedom, count):
    value = np.sort(np.concatenate([-FAR, FAR]))[:, None]
    known = Prior(np.full((1, 1), freedom), np.full((1, 1), 1e-12))
    found = likelihood.offline(value, np.full_like(value, square), count, known)
    assert np.isfinite(found).all()
    assert (np.abs(found) <= BOUND).all()
    assert (np.diff(found, axis=0) >= 0).all()
    np.testing.assert_array_equal(found, -found[::-1])
    wide = Prior(np.full((1, 1), 1.0), np.full((1, 1), 9.0))
    parts = np.stack([value, np.full_like(value, square), value - 1, np.full_like(value, 0.0)])
    both = likelihood.scores(parts, count, [known, wide])
    assert np.isfinite(both).all()
    assert (np.abs(both) <= BOUND).all()


@given(
    st.lists(st.floats(-40, 40), min_size=2, max_size=10),
    st.floats(0, 10),
    st.floats(0.1, 1e6),
    st.floats(1e-6, 100),
    st.integers(2, 8),
)
def test_offline_keeps_the_order_of_differences(values, square, freedom, variance, count):
    value = np.sort(np.array(values))[:, None]
    known = Prior(np.full((1, 1), freedom), np.full((1, 1), variance))
    found = likelihood.offline(value, np.full_like(value, square), count, known)
    assert (np.diff(found, axis=0) >= 0).all()

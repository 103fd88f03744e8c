"""Student-t ratios against direct integration, scipy and draws whose answer is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, special, stats

from attack import ratio
from attack.ratio import Prior


@settings(deadline=None)
@given(st.floats(1e-4, 1e4))
def test_inverse_trigamma_inverts(value):
    assert special.polygamma(1, ratio._inverse_trigamma(value)) == pytest.approx(value, rel=1e-8)


def test_prior_is_recovered_from_draws_of_it():
    rng = np.random.default_rng(0)
    variance = 2.5 * 8 / rng.chisquare(8, (40_000, 1))
    sample = variance * rng.chisquare(5, variance.shape) / 5
    found = ratio.fit_prior(sample, 5)
    assert found.degrees[0] == pytest.approx(8, rel=0.1)
    assert found.variance[0] == pytest.approx(2.5, rel=0.03)


def test_equal_variances_are_pooled():
    rng = np.random.default_rng(1)
    sample = 3.0 * rng.chisquare(6, (5_000, 1)) / 6
    found = ratio.fit_prior(sample, 6)
    assert found.degrees[0] > 100
    assert found.variance[0] == pytest.approx(3.0, rel=0.05)
    spread = ratio.moderated(sample, 6, found)
    assert spread.std() < 0.1 * sample.std()


def test_predictive_is_the_integral_over_mean_and_variance():
    """Density of one more value: the posterior of (mean, variance) under a flat mean, integrated by quadrature."""
    references = np.array([0.3, -0.1, 0.8, 0.4])
    prior = Prior(np.array([6.0]), np.array([0.2]))

    def density(value: float) -> float:
        def inside(variance: float) -> float:
            shrunk = stats.invgamma.pdf(variance, 3.0, scale=6 * 0.2 / 2)  # scaled inverse chi-square
            rows = np.append(references, value) if np.isfinite(value) else references
            spread = ((rows - rows.mean()) ** 2).sum()  # the flat mean integrated by hand
            n = len(rows)
            return shrunk * (2 * np.pi * variance) ** (-(n - 1) / 2) / np.sqrt(n) * np.exp(-spread / (2 * variance))

        return integrate.quad(inside, 1e-6, 50, limit=200)[0]

    whole = density(np.nan)
    for value in (-1.0, 0.35, 2.0):
        t, degrees = ratio.standardised(np.array([value]), references[:, None], prior)
        scale = (value - references.mean()) / t[0]
        assert stats.t.pdf(t[0], degrees[0]) / scale == pytest.approx(density(value) / whole, rel=1e-5)


def test_log_ratio_is_a_quotient_of_scipy_densities_and_rises_in_the_middle():
    rng = np.random.default_rng(2)
    references, prior = rng.normal(size=(5, 2)), Prior(np.array([4.0, 9.0]), np.array([1.0, 0.5]))
    own, shift = np.array([0.7, -0.2]), np.array([1.5, 1.0])
    found = ratio.log_ratio(own, references, prior, shift)
    for j in range(2):
        variance = (prior.degrees[j] * prior.variance[j] + 4 * references[:, j].var(ddof=1)) / (prior.degrees[j] + 4)
        scale = np.sqrt(variance * (1 + 1 / 5))
        t = (own[j] - references[:, j].mean()) / scale
        df = prior.degrees[j] + 4
        expected = stats.t.logpdf(t, df, loc=shift[j]) - stats.t.logpdf(t, df)
        assert found[j] == pytest.approx(expected, rel=1e-9)


def test_references_that_agree_to_the_last_digit_give_finite_numbers():
    references = np.full((4, 1), 0.25)
    prior = ratio.fit_prior(np.zeros((10, 1)), 3)
    t, _ = ratio.standardised(np.array([0.25]), references, prior)
    assert t[0] == 0
    t, _ = ratio.standardised(np.array([0.5]), references, prior)
    assert np.isfinite(t[0])
    assert t[0] > 0

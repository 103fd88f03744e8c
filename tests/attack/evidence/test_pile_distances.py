"""FD, KID and spectra against independent computations."""

import itertools
import warnings

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import linalg, stats

from attack.evidence import pile_distances

RNG = np.random.default_rng(0)


@given(st.integers(2, 8), st.integers(3, 30), st.integers(3, 30), st.integers(0, 1000))
@example(3, 3, 3, 148)
def test_frechet_is_that_of_sqrtm(axes, n, m, seed):
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((n, axes)) * 2, rng.standard_normal((m, axes)) + rng.standard_normal(axes)
    a, b = (np.cov(z, rowvar=False) for z in (x, y))
    # a little of the identity: scipy's root of a singular product has errors of 1e-4
    a, b = a + 1e-9 * np.eye(axes), b + 1e-9 * np.eye(axes)
    with warnings.catch_warnings(action="ignore", category=linalg.LinAlgWarning):  # it says so of singular products
        root = np.real(linalg.sqrtm(a @ b))
    wanted = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(a + b - 2 * root)
    tolerance = 1e-5 if min(n, m) > axes else 2e-3  # then sqrtm is the one that is wrong
    assert pile_distances.frechet(x, y) == pytest.approx(wanted, abs=tolerance * max(1, wanted))


def test_frechet_of_normal_distributions_on_a_line():
    x = RNG.standard_normal(400)[:, None]
    y = 3 * x + 2
    wanted = (x.mean() - y.mean()) ** 2 + (x.std(ddof=1) - y.std(ddof=1)) ** 2
    assert pile_distances.frechet(x, y) == pytest.approx(wanted, rel=1e-9)
    assert pile_distances.frechet(x, x) == 0


def test_the_interval_of_frechet_on_a_line():
    """There it is (mean difference)^2 + (sd difference)^2, whose error the delta method knows."""
    inside = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        x, y = rng.standard_normal((80, 1)), 2 * rng.standard_normal((60, 1)) + 3
        low, high = pile_distances.frechet_interval(x, y)
        inside += low < 3**2 + 1 < high
    assert inside >= 34
    mean, sd = x.mean() - y.mean(), x.std(ddof=1) - y.std(ddof=1)
    variance = sum(4 * (mean**2 * s**2 + sd**2 * s**2 / 2) / n for s, n in ((x.std(), 80), (y.std(), 60)))
    assert (high - low) / 2 == pytest.approx(1.96 * np.sqrt(variance), rel=0.3)


def test_the_interval_of_frechet_is_the_jackknife_and_not_below_zero():
    x, y = RNG.standard_normal((9, 3)), RNG.standard_normal((7, 3)) + 2
    parts = [[pile_distances.frechet(np.delete(x, i, 0), y) for i in range(9)]]
    parts += [[pile_distances.frechet(x, np.delete(y, i, 0)) for i in range(7)]]
    half = 1.96 * np.sqrt(sum((len(z) - 1) / len(z) * sum((v - np.mean(z)) ** 2 for v in z) for z in parts))
    low, high = pile_distances.frechet_interval(x, y)
    assert (low, high) == pytest.approx(
        (max(0, pile_distances.frechet(x, y) - half), pile_distances.frechet(x, y) + half)
    )
    assert pile_distances.frechet_interval(x, x + 1e-3 * y.mean())[0] == 0
    with pytest.raises(ValueError, match="at least 3"):
        pile_distances.frechet_interval(x[:2], y)


@given(st.integers(1, 60), st.integers(0, 1000))
def test_the_interval_of_a_median_is_that_of_scipy(n, seed):
    values = np.random.default_rng(seed).standard_normal(n)
    found = stats.quantile_test(values, p=0.5).confidence_interval(0.95)
    wanted = [min(values) if np.isnan(found.low) else found.low, max(values) if np.isnan(found.high) else found.high]
    assert pile_distances.median_interval(values) == pytest.approx(tuple(wanted))


def naive_kernel(a, b):
    return (sum(p * q for p, q in zip(a, b, strict=True)) / len(a) + 1) ** 3


def naive_kid(x, y):
    n, m = len(x), len(y)
    inner = sum(naive_kernel(a, b) for a, b in itertools.permutations(x, 2)) / (n * (n - 1))
    inner += sum(naive_kernel(a, b) for a, b in itertools.permutations(y, 2)) / (m * (m - 1))
    return inner - 2 * sum(naive_kernel(a, b) for a in x for b in y) / (n * m)


@settings(deadline=None)
@given(st.integers(1, 4), st.integers(3, 7), st.integers(3, 7), st.integers(0, 1000))
def test_kid_and_its_jackknife_by_loops(axes, n, m, seed):
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((n, axes)), rng.standard_normal((m, axes)) + 0.5
    found = pile_distances.kid(x, y)
    assert found.value == pytest.approx(naive_kid(x, y), abs=1e-9)
    without_x = [naive_kid(np.delete(x, i, 0), y) for i in range(n)]
    without_y = [naive_kid(x, np.delete(y, i, 0)) for i in range(m)]
    error = np.sqrt((n - 1) * np.var(without_x) + (m - 1) * np.var(without_y))
    np.testing.assert_allclose(found.interval, [found.value - 1.96 * error, found.value + 1.96 * error], atol=1e-8)


@settings(deadline=None)
@given(st.integers(1, 4), st.integers(3, 7), st.integers(0, 1000))
def test_kid_of_pairs_by_loops(axes, n, seed):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, axes))
    y = x + rng.standard_normal((n, axes))

    def naive(x, y):
        total = 0.0
        for i, j in itertools.permutations(range(len(x)), 2):
            total += naive_kernel(x[i], x[j]) + naive_kernel(y[i], y[j])
            total -= naive_kernel(x[i], y[j]) + naive_kernel(x[j], y[i])
        return total / (len(x) * (len(x) - 1))

    found = pile_distances.kid_paired(x, y, 0)
    assert found.value == pytest.approx(naive(x, y), abs=1e-9)
    error = np.sqrt((n - 1) * np.var([naive(np.delete(x, i, 0), np.delete(y, i, 0)) for i in range(n)]))
    assert found.interval[1] - found.value == pytest.approx(1.96 * error, abs=1e-8)


@pytest.mark.parametrize(("images", "axes"), [(30, 5), (60, 32), (61, 31), (250, 32)])
@pytest.mark.parametrize("other", [np.asarray, np.array])  # the same object, and its copy: BLAS rounds them otherwise
def test_a_pile_and_itself(images, axes, other):
    x = RNG.standard_normal((images, axes)) * np.geomspace(1, 1e-3, axes)
    found = pile_distances.kid_paired(x, other(x), 0)
    assert (found.value, found.interval, found.p) == (0, (0, 0), 1)


def test_two_piles_of_one_distribution():
    other = pile_distances.kid(RNG.standard_normal((30, 5)), RNG.standard_normal((30, 5)))
    assert other.interval[0] < 0 < other.interval[1]


def test_the_test_of_two_piles_keeps_its_level_and_finds_a_shift():
    small, found = 0, 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        base = rng.standard_normal((20, 3))
        x, y = base + 0.5 * rng.standard_normal((20, 3)), base + 0.5 * rng.standard_normal((20, 3))
        small += pile_distances.kid_paired(x, y, seed).p <= 0.1
        found += pile_distances.kid_paired(x, y + 0.5, seed).p <= 0.1
    assert 6 <= small <= 36  # 20 expected; beyond 99.9 % of a binomial
    assert found > 150


def test_too_few_images():
    with pytest.raises(ValueError, match="at least 3"):
        pile_distances.kid(np.zeros((2, 3)), np.zeros((5, 3)))
    with pytest.raises(ValueError, match="at least 3"):
        pile_distances.kid_paired(np.zeros((4, 3)), np.zeros((5, 3)), 0)


def test_a_space_has_the_axes_of_its_images():
    images = RNG.uniform(0, 255, (40, 8, 8))
    space = pile_distances.fit_space("pixels", images, 10)
    inside = space.of(images)
    assert inside.shape == (40, 10)
    np.testing.assert_allclose(inside.mean(0), 0, atol=1e-6)
    assert (inside**2).sum(1).mean() == pytest.approx(10)
    covariance = inside.T @ inside
    np.testing.assert_allclose(covariance, np.diag(np.diag(covariance)), atol=1e-4)
    assert (np.diff(np.diag(covariance)) <= 1e-6).all()
    assert pile_distances.fit_space("pixels", images[:4], 10).axes.shape[1] == 3  # four images span three axes


def test_the_spectrum_of_a_wave_is_at_its_frequency():
    x = np.arange(16)
    wave = 50 * np.cos(2 * np.pi * 3 * x / 16)[None, None].repeat(16, 1)
    found = pile_distances.radial_spectrum(wave)
    assert found.argmax() == 2
    assert pile_distances.spectrum_gap(found, found) == 0
    assert pile_distances.spectrum_gap(found, found + 2) == pytest.approx(2)
    noise = RNG.normal(0, 7, (200, 16, 16))
    np.testing.assert_allclose(pile_distances.radial_spectrum(noise), np.log(49), atol=0.15)


def test_corresponding_pictures():
    images = RNG.uniform(0, 255, (5, 8, 8))
    assert pile_distances.corresponding(images, images * 0.5 + 3) == pytest.approx(0, abs=1e-3)
    assert pile_distances.corresponding(images, -images) == pytest.approx(2)

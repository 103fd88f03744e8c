"""The difference of two attacks on the same candidates against its covariance matrix and simulation."""

import math

import numpy as np
import pytest
from scipy import stats
from scored_samples import naive_psi, sample

from attack import metrics


def test_delong_paired_matches_the_covariance_matrix():
    first, labels = sample(6)
    second = first + np.random.default_rng(1).normal(size=len(first))
    psi = [naive_psi(first, labels), naive_psi(second, labels)]
    s10 = np.cov([kernel.mean(axis=1) for kernel in psi])
    s01 = np.cov([kernel.mean(axis=0) for kernel in psi])
    contrast = np.array([1, -1])
    variance = contrast @ (s10 / psi[0].shape[0] + s01 / psi[0].shape[1]) @ contrast
    difference, (low, high), p = metrics.delong_paired(first, second, labels)
    assert difference == pytest.approx(psi[0].mean() - psi[1].mean())
    assert (high - low) / 2 == pytest.approx(stats.norm.ppf(0.975) * math.sqrt(variance))
    assert p == pytest.approx(2 * stats.norm.sf(abs(difference) / math.sqrt(variance)))
    swapped = metrics.delong_paired(second, first, labels)
    assert swapped.difference == pytest.approx(-difference)
    assert swapped.interval == pytest.approx((-high, -low))
    assert swapped.p == pytest.approx(p)


def test_delong_paired_p_is_uniform_without_a_difference():
    rng = np.random.default_rng(8)
    labels = np.repeat([1, 0], 50)
    ps = []
    for _ in range(300):
        shared = rng.normal(size=100) + labels
        ps.append(metrics.delong_paired(*(shared + rng.normal(size=(2, 100))), labels).p)
    assert stats.kstest(ps, "uniform").pvalue > 0.01


def test_paired_comparisons_without_variance():
    labels = np.repeat([1, 0], 20)
    scores, _ = sample(0, 20, 20)
    assert metrics.delong_paired(scores, np.exp(scores), labels) == (0.0, (0.0, 0.0), 1.0)
    perfect = metrics.delong_paired(labels, np.zeros(40), labels)
    assert perfect.difference == 0.5
    assert perfect.interval[0] > 0
    assert perfect.interval[1] <= 1
    assert perfect.p == pytest.approx(2 * 0.5**20)


def test_grouped_difference():
    scores, labels = sample(9, 60, 60, shift=1.5)
    noise = np.random.default_rng(3).normal(size=120)
    result = metrics.auc_difference_grouped(scores, noise, labels, np.arange(120))
    plain = metrics.delong_paired(scores, noise, labels)
    assert result.difference == pytest.approx(plain.difference)
    assert result.interval == pytest.approx(plain.interval, abs=0.03)
    assert result.p < 0.01
    assert metrics.auc_difference_grouped(scores, scores, labels, np.arange(120)).p == 1

"""Figures of probabilities against scikit-learn and by hand."""

import numpy as np
import pytest
from sklearn import metrics as peer

from attack import metrics


def probabilities(seed=0, size=200):
    rng = np.random.default_rng(seed)
    values = rng.random(size)
    return values, (rng.random(size) < values).astype(int)


def test_brier_and_log_loss_match_scikit_learn():
    values, labels = probabilities()
    assert metrics.brier(values, labels) == pytest.approx(peer.brier_score_loss(labels, values))
    assert metrics.log_loss(values, labels) == pytest.approx(peer.log_loss(labels, values))
    assert metrics.log_loss([0.0, 0.5], [1, 0]) < 20  # finite although impossible


def test_ece_by_hand_and_reliability_rows():
    values = np.array([0.1, 0.1, 0.2, 0.4, 0.8, 0.8, 0.9, 0.9])
    labels = np.array([0, 1, 0, 0, 1, 1, 1, 0])
    rows = metrics.reliability(values, labels, bins=2)
    assert [(row.items, row.members) for row in rows] == [(4, 1), (4, 3)]
    assert [row.probability for row in rows] == pytest.approx([0.2, 0.85])
    assert metrics.ece(values, labels, bins=2) == pytest.approx((0.05 + 0.1) / 2)
    order = np.random.default_rng(0).permutation(8)
    assert metrics.ece(values[order], labels[order], 3) == pytest.approx(metrics.ece(values, labels, 3))
    # Equal probabilities are never torn apart, so a constant has one bin.
    assert len(metrics.reliability(np.full(50, 0.5), np.arange(50) % 2)) == 1
    assert metrics.ece(np.full(50, 0.5), np.arange(50) % 2) == pytest.approx(0)
    with pytest.raises(ValueError, match="bins"):
        metrics.ece(values, labels, 0)


def test_bins_have_equal_mass():
    values, labels = probabilities(1, 200)
    assert [row.items for row in metrics.reliability(values, labels)] == [20] * 10
    assert len(metrics.reliability(values[:45], labels[:45])) == 4


def test_calibration_figures():
    values, labels = probabilities(2, 300)
    figures = metrics.calibration_figures(values, labels)
    for name in ("brier", "log_loss", "ece"):
        figure = getattr(figures, name)
        assert figure.low <= figure.value <= figure.high
    assert figures.ece.p > 0.05
    assert figures.ece.value < figures.ece.by_chance.high
    wrong = metrics.calibration_figures(values**4, labels)
    assert wrong.ece.p < 0.01
    assert wrong.ece.low > 0
    share = labels.mean()
    assert figures.brier.constant == pytest.approx(metrics.brier(np.full(300, share), labels))
    assert figures.log_loss.constant == pytest.approx(metrics.log_loss(np.full(300, share), labels))
    groups = np.arange(300) // 3
    grouped = metrics.calibration_figures(values, labels, groups)
    assert grouped.brier.value == figures.brier.value
    assert grouped.brier.low != figures.brier.low


def test_ppv_and_prior_shift():
    assert metrics.ppv_at_prior(0.5, 0.01, 0.01) == pytest.approx(0.005 / (0.005 + 0.0099))
    assert metrics.ppv_at_prior(0, 0, 0.1) is None
    assert metrics.ppv_at_prior(0.4, 0, 0.1) == 1
    with pytest.raises(ValueError, match="rates"):
        metrics.ppv_at_prior(1.2, 0, 0.1)
    values = np.array([0.0, 0.2, 0.5, 1.0])
    shifted = metrics.shift_prior(values, 0.5, 0.1)
    odds = values[1:3] / (1 - values[1:3]) / 9
    np.testing.assert_allclose(shifted[1:3], odds / (1 + odds))
    assert shifted[[0, 3]].tolist() == [0, 1]
    np.testing.assert_allclose(metrics.shift_prior(shifted, 0.1, 0.5), values)
    for bad in ((0, 0.5), (0.5, 1)):
        with pytest.raises(ValueError, match="priors"):
            metrics.shift_prior(values, *bad)


def test_reliability_allows_for_groups_on_both_sides():
    rng = np.random.default_rng(0)
    row, column = (place.ravel() for place in np.indices((10, 20)))
    labels = (rng.normal(size=10)[row] + rng.normal(size=200) > 0).astype(int)
    values = np.full(200, 0.5)
    plain = metrics.reliability(values, labels)[0]
    found = metrics.reliability(values, labels, groups=column, across=row)[0]
    wanted = metrics.proportion_interval(labels, column, across=row)
    assert (found.share_low, found.share_high) == wanted
    assert found.share_low < plain.share_low < plain.share_high < found.share_high

"""The ROC curve and rates at a threshold against scikit-learn, SciPy and brute force."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scored_samples import columns, sample, scored
from sklearn import metrics as peer

from attack.statistics import metrics


def test_roc_matches_scikit_learn():
    scores, labels = sample(ties=True)
    fpr, tpr, thresholds = peer.roc_curve(labels, scores, drop_intermediate=False)
    ours = metrics.roc(scores, labels)
    np.testing.assert_allclose(ours.fpr, fpr)
    np.testing.assert_allclose(ours.tpr, tpr)
    np.testing.assert_allclose(ours.thresholds, thresholds)


@settings(deadline=None)
@given(scored, st.sampled_from([0.001, 0.01, 0.1, 0.2, 1 / 3, 0.5, 1.0]))
def test_tpr_at_fpr_matches_brute_force(rows, rate):
    scores, labels = columns(rows)
    others = int((labels == 0).sum())
    point = metrics.tpr_at_fpr(scores, labels, rate)
    assert point.attainable == (rate * others > 1 - 1e-9)
    if not point.attainable:
        assert (point.tpr, point.interval, point.true_positives) == (None, None, None)
        return
    best = (0, 0)
    for threshold in set(scores):
        flagged = scores >= threshold
        if flagged[labels == 0].sum() <= rate * others + 1e-9:
            best = max(best, (int(flagged[labels == 1].sum()), int(flagged[labels == 0].sum())))
    assert (point.true_positives, point.false_positives) == best
    assert point.tpr == best[0] / point.members
    if point.threshold is not None:
        assert (scores[labels == 1] >= point.threshold).sum() == point.true_positives


def test_tpr_at_fpr_counts_interval_and_floats():
    labels = np.r_[np.ones(100, int), np.zeros(100, int)]
    scores = np.r_[np.full(3, 9.0), np.zeros(97), [10.0], np.arange(-99, 0)]
    point = metrics.tpr_at_fpr(scores, labels, 0.01)
    # The lowest threshold with one false positive is 0: every member is above all other non-members.
    assert (point.true_positives, point.false_positives, point.threshold) == (100, 1, 0.0)
    exact = stats.binomtest(1, 100).proportion_ci(method="exact")
    assert point.fpr_interval == pytest.approx((exact.low, exact.high))
    assert metrics.tpr_at_fpr(-scores, labels, 0.29).false_positives == 29
    assert not metrics.tpr_at_fpr(scores, labels, 0.0099).attainable
    with pytest.raises(ValueError, match="fpr"):
        metrics.tpr_at_fpr(scores, labels, 0)


def test_ties_at_the_top_flag_nobody():
    point = metrics.tpr_at_fpr(np.zeros(40), np.repeat([1, 0], 20), 0.1)
    assert (point.true_positives, point.false_positives, point.threshold) == (0, 0, None)
    assert point.attainable


@pytest.mark.parametrize(("hits", "trials"), [(0, 10), (3, 10), (10, 10), (1, 100), (77, 100)])
def test_clopper_pearson_matches_scipy(hits, trials):
    exact = stats.binomtest(hits, trials).proportion_ci(0.9, method="exact")
    assert metrics.clopper_pearson(hits, trials, 0.9) == pytest.approx((exact.low, exact.high))


def test_proportion_interval_with_groups():
    hits = np.arange(60) % 3 == 0
    plain = metrics.proportion_interval(hits)
    copies = np.repeat(hits, 4)
    grouped = metrics.proportion_interval(copies, np.repeat(np.arange(60), 4))
    # Four copies of each are worth no more than one of each.
    assert grouped == pytest.approx(plain, abs=0.01)
    assert metrics.proportion_interval(copies)[0] > grouped[0]
    assert metrics.proportion_interval(np.ones(40), np.arange(40) // 4) == metrics.clopper_pearson(10, 10)
    assert metrics.proportion_interval(np.ones(4), np.zeros(4)) == metrics.clopper_pearson(1, 1)
    for bad in ((3, 2), (-1, 2), (0, 0)):
        with pytest.raises(ValueError, match="successes"):
            metrics.clopper_pearson(*bad)

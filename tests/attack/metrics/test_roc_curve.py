"""The ROC curve and rates at a threshold against scikit-learn, SciPy and brute force."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scored_samples import columns, sample, scored
from sklearn import metrics as peer

from attack import metrics


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
    for bad in ((3, 2), (-1, 2), (0, 0), (1 + 1e-9, 1), (-1e-9, 1), (1, np.inf), (np.nan, 1)):
        with pytest.raises(ValueError, match="successes"):
            metrics.clopper_pearson(*bad)


def test_clopper_pearson_takes_rounding_for_what_it_is():
    above = np.nextafter(1.0, 2.0)
    for trials in (1, 7, 40, 12345):
        assert metrics.clopper_pearson(above * trials, trials) == metrics.clopper_pearson(trials, trials)
        assert metrics.clopper_pearson(-1e-16 * trials, trials) == metrics.clopper_pearson(0, trials)


def test_proportion_interval_across_two_groupings_against_the_formula():
    rng = np.random.default_rng(0)
    row, column = (place.ravel() for place in np.indices((8, 12)))
    kept = rng.random(96) < 0.8  # cells are not all there
    row, column = row[kept], column[kept] // 2
    hits = rng.normal(size=8)[row] + rng.normal(size=6)[column] + rng.normal(size=kept.sum()) > 0
    share, count = hits.mean(), len(hits)

    def squares(*names):
        cells = list(zip(*names, strict=True))
        sums = [sum(hits[i] - share for i in range(count) if cells[i] == cell) for cell in set(cells)]
        return len(sums) / (len(sums) - 1) * sum(total**2 for total in sums) / count**2

    one, two = squares(row), squares(column)
    variance = max(one + two - squares(row, column), one, two)
    widen = (stats.t.ppf(0.975, 5) / stats.norm.ppf(0.975)) ** 2
    size = min(count, share * (1 - share) / variance / widen)
    wanted = metrics.clopper_pearson(share * size, size)
    assert metrics.proportion_interval(hits, row, across=column) == pytest.approx(wanted)
    assert metrics.proportion_interval(hits, column, across=row) == pytest.approx(wanted)
    # All or none: as many trials as the scarcer of shadows and patients.
    assert metrics.proportion_interval(np.ones(count), row, across=column) == metrics.clopper_pearson(6, 6)
    with pytest.raises(ValueError, match="across"):
        metrics.proportion_interval(hits, across=row)
    with pytest.raises(ValueError, match="groups"):
        metrics.proportion_interval(hits, row, across=column[1:])


def test_held_out_point_refuses_parts_that_miss_or_repeat_an_item():
    scores, labels = np.arange(8.0), np.arange(8) % 2
    first = np.arange(8) < 4
    whole = metrics.held_out_point(scores, labels, 0.5, [(~first, first), (first, ~first)])
    assert (whole.true_positives, whole.false_positives) == (2, 2)  # no score of one half is among the other's
    for parts in ([(~first, first)], [(~first, first), (first, ~first), (first, ~first)]):
        with pytest.raises(ValueError, match="every item once"):
            metrics.held_out_point(scores, labels, 0.5, parts)
    with pytest.raises(ValueError, match="labels must hold"):
        metrics.held_out_point(scores, labels, 0.5, [(labels == 1, first), (first, ~first)])

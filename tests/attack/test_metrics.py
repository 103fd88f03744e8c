"""Every figure against an independent derivation: brute force, SciPy, scikit-learn, simulation."""

import itertools
import json
import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as peer

from attack import metrics
from attack.intervals import bootstrap_weights, resample_counts


def sample(seed=0, members=30, others=40, shift=1.0, ties=False):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.r_[np.ones(members, int), np.zeros(others, int)])
    scores = rng.normal(size=len(labels)) + shift * labels
    return (np.round(scores * 2) / 2 if ties else scores), labels


def naive_psi(scores, labels):
    """The kernel matrix [members, non-members] of the Mann-Whitney statistic."""
    member, other = scores[labels == 1], scores[labels == 0]
    return (member[:, None] > other) + 0.5 * (member[:, None] == other)


scored = st.lists(st.tuples(st.integers(-4, 4), st.integers(0, 1)), min_size=2, max_size=30).filter(
    lambda rows: 0 < sum(label for _, label in rows) < len(rows)
)


def columns(rows):
    return np.array([row[0] for row in rows], float), np.array([row[1] for row in rows])


# ---- AUC ----


@pytest.mark.parametrize("ties", [False, True])
def test_auc_and_delong_match_naive_sums_and_peers(ties):
    scores, labels = sample(ties=ties)
    psi = naive_psi(scores, labels)
    area, variance = metrics.delong(scores, labels)
    assert area == pytest.approx(psi.mean())
    assert metrics.auc(scores, labels) == pytest.approx(peer.roc_auc_score(labels, scores))
    u = stats.mannwhitneyu(scores[labels == 1], scores[labels == 0]).statistic
    assert area == pytest.approx(u / psi.size)
    v10, v01 = psi.mean(axis=1), psi.mean(axis=0)
    assert variance == pytest.approx(v10.var(ddof=1) / len(v10) + v01.var(ddof=1) / len(v01))
    parts = metrics.placements(scores, labels)
    np.testing.assert_allclose(parts[labels == 1], v10)
    np.testing.assert_allclose(parts[labels == 0], v01)


@settings(deadline=None)
@given(scored)
def test_auc_is_invariant_under_monotone_maps_and_antisymmetric(rows):
    scores, labels = columns(rows)
    area = metrics.auc(scores, labels)
    assert metrics.auc(np.arctan(scores) * 3 - 7, labels) == pytest.approx(area)
    assert metrics.auc(scores, labels) + metrics.auc(-scores, labels) == pytest.approx(1)
    assert metrics.auc(-scores, 1 - labels) == pytest.approx(area)
    low, high = metrics.auc_interval(scores, labels)
    assert 0 <= low <= area <= high <= 1
    assert high > low


def test_interval_is_the_logit_interval():
    scores, labels = sample(3)
    area, variance = metrics.delong(scores, labels)
    half = stats.norm.ppf(0.975) * math.sqrt(variance) / (area * (1 - area))
    expected = 1 / (1 + np.exp(-(np.log(area / (1 - area)) + np.array([-half, half]))))
    assert metrics.auc_interval(scores, labels) == pytest.approx(expected)


@pytest.mark.parametrize(("scores", "area"), [([2, 3, 0, 1], 1.0), ([0, 1, 2, 3], 0.0), ([1, 1, 1, 1], 0.5)])
def test_interval_without_variance_is_wide_and_inside_the_unit(scores, area):
    low, high = metrics.auc_interval(scores, [1, 1, 0, 0])
    assert metrics.auc(scores, [1, 1, 0, 0]) == area
    assert 0 <= low <= area <= high <= 1
    assert high - low > 0.5


def test_perfect_ranking_bound_is_exact_binomial():
    low, high = metrics.auc_interval(np.r_[np.ones(30), np.zeros(50)], np.r_[np.ones(30, int), np.zeros(50, int)])
    assert (low, high) == pytest.approx((0.025 ** (1 / 30), 1.0))


def test_single_member_has_the_largest_variance():
    area, variance = metrics.delong([2, 1, 3, 0], [1, 0, 0, 0])
    assert area == pytest.approx(2 / 3)
    assert variance == pytest.approx(2 / 9 + np.var([0.0, 1.0, 1.0], ddof=1) / 3)


def coverage(area, size, replicates, seed):
    rng = np.random.default_rng(seed)
    labels = np.repeat([1, 0], size)
    shift = stats.norm.ppf(area) * math.sqrt(2)
    hits = 0
    for _ in range(replicates):
        low, high = metrics.auc_interval(rng.normal(size=2 * size) + shift * labels, labels)
        hits += low <= area <= high
    return hits / replicates


@pytest.mark.parametrize(("area", "size"), [(0.8, 60), (0.5, 30), (0.97, 60)])
def test_interval_covers(area, size):
    assert 0.92 <= coverage(area, size, 400, 5) <= 0.98


def test_grouped_interval_covers_where_the_plain_one_does_not():
    rng = np.random.default_rng(2)
    groups = np.repeat(np.arange(40), 4)
    labels, area = groups % 2, 0.8
    shift = stats.norm.ppf(area) * math.sqrt(2)
    plain = grouped = 0
    for seed in range(150):
        shared = rng.normal(size=40)[groups] * 0.9
        scores = shared + rng.normal(size=160) * math.sqrt(1 - 0.81) + shift * labels
        low, high = metrics.auc_interval(scores, labels)
        plain += low <= area <= high
        low, high = metrics.auc_interval_grouped(scores, labels, groups, seed=seed, draws=300)
        grouped += low <= area <= high
    assert grouped / 150 >= 0.9
    assert plain / 150 < 0.8


def test_grouped_interval_is_seeded_and_agrees_with_singletons():
    scores, labels = sample(4, 60, 60)
    own = np.arange(120)
    first = metrics.auc_interval_grouped(scores, labels, own, seed=1)
    assert first == metrics.auc_interval_grouped(scores, labels, [str(i) for i in own], seed=1)
    assert first != metrics.auc_interval_grouped(scores, labels, own, seed=2)
    assert first == pytest.approx(metrics.auc_interval(scores, labels), abs=0.02)
    assert metrics.auc_interval_grouped(scores, labels, np.zeros(120)) == pytest.approx(
        metrics.clopper_pearson(metrics.auc(scores, labels), 1)
    )
    low, high = metrics.auc_interval_grouped(labels, labels, own)
    assert (low, high) == pytest.approx((0.025 ** (1 / 60), 1))


def test_bootstrap_weights_are_stratified_or_whole_groups():
    labels = np.array([1, 1, 0, 0, 0, 1])
    rng = np.random.default_rng(0)
    plain = np.concatenate(list(bootstrap_weights(labels, None, 50, rng)))
    assert plain.shape == (50, 6)
    assert (plain[:, labels == 1].sum(axis=1) == 3).all()
    whole = np.concatenate(list(bootstrap_weights(labels, [0, 0, 0, 1, 1, 2], 50, rng)))
    assert whole.shape == (50, 6)
    assert (whole[:, 0] == whole[:, 2]).all()
    assert (whole[:, 3] == whole[:, 4]).all()
    assert (whole[:, labels == 0].sum(axis=1) > 0).all()
    assert (resample_counts(7, 9, rng).sum(axis=1) == 7).all()


# ---- pairs of attacks ----


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


# ---- ROC ----


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


# ---- power ----


def test_smallest_detectable_auc():
    assert metrics.smallest_detectable_auc(140, 140) == pytest.approx(0.60, abs=0.005)
    assert metrics.smallest_detectable_auc(530, 530) == pytest.approx(0.55, abs=0.002)
    assert metrics.smallest_detectable_auc(1, 1) is None
    assert metrics.hanley_mcneil(0.5, 7, 9) == pytest.approx(17 / (12 * 63))
    # The worked example of Hanley and McNeil 1982: AUC .893, 51 abnormal and 58 normal, s.e. about .032.
    assert math.sqrt(metrics.hanley_mcneil(0.893, 51, 58)) == pytest.approx(0.032, abs=0.001)
    for bad in ({"power": 1.0}, {"power": 0.2}, {"level": 0}, {"level": 1.0}):
        with pytest.raises(ValueError, match="must lie"):
            metrics.smallest_detectable_auc(10, 10, **bad)
    with pytest.raises(ValueError, match="both classes"):
        metrics.smallest_detectable_auc(0, 10)


def test_power_holds_in_simulation():
    area = metrics.smallest_detectable_auc(100, 100)
    rng = np.random.default_rng(0)
    members = rng.normal(size=(400, 100)) + stats.norm.ppf(area) * math.sqrt(2)
    others = rng.normal(size=(400, 100))
    found = np.mean(stats.mannwhitneyu(members, others, axis=1).pvalue < 0.05)
    assert 0.72 < found < 0.88


# ---- decisions ----


def agreement(labels, truth, objective):
    if objective == "accuracy":
        return np.mean(labels == truth)
    if objective == "f1":
        return peer.f1_score(truth, labels, zero_division=0)
    if (labels.all() and truth.all()) or not (labels.any() or truth.any()):
        return 0.0  # 0/0
    return peer.cohen_kappa_score(truth, labels)


def enumerated(probability, labels, objective):
    total = 0.0
    for outcome in itertools.product((0, 1), repeat=len(probability)):
        truth = np.array(outcome)
        total += np.prod(np.where(truth == 1, probability, 1 - probability)) * agreement(labels, truth, objective)
    return total


@pytest.mark.parametrize("objective", ["f1", "kappa", "accuracy"])
@pytest.mark.parametrize("probability", [[0.9, 0.2, 0.55, 0.5, 0.1], [0.3, 0.3, 0.3], [1.0, 0.0, 0.7, 0.4]])
def test_decision_is_the_best_of_all_labellings(objective, probability):
    values = np.array(probability)
    choice = metrics.decide(values, objective)
    assert choice.expected == pytest.approx(enumerated(values, choice.labels, objective))
    every = (
        enumerated(values, np.array(labels), objective) for labels in itertools.product((0, 1), repeat=len(values))
    )
    assert choice.expected == pytest.approx(max(every))
    assert choice.claimed == choice.labels.sum()
    assert choice.all_ones == bool(choice.labels.all())


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=10))
def test_expected_f1_against_all_outcomes(probability):
    values = np.array(probability)
    order = np.argsort(-values, kind="stable")
    truth = np.array(list(itertools.product((0, 1), repeat=len(values))))
    weight = np.where(truth == 1, values, 1 - values).prod(axis=1)
    best = 0.0
    for m in range(1, len(values) + 1):
        hits = truth[:, order[:m]].sum(axis=1)
        best = max(best, weight @ (2 * hits / (m + truth.sum(axis=1))))
    labels, expected = metrics.expected_f1_decision(values)
    assert expected == pytest.approx(best, abs=1e-10)
    assert set(labels) <= {0, 1}


def test_decision_details():
    flat = metrics.decide(np.full(20, 0.5))
    assert flat.all_ones
    assert metrics.decide([0.9, 0.01, 0.01, 0.01]).claimed == 1
    # Ties are taken in the given order.
    tied = metrics.decide([0.2, 0.6, 0.6, 0.2], "accuracy").labels
    assert tied.tolist() == [0, 1, 1, 0]
    half = metrics.decide([0.4] * 10, "kappa")
    assert half.labels.tolist() == sorted(half.labels, reverse=True)
    with pytest.raises(ValueError, match="objective"):
        metrics.decide([0.5], "auc")
    for bad in ([], [1.1], [np.nan], ["x"], [[0.5]]):
        with pytest.raises(ValueError, match="probabilities"):
            metrics.decide(bad)


@pytest.mark.parametrize("objective", ["f1", "kappa"])
def test_decision_is_fast_and_right_at_500(objective):
    rng = np.random.default_rng(0)
    probability = rng.beta(0.7, 0.7, 500)
    start = time.perf_counter()
    choice = metrics.decide(probability, objective)
    assert time.perf_counter() - start < 1
    truth = rng.random((4000, 500)) < probability
    hits, members = truth[:, choice.labels == 1].sum(axis=1), truth.sum(axis=1)
    if objective == "f1":
        simulated = 2 * hits / (choice.claimed + members)
    else:
        cells = 500 * (choice.claimed + members) - 2 * choice.claimed * members
        simulated = 2 * (500 * hits - choice.claimed * members) / cells
    assert choice.expected == pytest.approx(simulated.mean(), abs=4 * simulated.std() / math.sqrt(4000))


def test_decision_figures_match_scikit_learn():
    scores, labels = sample(2, 45, 55)
    flags = (scores > 0.6).astype(int)
    figures = metrics.decision_figures(flags, labels)
    tn, fp, fn, tp = peer.confusion_matrix(labels, flags).ravel()
    assert list(figures["confusion"].values()) == [tp, fp, fn, tn]
    for name, expected in (
        ("f1", peer.f1_score(labels, flags)),
        ("kappa", peer.cohen_kappa_score(labels, flags)),
        ("accuracy", peer.accuracy_score(labels, flags)),
        ("precision", peer.precision_score(labels, flags)),
        ("recall", peer.recall_score(labels, flags)),
        ("specificity", peer.recall_score(labels, flags, pos_label=0)),
    ):
        assert figures[name]["value"] == pytest.approx(expected)
        assert figures[name]["low"] < expected < figures[name]["high"]
    exact = stats.binomtest(int(tp), int(tp + fn)).proportion_ci(method="exact")
    assert (figures["recall"]["low"], figures["recall"]["high"]) == pytest.approx((exact.low, exact.high))
    grouped = metrics.decision_figures(flags, labels, np.arange(100))
    for name in ("f1", "kappa"):
        assert grouped[name]["low"] == pytest.approx(figures[name]["low"], abs=0.04)


def test_f1_interval_covers():
    rng = np.random.default_rng(0)
    labels = np.repeat([1, 0], 80)
    truth = 2 * 0.7 / (0.7 + 0.2 + 1)
    hits = 0
    for seed in range(200):
        flags = rng.random(160) < np.where(labels == 1, 0.7, 0.2)
        figure = metrics.decision_figures(flags, labels, seed=seed, draws=400)["f1"]
        hits += figure["low"] <= truth <= figure["high"]
    assert 0.9 <= hits / 200 <= 0.985


@pytest.mark.parametrize("groups", [None, np.arange(40) // 2])
@pytest.mark.parametrize("kind", ["perfect", "all ones", "all zeros", "inverted"])
def test_extreme_labellings_are_not_certain(kind, groups):
    labels = np.repeat([1, 0], 20)
    flags = {"perfect": labels, "all ones": labels * 0 + 1, "all zeros": labels * 0, "inverted": 1 - labels}[kind]
    figures = metrics.decision_figures(flags, labels, groups)
    for name in ("f1", "kappa"):
        figure = figures[name]
        assert figure["low"] - 1e-9 <= figure["value"] <= figure["high"] + 1e-9
        assert figure["high"] - figure["low"] > 0.02
    if kind == "all zeros":
        assert figures["precision"]["value"] is None
        assert "nobody" in figures["precision"]["why"]
        assert figures["f1"]["value"] == 0


def test_trivial_labellings():
    trivial = metrics.trivial_labellings(100, 100)
    assert trivial["all_ones"] == pytest.approx({"f1": 2 / 3, "kappa": 0, "accuracy": 0.5})
    assert trivial["coin"]["f1"]["value"] == pytest.approx(0.4985, abs=0.002)
    # Known from 20,000 simulated coins on 100 + 100.
    assert trivial["coin"]["f1"]["low"] == pytest.approx(0.42, abs=0.012)
    assert trivial["coin"]["f1"]["high"] == pytest.approx(0.58, abs=0.012)
    assert trivial["coin"]["kappa"]["high"] == pytest.approx(0.14, abs=0.011)
    for members, others in ((3, 1), (1, 3)):
        trivial = metrics.trivial_labellings(members, others)
        truth = np.array([1] * members + [0] * others)
        outcomes = [np.array(flags) for flags in itertools.product((0, 1), repeat=4)]
        assert trivial["coin"]["f1"]["value"] == pytest.approx(
            np.mean([agreement(flags, truth, "f1") for flags in outcomes])
        )
        assert trivial["majority"]["accuracy"] == 0.75
        assert trivial["majority"]["label"] == ("used" if members > others else "not used")


# ---- probabilities ----


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
    assert [(row["items"], row["members"]) for row in rows] == [(4, 1), (4, 3)]
    assert [row["probability"] for row in rows] == pytest.approx([0.2, 0.85])
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
    assert [row["items"] for row in metrics.reliability(values, labels)] == [20] * 10
    assert len(metrics.reliability(values[:45], labels[:45])) == 4


def test_calibration_figures():
    values, labels = probabilities(2, 300)
    figures = metrics.calibration_figures(values, labels)
    for name in ("brier", "log_loss", "ece"):
        assert figures[name]["low"] <= figures[name]["value"] <= figures[name]["high"]
    assert figures["ece"]["p"] > 0.05
    assert figures["ece"]["value"] < figures["ece"]["by_chance"]["high"]
    wrong = metrics.calibration_figures(values**4, labels)
    assert wrong["ece"]["p"] < 0.01
    assert wrong["ece"]["low"] > 0
    share = labels.mean()
    assert figures["brier"]["constant"] == pytest.approx(metrics.brier(np.full(300, share), labels))
    assert figures["log_loss"]["constant"] == pytest.approx(metrics.log_loss(np.full(300, share), labels))
    groups = np.arange(300) // 3
    grouped = metrics.calibration_figures(values, labels, groups)
    assert grouped["brier"]["value"] == figures["brier"]["value"]
    assert grouped["brier"]["low"] != figures["brier"]["low"]


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


# ---- groups ----


def test_per_group():
    scores = [3.0, 1.0, 2.0, 0.0, 5.0, -1.0]
    labels = [1, 0, 0, 0, 1, 0]
    groups = ["a", "a", "b", "b", "c", "d"]
    result = metrics.per_group(scores, labels, groups)
    assert (result["groups"], result["member_groups"]) == (4, 2)
    assert [row["group"] for row in result["table"]] == ["c", "a", "b", "d"]
    row = result["table"][1]
    assert {name: row[name] for name in ("group", "label", "items", "members")} == {
        "group": "a",
        "label": 1,
        "items": 2,
        "members": 1,
    }
    assert (row["max"], row["mean"], row["top3"]) == (3.0, 2.0, 2.0)
    assert row["logmeanexp"] == pytest.approx(np.log((np.exp(3) + np.exp(1)) / 2))
    assert result["max"]["value"] == 1
    assert result["mean"]["value"] == metrics.auc([5, 2, 1, -1], [1, 1, 0, 0])
    crowded = metrics.per_group([1, 2], [1, 0], ["a", "a"])
    assert crowded["max"]["value"] is None
    assert "every group" in crowded["max"]["why"]


# ---- evaluate ----


def everything(seed=0, members=60, others=60, groups=True):
    scores, labels = sample(seed, members, others)
    probability = 1 / (1 + np.exp(0.5 - scores))
    decision = np.select([probability > 0.7, probability < 0.4], ["used", "not used"], "undetermined")
    names = np.arange(len(labels)) // 3 if groups else None
    return scores, labels, probability, decision, names


@pytest.mark.parametrize("groups", [False, True])
def test_evaluate_is_json_and_repeats(groups):
    inputs = everything(groups=groups)
    first = metrics.evaluate(*inputs)
    assert json.loads(json.dumps(first, allow_nan=False)) == first
    assert metrics.evaluate(*inputs) == first
    assert first["auc"]["low"] < first["auc"]["value"] < first["auc"]["high"]
    assert first["verdict"] == "above chance"
    assert [point["attainable"] for point in first["tpr_at_fpr"]] == [True, False, False]
    assert first["tpr_at_fpr"][2]["value"] is None
    assert "1/60" in first["tpr_at_fpr"][2]["why"]
    assert [row["prior"] for row in first["tpr_at_fpr"][0]["ppv"]] == [0.5, 0.1, 0.01]
    for row in first["tpr_at_fpr"][0]["ppv"]:
        assert row["low"] <= row["value"] <= row["high"]
    counts = first["decision"]["counts"]
    assert sum(sum(row.values()) for row in counts.values()) == 120
    settled = first["decision"]["settled_only"]["confusion"]
    assert sum(settled.values()) == first["decision"]["settled"]
    assert (first["per_group"] is None) == (not groups)
    assert first["probability"]["best"]["f1"]["claimed"] > 0
    area = np.trapezoid(first["roc"]["tpr"], first["roc"]["fpr"])
    assert area == pytest.approx(first["auc"]["value"])


def test_evaluate_without_the_optional_parts():
    scores, labels, *_ = everything()
    result = metrics.evaluate(scores, labels)
    for name in ("probability", "decision", "per_group", "strata", "groups"):
        assert result[name] is None
    assert metrics.evaluate(-scores, labels)["verdict"] == "below chance"
    assert metrics.evaluate(np.zeros(120), labels)["verdict"] == "cannot tell"


def test_evaluate_on_two_candidates():
    result = metrics.evaluate([1, 0], [1, 0], [0.9, 0.1], ["undetermined"] * 2, ["a", "b"])
    json.dumps(result, allow_nan=False)
    assert result["verdict"] == "cannot tell"
    assert result["smallest_detectable_auc"]["value"] is None
    assert result["decision"]["settled_only"] is None


def test_evaluate_strata():
    labels = np.array([1, 0, 1, 0, 0, 0, 0, 0])
    groups = ["a", "a", "b", "b", "c", "c", "d", "d"]
    scores = np.array([5.0, 6, 5, 4, 0, 1, 2, 3])
    strata = metrics.evaluate(scores, labels, groups=groups)["strata"]
    assert strata["other_item_of_a_member_group"]["value"] == 0.5
    assert strata["item_of_a_non_member_group"]["value"] == 1
    assert strata["item_of_a_non_member_group"]["non_members"] == 4
    alone = metrics.evaluate(scores, labels, groups=np.arange(8))["strata"]
    assert alone["other_item_of_a_member_group"]["value"] is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scores": [1.0, 2.0]}, "scores must have"),
        ({"scores": [1.0, 2.0, np.nan]}, "finite"),
        ({"scores": [1.0, 2.0, np.inf]}, "finite"),
        ({"scores": ["a", "b", "c"]}, "numbers"),
        ({"labels": [1, 1, 1]}, "at least one member"),
        ({"labels": [0, 0, 0]}, "at least one member"),
        ({"labels": [0, 1, 2]}, "labels must be"),
        ({"labels": ["0", "1", "1"]}, "labels must be"),
        ({"labels": [[0, 1, 1]]}, "labels must be"),
        ({"labels": []}, "at least one member"),
        ({"probability": [0.1, 0.2]}, "probabilities"),
        ({"probability": [0.1, 0.2, 1.2]}, "between 0 and 1"),
        ({"probability": [0.1, 0.2, np.nan]}, "between 0 and 1"),
        ({"decision": ["used", "not used"]}, "one entry"),
        ({"decision": ["used", "not used", "maybe"]}, "decision must be"),
        ({"groups": ["a", "b"]}, "groups must have"),
    ],
)
def test_evaluate_refuses_bad_input(change, message):
    inputs = {"scores": [1.0, 2.0, 3.0], "labels": [0, 1, 1], **change}
    with pytest.raises(ValueError, match=message):
        metrics.evaluate(**inputs)

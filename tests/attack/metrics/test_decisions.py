"""Labellings: the best one against all of them, and its figures against scikit-learn and simulation."""

import itertools
import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scored_samples import sample
from sklearn import metrics as peer

from attack import metrics


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
    assert list(vars(figures.confusion).values()) == [tp, fp, fn, tn]
    for name, expected in (
        ("f1", peer.f1_score(labels, flags)),
        ("kappa", peer.cohen_kappa_score(labels, flags)),
        ("accuracy", peer.accuracy_score(labels, flags)),
        ("precision", peer.precision_score(labels, flags)),
        ("recall", peer.recall_score(labels, flags)),
        ("specificity", peer.recall_score(labels, flags, pos_label=0)),
    ):
        assert getattr(figures, name).value == pytest.approx(expected)
        assert getattr(figures, name).low < expected < getattr(figures, name).high
    exact = stats.binomtest(int(tp), int(tp + fn)).proportion_ci(method="exact")
    assert (figures.recall.low, figures.recall.high) == pytest.approx((exact.low, exact.high))
    grouped = metrics.decision_figures(flags, labels, np.arange(100))
    for name in ("f1", "kappa"):
        assert getattr(grouped, name).low == pytest.approx(getattr(figures, name).low, abs=0.04)


def test_f1_interval_covers():
    rng = np.random.default_rng(0)
    labels = np.repeat([1, 0], 80)
    truth = 2 * 0.7 / (0.7 + 0.2 + 1)
    hits = 0
    for seed in range(200):
        flags = rng.random(160) < np.where(labels == 1, 0.7, 0.2)
        figure = metrics.decision_figures(flags, labels, seed=seed, draws=400).f1
        hits += figure.low <= truth <= figure.high
    assert 0.9 <= hits / 200 <= 0.985


@pytest.mark.parametrize("groups", [None, np.arange(40) // 2])
@pytest.mark.parametrize("kind", ["perfect", "all ones", "all zeros", "inverted"])
def test_extreme_labellings_are_not_certain(kind, groups):
    labels = np.repeat([1, 0], 20)
    flags = {"perfect": labels, "all ones": labels * 0 + 1, "all zeros": labels * 0, "inverted": 1 - labels}[kind]
    figures = metrics.decision_figures(flags, labels, groups)
    for name in ("f1", "kappa"):
        figure = getattr(figures, name)
        assert figure.low - 1e-9 <= figure.value <= figure.high + 1e-9
        assert figure.high - figure.low > 0.02
    if kind == "all zeros":
        assert figures.precision.value is None
        assert "nobody" in figures.precision.why
        assert figures.f1.value == 0


def test_trivial_labellings():
    trivial = metrics.trivial_labellings(100, 100)
    assert vars(trivial.all_ones) == pytest.approx({"f1": 2 / 3, "kappa": 0, "accuracy": 0.5})
    assert trivial.coin.f1.value == pytest.approx(0.4985, abs=0.002)
    # Known from 20,000 simulated coins on 100 + 100.
    assert trivial.coin.f1.low == pytest.approx(0.42, abs=0.012)
    assert trivial.coin.f1.high == pytest.approx(0.58, abs=0.012)
    assert trivial.coin.kappa.high == pytest.approx(0.14, abs=0.011)
    for members, others in ((3, 1), (1, 3)):
        trivial = metrics.trivial_labellings(members, others)
        truth = np.array([1] * members + [0] * others)
        outcomes = [np.array(flags) for flags in itertools.product((0, 1), repeat=4)]
        assert trivial.coin.f1.value == pytest.approx(np.mean([agreement(flags, truth, "f1") for flags in outcomes]))
        assert trivial.majority.accuracy == 0.75
        assert trivial.majority.label == ("used" if members > others else "not used")

"""Picking the best baseline: what is picked, and that being best by chance is not taken for being good."""

import numpy as np
import pytest

from attack.baselines import BASELINES
from attack.baselines.alone import choice
from attack.metrics import auc

NAMES = [name for name, baseline in BASELINES.items() if not baseline.set_dependent]


def test_the_best_is_picked_and_never_one_that_looks_at_the_others():
    label = np.repeat([1, 0], 10)
    rng = np.random.default_rng(0)
    scores = {name: rng.normal(size=20) for name in BASELINES}
    scores["domias"] = label + 0.1 * rng.normal(size=20)
    cheat = next(name for name, baseline in BASELINES.items() if baseline.set_dependent)
    scores[cheat] = label.astype(float)
    assert choice.best(scores, label) == "domias"


@pytest.mark.slow
def test_picking_among_noise_is_worth_nothing():
    best, held = [], []
    for seed in range(80):
        rng = np.random.default_rng(seed)
        label, group = rng.permutation(np.repeat([1, 0], 30)), np.arange(60)
        scores = {name: rng.normal(size=60) for name in NAMES}
        best.append(max(auc(s, label) for s in scores.values()))
        values, picked = choice.held_out(scores, label, group, 5, seed)
        held.append(auc(values, label))
        assert len(picked) == 5
    assert np.mean(best) > 0.62  # what the figure of the best would have said
    assert abs(np.mean(held) - 0.5) < 0.05


def test_held_out_scores_against_a_loop():
    rng = np.random.default_rng(1)
    label, group = rng.permutation(np.repeat([1, 0], 12)), np.repeat(np.arange(8), 3)
    scores = {name: rng.integers(0, 5, 24) + 0.5 * label for name in NAMES[:6]}
    values, picked = choice.held_out(scores, label, group, 4, 2)
    fold = choice.crossfit.folds(group, 4, 2)[group]
    for f in range(4):
        rest = [i for i in range(24) if fold[i] != f]
        areas = [auc(scores[name][rest], label[rest]) for name in NAMES[:6]]
        name = NAMES[int(np.argmax(areas))]
        assert picked[f] == name
        for i in np.flatnonzero(fold == f):
            below = sum((scores[name][j] < scores[name][i]) + 0.5 * (scores[name][j] == scores[name][i]) for j in rest)
            assert values[i] == pytest.approx(below / len(rest))


def test_a_fold_whose_others_are_of_one_class_has_no_score():
    label, group = np.array([1, 1, 0, 0]), np.array([0, 0, 1, 1])
    values, picked = choice.held_out({"gan_leaks": np.arange(4.0)}, label, group, 2, 0)
    assert np.isnan(values).all()
    assert picked == []


@pytest.mark.parametrize(("prior", "ones"), [(0.5, 3), (0.1, 1), (0.001, 1), (0.75, 4)])
def test_labels_by_the_prior(prior, ones):
    score = np.array([0.1, 5.0, -2.0, 0.3, 0.2])
    found = choice.labels("gan_leaks", score, prior) if prior != 0.5 else choice.labels("gan_leaks", score, 0.6)
    assert found.sum() == ones
    assert set(np.argsort(-score)[:ones]) == set(np.flatnonzero(found))


def test_ties_at_the_bar_are_used_and_deciders_decide():
    assert choice.labels("gan_leaks", np.array([1.0, 1.0, 1.0, 0.0]), 0.25).tolist() == [1, 1, 1, 0]
    assert choice.labels("vcmi.retrieval.ssim", np.array([0.1, -0.1, 0.0]), 0.9).tolist() == [1, 0, 0]

"""Probabilities from dev labels without shadows: the map, what it claims of noise, and that its promises come true."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import optimize, special, stats

from attack.baselines import BASELINES
from attack.baselines.alone import calibrating, choice
from attack.inference import crossfit
from attack.metrics import auc, decide

NAMES = [name for name, baseline in BASELINES.items() if not baseline.set_dependent][::4]


def draw(rng, members, area, names=NAMES):
    """Scores of correlated baselines, the first of them with the AUC `area`, patients of two slices; labels; groups"""
    label, group = np.repeat([1, 0], members), np.arange(2 * members) // 2
    shared = 0.5 * rng.normal(size=members)[group] + math.sqrt(0.75) * rng.normal(size=2 * members)
    loads = np.linspace(1, 0.3, len(names))
    shift = math.sqrt(2) * stats.norm.ppf(area)
    noise = math.sqrt(0.7) * shared + math.sqrt(0.3) * rng.normal(size=(len(names), 2 * members))
    return dict(zip(names, np.exp(shift * loads[:, None] * label + noise), strict=True)), label, group


def test_the_map_against_a_plain_minimiser():
    rng = np.random.default_rng(0)
    label = np.repeat([1, 0], [12, 20])
    score = np.round(2 * (rng.normal(size=32) + label))  # many ties
    found = calibrating.fit(score, label)
    normal = []
    for s in score:
        rank = sum(t < s for t in score) + (1 + sum(t == s for t in score)) / 2
        normal.append(stats.norm.ppf(rank / 33))
    normal = np.array(normal)

    def loss(theta):
        total = 0.0
        for z, y in zip(normal, label, strict=True):
            chance, wanted = special.expit(theta[0] * z + theta[1]), (13 / 14 if y else 1 / 14)
            entropy = -wanted * math.log(chance) - (1 - wanted) * math.log(1 - chance)
            total += entropy / (2 * (12 if y else 20))
        return total + 5e-4 * (theta[0] * normal.std()) ** 2

    slope, offset = optimize.minimize(loss, [1.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-10}).x
    np.testing.assert_allclose(found.logit(score), slope * normal + offset, atol=1e-3)


def test_units_do_not_matter_and_a_higher_score_never_has_lower_odds():
    rng = np.random.default_rng(1)
    scores, label, _ = draw(rng, 30, 0.8)
    score = np.log(scores[NAMES[0]])
    known, asked = calibrating.fit(score, label), np.linspace(-9, 9, 200)
    np.testing.assert_allclose(known.logit(score), calibrating.fit(np.exp(5 * score), label).logit(np.exp(5 * score)))
    assert (np.diff(known.logit(asked)) >= 0).all()
    assert known.logit(np.array([99.0])) == known.logit(score.max())
    inside = np.linspace(np.sort(score)[2], np.sort(score)[-3], 50)
    assert (np.diff(known.logit(inside)) > 0).all()  # so candidates between two dev slices keep their order
    upside_down = calibrating.fit(-score, label)
    assert np.ptp(upside_down.logit(-asked)) == pytest.approx(0, abs=1e-6)


def test_few_slices_that_are_ranked_without_fault_leave_doubt():
    found = calibrating.fit(np.arange(16.0), np.repeat([0, 1], 8))
    chance = special.expit(found.logit(np.arange(16.0)))
    assert 0.005 < chance[0] < 0.2
    assert 0.8 < chance[-1] < 0.995


def test_held_out_odds_against_a_loop():
    rng = np.random.default_rng(2)
    scores, label, group = draw(rng, 12, 0.7, NAMES[:4])
    found = calibrating.held_out(scores, label, group, 3, 5)
    fold = crossfit.folds(group, 3, 5)[group]
    for f in range(3):
        rest = np.flatnonzero(fold != f)
        areas = [auc(scores[name][rest], label[rest]) for name in NAMES[:4]]
        name = NAMES[int(np.argmax(areas))]
        fitted = calibrating.fit(scores[name][rest], label[rest])
        for i in np.flatnonzero(fold == f):
            assert found[i] == fitted.logit(scores[name][i : i + 1])[0]


@pytest.mark.parametrize("right", [6, 7, 9])
def test_the_strength_in_closed_form(right):
    """Log odds of +-c that are right in a share of q: the loss is lowest where factor . c = logit q."""
    c = 3.0
    label = np.repeat([1, 0], 10)
    said = np.tile(np.arange(10) < right, 2)
    logit = np.where(said == (label == 1), c, -c)
    assert calibrating.strength(logit, label) == pytest.approx(special.logit(right / 10) / c, abs=1e-3)
    assert calibrating.strength(0.1 * logit, label) == pytest.approx(1, abs=1e-3)  # never sharpened
    assert calibrating.strength(-logit, label) == pytest.approx(0, abs=1e-3)


def test_of_noise_every_probability_is_the_prior():
    silent, flat, unshrunk = 0, 0, []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        scores, label, _ = draw(rng, 30, 0.5)
        order = rng.permutation(60) // 2  # patients without a role
        found = calibrating.calibrate(scores, label, order, 5, seed)
        chance = found.probability(scores[found.name], 0.3)
        silent += found.strength == 0
        flat += np.allclose(chance, 0.3)
        unshrunk.append(np.ptp(special.expit(found.map.logit(scores[found.name]))))
    assert silent == flat >= 27
    assert np.mean(unshrunk) > 0.2  # what the map alone would have claimed


@pytest.mark.parametrize(("members", "area"), [(30, 0.5), (30, 0.7), (30, 0.9), (80, 0.6), (80, 0.8)])
def test_the_expected_f1_comes_true(members, area):
    gaps, reached = [], []
    for seed in range(16):
        rng = np.random.default_rng([seed, members])
        scores, label, group = draw(rng, members, area)
        found = calibrating.calibrate(scores, label, group, 5, seed)
        asked, truth, _ = draw(rng, 50, area)
        order = rng.permutation(100)
        decided = decide(found.probability(asked[found.name][order], 0.5))
        hits = int(decided.labels @ truth[order])
        reached.append(2 * hits / (decided.claimed + 50))
        gaps.append(decided.expected - reached[-1])
    assert abs(np.mean(gaps)) < 0.04
    assert np.mean(reached) > 2 / 3 - 0.015
    if area > 0.75:
        assert np.mean(reached) > 2 / 3 + 0.03


def test_where_nothing_can_be_held_out_nothing_is_claimed():
    label, group = np.array([1, 1, 0, 0]), np.array([0, 0, 1, 1])
    found = calibrating.calibrate({"gan_leaks": np.array([3.0, 4.0, 1.0, 2.0])}, label, group, 2, 0)
    assert (found.worth, found.strength) == (choice.Worth(None, None, ()), 0.0)
    np.testing.assert_allclose(found.probability(np.array([0.0, 9.0]), 0.2), 0.2)


def test_equal_scores_claim_nothing():
    label, group = np.tile([1, 0], 10), np.arange(20)
    found = calibrating.calibrate({"gan_leaks": np.full(20, -7.0)}, label, group, 4, 0)
    assert found.worth.auc == 0.5
    np.testing.assert_allclose(found.probability(np.array([-8.0, -7.0, -6.0]), 0.5), 0.5)


def test_a_baseline_that_looks_at_the_others_is_never_picked():
    rng = np.random.default_rng(3)
    scores, label, group = draw(rng, 20, 0.7, NAMES[:3])
    cheat = next(name for name, baseline in BASELINES.items() if baseline.set_dependent)
    found = calibrating.calibrate({cheat: label + 0.0} | scores, label, group, 4, 0)
    assert found.name == choice.best(scores, label)
    assert cheat not in found.worth.names

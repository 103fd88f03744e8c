"""Answers about piles, and what answers are worth, against plain loops and piles that are known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attack.decision.attribution import checking, pile_answers
from attack.decision.attribution.checking import Answered
from attack.decision.attribution.pile_answers import Votes
from attack.inference.attribution.by_shadow import Lessons

PRIOR = pile_answers.prior_of(3, 0.1)


def votes(rows, unit):
    return Votes(np.array(rows, float), np.array(unit))


def random_votes(images=30, units=6, seed=0):
    rng = np.random.default_rng(seed)
    return Votes(rng.dirichlet(np.ones(4), images), np.append(np.arange(units), rng.integers(0, units, images - units)))


def test_evidence_is_a_sum_over_units_of_the_mean_log_ratio():
    cast = random_votes()
    counts = np.arange(6)
    wanted = np.zeros(4)
    for unit in range(6):
        rows = cast.probability[cast.unit == unit]
        wanted += counts[unit] * np.log((0.99 * rows + 0.01 * PRIOR) / PRIOR).mean(0)
    assert pile_answers.evidence(cast, PRIOR, counts) == pytest.approx(wanted)


@given(st.integers(2, 40))
def test_an_image_that_is_there_often_says_no_more(times):
    one = votes([[0.7, 0.1, 0.1, 0.1], [0.2, 0.5, 0.2, 0.1]], [0, 1])
    many = Votes(np.repeat(one.probability, [times, 1], axis=0), np.repeat([0, 1], [times, 1]))
    assert pile_answers.evidence(many, PRIOR) == pytest.approx(pile_answers.evidence(one, PRIOR))


def test_no_temper_leaves_the_prior_and_all_of_it_is_bayes():
    cast = random_votes()
    found = pile_answers.evidence(cast, PRIOR)
    assert pile_answers.whole(found, PRIOR, 0.0) == pytest.approx(PRIOR)
    bayes = PRIOR * np.exp(found)
    assert pile_answers.whole(found, PRIOR, 1.0) == pytest.approx(bayes / bayes.sum())


def test_without_a_prior_none_of_them_is_no_answer():
    prior = pile_answers.prior_of(3, 0.0)
    cast = votes([[0.5, 0.3, 0.2, 0.0]] * 4, range(4))
    assert pile_answers.whole(pile_answers.evidence(cast, prior), prior, 1.0)[3] == 0
    assert pile_answers.shares(cast, prior)[3] == 0


@pytest.mark.parametrize("truth", [(0.6, 0.3, 0.1, 0.0), (0.1, 0.1, 0.4, 0.4)])
def test_shares_are_those_of_a_mixture_though_each_image_is_uncertain(truth):
    rng = np.random.default_rng(0)
    answer = rng.choice(4, 4000, p=truth)
    mean = 1.5 * np.eye(4)
    seen = mean[answer] + rng.normal(size=(4000, 4))
    likelihood = np.exp(-((seen[:, None] - mean[None]) ** 2).sum(2) / 2)
    even = likelihood * PRIOR
    cast = Votes(even / even.sum(1, keepdims=True), np.arange(4000))
    plain = cast.probability.mean(0)
    found = pile_answers.shares(cast, PRIOR)
    assert found == pytest.approx(truth, abs=0.03)
    assert np.abs(plain - truth).max() > 0.08  # a plain mean leans towards the prior


def test_shares_of_few_units_stay_off_the_ends():
    sure = votes([[1.0, 0.0, 0.0, 0.0]] * 50, [0] * 25 + [1] * 25)
    found = pile_answers.shares(sure, PRIOR)
    assert found.sum() == pytest.approx(1)
    assert found[0] == pytest.approx((2 + 0.3) / 3, abs=1e-3)  # two units, and one that says nothing


def shadows(right=1.0, count=6, images=20, subsets=3, seed=0):
    """Lessons and held-out probabilities of shadows, of which a share is judged right."""
    rng = np.random.default_rng(seed)
    shadow = np.repeat(np.arange(count), images)
    made_from = shadow % subsets
    listed, hidden = (np.full((len(shadow), subsets + 1), 0.05) for _ in range(2))
    for k in range(count):
        here = shadow == k
        said = k % subsets if k < round(right * count) else (k + 1) % subsets
        listed[here, said] = 0.95
        hidden[here, subsets if k < round(right * count) else (k + 2) % subsets] = 0.95
        hidden[here, k % subsets] = 0.0
    listed /= listed.sum(1, keepdims=True)
    hidden /= hidden.sum(1, keepdims=True)
    known = Lessons(
        np.zeros((len(shadow), subsets, 1)), made_from, shadow, rng.integers(0, 9, len(shadow)), np.arange(count)
    )
    return known, listed, hidden, known.slice


@pytest.mark.parametrize("count", [3, 6, 30])
def test_a_pile_is_never_surer_than_so_many_shadows_can_show(count):
    known, listed, hidden, unit = shadows(count=count)
    temper = pile_answers.fit(known, listed, hidden, unit, 0.1)
    assert 0 < temper <= 1
    stated = []
    for k in range(count):
        here = known.shadow == k
        cast = Votes(listed[here], pile_answers.numbered(unit[here]))
        stated.append(pile_answers.whole(pile_answers.evidence(cast, PRIOR), PRIOR, temper)[k % 3])
    assert np.mean(stated) == pytest.approx((count + 1) / (count + 2), abs=0.06)


def test_piles_of_shadows_that_are_judged_wrong_count_for_less():
    tempers = [pile_answers.fit(*shadows(right, 30), 0.1) for right in (1.0, 0.8, 0.4)]
    assert tempers[0] > tempers[1] > tempers[2]


def answered(images=60, fixed=True, seed=0):
    rng = np.random.default_rng(seed)
    truth = np.arange(images) % 3
    probability = rng.dirichlet(np.ones(4), images)
    probability[np.arange(images), truth] += 0.5
    probability /= probability.sum(1, keepdims=True)
    return Answered(probability, truth, rng.integers(0, 3, images), rng.integers(0, 8, images), truth.copy(), fixed)


def test_figures_against_a_loop():
    known = answered()
    found = checking.figures(known, known.probability)
    right = near = lost = 0.0
    confusion = np.zeros((3, 3), int)
    for row, truth, nearest in zip(known.probability, known.truth, known.nearest, strict=True):
        inside = row[:3] / row[:3].sum()
        right += inside.argmax() == truth
        near += nearest == truth
        lost -= np.log(inside[truth])
        confusion[truth, inside.argmax()] += 1
    assert found.accuracy.value == pytest.approx(right / 60)
    assert found.nearest.value == pytest.approx(near / 60)
    assert found.gain.value == pytest.approx((right - near) / 60)
    assert found.log_loss == pytest.approx(lost / 60)
    assert found.confusion == tuple(map(tuple, confusion.tolist()))
    assert (found.images, found.generators, found.chance) == (60, 3, 1 / 3)
    assert found.hidden_none == found.none == pytest.approx(known.probability[:, 3].mean())
    assert sum(row.count for row in found.reliability) == 60
    for figure in (found.accuracy, found.nearest, found.gain):
        assert figure.low <= figure.value <= figure.high


def test_images_of_one_unit_widen_the_interval():
    known = answered()
    together = (known.listed.argmax(1) == known.truth).astype(int)  # all errors of a generator near one slice
    wide = checking.figures(Answered(*(vars(known) | {"unit": together}).values())).accuracy
    narrow = checking.figures(Answered(*(vars(known) | {"unit": np.arange(60)}).values())).accuracy
    assert wide.high - wide.low > narrow.high - narrow.low


def test_other_generators_widen_the_interval():
    same, other = (checking.figures(answered(fixed=fixed)).accuracy for fixed in (True, False))
    assert other.high - other.low > same.high - same.low


def test_images_that_no_subset_explains_at_all_count_as_even():
    known = answered()
    known.probability[0] = (0, 0, 0, 1)
    assert known.listed[0].tolist() == [1 / 3] * 3

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from attack.decision import tempering


def naive(score, probability):
    """By all pairs."""
    top, bottom = 0.0, 0.0
    for i, (a, p) in enumerate(zip(score, probability, strict=True)):
        for j, (b, q) in enumerate(zip(score, probability, strict=True)):
            if i != j:
                top += p * (1 - q) * ((a > b) + 0.5 * (a == b))
                bottom += p * (1 - q)
    return top / bottom


def test_the_implied_auc_is_that_of_all_pairs():
    rng = np.random.default_rng(0)
    score, probability = rng.integers(0, 9, 30).astype(float), rng.random(30)
    assert tempering.implied_auc(score, probability) == pytest.approx(naive(score, probability), abs=1e-9)


def test_certain_and_constant_probabilities_have_an_implied_auc():
    assert tempering.implied_auc(np.array([-9.0, 9.0]), np.array([0.0, 1.0])) == pytest.approx(1.0)
    assert tempering.implied_auc(np.ones(3), np.ones(3)) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="one candidate"):
        tempering.implied_auc(np.ones(1), np.ones(1))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.51, 0.97), st.floats(0.05, 0.95), st.floats(1e-3, 1e3))
def test_tempered_probabilities_imply_the_auc_and_have_the_mean_of_the_prior(seed, auc, prior, unit):
    score = unit * np.random.default_rng(seed).normal(size=80)
    probability = tempering.temper(score, auc, prior).probability(score)
    assert probability.mean() == pytest.approx(prior, abs=1e-6)
    assert tempering.implied_auc(score, probability) == pytest.approx(auc, abs=1e-4)
    order = np.argsort(score)
    assert (np.diff(probability[order]) >= 0).all()


def test_at_one_half_and_below_every_probability_is_next_to_the_prior_in_the_order_of_the_scores():
    score = np.random.default_rng(0).normal(size=50)
    for auc in (0.2, 0.5):
        probability = tempering.temper(score, auc, 0.3).probability(score)
        np.testing.assert_allclose(probability, 0.3, atol=2e-3)
        assert (np.argsort(probability) == np.argsort(score)).all()


def test_an_auc_that_no_slope_reaches_gets_the_steepest():
    probability = tempering.temper(np.arange(10.0), 1.0, 0.5).probability(np.arange(10.0))
    np.testing.assert_allclose(probability, np.repeat([0.0, 1.0], 5), atol=1e-3)


def test_scores_that_are_all_the_same_get_the_prior():
    found = tempering.temper(np.full(5, 3.0), 0.9, 0.2)
    np.testing.assert_allclose(found.probability(np.full(5, 3.0)), 0.2)


def test_the_true_map_of_normal_scores_is_found_again():
    """Of scores whose log odds are a line, the slope is that of the line."""
    rng = np.random.default_rng(1)
    member = np.arange(4000) % 2
    score = rng.normal(size=4000) + 1.5 * member  # log odds 1.5 x - 1.5^2 / 2
    auc = special.ndtr(1.5 / np.sqrt(2))
    found = tempering.temper(score, auc, 0.5)
    assert found.slope == pytest.approx(1.5, rel=0.06)
    assert found.offset == pytest.approx(-(1.5**2) / 2, rel=0.1)

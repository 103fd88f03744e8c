"""The attack model against scikit-learn, and what its constraints promise."""

import numpy as np
import pytest
from scipy import special
from sklearn.linear_model import LogisticRegression

from attack import model

NAMES = ("a", "b", "c")


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    label = np.arange(400) % 2
    z = rng.normal(size=(400, 3)) + label[:, None] * np.array([1.0, 0.5, 0.2])
    return z, label.astype(float)


def test_without_constraints_at_work_it_is_plain_logistic_regression(data):
    z, label = data
    found = model.fit_combiner(z, label, NAMES, ridge=0.0)
    wanted = LogisticRegression(C=1 / (1e-3 * len(z)), tol=1e-8, max_iter=1000).fit(z, label)
    np.testing.assert_allclose(found.weights, wanted.coef_[0], atol=2e-3)
    assert found.bias == pytest.approx(float(wanted.intercept_[0]), abs=2e-3)


def test_weights_are_never_negative(data):
    z, label = data
    z = z * np.array([1, 1, -1])
    assert (model.fit_combiner(z, label, NAMES, ridge=0.0).weights >= 0).all()


def test_a_large_ridge_gives_equal_weights(data):
    weights = model.fit_combiner(*data, NAMES, ridge=1e6).weights
    np.testing.assert_allclose(weights, weights.mean(), rtol=1e-3)
    assert weights.mean() > 0.1


def test_the_share_of_members_does_not_move_the_intercept(data):
    z, label = data
    few = np.concatenate([np.flatnonzero(label == 0), np.flatnonzero(label == 1)[:40]])
    whole, part = (model.fit_combiner(z[i], label[i], NAMES, 1.0) for i in (slice(None), few))
    assert abs(whole.bias - part.bias) < 0.35  # log(10) = 2.3 apart without the balance


def test_weights_of_pairs_count_them(data):
    z, label = data
    weight = np.random.default_rng(1).integers(0, 3, len(z)).astype(float)
    repeated = np.repeat(np.arange(len(z)), weight.astype(int))
    a = model.fit_combiner(z, label, NAMES, 0.5, weight)
    b = model.fit_combiner(z[repeated], label[repeated], NAMES, 0.5)
    np.testing.assert_allclose(a.weights, b.weights, atol=1e-4)


def test_recalibration_of_log_odds_that_are_right_changes_little():
    rng = np.random.default_rng(0)
    label = np.arange(4000) % 2
    score = rng.normal(size=4000) + 2.0 * label - 1.0  # true log odds are 2 x score
    found = model.fit_recalibration(score, label.astype(float))
    assert found.slope == pytest.approx(2.0, abs=0.15)
    assert found.offset == pytest.approx(0.0, abs=0.1)


def test_recalibration_of_noise_says_the_prior():
    rng = np.random.default_rng(0)
    found = model.fit_recalibration(rng.normal(size=2000), (np.arange(2000) % 2).astype(float))
    assert abs(found.probability(np.array([-3.0, 0.0, 3.0]), 0.5) - 0.5).max() < 0.12


def test_recalibration_never_turns_scores_round():
    score = np.arange(100.0)
    found = model.fit_recalibration(score, (score < 50).astype(float))
    assert found.slope == pytest.approx(0.0, abs=1e-9)


def test_prior_shifts_the_log_odds():
    found = model.Recalibration(1.0, 0.0)
    assert found.probability(np.array([0.0]), 0.1)[0] == pytest.approx(0.1)
    assert special.logit(found.probability(np.array([1.0]), 0.1))[0] == pytest.approx(1 + special.logit(0.1))


def test_json_round_trip(data):
    combiner, recalibration = model.fit_combiner(*data, NAMES, 1.0), model.Recalibration(1.5, -0.25)
    (back,), again = model.from_json(model.to_json([combiner], recalibration))
    assert (back.weights == combiner.weights).all()
    assert (back.bias, back.names, again) == (combiner.bias, combiner.names, recalibration)

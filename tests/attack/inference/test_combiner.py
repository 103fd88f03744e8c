"""The combiner against scikit-learn, and what it promises."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from attack.inference import combiner
from attack.inference.combiner import Combiner

NAMES = ("a", "b", "c")


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    label = np.arange(400) % 2
    z = rng.normal(size=(400, 3)) + label[:, None] * np.array([1.0, 0.5, 0.2])
    return z, label.astype(float)


def test_without_constraints_at_work_it_is_plain_logistic_regression(data):
    z, label = data
    found = combiner.fit(z, label, NAMES, ridge=0.0)
    wanted = LogisticRegression(C=1 / (1e-3 * len(z)), tol=1e-8, max_iter=1000).fit(z, label)
    np.testing.assert_allclose(found.weights, wanted.coef_[0], atol=2e-3)
    assert found.bias == pytest.approx(float(wanted.intercept_[0]), abs=2e-3)


def test_weights_are_never_negative(data):
    z, label = data
    z = z * np.array([1, 1, -1])
    assert (combiner.fit(z, label, NAMES, ridge=0.0).weights >= 0).all()


def test_a_large_ridge_gives_equal_weights(data):
    weights = combiner.fit(*data, NAMES, ridge=1e6).weights
    np.testing.assert_allclose(weights, weights.mean(), rtol=1e-3)
    assert weights.mean() > 0.1


def test_the_share_of_members_does_not_move_the_intercept(data):
    z, label = data
    few = np.concatenate([np.flatnonzero(label == 0), np.flatnonzero(label == 1)[:40]])
    whole, part = (combiner.fit(z[i], label[i], NAMES, 1.0) for i in (slice(None), few))
    assert abs(whole.bias - part.bias) < 0.35  # log(10) = 2.3 apart without the balance


def test_weights_of_pairs_count_them(data):
    z, label = data
    weight = np.random.default_rng(1).integers(0, 3, len(z)).astype(float)
    repeated = np.repeat(np.arange(len(z)), weight.astype(int))
    a = combiner.fit(z, label, NAMES, 0.5, weight)
    b = combiner.fit(z[repeated], label[repeated], NAMES, 0.5)
    np.testing.assert_allclose(a.weights, b.weights, atol=1e-4)


@pytest.fixture(scope="module")
def fitted():
    rng = np.random.default_rng(2)
    label = (np.arange(300) % 2).astype(float)
    return combiner.fit(rng.normal(size=(300, 3)) + label[:, None] * np.array([1.0, 0.5, 0.2]), label, NAMES, 0.1)


def test_json_holds_all_of_it(fitted):
    z = np.random.default_rng(3).normal(size=(200, 3))
    again = Combiner.from_json(json.loads(json.dumps(fitted.to_json())))
    np.testing.assert_array_equal(again.logit(z), fitted.logit(z))
    assert again.names == NAMES


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10_000), column=st.integers(0, 2), step=st.floats(0.01, 4))
def test_no_signal_counts_against_its_own_meaning(fitted, seed, column, step):
    z = np.random.default_rng(seed).normal(size=(20, 3)) * 2
    higher = z + step * (np.arange(3) == column)
    assert (fitted.logit(higher) >= fitted.logit(z) - 1e-12).all()


def test_a_pairs_log_odds_do_not_depend_on_the_others(fitted):
    z = np.random.default_rng(5).normal(size=(64, 3))
    together = fitted.logit(z)
    assert together.tolist() == [float(fitted.logit(row)) for row in z]
    np.testing.assert_array_equal(fitted.logit(z.reshape(4, 16, 3)), together.reshape(4, 16))


def test_pairs_of_weight_zero_count_for_nothing(data):
    z, label = data
    other, weight = z.copy(), (np.arange(len(z)) % 3 > 0).astype(float)
    other[weight == 0] = z[weight == 0][::-1]
    one, two = (combiner.fit(a, label, NAMES, 0.1, weight) for a in (z, other))
    np.testing.assert_allclose(one.logit(z), two.logit(z), atol=1e-9)

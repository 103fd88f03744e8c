"""The recalibration, and the fitted attack on disk."""

import numpy as np
import pytest
from scipy import special

from attack.inference import combiner, model


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


def test_json_round_trip():
    fitted, recalibration = combiner.Combiner(("a", "b"), np.array([0.1, 1 / 3]), -0.7), model.Recalibration(1.5, -0.25)
    (back,), again = model.from_json(model.to_json([fitted], recalibration))
    assert (back.weights == fitted.weights).all()
    assert (back.bias, back.names, again) == (fitted.bias, fitted.names, recalibration)

"""Every combiner against naive loops or scikit-learn, and what all of them promise."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attack import combiners
from attack.combiners import boosting

NAMES = ("a", "b", "c")
EVERY = combiners.MODELS


def make(count=300, seed=0, gain=(1.0, 0.5, 0.2)):
    rng = np.random.default_rng(seed)
    label = (np.arange(count) % 2).astype(float)
    return np.round(rng.normal(size=(count, 3)) + label[:, None] * np.array(gain), 2), label


@pytest.fixture(scope="module")
def fitted():
    z, label = make()
    return {model: combiners.fit_combiner(z, label, NAMES, 0.1, None, model) for model in EVERY}


def test_trees_give_the_log_odds_of_scikit_learn_to_the_last_bit():
    z, label = make()
    weight = np.random.default_rng(1).integers(0, 3, len(z)).astype(float)
    asked = np.concatenate([z, make(500, 1)[0] * 2])
    grown, ours = boosting.grow(z, label, weight), boosting.fit(z, label, NAMES, weight)
    np.testing.assert_array_equal(ours.logit(asked), grown.decision_function(asked))
    assert len(ours.trees) == boosting.SETTINGS["max_iter"]
    assert np.ptp(ours.logit(asked)) > 1


def test_mean_ranks_as_it_says():
    z, label = make()
    found = combiners.fit_combiner(z, label, NAMES, 0.1, None, "mean").logit(z)
    wanted = [sum(row) / 3 for row in z.tolist()]
    slope, offset = np.polyfit(wanted, found, 1)
    assert slope > 0.1
    np.testing.assert_allclose(found, slope * np.array(wanted) + offset, atol=1e-9)


def test_the_mean_of_noise_keeps_its_order():
    z, label = make(gain=(-1.0, -1.0, -1.0))
    found = combiners.fit_combiner(z, label, NAMES, 0.1, None, "mean")
    assert found.slope == pytest.approx(0.1)


@pytest.mark.parametrize("model", EVERY)
def test_json_holds_all_of_it(fitted, model):
    z = make(200, 3)[0]
    again = combiners.from_json(json.loads(json.dumps(fitted[model].to_json())))
    np.testing.assert_array_equal(again.logit(z), fitted[model].logit(z))
    assert again.names == NAMES


@pytest.mark.parametrize("model", EVERY)
@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10_000), column=st.integers(0, 2), step=st.floats(0.01, 4))
def test_no_signal_counts_against_its_own_meaning(fitted, model, seed, column, step):
    z = np.random.default_rng(seed).normal(size=(20, 3)) * 2
    higher = z + step * (np.arange(3) == column)
    assert (fitted[model].logit(higher) >= fitted[model].logit(z) - 1e-12).all()


@pytest.mark.parametrize("model", EVERY)
def test_a_pairs_log_odds_do_not_depend_on_the_others(fitted, model):
    z = make(64, 5)[0]
    together = fitted[model].logit(z)
    assert together.tolist() == [float(fitted[model].logit(row)) for row in z]
    np.testing.assert_array_equal(fitted[model].logit(z.reshape(4, 16, 3)), together.reshape(4, 16))


@pytest.mark.parametrize("model", EVERY)
def test_the_share_of_members_moves_nothing(model):
    """Log odds of a middling pair: without the balance a tenth of the members would move them by log 10 = 2.3."""
    z, label = make(2000)
    few = np.concatenate([np.flatnonzero(label == 0), np.flatnonzero(label == 1)[:100]])
    whole, part = (combiners.fit_combiner(z[i], label[i], NAMES, 0.1, None, model) for i in (slice(None), few))
    middle = np.full((1, 3), 0.3)
    assert abs(whole.logit(middle) - part.logit(middle)) < 0.6


@pytest.mark.parametrize("model", EVERY)
def test_pairs_of_weight_zero_count_for_nothing(model):
    z, label = make()
    other = z.copy()
    weight = (np.arange(len(z)) % 3 > 0).astype(float)
    other[weight == 0] = z[weight == 0][::-1]
    one, two = (combiners.fit_combiner(a, label, NAMES, 0.1, weight, model) for a in (z, other))
    np.testing.assert_allclose(one.logit(z), two.logit(z), atol=1e-9)


def test_an_unknown_model_is_refused():
    for name in ("auto", "maximum"):
        with pytest.raises(ValueError, match=f"'{name}' is no combiner: mean, logistic, boosting$"):
            combiners.fit_combiner(*make(), NAMES, 0.1, None, name)

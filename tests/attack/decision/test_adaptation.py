"""Dev labels move the weights towards what the target shows, and tell nothing to the slices they are of."""

import numpy as np
import pytest
from scipy import optimize
from sklearn.linear_model import LogisticRegression

from attack import metrics
from attack.decision import adaptation, unlabelled
from attack.decision.unlabelled import Slices
from attack.inference.combiner import Combiner

NAMES = ("a@x", "b@x", "a@y", "b@y")
START = Combiner(NAMES, np.array([0.3, 0.2, 0.25, 0.25]), -0.4)


def draw(count=80, gain=(1.0, 0.0, 1.0, 0.0), seed=0):
    rng = np.random.default_rng(seed)
    label = (np.arange(count) % 2).astype(int)
    return rng.normal(size=(count, 4)) + label[:, None] * np.array(gain), label


def test_the_prior_lets_a_signals_columns_move_together():
    wanted = [[0.05, 0, 0.04, 0], [0, 0.05, 0, 0.04], [0.04, 0, 0.05, 0], [0, 0.04, 0, 0.05]]
    np.testing.assert_allclose(adaptation.covariance(NAMES), wanted)


def test_it_is_the_maximum_of_the_posterior():
    """By a search without gradients, of a density that is written down anew."""
    z, label = draw(gain=(1.0, 0.5, 1.0, 0.5))
    found = adaptation.adapt(START, z, label)
    side = np.where(label == 1, 1.0, -1.0)
    inverse = np.linalg.inv(adaptation.covariance(NAMES))

    def surprise(theta):
        away = theta[1:] - START.weights
        return sum(np.log1p(np.exp(-side * (theta[0] + z @ theta[1:])))) + away @ inverse @ away / 2

    plain = optimize.minimize(surprise, np.zeros(5), method="Powell", options={"xtol": 1e-8, "ftol": 1e-12})
    assert plain.x[1:].min() > 0
    np.testing.assert_allclose(found.weights, plain.x[1:], atol=1e-3)
    assert (found.bias, found.names) == (START.bias, NAMES)


def test_without_a_prior_it_is_logistic_regression(monkeypatch):
    monkeypatch.setattr(adaptation, "SIGNAL", 1e3)
    monkeypatch.setattr(adaptation, "COLUMN", 1e3)
    z, label = draw(gain=(1.0, 0.7, 1.0, 0.7))
    wanted = LogisticRegression(C=1e6, tol=1e-8, max_iter=1000).fit(z, label)
    np.testing.assert_allclose(adaptation.adapt(START, z, label).weights, wanted.coef_[0], atol=2e-3)


def test_counts_are_repeated_slices():
    z, label = draw()
    counts = np.random.default_rng(1).integers(0, 3, len(label)).astype(float)
    rows = np.repeat(np.arange(len(label)), counts.astype(int))
    share = counts.sum() / 2
    assert share != counts[label == 1].sum()  # the classes weigh one half each all the same
    one, two = adaptation.adapt(START, z, label, counts), adaptation.adapt(START, z[rows], label[rows])
    np.testing.assert_allclose(one.weights, two.weights, atol=1e-4)


def test_one_class_moves_nothing():
    z, label = draw()
    assert adaptation.adapt(START, z, np.ones_like(label)) is START
    assert adaptation.adapt(START, z, label, (label == 0).astype(float)) is START


def test_weights_are_never_negative():
    z, label = draw(gain=(-2.0, 1.0, -2.0, 1.0))
    assert adaptation.adapt(START, z, label).weights.min() >= 0


def test_what_the_target_shows_is_found_better():
    """Half of the columns say nothing on this target, though they do on the shadows."""
    z, label = draw(120, gain=(1.2, 0.0, 1.2, 0.0), seed=3)
    asked, truth = draw(2000, gain=(1.2, 0.0, 1.2, 0.0), seed=4)
    found = adaptation.fit([START], [z], label, np.arange(120) % 5)
    before, after = metrics.auc(START.logit(asked), truth), metrics.auc(found.of_new([asked]), truth)
    assert after > before + 0.02
    assert found.weights[[0, 2]].min() > START.weights.max()


def test_a_slices_own_label_is_in_nothing_that_scores_it():
    z, label = draw(40)
    fold = np.arange(40) // 10
    turned = np.where(fold == 2, 1 - label, label)
    one, two = (adaptation.fit([START], [z], y, fold).of_pool([z]) for y in (label, turned))
    np.testing.assert_array_equal(one[fold == 2], two[fold == 2])
    assert (one[fold != 2] != two[fold != 2]).all()


def test_draws_are_averaged():
    z, label = draw(40)
    other, fold = z + 0.1, np.arange(40) // 10
    each = [adaptation.fit([START], [one], label, fold) for one in (z, other)]
    both = adaptation.fit([START, START], [z, other], label, fold)
    wanted = (each[0].of_pool([z]) + each[1].of_pool([other])) / 2
    np.testing.assert_allclose(both.of_pool([z, other]), wanted, rtol=1e-12)
    wanted = (each[0].of_new([z]) + each[1].of_new([other])) / 2
    np.testing.assert_allclose(both.of_new([z, other]), wanted, rtol=1e-12)
    np.testing.assert_allclose(each[0].of_new([z]), np.mean([c.logit(z) for c in each[0].combiners[0]], axis=0))


@pytest.mark.slow
@pytest.mark.parametrize("gain", [0.0, 1.5])
def test_the_comparison_with_unused_slices_keeps_its_level(gain):
    """Candidates that nobody used, whether dev slices leak or not: p is below .05 in some 5 of 100."""
    below = []
    for seed in range(300):
        z, label = draw(80, gain=(gain, gain / 3, gain, 0.0), seed=seed)
        asked = np.random.default_rng([seed, 1]).normal(size=(60, 4))
        found = adaptation.fit([START], [z], label, np.arange(80) // 2 % 5)
        null = found.of_pool([z])[label == 0]
        sides = Slices(found.of_new([asked]), np.arange(60)), Slices(null, 60 + np.arange(40))
        below.append(unlabelled.contrast(*sides).p < 0.05)
    print(f"\np below .05 in {sum(below)} of {len(below)}")
    assert 0.02 < np.mean(below) < 0.09

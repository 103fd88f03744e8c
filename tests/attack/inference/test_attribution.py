"""The model of subsets: its fit, what it may not depend on, and that a held-out shadow is in nothing."""

import dataclasses

import numpy as np
import pytest
from scipy import optimize, special

from attack.evidence.by_subset import PileFacts, SubsetEvidence
from attack.inference.attribution import by_shadow, choice
from shadow.config import AttackConfig
from shadow.errors import UserError


def made_up(images=200, subsets=4, columns=3, strength=1.5, seed=0):
    """Signals [image, subset, column] that stand out for the subset int [image] of each image."""
    rng = np.random.default_rng(seed)
    made_from = np.arange(images) % subsets
    values = rng.normal(size=(images, subsets, columns)) + rng.normal(size=(images, 1, columns))
    values[np.arange(images), made_from] += strength * np.linspace(1, 0, columns)
    return values, made_from


def loss(theta, values, made_from, ridge):
    """The objective image by image."""
    subsets = values.shape[1]
    mean = np.array([values[made_from != s, s].mean(0) for s in range(subsets)])
    scale = np.array([values[made_from != s, s].std(0) for s in range(subsets)])
    weights, bias = theta[1:-subsets], theta[-subsets:]
    total, hidden = 0.0, subsets / (subsets**2 - 1)
    for value, own in zip(values, made_from, strict=True):
        z = (value - mean) / scale
        odds = z @ weights + bias
        odds -= odds.mean()
        total -= odds[own] - np.log(np.exp(odds).sum() + np.exp(theta[0]))
        odds = np.delete(z @ weights + bias, own)
        odds -= odds.mean()
        total -= hidden * (theta[0] - np.log(np.exp(odds).sum() + np.exp(theta[0])))
    apart = weights - weights.mean()
    return total / len(values) / (1 + hidden) + ridge / 2 * apart @ apart + 5e-4 * theta[1:] @ theta[1:]


@pytest.mark.parametrize("ridge", [0.1, 1.0])
def test_the_fit_is_where_a_plain_loss_is_least(ridge):
    values, made_from = made_up(60)
    found = choice.fit(values, made_from, ridge)
    start = np.concatenate([[0.0], np.full(3, 0.2), np.zeros(4)])
    bounds = [(None, None), *[(0, None)] * 3, *[(None, None)] * 4]
    best = optimize.minimize(loss, start, (values, made_from, ridge), "L-BFGS-B", bounds=bounds)
    assert [found.none, *found.weights, *found.bias] == pytest.approx(best.x, abs=2e-3)


def test_weights_are_those_of_images_counted_so_often():
    values, made_from = made_up(60)
    counts = np.random.default_rng(1).integers(1, 3, 60)
    weighed = choice.fit(values, made_from, 0.1, counts)
    written_out = choice.fit(np.repeat(values, counts, axis=0), np.repeat(made_from, counts), 0.1)
    plain = dataclasses.replace(written_out, mean=weighed.mean, scale=weighed.scale)
    assert plain.probabilities(values, 0.1) == pytest.approx(weighed.probabilities(values, 0.1), abs=0.05)


def test_probabilities_are_a_softmax_with_the_prior_of_none():
    values, made_from = made_up()
    model = choice.fit(values, made_from, 0.1)
    for none in (0.0, 0.1, 0.6):
        found = model.probabilities(values, none)
        assert found.shape == (200, 5)
        assert found.sum(1) == pytest.approx(np.ones(200))
        assert (found[:, 4] == 0).all() == (none == 0)
    even, rare = (model.probabilities(values, none) for none in (1 / 5, 0.05))
    odds = (0.05 / 0.95) / (0.2 / 0.8)
    assert rare[:, 4] / (1 - rare[:, 4]) == pytest.approx(odds * even[:, 4] / (1 - even[:, 4]))
    assert even[:, :4] / even[:, :4].sum(1, keepdims=True) == pytest.approx(special.softmax(model.log_odds(values), 1))


def test_a_subset_that_attracts_images_it_did_not_make_is_held_back():
    values, made_from = made_up(400)
    values[:, 1] *= 3  # its standardised signals stand out as often by chance, and more than those of the others
    model = choice.fit(values, made_from, 0.1)
    plain = dataclasses.replace(model, bias=np.zeros(4))
    said = [np.bincount(one.log_odds(values).argmax(1), minlength=4) / 400 for one in (model, plain)]
    assert np.abs(said[0] - 0.25).max() <= np.abs(said[1] - 0.25).max() + 0.01


def test_how_near_an_image_lies_to_all_subsets_does_not_count():
    values, made_from = made_up()
    model = choice.fit(values, made_from, 0.1)
    nearer = values + model.scale  # by a standard deviation, for every subset
    assert model.probabilities(nearer, 0.1) == pytest.approx(model.probabilities(values, 0.1))
    assert model.probabilities(nearer, 0.1, made_from) == pytest.approx(model.probabilities(values, 0.1, made_from))


def test_a_subset_that_is_off_the_list_gets_nothing_and_none_of_them_more():
    values, made_from = made_up(strength=4)
    model = choice.fit(values, made_from, 0.1)
    listed, hidden = model.probabilities(values, 0.2), model.probabilities(values, 0.25, made_from)
    assert (hidden[np.arange(200), made_from] == 0).all()
    assert hidden.sum(1) == pytest.approx(np.ones(200))
    assert hidden[:, 4].mean() > 2 * listed[:, 4].mean()
    assert (listed[:, :4].argmax(1) == made_from).mean() > 0.9


def test_subsets_may_be_named_in_any_order():
    values, made_from = made_up()
    order = np.array([2, 0, 3, 1])
    model = choice.fit(values, made_from, 0.1)
    other = choice.fit(values[:, order], np.argsort(order)[made_from], 0.1)
    assert other.probabilities(values[:, order], 0.1)[:, :4] == pytest.approx(
        model.probabilities(values, 0.1)[:, order], abs=1e-4
    )


def test_signals_that_say_nothing_leave_everything_open():
    values, made_from = made_up(400, strength=0.0)
    found = choice.fit(values, made_from, 1.0).probabilities(values, 0.2)
    assert np.abs(found - 0.2).max() < 0.15
    constant = choice.fit(np.zeros((40, 4, 2)), np.arange(40) % 4, 1.0).probabilities(np.zeros((3, 4, 2)), 0.2)
    assert constant == pytest.approx(np.full((3, 5), 0.2), abs=1e-3)


def evidence(steps=(10, 20), shadows=6, subsets=3, asked=30.0, images=8):
    """Shadows whose images lie nearer with every step, and one pile that is asked about."""
    piles = [PileFacts(f"{k}@{s}", k % subsets, k, s, ()) for s in steps for k in range(shadows)]
    piles.append(PileFacts("asked", -1, -1, -1, tuple("abcdefgh"[:images])))
    rng = np.random.default_rng(0)
    near = [pile.step / 10 for pile in piles[:-1]] + [asked / 10]
    values = np.concatenate([level + 0.1 * rng.normal(size=(images, subsets, 2)) for level in near])
    for i, pile in enumerate(piles[:-1]):
        values[i * images : (i + 1) * images, pile.subset] += 0.5
    values[-images:, 0] += 0.5
    number = np.repeat(np.arange(len(piles)), images)
    columns = ("nearest@pixels", "mosaic@pixels")
    return SubsetEvidence(values, number, number % 4, tuple(piles), ("a", "b", "c")[:subsets], columns, ())


@pytest.mark.parametrize(("asked", "step", "outside"), [(12.0, 10, False), (23.0, 20, False), (2.0, 10, True)])
def test_the_step_that_teaches_is_the_one_whose_images_lie_as_near(asked, step, outside):
    found = by_shadow.regime(evidence(asked=asked))
    assert (found.step, found.outside) == (step, outside)
    assert found.low <= found.high


def test_a_fold_holds_out_one_shadow_of_every_subset():
    known = by_shadow.lessons(evidence(), 20, 5)
    assert known.fold.tolist() == [0, 0, 0, 1, 1, 1]
    assert known.made_from.tolist() == np.repeat([0, 1, 2, 0, 1, 2], 8).tolist()
    assert by_shadow.lessons(evidence(shadows=9), 10, 2).fold.tolist() == [0] * 3 + [1] * 3 + [0] * 3


def test_a_subset_with_one_shadow_is_named():
    with pytest.raises(UserError, match="subset c has 1 shadows"):
        by_shadow.lessons(evidence(shadows=5), 10, 5)


def test_a_held_out_shadow_is_in_nothing():
    known, config = by_shadow.lessons(evidence(), 20, 5), AttackConfig()
    before = by_shadow.held_out(known, config)
    other = known.values.copy()
    changed = known.shadow == 4
    other[changed] += np.random.default_rng(3).normal(size=other[changed].shape)
    after = by_shadow.held_out(dataclasses.replace(known, values=other), config)
    same_fold = np.isin(known.shadow, [3, 5])
    for one, two in zip(before, after, strict=True):
        assert np.array_equal(one[same_fold], two[same_fold])
        assert not np.allclose(one[known.shadow < 3], two[known.shadow < 3])


def test_shadows_are_drawn_anew_within_their_subset():
    known = by_shadow.lessons(evidence(), 20, 5)
    models = by_shadow.resampled(known, AttackConfig(bootstrap=4))
    assert len(models) == 4
    assert len({model.weights.tobytes() for model in models}) > 1
    again = by_shadow.resampled(known, AttackConfig(bootstrap=4))
    assert all(np.array_equal(one.weights, two.weights) for one, two in zip(models, again, strict=True))

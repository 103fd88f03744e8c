"""The loss of a proxy about an image: a plain loop gives the same, and no other image has a say in it."""

from __future__ import annotations

import math

import jax
import numpy as np
import pytest

from attack.evidence.proxies import losses
from shadow.config import DenoiserConfig, DiffusionConfig
from shadow.denoisers.build import build

TIMES, NOISES, SIZE = (20, 150, 400), 4, 8
NETWORK = build(DenoiserConfig(patch=4, width=8, depth=1, heads=2), SIZE)
IMAGES = np.random.default_rng(0).uniform(-1, 1, (6, SIZE, SIZE)).astype(np.float32)
BANK = losses.bank(3, NOISES, SIZE)


def weights(count: int) -> object:
    """Of `count` networks, shaken: a fresh one says 0 of everything."""
    fresh = jax.vmap(NETWORK.init)(jax.random.split(jax.random.key(0), count))
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda leaf: leaf + rng.normal(0, 0.3, leaf.shape).astype(np.float32), fresh)


PARAMS = weights(2)
APPLY = jax.jit(NETWORK.apply)


def measured(images: np.ndarray, kind: str = "v") -> np.ndarray:
    return losses.closeness(NETWORK, DiffusionConfig(prediction=kind), PARAMS, images, TIMES, BANK)


def signal_power(t: int) -> float:
    """Of the cosine schedule in closed form: the cap of beta does not reach small times."""

    def level(s: float) -> float:
        return math.cos((s + 0.008) / 1.008 * math.pi / 2) ** 2

    return level((t + 1) / 1000) / level(0)


@pytest.mark.parametrize("kind", ["v", "epsilon", "sample"])
def test_a_plain_loop_gives_the_same(kind):
    found = measured(IMAGES, kind)
    assert found.shape == (2, len(IMAGES), len(TIMES))
    for model in range(2):
        params = jax.tree.map(lambda leaf, model=model: leaf[model], PARAMS)
        for i, image in enumerate(IMAGES.astype(np.float64)):
            for j, t in enumerate(TIMES):
                signal, noise = math.sqrt(signal_power(t)), math.sqrt(1 - signal_power(t))
                total = 0.0
                for eps in BANK.astype(np.float64):
                    noisy = (signal * image + noise * eps).astype(np.float32)
                    said = np.asarray(APPLY(params, noisy[None, ..., None], np.array([t])))[0, ..., 0]
                    wanted = {"v": signal * eps - noise * image, "epsilon": eps, "sample": image}[kind]
                    total += float(np.mean((said - wanted) ** 2))
                assert found[model, i, j] == pytest.approx(-math.log(total / NOISES), abs=1e-4)


def test_no_other_image_has_a_say_in_a_single_bit():
    everyone = measured(IMAGES)
    for chosen in ([4], [5, 0, 2], [3, 3]):
        assert np.array_equal(measured(IMAGES[chosen]), everyone[:, chosen])


def test_the_noises_are_normal_in_pairs_and_fixed_by_the_seed():
    bank = losses.bank(0, 64, SIZE)
    assert np.array_equal(bank[:32], -bank[32:])
    assert bank[:32].std() == pytest.approx(1, abs=0.05)
    assert np.array_equal(bank, losses.bank(0, 64, SIZE))
    assert not np.array_equal(bank, losses.bank(1, 64, SIZE))
    with pytest.raises(ValueError, match="even"):
        losses.bank(0, 3, SIZE)


def test_a_loss_that_is_no_number_is_no_evidence():
    with pytest.raises(ValueError, match="not finite"):
        measured(np.full((1, SIZE, SIZE), np.nan, np.float32))

"""The losses inside and outside of the members beside the training."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_training import IMAGES, make

from shadow import keys
from shadow.denoisers.build import build
from shadow.diffusion import process
from shadow.training import train


def test_evaluation_tells_in_from_out():
    losses = np.arange(12.0).reshape(3, 4)
    assert train._gaps(losses, np.array([0, 1])) == {"loss_in": [0.5, 4.5, 8.5], "loss_out": [2.5, 6.5, 10.5]}
    assert train._gaps(losses, np.arange(4))["loss_out"] is None


@pytest.mark.parametrize("chunk", [1, 3, 7])
def test_evaluation_in_chunks_is_that_of_the_whole(straight, monkeypatch, chunk):
    spec, (_, state) = make(), straight
    network = build(spec.denoiser, 8)
    whole = train.make_evaluation(spec, network)(state.ema, jnp.asarray(IMAGES))
    assert whole.shape == (2, 3, 7)
    monkeypatch.setattr(train, "_EVALUATION_BATCH", chunk)
    parts = train.make_evaluation(spec, network)(state.ema, jnp.asarray(IMAGES))
    np.testing.assert_allclose(parts, whole, rtol=1e-5)
    assert len(np.unique(whole)) == 2 * 3 * 7


def test_evaluation_written_out(straight):
    """The loss of one image at one time, spelt out."""
    spec, (_, state) = make(), straight
    network = build(spec.denoiser, 8)
    losses = train.make_evaluation(spec, network)(state.ema, jnp.asarray(IMAGES))
    eps = jax.random.normal(keys.key(0, "evaluation"), (7, 8, 8, 1))[4]
    abar = process.alpha_bar(spec.diffusion)[4]  # a fifth of 20
    xt = np.sqrt(abar) * IMAGES[4][..., None] + np.sqrt(1 - abar) * eps
    params = jax.tree.map(lambda leaf: leaf[1], state.ema)
    clean = network.apply(params, xt[None].astype(np.float32), jnp.array([4]))[0]
    wanted = min(1 / (1 - abar), 4.0) * ((clean - IMAGES[4][..., None]) ** 2).mean()
    np.testing.assert_allclose(losses[1, 1, 4], wanted, rtol=1e-4)

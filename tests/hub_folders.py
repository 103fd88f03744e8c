"""Generators for the tests of the hub, and the folders they are in."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from shadow import workdir
from shadow.config import Config, DenoiserConfig, DiffusionConfig, PileConfig, UNet2DConfig
from shadow.denoisers.build import Params, build
from shadow.hub import Generator
from shadow.training import checkpoint, train

SIZE = 8
MODEL = "diffusion_pytorch_model.safetensors"
UNET = UNet2DConfig(block_out_channels=(8, 8), norm_num_groups=4)


def generator(unet=UNET, size=SIZE, diffusion=None, pile=None, seed=0, block=1) -> Generator:
    """Random weights, also where both sides start at constants."""
    denoiser = DenoiserConfig(kind="unet2d", unet=unet, block=block)
    params = jax.tree.map(lambda leaf: leaf, _weights(denoiser, size, seed))  # a tree of the caller's own
    return Generator("made", denoiser, size, params, diffusion or DiffusionConfig(), pile or PileConfig())


@functools.cache
def _weights(denoiser: DenoiserConfig, size: int, seed: int) -> Params:
    params = build(denoiser, size).init(jax.random.key(seed))
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: leaf + 0.1 * rng.standard_normal(leaf.shape).astype(np.float32), params)


def drawn(unet: UNet2DConfig) -> Generator:
    """Weights of the right shapes alone: nothing is compiled, whatever the network."""
    denoiser = DenoiserConfig(kind="unet2d", unet=unet)
    shapes = jax.eval_shape(build(denoiser, SIZE).init, jax.random.key(0))
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: jnp.asarray(0.2 * rng.standard_normal(leaf.shape), leaf.dtype), shapes)
    return Generator("made", denoiser, SIZE, params, DiffusionConfig(), PileConfig())


def shadow_run(root: Path, kind: str = "unet2d") -> tuple[Path, train.State]:
    """A run's folder with checkpoints of shadow 3 at steps 10 and 20: raw and averaged weights, four that differ."""
    config = Config()
    config.data.resolution = SIZE
    config.denoiser.kind, config.denoiser.unet = kind, UNET
    config.denoiser.patch, config.denoiser.width, config.denoiser.depth, config.denoiser.heads = 4, 8, 1, 2
    workdir.settle(root, config)
    network = build(config.denoiser, SIZE)
    state = train.fresh_states(network, config.train, jnp.stack([jax.random.key(0)]))
    folder = root / "shadows" / "0003"
    for step in (10, 20):
        moved = jax.tree.map(lambda leaf, step=step: leaf + step, state.params)
        average = jax.tree.map(lambda leaf, step=step: leaf + step / 100, state.ema)
        state = state._replace(step=jnp.full(1, step, jnp.int32), params=moved, ema=average)
        checkpoint.save_pack([folder], step, state, (10, 20))
    return root, state


def edit(path: Path, **fields: object) -> None:
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | fields))


def equal(a, b) -> None:
    """Are two trees the same, to the last bit?"""
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)

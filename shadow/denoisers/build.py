"""A denoiser as two pure functions: init(key) -> params, apply(params, x, t) -> prediction."""

from __future__ import annotations

import copy
import functools
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from flax import nnx

from shadow.config import DenoiserConfig
from shadow.denoisers import blocks, unet2d_config
from shadow.denoisers.dit import DiT
from shadow.denoisers.unet2d import UNet2D
from shadow.errors import UserError

Params = Any  # a pytree of float32 arrays


class Init(Protocol):
    """Draws the parameters of a network."""

    def __call__(self, key: jax.Array) -> Params:
        """Fresh weights."""


class Apply(Protocol):
    """Runs a network."""

    def __call__(
        self,
        params: Params,
        x: jax.Array,
        t: jax.Array,
        class_labels: jax.Array | None = None,
        key: jax.Array | None = None,
    ) -> jax.Array:
        """x [batch, size, size, channels] float32 and t [batch] -> prediction, float32 and of that shape.

        `class_labels` as a conditional UNet2D asks for them; `key` switches its dropout on. Raises ValueError on labels
        that are missing or not asked for, and as the network.
        """


class Network(NamedTuple):
    """`init` vmaps over keys and `apply` over params, to a pack of networks."""

    init: Init
    apply: Apply


def module(config: DenoiserConfig, size: int, rngs: nnx.Rngs) -> DiT | UNet2D:
    """The modules of `config` with fresh weights; a UNet2D's see blocks (`blocks.to_blocks`). ValueError on fields that
    do not fit."""
    if config.kind == "unet2d":
        return UNet2D(blocks.inner(config), rngs=rngs)
    shape = {"patch": config.patch, "width": config.width, "depth": config.depth, "heads": config.heads}
    return DiT(size=size, overlap=config.overlap, rngs=rngs, **shape)


@functools.lru_cache(maxsize=16)  # the same network is the same object: what was compiled for it is found again
def build(config: DenoiserConfig, size: int) -> Network:
    """The network of `config` for images of `size` x `size`. Raises UserError on fields that do not fit."""
    config = copy.deepcopy(config)  # the caller's may change
    if config.kind not in ("dit", "unet2d"):
        raise UserError(f"denoiser.kind = {config.kind!r}: use 'dit' or 'unet2d'")
    if config.dtype not in ("float32", "bfloat16"):
        raise UserError(f"denoiser.dtype = {config.dtype!r}: use 'float32' or 'bfloat16'")
    if config.kind == "unet2d":
        unet2d_config.check(config.unet, "denoiser.unet")
        halvings = len(config.unet.block_out_channels) - 1
        if config.block < 1 or size % config.block:
            raise UserError(f"data.resolution = {size}: must be divisible by denoiser.block = {config.block}")
        if size // config.block % 2**halvings:
            each = f", blocks of denoiser.block = {config.block}," if config.block > 1 else ""
            raise UserError(
                f"data.resolution = {size}{each} cannot be halved {halvings} times (denoiser.unet.block_out_channels)"
            )
    try:
        graph, shapes = nnx.split(nnx.eval_shape(lambda: module(config, size, nnx.Rngs(0))))
    except ValueError as error:
        if config.kind == "unet2d":  # was checked: a defect of ours
            raise
        raise UserError(f"denoiser: {error}") from error
    dtype = jnp.dtype(config.dtype)

    def init(key: jax.Array) -> Params:
        return nnx.to_pure_dict(nnx.split(module(config, size, nnx.Rngs(key)))[1])

    def apply(
        params: Params,
        x: jax.Array,
        t: jax.Array,
        class_labels: jax.Array | None = None,
        key: jax.Array | None = None,
    ) -> jax.Array:
        if dtype != jnp.float32:  # the master weights stay as they are, and so do tests in float64
            x, params = x.astype(dtype), jax.tree.map(lambda leaf: leaf.astype(dtype), params)
        state = jax.tree.map(lambda leaf: leaf, shapes)
        nnx.replace_by_pure_dict(state, params)
        model: Any = nnx.merge(graph, state)  # a DiT or a UNet2D, which take other arguments
        if config.kind == "dit" and class_labels is not None:
            raise ValueError("class_labels are not asked for: denoiser.kind = 'dit' has no classes")
        if config.kind == "unet2d":
            out = blocks.from_blocks(model(blocks.to_blocks(x, config.block), t, class_labels, key), config.block)
        else:
            out = model(x, t)
        return out if dtype == jnp.float32 else out.astype(jnp.float32)

    return Network(init, apply)

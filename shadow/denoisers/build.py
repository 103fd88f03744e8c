"""A denoiser as two pure functions: init(key) -> params, apply(params, x, t) -> prediction."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from flax import nnx

from shadow.config import DenoiserConfig
from shadow.denoisers.dit import DiT
from shadow.denoisers.unet2d import UNet2D
from shadow.errors import UserError

Params = Any  # a pytree of float32 arrays


class Network(NamedTuple):
    """`init` vmaps over keys and `apply` over params, to a pack of networks."""

    init: Callable[[jax.Array], Params]
    apply: Callable[[Params, jax.Array, jax.Array], jax.Array]


@functools.lru_cache(maxsize=16)  # the same network is the same object: what was compiled for it is found again
def build(config: DenoiserConfig, size: int) -> Network:
    """The network of `config` for images of `size` x `size`. Raises UserError on fields that do not fit."""
    config = dataclasses.replace(config)  # a copy: the caller's may change

    def module(rngs: nnx.Rngs) -> nnx.Module:
        if config.kind == "dit":
            return DiT(
                size=size,
                patch=config.patch,
                width=config.width,
                depth=config.depth,
                heads=config.heads,
                rngs=rngs,
            )
        return UNet2D(channels=config.channels, layers=config.layers, norm_groups=config.norm_groups, rngs=rngs)

    if config.kind not in ("dit", "unet2d"):
        raise UserError(f"denoiser.kind = {config.kind!r}: use 'dit' or 'unet2d'")
    if config.kind == "unet2d" and size % 2 ** (len(config.channels) - 1):
        raise UserError(
            f"data.resolution = {size} cannot be halved {len(config.channels) - 1} times (denoiser.channels)"
        )
    try:
        graph, _ = nnx.split(nnx.eval_shape(lambda: module(nnx.Rngs(0))))
    except ValueError as error:
        raise UserError(f"denoiser: {error}") from error

    def init(key: jax.Array) -> Params:
        return nnx.to_pure_dict(nnx.split(module(nnx.Rngs(key)))[1])

    def apply(params: Params, x: jax.Array, t: jax.Array) -> jax.Array:
        state = nnx.eval_shape(lambda: nnx.state(module(nnx.Rngs(0))))
        nnx.replace_by_pure_dict(state, params)
        return nnx.merge(graph, state)(x, t)

    return Network(init, apply)

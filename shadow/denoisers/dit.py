"""Diffusion transformer (Peebles and Xie 2023, arXiv 2212.09748): patches, adaLN-zero blocks, no convolution.

Without convolutions it vmaps over its weights into batched matrix products, so several shadows train in one step.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from shadow.denoisers import layers
from shadow.denoisers.times import time_features


def position_features(side: int, width: int) -> np.ndarray:
    """Fixed two-dimensional sinusoids of the token grid: float32 [side * side, width], width divisible by 4."""
    frequencies = np.exp(-np.log(10_000.0) * np.arange(width // 4) / (width // 4))
    angles = np.arange(side)[:, None] * frequencies
    line = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    rows, columns = np.repeat(line, side, axis=0), np.tile(line, (side, 1))
    return np.concatenate([rows, columns], axis=1).astype(np.float32)


def _normalise(x: jax.Array) -> jax.Array:
    """Layer norm without learned scale: adaLN supplies scale and shift."""
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    centred = wide - wide.mean(-1, keepdims=True)
    return (centred * jax.lax.rsqrt((centred**2).mean(-1, keepdims=True) + 1e-6)).astype(x.dtype)


class TransformerBlock(nnx.Module):
    """Attention and MLP, each modulated by the time embedding; starts as the identity (adaLN-zero)."""

    def __init__(self, width: int, heads: int, *, rngs: nnx.Rngs) -> None:
        zeros = nnx.initializers.zeros_init()
        self.heads = heads
        self.modulation = nnx.Linear(width, 6 * width, kernel_init=zeros, rngs=rngs)
        self.qkv = nnx.Linear(width, 3 * width, rngs=rngs)
        self.project = nnx.Linear(width, width, rngs=rngs)
        self.expand = nnx.Linear(width, 4 * width, rngs=rngs)
        self.contract = nnx.Linear(4 * width, width, rngs=rngs)

    def __call__(self, x: jax.Array, condition: jax.Array) -> jax.Array:
        """x [batch, token, width], condition [batch, width] -> [batch, token, width]."""
        shift1, scale1, gate1, shift2, scale2, gate2 = jnp.split(
            self.modulation(nnx.silu(condition))[:, None], 6, axis=-1
        )
        batch, tokens, width = x.shape
        h = _normalise(x) * (1 + scale1) + shift1
        q, k, v = jnp.moveaxis(self.qkv(h).reshape(batch, tokens, 3, self.heads, width // self.heads), 2, 0)
        attended = layers.attend(q, k, v).reshape(batch, tokens, width)
        x = x + gate1 * self.project(attended)
        h = _normalise(x) * (1 + scale2) + shift2
        return x + gate2 * self.contract(nnx.gelu(self.expand(h)))


class DiT(nnx.Module):
    """(x [batch, size, size, 1], t [batch]) -> [batch, size, size, 1].

    Raises ValueError where `patch` does not divide `size`, `heads` not `width`, or 4 not `width`.
    """

    def __init__(self, *, size: int, patch: int, width: int, depth: int, heads: int, rngs: nnx.Rngs) -> None:
        for value, divisor, what in (
            (size, patch, "data.resolution by denoiser.patch"),
            (width, heads, "denoiser.width by denoiser.heads"),
            (width, 4, "denoiser.width by 4"),
        ):
            if min(value, divisor) < 1 or value % divisor:
                raise ValueError(f"{what} must divide without rest: {value} / {divisor}")
        self.side, self.patch, self.width = size // patch, patch, width
        self.embed = nnx.Linear(patch * patch, width, rngs=rngs)
        self.time1 = nnx.Linear(width, width, rngs=rngs)
        self.time2 = nnx.Linear(width, width, rngs=rngs)
        self.blocks = nnx.List([TransformerBlock(width, heads, rngs=rngs) for _ in range(depth)])
        zeros = nnx.initializers.zeros_init()
        self.last_modulation = nnx.Linear(width, 2 * width, kernel_init=zeros, rngs=rngs)
        self.unembed = nnx.Linear(width, patch * patch, kernel_init=zeros, rngs=rngs)

    def __call__(self, x: jax.Array, t: jax.Array) -> jax.Array:
        """The prediction for noisy images x [image, side, side, 1] at steps t [image]; shape of x."""
        batch, side, patch = x.shape[0], self.side, self.patch
        tokens = x.reshape(batch, side, patch, side, patch).transpose(0, 1, 3, 2, 4)
        h = self.embed(tokens.reshape(batch, side * side, patch * patch))
        h = h + position_features(side, self.width).astype(h.dtype)
        condition = self.time2(nnx.silu(self.time1(time_features(t, self.width).astype(h.dtype))))
        for block in self.blocks:
            h = block(h, condition)
        shift, scale = jnp.split(self.last_modulation(nnx.silu(condition))[:, None], 2, axis=-1)
        out = self.unembed(_normalise(h) * (1 + scale) + shift)
        out = out.reshape(batch, side, side, patch, patch).transpose(0, 1, 3, 2, 4)
        return out.reshape(batch, side * patch, side * patch, 1)

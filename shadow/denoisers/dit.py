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


def windows(x: jax.Array, patch: int) -> jax.Array:
    """Overlapping windows of 2 patch x 2 patch pixels, one around each patch, zeros beyond the image.

    x [image, side * patch, side * patch] -> [image, side, side, 4 * patch ** 2], `patch` even.
    """
    batch, half, side = x.shape[0], patch // 2, x.shape[1] // patch
    x = jnp.pad(x, ((0, 0), (half, half), (half, half)))
    x = x.reshape(batch, 2 * side + 2, half, 2 * side + 2, half)
    rows = jnp.stack([x[:, a : a + 2 * side : 2] for a in range(4)], axis=2)  # [image, side, 4, half, column, half]
    both = jnp.stack([rows[:, :, :, :, a : a + 2 * side : 2] for a in range(4)], axis=5)
    return both.transpose(0, 1, 4, 2, 3, 5, 6).reshape(batch, side, side, 4 * patch**2)


def overlap_add(y: jax.Array, patch: int) -> jax.Array:
    """The transpose of `windows`: each pixel is the sum of what the four windows over it hold there."""
    batch, side, half = y.shape[0], y.shape[1], patch // 2
    y = y.reshape(batch, side, side, 4, half, 4, half).transpose(0, 1, 3, 4, 2, 5, 6)
    for axis in (4, 1):  # columns, then rows: [.., side, 4, half, ..] -> [.., side * patch, ..]
        y = _merged(y, axis)
    return y


def _merged(y: jax.Array, axis: int) -> jax.Array:
    """Windows of 4 half patches along the axes [side, 4, half] from `axis` on, added up as one line of pixels."""
    ends = [(0, 0)] * y.ndim
    ends[axis] = (0, 1)
    early = jnp.pad(jax.lax.slice_in_dim(y, 0, 2, axis=axis + 1), ends)
    ends[axis] = (1, 0)
    late = jnp.pad(jax.lax.slice_in_dim(y, 2, 4, axis=axis + 1), ends)
    total, half = early + late, y.shape[axis + 2]
    line = total.reshape(*y.shape[:axis], -1, *y.shape[axis + 3 :])
    return jax.lax.slice_in_dim(line, half, line.shape[axis] - half, axis=axis)


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

    def __init__(
        self, *, size: int, patch: int, width: int, depth: int, heads: int, overlap: bool = False, rngs: nnx.Rngs
    ) -> None:
        for value, divisor, what in (
            (size, patch, "data.resolution by denoiser.patch"),
            (width, heads, "denoiser.width by denoiser.heads"),
            (width, 4, "denoiser.width by 4"),
            (patch, 1 + overlap, "denoiser.patch by 2 (denoiser.overlap)"),
        ):
            if min(value, divisor) < 1 or value % divisor:
                raise ValueError(f"{what} must divide without rest: {value} / {divisor}")
        self.side, self.patch, self.width, self.overlap = size // patch, patch, width, overlap
        pixels = patch * patch * (4 if overlap else 1)  # that a token sees and writes
        self.embed = nnx.Linear(pixels, width, rngs=rngs)
        self.time1 = nnx.Linear(width, width, rngs=rngs)
        self.time2 = nnx.Linear(width, width, rngs=rngs)
        self.blocks = nnx.List([TransformerBlock(width, heads, rngs=rngs) for _ in range(depth)])
        zeros = nnx.initializers.zeros_init()
        self.last_modulation = nnx.Linear(width, 2 * width, kernel_init=zeros, rngs=rngs)
        self.unembed = nnx.Linear(width, pixels, kernel_init=zeros, rngs=rngs)

    def __call__(self, x: jax.Array, t: jax.Array) -> jax.Array:
        """The prediction for noisy images x [image, side, side, 1] at steps t [image]; shape of x."""
        batch, side, patch = x.shape[0], self.side, self.patch
        if self.overlap:
            tokens = windows(x[..., 0], patch)
        else:
            tokens = x.reshape(batch, side, patch, side, patch).transpose(0, 1, 3, 2, 4)
        h = self.embed(tokens.reshape(batch, side * side, -1))
        h = h + position_features(side, self.width).astype(h.dtype)
        condition = self.time2(nnx.silu(self.time1(time_features(t, self.width).astype(h.dtype))))
        for block in self.blocks:
            h = block(h, condition)
        shift, scale = jnp.split(self.last_modulation(nnx.silu(condition))[:, None], 2, axis=-1)
        out = self.unembed(_normalise(h) * (1 + scale) + shift)
        if self.overlap:
            return overlap_add(out.reshape(batch, side, side, -1), patch)[..., None]
        out = out.reshape(batch, side, side, patch, patch).transpose(0, 1, 3, 2, 4)
        return out.reshape(batch, side * patch, side * patch, 1)

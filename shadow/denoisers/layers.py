"""The arithmetic of a convolutional denoiser, written for speed: pure functions of NHWC images and parameters."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp


def convolve(x: jax.Array, kernel: jax.Array, padding: Sequence[tuple[int, int]], stride: int = 1) -> jax.Array:
    """x [batch, h, w, inputs] by kernel [kh, kw, inputs, outputs]; padding of rows, then of columns."""
    if kernel.shape[:2] == (1, 1) and stride == 1:  # a matrix product: half the time of the convolution on CPU
        return x @ kernel[0, 0]
    dimensions = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel, (stride, stride), padding, dimension_numbers=dimensions)


def _phases(kernel: jax.Array, axis: int) -> tuple[jax.Array, jax.Array]:
    """3 taps along `axis` on a doubled image as 2 taps on the image: for even and for odd positions."""
    left, centre, right = jnp.split(kernel, 3, axis)
    return jnp.concatenate([left, centre + right], axis), jnp.concatenate([left + centre, right], axis)


def convolve_doubled(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Nearest neighbours, then a 3 x 3 convolution: [batch, h, w, inputs] -> [batch, 2 h, 2 w, outputs].

    Done the other way round: an output pixel sees only 2 x 2 different input pixels, so four 2 x 2
    convolutions of the small image, one for each parity of row and column, do with 4/9 of the products.
    """
    batch, height, width, _ = x.shape
    rows = []
    for i, half in enumerate(_phases(kernel, axis=0)):
        quarters = _phases(half, axis=1)
        row = [convolve(x, quarter, [(1 - i, i), (1 - j, j)]) for j, quarter in enumerate(quarters)]
        rows.append(jnp.stack(row, axis=3))
    spread = jnp.stack(rows, axis=2)  # [batch, height, 2, width, 2, outputs]
    return spread.reshape(batch, 2 * height, 2 * width, kernel.shape[-1])


def group_norm(x: jax.Array, scale: jax.Array, bias: jax.Array, groups: int, epsilon: float) -> jax.Array:
    """Group norm of [batch, ..., channels] with the channels' scale and bias (Wu and He 2018, arXiv 1803.08494).

    Sums over positions channel by channel first and over the channels of a group last. Reducing both in one
    go, as flax does, leaves XLA a strided inner loop of channels / groups elements: 3 times slower on CPU.
    """
    positions = tuple(range(1, x.ndim - 1))

    def group_mean(y: jax.Array) -> jax.Array:
        """The mean over positions and the channels of a group: [batch, 1, ..., channels]."""
        means = y.mean(positions, keepdims=True)
        grouped = means.reshape(*means.shape[:-1], groups, -1).mean(-1)
        return jnp.repeat(grouped, x.shape[-1] // groups, axis=-1)

    centred = x - group_mean(x)
    # Not mean(x^2) - mean(x)^2: that loses the digits which parity with PyTorch needs.
    return centred * (jax.lax.rsqrt(group_mean(jnp.square(centred)) + epsilon) * scale) + bias


def attend(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
    """Attention of [batch, position, head, feature], softmax in float32: by cuDNN's fused kernel on a GPU where the
    dtype (16 bits) and the features of a head (at most 128, by eights) let it."""
    fits = q.dtype in (jnp.bfloat16, jnp.float16) and q.shape[-1] % 8 == 0 and q.shape[-1] <= 128
    if fits and jax.default_backend() == "gpu":
        return jax.nn.dot_product_attention(q, k, v, implementation="cudnn")
    return jax.nn.dot_product_attention(q, k, v)

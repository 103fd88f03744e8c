"""Structural similarity of grey images (Wang, Bovik, Sheikh, Simoncelli 2004, IEEE TIP 13(4)), of many pairs at once.

In every window of 7 x 7 pixels that lies inside the image, with means m, sample variances v and covariance c,

    (2 m_a m_b + C1) / (m_a^2 + m_b^2 + C1) * (2 c_ab + C2) / (v_a + v_b + C2),   C1 = (.01 * 255)^2, C2 = (.03 * 255)^2

and of these the mean: what scikit-image's `structural_similarity` gives with data_range=255 and its defaults. It lies
between -1 and 1 and is symmetric.

Computed is the same thing said by differences, (1 - (m_a - m_b)^2 / (...)) * (1 - v_{a-b} / (...)), because float32
bears that: nothing cancels where images are alike, and what cancels where they are not is multiplied by almost 0. Two
equal images have exactly 1.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

WINDOW = 7  # pixels a side
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
_PIXELS = WINDOW**2
_MIDDLE = 128  # taken away before squares are summed: in 8-bit images the sums are then small whole numbers, and exact

# In all that is compiled, images are [height, width, image]: a window sum is then a sum of whole vectors. Images of
# _BLOCK pixels together stay in a core's cache, and every block is padded to the same number of images, so that no
# result depends on how many others there are.
_BLOCK = 2**19
_LANES = (16, 1024)  # images in a block, at least and at most

Moments = tuple[jax.Array, jax.Array, jax.Array]


def _windows(x: jax.Array, axis: int) -> jax.Array:
    """Sums of WINDOW neighbours along an axis, which becomes WINDOW - 1 shorter."""
    length = x.shape[axis] - WINDOW + 1
    return functools.reduce(jnp.add, (jax.lax.slice_in_dim(x, k, k + length, axis=axis) for k in range(WINDOW)))


# Small functions, because compiled as one they are several times slower: XLA on CPU would make the column sums anew for
# every row of a window, and does not vectorise a map that it fuses with its mean.


@jax.jit
def _columns(a: jax.Array, b: jax.Array) -> jax.Array:
    return _windows((a - b) ** 2, 0)


@jax.jit
def _own_columns(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    x = x - _MIDDLE
    return _windows(x, 0), _windows(x * x, 0)


@jax.jit
def _row_sums(totals: jax.Array, squares: jax.Array) -> Moments:
    total = _windows(totals, 1)
    mean = total / _PIXELS
    variance = (_windows(squares, 1) - total * mean) / (_PIXELS - 1)
    return mean, (mean + _MIDDLE) ** 2 + _C1 / 2, variance + _C2 / 2


def _moments(x: jax.Array) -> Moments:
    """Of an image's windows: mean less _MIDDLE, m^2 + C1/2 and v + C2/2. Once per image."""
    return _row_sums(*_own_columns(x))


@jax.jit
def _unlike(columns: jax.Array, of_a: Moments, of_b: Moments) -> jax.Array:
    """1 - SSIM, per window."""
    shift = (of_a[0] - of_b[0]) ** 2
    light, contrast = of_a[1] + of_b[1], of_a[2] + of_b[2]
    variance = (_windows(columns, 1) - _PIXELS * shift) / (_PIXELS - 1)  # of a - b
    return 1 - (light - shift) * (contrast - variance) / (light * contrast)


@jax.jit
def _mean(unlike: jax.Array) -> jax.Array:
    return 1 - unlike.sum(0).sum(0) / (unlike.shape[0] * unlike.shape[1])


def _check(a: np.ndarray, b: np.ndarray) -> None:
    if a.ndim != 3 or b.ndim != 3 or a.shape[1:] != b.shape[1:]:
        raise ValueError(f"SSIM needs images [image, height, width] of one size, not {a.shape} and {b.shape}")
    if min(a.shape[1:]) < WINDOW:
        raise ValueError(f"SSIM needs images of at least {WINDOW} x {WINDOW} pixels, not {a.shape[1]} x {a.shape[2]}")


def _blocks(images: np.ndarray, dtype: type) -> Iterator[tuple[slice, jax.Array]]:
    """The images as [height, width, lane], with their place; the last block is padded with black images."""
    _, height, width = images.shape
    lanes = int(np.clip(_BLOCK // (height * width), *_LANES))
    for start in range(0, len(images), lanes):
        part = images[start : start + lanes]
        block: np.ndarray = np.zeros((height, width, lanes), dtype)
        block[..., : len(part)] = np.moveaxis(part, 0, -1)
        yield slice(start, start + len(part)), jnp.asarray(block)


def ssim_pairs(a: np.ndarray, b: np.ndarray, precise: bool = False) -> np.ndarray:
    """SSIM of a[i] and b[i], float32 [image], higher = more alike.

    a, b: [image, height, width] in grey levels 0 to 255. precise: in float64, for reference. ValueError on other shapes
    and on images smaller than the window.
    """
    _check(a, b)
    if len(a) != len(b):
        raise ValueError(f"{len(a)} images cannot be paired with {len(b)}")
    dtype = np.float64 if precise else np.float32
    result = np.empty(len(a), dtype)
    with jax.enable_x64(precise):
        for (place, left), (_, right) in zip(_blocks(a, dtype), _blocks(b, dtype), strict=True):
            found = _mean(_unlike(_columns(left, right), _moments(left), _moments(right)))
            result[place] = np.asarray(found)[: place.stop - place.start]
    return result


def ssim_all(a: np.ndarray, b: np.ndarray, progress: Callable[[int, int], None] | None = None) -> np.ndarray:
    """SSIM of every a[i] with every b[j], float32 [len(a), len(b)], higher = more alike.

    a, b: [image, height, width] in grey levels 0 to 255; made for few `a` and many `b`. progress(done, total) is told
    pairs. Beside the result it needs memory for `a`, twice, and one block of `b`. Row i is the same to the last bit
    whatever the other rows of `a` are. ValueError on other shapes and on images smaller than the window.
    """
    _check(a, b)
    result = np.empty((len(a), len(b)), np.float32)
    lefts = [jnp.asarray(image[..., None], jnp.float32) for image in a]
    moments = [_moments(left) for left in lefts]
    for place, right in _blocks(b, np.float32):
        of_right = _moments(right)
        found = [_mean(_unlike(_columns(x, right), of_x, of_right)) for x, of_x in zip(lefts, moments, strict=True)]
        for i, row in enumerate(found):
            result[i, place] = np.asarray(row)[: place.stop - place.start]
        if progress:
            progress(place.stop * len(a), len(a) * len(b))
    return result

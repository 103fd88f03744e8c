"""Products and Euclidean distances of many vectors, where each row is of its own vector alone.

A BLAS may round an entry of a product by the shape of the matrices and by the row's place in them, and then the score
of a candidate would depend, in its last digits, on who else is scored. So rows are multiplied in blocks, filled up with
zeros, and only at such places of a block as give the same bits: those of most places of a block of one fixed height.
Which they are is asked of the library itself, once for each shape: OpenBLAS's kernels for AVX-512 round alike at all of
them, those for AVX2 in another way at the first and last eight.
"""

from __future__ import annotations

import collections
import functools

import numpy as np
from absl import logging

_ROWS = 112  # vectors of the block by which all others are judged: whole registers of 16
_MOST, _STEP = 208, 16  # heights of the others
_COLUMNS = 1024  # vectors on the other side at most: the result of a block stays in a core's cache
_FEW = 28  # places of the fixed block below which products take so long that it is said


@functools.lru_cache(maxsize=4096)
def places(columns: int, features: int, rows: int) -> tuple[int, ...]:
    """The places of a block at which matrix [columns, features] @ block [features, rows] has the bits that most places
    of a block of _ROWS have."""
    rng = np.random.default_rng(0)
    found: dict[int, list[np.ndarray]] = {_ROWS: [], rows: []}
    for _ in range(-(-128 // columns)):  # few numbers may agree by chance
        matrix, vector = (rng.standard_normal(shape, np.float32) for shape in ((columns, features), (1, features)))
        for height, parts in found.items():
            parts.append(matrix @ np.repeat(vector, height, axis=0).T)
    bits = {height: [entries.tobytes() for entries in np.concatenate(parts).T] for height, parts in found.items()}
    common = collections.Counter(bits[_ROWS]).most_common(1)[0][0]
    same = tuple(place for place, entries in enumerate(bits[rows]) if entries == common)
    if rows == _ROWS and len(same) < _FEW:
        said = "products of %d x %d numbers depend on a row's place: %d of %d places are used, and it takes longer"
        logging.warning(said, columns, features, len(same), rows)
    return same


def _block(left: int, columns: int, features: int) -> tuple[int, tuple[int, ...]]:
    """Height of the next block, where `left` rows are to be multiplied with a matrix [columns, features], and its
    places."""
    fit = min(_MOST, -(-left // _STEP) * _STEP)
    found = places(columns, features, fit)
    if len(found) == fit:
        return fit, found
    heights = fit, min(_MOST, fit + _STEP), _ROWS
    kept = {height: places(columns, features, height) for height in heights}
    height = max(heights, key=lambda height: min(left, len(kept[height])) / height)
    return height, kept[height]


def _index(taken: tuple[int, ...]) -> slice | list[int]:
    """Of these places; a slice where they are neighbours, which copies nothing."""
    together = taken[-1] - taken[0] == len(taken) - 1
    return slice(taken[0], taken[-1] + 1) if together else list(taken)


def products(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a @ b.T of float32 [row, feature] and [column, feature]. Row i is the same to the last bit whatever the other
    rows of `a` are."""
    a, b = np.asarray(a, np.float32), np.ascontiguousarray(b, np.float32)
    result = np.empty((len(a), len(b)), np.float32)
    for first in range(0, len(b), _COLUMNS):
        matrix, start = b[first : first + _COLUMNS], 0
        while start < len(a):
            height, usable = _block(len(a) - start, *matrix.shape)
            part = a[start : start + len(usable)]
            at = _index(usable[: len(part)])
            block = np.zeros((height, a.shape[1]), np.float32)
            block[at] = part
            result[start : start + len(part), first : first + _COLUMNS] = (matrix @ block.T)[:, at].T
            start += len(part)
    return result


def squares(x: np.ndarray) -> np.ndarray:
    """Sum of squares of each row, float32."""
    step = max(1, 2**16 // max(x.shape[1], 1))  # squares that stay in a core's cache
    parts = [(x[i : i + step] ** 2).sum(1) for i in range(0, len(x), step)]
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared Euclidean distances float32 [len(a), len(b)], 0 at least; rows as in `products`."""
    result = products(a, b)
    norms_a, norms_b = squares(a), np.vecdot(b, b)  # the other side's bits may be as they like
    for i, row in enumerate(result):  # in place, while the row is in the cache
        row *= -2
        row += norms_b
        row += norms_a[i]
        np.maximum(row, 0, out=row)
    return result


def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Euclidean distances float32 [len(a), len(b)]; rows as in `products`."""
    result = squared_distances(a, b)
    return np.sqrt(result, out=result)

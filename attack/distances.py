"""Products and Euclidean distances of many vectors, where each row is of its own vector alone.

A BLAS may round an entry of a product by the shape of the matrices and by the row's place in them, and then the score
of a candidate would depend, in its last digits, on who else is scored. So rows are multiplied in blocks of one fixed
shape, filled up with zeros; and whether a row's place in the block matters is asked of the library itself, once for
each shape. Where it does, rows go through one by one.
"""

from __future__ import annotations

import functools

import numpy as np
from absl import logging

_ROWS = 112  # vectors a product: whole registers of 16, and 200 fill two blocks nearly
_COLUMNS = 1024  # vectors on the other side at most: the result of a block stays in a core's cache


@functools.lru_cache(maxsize=1024)
def place_matters(columns: int, features: int) -> bool:
    """Does an entry of matrix [columns, features] @ block [features, _ROWS] depend on its place in the block?"""
    rng = np.random.default_rng(0)
    matrix, vector = rng.standard_normal((columns, features), np.float32), rng.standard_normal(features, np.float32)
    found = matrix @ np.tile(vector, (_ROWS, 1)).T
    matters = bool((found != found[:, :1]).any())
    if matters:
        logging.warning("products of %d x %d numbers depend on a row's place: going row by row", columns, features)
    return matters


def _product(block: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """block [_ROWS, feature] times matrix [column, feature], transposed: float32 [column, _ROWS]."""
    if not place_matters(*matrix.shape):
        return matrix @ block.T
    vector, result = np.empty(block.shape[1], np.float32), np.empty((len(matrix), len(block)), np.float32)
    for i, row in enumerate(block):
        vector[:] = row  # always the same memory, so the same alignment
        result[:, i] = matrix @ vector
    return result


def products(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a @ b.T of float32 [row, feature] and [column, feature]. Row i is the same to the last bit whatever the other
    rows of `a` are."""
    a, b = np.asarray(a, np.float32), np.ascontiguousarray(b, np.float32)
    result = np.empty((len(a), len(b)), np.float32)
    block = np.zeros((_ROWS, a.shape[1]), np.float32)
    for start in range(0, len(a), _ROWS):
        part = a[start : start + _ROWS]
        block[: len(part)], block[len(part) :] = part, 0
        for first in range(0, len(b), _COLUMNS):
            found = _product(block, b[first : first + _COLUMNS])
            result[start : start + len(part), first : first + _COLUMNS] = found[:, : len(part)].T
    return result


def squares(x: np.ndarray) -> np.ndarray:
    """Sum of squares of each row, float32."""
    step = max(1, 2**16 // max(x.shape[1], 1))  # squares that stay in a core's cache
    parts = [(x[i : i + step] ** 2).sum(1) for i in range(0, len(x), step)]
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared Euclidean distances float32 [len(a), len(b)], 0 at least; rows as in `products`."""
    result = products(a, b)
    norms_a, norms_b = squares(a), squares(b)
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

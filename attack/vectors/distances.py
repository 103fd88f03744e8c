"""Products and Euclidean distances of many vectors, where each row is of its own vector alone.

A BLAS may round an entry of a product by the shape of the matrices and by the row's place in them, and then the score
of a candidate would depend, in its last digits, on who else is scored. So rows are multiplied in blocks of one fixed
shape, filled up with zeros; and whether a row's place in the block matters is asked of the library itself, once for
each shape. Where it does, rows go through one by one. Blocks of other heights, which fit the rows better, are taken
where the library says that they give the same bits as the fixed one.
"""

from __future__ import annotations

import functools

import numpy as np
from absl import logging

_ROWS = 112  # vectors of the block by which all others are judged: whole registers of 16
_MOST, _STEP = 208, 16  # heights of the others
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


@functools.lru_cache(maxsize=4096)
def same_bits(columns: int, features: int, rows: int) -> bool:
    """Does matrix [columns, features] @ block [features, rows] have the entries of a block of _ROWS, at every place?"""
    rng = np.random.default_rng(0)
    for _ in range(-(-128 // columns)):  # few numbers may agree by chance
        matrix, vector = (rng.standard_normal(shape, np.float32) for shape in ((columns, features), (1, features)))
        wanted, found = (matrix @ np.repeat(vector, height, axis=0).T for height in (_ROWS, rows))
        if (found != wanted[:, :1]).any():
            return False
    return True


def _height(left: int, columns: int, features: int) -> int:
    """Rows of the next block, where `left` are to be multiplied with a matrix [columns, features] in parts."""
    rows = min(_MOST, -(-left // _STEP) * _STEP)
    parts = {min(columns, _COLUMNS), columns % _COLUMNS or min(columns, _COLUMNS)}
    return rows if all(same_bits(part, features, rows) for part in parts if part) else _ROWS


def _product(block: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """block [row, feature] times matrix [column, feature], transposed: float32 [column, row]."""
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
    start = 0
    while start < len(a):
        height = _height(len(a) - start, *b.shape)
        part = a[start : start + height]
        block = np.zeros((height, a.shape[1]), np.float32)
        block[: len(part)] = part
        for first in range(0, len(b), _COLUMNS):
            found = _product(block, b[first : first + _COLUMNS])
            result[start : start + len(part), first : first + _COLUMNS] = found[:, : len(part)].T
        start += height
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

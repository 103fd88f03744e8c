"""Raster helpers of the thorax phantom: what covers which pixel. They know nothing of anatomy.

A capsule is a row (x0, y0, z0, x1, y1, z1, r0, r1): a segment with a radius at either end. It is cut by the
plane of the slice exactly, so an oblique vessel is an oval and a vessel in the plane is a branch.
"""

from __future__ import annotations

import numpy as np

_WINDOWS = (8, 12, 16, 24, 32, 48, 64, 96, 128, 192)  # pixels; only a capsule's own window is ever touched


def mix(image: np.ndarray, value: np.ndarray | float, cover: np.ndarray) -> None:
    """Paint `value` over `image` in place where `cover` (0 to 1, same shape) says so."""
    image += (value - image) * cover


def edge(inside: np.ndarray) -> np.ndarray:
    """Cover from a signed depth in pixels (positive inside): a ramp one pixel wide, for clean borders."""
    return np.clip(inside + np.float32(0.5), 0, 1)


def capsules(rows: np.ndarray, height: float, size: int, margin: float = 0.5) -> np.ndarray:
    """Depth [size, size] float32 inside the union of capsules `rows` [n, 8], cut at z = `height`, in pixels.

    It is negative outside: right down to -`margin`, anything lower beyond.
    """
    field = np.full(size * size, -1e3, np.float32)
    low = np.minimum(rows[:, 2] - rows[:, 6], rows[:, 5] - rows[:, 7]) - margin
    high = np.maximum(rows[:, 2] + rows[:, 6], rows[:, 5] + rows[:, 7]) + margin
    rows = rows[(low < height) & (high > height)]
    start, along, r0 = rows[:, :3], rows[:, 3:6] - rows[:, :3], rows[:, 6]
    widest = np.maximum(r0, rows[:, 7]) + margin
    # The part of the axis near enough to the plane to be seen in it bounds the window.
    rise = np.where(np.abs(along[:, 2]) < 1e-3, 1e-3, along[:, 2])
    cuts = (height - start[:, 2])[:, None] + np.stack([-widest, widest], 1)
    cuts = np.clip(np.sort(cuts / rise[:, None], axis=1), 0, 1)
    ends = start[:, None, :2] + cuts[:, :, None] * along[:, None, :2]
    low_corner = ends.min(1) - widest[:, None]
    extent = (ends.max(1) + widest[:, None] - low_corner).max(1) + 2
    kind = np.searchsorted(_WINDOWS, extent)
    for i in np.unique(kind):
        window = min(_WINDOWS[min(i, len(_WINDOWS) - 1)], size)
        of = np.flatnonzero(kind == i)
        corner = np.clip(np.floor(low_corner[of]).astype(int), 0, size - window)
        steps = np.arange(window)
        ix, iy = corner[:, :1] + steps, corner[:, 1:] + steps
        a, d = start[of].astype(np.float32), along[of].astype(np.float32)
        dx = (ix + 0.5 - a[:, :1]).astype(np.float32)[:, None, :]
        dy = (iy + 0.5 - a[:, 1:2]).astype(np.float32)[:, :, None]
        dz = np.float32(height) - a[:, 2, None, None]
        d = d[:, :, None, None]
        square = np.maximum((d * d).sum(1), np.float32(1e-6))
        t = np.clip((dx * d[:, 0] + dy * d[:, 1] + dz * d[:, 2]) / square, 0, 1)
        away = np.sqrt((dx - t * d[:, 0]) ** 2 + (dy - t * d[:, 1]) ** 2 + (dz - t * d[:, 2]) ** 2)
        first, last = (rows[of, k].astype(np.float32)[:, None, None] for k in (6, 7))
        depth = first + t * (last - first) - away
        index = iy[:, :, None] * size + ix[:, None, :]
        np.maximum.at(field, index.ravel(), depth.ravel())
    return field.reshape(size, size)


def between(knots: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Smooth interpolation of `knots` [n, ...] at the places `at` [m] of [0, 1]: [m, ...] float32."""
    place = np.clip(at, 0, 1) * (len(knots) - 1)
    low = np.minimum(place.astype(np.intp), len(knots) - 2)
    share = (0.5 - 0.5 * np.cos(np.pi * (place - low))).astype(np.float32)
    share = share.reshape(-1, *[1] * (knots.ndim - 1))
    return knots[low] * (1 - share) + knots[low + 1] * share


def grain(rng: np.random.Generator, size: int, blur: float) -> np.ndarray:
    """Correlated noise [size, size] float32 of unit variance: neighbours share it by the weight `blur`."""
    noise = rng.standard_normal((size + 2, size + 2), dtype=np.float32)
    side = np.float32(blur)
    noise = noise[1:-1] + side * (noise[:-2] + noise[2:])
    noise = noise[:, 1:-1] + side * (noise[:, :-2] + noise[:, 2:])
    return noise / np.float32(1 + 2 * blur * blur)

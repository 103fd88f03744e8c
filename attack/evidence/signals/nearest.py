"""The nearest generated images: the block of evidence of `nearest` and `ratio`.

`nearest` is its first number, the distance to the nearest one (GAN-Leaks full black-box attack, Chen et al. 2020,
arXiv 1909.03935).
"""

from __future__ import annotations

import numpy as np

from attack.evidence.embedded_pile import Block, EmbeddedPile

NEAREST = 50  # generated images that are kept
FLOOR = 1e-4  # of a distance, before its logarithm: below the rounding of 8-bit pixels


def closeness_of(distance: np.ndarray) -> np.ndarray:
    """-log distance, any shape; a distance counts as FLOOR at least."""
    return 0 - np.log(np.maximum(distance, FLOOR))  # of 1 it is 0, not -0


def measure(embedded: EmbeddedPile) -> np.ndarray:
    """-log distance to the NEAREST nearest generated images, falling: [candidate, NEAREST]. A smaller pile repeats its
    farthest image."""
    d = embedded.distances
    kept = min(NEAREST, d.shape[1])
    near = np.sort(np.partition(d, kept - 1, axis=1)[:, :kept], axis=1)
    return closeness_of(np.pad(near, ((0, 0), (0, NEAREST - kept)), mode="edge"))


BLOCK = Block("closeness", tuple(f"closeness.{i + 1}" for i in range(NEAREST)), measure)

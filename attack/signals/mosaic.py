"""Distance to the nearest mosaic of generated images: each tile of the candidate may have a generated image of its own.

Diffusion models with local networks put new images together from patches of training images (Kamb and Ganguli 2024,
arXiv 2412.20292), so a member shows in pieces before any generated image is a copy of the whole. The squared distances
to the nearest tiles are summed: tiles with much structure weigh most, and a pile needs fewer images to come near.
"""

from __future__ import annotations

import numpy as np

from attack.signals.closeness import closeness_of
from attack.signals.sight import Block, Sight

COLUMNS = ("mosaic",)


def measure(sight: Sight) -> np.ndarray:
    """-log distance to the nearest mosaic, the root of the sum over tiles of the least squared distance there (never
    above the distance to the nearest image): [candidate, 1]."""
    return closeness_of(np.sqrt(sight.tiled.mosaic))[:, None]


BLOCK = Block("mosaic", ("mosaic",), measure, "pictures")


def signal(numbers: np.ndarray) -> np.ndarray:
    """-log distance to the nearest mosaic: [..., 1] of the block's numbers [..., 1]."""
    return numbers.astype(np.float64)

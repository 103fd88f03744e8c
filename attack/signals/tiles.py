"""Greatest distance of any tile, to the generated image where it is least (Carlini et al. 2023, arXiv 2301.13188).

There it is the distance of two images that decides whether one is a copy: a small one asks that every part be alike, so
a common background does not make two images near. min over the pile of max over tiles of the tile's distance.
"""

from __future__ import annotations

import numpy as np

from attack.signals.closeness import closeness_of
from attack.signals.sight import Block, Sight

COLUMNS = ("tiles",)


def measure(sight: Sight) -> np.ndarray:
    """-log of the least greatest distance of a tile: [candidate, 1]."""
    return closeness_of(sight.tiled.worst)[:, None]


BLOCK = Block("tiles", ("tiles",), measure, "pictures")


def signal(numbers: np.ndarray) -> np.ndarray:
    """-log distance: [..., 1] of the block's numbers [..., 1]."""
    return numbers.astype(np.float64)

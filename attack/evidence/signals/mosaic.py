"""Distance to the nearest mosaic of generated images: each tile of the candidate may have a generated image of its own.

Diffusion models with local networks put new images together from patches of training images (Kamb and Ganguli 2024,
arXiv 2412.20292), so a member shows in pieces before any generated image is a copy of the whole. The squared distances
to the nearest tiles are summed: tiles with much structure weigh most, and a pile needs fewer images to come near.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

from attack.evidence.embedded_pile import Block, EmbeddedPile
from attack.evidence.embeddings.distances import squared_distances
from attack.evidence.signals.nearest import closeness_of

TILES = 4  # a side, into which an image is cut


def measure(embedded: EmbeddedPile) -> np.ndarray:
    """-log distance to the nearest mosaic, the root of the sum over tiles of the least squared distance there (never
    above the distance to the nearest image): [candidate, 1]. ValueError where embedded images are no pictures."""
    asked = tiles(embedded.real)
    least = np.full((len(asked), len(embedded.real)), np.inf, np.float32)  # of each tile
    for part in embedded.parts:
        for i, (mine, theirs) in enumerate(zip(asked, tiles(part), strict=True)):
            np.minimum(least[i], squared_distances(mine, theirs).min(1), out=least[i])
    return closeness_of(np.sqrt(least.sum(0, dtype=np.float64)))[:, None]


def tiles(vectors: np.ndarray) -> list[np.ndarray]:
    """Embedded square images [image, pixel] cut into TILES x TILES parts, as even as pixels let them be: contiguous
    float32 [image, pixel of the part] each. Raises ValueError where the vectors are no square image."""
    side = math.isqrt(vectors.shape[1])
    if side * side != vectors.shape[1]:
        raise ValueError(f"{vectors.shape[1]} features are no square image")
    images = vectors.reshape(len(vectors), side, side)
    cuts = np.linspace(0, side, min(TILES, side) + 1).round().astype(int)
    spans = [slice(a, b) for a, b in itertools.pairwise(cuts)]
    return [np.ascontiguousarray(images[:, y, x].reshape(len(images), -1)) for y in spans for x in spans]


BLOCK = Block("mosaic", ("mosaic",), measure, pictures=True)

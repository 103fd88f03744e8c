"""Structural similarity to the nearest generated images (Wang et al. 2004), as in retrieval attacks on generated
images (VCMI, ImageCLEFmedical GANs 2023).

-log(1 - SSIM), the mean over the 1, 5 and 10 most similar. Of a pile of more than ALL_PAIRS pixels SSIM is computed
with the NEAREST images by standardised pixels.
"""

from __future__ import annotations

import numpy as np

from attack.signals.scene import PileBlock, Scene
from attack.vectors.distances import distances
from attack.vectors.embeddings import standardised
from attack.vectors.ssim import ssim_all

ALL_PAIRS = 10_000 * 64 * 64
NEAREST = 200
_KEPT = 10
_RANKS = (1, 5, 10)
_FLOOR = 1e-4  # of 1 - SSIM, before its logarithm: below the rounding of 8-bit pixels
_CHUNK = 2**23  # pixels of a pile that are embedded at a time
COLUMNS = tuple(f"ssim.{k}" for k in _RANKS)


def most_similar(images: np.ndarray, pile: np.ndarray) -> np.ndarray:
    """float32 [candidate, 10], falling: -log(1 - SSIM) with the most similar images of the pile; a smaller pile repeats
    its last. ValueError on an empty pile and on images of fewer than 7 pixels a side."""
    if not len(pile):
        raise ValueError("an empty pile")
    found = ssim_all(images, pile) if pile.size <= ALL_PAIRS else _with_nearest(images, pile)
    kept = min(_KEPT, found.shape[1])
    best = -np.sort(-np.partition(found, -kept, axis=1)[:, -kept:], axis=1)
    best = np.pad(best, ((0, 0), (0, _KEPT - kept)), mode="edge")
    return -np.log(np.maximum(1 - best, np.float32(_FLOOR)))


def _with_nearest(images: np.ndarray, pile: np.ndarray) -> np.ndarray:
    """SSIM [candidate, NEAREST] with the images of the pile that are nearest by standardised pixels."""
    real, step = standardised(images), max(1, _CHUNK // pile[0].size)
    far = [distances(real, standardised(pile[i : i + step])) for i in range(0, len(pile), step)]
    kept = min(NEAREST, len(pile))
    places = np.sort(np.argpartition(np.concatenate(far, axis=1), kept - 1, axis=1)[:, :kept], axis=1)
    return np.concatenate([ssim_all(images[i : i + 1], pile[row]) for i, row in enumerate(places)])


def _numbers(scene: Scene) -> tuple[str, ...]:
    return tuple(f"ssim.{i + 1}" for i in range(_KEPT))


def measure(scene: Scene) -> np.ndarray:
    """[pile, candidate, 10]."""
    return np.stack([most_similar(scene.images, pile.whole()) for pile in scene.piles])


BLOCK = PileBlock("ssim", _numbers, measure)


def signal(numbers: np.ndarray) -> np.ndarray:
    """Means over the 1, 5 and 10 most similar: [..., 3] of the block's numbers [..., 10]."""
    return np.stack([numbers[..., :k].astype(np.float64).mean(-1) for k in _RANKS], axis=-1)

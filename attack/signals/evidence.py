"""What is measured once for every (pile, candidate): the store that all signals are computed from."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from attack.embeddings import distances

NEAREST = 50  # nearest generated images that are kept
SIZE = NEAREST + 2  # numbers stored for one (pile, candidate, embedding)
_TILES = 4  # a side, into which an image is cut for `mosaic`
_FLOOR = 1e-4  # of a distance, before its logarithm: below the rounding of 8-bit pixels


class Evidence(NamedTuple):
    """Evidence of piles about candidates in one embedding; leading axes are free.

    closeness: -log distance to the NEAREST nearest generated images, falling, float [..., NEAREST].
    votes: log(1 + generated images whose nearest known real image the candidate is), float [...].
    mosaic: -log distance to the image put together, tile by tile, from the generated images that are nearest there,
    float [...].
    """

    closeness: np.ndarray
    votes: np.ndarray
    mosaic: np.ndarray


def pack(evidence: Evidence) -> np.ndarray:
    """float32 [..., SIZE], as stored."""
    numbers = [evidence.closeness, evidence.votes[..., None], evidence.mosaic[..., None]]
    return np.concatenate(numbers, axis=-1).astype(np.float32)


def unpack(values: np.ndarray) -> Evidence:
    return Evidence(values[..., :-2], values[..., -2], values[..., -1])


def tiles(vectors: np.ndarray) -> list[np.ndarray]:
    """Embedded square images [image, pixel] cut into _TILES x _TILES parts, as even as pixels let them be: contiguous
    float32 [image, pixel of the part] each. Raises ValueError where the vectors are no square images."""
    side = math.isqrt(vectors.shape[1])
    if side * side != vectors.shape[1]:
        raise ValueError(f"{vectors.shape[1]} features are no square image")
    images = vectors.reshape(len(vectors), side, side)
    cuts = np.linspace(0, side, min(_TILES, side) + 1).round().astype(int)
    spans = [slice(a, b) for a, b in itertools.pairwise(cuts)]
    return [np.ascontiguousarray(images[:, y, x].reshape(len(images), -1)) for y in spans for x in spans]


def mosaic_distances(candidates: np.ndarray, pile: np.ndarray) -> np.ndarray:
    """Distance of each candidate to its nearest mosaic of the pile, float64 [candidate]: the root of the sum over tiles
    of the least squared distance there. Never above the distance to the nearest image."""
    total = np.zeros(len(candidates))
    for mine, theirs in zip(tiles(candidates), tiles(pile), strict=True):
        total += distances(mine, theirs).min(1).astype(np.float64) ** 2
    return np.sqrt(total)


def measure(
    candidates: np.ndarray,
    groups: Sequence[str],
    pile: np.ndarray,
    reference: np.ndarray,
    reference_groups: Sequence[str],
) -> Evidence:
    """Evidence [candidate] of one pile, from embedded images [image, feature].

    `reference` are the known real images that compete for votes; those of the candidate's own group stand aside, so
    that a neighbour does not take its votes. A pile smaller than NEAREST repeats its farthest image. Depends on each
    candidate alone, never on the others. Raises ValueError on an empty pile.
    """
    if not len(pile):
        raise ValueError("an empty pile")
    d = distances(candidates, pile)
    kept = min(NEAREST, len(pile))
    near = np.sort(np.partition(d, kept - 1, axis=1)[:, :kept], axis=1)
    near = np.pad(near, ((0, 0), (0, NEAREST - kept)), mode="edge")
    to_reference = distances(reference, pile)
    rival_groups = np.asarray(reference_groups)
    nearest_rival = to_reference.min(0)
    counts = np.empty(len(candidates))
    for i, group in enumerate(groups):
        own = rival_groups == group
        rival = to_reference[~own].min(0, initial=np.inf) if own.any() else nearest_rival
        counts[i] = (d[i] < rival).sum()
    mosaic = np.maximum(mosaic_distances(candidates, pile), _FLOOR)
    return Evidence(-np.log(np.maximum(near, _FLOOR)), np.log1p(counts), -np.log(mosaic))

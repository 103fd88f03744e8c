"""Generated images that have the candidate as their nearest real image (retrieval, as in the best similarity run of
ImageCLEFmedical GANs 2023), among the candidate and a fixed set of known real images.

Known images of the candidate's own group stand aside, so that a neighbour does not take its votes.
"""

from __future__ import annotations

import numpy as np

from attack.signals.sight import Block, Sight

COLUMNS = ("votes",)


def measure(sight: Sight) -> np.ndarray:
    """log(1 + votes): [candidate, 1]."""
    rivals, groups = sight.distances[: sight.known], np.asarray(sight.groups)
    number = np.unique(groups, return_inverse=True)[1]
    best, second = np.full((2, len(sight.pile)), np.inf, np.float32)
    owner = np.full(len(sight.pile), -1)
    if len(rivals):  # the nearest of all known images, and the nearest of another group than that one's
        owner = number[rivals.argmin(0)]
        best = rivals.min(0)
        second = np.where(number[: sight.known, None] == owner, np.float32(np.inf), rivals).min(0)
    counts = [
        np.count_nonzero(d < np.where(owner == number[i], second, best))
        for i, d in zip(sight.rows, sight.to_asked, strict=True)
    ]
    return np.log1p(np.array(counts, np.float64))[:, None]


BLOCK = Block("votes", ("votes",), measure)


def signal(numbers: np.ndarray) -> np.ndarray:
    """log(1 + votes): [..., 1] of the block's numbers [..., 1]."""
    return numbers.astype(np.float64)

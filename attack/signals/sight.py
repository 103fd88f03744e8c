"""Real images and one pile in one embedding: what the blocks of evidence are measured on."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from attack.distances import distances, squared_distances

TILES = 4  # a side, into which an image is cut


class Tiled(NamedTuple):
    """Of each candidate: mosaic, the sum over tiles of the least squared distance there; worst, the least over images
    of the greatest distance of a tile."""

    mosaic: np.ndarray
    worst: np.ndarray


@dataclass(frozen=True, eq=False)
class Sight:
    """One pile as the candidates see it. What several blocks need is worked out once.

    real: float32 [image, feature], embedded; the first `known` of them are the known real images. groups: of `real`.
    pile: float32 [image, feature]. asked: int [candidate], the rows of `real` that evidence is wanted about; all where
    None. ValueError on an empty pile.
    """

    real: np.ndarray
    known: int
    groups: Sequence[str]
    pile: np.ndarray
    asked: np.ndarray | None = None
    about: np.ndarray | None = None

    def __post_init__(self) -> None:
        if not len(self.pile):
            raise ValueError("an empty pile")

    @functools.cached_property
    def rows(self) -> np.ndarray:
        return np.arange(len(self.real)) if self.asked is None else self.asked

    @functools.cached_property
    def distances(self) -> np.ndarray:
        """float32 [image of `real`, image of `pile`]."""
        return distances(self.real, self.pile)

    @functools.cached_property
    def to_asked(self) -> np.ndarray:
        """float32 [candidate, image of `pile`]."""
        return self.distances if self.asked is None else self.distances[self.asked]

    @functools.cached_property
    def tiled(self) -> Tiled:
        """ValueError where embedded images are no pictures."""
        total, worst = np.zeros(len(self.rows)), np.zeros((len(self.rows), len(self.pile)), np.float32)
        for mine, theirs in zip(tiles(self.real[self.rows]), tiles(self.pile), strict=True):
            found = squared_distances(mine, theirs)
            total += found.min(1)
            np.maximum(worst, found, out=worst)
        return Tiled(total, np.sqrt(worst.min(1)))


class Block(NamedTuple):
    """Numbers that are measured once for every (pile, candidate) in one embedding.

    numbers: their names. measure(sight) -> float [candidate, number], each row of its candidate alone, to the last bit,
    whoever else is asked about. kind: that embeddings must be of (`embeddings.Embedding`); any where it is empty.
    """

    name: str
    numbers: tuple[str, ...]
    measure: Callable[[Sight], np.ndarray]
    kind: str = ""


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

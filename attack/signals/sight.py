"""Real images and one pile in one embedding: what the blocks of evidence are measured on."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from attack.vectors.distances import distances, squared_distances

TILES = 4  # a side, into which an image is cut


class Tiled(NamedTuple):
    """Of each candidate: mosaic, the sum over tiles of the least squared distance there; worst, the least over images
    of the greatest distance of a tile."""

    mosaic: np.ndarray
    worst: np.ndarray


@dataclass(frozen=True, eq=False)
class Parts:
    """The vectors of a pile that is too large to be kept embedded: made part by part, every time they are asked for.

    spans: of the images, one after the other; embed(span) -> float32 [image, feature].
    """

    spans: tuple[slice, ...]
    embed: Callable[[slice], np.ndarray]

    def __len__(self) -> int:
        return self.spans[-1].stop if self.spans else 0

    def __iter__(self) -> Iterator[np.ndarray]:
        return map(self.embed, self.spans)


@dataclass(frozen=True, eq=False)
class Sight:
    """One pile as the candidates see it. What several blocks need is worked out once.

    real: float32 [image, feature], embedded. pile: float32 [image, feature], or parts of it. asked: int [candidate],
    the rows of `real` that evidence is wanted about; all where None. about: int [candidate], which of all real images
    those are; all in turn where None. ValueError on an empty pile.
    """

    real: np.ndarray
    pile: np.ndarray | Parts
    asked: np.ndarray | None = None
    about: np.ndarray | None = None

    def __post_init__(self) -> None:
        if not len(self.pile):
            raise ValueError("an empty pile")

    @functools.cached_property
    def rows(self) -> np.ndarray:
        return np.arange(len(self.real)) if self.asked is None else self.asked

    @property
    def parts(self) -> Iterator[np.ndarray]:
        """The pile's vectors, float32 [image, feature], some images at a time."""
        return iter((self.pile,)) if isinstance(self.pile, np.ndarray) else iter(self.pile)

    @functools.cached_property
    def vectors(self) -> np.ndarray:
        """All of them: for embeddings of few features."""
        return self.pile if isinstance(self.pile, np.ndarray) else np.concatenate(list(self.pile))

    @functools.cached_property
    def distances(self) -> np.ndarray:
        """float32 [image of `real`, image of `pile`]."""
        found = [distances(self.real, part) for part in self.parts]
        return found[0] if len(found) == 1 else np.concatenate(found, axis=1)

    @functools.cached_property
    def to_asked(self) -> np.ndarray:
        """float32 [candidate, image of `pile`]."""
        return self.distances if self.asked is None else self.distances[self.asked]

    @functools.cached_property
    def tiled(self) -> Tiled:
        """ValueError where embedded images are no pictures."""
        asked = tiles(self.real[self.rows])
        least = np.full((len(asked), len(self.rows)), np.inf, np.float32)  # of each tile
        worst = np.full(len(self.rows), np.inf, np.float32)
        for part in self.parts:
            greatest = np.zeros((len(self.rows), len(part)), np.float32)
            for i, (mine, theirs) in enumerate(zip(asked, tiles(part), strict=True)):
                found = squared_distances(mine, theirs)
                np.minimum(least[i], found.min(1), out=least[i])
                np.maximum(greatest, found, out=greatest)
            np.minimum(worst, greatest.min(1), out=worst)
        return Tiled(least.sum(0, dtype=np.float64), np.sqrt(worst))


class Block(NamedTuple):
    """Numbers that are measured once for every (pile, candidate) in one embedding.

    numbers: their names. measure(sight) -> float [candidate, number], each row of its candidate alone, to the last bit,
    whoever else is asked about; but for `votes`, whose rivals are all real images of the run. kind: that embeddings
    must be of (`embeddings.Embedding`); any where it is empty.
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

"""Real images and one pile in one embedding: what the blocks of evidence are measured on."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from attack.evidence.embeddings.distances import distances


@dataclass(frozen=True, eq=False)
class PileParts:
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
class EmbeddedPile:
    """One pile as the candidates see it. What several blocks need is worked out once.

    real: float32 [candidate, feature], all real images of a run, embedded. pile: float32 [image, feature], or parts of
    it. ValueError on an empty pile.
    """

    real: np.ndarray
    pile: np.ndarray | PileParts

    def __post_init__(self) -> None:
        if not len(self.pile):
            raise ValueError("an empty pile")

    @property
    def parts(self) -> Iterator[np.ndarray]:
        """The pile's vectors, float32 [image, feature], some images at a time."""
        return iter((self.pile,)) if isinstance(self.pile, np.ndarray) else iter(self.pile)

    @functools.cached_property
    def distances(self) -> np.ndarray:
        """float32 [candidate, image of the pile]."""
        found = [distances(self.real, part) for part in self.parts]
        return found[0] if len(found) == 1 else np.concatenate(found, axis=1)


class Block(NamedTuple):
    """Numbers that are measured once for every (pile, candidate) in one embedding.

    numbers: their names. measure(embedded) -> float [candidate, number], each row of its candidate alone, to the last
    bit, whoever else is asked about; but for `votes`, whose rivals are all real images of the run. pictures: only of
    embeddings that are pictures (`builtin.Embedding`).
    """

    name: str
    numbers: tuple[str, ...]
    measure: Callable[[EmbeddedPile], np.ndarray]
    pictures: bool = False

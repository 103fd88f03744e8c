"""The embeddings of a run, made ready for its images: real ones once, piles one by one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from attack.evidence.attack_data import AttackData
from attack.evidence.embedded_pile import EmbeddedPile, PileParts
from attack.evidence.embeddings.builtin import embed, in_parts
from attack.evidence.embeddings.supplied import Supplied
from shadow.config import SUPPLIED

_WHOLE = 2**27  # numbers of a pile's vectors that are kept: half a GiB
_PART = 1024  # images of a larger pile that are embedded at a time: as many as distances multiply at a time

# A pile by its name and its images [image, side, side], as the real images of a run see it in one embedding.
Space = Callable[[str, np.ndarray], EmbeddedPile]


def space(name: str, attack_data: AttackData, supplied: Supplied | None = None) -> Space:
    """One embedding, with the real images embedded. ValueError without the vectors that it is made of."""
    if name != SUPPLIED:
        function = partial(embed, name)
        real = function(attack_data.images)
        return lambda _, images: EmbeddedPile(real, embedded(function, images))
    if supplied is None:
        raise ValueError("no vectors are supplied")
    given, vectors = supplied.real, supplied.piles
    return lambda pile, _: EmbeddedPile(given, vectors[pile])


def embedded(function: Callable[[np.ndarray], np.ndarray], images: np.ndarray) -> np.ndarray | PileParts:
    """function(images [image, side, side]), float32 [image, feature]: whole, or in parts where it is large. Distances
    are the same to the last bit."""
    first = in_parts(function, images[:_PART])
    if len(images) <= _PART:
        return first
    if len(images) * first.shape[1] <= _WHOLE:
        return np.concatenate([first, in_parts(function, images[_PART:])])
    spans = (slice(i, min(i + _PART, len(images))) for i in range(0, len(images), _PART))
    return PileParts(tuple(spans), lambda span: in_parts(function, images[span]))

"""The embeddings of a run, made ready for its images: real ones once, piles one by one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from attack.signals.scene import Scene
from attack.signals.sight import Parts, Sight
from attack.vectors import encoders
from attack.vectors.embeddings import embed, in_parts
from attack.vectors.supplied import Supplied
from shadow.config import FEATURES, SUPPLIED

_WHOLE = 2**27  # numbers of a pile's vectors that are kept: half a GiB
_PART = 1024  # images of a larger pile that are embedded at a time: as many as distances multiply at a time


@dataclass(frozen=True)
class View:
    """Some real images in one embedding.

    about: int [candidate], which of all real images evidence is wanted about; real: float32 [image, feature], all dev
    images and then the test candidates among `about`; rows: int [candidate], `about` in `real`.
    embed: (a pile's name, its images [image, side, side]) -> float32 [image, feature], or parts.
    """

    about: np.ndarray
    real: np.ndarray
    rows: np.ndarray
    embed: Callable[[str, np.ndarray], np.ndarray | Parts]

    def of(self, name: str, pile: np.ndarray) -> Sight:
        """A pile [image, side, side] of this name as these images see it."""
        return Sight(self.real, self.embed(name, pile), self.rows, self.about)


def views(name: str, scene: Scene, supplied: Supplied | None = None) -> list[View]:
    """The views of one embedding that together are about every real image once. ValueError without the vectors that it
    is made of."""
    if name == "pca":
        return [_view(scene, about, basis.embed) for about, basis in scene.bases]
    if name == FEATURES:
        return [_view(scene, about, encoder.embed) for about, encoder in encoders.of(scene)]
    everyone = np.arange(len(scene.images))
    if name != SUPPLIED:
        return [_view(scene, everyone, partial(embed, name))]
    if supplied is None:
        raise ValueError("no vectors are supplied")
    vectors = supplied.piles
    return [View(everyone, supplied.real, everyone, lambda pile, _: vectors[pile])]


def _view(scene: Scene, about: np.ndarray, function: Callable[[np.ndarray], np.ndarray]) -> View:
    inside, others = about[about < scene.dev], about[about >= scene.dev]
    kept = np.concatenate([np.arange(scene.dev), others])
    rows = np.concatenate([inside, scene.dev + np.arange(len(others))])
    asked, real = np.concatenate([inside, others]), function(scene.images[kept])
    return View(asked, real, rows, lambda _, images: embedded(function, images))


def embedded(function: Callable[[np.ndarray], np.ndarray], images: np.ndarray) -> np.ndarray | Parts:
    """function(images [image, side, side]), float32 [image, feature]: whole, or in parts where it is large. Distances
    are the same to the last bit."""
    first = in_parts(function, images[:_PART])
    if len(images) <= _PART:
        return first
    if len(images) * first.shape[1] <= _WHOLE:
        return np.concatenate([first, in_parts(function, images[_PART:])])
    spans = (slice(i, min(i + _PART, len(images))) for i in range(0, len(images), _PART))
    return Parts(tuple(spans), lambda span: in_parts(function, images[span]))

"""The embeddings of a run, made ready for its images: real ones once, piles one by one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from attack.embeddings import embed
from attack.signals.scene import Scene
from attack.signals.sight import Sight


@dataclass(frozen=True)
class View:
    """Some real images in one embedding.

    about: int [candidate], which of all real images evidence is wanted about; real: float32 [image, feature], all dev
    images and then the test candidates among `about`; groups: of `real`; rows: int [candidate], `about` in `real`.
    embed: images [image, side, side] -> float32 [image, feature].
    """

    about: np.ndarray
    real: np.ndarray
    known: int
    groups: tuple[str, ...]
    rows: np.ndarray
    embed: Callable[[np.ndarray], np.ndarray]

    def of(self, pile: np.ndarray) -> Sight:
        """A pile [image, side, side] as these images see it."""
        return Sight(self.real, self.known, self.groups, self.embed(pile), self.rows, self.about)


def views(name: str, scene: Scene) -> list[View]:
    """The views of one embedding that together are about every real image once."""
    if name == "pca":
        return [_view(scene, about, basis.embed) for about, basis in scene.bases]
    return [_view(scene, np.arange(len(scene.images)), partial(embed, name))]


def _view(scene: Scene, about: np.ndarray, function: Callable[[np.ndarray], np.ndarray]) -> View:
    inside, others = about[about < scene.dev], about[about >= scene.dev]
    kept = np.concatenate([np.arange(scene.dev), others])
    rows = np.concatenate([inside, scene.dev + np.arange(len(others))])
    groups = tuple(scene.groups[i] for i in kept)
    return View(np.concatenate([inside, others]), function(scene.images[kept]), scene.dev, groups, rows, function)

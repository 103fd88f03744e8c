"""How hard slices are for generators that were not trained on them, from the weights of a run's other shadows.

A slice whose loss is low for every generator is easy, not a member: its loss is compared with that of other shadows at
the same training step, which were trained without it (Watson et al. 2022, arXiv 2111.08440; a likelihood ratio of
Carlini et al. 2022, arXiv 2112.03570, without its variances, which a handful of shadows do not give).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from attack.compare import whitebox
from attack.compare.subjects import Source, Subject, opened
from attack.inference.reference_choice import least_without, priorities, ranked_references
from shadow import fleet
from shadow.config import CompareConfig
from shadow.data import decoding
from shadow.training import checkpoint


@dataclass(frozen=True)
class Difficulty:
    """What generators without a slice make of it: `score` [image of the pool], the mean of `whitebox.loss_score` over
    `count` shadows that do not hold the image, of `shadows`, the numbers of those asked."""

    score: np.ndarray
    count: int
    shadows: tuple[int, ...]


def chosen(member: np.ndarray, order: np.ndarray) -> np.ndarray:
    """The references of each image: int [image, count] into the rows of member, bool [shadow, image]; never one that
    holds the image. Every image, member of the checkpoint asked about or not, has as many, or a mean of more would tell
    which it is. `order` [image, shadow]: who comes first. ValueError where all shadows hold an image."""
    count = least_without(member) if len(member) else 0
    if not count:
        raise ValueError("a slice is in all of them")
    return ranked_references(member, order)[:, :count]


def others(subject: Subject, source: Source, most: int) -> list[int]:
    """Numbers of the shadows that are asked: of the subject's family, with a checkpoint of its step, at most `most`;
    those of its block of the membership matrix first, in which every slice is in half of the shadows."""
    config, own = source.config, subject.shadow
    block = config.membership.block
    family = fleet.family_of(config, own)
    there = [
        k
        for k in range(len(source.membership))
        if k != own
        and fleet.family_of(config, k) == family
        and subject.place.step in checkpoint.steps(fleet.shadow_folder(source.folder, k))
    ]
    return sorted(sorted(there, key=lambda k: (k // block != own // block, k))[:most])


@dataclass
class Difficulties:
    """Of every checkpoint of one comparison; the losses of a shadow are measured once."""

    config: CompareConfig
    _losses: dict[tuple[Path, int | None, bool], np.ndarray] = field(default_factory=dict)

    def of(self, subject: Subject) -> Difficulty | str:
        """For a checkpoint whose members are known; or why there is none. One other checkpoint is in memory at a time.

        Raises DamagedError on one of another shadow that cannot be read.
        """
        source = subject.source
        if source is None:
            return subject.unknown
        if not self.config.references:
            return "compare.references = 0"
        shadows = others(subject, source, self.config.references)
        if not shadows:
            return f"no other shadow of its run has a checkpoint of step {subject.place.step}"
        member = source.membership[shadows]
        order = priorities(tuple(source.pool), len(source.membership), self.config.seed, 0)[:, shadows]
        try:
            rows = chosen(member, order)
        except ValueError:
            slices = source.pool[int(member.all(0).argmax())]
            return f"{slices} is in all {len(shadows)} other shadows with a checkpoint of step {subject.place.step}"
        losses = np.stack([self._measured(subject, source, k) for k in shadows])
        score = np.take_along_axis(losses.T, rows, axis=1).mean(1)
        return Difficulty(score, rows.shape[1], tuple(shadows))

    def _measured(self, subject: Subject, source: Source, shadow: int) -> np.ndarray:
        """The loss scores [image of the pool] of another shadow, at the subject's step and kind of weights."""
        folder = fleet.shadow_folder(source.folder, shadow)
        key = (folder.absolute(), subject.place.step, subject.place.raw)
        if key not in self._losses:
            place = replace(subject.place, name=f"{folder}@{subject.place.step}", folder=folder)
            generator = opened(place)
            images = decoding.to_unit(source.manifest.images_at(source.pool, generator.size))
            model = whitebox.opened(generator, generator.size)
            self._losses[key] = whitebox.loss_score(
                whitebox.losses(model, images, self.config.seed, self.config.noises)
            )
        return self._losses[key]

"""What the shadows' piles show of every candidate, and which shadows may be its references."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ShadowSignals:
    """The shadows' signals of all candidates.

    values: float64 [shadow, candidate, column], of the piles at the training step attacked with; references: float64
    [step, shadow, candidate, column], of the piles at every step, rising; names: of the columns. member: bool [shadow,
    candidate], True where the shadow holds the candidate; holds_relative: bool [shadow, candidate], True where it holds
    anything of the candidate's group; excluded: bool [shadow, candidate], True where the shadow may be no reference of
    the candidate for another reason than holding it (`excluded_as_in_pool`), none where it is not given.
    """

    values: np.ndarray
    references: np.ndarray
    member: np.ndarray
    holds_relative: np.ndarray
    names: tuple[str, ...]
    excluded: np.ndarray | None = None

    @property
    def no_reference(self) -> np.ndarray:
        """Shadows that may be no reference of a candidate, bool [shadow, candidate]."""
        return self.member if self.excluded is None else self.member | self.excluded

    def only(self, shadows: Sequence[int] | np.ndarray) -> ShadowSignals:
        """As if the other shadows, by their rows, had never been trained."""
        rows = np.asarray(shadows, int)
        return dataclasses.replace(
            self,
            values=self.values[rows],
            references=self.references[:, rows],
            member=self.member[rows],
            holds_relative=self.holds_relative[rows],
            excluded=None if self.excluded is None else self.excluded[rows],
        )

    def about(self, images: np.ndarray) -> ShadowSignals:
        """As if there were no images but these, int [image]."""
        return dataclasses.replace(
            self,
            values=self.values[:, images],
            references=self.references[:, :, images],
            member=self.member[:, images],
            holds_relative=self.holds_relative[:, images],
            excluded=None if self.excluded is None else self.excluded[:, images],
        )


def excluded_as_in_pool(
    member: np.ndarray,
    holds_relative: np.ndarray,
    group: np.ndarray,
    asked_holds_relative: np.ndarray,
    asked_group: np.ndarray,
) -> np.ndarray:
    """Shadows that may be no reference of a candidate, so that it is treated as the pool's images of its group are:
    bool [shadow, candidate].

    Where a group is one unit of membership, or has one image in the pool, no reference of these images ever holds a
    relative. References of a candidate of the group that did would take away what a used relative shows, from
    candidates alone. In a group of several units references of all may hold relatives, and where every group of several
    images is split they may for every candidate.

    member, holds_relative: bool [shadow, image of the pool], as in `ShadowSignals`; asked_holds_relative: bool [shadow,
    candidate]. Groups are numbered together, [image of the pool] and [candidate].
    """
    split = np.unique(group[(holds_relative & ~member).any(0)])
    numbers, images = np.unique(group, return_counts=True)
    if len(split) and np.isin(numbers[images > 1], split).all():
        return np.zeros_like(asked_holds_relative)
    return np.asarray(asked_holds_relative & ~np.isin(asked_group, split))

"""Was the target trained on flipped slices too? Seen in its pile, without a label; then piles are looked at flipped.

Much training code flips its images at random. Such a generator copies a slice and the flipped slice alike, and who
looks for the slice alone misses half of the copies. A chest is not symmetric: where nothing was flipped, nearly every
real slice lies nearer to the pile than to the flipped pile. Where training flipped, half of them do.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from attack.evidence.embeddings.builtin import in_parts, standardised
from attack.evidence.embeddings.distances import distances

AXES = {"left_right": 2, "up_down": 1}  # of images [image, height, width]
CHOICES = {"none": (), "left_right": ("left_right",), "up_down": ("up_down",), "both": ("left_right", "up_down")}
AUTO = "auto"
# Share of real slices nearer to the pile than to the flipped pile, at or below which training is taken to have flipped:
# .39 to .48 where it had, .92 or more where it had not (docs/results.md).
_SHARE = 0.65
_LOOKED_AT = 2000  # images of a pile, evenly spaced


@dataclass(frozen=True)
class Flips:
    """names: of AXES, by which piles are flipped; share: for each of AXES, of the real slices that lie nearer to the
    target's pile than to the flipped pile, 0 to 1. None where it was not looked at."""

    names: tuple[str, ...]
    share: dict[str, float] | None = None

    def of(self, pile: np.ndarray) -> np.ndarray:
        """The pile [image, height, width] with its flipped images after it: each in every combination of `names`."""
        axes = [AXES[name] for name in self.names]
        ways = [way for n in range(len(axes) + 1) for way in itertools.combinations(axes, n)]
        return pile if len(ways) == 1 else np.concatenate([np.flip(pile, way) if way else pile for way in ways])


def find(real: np.ndarray, pile: np.ndarray) -> Flips:
    """What the training of a pile's generator flipped.

    real: slices [image, side, side] that are not flipped; pile: [image, side, side]. No label enters: whether a slice
    was used changes how near both piles are, not which of them is nearer.
    """
    pile = pile[np.unique(np.linspace(0, len(pile) - 1, min(_LOOKED_AT, len(pile))).astype(int))]
    slices = in_parts(standardised, real)
    near = distances(slices, in_parts(standardised, pile)).min(1)
    share = {}
    for name, axis in AXES.items():
        flipped = distances(slices, in_parts(standardised, np.flip(pile, axis))).min(1)
        share[name] = float((near < flipped).mean() + (near == flipped).mean() / 2)
    return Flips(tuple(name for name in AXES if share[name] <= _SHARE), share)


def choose(asked: str, real: np.ndarray, pile: np.ndarray) -> Flips:
    """As `attack.flips` asks: a key of CHOICES, or "auto" to find them."""
    return find(real, pile) if asked == AUTO else Flips(CHOICES[asked])

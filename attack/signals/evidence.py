"""What the attack knows of (pile, candidate) pairs: numbers that were measured once, by block."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

FLOOR = 1e-4  # of a distance, before its logarithm: below the rounding of 8-bit pixels


@dataclass(frozen=True)
class Evidence:
    """Blocks by name, each [..., number]; the leading axes are free and the same for all.

    shadows: int, the leading axes: whose piles these are, where they are the references of a candidate; a place among
    the shadows that blocks have numbers for, not a number in the fleet. None for the pile asked about.
    """

    blocks: Mapping[str, np.ndarray]
    shadows: np.ndarray | None = None

    def __getitem__(self, block: str) -> np.ndarray:
        return self.blocks[block]


def closeness_of(distance: np.ndarray) -> np.ndarray:
    """-log distance, any shape; a distance counts as FLOOR at least."""
    return -np.log(np.maximum(distance, FLOOR))

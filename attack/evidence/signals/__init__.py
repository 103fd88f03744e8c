"""Signals of membership: what a pile shows of a candidate, one column for each embedding.

A signal is one file with a block, the numbers that are measured once for every (pile, candidate), and one line in
`SIGNALS`. Where it is not the first of these numbers, the file has a function `signal(numbers [..., number]) -> float64
[..., 1]` of them too. Higher always means: more likely a member. What a pile without the candidate would show is taken
away later (`attack.inference.expectation`). Only blocks of the signals that are asked for are measured.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from attack.evidence.embedded_pile import Block
from attack.evidence.signals import mosaic, nearest, ratio, votes


def first(numbers: np.ndarray) -> np.ndarray:
    """The first of a block's numbers, the only one of most: float64 [..., 1] of [..., number]."""
    return numbers[..., :1].astype(np.float64)


class Signal(NamedTuple):
    """value(numbers of `block`) is the column."""

    block: Block
    value: Callable[[np.ndarray], np.ndarray] = first


SIGNALS: dict[str, Signal] = {
    "nearest": Signal(nearest.BLOCK),
    "ratio": Signal(nearest.BLOCK, ratio.signal),
    "mosaic": Signal(mosaic.BLOCK),
    "votes": Signal(votes.BLOCK),
}

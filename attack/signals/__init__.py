"""Signals of membership: what a pile shows of a candidate.

A signal is one file with a block, the numbers that are measured once for every (pile, candidate), and a function
`signal(numbers [..., number]) -> float64 [..., column]` of them; and one line in `SIGNALS`. Higher always means: more
likely a member. What a pile without the candidate would show is taken away later (`attack.expectation`). Only blocks of
the signals that are asked for are measured.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from attack.signals import density, mosaic, nearest, proxy, ratio, structure, tiles, votes
from attack.signals.scene import PileBlock
from attack.signals.sight import Block


class Signal(NamedTuple):
    """`columns` names what `value(numbers)` gives, for one embedding where `block` is measured in one."""

    columns: tuple[str, ...]
    value: Callable[[np.ndarray], np.ndarray]
    block: Block | PileBlock


SIGNALS: dict[str, Signal] = {
    "nearest": Signal(nearest.COLUMNS, nearest.signal, nearest.BLOCK),
    "ratio": Signal(ratio.COLUMNS, ratio.signal, ratio.BLOCK),
    "mosaic": Signal(mosaic.COLUMNS, mosaic.signal, mosaic.BLOCK),
    "tiles": Signal(tiles.COLUMNS, tiles.signal, tiles.BLOCK),
    "density": Signal(density.COLUMNS, density.signal, density.BLOCK),
    "ssim": Signal(structure.COLUMNS, structure.signal, structure.BLOCK),
    "votes": Signal(votes.COLUMNS, votes.signal, votes.BLOCK),
    "proxy": Signal(proxy.COLUMNS, proxy.signal, proxy.BLOCK),
}

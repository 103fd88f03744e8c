"""Signals of membership: what a pile shows of a candidate, relative to piles of shadows without it.

A signal is one file with a block, the numbers that are measured once for every (pile, candidate), and a function
`signal(own, references) -> [..., column]` of such numbers; and one line in `SIGNALS`. Higher always means: more likely
a member. `own` is the evidence of one pile, `references` that of R piles whose generators have not seen the candidate,
on an axis before the evidence's own. Only blocks of the signals that are asked for are measured.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from attack.signals import ball, closeness, density, discriminator, mosaic, nearest, proxy, structure, tiles, votes
from attack.signals.evidence import Evidence
from attack.signals.scene import PileBlock
from attack.signals.sight import Block


class Signal(NamedTuple):
    """`columns` names the numbers that `calibrated(own, references)` gives, for one embedding where `block` is measured
    in one."""

    columns: tuple[str, ...]
    calibrated: Callable[[Evidence, Evidence], np.ndarray]
    block: Block | PileBlock


SIGNALS: dict[str, Signal] = {
    "nearest": Signal(nearest.COLUMNS, nearest.signal, closeness.BLOCK),
    "ball": Signal(ball.COLUMNS, ball.signal, closeness.BLOCK),
    "mosaic": Signal(mosaic.COLUMNS, mosaic.signal, mosaic.BLOCK),
    "tiles": Signal(tiles.COLUMNS, tiles.signal, tiles.BLOCK),
    "density": Signal(density.COLUMNS, density.signal, density.BLOCK),
    "ssim": Signal(structure.COLUMNS, structure.signal, structure.BLOCK),
    "discriminator": Signal(discriminator.COLUMNS, discriminator.signal, discriminator.BLOCK),
    "votes": Signal(votes.COLUMNS, votes.signal, votes.BLOCK),
    "proxy": Signal(proxy.COLUMNS, proxy.signal, proxy.BLOCK),
}

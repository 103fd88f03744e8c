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

from attack.signals import ball, closeness, mosaic, nearest, proxy, votes
from attack.signals.evidence import Evidence
from attack.signals.scene import PileBlock
from attack.signals.sight import Block
from shadow.errors import UserError


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
    "votes": Signal(votes.COLUMNS, votes.signal, votes.BLOCK),
    "proxy": Signal(proxy.COLUMNS, proxy.signal, proxy.BLOCK),
}


def check(name: str) -> None:
    """Raises UserError for an unknown signal."""
    if name not in SIGNALS:
        raise UserError(f"attack.signals: {name!r} is not known; choose from {', '.join(SIGNALS)}")

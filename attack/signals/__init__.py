"""Signals of membership: what a pile shows of a candidate, relative to piles of shadows without it.

A signal is one file with one function `signal(own, references) -> [..., column]` and one line in `SIGNALS`. Higher
always means: more likely a member. `own` is the evidence of one pile, `references` that of R piles whose generators
have not seen the candidate, on an axis before the evidence's own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from attack.signals import ball, mosaic, nearest, votes
from attack.signals.evidence import Evidence, measure
from shadow.errors import UserError


class Signal(NamedTuple):
    """`columns` names the numbers that `calibrated` gives for one embedding."""

    columns: tuple[str, ...]
    calibrated: Callable[[Evidence, Evidence], np.ndarray]


SIGNALS: dict[str, Signal] = {
    "nearest": Signal(nearest.COLUMNS, nearest.signal),
    "ball": Signal(ball.COLUMNS, ball.signal),
    "mosaic": Signal(mosaic.COLUMNS, mosaic.signal),
    "votes": Signal(votes.COLUMNS, votes.signal),
}


def check(name: str) -> None:
    """Raises UserError for an unknown signal."""
    if name not in SIGNALS:
        raise UserError(f"attack.signals: {name!r} is not known; choose from {', '.join(SIGNALS)}")


__all__ = ["SIGNALS", "Evidence", "Signal", "check", "measure"]

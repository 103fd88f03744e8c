"""Numbers as people read them. All rounding of what is shown is here."""

from __future__ import annotations

import math
from collections.abc import Sequence

NO_FIGURE = "not measurable"


def number(value: float | None, digits: int = 2) -> str:
    """`0.86`; never `-0.00`; a dash where there is no number."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{round(float(value), digits) + 0.0:.{digits}f}"


def interval(limits: Sequence[float | None] | None) -> str:
    """`[0.70, 0.95]`; empty where there is none."""
    if not limits or any(limit is None or not math.isfinite(limit) for limit in limits):
        return ""
    return f"[{number(limits[0])}, {number(limits[1])}]"


def p_value(value: float | None) -> str:
    return "< 0.01" if value is not None and value < 0.01 else number(value)


def percent(rate: float) -> str:
    """`10 %`, `0.1 %`."""
    return f"{round(100 * rate, 6):g} %"


def not_measurable(why: str | None) -> str:
    return f"{NO_FIGURE}: {why}" if why else NO_FIGURE


def of_100(value: float) -> str:
    """`about 86`; the ends stay apart from certainty."""
    if value >= 0.995:
        return "more than 99"
    return "fewer than 1" if value < 0.005 else f"about {round(100 * value)}"


def range_of_100(limits: Sequence[float]) -> str:
    """`70 to 95`, rounded outwards."""
    return f"{math.floor(round(100 * limits[0], 6))} to {math.ceil(round(100 * limits[1], 6))}"


def listed(numbers: Sequence[int], most: int = 4) -> str:
    """`3, 7`; of a long row the first and how many more."""
    left = len(numbers) - most
    return ", ".join(map(str, numbers[:most])) + (f" and {left} more" if left > 0 else "")

"""The steps of one training in order: when memorisation sets in, and where to stop."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from attack.compare.measure import Measured

LEAST = 3  # steps that make a curve


def find(measured: Sequence[Measured]) -> list[dict[str, Any]]:
    """One entry for every shadow (and kind of weights) of which at least LEAST different steps were compared."""
    by_training: dict[tuple[str, bool], dict[int, Measured]] = defaultdict(dict)
    for one in measured:
        place = one.subject.place
        if place.step is not None:
            by_training[(str(place.folder.absolute()), place.raw)].setdefault(place.step, one)
    return [curves([steps[step] for step in sorted(steps)]) for steps in by_training.values() if len(steps) >= LEAST]


def curves(steps: Sequence[Measured]) -> dict[str, Any]:
    """`rows`, by rising step; `onset`: the first step from which on the AUC of the black-box attack (`blackbox`), or of
    that on the loss (`whitebox`), has an interval above .5; `best`: where to stop, see `stopping_point`."""
    rows = [_row(one) for one in steps]
    first = steps[0].subject
    return {
        "of": first.place.name.removesuffix(":raw").partition("@")[0] + (":raw" if first.place.raw else ""),
        "rows": rows,
        "onset": {name: onset(rows, name) for name in ("blackbox", "whitebox")},
        "best": stopping_point(rows),
    }


def _row(one: Measured) -> dict[str, Any]:
    figures = one.figures
    row: dict[str, Any] = {"label": one.label, "step": one.subject.place.step}
    black, white, pile, loss = (figures[name] for name in ("blackbox", "whitebox", "pile", "loss"))
    row["blackbox"] = _area(black)
    # one attack, chosen beforehand: the interval of the best of several would not hold
    row["whitebox"] = _area(white.get("loss", {}))
    real, slices = pile.get("real"), pile.get("slices", {})
    row["fd"] = real["fd"] if real else None
    row["kid"] = real["kid"]["value"] if real else None
    for name in ("members", "others", "copies", "copies_of_others"):
        row[name] = slices.get(name)
    row["gap"] = None if "gap" not in loss else sum(gap["value"] for gap in loss["gap"]) / len(loss["gap"])
    return row


def _area(figures: dict[str, Any]) -> dict[str, Any] | None:
    if figures.get("auc") is None:
        return None
    return {name: figures[name] for name in ("auc", "low", "high")}


def onset(rows: Sequence[dict[str, Any]], name: str) -> int | None:
    """The first step from which on every interval lies above .5; None where the last one does not, or is not known."""
    found = None
    for row in reversed(rows):
        if row[name] is None or row[name]["low"] <= 0.5:
            break
        found = row["step"]
    return found


def stopping_point(rows: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Where to stop: of the steps at which no leak can be shown (the interval of the AUC, black-box where it is known
    and else white-box, reaches down to .5) that with the lowest FD to real slices; of equal ones the earlier. Where a
    leak shows at every step, the step with the lowest AUC. `front`: steps of which no other has both a lower FD and a
    lower AUC. None where FD or AUC are not known."""
    name = "blackbox" if all(row["blackbox"] for row in rows) else "whitebox"
    if not all(row[name] and row["fd"] is not None for row in rows):
        return None
    safe = [row for row in rows if row[name]["low"] <= 0.5]
    chosen = min(safe, key=lambda row: row["fd"]) if safe else min(rows, key=lambda row: row[name]["auc"])
    front = [
        row["step"] for row in rows if not any(o["fd"] < row["fd"] and o[name]["auc"] < row[name]["auc"] for o in rows)
    ]
    why = (
        "the best images of the steps at which no leak can be shown"
        if safe
        else "a leak shows at every step: the least"
    )
    return {"step": chosen["step"], "leakage": name, "front": front, "why": why}

"""The steps of one training in order: when memorisation sets in, and what quality and leakage ask for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from attack.compare import paired
from attack.compare.measure import Measured, with_weights

LEAST = 3  # steps that make a curve
SIDES = ("blackbox", "whitebox")  # what is given away: images alone, or the weights
LEVEL = 0.05  # of the test that a step leaks more than the first


def find(measured: Sequence[Measured]) -> list[dict[str, Any]]:
    """One entry for every shadow (and kind of weights) of which at least LEAST different steps were compared."""
    by_training: dict[tuple[str, bool], dict[int, Measured]] = defaultdict(dict)
    for one in measured:
        place = one.subject.place
        if place.step is not None:
            by_training[(str(place.folder.absolute()), place.raw)].setdefault(place.step, one)
    return [curves([steps[step] for step in sorted(steps)]) for steps in by_training.values() if len(steps) >= LEAST]


def curves(steps: Sequence[Measured]) -> dict[str, Any]:
    """`rows`, by rising step: `blackbox`, the AUC of the attack on the images, and `whitebox`, that of the strongest
    attack with the weights, each {auc, low, high, rise}; FD and distances with their intervals.

    `onset`: the first step from which on every step leaks (`leaks`); `advice`: see there.
    """
    rows = [_row(one, steps[0]) for one in steps]
    first = steps[0].subject
    return {
        "of": first.place.name.removesuffix(":raw").partition("@")[0] + (":raw" if first.place.raw else ""),
        "rows": rows,
        "onset": {name: onset(rows, name) for name in SIDES},
        "advice": advice(rows),
    }


def _row(one: Measured, first: Measured) -> dict[str, Any]:
    figures = one.figures
    row: dict[str, Any] = {"label": one.label, "step": one.subject.place.step}
    black, strong, pile, loss = (figures[name] for name in ("blackbox", "strongest", "pile", "loss"))
    row["blackbox"] = _area(black)
    if row["blackbox"] and one.black and first.black:
        row["blackbox"] |= {"rise": rise([(one.black, first.black)]), "calibrated": black["calibrated"]}
    row["whitebox"] = _area(strong)
    if row["whitebox"]:
        mine, theirs = with_weights(one), with_weights(first)
        both = [(mine[name], theirs[name]) for name in mine if name in theirs]
        row["whitebox"] |= {"rise": rise(both), "attack": strong["attack"]}
    real, slices = pile.get("real"), pile.get("slices", {})
    row["fd"] = real["fd"] if real else None
    row["fd_interval"] = real["fd_interval"] if real else None
    row["kid"] = real["kid"]["value"] if real else None
    for name in ("members", "members_interval", "others", "others_interval", "copies", "copies_of_others"):
        row[name] = slices.get(name)
    row["gap"] = None if "gap" not in loss else sum(gap["value"] for gap in loss["gap"]) / len(loss["gap"])
    return row


def _area(figures: dict[str, Any]) -> dict[str, Any] | None:
    if figures.get("auc") is None:
        return None
    return {name: figures[name] for name in ("auc", "low", "high")}


def rise(attacks: Sequence[tuple[paired.Scored, paired.Scored]]) -> float:
    """The p of "none of these attacks has a higher AUC now (the first of each pair) than then", against a rise: the
    smallest of one-sided paired tests, times their number."""
    found = [paired.auc_difference(now, then) for now, then in attacks]
    sides = [test["p"] / 2 if test["difference"] > 0 else 1 - test["p"] / 2 for test in found]
    return min(1.0, max(len(sides), 1) * min(sides, default=1.0))


def leaks(area: dict[str, Any]) -> bool:
    """Does a leak show? The interval of the AUC lies above .5, or the AUC has risen since the first step (paired by
    image, p below LEVEL). No step is spared for being one of many tests: a false alarm costs quality, a missed one
    patients."""
    return bool(area["low"] > 0.5 or area["rise"] < LEVEL)


def onset(rows: Sequence[dict[str, Any]], name: str) -> int | None:
    """The first step from which on every step leaks; None where the last one does not, or is not known."""
    found = None
    for row in reversed(rows):
        if row[name] is None or not leaks(row[name]):
            break
        found = row["step"]
    return found


def quiet(rows: Sequence[dict[str, Any]], name: str) -> dict[str, Any] | None:
    """The last row before the first one that leaks; None where the first does."""
    found = None
    for row in rows:
        if leaks(row[name]):
            break
        found = row
    return found


def front(rows: Sequence[dict[str, Any]], name: str) -> list[int]:
    """Pareto's: the steps of which no other has both an FD and an upper end of the AUC's interval that are as low, and
    one of them lower."""

    def beats(a: dict[str, Any], b: dict[str, Any]) -> bool:
        mine, theirs = ((x["fd"], x[name]["high"]) for x in (a, b))
        return mine != theirs and all(m <= t for m, t in zip(mine, theirs, strict=True))

    return [row["step"] for row in rows if not any(beats(other, row) for other in rows)]


def advice(rows: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """What quality and leakage ask for. `quality`: the step of the lowest FD, and `enough`, the first whose FD lies
    within the interval of that one. For each of SIDES whose AUC is known at every step: `quiet`, the last step before a
    leak shows (None: it shows at the first); `front`; `stop`, the step of the lowest FD up to the quiet one if that is
    no earlier than `enough`, else None: no step has both; `said`, a sentence. None where FD is not known at every step.
    """
    if any(row["fd"] is None for row in rows):
        return None
    best = min(rows, key=lambda row: row["fd"])
    enough = next(row for row in rows if row["fd"] <= best["fd_interval"][1])
    found: dict[str, Any] = {"quality": {"step": best["step"], "fd": best["fd"], "enough": enough["step"]}}
    for name in SIDES:
        if all(row[name] for row in rows):
            last = quiet(rows, name)
            stop = None
            if last is not None and enough["step"] <= last["step"]:
                stop = min((row for row in rows if row["step"] <= last["step"]), key=lambda row: row["fd"])
            found[name] = {
                "quiet": None if last is None else last["step"],
                "front": front(rows, name),
                "stop": None if stop is None else stop["step"],
                "said": _said(name, best, enough, last, stop),
            }
    return found


def _said(
    name: str,
    best: dict[str, Any],
    enough: dict[str, Any],
    last: dict[str, Any] | None,
    stop: dict[str, Any] | None,
) -> str:
    """One sentence: where to stop, or why there is no such step."""
    given = {"blackbox": "Giving away images", "whitebox": "Giving away the weights"}[name]

    def at(row: dict[str, Any]) -> str:
        return f"step {row['step']:,} (FD {row['fd']:.1f}, AUC {row[name]['auc']:.2f}, up to {row[name]['high']:.2f})"

    if stop is not None:
        return f"{given}: stop at {at(stop)}, where images are as good as the best, and no leak shows yet."
    nearly = "" if enough is best else f", about as good from {at(enough)} on"
    quietly = "a leak shows from the first step on" if last is None else f"no leak shows up to {at(last)}"
    both = f"images are best at {at(best)}{nearly}, and {quietly}"
    return f"{given}: quality and leakage ask for different steps, as {both}."

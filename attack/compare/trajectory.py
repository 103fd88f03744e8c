"""The steps of one training in order: when memorisation sets in, and what quality and leakage ask for."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from attack.compare import paired
from attack.compare.measure import Measured
from attack.results.checkpoints import known
from attack.results.compared import Advice, BestImages, Onset, Side, SideAdvice, Step, Trajectory

LEAST = 3  # steps that make a curve
SIDES = ("blackbox", "whitebox")  # what is given away: images alone, or the weights
LEVEL = 0.05  # of the test that a step leaks more than the first


def find(measured: Sequence[Measured]) -> tuple[Trajectory, ...]:
    """One for every shadow (and kind of weights) of which at least LEAST different steps were compared."""
    by_training: dict[tuple[str, bool], dict[int, Measured]] = defaultdict(dict)
    for one in measured:
        place = one.subject.place
        if place.step is not None:
            by_training[(str(place.folder.absolute()), place.raw)].setdefault(place.step, one)
    return tuple(
        curves([steps[step] for step in sorted(steps)]) for steps in by_training.values() if len(steps) >= LEAST
    )


def curves(steps: Sequence[Measured]) -> Trajectory:
    """Of the steps of one training, in order."""
    rows = tuple(_row(one, steps[0]) for one in steps)
    place = steps[0].subject.place
    return Trajectory(
        of=place.name.removesuffix(":raw").partition("@")[0] + (":raw" if place.raw else ""),
        rows=rows,
        onset=Onset(**{name: onset(rows, name) for name in SIDES}),
        advice=advice(rows),
    )


def _row(one: Measured, first: Measured) -> Step:
    pile, loss = known(one.figures.pile), known(one.figures.loss)
    real, slices = (pile.real, known(pile.slices)) if pile else (None, None)
    return Step(
        label=one.label,
        step=one.subject.place.step or 0,
        blackbox=_images(one, first),
        whitebox=_weights(one, first),
        fd=real.fd if real else None,
        fd_interval=real.fd_interval if real else None,
        kid=real.kid.value if real else None,
        members=slices.members if slices else None,
        members_interval=slices.members_interval if slices else None,
        others=slices.others if slices else None,
        others_interval=slices.others_interval if slices else None,
        copies=slices.copies if slices else None,
        copies_of_others=slices.copies_of_others if slices else None,
        gap=loss.mean_gap if loss else None,
    )


def _images(one: Measured, first: Measured) -> Side | None:
    found = known(one.figures.blackbox)
    if found is None or found.auc is None or found.low is None or found.high is None:
        return None
    both = [(one.black, first.black)] if one.black and first.black else []
    return Side(auc=found.auc, low=found.low, high=found.high, rise=rise(both), calibrated=found.calibrated)


def _weights(one: Measured, first: Measured) -> Side | None:
    found = known(one.figures.strongest)
    if found is None:
        return None
    mine, theirs = one.with_weights, first.with_weights
    both = [(mine[name], theirs[name]) for name in mine if name in theirs]
    return Side(auc=found.auc, low=found.low, high=found.high, rise=rise(both), attack=found.attack)


def rise(attacks: Sequence[tuple[paired.Scored, paired.Scored]]) -> float:
    """The p of "none of these attacks has a higher AUC now (the first of each pair) than then", against a rise: the
    smallest of one-sided paired tests, times their number."""
    found = [paired.auc_difference(now, then) for now, then in attacks]
    sides = [test.p / 2 if test.difference > 0 else 1 - test.p / 2 for test in found]
    return min(1.0, max(len(sides), 1) * min(sides, default=1.0))


def leaks(side: Side) -> bool:
    """Does a leak show? The interval of the AUC lies above .5, or the AUC has risen since the first step (paired by
    image, p below LEVEL). No step is spared for being one of many tests: a false alarm costs quality, a missed one
    patients."""
    return side.low > 0.5 or side.rise < LEVEL


def onset(rows: Sequence[Step], name: str) -> int | None:
    """The first step from which on every step leaks; None where the last one does not, or is not known."""
    found = None
    for row in reversed(rows):
        side: Side | None = getattr(row, name)
        if side is None or not leaks(side):
            break
        found = row.step
    return found


class Point(NamedTuple):
    """A step by its images and by what one side gives away; high: the upper end of the AUC's interval."""

    step: int
    fd: float
    auc: float
    high: float
    leaks: bool


def points(rows: Sequence[Step], name: str) -> list[Point]:
    """Of the steps where both are known; name: one of SIDES."""
    found: list[tuple[Step, Side | None]] = [(row, getattr(row, name)) for row in rows]
    return [
        Point(row.step, row.fd, side.auc, side.high, leaks(side))
        for row, side in found
        if row.fd is not None and side is not None
    ]


def quiet(steps: Sequence[Point]) -> Point | None:
    """The last one before the first that leaks; None where the first does."""
    return next(reversed(list(itertools.takewhile(lambda point: not point.leaks, steps))), None)


def front(steps: Sequence[Point]) -> tuple[int, ...]:
    """Pareto's: the steps of which no other has both an FD and an upper end of the AUC's interval that are as low, and
    one of them lower."""

    def beats(a: Point, b: Point) -> bool:
        return (a.fd, a.high) != (b.fd, b.high) and a.fd <= b.fd and a.high <= b.high

    return tuple(point.step for point in steps if not any(beats(other, point) for other in steps))


def advice(rows: Sequence[Step]) -> Advice | None:
    """What quality and leakage ask for; None where FD is not known at every step."""
    known_fd = [(row.fd, row.fd_interval[1]) for row in rows if row.fd is not None and row.fd_interval is not None]
    if len(known_fd) < len(rows):
        return None
    best = min(range(len(rows)), key=lambda i: known_fd[i][0])
    enough = next(i for i in range(len(rows)) if known_fd[i][0] <= known_fd[best][1])
    sides = {name: points(rows, name) for name in SIDES}
    return Advice(
        quality=BestImages(step=rows[best].step, fd=known_fd[best][0], enough=rows[enough].step),
        **{name: _of_side(name, steps, best, enough) for name, steps in sides.items() if len(steps) == len(rows)},
    )


def _of_side(name: str, steps: Sequence[Point], best: int, enough: int) -> SideAdvice:
    """best, enough: places of steps."""
    last, stop = quiet(steps), None
    if last is not None and steps[enough].step <= last.step:
        stop = min((point for point in steps if point.step <= last.step), key=lambda point: point.fd)
    return SideAdvice(
        quiet=None if last is None else last.step,
        front=front(steps),
        stop=None if stop is None else stop.step,
        said=_said(name, steps[best], steps[enough], last, stop),
    )


def _said(name: str, best: Point, enough: Point, last: Point | None, stop: Point | None) -> str:
    """One sentence: where to stop, or why there is no such step."""
    given = {"blackbox": "Giving away images", "whitebox": "Giving away the weights"}[name]

    def at(point: Point) -> str:
        return f"step {point.step:,} (FD {point.fd:.1f}, AUC {point.auc:.2f}, up to {point.high:.2f})"

    if stop is not None:
        return f"{given}: stop at {at(stop)}, where images are as good as the best, and no leak shows yet."
    nearly = "" if enough is best else f", about as good from {at(enough)} on"
    quietly = "a leak shows from the first step on" if last is None else f"no leak shows up to {at(last)}"
    both = f"images are best at {at(best)}{nearly}, and {quietly}"
    return f"{given}: quality and leakage ask for different steps, as {both}."

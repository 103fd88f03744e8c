"""compare.html: one self-contained file, the same bytes for the same figures."""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from attack.compare import plots, table
from attack.compare.measure import CALIBRATED
from attack.compare.whitebox import ATTACKS
from attack.report import gallery, pages
from attack.results.checkpoints import AttackFigures, BlackboxFigures, NotComparable, known
from attack.results.compared import Comparison, PairFigures, Step, Trajectory

_TITLES = {
    "loss": "loss of denoising",
    "secmi": "SecMI t-error",
    "pia": "PIA",
    "pian": "PIA, normalised",
    "sima": "SimA",
    CALIBRATED: "loss, calibrated on other shadows",
}
_MOST_SLICES = 8  # whose scores differ most, shown for each pair


def letter(number: int) -> str:
    """A, B, ..., Z, A1, ...: what a checkpoint is called in plots."""
    around, place = divmod(number, 26)
    return string.ascii_uppercase[place] + (str(around) if around else "")


def render(result: Comparison, sheets: Sequence[np.ndarray | None]) -> str:
    """The page; sheets: uint8 [image, side, side] of each checkpoint."""
    shown, first = result.checkpoints, result.beside_first
    letters = {one.label: letter(i) for i, one in enumerate(shown)}
    page = pages.template("compare.html", Path(__file__).parent)
    return page.render(
        said=headline(result, letters),
        checkpoints=shown,
        letters=list(letters.values()),
        head=table.CHECKPOINTS,
        rows=[[letters[one.label], *table.checkpoint_row(one)[1:]] for one in shown],
        pair_head=table.PAIRS,
        pair_rows=[[letters[pair.b], *table.pair_row(pair)[1:]] for pair in first],
        trajectories=[_trajectory(one) for one in result.trajectories],
        attacks=_attacks(result),
        leak_plots=plots.leaks(result, letters),
        slices=_slices(result, letters),
        sheets=[None if images is None else gallery.sheet(images) for images in sheets],
        pile_plots=plots.piles(result, letters),
        matrices=_matrices(result),
        network_plots=plots.networks(result, letters),
        config=_config(result),
        reasons=table.reasons(result),
        space=result.space,
        uncalibrated=[(letters[one.label], one.uncalibrated) for one in shown if one.uncalibrated],
    )


def headline(result: Comparison, letters: dict[str, str]) -> list[str]:
    """Sentences for the head of the page: who leaks more, and where to stop."""
    said = []
    for found in result.trajectories:
        images, weights = found.onset.blackbox, found.onset.whitebox
        text = (
            "No step's images can be shown to give members away"
            if images is None
            else f"From step {images:,} on the images give members away"
        )
        text += "." if weights is None else f"; the weights do from step {weights:,} on."
        said.append(text)
    tested = [(test, pair) for pair in result.pairs if (test := pair.leak) is not None]
    if tested and not said:
        test, pair = min(tested, key=lambda both: both[0].p)
        more, less = (pair.a, pair.b) if test.difference > 0 else (pair.b, pair.a)
        if test.p * len(tested) < 0.05:
            said.append(
                f"{letters[more]} leaks more than {letters[less]}: its images tell used from unused slices "
                f"better by {abs(test.difference):.2f} of AUC (p {table.probability(test.p)})."
            )
        else:
            said.append("No checkpoint's images can be shown to leak more than another's.")
    return said or ["What the images leak could not be tested: see what is not comparable, at the end."]


@dataclass(frozen=True)
class _Training:
    """A trajectory as the page shows it. rows: cells of the table."""

    of: str
    plots: list[plots.Plot]
    rows: list[list[str]]
    said: list[str]


def _trajectory(found: Trajectory) -> _Training:
    said = [side.said for side in found.advice.sides] if found.advice else []
    return _Training(found.of, plots.trajectory(found), [_step(row) for row in found.rows], said)


def _step(row: Step) -> list[str]:
    return [
        f"{row.step:,}",
        table.area(row.blackbox) + ("" if row.blackbox is None or row.blackbox.calibrated else " *"),
        table.area(row.whitebox),
        table.with_interval(row.fd, row.fd_interval, 1),
        table.with_interval(row.members, row.members_interval, 2),
        table.with_interval(row.others, row.others_interval, 2),
        *("–" if share is None else f"{100 * share:.0f} %" for share in (row.copies, row.copies_of_others)),
    ]


@dataclass(frozen=True)
class _Row:
    """cells: by checkpoint, a value and what is written below it."""

    name: str
    cells: list[tuple[str, str]]


def _attacks(result: Comparison) -> list[_Row]:
    """AUC of each attack by checkpoint, and what is found at 10 % false positives."""
    white = [known(one.whitebox) for one in result.checkpoints]
    black = [known(one.blackbox) for one in result.checkpoints]
    strong = [known(one.strongest) for one in result.checkpoints]
    rows = []
    for name in (*ATTACKS, CALIBRATED) if any(white) else ():
        rows.append(_Row(_TITLES[name], [_cell(None if one is None else getattr(one, name)) for one in white]))
    if any(one is not None and one.auc is not None for one in black):
        rows.append(_Row("the images alone", [_cell(one) for one in black]))
    if any(white):
        cells = [(table.area(one), one.attack if one else "") for one in strong]
        rows.append(_Row("strongest, with the choice allowed for", cells))
    return rows


def _cell(figures: AttackFigures | BlackboxFigures | NotComparable | None) -> tuple[str, str]:
    if figures is None or isinstance(figures, NotComparable) or figures.tpr_at_fpr is None:
        return "–", ""
    point = figures.tpr_at_fpr[0]
    found = "" if point.tpr is None else f"{point.found} of {figures.members} at {point.false} false"
    return table.area(figures), found


@dataclass(frozen=True)
class _Apart:
    """Slices whose scores by the checkpoints a and b differ most. rows: name, the two scores and their difference."""

    a: str
    b: str
    rows: list[tuple[str, str, str, str]]


def _slices(result: Comparison, letters: dict[str, str]) -> list[_Apart]:
    """For every pair with the first."""
    found = []
    for pair, base, other in plots.scored(result):
        names = sorted((name for name in base if name in other), key=lambda name: -abs(other[name] - base[name]))
        rows = [
            (name, table.digits(base[name], 2), table.digits(other[name], 2), f"{other[name] - base[name]:+.2f}")
            for name in names[:_MOST_SLICES]
        ]
        found.append(_Apart(letters[pair.a], letters[pair.b], rows))
    return found


def _matrices(result: Comparison) -> list[tuple[str, list[list[str]]]]:
    """All pairs at a glance, where there are more than two checkpoints: title and rows."""
    labels = [one.label for one in result.checkpoints]
    if len(labels) < 3:
        return []

    def filled(value: Callable[[PairFigures], str], diagonal: str) -> list[list[str]]:
        rows = [[diagonal if a == b else "" for b in labels] for a in labels]
        for pair in result.pairs:
            i, j = labels.index(pair.a), labels.index(pair.b)
            rows[i][j] = rows[j][i] = value(pair)
        return rows

    def cka(pair: PairFigures) -> str:
        return table.digits(found.mean if (found := known(pair.features)) else None, 2)

    def distance(pair: PairFigures) -> str:
        return table.digits(found.relative if (found := known(pair.parameters)) else None, 2)

    def kid(pair: PairFigures) -> str:
        return table.digits(found.kid.value if (found := known(pair.pile)) else None, 3)

    def alike(pair: PairFigures) -> str:
        return table.probability(pair.leak.p if pair.leak else None)

    return [
        ("CKA, mean over blocks", filled(cka, "1.00")),
        ("Distance of parameters", filled(distance, "0.00")),
        ("KID of the piles", filled(kid, "0.000")),
        ("p: do they leak alike? (black box)", filled(alike, "1.000")),
    ]


def _config(result: Comparison) -> list[tuple[str, list[str]]]:
    """Fields that differ from the first, with the value of every checkpoint; where one does not differ, that of the
    first."""
    changed = {(row.field, pair.b): row.b for pair in result.beside_first for row in pair.config}
    base = {row.field: row.a for pair in result.beside_first for row in pair.config}
    return [
        (field, [_value(changed.get((field, one.label), base[field])) for one in result.checkpoints])
        for field in sorted(base)
    ]


def _value(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "–"
    return str(value).lower() if isinstance(value, bool) else str(value) or "–"

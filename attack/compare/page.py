"""compare.html: one self-contained file, the same bytes for the same figures."""

from __future__ import annotations

import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from attack.compare import plots, table
from attack.compare.measure import CALIBRATED
from attack.compare.trajectory import SIDES
from attack.compare.whitebox import ATTACKS
from attack.report import gallery, pages

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


def render(result: dict[str, Any], sheets: Sequence[np.ndarray | None]) -> str:
    """The page for `result`, the content of compare.json; sheets: uint8 [image, side, side] of each checkpoint."""
    shown = [{"letter": letter(i), "label": one["label"], **one} for i, one in enumerate(result["checkpoints"])]
    letters = {one["label"]: one["letter"] for one in shown}
    first = [pair for pair in result["pairs"] if pair["a"] == shown[0]["label"]]
    page = pages.template("compare.html", Path(__file__).parent)
    return page.render(
        said=headline(result, letters),
        checkpoints=shown,
        head=table.CHECKPOINTS,
        rows=[[one["letter"], *table.checkpoint_row(one)[1:]] for one in shown],
        pair_head=table.PAIRS,
        pair_rows=[[letters[pair["b"]], *table.pair_row(pair)[1:]] for pair in first],
        trajectories=[_trajectory(one) for one in result["trajectories"]],
        attacks=_attacks(shown),
        leak_plots=plots.leaks(shown, first, letters),
        slices=_slices(shown, first, letters),
        sheets=[None if images is None else gallery.sheet(images) for images in sheets],
        pile_plots=plots.piles(shown),
        matrices=_matrices(result, shown),
        network_plots=plots.networks(shown, first, letters),
        config=_config(shown, first),
        reasons=table.reasons(result),
        space=result["space"],
        uncalibrated=[
            (one["letter"], one["blackbox"]["how"])
            for one in shown
            if one["blackbox"].get("auc") is not None and not one["blackbox"]["calibrated"]
        ],
    )


def headline(result: dict[str, Any], letters: dict[str, str]) -> list[str]:
    """Sentences for the head of the page: who leaks more, and where to stop."""
    said = []
    for found in result["trajectories"]:
        images, weights = found["onset"]["blackbox"], found["onset"]["whitebox"]
        text = (
            "No step's images can be shown to give members away"
            if images is None
            else f"From step {images:,} on the images give members away"
        )
        text += "." if weights is None else f"; the weights do from step {weights:,} on."
        said.append(text)
    tested = [(pair, pair["blackbox"].get("auc") or {}) for pair in result["pairs"]]
    tested = [(pair, test) for pair, test in tested if test.get("p") is not None]
    if tested and not said:
        pair, test = min(tested, key=lambda both: both[1]["p"])
        more, less = ("a", "b") if test["difference"] > 0 else ("b", "a")
        if test["p"] * len(tested) < 0.05:
            said.append(
                f"{letters[pair[more]]} leaks more than {letters[pair[less]]}: its images tell used from unused slices "
                f"better by {abs(test['difference']):.2f} of AUC (p {table.probability(test['p'])})."
            )
        else:
            said.append("No checkpoint's images can be shown to leak more than another's.")
    return said or ["What the images leak could not be tested: see what is not comparable, at the end."]


def _trajectory(found: dict[str, Any]) -> dict[str, Any]:
    rows, advice = found["rows"], found["advice"]
    body = [
        [
            f"{row['step']:,}",
            table.area(row["blackbox"]) + ("" if not row["blackbox"] or row["blackbox"]["calibrated"] else " *"),
            table.area(row["whitebox"]),
            _with_interval(row["fd"], row["fd_interval"], 1),
            _with_interval(row["members"], row["members_interval"], 2),
            _with_interval(row["others"], row["others_interval"], 2),
            "–" if row["copies"] is None else f"{100 * row['copies']:.0f} %",
            "–" if row["copies_of_others"] is None else f"{100 * row['copies_of_others']:.0f} %",
        ]
        for row in rows
    ]
    said = [advice[name]["said"] for name in SIDES if name in advice] if advice else []
    return {"of": found["of"], "plots": plots.trajectory(rows, advice), "rows": body, "said": said}


def _with_interval(value: float | None, limits: Sequence[float] | None, places: int) -> str:
    if value is None or limits is None:
        return "–"
    return f"{table.digits(value, places)} [{', '.join(table.digits(limit, places) for limit in limits)}]"


def _attacks(shown: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of the table of attacks: AUC of each by checkpoint, and what is found at 10 % false positives."""
    known = [one for one in shown if "not_comparable" not in one["whitebox"]]
    rows = []
    for name in (*ATTACKS, CALIBRATED) if known else ():
        cells = [one["whitebox"].get(name) for one in shown]
        rows.append({"name": _TITLES[name], "cells": [_cell(cell) for cell in cells]})
    black = [one["blackbox"] if one["blackbox"].get("auc") is not None else None for one in shown]
    if any(black):
        rows.append({"name": "the images alone", "cells": [_cell(cell) for cell in black]})
    if known:
        cells = [(table.area(one["strongest"]), one["strongest"].get("attack", "")) for one in shown]
        rows.append({"name": "strongest, with the choice allowed for", "cells": cells})
    return rows


def _cell(figures: dict[str, Any] | None) -> tuple[str, str]:
    if figures is None or "auc" not in figures:
        return "–", ""
    point = figures["tpr_at_fpr"][0]
    found = "" if point["tpr"] is None else f"{point['found']} of {figures['members']} at {point['false']} false"
    return table.area(figures), found


def _slices(
    shown: Sequence[dict[str, Any]], first: Sequence[dict[str, Any]], letters: dict[str, str]
) -> list[dict[str, Any]]:
    """For every pair with the first: the slices whose black-box scores differ most."""
    base, found = shown[0]["blackbox"].get("score"), []
    for pair in first:
        other = next(one for one in shown if one["label"] == pair["b"])["blackbox"].get("score")
        if base is None or other is None:
            continue
        names = sorted((name for name in base if name in other), key=lambda name: -abs(other[name] - base[name]))
        rows = [
            (name, table.digits(base[name], 2), table.digits(other[name], 2), f"{other[name] - base[name]:+.2f}")
            for name in names[:_MOST_SLICES]
        ]
        found.append({"a": letters[pair["a"]], "b": letters[pair["b"]], "rows": rows})
    return found


def _matrices(result: dict[str, Any], shown: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """All pairs at a glance, where there are more than two checkpoints."""
    if len(shown) < 3:
        return []
    places = {one["label"]: i for i, one in enumerate(shown)}

    def filled(value: Any, diagonal: str) -> list[list[str]]:
        rows = [[diagonal if i == j else "" for j in range(len(shown))] for i in range(len(shown))]
        for pair in result["pairs"]:
            i, j = places[pair["a"]], places[pair["b"]]
            rows[i][j] = rows[j][i] = value(pair)
        return rows

    wanted = [
        ("CKA, mean over blocks", lambda pair: table.digits(pair["features"].get("mean"), 2), "1.00"),
        ("Distance of parameters", lambda pair: table.digits(pair["parameters"].get("relative"), 2), "0.00"),
        ("KID of the piles", lambda pair: table.digits((pair["pile"].get("kid") or {}).get("value"), 3), "0.000"),
        (
            "p: do they leak alike? (black box)",
            lambda pair: table.probability((pair["blackbox"].get("auc") or {}).get("p")),
            "1.000",
        ),
    ]
    return [{"title": title, "rows": filled(value, diagonal)} for title, value, diagonal in wanted]


def _config(shown: Sequence[dict[str, Any]], first: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Fields that differ from the first, with the value of every checkpoint; where one does not differ, that of the
    first."""
    changed: dict[str, dict[str, Any]] = {}
    base: dict[str, Any] = {}
    for pair in first:
        for row in pair["config"]:
            base[row["field"]] = row["a"]
            changed.setdefault(row["field"], {})[pair["b"]] = row["b"]
    return [
        {
            "field": field,
            "values": [_value(changed[field].get(one["label"], base[field])) for one in shown],
        }
        for field in sorted(changed)
    ]


def _value(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "–"
    return str(value).lower() if isinstance(value, bool) else str(value) or "–"

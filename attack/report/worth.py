"""The section on the attack itself: its model, what each part of it is worth, and what more shadows would bring."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from attack.report import figures, sentence, view
from attack.report.view import Row, Scale

CHOSEN = {
    "family": "chosen as the best on families of shadows that it was not fitted on",
    "two-way": "chosen as the best on shadows that it was not fitted on",
}


def model_rows(evaluation: dict[str, Any], scale: Scale) -> list[Row]:
    """Every combiner with its AUC on unseen shadows and, where there are families, on unseen families."""
    model, worth = evaluation.get("model") or {}, evaluation.get("worth") or {}
    left_out = {row["name"]: row for row in (evaluation.get("families") or {}).get("left_out") or []}
    rows = []
    for row in worth.get("models") or []:
        name, note = row["name"], ""
        if name == model.get("name"):
            note = "the attack's" if model.get("by") == "given" else f"the attack's: {CHOSEN[model['by']]}"
        other = left_out.get(name)
        cells = (_auc(other),) if left_out else ()
        rows.append(view.auc_row(name, row, scale, note, *cells))
    return rows


def family_rows(evaluation: dict[str, Any]) -> list[Row]:
    """The attack on each family, fitted with and without it."""
    found = evaluation.get("families") or {}
    left_out = next((row for row in found.get("left_out") or [] if row["name"] in ("chosen", "attack")), None)
    rows = []
    for i, (name, auc) in enumerate(zip(found.get("names") or [], found.get("two_way") or [], strict=True)):
        without = sentence.number(left_out["by_family"][i]) if left_out else "–"
        why = "" if left_out else found.get("why") or ""
        shadows = f"{found['shadows'][i]} shadows"
        rows.append(Row(name, sentence.number(auc), note=shadows, why=why, cells=(without,)))
    return rows


def part_rows(evaluation: dict[str, Any]) -> list[Row]:
    """Signals and embeddings: a bar of what the AUC loses when their values are shuffled, with two standard errors."""
    parts = (evaluation.get("worth") or {}).get("parts") or []
    ends = [row["drop"] + side * 2 * (row["error"] or 0) for row in parts for side in (-1, 1)]
    axis = Scale(min([0.0, *ends]), max([0.01, *ends]), 0.0)
    rows = []
    for row in parts:
        limits = None if row["error"] is None else (row["drop"] - 2 * row["error"], row["drop"] + 2 * row["error"])
        cells = (_signed(row["left_out"]), sentence.number(row["alone"]))
        rows.append(
            Row(
                row["name"],
                _signed(row["drop"]),
                note=row["kind"],
                track=axis.track(row["drop"], limits),
                cells=cells,
            )
        )
    return rows


def curve_plot(evaluation: dict[str, Any]) -> tuple[Markup, str, str] | None:
    """(svg, title, caption) of the AUC by number of shadows; None where there is one number alone."""
    rows = (evaluation.get("worth") or {}).get("curve") or []
    if len(rows) < 2:
        return None
    caption = (
        "AUC on unseen shadows with fewer of them: the mean over several choices of shadows (line), single choices "
        "(dots) and the mean of their 95 % intervals (bars). Still rising: more shadows would help."
    )
    return figures.shadow_curve(rows), "What more shadows would bring", caption


def _auc(node: dict[str, Any] | None) -> str:
    if node is None:
        return "–"
    return f"{sentence.number(node['auc'])} {sentence.interval(node['interval'])}"


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")

"""The section on the attack itself: what each part of it is worth, and what more shadows would bring."""

from __future__ import annotations

import numpy as np
from markupsafe import Markup

from attack.report import figures, formats
from attack.report.view import Row, Scale
from attack.results import Evaluation


def family_rows(evaluation: Evaluation) -> list[Row]:
    """The attack on each family, fitted with and without it, and on all of them."""
    found = evaluation.families
    if found is None:
        return []
    left_out = found.left_out
    rows = []
    for i, (name, auc) in enumerate(zip(found.names, found.two_way, strict=True)):
        without = formats.number(left_out.by_family[i]) if left_out else "–"
        why = "" if left_out else found.why or ""
        rows.append(
            Row(name, formats.number(auc), note=f"{found.shadows[i]} shadows", why=why, cells=(without,)),
        )
    if left_out:
        mean = float(np.average(found.two_way, weights=found.shadows))
        cell = f"{formats.number(left_out.auc)} {formats.interval(left_out.interval)}"
        rows.append(Row("all", formats.number(mean), cells=(cell,)))
    return rows


def part_rows(evaluation: Evaluation) -> list[Row]:
    """Signals and embeddings: a bar of what the AUC loses when their values are shuffled, with two standard errors."""
    parts = evaluation.worth.parts if evaluation.worth else ()
    ends = [row.drop + side * 2 * (row.error or 0) for row in parts for side in (-1, 1)]
    axis = Scale(min([0.0, *ends]), max([0.01, *ends]), 0.0)
    rows = []
    for row in parts:
        limits = None if row.error is None else (row.drop - 2 * row.error, row.drop + 2 * row.error)
        cells = (_signed(row.left_out), formats.number(row.alone))
        rows.append(
            Row(
                row.name,
                _signed(row.drop),
                note=row.kind,
                track=axis.track(row.drop, limits),
                cells=cells,
            )
        )
    return rows


def curve_plot(evaluation: Evaluation) -> tuple[Markup, str, str] | None:
    """(svg, title, caption) of the AUC by number of shadows; None where there is one number alone."""
    rows = evaluation.worth.curve if evaluation.worth else ()
    if len(rows) < 2:
        return None
    caption = (
        "AUC on unseen shadows with fewer of them: the mean over several choices of shadows (line), single choices "
        "(dots) and the mean of their 95 % intervals (bars). Still rising: more shadows would help."
    )
    return figures.shadow_curve(rows), "What more shadows would bring", caption


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")

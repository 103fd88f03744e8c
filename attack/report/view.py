"""From evaluation.json to what the template prints: rows, cards and interval tracks, all numbers as text.

A figure that is null shows its `why`; one that is missing altogether shows that it is not measurable.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from attack.report import formats, wording


@dataclass(frozen=True)
class Track:
    """An interval drawn as a bar: CSS percentages, None where there is nothing to draw.

    `band` and `wide` are (left, width) of the interval and of the prediction interval.
    """

    point: str | None
    band: tuple[str, str] | None
    wide: tuple[str, str] | None = None
    dots: tuple[str, ...] = ()
    reference: str | None = None


@dataclass(frozen=True)
class Row:
    """A line of a table or a card: the figure, its interval and what it means."""

    name: str
    value: str
    interval: str = ""
    note: str = ""
    why: str = ""
    track: Track | None = None
    cells: tuple[str, ...] = ()
    parts: tuple[tuple[str, str], ...] = ()  # (css class, width) of a divided bar


@dataclass(frozen=True)
class Scale:
    """A horizontal axis from `low` to `high`."""

    low: float
    high: float = 1.0
    reference: float | None = None
    ticks: tuple[float, ...] = field(default=())

    def at(self, value: float) -> str:
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return f"{100 * share:.2f}%"

    def span(self, limits: Sequence[float] | None) -> tuple[str, str] | None:
        if not formats.interval(limits):
            return None
        assert limits is not None
        low, high = (min(max(limit, self.low), self.high) for limit in limits)
        return self.at(low), f"{100 * (high - low) / (self.high - self.low):.2f}%"

    def track(
        self,
        value: float | None,
        limits: Sequence[float] | None = None,
        wide: Sequence[float] | None = None,
        dots: Sequence[float] = (),
    ) -> Track:
        return Track(
            None if value is None else self.at(value),
            self.span(limits),
            self.span(wide),
            tuple(self.at(dot) for dot in dots),
            None if self.reference is None else self.at(self.reference),
        )


UNIT = Scale(0.0)


def auc_scale(evaluation: dict[str, Any]) -> Scale:
    """One axis for every AUC of the report, from a tenth below the lowest to 1, with chance marked."""
    two_way = evaluation.get("two_way") or {}
    nodes = [
        two_way,
        *(evaluation.get(name) or {} for name in ("dev", "candidates", "expected")),
        *two_way.get("strata", []),
    ]
    nodes += [*evaluation.get("signals", []), *evaluation.get("controls", [])]
    nodes += (evaluation.get("patients") or {}).get("auc") or []
    found = [0.4, *(two_way.get("within_shadow") or [])]
    for node in nodes:
        found += [node.get("auc"), *(node.get("interval") or []), *(node.get("prediction_interval") or [])]
    low = math.floor(10 * min(value for value in found if value is not None)) / 10
    low = min(max(low, 0.0), 0.4)
    ticks = [tick for tick in (0.0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0) if tick >= low - 1e-9]
    return Scale(low, 1.0, 0.5, tuple(ticks if low >= 0.4 else [*ticks[:1], 0.5, 0.75, 1.0]))


def auc_row(name: str, node: dict[str, Any] | None, scale: Scale, note: str = "", *cells: str) -> Row:
    node = node or {}
    if node.get("auc") is None:
        return Row(name, "–", "", note, formats.not_measurable(node.get("why")), None, cells)
    limits = node.get("interval")
    track = scale.track(node["auc"], limits, node.get("prediction_interval"))
    return Row(
        name,
        formats.number(node["auc"]),
        formats.interval(limits),
        note,
        node.get("why") or "",
        track,
        cells,
    )


def counts(node: dict[str, Any]) -> str:
    if node.get("members") is None or node.get("non_members") is None:
        return ""
    return f"{node['members']:,} / {node['non_members']:,}"


def rate_row(point: dict[str, Any]) -> Row:
    """A line of TPR at a false positive rate, with the false positive rate that came out."""
    name = f"at {formats.percent(point['fpr'])} false positives"
    if point.get("tpr") is None:
        return Row(name, "–", why=formats.not_measurable(point.get("why")), cells=("", ""))
    found = f"{point['true_positives']:,} of {point['members']:,}"
    wrong = f"{point['false_positives']:,} of {point['non_members']:,}"
    realised = point["false_positives"] / point["non_members"]
    track = UNIT.track(point["tpr"], point.get("interval"))
    return Row(
        name,
        formats.number(point["tpr"]),
        formats.interval(point.get("interval")),
        track=track,
        cells=(found, f"{wrong} = {formats.percent(round(realised, 4))}"),
    )


def headline_rate(evaluation: dict[str, Any]) -> dict[str, Any]:
    """The operating point of the decision `used`, or the first there is."""
    points = (evaluation.get("two_way") or {}).get("tpr_at_fpr") or []
    at = [point for point in points if math.isclose(point["fpr"], evaluation.get("fpr") or 0)]
    return next(iter(at or points), {"fpr": evaluation.get("fpr") or 0.1})


def thresholds(evaluation: dict[str, Any]) -> list[float]:
    """The scores between which a candidate is undetermined, where decisions were taken."""
    if (evaluation.get("verdict") or {}).get("level") != "leak":
        return []
    limits = evaluation.get("thresholds") or {}
    return [limits[name] for name in ("not_used", "used") if limits.get(name) is not None]


def cards(evaluation: dict[str, Any], scale: Scale) -> list[Row]:
    """The key figures of the first screen."""
    two_way, headline = evaluation.get("two_way") or {}, wording.headline(evaluation)
    mean = f"{formats.number(two_way.get('auc'))} {formats.interval(two_way.get('interval'))}".rstrip()
    by = "labelled slices of this generator" if headline["from"] == "dev" else "slices known not to be used"
    note = f"by {by}; on the shadows it is {mean}"
    expected = evaluation.get("expected") or {}
    first = auc_row("AUC to expect here", expected, scale, note)
    rate = headline_rate(evaluation)
    point = rate_row(rate)
    second = Row(
        "On the shadows: used slices found",
        point.value,
        point.interval,
        f"{point.cells[0]}, with {formats.percent(rate['fpr'])} false alarms among unused slices"
        if not point.why
        else "",
        point.why,
        point.track,
    )
    blind = next((row for row in evaluation.get("controls") or [] if row.get("name") == "blind"), None)
    if blind:
        note = "it never sees a generated image, and should be near 0.50"
        third = auc_row("Control: a blind attack", blind, scale, note)
    elif evaluation.get("dev"):
        note = "AUC on the labelled slices of a real target"
        third = auc_row("Check: development slices", evaluation["dev"], scale, note)
    else:
        third = dataclasses.replace(probability_rows(two_way)[-1], name="On the shadows: calibration error")
    said = evaluation.get("decisions") or {}
    total = sum(said.values())
    parts = tuple(
        (f"part-{number}", f"{100 * said.get(name, 0) / max(1, total):.2f}%")
        for number, name in enumerate(("used", "undetermined", "not used"))
    )
    fourth = Row(
        "Candidates called used",
        f"{said.get('used', 0):,} of {total:,}",
        "",
        f"{said.get('not used', 0):,} not used, {said.get('undetermined', 0):,} undetermined",
        parts=parts,
    )
    return [first, second, third, fourth]


def prior_rows(evaluation: dict[str, Any]) -> list[Row]:
    """What a flag is worth under other priors, by the rates that the shadows show."""
    rows = []
    for row in evaluation.get("priors") or []:
        name = f"{formats.percent(row['prior'])} were used"
        if row.get("ppv") is None:
            rows.append(Row(name, "–", why=formats.not_measurable(row.get("why")), cells=("", "")))
            continue
        cells = (formats.number(row.get("tpr")), formats.number(row.get("fpr")))
        limits = row.get("interval")
        track = UNIT.track(row["ppv"], limits)
        rows.append(Row(name, formats.number(row["ppv"]), formats.interval(limits), track=track, cells=cells))
    return rows


def regime_rows(evaluation: dict[str, Any]) -> list[Row]:
    """Where the target lies among the shadows, a line a statistic; the axis spans shadows and target."""
    rows = []
    for row in (evaluation.get("regime") or {}).get("statistic") or []:
        dots = [dot for dot in row.get("shadows") or [] if dot is not None]
        target = row.get("target")
        if target is None or not dots:
            rows.append(Row(row["name"], "–", why=formats.not_measurable(row.get("why"))))
            continue
        low, high = min(*dots, target), max(*dots, target)
        margin = 0.08 * (high - low) or 1.0
        scale = Scale(low - margin, high + margin)
        inside = min(dots) <= target <= max(dots)
        track = scale.track(target, dots=dots)
        spread = f"{formats.number(min(dots))} to {formats.number(max(dots))}"
        note = "" if inside else "beyond the range of the shadows"
        rows.append(Row(row["name"], formats.number(target), spread, note, track=track))
    return rows


PATIENT_SCORES = {
    "logmeanexp": "Log of the mean odds",
    "top3": "Mean of the three highest",
    "max": "Highest slice",
    "mean": "Mean of all slices",
}


def patient_rows(patients: dict[str, Any], scale: Scale) -> list[Row]:
    """A line a pooled score: AUC of telling patients with a used slice from those without."""
    return [auc_row(PATIENT_SCORES[row["score"]], row, scale) for row in patients.get("auc") or []]


def success_row(patients: dict[str, Any]) -> Row | None:
    """How surely single patients' used slices are found, a dot a patient."""
    shares = patients.get("success")
    if not shares:
        return None
    scale = Scale(min(0.4, *shares), 1.0, 0.5)
    spread = f"{formats.number(shares[0])} to {formats.number(shares[-1])}"
    return Row("Every patient (dots)", formats.number(patients["median"]), spread, track=scale.track(None, dots=shares))


def transfer_rows(dev: dict[str, Any] | None) -> list[Row]:
    """Quality of the probabilities of the labelled dev slices by the shadows' map; beside it, where their labels set
    another, by maps that had not seen the slice's group."""
    if not dev or not dev.get("brier"):
        return []
    mended = dev.get("recalibration")
    before = (mended or {}).get("before") or dev
    rows = []
    for key, name in (("brier", "Brier score"), ("log_loss", "Log loss"), ("ece", "Calibration error")):
        cells = tuple(
            f"{formats.number(figure['value'])} {formats.interval((figure['low'], figure['high']))}"
            for figure in ([mended["cross_validated"][key]] if mended else [])
        )
        limits = (before[key]["low"], before[key]["high"])
        rows.append(Row(name, formats.number(before[key]["value"]), formats.interval(limits), cells=cells))
    return rows


def probability_rows(two_way: dict[str, Any]) -> list[Row]:
    rows = []
    for key, name, note in (
        ("brier", "Brier score", "0 is best, 0.25 is saying one half to everything"),
        ("log_loss", "Log loss", "0 is best, 0.69 is saying one half to everything"),
        ("ece", "Calibration error", "mean distance of the points from the diagonal"),
    ):
        value = two_way.get(key)
        why = formats.not_measurable(two_way.get(f"{key}_why") or two_way.get("why"))
        rows.append(Row(name, formats.number(value), "", note, "" if value is not None else why))
    return rows

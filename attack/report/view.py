"""From an evaluation to what the template prints: rows, cards and interval tracks, all numbers as text.

A figure that is None shows its `why`, or without one that it is not measurable.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from attack.report import formats
from attack.results import Auc, Decisions, Dev, Evaluation, Figure, Patients, Rate, TwoWay


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


def auc_scale(evaluation: Evaluation) -> Scale:
    """One axis for every AUC of the report."""
    two_way = evaluation.two_way
    nodes: list[Auc] = [two_way, evaluation.dev, evaluation.candidates, evaluation.expected, *two_way.strata]
    nodes += [*evaluation.signals, *evaluation.controls, *(evaluation.patients.auc or ())]
    return auc_axis(nodes, two_way.within_shadow or ())


def auc_axis(nodes: Sequence[Auc], dots: Sequence[float] = ()) -> Scale:
    """An axis from a tenth below the lowest AUC, or end of an interval, to 1, with chance marked."""
    found: list[float | None] = [0.4, *dots]
    for node in nodes:
        found += [node.auc, *(node.interval or ()), *(node.wide or ())]
    low = math.floor(10 * min(value for value in found if value is not None)) / 10
    low = min(max(low, 0.0), 0.4)
    ticks = [tick for tick in (0.0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0) if tick >= low - 1e-9]
    return Scale(low, 1.0, 0.5, tuple(ticks if low >= 0.4 else [*ticks[:1], 0.5, 0.75, 1.0]))


def auc_row(name: str, node: Auc, scale: Scale, note: str = "", *cells: str) -> Row:
    if node.auc is None:
        return Row(name, "–", "", note, formats.not_measurable(node.why), None, cells)
    track = scale.track(node.auc, node.interval, node.wide)
    return Row(
        name,
        formats.number(node.auc),
        formats.interval(node.interval),
        note,
        node.why or "",
        track,
        cells,
    )


def counts(members: int | None, non_members: int | None) -> str:
    return "" if members is None or non_members is None else f"{members:,} / {non_members:,}"


def rate_row(point: Rate) -> Row:
    """A line of TPR at a false positive rate, with the false positive rate that came out."""
    name = f"at {formats.percent(point.fpr)} false positives"
    if point.tpr is None or point.false_positives is None or not point.non_members:
        return Row(name, "–", why=formats.not_measurable(point.why), cells=("", ""))
    found = f"{point.true_positives:,} of {point.members:,}"
    wrong = f"{point.false_positives:,} of {point.non_members:,}"
    realised = point.false_positives / point.non_members
    return Row(
        name,
        formats.number(point.tpr),
        formats.interval(point.interval),
        track=UNIT.track(point.tpr, point.interval),
        cells=(found, f"{wrong} = {formats.percent(round(realised, 4))}"),
    )


def headline_rate(evaluation: Evaluation) -> Rate:
    """The operating point of the decision `used`, or the first there is."""
    points = evaluation.two_way.tpr_at_fpr
    at = [point for point in points if math.isclose(point.fpr, evaluation.fpr)]
    return next(iter(at or points), Rate(fpr=evaluation.fpr))


def thresholds(evaluation: Evaluation) -> list[float]:
    """The scores between which a candidate is undetermined, where decisions were taken."""
    if not evaluation.verdict.leak:
        return []
    limits = evaluation.thresholds
    return [limit for limit in (limits.not_used, limits.used) if limit is not None]


def cards(evaluation: Evaluation, scale: Scale) -> list[Row]:
    """The key figures of the first screen."""
    return [
        _expected_card(evaluation, scale),
        _rate_card(evaluation),
        _control_card(evaluation, scale),
        _decisions_card(evaluation.decisions),
    ]


def _expected_card(evaluation: Evaluation, scale: Scale) -> Row:
    two_way, expected = evaluation.two_way, evaluation.expected
    mean = f"{formats.number(two_way.auc)} {formats.interval(two_way.interval)}".rstrip()
    by = "labelled slices of this generator" if expected.source == "dev" else "slices known not to be used"
    return auc_row("AUC to expect here", expected, scale, f"by {by}; on the shadows it is {mean}")


def _rate_card(evaluation: Evaluation) -> Row:
    rate = headline_rate(evaluation)
    point = rate_row(rate)
    return Row(
        "On the shadows: used slices found",
        point.value,
        point.interval,
        f"{point.cells[0]}, with {formats.percent(rate.fpr)} false alarms among unused slices" if not point.why else "",
        point.why,
        point.track,
    )


def _control_card(evaluation: Evaluation, scale: Scale) -> Row:
    """The blind control; without one the labelled dev slices, or else what the shadows say of the probabilities."""
    blind = next((row for row in evaluation.controls if row.name == "blind"), None)
    if blind:
        note = "it never sees a generated image, and should be near 0.50"
        return auc_row("Control: a blind attack", blind, scale, note)
    if evaluation.dev.auc is not None:
        note = "AUC on the labelled slices of a real target"
        return auc_row("Check: development slices", evaluation.dev, scale, note)
    return dataclasses.replace(probability_rows(evaluation.two_way)[-1], name="On the shadows: calibration error")


def _decisions_card(said: Decisions) -> Row:
    counted = said.used, said.undetermined, said.not_used
    parts = tuple(
        (f"part-{number}", f"{100 * count / max(1, said.total):.2f}%") for number, count in enumerate(counted)
    )
    return Row(
        "Candidates called used",
        f"{said.used:,} of {said.total:,}",
        "",
        f"{said.not_used:,} not used, {said.undetermined:,} undetermined",
        parts=parts,
    )


def prior_rows(evaluation: Evaluation) -> list[Row]:
    """What a flag is worth under other priors, by the rates that the shadows show."""
    rows = []
    for row in evaluation.priors:
        name = f"{formats.percent(row.prior)} were used"
        if row.ppv is None:
            rows.append(Row(name, "–", why=formats.not_measurable(None), cells=("", "")))
            continue
        cells = (formats.number(row.tpr), formats.number(row.fpr))
        rows.append(Row(name, formats.number(row.ppv), track=UNIT.track(row.ppv), cells=cells))
    return rows


def regime_rows(evaluation: Evaluation) -> list[Row]:
    """Where the target lies among the shadows, a line a statistic; the axis spans shadows and target."""
    rows = []
    for row in evaluation.regime.statistic:
        dots, target = row.shadows, row.target
        low, high = min(*dots, target), max(*dots, target)
        margin = 0.08 * (high - low) or 1.0
        scale = Scale(low - margin, high + margin)
        inside = min(dots) <= target <= max(dots)
        track = scale.track(target, dots=dots)
        spread = f"{formats.number(min(dots))} to {formats.number(max(dots))}"
        note = "" if inside else "beyond the range of the shadows"
        rows.append(Row(row.name, formats.number(target), spread, note, track=track))
    return rows


PATIENT_SCORES = {
    "logmeanexp": "Log of the mean odds",
    "top3": "Mean of the three highest",
    "max": "Highest slice",
    "mean": "Mean of all slices",
}


def patient_rows(patients: Patients, scale: Scale) -> list[Row]:
    """A line a pooled score: AUC of telling patients with a used slice from those without."""
    return [auc_row(PATIENT_SCORES[row.score], row, scale) for row in patients.auc or ()]


def success_row(patients: Patients) -> Row | None:
    """How surely single patients' used slices are found, a dot a patient."""
    shares = patients.success
    if not shares:
        return None
    scale = Scale(min(0.4, *shares), 1.0, 0.5)
    spread = f"{formats.number(shares[0])} to {formats.number(shares[-1])}"
    return Row("Every patient (dots)", formats.number(patients.median), spread, track=scale.track(None, dots=shares))


def transfer_rows(dev: Dev) -> list[Row]:
    """Quality of the probabilities of the labelled dev slices by the shadows' map; beside it, where their labels set
    another, by maps that had not seen the slice's group."""
    mended = dev.recalibration
    before = mended.before if mended else dev.quality
    if before is None:
        return []
    rows = []
    for key, name in (("brier", "Brier score"), ("log_loss", "Log loss"), ("ece", "Calibration error")):
        first: Figure = getattr(before, key)
        cells = (_with_interval(getattr(mended.cross_validated, key)),) if mended else ()
        rows.append(Row(name, formats.number(first.value), formats.interval(first.interval), cells=cells))
    return rows


def _with_interval(figure: Figure) -> str:
    return f"{formats.number(figure.value)} {formats.interval(figure.interval)}"


def probability_rows(two_way: TwoWay) -> list[Row]:
    return [
        Row("Brier score", formats.number(two_way.brier), "", "0 is best, 0.25 is saying one half to everything"),
        Row("Log loss", formats.number(two_way.log_loss), "", "0 is best, 0.69 is saying one half to everything"),
        Row("Calibration error", formats.number(two_way.ece), "", "mean distance of the points from the diagonal"),
    ]

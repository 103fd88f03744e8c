"""What the truth section prints of the figures against the truth, picked from what `attack.metrics.evaluate` gives."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from attack.results import Interval, ReliabilityRow


@dataclass(frozen=True)
class Measure:
    """A measured figure with its interval at 95 %; None where it could not be had, for the reason `why`."""

    value: float | None
    interval: Interval | None
    why: str | None

    @staticmethod
    def of(figure: dict[str, Any]) -> Measure:
        low, high = figure.get("low"), figure.get("high")
        limits = None if low is None or high is None else (low, high)
        return Measure(figure.get("value"), limits, figure.get("why"))


@dataclass(frozen=True)
class Point:
    """The TPR at a wanted false positive rate; counts: in words, empty where the rate is not attainable."""

    fpr: float
    tpr: Measure
    counts: str


@dataclass(frozen=True)
class PerPatient:
    """AUC over patients, of whom so many have a used slice."""

    auc: Measure
    used: int
    patients: int


@dataclass(frozen=True)
class Labelling:
    """The labelling with the highest expected objective: what was expected, what it reached, and what saying "used" to
    everything reaches."""

    expected: float
    reached: Measure
    all_ones: float


@dataclass(frozen=True)
class Probabilities:
    """Of the stated probabilities. best: by objective; reliability: by rising probability."""

    brier: Measure
    ece: Measure
    best: dict[str, Labelling]
    reliability: tuple[ReliabilityRow, ...]


@dataclass(frozen=True)
class Counts:
    """Candidates of one decision, by the truth."""

    members: int
    non_members: int

    @property
    def total(self) -> int:
        return self.members + self.non_members


@dataclass(frozen=True)
class Decided:
    """counts: of "used", "not used" and "undetermined"; the figures count `undetermined` as not used."""

    counts: dict[str, Counts]
    f1: Measure
    kappa: Measure
    precision: Measure


@dataclass(frozen=True)
class Measured:
    """Predictions against the truth. per_patient: None without groups; probability, decision: without such a column."""

    auc: Measure
    members: int
    non_members: int
    points: tuple[Point, ...]
    per_patient: PerPatient | None
    probability: Probabilities | None
    decision: Decided | None


def pick(found: dict[str, Any]) -> Measured:
    """found: as `attack.metrics.evaluate` gives it."""
    groups, probability, decision = found["per_group"], found["probability"], found["decision"]
    return Measured(
        auc=Measure.of(found["auc"]),
        members=found["members"],
        non_members=found["non_members"],
        points=tuple(_point(row) for row in found["tpr_at_fpr"]),
        per_patient=None
        if groups is None
        else PerPatient(Measure.of(groups["logmeanexp"]), groups["member_groups"], groups["groups"]),
        probability=None if probability is None else _probabilities(probability, found["baselines"]["all_ones"]),
        decision=None if decision is None else _decided(decision),
    )


def _point(row: dict[str, Any]) -> Point:
    counts = (
        f"{row['true_positives']} of {row['members']} used, "
        f"{row['false_positives']} of {row['non_members']} unused flagged"
        if row["attainable"]
        else ""
    )
    return Point(row["wanted_fpr"], Measure.of(row), counts)


def _probabilities(found: dict[str, Any], all_ones: dict[str, float]) -> Probabilities:
    best = {
        aim: Labelling(row["expected"], Measure.of(row["reached"]), all_ones[aim]) for aim, row in found["best"].items()
    }
    return Probabilities(Measure.of(found["brier"]), Measure.of(found["ece"]), best, _reliability(found["reliability"]))


def _reliability(rows: Iterable[dict[str, Any]]) -> tuple[ReliabilityRow, ...]:
    return tuple(
        ReliabilityRow(
            mean_probability=row["probability"],
            observed=row["share"],
            count=row["items"],
            interval=(row["share_low"], row["share_high"]),
        )
        for row in rows
    )


def _decided(found: dict[str, Any]) -> Decided:
    among = found["undetermined_as_not_used"]
    counts = {name: Counts(**row) for name, row in found["counts"].items()}
    return Decided(counts, *(Measure.of(among[name]) for name in ("f1", "kappa", "precision")))

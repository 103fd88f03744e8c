"""Every figure of a run without shadows: attack/baselines.json."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from attack.baselines.alone.choice import Worth
from attack.baselines.alone.standing import Standing
from attack.results.codec import JsonFile, noted
from attack.results.figures import Interval


@dataclass(frozen=True, kw_only=True)
class DevArea:
    """AUC of a baseline in [0, 1] on the dev slices, with its interval over patients."""

    auc: float
    interval: Interval


@dataclass(frozen=True, kw_only=True)
class DevFigures:
    """The labelled dev slices, or `why` there are none: then all but `auc` is None.

    standing: whether the labels count; members, non_members: slices; pile: generated images compared; auc: by baseline;
    best, picked: the baseline with the highest AUC, and what picking it is worth, None where the labels do not count.
    """

    why: str | None = noted()
    standing: Standing | None = noted()
    members: int | None = noted()
    non_members: int | None = noted()
    pile: int | None = noted()
    auc: dict[str, DevArea]
    best: str | None = noted()
    picked: Worth | None = noted()

    @property
    def slices(self) -> int:
        return (self.members or 0) + (self.non_members or 0)

    @property
    def areas(self) -> list[DevArea | Worth]:
        """Every AUC that is stated."""
        return [*self.auc.values(), *([self.picked] if self.picked else [])]


@dataclass(frozen=True, kw_only=True)
class Strength:
    """strength: the factor of the log odds, see `calibrating.Calibrated`."""

    strength: float


@dataclass(frozen=True, kw_only=True)
class BaselineRow:
    """flagged: candidates that the method itself flags, None where it does not decide."""

    name: str
    paper: str
    set_dependent: bool
    flagged: int | None


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The baseline of predictions.csv. by: "user", "dev" or "default"."""

    name: str
    by: str


@dataclass(frozen=True, kw_only=True)
class Submitted:
    """The labels of submission.csv. ones: candidates labelled used; rule, expected: see `scoring.Labelling`."""

    ones: int
    rule: str
    expected: float | None
    objective: str
    prior: float


@dataclass(frozen=True, kw_only=True)
class BaselineFigures(JsonFile):
    """candidates, reference: slices; pile: generated images compared, of `pile_there`; calibrated: None where there are
    no probabilities; baselines: in the order of scores.csv."""

    REMEDY: ClassVar[str] = "predict again"

    candidates: int
    pile: int
    pile_there: int
    reference: int
    dev: DevFigures
    calibrated: Strength | None
    baselines: tuple[BaselineRow, ...]
    chosen: Chosen
    submission: Submitted

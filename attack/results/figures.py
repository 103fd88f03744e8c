"""Figures with their intervals: the parts that other results are made of.

Every interval is (low, high) at 95 %. A figure that could not be had is None, and `why` says why.
"""

from __future__ import annotations

from dataclasses import dataclass

Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """value: any number; low, high: of its interval."""

    value: float
    low: float
    high: float

    @property
    def interval(self) -> Interval:
        return self.low, self.high

    @property
    def plain(self) -> Figure:
        """Without what a kind of figure has beside."""
        return Figure(value=self.value, low=self.low, high=self.high)

    @property
    def why(self) -> None:
        """It could be had."""
        return None


@dataclass(frozen=True, kw_only=True)
class Quality:
    """How good probabilities are: Brier score in [0, 1], log loss >= 0, expected calibration error in [0, 1]."""

    brier: Figure
    log_loss: Figure
    ece: Figure


@dataclass(frozen=True, kw_only=True)
class Auc:
    """auc: in [0, 1], above .5 where used slices score higher (of `Candidates` it may lie outside [0, 1]); interval."""

    auc: float | None = None
    interval: Interval | None = None
    why: str | None = None

    @property
    def wide(self) -> Interval | None:
        """The prediction interval for one new generator, where there is one."""
        return None


@dataclass(frozen=True, kw_only=True)
class PredictedAuc(Auc):
    """An AUC that is a mean over shadows. prediction_interval: for one new generator, in [0, 1]."""

    prediction_interval: Interval | None = None

    @property
    def wide(self) -> Interval | None:
        return self.prediction_interval


@dataclass(frozen=True, kw_only=True)
class ShadowsAuc(PredictedAuc):
    """within_shadow: AUC in [0, 1] of each shadow, [shadow]; shadows without both classes have none."""

    within_shadow: tuple[float, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class ReliabilityRow:
    """Slices of like probability. mean_probability: stated, in [0, 1]; observed: share that was used, in [0, 1];
    count: slices, > 0; interval: of `observed`."""

    mean_probability: float
    observed: float
    count: int
    interval: Interval

"""ROC as a step curve, and what is found at a low false positive rate.

Higher score = more likely a member, labels 0/1 with 1 = used; bad input is a ValueError, as in `ranking`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from attack.metrics.intervals import Interval, proportion_interval
from attack.metrics.ranking import check_labels, check_scores


class Roc(NamedTuple):
    """The step curve: flagging `score >= thresholds[i]` has `fpr[i]`, `tpr[i]`. Starts at (0, 0), inf."""

    fpr: np.ndarray
    tpr: np.ndarray
    thresholds: np.ndarray


def _steps(scores: ArrayLike, labels: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Falling unique thresholds, and the members and non-members at or above each."""
    target = check_labels(labels)
    values = check_scores(scores, len(target))
    unique, place = np.unique(-values, return_inverse=True)
    flagged = [np.cumsum(np.bincount(place[target == kind], minlength=len(unique))) for kind in (1, 0)]
    return -unique, flagged[0], flagged[1]


def roc(scores: ArrayLike, labels: ArrayLike) -> Roc:
    """ROC at every unique score, thresholds falling; no interpolation, no point dropped."""
    thresholds, hits, alarms = _steps(scores, labels)
    return Roc(
        np.concatenate([[0.0], alarms / alarms[-1]]),
        np.concatenate([[0.0], hits / hits[-1]]),
        np.concatenate([[np.inf], thresholds]),
    )


@dataclass(frozen=True)
class OperatingPoint:
    """What is found at a false positive rate. If not attainable, only the numbers of items are given."""

    wanted_fpr: float
    attainable: bool
    members: int
    non_members: int
    tpr: float | None = None
    interval: Interval | None = None
    true_positives: int | None = None
    false_positives: int | None = None
    fpr: float | None = None
    fpr_interval: Interval | None = None
    # Flagged is score >= threshold. None: ties allow to flag nobody, or every part of the items has its own.
    threshold: float | None = None
    why: str | None = None


def tpr_at_fpr(
    scores: ArrayLike,
    labels: ArrayLike,
    fpr: float,
    level: float = 0.95,
    groups: ArrayLike | None = None,
) -> OperatingPoint:
    """TPR at the lowest threshold that flags at most floor(fpr x non-members) non-members.

    Ties stay together. No interpolation, and no figure below one non-member (fpr < 1 / non-members:
    `attainable` is False). The intervals are Clopper-Pearson (with `groups`: at the effective size) and take
    the threshold as given. `fpr` in (0, 1], else ValueError.
    """
    thresholds, hits, alarms = _steps(scores, labels)
    allowed = _allowed(fpr, int(alarms[-1]))
    if allowed < 1:
        return _unattainable(fpr, int(hits[-1]), int(alarms[-1]))
    threshold = _lowest(thresholds, alarms, allowed)
    flagged = np.asarray(scores, dtype=np.float64) >= threshold
    point = _point(fpr, flagged, np.asarray(labels), groups, level=level)
    return replace(point, threshold=threshold if np.isfinite(threshold) else None)


def held_out_point(
    scores: ArrayLike,
    labels: ArrayLike,
    fpr: float,
    parts: Iterable[tuple[np.ndarray, np.ndarray]],
    groups: ArrayLike | None = None,
    across: ArrayLike | None = None,
) -> OperatingPoint:
    """TPR and FPR where the threshold of every item was set on other items: what the threshold does to new ones.

    `parts`: pairs (fit, judge) of bool masks [n]. The threshold of the items `judge` is set on the items `fit`, as in
    `tpr_at_fpr`; together the `judge` masks hold every item once. The FPR that comes out may lie above `fpr`. Where
    `fit` is too small to show the rate, its threshold flags no non-member of `fit`. Intervals at 95 % are those of
    `proportion_interval` with `groups` and `across`, and take the thresholds as given. There is no single threshold:
    the point has None. ValueError on bad input, on parts that overlap or leave an item out, or `fit` of one class.
    """
    target = check_labels(labels)
    values = check_scores(scores, len(target))
    members, others = int(target.sum()), int((target == 0).sum())
    if _allowed(fpr, others) < 1:
        return _unattainable(fpr, members, others)
    flagged, judged = np.zeros(len(target), dtype=bool), np.zeros(len(target), dtype=int)
    for fit, judge in parts:
        thresholds, _, alarms = _steps(values[fit], target[fit])
        flagged[judge] = values[judge] >= _lowest(thresholds, alarms, _allowed(fpr, int(alarms[-1])))
        judged += judge
    if (judged != 1).any():
        raise ValueError("the parts must judge every item once")
    return _point(fpr, flagged, target, groups, across)


def _allowed(fpr: float, others: int) -> int:
    """How many of `others` non-members may be flagged. ValueError where `fpr` is not in (0, 1]."""
    if not 0 < fpr <= 1:
        raise ValueError(f"fpr must lie in (0, 1], got {fpr}")
    return math.floor(round(fpr * others, 9))  # 0.29 x 100 is 28.999999999999996 in floats


def _lowest(thresholds: np.ndarray, alarms: np.ndarray, allowed: int) -> float:
    """The lowest of the falling `thresholds` with at most `allowed` false alarms; infinite where there is none."""
    last = int(np.searchsorted(alarms, allowed, side="right")) - 1
    return float(thresholds[last]) if last >= 0 else math.inf


def _unattainable(fpr: float, members: int, others: int) -> OperatingPoint:
    why = f"{others} non-members cannot show a false positive rate below 1/{others}"
    return OperatingPoint(fpr, False, members, others, why=why)


def _point(
    fpr: float,
    flagged: np.ndarray,
    target: np.ndarray,
    groups: ArrayLike | None,
    across: ArrayLike | None = None,
    level: float = 0.95,
) -> OperatingPoint:
    """The shares of members and of non-members that are `flagged` (bool [n]), with their intervals; no threshold."""
    hits, alarms = flagged[target == 1], flagged[target == 0]
    limits = [
        proportion_interval(
            flagged[target == kind],
            None if groups is None else np.asarray(groups)[target == kind],
            level,
            None if across is None else np.asarray(across)[target == kind],
        )
        for kind in (1, 0)
    ]
    return OperatingPoint(
        wanted_fpr=fpr,
        attainable=True,
        members=len(hits),
        non_members=len(alarms),
        tpr=float(hits.mean()),
        interval=limits[0],
        true_positives=int(hits.sum()),
        false_positives=int(alarms.sum()),
        fpr=float(alarms.mean()),
        fpr_interval=limits[1],
    )

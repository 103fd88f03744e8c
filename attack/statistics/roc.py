"""ROC as a step curve, and what is found at a low false positive rate.

Higher score = more likely a member, labels 0/1 with 1 = used; bad input is a ValueError, as in `ranking`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from attack.statistics.intervals import Interval, proportion_interval
from attack.statistics.ranking import check_labels, check_scores


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
    threshold: float | None = None  # flagged is score >= threshold; None: ties allow to flag nobody
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
    if not 0 < fpr <= 1:
        raise ValueError(f"fpr must lie in (0, 1], got {fpr}")
    thresholds, hits, alarms = _steps(scores, labels)
    members, others = int(hits[-1]), int(alarms[-1])
    allowed = math.floor(round(fpr * others, 9))  # 0.29 x 100 is 28.999999999999996 in floats
    if allowed < 1:
        why = f"{others} non-members cannot show a false positive rate below 1/{others}"
        return OperatingPoint(fpr, False, members, others, why=why)
    last = int(np.searchsorted(alarms, allowed, side="right")) - 1
    threshold = float(thresholds[last]) if last >= 0 else None
    found, wrong = (int(hits[last]), int(alarms[last])) if last >= 0 else (0, 0)
    target, values = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    flagged = values >= (np.inf if threshold is None else threshold)
    names = None if groups is None else np.asarray(groups)
    limits = [
        proportion_interval(flagged[target == kind], None if names is None else names[target == kind], level)
        for kind in (1, 0)
    ]
    return OperatingPoint(
        wanted_fpr=fpr,
        attainable=True,
        members=members,
        non_members=others,
        tpr=found / members,
        interval=limits[0],
        true_positives=found,
        false_positives=wrong,
        fpr=wrong / others,
        fpr_interval=limits[1],
        threshold=threshold,
    )

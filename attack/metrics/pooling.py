"""From slices to patients: what a patient's slices say together. Every function sees one patient's slices alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import special

TOP = 3


def logmeanexp(score: np.ndarray) -> float:
    """log of the mean odds of log odds [slice]: the log likelihood ratio of "one slice, any of them alike, was used"
    against "none", where the log odds are right. Near the highest score minus log(slices)."""
    return float(special.logsumexp(_falling(score)) - np.log(len(score)))


def top_mean(score: np.ndarray) -> float:
    """Mean of the `TOP` highest scores [slice], of all where they are fewer."""
    return float(_falling(score)[:TOP].mean())


def any_used(probability: np.ndarray) -> float:
    """Chance that at least one slice was used, by probabilities [slice] in [0, 1], slices taken for independent."""
    with np.errstate(divide="ignore"):  # a certain slice makes it certain
        return float(-np.expm1(np.log1p(-_falling(probability)).sum()))


def highest(score: np.ndarray) -> float:
    """The largest of a patient's scores."""
    return float(score.max())


def mean(score: np.ndarray) -> float:
    """The mean of a patient's scores, the same in any order of them."""
    return float(_falling(score).mean())


# Scores of a patient by the name they have in every table; higher = more likely that a slice was used.
SCORES: dict[str, Callable[[np.ndarray], float]] = {
    "logmeanexp": logmeanexp,
    f"top{TOP}": top_mean,
    "max": highest,
    "mean": mean,
}


def pool(value: np.ndarray, group: np.ndarray, groups: int, how: Callable[[np.ndarray], float]) -> np.ndarray:
    """`how` of each group's values [slice], float [group]; numbers `group` int [slice] in [0, groups), none empty."""
    ends = np.cumsum(np.bincount(group, minlength=groups))[:-1]
    return np.array([how(mine) for mine in np.split(value[np.argsort(group, kind="stable")], ends)])


def _falling(value: np.ndarray) -> np.ndarray:
    """Sorted, so that a sum does not depend on the order in which the slices are given, to the last bit."""
    return -np.sort(-np.asarray(value, np.float64))

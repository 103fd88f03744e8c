"""Probabilities that claim as much as is known of the target, and no more.

Shadows say how scores of generators like them turn into probabilities. A stranger's scores are on another scale. So the
scale is set such that the AUC that the probabilities of the candidates imply is the AUC to expect of the target, and
their mean is the prior. Where no leakage is shown, all lie next to the prior.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import optimize, special

_SURE = 1e-6  # no probability is nearer to 0 or 1
_LEAST = 1e-3  # slope in standard deviations of the scores: the probabilities keep the order of the scores
_MOST = 1e3


def implied_auc(score: np.ndarray, probability: np.ndarray) -> float:
    """The AUC of scores [candidate] if each were a member with its `probability` [candidate], independently:

        sum_{i != j} p_i (1 - p_j) (1[f_i > f_j] + 1/2 1[f_i = f_j])  /  sum_{i != j} p_i (1 - p_j)

    In n log n. ValueError for fewer than two candidates.
    """
    if len(score) < 2:
        raise ValueError("one candidate has no AUC")
    p = np.clip(probability, _SURE, 1 - _SURE)
    level, where = np.unique(score, return_inverse=True)
    inside, outside = (np.bincount(where, weight, len(level)) for weight in (p, 1 - p))
    below = np.cumsum(outside) - outside
    own = float(p @ (1 - p))
    return (float(inside @ (below + outside / 2)) - own / 2) / (float(p.sum() * (1 - p).sum()) - own)


@dataclass(frozen=True)
class Tempered:
    """probability = expit(slope . score + offset), slope >= 0; the prior is in the offset."""

    slope: float
    offset: float

    def probability(self, score: np.ndarray) -> np.ndarray:
        """Of membership, in (0, 1), any shape."""
        return special.expit(self.slope * score + self.offset)


def temper(score: np.ndarray, auc: float, prior: float) -> Tempered:
    """The map of scores [candidate] whose probabilities have the mean `prior` and imply the AUC `auc`.

    At or below one half the slope is next to 0: every probability is the prior, to three digits, in the order of the
    scores. An AUC that no slope reaches gets the steepest. ValueError as `implied_auc`.
    """
    scale = float(np.std(score))
    if scale < 1e-12:
        return Tempered(0.0, float(special.logit(prior)))

    def at(log_slope: float) -> Tempered:
        slope = float(np.exp(log_slope)) / scale
        return Tempered(slope, _offset(slope * score, prior))

    def surplus(log_slope: float) -> float:
        return implied_auc(score, at(log_slope).probability(score)) - auc

    low, high = np.log(_LEAST), np.log(_MOST)
    if surplus(low) >= 0:
        return at(low)
    if surplus(high) <= 0:
        return at(high)
    return at(float(optimize.brentq(surplus, low, high, xtol=1e-6)))


def _offset(log_odds: np.ndarray, prior: float) -> float:
    """What to add to log odds [candidate] so that their probabilities have the mean `prior`, in (0, 1)."""
    centre = special.logit(prior)
    low, high = centre - float(log_odds.max()) - 1.0, centre - float(log_odds.min()) + 1.0
    return float(optimize.brentq(lambda shift: special.expit(log_odds + shift).mean() - prior, low, high))

"""The fitted attack on disk, and log odds -> a calibrated probability."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import optimize, special

from attack.inference.combiner import Combiner, balanced, logistic_loss


@dataclass(frozen=True)
class Recalibration:
    """probability = expit(slope . logit + offset) at a prior of one half (Platt 1999), slope >= 0."""

    slope: float
    offset: float

    def logit(self, score: np.ndarray) -> np.ndarray:
        """Log odds of scores, float64 of the same shape."""
        return self.slope * score + self.offset

    def probability(self, score: np.ndarray, prior: float) -> np.ndarray:
        """Probability at `prior`, any shape."""
        return special.expit(self.logit(score) + special.logit(prior))


def fit_recalibration(score: np.ndarray, label: np.ndarray, weight: np.ndarray | None = None) -> Recalibration:
    """Fitted on held-out scores; classes are weighted to one half each, and slope 0 means "the scores say nothing"."""
    return fit_platt(score, label, balanced(label, weight))


def fit_platt(score: np.ndarray, label: np.ndarray, share: np.ndarray) -> Recalibration:
    """As `fit_recalibration`, with the weights `share` of the items, which sum to 1."""
    scale = max(float(np.std(score)), 1e-9)
    x = score / scale

    def objective(theta: np.ndarray) -> tuple[float, np.ndarray]:
        loss, slope = logistic_loss(theta[0] * x + theta[1], label, share)
        return loss + 5e-4 * theta[0] ** 2, np.array([slope @ x + 1e-3 * theta[0], slope.sum()])

    found = optimize.minimize(
        objective, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B", bounds=[(0.0, None), (None, None)]
    )
    return Recalibration(float(found.x[0]) / scale, float(found.x[1]))


def to_json(fitted: Sequence[Combiner], recalibration: Recalibration) -> dict[str, Any]:
    """The fitted attack as plain JSON, one combiner a draw of references."""
    return {
        "combiners": [combiner.to_json() for combiner in fitted],
        "recalibration": {"slope": recalibration.slope, "offset": recalibration.offset},
    }


def from_json(content: dict[str, Any]) -> tuple[list[Combiner], Recalibration]:
    """The combiners, one a draw of references, and the map to probabilities that `to_json` wrote."""
    return [Combiner.from_json(c) for c in content["combiners"]], Recalibration(**content["recalibration"])

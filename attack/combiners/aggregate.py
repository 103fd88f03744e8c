"""The mean and the maximum of the scaled signals: what is robust because nothing about the signals is fitted.

The columns come in units of a pile's known non-members, so their plain mean, and the largest of them, mean the same
under every generator. Only the map to log odds is fitted, one slope and one offset: it cannot change a ranking.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import optimize

from attack.combiners.balance import balanced, logistic_loss

KINDS = ("mean", "max")
# The order is given by the kind. A slope of 0, as a few pairs of noise would have it, would lose it.
_LEAST_SLOPE = 0.1


def pooled(kind: str, z: np.ndarray) -> np.ndarray:
    """Mean or maximum [...] of z [..., column]."""
    return z.max(-1) if kind == "max" else z.sum(-1) / z.shape[-1]


@dataclass(frozen=True)
class Aggregate:
    """log odds = bias + slope . (mean or maximum of z), slope > 0."""

    model: str
    names: tuple[str, ...]
    slope: float
    bias: float

    @property
    def weights(self) -> np.ndarray | None:
        return None if self.model == "max" else np.full(len(self.names), self.slope / len(self.names))

    def logit(self, z: np.ndarray) -> np.ndarray:
        return self.bias + self.slope * pooled(self.model, z)

    def to_json(self) -> dict[str, Any]:
        return {"model": self.model, "names": list(self.names), "slope": self.slope, "bias": self.bias}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Aggregate:
        return cls(content["model"], tuple(content["names"]), float(content["slope"]), float(content["bias"]))


def fit(
    kind: str, z: np.ndarray, label: np.ndarray, names: tuple[str, ...], weight: np.ndarray | None = None
) -> Aggregate:
    """Minimises the mean log loss + 1e-3 / 2 . slope^2 over slope >= .1 and offset; arguments as of the others."""
    share, x = balanced(label, weight), pooled(kind, z)

    def objective(theta: np.ndarray) -> tuple[float, np.ndarray]:
        loss, by_margin = logistic_loss(theta[0] * x + theta[1], label, share)
        return loss + 5e-4 * theta[0] ** 2, np.array([by_margin @ x + 1e-3 * theta[0], by_margin.sum()])

    bounds = [(_LEAST_SLOPE, None), (None, None)]
    found = optimize.minimize(objective, np.array([0.5, 0.0]), jac=True, method="L-BFGS-B", bounds=bounds)
    return Aggregate(kind, names, float(found.x[0]), float(found.x[1]))

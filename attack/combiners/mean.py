"""The mean of the scaled signals: what is robust because nothing about the signals is fitted.

The columns come in units of a pile's known non-members, so their plain mean means the same under every generator. Only
the map to log odds is fitted, one slope and one offset: it cannot change a ranking.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import optimize

from attack.combiners.balance import balanced, logistic_loss

# The order is given. A slope of 0, as a few pairs of noise would have it, would lose it.
_LEAST_SLOPE = 0.1


def pooled(z: np.ndarray) -> np.ndarray:
    """Mean [...] of z [..., column]."""
    return z.sum(-1) / z.shape[-1]


@dataclass(frozen=True)
class Mean:
    """log odds = bias + slope . mean of z, slope > 0."""

    names: tuple[str, ...]
    slope: float
    bias: float

    @property
    def weights(self) -> np.ndarray | None:
        return np.full(len(self.names), self.slope / len(self.names))

    def logit(self, z: np.ndarray) -> np.ndarray:
        return self.bias + self.slope * pooled(z)

    def to_json(self) -> dict[str, Any]:
        return {"model": "mean", "names": list(self.names), "slope": self.slope, "bias": self.bias}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Mean:
        return cls(tuple(content["names"]), float(content["slope"]), float(content["bias"]))


def fit(z: np.ndarray, label: np.ndarray, names: tuple[str, ...], weight: np.ndarray | None = None) -> Mean:
    """Arguments as of the others; slope and offset as of `line`."""
    return Mean(names, *line(pooled(z), label, weight))


def line(x: np.ndarray, label: np.ndarray, weight: np.ndarray | None) -> tuple[float, float]:
    """Slope and offset of the log odds of x [pair]: minimises the mean log loss + 1e-3 / 2 . slope^2, slope >= .1."""
    share = balanced(label, weight)

    def objective(theta: np.ndarray) -> tuple[float, np.ndarray]:
        loss, by_margin = logistic_loss(theta[0] * x + theta[1], label, share)
        return loss + 5e-4 * theta[0] ** 2, np.array([by_margin @ x + 1e-3 * theta[0], by_margin.sum()])

    bounds = [(_LEAST_SLOPE, None), (None, None)]
    found = optimize.minimize(objective, np.array([0.5, 0.0]), jac=True, method="L-BFGS-B", bounds=bounds)
    return float(found.x[0]), float(found.x[1])

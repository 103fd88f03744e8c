"""Logistic regression with weights >= 0 and a pull towards equal weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import optimize

from attack.combiners.balance import balanced, logistic_loss


@dataclass(frozen=True)
class Logistic:
    """log odds = bias + weights . z, weights >= 0: no signal may count against its own meaning."""

    names: tuple[str, ...]
    weights: np.ndarray
    bias: float

    def logit(self, z: np.ndarray) -> np.ndarray:
        """Log odds [...] of z [..., column]; no matrix product, whose last bit may depend on the number of rows."""
        return self.bias + (z * self.weights).sum(-1)

    def to_json(self) -> dict[str, Any]:
        return {
            "model": "logistic",
            "names": list(self.names),
            "weights": self.weights.tolist(),
            "bias": self.bias,
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Logistic:
        return cls(tuple(content["names"]), np.array(content["weights"]), float(content["bias"]))


def fit(
    z: np.ndarray, label: np.ndarray, names: tuple[str, ...], ridge: float, weight: np.ndarray | None = None
) -> Logistic:
    """Minimises the mean log loss + ridge / 2 . (variance of the weights . columns) + 1e-3 / 2 . |weights|^2.

    A large `ridge` gives the plain mean of the signals, which carries over to generators of another kind; 0 gives the
    best fit to these shadows. z [pair, column], label 0/1 [pair], weight >= 0 [pair].
    """
    share = balanced(label, weight)
    columns = z.shape[1]

    def objective(theta: np.ndarray) -> tuple[float, np.ndarray]:
        w = theta[1:]
        loss, slope = logistic_loss(theta[0] + z @ w, label, share)
        off = w - w.mean()
        value = loss + ridge / 2 * off @ off + 5e-4 * w @ w
        return value, np.concatenate([[slope.sum()], z.T @ slope + ridge * off + 1e-3 * w])

    start = np.concatenate([[0.0], np.full(columns, 0.5 / columns)])
    bounds = [(None, None)] + [(0.0, None)] * columns
    found = optimize.minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds)
    return Logistic(names, found.x[1:], float(found.x[0]))

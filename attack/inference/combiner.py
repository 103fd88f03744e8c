"""The combiner: the calibrated signals of a pair -> its log odds of membership, by logistic regression.

It is fitted on pairs (shadow, image) whose answer is known, and its log odds of a pair depend on that pair alone.
Weights are >= 0: no signal may count against its own meaning. They are pulled towards equal weights, since those carry
over to generators of another kind. The two classes weigh one half each. Written as plain JSON, never as a pickle.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import optimize, special


@dataclass(frozen=True)
class Combiner:
    """log odds = bias + weights . z of the columns `names`, weights >= 0 [column]."""

    names: tuple[str, ...]
    weights: np.ndarray
    bias: float

    def logit(self, z: np.ndarray) -> np.ndarray:
        """Log odds [...] of z [..., column]; no matrix product, whose last bit may depend on the number of rows."""
        return self.bias + (z * self.weights).sum(-1)

    def to_json(self) -> dict[str, Any]:
        """As `model.json` holds it."""
        return {"names": list(self.names), "weights": self.weights.tolist(), "bias": self.bias}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Combiner:
        """The inverse of `to_json`."""
        return cls(tuple(content["names"]), np.array(content["weights"]), float(content["bias"]))


def fit(
    z: np.ndarray, label: np.ndarray, names: tuple[str, ...], ridge: float, weight: np.ndarray | None = None
) -> Combiner:
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
    return Combiner(names, found.x[1:], float(found.x[0]))


def balanced(label: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    """Weights of the items that sum to one half in each class, in proportion to `weight`.

    In a balanced membership matrix the share of members among the pairs left for fitting tells that of the pairs held
    out, and an intercept that followed it would flatter the estimate (the null self-test showed .53).
    """
    weight = np.ones(len(label)) if weight is None else weight.astype(np.float64)
    members = label == 1
    return np.where(members, weight / weight[members].sum(), weight / weight[~members].sum()) / 2


def logistic_loss(margin: np.ndarray, label: np.ndarray, weight: np.ndarray) -> tuple[float, np.ndarray]:
    """Weighted sum of log(1 + exp(-y margin)) over items and its derivative by the margin."""
    loss = float(weight @ (np.logaddexp(0, margin) - label * margin))
    return loss, weight * (special.expit(margin) - label)

"""The attack model: calibrated signals -> log odds of membership, and log odds -> a calibrated probability."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import optimize, special


@dataclass(frozen=True)
class Combiner:
    """log odds = bias + weights . z, weights >= 0: no signal may count against its own meaning."""

    names: tuple[str, ...]
    weights: np.ndarray
    bias: float

    def logit(self, z: np.ndarray) -> np.ndarray:
        """Log odds [...] of z [..., column]; no matrix product, whose last bit may depend on the number of rows."""
        return self.bias + (z * self.weights).sum(-1)


def _logistic_loss(margin: np.ndarray, label: np.ndarray, weight: np.ndarray) -> tuple[float, np.ndarray]:
    """Weighted sum of log(1 + exp(-y margin)) over items and its derivative by the margin."""
    loss = float(weight @ (np.logaddexp(0, margin) - label * margin))
    return loss, weight * (special.expit(margin) - label)


def balanced(label: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    """Weights of the items that sum to one half in each class, in proportion to `weight`."""
    weight = np.ones(len(label)) if weight is None else weight.astype(np.float64)
    members = label == 1
    return np.where(members, weight / weight[members].sum(), weight / weight[~members].sum()) / 2


def fit_combiner(
    z: np.ndarray, label: np.ndarray, names: tuple[str, ...], ridge: float, weight: np.ndarray | None = None
) -> Combiner:
    """Logistic regression with weights >= 0 and a pull towards equal weights.

    Minimises the mean log loss + ridge / 2 . (variance of the weights . columns) + 1e-3 / 2 . |weights|^2. A large
    `ridge` gives the plain mean of the signals, which carries over to generators of another kind; 0 gives the best
    fit to these shadows. z [pair, column], label 0/1 [pair], weight >= 0 [pair]. The classes weigh one half each:
    in a balanced membership matrix the share of members among the pairs left for fitting tells that of the pairs
    held out, and an intercept that followed it would flatter the estimate (the null self-test showed .53).
    """
    share = balanced(label, weight)
    columns = z.shape[1]

    def objective(theta: np.ndarray) -> tuple[float, np.ndarray]:
        w = theta[1:]
        loss, slope = _logistic_loss(theta[0] + z @ w, label, share)
        off = w - w.mean()
        value = loss + ridge / 2 * off @ off + 5e-4 * w @ w
        return value, np.concatenate([[slope.sum()], z.T @ slope + ridge * off + 1e-3 * w])

    start = np.concatenate([[0.0], np.full(columns, 0.5 / columns)])
    bounds = [(None, None)] + [(0.0, None)] * columns
    found = optimize.minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds)
    return Combiner(names, found.x[1:], float(found.x[0]))


@dataclass(frozen=True)
class Recalibration:
    """probability = expit(slope . logit + offset) at a prior of one half (Platt 1999), slope >= 0."""

    slope: float
    offset: float

    def logit(self, score: np.ndarray) -> np.ndarray:
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
        loss, slope = _logistic_loss(theta[0] * x + theta[1], label, share)
        return loss + 5e-4 * theta[0] ** 2, np.array([slope @ x + 1e-3 * theta[0], slope.sum()])

    found = optimize.minimize(
        objective, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B", bounds=[(0.0, None), (None, None)]
    )
    return Recalibration(float(found.x[0]) / scale, float(found.x[1]))


def to_json(combiners: list[Combiner], recalibration: Recalibration) -> dict[str, Any]:
    """The fitted attack as plain JSON, one combiner a draw of references."""
    return {
        "combiners": [{"names": list(c.names), "weights": c.weights.tolist(), "bias": c.bias} for c in combiners],
        "recalibration": {"slope": recalibration.slope, "offset": recalibration.offset},
    }


def from_json(content: dict[str, Any]) -> tuple[list[Combiner], Recalibration]:
    combiners = [Combiner(tuple(c["names"]), np.array(c["weights"]), float(c["bias"])) for c in content["combiners"]]
    return combiners, Recalibration(**content["recalibration"])

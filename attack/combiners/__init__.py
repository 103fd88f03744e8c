"""Combiners: the calibrated signals of a pair -> its log odds of membership.

A combiner is fitted on pairs (shadow, image) whose answer is known, and its log odds of a pair depend on that pair
alone. None may count a signal against its own meaning: all rise, or stay, with every column. The two classes weigh one
half each in every fit (see `balance`). Written as plain JSON, never as a pickle.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from attack.combiners import boosting, logistic, mean

MODELS = ("mean", "logistic", "boosting")  # the simplest first
AUTO = "auto"  # of the config: one of them, chosen on the shadows


class Combiner(Protocol):
    """A fitted combiner of the columns `names`."""

    @property
    def names(self) -> tuple[str, ...]: ...

    @property
    def weights(self) -> np.ndarray | None:
        """Of each column, >= 0; None where a column has no weight of its own."""
        ...

    def logit(self, z: np.ndarray) -> np.ndarray:
        """Log odds [...] of z [..., column], each row's of that row alone, to the last bit."""
        ...

    def to_json(self) -> dict[str, Any]: ...


def fit_combiner(
    z: np.ndarray,
    label: np.ndarray,
    names: tuple[str, ...],
    ridge: float,
    weight: np.ndarray | None = None,
    model: str = "logistic",
) -> Combiner:
    """The combiner `model`, of MODELS, fitted on z [pair, column], label 0/1 [pair] and weight >= 0 [pair].

    `ridge` is of the logistic model alone. Raises ValueError on another name.
    """
    if model == "logistic":
        return logistic.fit(z, label, names, ridge, weight)
    if model == "boosting":
        return boosting.fit(z, label, names, weight)
    if model == "mean":
        return mean.fit(z, label, names, weight)
    raise ValueError(f"{model!r} is no combiner: {', '.join(MODELS)}")


def from_json(content: dict[str, Any]) -> Combiner:
    """The inverse of `Combiner.to_json`."""
    if content["model"] == "logistic":
        return logistic.Logistic.from_json(content)
    if content["model"] == "boosting":
        return boosting.Boosting.from_json(content)
    return mean.Mean.from_json(content)

"""Gradient boosting on histograms (Friedman 2001, Annals of Statistics 29; Ke et al. 2017, LightGBM) with monotone
constraints: trees whose log odds never fall as a signal rises.

scikit-learn grows the trees. They are kept, written and evaluated as plain arrays, so that no pickle is needed and a
fitted attack does not depend on the version of scikit-learn that opens it.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import threadpoolctl

from attack.combiners.balance import balanced

# Shallow trees and few of them: the pairs are some hundreds, and their images repeat under every shadow.
SETTINGS: dict[str, Any] = {
    "max_iter": 20,
    "learning_rate": 0.2,
    "max_leaf_nodes": 6,
    "max_depth": 3,
    "min_samples_leaf": 20,
    "l2_regularization": 1.0,
    "max_bins": 63,
}


@dataclass(frozen=True)
class Tree:
    """Arrays [node], the root first. A node with feature -1 is a leaf of this `value`; another sends rows with
    z[feature] <= threshold to `left` and the others to `right`."""

    feature: np.ndarray
    threshold: np.ndarray
    left: np.ndarray
    right: np.ndarray
    value: np.ndarray

    def __call__(self, z: np.ndarray) -> np.ndarray:
        """Values [row] of z [row, column]."""
        node, rows = np.zeros(len(z), np.int64), np.arange(len(z))
        while True:
            feature = self.feature[node]
            inner = feature >= 0
            if not inner.any():
                return self.value[node]
            down = np.where(z[rows, feature] <= self.threshold[node], self.left[node], self.right[node])
            node = np.where(inner, down, node)


@dataclass(frozen=True)
class Boosting:
    """log odds = bias + the sum of the trees, added in their order."""

    names: tuple[str, ...]
    bias: float
    trees: tuple[Tree, ...]

    @property
    def weights(self) -> np.ndarray | None:
        return None

    def logit(self, z: np.ndarray) -> np.ndarray:
        rows = z.reshape(-1, z.shape[-1])
        total = np.full(len(rows), self.bias)
        for tree in self.trees:
            total += tree(rows)
        return total.reshape(z.shape[:-1])

    def to_json(self) -> dict[str, Any]:
        trees = [{name: values.tolist() for name, values in vars(tree).items()} for tree in self.trees]
        return {"model": "boosting", "names": list(self.names), "bias": self.bias, "trees": trees}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Boosting:
        trees = [Tree(**{name: np.array(values) for name, values in tree.items()}) for tree in content["trees"]]
        return cls(tuple(content["names"]), float(content["bias"]), tuple(trees))


@functools.cache
def _threads() -> threadpoolctl.ThreadpoolController:
    """Made after scikit-learn is loaded. One thread: the sums keep their order, and two threads on a few hundred pairs
    are slower than one, by a factor of a hundred where the cores are busy."""
    return threadpoolctl.ThreadpoolController()


def grow(z: np.ndarray, label: np.ndarray, weight: np.ndarray | None) -> Any:
    """scikit-learn's classifier fitted on z [pair, column] and label 0/1 [pair]."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    classifier = HistGradientBoostingClassifier(
        monotonic_cst=[1] * z.shape[1], early_stopping=False, random_state=0, **SETTINGS
    )
    with _threads().limit(limits=1, user_api="openmp"):
        return classifier.fit(z, label, sample_weight=balanced(label, weight) * len(label))


def fit(z: np.ndarray, label: np.ndarray, names: tuple[str, ...], weight: np.ndarray | None = None) -> Boosting:
    """Trees on z [pair, column], label 0/1 [pair], weight >= 0 [pair]."""
    grown = grow(z, label, weight)
    # no public attribute holds the trees; that ours give the same log odds to the last bit is tested
    trees = tuple(_tree(predictor.nodes) for (predictor,) in grown._predictors)
    return Boosting(names, float(grown._baseline_prediction.item()), trees)


def _tree(nodes: np.ndarray) -> Tree:
    """Of scikit-learn's record array of nodes."""
    leaf = nodes["is_leaf"].astype(bool)
    return Tree(
        np.where(leaf, -1, nodes["feature_idx"]).astype(np.int64),
        np.where(leaf, 0.0, nodes["num_threshold"]),
        np.where(leaf, 0, nodes["left"]).astype(np.int64),
        np.where(leaf, 0, nodes["right"]).astype(np.int64),
        nodes["value"].astype(np.float64),
    )

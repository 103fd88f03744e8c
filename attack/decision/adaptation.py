"""The weights of signals, moved by labelled slices of the very generator that is attacked.

What a signal is worth differs from one kind of generator to the next, and shadows know their own kind alone. Where dev
labels count as labels of the target, they correct the weights: logistic regression on the dev slices' scores on the
target's pile, with the shadows' weights as the mean of a Gaussian prior (a maximum a posteriori estimate). The prior
lets all columns of one signal move together by SIGNAL and each column on its own by COLUMN (standard deviations).

Every dev slice is scored with weights that were fitted without its fold of groups, and a candidate with the mean of
all these: neither has told anything to its own weights, so the two can be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import optimize

from attack.evidence import layout
from attack.inference.combiner import Combiner, balanced, logistic_loss

SIGNAL, COLUMN = 0.2, 0.1


def adapt(start: Combiner, z: np.ndarray, label: np.ndarray, counts: np.ndarray | None = None) -> Combiner:
    """`start` with weights moved by labelled slices: z float [slice, column], label 0/1 and counts [slice].

    Minimises the log loss of the n slices, a class weighing n / 2, + (w - w_0)^T C^-1 (w - w_0) / 2 over weights
    w >= 0 and an offset, C = SIGNAL^2 for two columns of one signal + COLUMN^2 on the diagonal. The bias stays: an
    offset of its own for each fold would tell the labels of the others. A class that is not there leaves all as it is.
    """
    counts = np.ones(len(label)) if counts is None else counts
    if min(counts[label == 1].sum(), counts[label == 0].sum()) == 0:
        return start
    share = counts.sum() * balanced(label, counts)
    precision = np.linalg.inv(covariance(start.names))

    def objective(theta: np.ndarray) -> tuple[float, np.ndarray]:
        loss, slope = logistic_loss(theta[0] + z @ theta[1:], label, share)
        pull = precision @ (theta[1:] - start.weights)
        value = loss + (theta[1:] - start.weights) @ pull / 2
        return value, np.concatenate([[slope.sum()], z.T @ slope + pull])

    bounds = [(None, None)] + [(0.0, None)] * len(start.weights)
    begin = np.concatenate([[start.bias], start.weights])
    found = optimize.minimize(objective, begin, jac=True, method="L-BFGS-B", bounds=bounds)
    return replace(start, weights=found.x[1:])


def covariance(names: Sequence[str]) -> np.ndarray:
    """Of the prior of the weights, [column, column]; `names` of the columns, `signal@embedding`."""
    signals = np.array([layout.signal_of(name) for name in names])
    return SIGNAL**2 * (signals[:, None] == signals) + COLUMN**2 * np.eye(len(names))


@dataclass(frozen=True)
class Adapted:
    """combiners [draw][fold]: moved by the dev slices outside the fold; fold: int [dev slice]."""

    combiners: tuple[tuple[Combiner, ...], ...]
    fold: np.ndarray

    def of_new(self, z: Sequence[np.ndarray]) -> np.ndarray:
        """Log odds [image] of images that no label was known of; z [image, column] for each draw of references."""
        return np.mean(
            [[one.logit(of_draw) for one in folds] for folds, of_draw in zip(self.combiners, z, strict=True)],
            axis=(0, 1),
        )

    def of_pool(self, z: Sequence[np.ndarray]) -> np.ndarray:
        """Log odds [image of the pool], dev slices first: each by the weights that know nothing of its fold."""
        found = self.of_new(z)
        for f in range(len(self.combiners[0])):
            here = np.flatnonzero(self.fold == f)
            scores = [folds[f].logit(of_draw[here]) for folds, of_draw in zip(self.combiners, z, strict=True)]
            found[here] = np.mean(scores, axis=0)
        return found

    @property
    def weights(self) -> np.ndarray:
        """Mean over draws and folds, [column]."""
        return np.mean([one.weights for folds in self.combiners for one in folds], axis=0)


def fit(fitted: Sequence[Combiner], z: Sequence[np.ndarray], label: np.ndarray, fold: np.ndarray) -> Adapted:
    """Moves the combiner of every draw of references.

    z [image of the pool, column] for each draw, on the target's pile, dev slices first; label 0/1 and fold, int [dev
    slice]; no group is in two folds.
    """
    count = len(label)
    moved = [
        tuple(adapt(start, of_draw[:count][fold != f], label[fold != f]) for f in range(int(fold.max()) + 1))
        for start, of_draw in zip(fitted, z, strict=True)
    ]
    return Adapted(tuple(moved), fold)

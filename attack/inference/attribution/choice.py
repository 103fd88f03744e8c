"""From what an image shows of every subset to a probability for each: a conditional logit (McFadden 1974).

The log odds of a subset are bias + weights . z. z are the standardised signals of the image about that subset, and the
bias is the subset's: some attract images that they did not make. Both count relative to their mean over all subsets on
the list. So it does not count how near a generator's images lie to real slices at all, which is a matter of how long it
was trained. All subsets share the weights, which are >= 0 and pulled towards equal ones, as those of the membership
question (`attack.inference.combiner`).

"None of them" is an alternative of its own, with a constant in the place of all that. It is learned from images
whose subset is taken off the list: then none of the others made them, and none of the others stands out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import optimize, special

_SMALL = 1e-9  # of a standard deviation: a column that is the same for all images says nothing


@dataclass(frozen=True, eq=False)
class Choice:
    """A fitted model. mean, scale: [subset, column] of images that were not made from the subset; weights: [column],
    >= 0; bias: [subset]; none: the log odds of "none of them" where it is as likely before looking as each subset."""

    mean: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    bias: np.ndarray
    none: float

    def log_odds(self, values: np.ndarray, hidden: np.ndarray | None = None) -> np.ndarray:
        """float64 [image, subset] of signals [image, subset, column], with mean 0 over the subsets that are on the
        list; higher: more likely made from the subset. hidden: int [image], one that is off the list and has -inf."""
        odds = self.bias + ((values - self.mean) / self.scale * self.weights).sum(-1)
        if hidden is None:
            return odds - odds.mean(1, keepdims=True)
        off = hidden[:, None] == np.arange(odds.shape[1])
        mean = np.where(off, 0.0, odds).sum(1, keepdims=True) / (odds.shape[1] - 1)
        return np.where(off, -np.inf, odds - mean)

    def probabilities(self, values: np.ndarray, none: float, hidden: np.ndarray | None = None) -> np.ndarray:
        """float64 [image, subset + 1], rows that sum to 1; the last is "none of them", whose probability before looking
        is `none`, from 0 to below 1. The subsets on the list share the rest evenly. Arguments as of `log_odds`."""
        odds = self.log_odds(values, hidden)
        listed = odds.shape[1] - (hidden is not None)
        constant = self.none + np.log(none * listed / (1 - none)) if none else -np.inf
        return special.softmax(np.column_stack([odds, np.full(len(odds), constant)]), axis=1)


def standardisation(values: np.ndarray, made_from: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(mean, scale) [subset, column] of signals [image, subset, column] of images that other subsets made: of what a
    subset shows that was not used. made_from: int [image], the subset of each."""
    subsets = range(values.shape[1])
    mean = np.stack([values[made_from != s, s].mean(0) for s in subsets])
    scale = np.stack([values[made_from != s, s].std(0) for s in subsets])
    return mean, np.where(scale > _SMALL, scale, 1.0)


def fit(values: np.ndarray, made_from: np.ndarray, ridge: float, weight: np.ndarray | None = None) -> Choice:
    """Minimises the mean log loss + ridge / 2 . (variance of the weights . columns) + 1e-3 / 2 . |weights and bias|^2.

    values: signals [image, subset, column], higher = nearer to the subset; made_from: int [image]; weight >= 0 [image].
    Every image counts twice: with all S subsets on the list, and at S / (S^2 - 1) of the weight with its own taken off.
    Then "none of them" is as likely as each subset where signals say nothing.
    """
    mean, scale = standardisation(values, made_from)
    images, subsets, columns = values.shape
    biases = np.broadcast_to(np.eye(subsets), (images, subsets, subsets))
    z = np.concatenate([(values - mean) / scale, biases], axis=2)
    own, rows = made_from, np.arange(images)
    off = own[:, None] == np.arange(subsets)
    listed = z - z.mean(1, keepdims=True)
    left = z - np.where(off[:, :, None], 0.0, z).sum(1, keepdims=True) / (subsets - 1)
    share = np.ones(images) if weight is None else np.asarray(weight, np.float64)
    hidden = subsets / (subsets**2 - 1)
    share = share / share.sum() / (1 + hidden)

    def objective(theta: np.ndarray) -> tuple[float, np.ndarray]:
        none, weights = theta[0], theta[1:]
        constant = np.full(images, none)
        odds = np.column_stack([listed @ weights, constant])
        rest = np.column_stack([np.where(off, -np.inf, left @ weights), constant])
        total, total_rest = special.logsumexp(odds, axis=1), special.logsumexp(rest, axis=1)
        loss = share @ (total - odds[rows, own] + hidden * (total_rest - none))
        slope = np.exp(odds - total[:, None])
        slope[rows, own] -= 1
        slope_rest = hidden * np.exp(rest - total_rest[:, None])
        slope_rest[:, subsets] -= hidden
        apart = np.append(weights[:columns] - weights[:columns].mean(), np.zeros(subsets))
        by_none = share @ (slope[:, subsets] + slope_rest[:, subsets])
        by_weight = np.einsum("i,is,isc->c", share, slope[:, :subsets], listed)
        by_weight += np.einsum("i,is,isc->c", share, slope_rest[:, :subsets], left)
        value = loss + ridge / 2 * apart @ apart + 5e-4 * weights @ weights
        return float(value), np.concatenate([[by_none], by_weight + ridge * apart + 1e-3 * weights])

    start = np.concatenate([[0.0], np.full(columns, 0.5 / columns), np.zeros(subsets)])
    bounds = [(None, None), *[(0.0, None)] * columns, *[(None, None)] * subsets]
    found = optimize.minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds)
    none, weights, bias = np.split(found.x, [1, 1 + columns])
    return Choice(mean, scale, weights, bias - bias.mean(), float(none[0]))

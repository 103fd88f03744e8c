"""The regression of `attack.inference.expectation` again, one pile and one column at a time, to compare with."""

from __future__ import annotations

import numpy as np
from scipy import optimize

PRIOR_IMAGES = 10  # images' worth of weight of "as the earliest references"


def fitted(own, references, known):
    """(level [column], weight [step, column]) of one pile: own [image, column], references [step, image, column].

    Least squares by rows: one for each known image, with a column of ones for the level, and one for each step that
    pulls its weight to 1 (the earliest) or 0 (others). No weight is negative.
    """
    steps, _, columns = references.shape
    first = np.eye(steps)[0]
    level, weight = np.zeros(columns), np.repeat(first[:, None], columns, 1)
    if not np.any(known):
        return level, weight
    for j in range(columns):
        seen = references[:, known, j]
        spread = np.mean([np.mean((row - np.mean(row)) ** 2) for row in seen])
        pull = np.sqrt(PRIOR_IMAGES * spread) if spread > 0 else 1.0
        images = np.column_stack([seen.T, np.ones(seen.shape[1])])
        pulls = np.column_stack([pull * np.eye(steps), np.zeros(steps)])
        wanted = np.concatenate([own[known, j], pull * first])
        limits = [0] * steps + [-np.inf], np.inf
        found = optimize.lsq_linear(np.concatenate([images, pulls]), wanted, limits, method="bvls", tol=1e-15).x
        weight[:, j], level[j] = found[:steps], found[steps]
    return level, weight


def residuals(own, references, known):
    """own [image, column] minus what is expected of each image, one at a time."""
    level, weight = fitted(own, references, known)
    result = np.zeros(own.shape)
    for i in range(own.shape[0]):
        for j in range(own.shape[1]):
            expected = level[j] + sum(weight[s, j] * references[s, i, j] for s in range(len(references)))
            result[i, j] = own[i, j] - expected
    return result


def held_out(own, references, fold, left):
    """Residuals of each image by the weights of other folds, not `left`; one level: with each fold's weights the mean
    residual of all that are not `left` is 0."""
    result = np.zeros(own.shape)
    for f in np.unique(fold):
        level, weight = fitted(own, references, (fold != f) & ~left)
        plain = own - sum(weight[s] * references[s] for s in range(len(references)))
        if not left.all():
            level = plain[~left].mean(0)
        result[fold == f] = (plain - level)[fold == f]
    return result


def means(shadow_signals, references):
    """[step, candidate, column] of references int [candidate, R], one candidate at a time."""
    return np.array(
        [[step[chosen, x].mean(0) for x, chosen in enumerate(references)] for step in shadow_signals.references]
    )

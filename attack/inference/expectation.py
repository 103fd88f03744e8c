"""What a pile would show of a slice that its generator has not seen, expected from what the shadows show of it.

Some slices lie near to any pile: what a signal shows of a slice says something only beside piles without it. A plain
difference to those takes for granted that target and shadows are alike. They are not: shadows that learned their few
slices by heart show little but those, so their piles lie near to a slice by chance, and a difference to them adds noise
(on a faintly leaking stranger an AUC of .76 without references became .73). So the expectation is a regression, over
slices of one pile, of the signal on the means of the references at every training step: their weights are what this
pile bears out. It knows no label. The analysis of covariance (Fisher 1932, Statistical Methods for Research Workers)
adjusts a comparison by a covariate in this way; its use here is this project's own.

No weight is negative: to lie nearer to piles without it cannot make a slice's expected nearness smaller. A free fit
told early and late references apart, and went astray on slices unlike those it was fitted on: candidates with relatives
in the shadows stood far above others on a pile that knew nobody.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np

PRIOR_WEIGHT = 10.0  # images' worth of weight of "as the references of the earliest step", which know no slice by heart


class Expectation(NamedTuple):
    """level [..., 1, column] and weight [step, ..., 1, column] of the references' means at each training step."""

    level: np.ndarray
    weight: np.ndarray


def fit(own: np.ndarray, references: np.ndarray, known: np.ndarray) -> Expectation:
    """Least squares over the images `known`, bool [image], of one pile, or of each of many.

    own: float64 [..., image, column], the signals of the pile; references: float64 [step, ..., image, column], the
    means of the references, the earliest training step first. Minimises the squared error + the penalty |weight -
    first|^2 over weights >= 0, with `first` = 1 for the earliest step and 0 for others. The penalty weighs as much as
    PRIOR_WEIGHT images (their mean square of a reference). Where no image is known the weights are `first`, and the
    level is 0.
    """
    if not known.any():
        first = np.zeros((len(references), *own.shape[:-2], 1, own.shape[-1]))
        first[0] = 1
        return Expectation(np.zeros(first.shape[1:]), first)
    y, x = own[..., known, :], references[..., known, :]
    level, levels = y.mean(-2, keepdims=True), x.mean(-2, keepdims=True)
    x = np.moveaxis(x - levels, (0, -2), (-1, -2))  # [..., column, image, step]: below a small system for each column
    first = np.eye(x.shape[-1])[0]
    square = x.swapaxes(-1, -2) @ x
    size = np.trace(square, axis1=-2, axis2=-1)[..., None, None] / x.shape[-1] / x.shape[-2]
    # where references are the same for all images, up to rounding, there is no weight to be fitted
    alike = size <= np.moveaxis(1e-20 * (1 + levels**2).max(0), -1, -2)[..., None]
    penalty = np.where(alike, 1.0, PRIOR_WEIGHT * size)
    inner = (x.swapaxes(-1, -2) @ np.moveaxis(y - level, -2, -1)[..., None])[..., 0]
    found = _not_negative(square + penalty * np.eye(x.shape[-1]), inner + penalty[..., 0] * first)
    weight = np.moveaxis(found, -1, 0)[..., None, :]
    return Expectation(level - (weight * levels).sum(0), weight)


def _not_negative(square: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """The minimum of w^T square w / 2 - inner^T w over w >= 0, [..., step], of each system alone, to the last bit.

    Where the free minimum has a negative weight, that of every set of weights is tried whose others are 0: there are
    few steps (Lawson and Hanson 1974, Solving Least Squares Problems, for what holds at the minimum).
    """
    found = np.linalg.solve(square, inner[..., None])[..., 0]
    astray = (found < 0).any(-1)
    if not astray.any():
        return found
    matrix, vector = square[astray], inner[astray]
    best, least = np.zeros(vector.shape), np.zeros(len(vector))
    steps = range(vector.shape[-1])
    for some in itertools.chain.from_iterable(itertools.combinations(steps, n) for n in steps[1:]):
        kept = list(some)
        tried = np.linalg.solve(matrix[:, kept][..., kept], vector[:, kept, None])[..., 0]
        value = -(tried * vector[:, kept]).sum(-1) / 2  # of the objective, where it has its minimum
        better = (tried >= 0).all(-1) & (value < least)
        best[better], least[better] = 0, value[better]
        best[np.ix_(better, kept)] = tried[better]
    found[astray] = best
    return found


def level_with(weight: np.ndarray, own: np.ndarray, references: np.ndarray, known: np.ndarray) -> Expectation:
    """The weights [step, ..., 1, column] with the level at which the images `known` have a mean residual of 0."""
    level = own[..., known, :].mean(-2, keepdims=True)
    for one, mean in zip(weight, references[..., known, :].mean(-2, keepdims=True), strict=True):
        level = level - one * mean
    return Expectation(level, weight)


def residual(own: np.ndarray, references: np.ndarray, expected: Expectation) -> np.ndarray:
    """own - expectation, float64 [..., image, column]: higher = more likely a member. Each image's of that image alone.

    Shapes as of `fit`, of any images.
    """
    found = own - expected.level
    for weight, mean in zip(expected.weight, references, strict=True):  # a sum over steps may round by the other axes
        found = found - weight * mean
    return found

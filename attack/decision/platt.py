"""Probabilities and the threshold of `used`, set on labelled dev slices of the very generator that is attacked.

Shadows say what a score means for a generator like them. A target that holds more slices for each generated image than
they do gives every member away less, and the same score then means more (docs/results.md). Where the user says that the
labelled dev slices were in (and out of) the training set of that generator, their scores on its pile show it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from attack.inference import crossfit
from attack.inference.combiner import balanced
from attack.inference.model import Recalibration, fit_platt

SHADOWS_WORTH = 10.0  # dev slices that all pairs of the shadows together count for
_LEAST_ALLOWED = 2  # a threshold that the single highest slice decides is not taken from the dev slices


@dataclass(frozen=True)
class Labels:
    """Scored dev slices: log odds, 1 = used, and group number, all [dev slice]. Each score is of an attack that was
    fitted without the slice's group (`target.score_pools`)."""

    score: np.ndarray
    label: np.ndarray
    group: np.ndarray


@dataclass(frozen=True)
class ShadowPairs:
    """The shadows' held-out log odds and answers, flat [pair]."""

    score: np.ndarray
    label: np.ndarray


def fit(
    dev: Labels, shadows: ShadowPairs, counts: np.ndarray | None = None, pairs: np.ndarray | None = None
) -> Recalibration:
    """Platt's map (slope >= 0) on the dev slices, drawn towards the shadows' own.

    The shadows' pairs enter as `SHADOWS_WORTH` further slices, half of them members: so with no dev slice it is the
    shadows' map and with many it is that of the dev slices, whatever the unit of the scores. The n dev slices weigh n
    in all, one half each class, as everywhere (the prior is added later). `counts` [dev slice] and `pairs` [pair] count
    them (bootstrap); a class of dev slices that is not there leaves the shadows' map.
    """
    label = np.concatenate([dev.label, shadows.label]).astype(float)
    prior = SHADOWS_WORTH * balanced(shadows.label, pairs)
    counts = np.ones(len(dev.label)) if counts is None else counts
    own = np.zeros(len(dev.label))
    if min(counts[dev.label == 1].sum(), counts[dev.label == 0].sum()) > 0:
        own = counts.sum() * balanced(dev.label, counts)
    weight, score = np.concatenate([own, prior]), np.concatenate([dev.score, shadows.score])
    there = weight > 0
    return fit_platt(score[there], label[there], weight[there] / weight.sum())


def cross_validated(dev: Labels, shadows: ShadowPairs, folds: int, seed: int) -> np.ndarray:
    """Recalibrated log odds [dev slice] at a prior of one half, each by a map fitted without the slice's fold of
    groups; the folds are those of `crossfit.folds`. The shadows' pairs are in every map: no dev label is in them."""
    fold = crossfit.folds(dev.group, folds, seed)[dev.group]
    found = np.zeros(len(dev.score))
    for f in range(fold.max() + 1):
        out = fold == f
        found[out] = fit(Labels(dev.score[~out], dev.label[~out], dev.group[~out]), shadows).logit(dev.score[out])
    return found


def threshold(score: np.ndarray, share: float) -> float | None:
    """The lowest threshold such that a new slice like those of `score` [slice] is flagged (score >= threshold) with a
    chance of at most `share`; None where they are too few to say.

    A step rule: of n slices and one more, all orders equally likely, the new one is above the m-th smallest with a
    chance of at most (n + 1 - m) / (n + 1), so m = ceil((1 - share)(n + 1)) (split conformal prediction; Vovk,
    Gammerman and Shafer 2005). It flags floor(share (n + 1)) - 1 of the n themselves; enough means that this is 1 or
    more, at a share of 10 % from 19 slices on. Slices of one patient are taken for independent.
    """
    allowed = _allowed(len(score), share)
    if allowed is None:
        return None
    return float(np.nextafter(np.sort(score)[len(score) - allowed], np.inf))


def fpr_distribution(count: int, share: float) -> tuple[int, int] | None:
    """a, b of the Beta distribution of the chance, in [0, 1], that `threshold` of `count` slices flags a new one; None
    where there is no threshold.

    `share` bounds this chance on average over all sets of `count` slices; the set at hand may be a lucky one. What lies
    above the k-th smallest of n independent slices has a chance of Beta(n + 1 - k, k) (Vovk 2012, "Conditional validity
    of inductive conformal predictors"). With ties it flags less; slices of one patient make it wider than this.
    """
    allowed = _allowed(count, share)
    return None if allowed is None else (allowed, count + 1 - allowed)


def fpr_interval(count: int, share: float, level: float = 0.95) -> tuple[float, float] | None:
    """Equal-tailed limits, in [0, 1], of the chance of `fpr_distribution`, which lies between them with probability
    `level`."""
    found = fpr_distribution(count, share)
    if found is None:
        return None
    low, high = stats.beta.ppf([(1 - level) / 2, (1 + level) / 2], *found)
    return float(low), float(high)


def _allowed(count: int, share: float) -> int | None:
    """How many of `count` slices and a new one may be flagged, if each is as likely to be the new one; None where these
    are too few for a threshold."""
    allowed = math.floor(round(share * (count + 1), 9))  # 0.29 x 100 is 28.999999999999996 in floats
    return None if allowed < _LEAST_ALLOWED else allowed

"""Figures of held-out pairs whose map and threshold were set on other pairs.

The attack's scores of the shadows' pairs are held out (`crossfit`). But the map to probabilities and the thresholds are
set on all these pairs, and judged on the same pairs they would confirm themselves. So here those of a pair know neither
its shadow nor its group: what they do to it is what they do to a generator and to patients that nobody has seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from attack import metrics
from attack.inference import crossfit
from attack.inference.model import fit_recalibration
from attack.metrics import ranking
from attack.metrics.roc_curve import OperatingPoint
from shadow import keys

LOTS = 16  # of shadows; of up to as many shadows each is a lot of its own


@dataclass(frozen=True)
class Split:
    """How pairs are split: lot int [shadow], and fold and group number int [slice]; a group lies in one fold."""

    lot: np.ndarray
    fold: np.ndarray
    group: np.ndarray

    def each(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(fit, judge), bool masks [shadow, slice]: a lot and a fold to judge, and the pairs of neither of them."""
        for lot in np.unique(self.lot):
            for fold in np.unique(self.fold):
                mine, here = self.lot[:, None] == lot, self.fold[None] == fold
                yield ~mine & ~here, mine & here

    @property
    def groups(self) -> np.ndarray:
        """Group number of each pair, int [shadow, slice]."""
        return np.broadcast_to(self.group, (len(self.lot), len(self.group)))

    @property
    def shadows(self) -> np.ndarray:
        """Number of the shadow of each pair, int [shadow, slice]."""
        return np.broadcast_to(np.arange(len(self.lot))[:, None], (len(self.lot), len(self.group)))


def split(shadows: int, group: np.ndarray, folds: int, seed: int) -> Split:
    """`shadows` in at most `LOTS` lots, at random, and slices in the folds of groups that the attack has
    (`crossfit.folds`); group int [slice]."""
    lot = keys.generator(seed, "held-out/lots").permutation(shadows) % min(LOTS, shadows)
    return Split(lot, crossfit.folds(group, folds, seed)[group], np.asarray(group))


def probability(logit: np.ndarray, member: np.ndarray, parts: Split, prior: float) -> np.ndarray:
    """Probability at `prior` of each pair, float [shadow, slice] in [0, 1], by a map fitted without its lot and fold.

    logit: held-out log odds, member: bool, both [shadow, slice]. ValueError where the other pairs lack a class.
    """
    found = np.zeros(logit.shape)
    for fit, judge in parts.each():
        label = ranking.check_labels(member[fit])
        found[judge] = fit_recalibration(logit[fit], label.astype(float)).probability(logit[judge], prior)
    return found


def operating_point(logit: np.ndarray, member: np.ndarray, parts: Split, fpr: float) -> OperatingPoint:
    """TPR and realised FPR of thresholds that were set for the rate `fpr` without the pair's lot and fold.

    logit and member as in `probability`. The intervals allow for pairs that share a shadow or a patient. ValueError as
    `metrics.held_out_point`.
    """
    return metrics.held_out_point(
        logit.ravel(),
        member.ravel().astype(int),
        fpr,
        ((fit.ravel(), judge.ravel()) for fit, judge in parts.each()),
        groups=parts.groups.ravel(),
        across=parts.shadows.ravel(),
    )

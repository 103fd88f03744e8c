"""Probabilities of a run without shadows, from dev slices whose labels speak of the generator under test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import optimize, special, stats

from attack.baselines.alone import choice
from attack.baselines.alone.choice import Worth
from attack.inference.combiner import balanced, logistic_loss
from attack.inference.model import Recalibration, fit_platt


@dataclass(frozen=True)
class Map:
    """Score -> log odds of membership at a prior of one half. A higher score never has lower odds.

    knots: float [knot], the scores of the dev slices, each once, rising; normal: float [knot], their normal scores;
    platt: the map of normal scores to log odds.
    """

    knots: np.ndarray
    normal: np.ndarray
    platt: Recalibration

    def logit(self, score: np.ndarray) -> np.ndarray:
        """Log odds [slice] of scores [slice]; a score beyond those of all dev slices has the odds of the last one."""
        return self.platt.logit(np.interp(score, self.knots, self.normal))


def fit(score: np.ndarray, label: np.ndarray) -> Map:
    """Fits Platt's map (1999), slope 0 or more, on scores [slice] and labels 0/1 [slice], both present.

    Scores become normal scores first, the normal quantile of rank / (n + 1) (van der Waerden 1952): so units do not
    matter, and a single far score has no leverage. Labels are (m + 1) / (m + 2) and 1 / (m + 2) instead of 1 and 0, m
    the slices of the smaller class (Platt has each class's own number): so the odds stay finite where the classes do
    not overlap, and say nothing of how many slices each has. Each class weighs one half.
    """
    rank = stats.rankdata(score)  # ties: the mean of their ranks
    knots, first = np.unique(score, return_index=True)
    normal = stats.norm.ppf(rank / (len(score) + 1))
    least = min(int(label.sum()), int((label == 0).sum()))
    soft = np.where(label == 1, least + 1, 1) / (least + 2)
    return Map(knots, normal[first], fit_platt(normal, soft, balanced(label)))


def held_out(
    scores: Mapping[str, np.ndarray], label: np.ndarray, group: np.ndarray, folds: int, seed: int
) -> np.ndarray:
    """Log odds [slice], each by a baseline picked and a map fitted on the other folds of groups.

    scores: [slice] by baseline; label: 0/1 [slice]; group: int [slice]. NaN where the other folds hold one class only.
    """
    result = np.full(len(label), np.nan)
    for here, rest, name in choice.turns(scores, label, group, folds, seed):
        result[here] = fit(scores[name][rest], label[rest]).logit(scores[name][here])
    return result


def strength(logit: np.ndarray, label: np.ndarray) -> float:
    """The factor in [0, 1] of held-out log odds [slice] with the lowest log loss on labels 0/1 [slice].

    Each class weighs one half. 0: the log odds say nothing; 1: they are not too far from 0.
    """
    weight = balanced(label)
    found = optimize.minimize_scalar(
        lambda factor: logistic_loss(factor * logit, label, weight)[0], bounds=(0, 1), method="bounded"
    )
    return float(found.x)


@dataclass(frozen=True)
class Calibrated:
    """The baseline that was picked, and its probabilities.

    strength: factor of the log odds, in [0, 1], 0 where the interval of `worth` does not lie above one half.
    """

    name: str
    map: Map
    strength: float
    worth: Worth

    def probability(self, score: np.ndarray, prior: float) -> np.ndarray:
        """Probability of membership in (0, 1), [slice], of scores [slice], if a share `prior` of the slices is used."""
        return np.asarray(special.expit(self.strength * self.map.logit(score) + special.logit(prior)))


def calibrate(
    scores: Mapping[str, np.ndarray], label: np.ndarray, group: np.ndarray, folds: int, seed: int
) -> Calibrated:
    """Picks the baseline that is best on labelled slices, and maps its scores to probabilities.

    scores: [slice] by baseline; label: 0/1 [slice], both present; group: int [slice], the patients. The best of many
    looks better than it is, and its odds are too far from one. So picking and fitting are repeated without each fold of
    groups, and the odds of the slices left out say by how much all log odds are drawn to 0 (`strength`). Where the 95 %
    interval of the AUC of these slices is not above one half, or there are none, every probability is the prior.
    """
    name = choice.best(scores, label)
    found = fit(scores[name], label)
    worth = choice.worth(scores, label, group, folds, seed)
    drawn = 0.0
    if worth.interval and worth.interval[0] > 0.5:
        logit = held_out(scores, label, group, folds, seed)
        kept = np.isfinite(logit)
        drawn = strength(logit[kept], label[kept])
    return Calibrated(name, found, drawn, worth)

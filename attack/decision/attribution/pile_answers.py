"""From the probabilities of single images to an answer about a whole pile.

Images of a pile are no independent witnesses: many show the same training slice, and all come from one generator. So
images that lie nearest to slices of one patient or cluster are one unit. A unit counts once, with the mean of its
images, and intervals draw units anew. What all units together may say is bounded by how shadows fared: see `fit`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from attack.inference.attribution.by_shadow import Lessons

_DOUBT = 0.01  # share of images that may be of anything, whatever their probabilities say
_TEMPERS = np.concatenate([[0.0], np.geomspace(1e-4, 1.0, 200)])
_ROUNDS = 500  # of the shares' iteration, at most


@dataclass(frozen=True, eq=False)
class Votes:
    """What the images of one pile say. probability: float64 [image, answer], the answers being the subsets and then
    "none of them"; unit: int [image], numbers from 0."""

    probability: np.ndarray
    unit: np.ndarray

    @property
    def units(self) -> int:
        """How many units there are."""
        return int(self.unit.max()) + 1

    def weights(self, counts: np.ndarray | None = None) -> np.ndarray:
        """Of each image, float64 [image], where each unit counts `counts` [unit] times, or once."""
        size = np.bincount(self.unit, minlength=self.units)
        each = np.ones(self.units) if counts is None else counts
        return (each / size)[self.unit]


def prior_of(subsets: int, none: float) -> np.ndarray:
    """float64 [answer]: the probability of each answer before looking."""
    return np.append(np.full(subsets, (1 - none) / subsets), none)


def evidence(votes: Votes, prior: np.ndarray, counts: np.ndarray | None = None) -> np.ndarray:
    """Log likelihood ratio of each answer, float64 [answer]: the sum over units of the mean log of probability over
    prior; higher: more likely. -inf for an answer that has no prior."""
    mixed = (1 - _DOUBT) * votes.probability + _DOUBT * prior
    possible = prior > 0
    result = np.full(len(prior), -np.inf)
    result[possible] = votes.weights(counts) @ np.log(mixed[:, possible] / prior[possible])
    return result


def whole(found: np.ndarray, prior: np.ndarray, temper: float) -> np.ndarray:
    """Probability of each answer, float64 [answer], if all images of the pile have the same. found: as `evidence`;
    temper: the share of it that counts, 0 to 1."""
    possible = prior > 0
    odds = np.full(len(prior), -np.inf)
    odds[possible] = np.log(prior[possible]) + temper * found[possible]
    return special.softmax(odds)


def shares(votes: Votes, prior: np.ndarray, counts: np.ndarray | None = None) -> np.ndarray:
    """Share of the pile's images that each answer has, float64 [answer], by the EM algorithm for changed priors
    (Saerens, Latinne and Decaestecker 2002). One more unit that says nothing keeps shares off 0 and 1."""
    possible = prior > 0
    ratio = np.where(possible, votes.probability / np.where(possible, prior, 1.0), 0.0)
    weight = votes.weights(counts) if counts is not None else votes.weights()
    size = np.bincount(votes.unit, minlength=votes.units)
    weight = weight * size[votes.unit]  # an image counts once
    mean_unit = len(votes.unit) / votes.units
    share = prior.copy()
    for _ in range(_ROUNDS):
        each = share * ratio
        each /= each.sum(1, keepdims=True)
        before, share = share, (weight @ each + mean_unit * prior) / (weight.sum() + mean_unit)
        if np.abs(share - before).max() < 1e-7:
            break
    return share


def fit(known: Lessons, listed: np.ndarray, hidden: np.ndarray, unit: np.ndarray, none: float) -> float:
    """The share of a pile's evidence that counts, 0 to 1: the one that makes held-out shadows' piles most likely.

    Of N such piles that are all judged right, none can show that fewer than 1 in N + 2 is judged wrong. So the right
    answer is asked for with (N + 1) / (N + 2), and the rest is shared by the others (after Platt 1999). listed, hidden:
    as `by_shadow.held_out`, and what is hidden has the answer "none of them"; unit: int [image], of all shadows.
    """
    subsets = listed.shape[1] - 1
    piles: list[tuple[np.ndarray, np.ndarray, int]] = []
    for number in range(len(known.fold)):
        here = known.shadow == number
        own = int(known.made_from[here][0])
        votes = Votes(listed[here], numbered(unit[here]))
        prior = prior_of(subsets, none)
        piles.append((evidence(votes, prior), prior, own))
        left = np.full(subsets + 1, 1 / subsets)
        left[own] = 0.0
        piles.append((evidence(Votes(hidden[here], votes.unit), left), left, subsets))
    right = (len(known.fold) + 1) / (len(known.fold) + 2)

    def loss(temper: float) -> float:
        total = 0.0
        for found, prior, answer in piles:
            stated = whole(found, prior, temper)
            others = (prior > 0) & (np.arange(len(prior)) != answer)
            wanted = np.where(others, (1 - right) / others.sum(), 0.0)
            wanted[answer] = right
            total -= float(special.xlogy(wanted, np.maximum(stated, 1e-300)).sum())
        return total

    return float(min(_TEMPERS, key=loss))


def numbered(names: np.ndarray) -> np.ndarray:
    """The same units with numbers from 0 on, int [image]."""
    return np.unique(names, return_inverse=True)[1]

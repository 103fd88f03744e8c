"""Shadow calibration: every signal relative to piles without the candidate, in units of the pile's known non-members.

For a pile P and a candidate x: r = s(x, P) minus what is expected of x (`expectation`) from the mean of s over R
references at every training step. References are drawn among shadows that do not hold x (whether they hold other slices
of its patient or not, as the pile asked about may: a reference without them would take every relative of a member for a
member). Then z = (r - mean) / sd, mean and sd over images known not to be in P's training set. So z of a non-member has
mean 0 and sd 1 under every generator, whatever its architecture. Two rules keep the estimate from flattering itself. A
pile is never its own reference, and members, non-members and test candidates get the same number R of references. And
the mean and sd of a pile are the same for all its candidates: an affine map cannot change how one signal ranks them.
(To leave a non-member out of its own mean, as one might, breaks ties in favour of members, whose value is in no mean:
the null self-test then shows an AUC of .535.)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from attack.inference import expectation
from attack.inference.expectation import Expectation
from attack.inference.reference_choice import choose_references, first, ranked_references, reference_means
from attack.inference.shadow_signals import ShadowSignals

_PRIOR_WEIGHT = 10.0  # images' worth of weight of the sd pooled over piles, in the sd of one pile
_CLIP = 8.0  # of z: beyond, it says no more about membership, only about one pair of images


@dataclass(frozen=True)
class Relative:
    """Piles beside their references: own float64 [..., candidate, column], and the `reference_means` of each, float64
    [step, ..., candidate, column]."""

    own: np.ndarray
    means: np.ndarray

    def expected(self, left: np.ndarray) -> Expectation:
        """Of each pile, fitted without the candidates `left`, bool [candidate]."""
        return expectation.fit(self.own, self.means, ~left)

    def residuals(self, expected: Expectation) -> np.ndarray:
        """float64 [..., candidate, column]."""
        return expectation.residual(self.own, self.means, expected)

    def outside(self, left: np.ndarray) -> np.ndarray:
        """Residuals of all, with expectations that know nothing of the candidates `left`, bool [candidate]."""
        return self.residuals(self.expected(left))

    def held_out(self, fold: np.ndarray, left: np.ndarray) -> np.ndarray:
        """Residuals of all, each by weights that know nothing of the candidate's fold, int [candidate], nor of the
        candidates `left`, bool [candidate]: it is as new to them as one that was never in the pool.

        The level is that of all candidates but `left`, one for all folds. Without its own fold, that of a non-member
        would hold more members than that of a candidate who is not in the pool, and non-members would seem to lie
        lower.
        """
        found = np.empty(self.own.shape)
        for f in range(fold.max() + 1):
            here = fold == f
            expected = self.expected(left | here)
            if not left.all():
                expected = expectation.level_with(expected.weight, self.own, self.means, ~left)
            found[..., here, :] = self.residuals(expected)[..., here, :]
        return found

    @property
    def value(self) -> np.ndarray:
        """Residuals of all, with expectations that know them all."""
        return self.outside(np.zeros(self.own.shape[-2], bool))


def relative(
    shadow_signals: ShadowSignals, piles: Sequence[np.ndarray] | np.ndarray, order: np.ndarray, count: int
) -> Relative:
    """`piles`, each [candidate, column], of none of these shadows: own [pile, candidate, column]. `order`
    [candidate, shadow]: see `priorities`. Raises ValueError as `choose_references` does."""
    means = reference_means(shadow_signals, choose_references(shadow_signals, order, count))
    own = np.asarray(piles, np.float64)
    return Relative(own, np.broadcast_to(means[:, None], (len(means), *own.shape)))


@dataclass(frozen=True)
class ShadowResiduals(Relative):
    """Every shadow's own pile beside others: own [shadow, candidate, column]. references: int [shadow, candidate, R],
    never the shadow itself, and ranked, see `ranked_references`."""

    shadow_signals: ShadowSignals
    ranked: np.ndarray
    references: np.ndarray

    def without(self, held_out: int) -> ShadowResiduals:
        """The same with `held_out` among no references. Only pairs that had it are worked out anew: in a large fleet
        they are few, and to hold out every shadow in turn would else take the square of their number."""
        means, references = self.means.copy(), self.references.copy()
        count = references.shape[-1]
        for k in range(len(self.own)):
            columns = np.flatnonzero((references[k] == held_out).any(1))
            if len(columns):
                references[k, columns] = first(self.ranked[columns], count, (k, held_out))
                means[:, k, columns] = reference_means(self.shadow_signals, references[k, columns], columns)
        return dataclasses.replace(self, means=means, references=references)


def shadow_residuals(shadow_signals: ShadowSignals, order: np.ndarray, count: int) -> ShadowResiduals:
    """`order` [candidate, shadow]: see `priorities`. Raises ValueError as `choose_references` does."""
    ranked = ranked_references(shadow_signals.no_reference, order)
    references = np.stack([first(ranked, count, (k,)) for k in range(len(shadow_signals.values))])
    means = np.stack([reference_means(shadow_signals, chosen) for chosen in references], axis=1)
    return ShadowResiduals(shadow_signals.values, means, shadow_signals, ranked, references)


@dataclass(frozen=True)
class Nulls:
    """Sums over known non-members of one pile, by group: count [group], total and square [group, column]."""

    count: np.ndarray
    total: np.ndarray
    square: np.ndarray

    def without(self, groups: np.ndarray) -> Nulls:
        """Groups (bool mask) left out."""
        keep = ~groups
        return Nulls(self.count * keep, self.total * keep[:, None], self.square * keep[:, None])


def null_sums(residual: np.ndarray, null: np.ndarray, group: np.ndarray, groups: int) -> Nulls:
    """Sums by group of residuals [candidate, column] of the non-members `null` bool [candidate]."""
    count = np.zeros(groups)
    total, square = np.zeros((2, groups, residual.shape[1]))
    np.add.at(count, group[null], 1)
    np.add.at(total, group[null], residual[null])
    np.add.at(square, group[null], residual[null] ** 2)
    return Nulls(count, total, square)


def presumed_nulls(residual: np.ndarray, shadows: np.ndarray, null: np.ndarray, pooled: np.ndarray) -> Nulls:
    """Stands in for `null_sums` where no slice is known not to be in the pile's training set: from the median and the
    median absolute deviation of residual [candidate, column], which a minority of members moves little.

    shadows [shadow, candidate, column] with their known non-members null bool [shadow, candidate]: they tell how the
    mean and the standard deviation of non-members lie to the median and the deviation. Where a deviation is 0 (counts
    with many ties), the variance `pooled` [column] over the shadows' piles stands in.
    """
    centre = np.median(residual, axis=0)
    deviation = np.median(np.abs(residual - centre), axis=0)
    shift, ratio, usable = np.zeros(len(centre)), np.zeros(len(centre)), deviation > 0
    for values, outside in zip(shadows, null, strict=True):
        kept = values[outside]
        middle, mean, spread = np.median(kept, axis=0), kept.mean(0), np.maximum(kept.std(0), 1e-3)
        other = np.median(np.abs(kept - middle), axis=0)
        shift += (mean - middle) / spread / len(shadows)
        ratio += np.divide(spread, other, out=np.zeros(len(centre)), where=other > 0) / len(shadows)
        usable = usable & (other > 0)
    spread = np.where(usable, ratio * deviation, np.sqrt(pooled))
    mean, count = centre + shift * spread, float(len(residual))
    return Nulls(np.array([count]), count * mean[None], count * (spread**2 + mean**2)[None])


def pooled_variance(nulls: Sequence[Nulls]) -> np.ndarray:
    """Variance of non-members' residuals within piles, pooled over piles: [column]."""
    inside = sum(n.square.sum(0) - n.total.sum(0) ** 2 / max(n.count.sum(), 1) for n in nulls)
    freedom = sum(max(n.count.sum() - 1, 0) for n in nulls)
    return np.maximum(inside / max(freedom, 1), 1e-6)


def standardise(residual: np.ndarray, nulls: Nulls, pooled: np.ndarray) -> np.ndarray:
    """z [candidate, column] of residuals of one pile; its variance is shrunk towards `pooled` [column]."""
    count = max(nulls.count.sum(), 1.0)
    mean = nulls.total.sum(0) / count
    inside = np.maximum(nulls.square.sum(0) - count * mean**2, 0)
    variance = (inside + _PRIOR_WEIGHT * pooled) / (count + _PRIOR_WEIGHT)
    return np.clip((residual - mean) / np.sqrt(variance), -_CLIP, _CLIP)

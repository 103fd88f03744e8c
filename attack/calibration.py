"""Shadow calibration: every signal relative to piles without the candidate, in units of the pile's known non-members.

For a pile P and a candidate x: r = s(x, P) relative to R references, drawn among shadows that hold neither x nor (as
far as possible) anything of its group; then z = (r - mean) / sd, mean and sd over images known not to be in P's
training set. So z of a non-member has mean 0 and sd 1 under every generator, whatever its architecture. Two rules
keep the estimate from flattering itself. A pile is never its own reference, and members, non-members and test
candidates get the same number R of references. And the mean and sd of a pile are the same for all its candidates: an
affine map cannot change how one signal ranks them. (To leave a non-member out of its own mean, as one might, breaks
ties in favour of members, whose value is in no mean: the null self-test then shows an AUC of .535.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from attack.signals import SIGNALS, Evidence
from attack.signals.evidence import unpack
from shadow import keys

_PRIOR_WEIGHT = 10.0  # images' worth of weight of the sd pooled over piles, in the sd of one pile
_CLIP = 8.0  # of z: beyond, it says no more about membership, only about one pair of images


@dataclass(frozen=True)
class Bank:
    """The shadows' evidence about all candidates.

    values: float32 [shadow, candidate, embedding, evidence]; member: bool [shadow, candidate], True where the shadow
    holds the candidate; touched: bool [shadow, candidate], True where it holds anything of the candidate's group.
    """

    values: np.ndarray
    member: np.ndarray
    touched: np.ndarray
    embeddings: tuple[str, ...]
    signals: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        """Columns of z."""
        return [f"{c}@{e}" for e in self.embeddings for s in self.signals for c in SIGNALS[s].columns]


def reference_count(shadows: int, most: int) -> int:
    """R: what every pair can have when itself and one held-out shadow stand aside (half of the shadows hold x)."""
    return max(1, min(most, shadows // 2 - 2))


def priorities(ids: Sequence[str], shadows: int, seed: int, draw: int) -> np.ndarray:
    """Random order of the shadows as references, float [candidate, shadow] in [0, 1): a function of the id alone."""
    return np.stack([keys.generator(seed, "references", draw, name).random(shadows) for name in ids])


def choose_references(bank: Bank, order: np.ndarray, count: int, banned: np.ndarray) -> np.ndarray:
    """Indices of the references, int [candidate, count].

    `order` [candidate, shadow]: see `priorities`; `banned` bool [shadow]. Shadows that hold the candidate are never
    taken; those that hold its neighbours only where there are too few others. Raises ValueError where fewer than
    `count` do not hold the candidate.
    """
    cost = order + bank.touched.T  # neighbours last
    cost = np.where(bank.member.T | banned[None], np.inf, cost)
    chosen = np.argsort(cost, axis=1, kind="stable")[:, :count]
    if count and not np.isfinite(np.take_along_axis(cost, chosen, 1)).all():
        raise ValueError("too few shadows without the candidate")
    return chosen


def residuals(bank: Bank, own: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Signals relative to the references: float64 [candidate, column].

    own: [candidate, embedding, evidence] of the pile asked about; references: int [candidate, R] into the bank.
    """
    columns = np.arange(references.shape[0])[:, None]
    result = []
    for e in range(len(bank.embeddings)):
        mine = unpack(own[:, e])
        theirs: Evidence = unpack(bank.values[references, columns, e])
        result += [SIGNALS[s].calibrated(mine, theirs) for s in bank.signals]
    return np.concatenate(result, axis=-1)


def shadow_residuals(bank: Bank, order: np.ndarray, count: int, held_out: int | None) -> np.ndarray:
    """Residuals float64 [shadow, candidate, column] of every shadow's own pile, itself and `held_out` never among
    the references."""
    shadows = len(bank.values)
    result = []
    for k in range(shadows):
        banned = np.zeros(shadows, bool)
        banned[[k] if held_out is None else [k, held_out]] = True
        result.append(residuals(bank, bank.values[k], choose_references(bank, order, count, banned)))
    return np.stack(result)


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

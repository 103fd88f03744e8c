"""Shadow calibration: every signal relative to piles without the candidate, in units of the pile's known non-members.

For a pile P and a candidate x: r = s(x, P) relative to R references, drawn among shadows that do not hold x (whether
they hold other slices of its patient or not, as the pile asked about may: a reference without them would take every
relative of a member for a member); then z = (r - mean) / sd, mean and sd over images known not to be in P's
training set. So z of a non-member has mean 0 and sd 1 under every generator, whatever its architecture. Two rules
keep the estimate from flattering itself. A pile is never its own reference, and members, non-members and test
candidates get the same number R of references. And the mean and sd of a pile are the same for all its candidates: an
affine map cannot change how one signal ranks them. (To leave a non-member out of its own mean, as one might, breaks
ties in favour of members, whose value is in no mean: the null self-test then shows an AUC of .535.)

With a `ratio` r is not the difference itself but a likelihood ratio made of it (`likelihood`), whose prior is fitted on
the shadows' pool.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from attack import likelihood
from attack.layout import Layout
from attack.signals import SIGNALS
from shadow import keys
from shadow.errors import UserError

_PRIOR_WEIGHT = 10.0  # images' worth of weight of the sd pooled over piles, in the sd of one pile
_CLIP = 8.0  # of z: beyond, it says no more about membership, only about one pair of images
ASIDE = 2  # shadows that are no reference of a pair: the one asked about and the one held out
LEAST_SHADOWS = 6


@dataclass(frozen=True)
class Bank:
    """The shadows' evidence about all candidates.

    values: float32 [shadow, candidate, number], numbers as in `layout`; member: bool [shadow, candidate], True where
    the shadow holds the candidate; touched: bool [shadow, candidate], True where it holds anything of the candidate's
    group. ratio: attack.ratio, what is made of the difference to the references. whole: a pile's unit is the mean and
    spread of all images that the shadows were drawn from, not of its known non-members.
    """

    values: np.ndarray
    member: np.ndarray
    touched: np.ndarray
    layout: Layout
    ratio: str = likelihood.NONE
    whole: bool = False

    @property
    def names(self) -> list[str]:
        """Columns of z."""
        return self.layout.names

    def only(self, shadows: Sequence[int] | np.ndarray) -> Bank:
        """As if the other shadows, by their rows, had never been trained."""
        rows = np.asarray(shadows, int)
        return dataclasses.replace(
            self,
            values=self.values[rows],
            member=self.member[rows],
            touched=self.touched[rows],
            layout=self.layout.only(rows),
        )


def kinds(member: np.ndarray, ratio: str) -> tuple[np.ndarray, ...]:
    """Of each kind of references that `ratio` needs, the shadows that are none of an image, bool [shadow, image].

    OUT references do not hold it; IN ones, of `online` alone, do. member: bool [shadow, image].
    """
    return (member, ~member) if ratio == likelihood.ONLINE else (member,)


def reference_count(member: np.ndarray, most: int, ratio: str = likelihood.NONE, aside: int = ASIDE) -> int:
    """R, of each kind: what every pair can have when itself and one held-out shadow (`aside` in all) stand aside.

    member: bool [shadow, image]. The image that the fewest shadows lack (or hold, for `online`) decides for all:
    half of them in a complete fleet, fewer where some are missing.
    """
    return max(1, min(most, least(member, ratio) - aside))


def least(member: np.ndarray, ratio: str) -> int:
    """The number of shadows that can be references of an image, of the image and the kind where it is least."""
    return min(least_without(barred) for barred in kinds(member, ratio))


def needed(ratio: str) -> int:
    """References of each kind without which there is no score: a ratio asks what they differ by."""
    return 1 if ratio == likelihood.NONE else likelihood.LEAST


def least_without(member: np.ndarray) -> int:
    """The number of shadows without an image, of the image where it is least."""
    return int((~member).sum(0).min())


def enough(member: np.ndarray, ratio: str = likelihood.NONE) -> bool:
    """Do these shadows, bool [shadow, image], leave every pair the references that it needs?"""
    return least(member, ratio) >= ASIDE + needed(ratio)


def check_enough(member: np.ndarray, ids: Sequence[str], ratio: str = likelihood.NONE) -> None:
    """Raises UserError where the attack cannot work with these shadows, bool [shadow, image `ids`]."""
    shadows, without = len(member), (~member).sum(0)
    if shadows < LEAST_SHADOWS:
        raise UserError(f"{shadows} shadows are too few, at least {LEAST_SHADOWS} are needed")
    wanted, why = ASIDE + needed(ratio), ""
    if ratio != likelihood.NONE:
        why = f" with attack.ratio = {ratio!r}; use more shadows, or 'none'"
    for barred, how in zip(kinds(member, ratio), ("without", "on"), strict=False):
        free = (~barred).sum(0)
        image = int(free.argmin())
        if free[image] < wanted:
            raise UserError(
                f"{free[image]} of these {shadows} shadows were trained {how} {ids[image]}, and at least {wanted} are "
                f"needed for every image{why}"
            )
    if without.max() == shadows:
        raise UserError(f"none of these {shadows} shadows was trained on {ids[without.argmax()]}")


@functools.lru_cache(maxsize=32)  # every fold, and every pile of a target, asks for the same few draws
def priorities(ids: tuple[str, ...], shadows: int, seed: int, draw: int) -> np.ndarray:
    """Random order of the shadows as references, float [candidate, shadow] in [0, 1): a function of the id alone.
    Read-only."""
    order = np.stack([keys.generator(seed, "references", draw, name).random(shadows) for name in ids])
    order.setflags(write=False)
    return order


def ranked_references(member: np.ndarray, order: np.ndarray) -> np.ndarray:
    """The shadows of each candidate by their turn as its references, int [candidate, shadow]; -1 for those that hold
    it, member bool [shadow, candidate], which come last; or that are none for another reason (`kinds`). `order`
    [candidate, shadow]: see `priorities`."""
    cost = np.where(member.T, np.inf, order)
    ranked = np.argsort(cost, axis=1, kind="stable")
    return np.where(np.isfinite(np.take_along_axis(cost, ranked, 1)), ranked, -1)


def _first(ranked: np.ndarray, count: int, banned: Sequence[int]) -> np.ndarray:
    """The first `count` of `ranked` [candidate, shadow] that are not banned. ValueError where there are fewer."""
    near = ranked[:, : count + len(banned)]
    kept = np.argsort(np.isin(near, banned), axis=1, kind="stable")[:, :count]
    chosen = np.take_along_axis(near, kept, 1)
    if chosen.shape[1] < count or (chosen < 0).any() or np.isin(chosen, banned).any():
        raise ValueError("too few shadows can be references of a candidate")
    return chosen


def choose_references(bank: Bank, order: np.ndarray, count: int, banned: Sequence[int] = ()) -> np.ndarray:
    """Indices of the references, int [candidate, count].

    `order` [candidate, shadow]: see `priorities`; `banned`: shadows that stand aside. Shadows that hold the candidate
    are never taken. Raises ValueError where fewer than `count` do not hold it.
    """
    return _first(ranked_references(bank.member, order), count, banned)


def residuals(bank: Bank, own: np.ndarray, references: np.ndarray, columns: np.ndarray | None = None) -> np.ndarray:
    """Signals relative to the references: float64 [candidate, column].

    own: [candidate, number] of the pile asked about; references: int [candidate, R] into the bank;
    columns: int [candidate], which of the bank's candidates they are (all in turn where None).
    """
    columns = (np.arange(len(own)) if columns is None else columns)[:, None]
    result = []
    for signal, embedding in bank.layout.columns:
        mine = bank.layout.evidence(own, (signal, embedding))
        theirs = bank.layout.chosen(bank.values, (signal, embedding), references, columns)
        result.append(SIGNALS[signal].calibrated(mine, theirs))
    return np.concatenate(result, axis=-1)


def spreads(bank: Bank, references: np.ndarray, columns: np.ndarray | None = None) -> np.ndarray:
    """What the references differ by: float64 [candidate, column], see `likelihood.sum_of_squares`; as `residuals`."""
    places = (np.arange(len(references)) if columns is None else columns)[:, None]
    result = []
    for column in bank.layout.columns:
        theirs = bank.layout.chosen(bank.values, column, references, places)
        result.append(likelihood.sum_of_squares(SIGNALS[column[0]].calibrated, theirs))
    return np.concatenate(result, axis=-1)


def _parts(
    bank: Bank, own: np.ndarray, references: Sequence[np.ndarray], columns: np.ndarray | None = None
) -> np.ndarray:
    """float64 [part, candidate, column], see `Relative`; `references`: of each kind."""
    found = []
    for chosen in references:
        found.append(residuals(bank, own, chosen, columns))
        if bank.ratio != likelihood.NONE:
            found.append(spreads(bank, chosen, columns))
    return np.stack(found)


@dataclass(frozen=True)
class Relative:
    """Piles relative to R references, or to R of each kind.

    parts: float64 [part, ..., candidate, column], of each of the `kinds` the signals relative to the references and,
    where there is a ratio, what these differ by. A ratio's prior is of one pile, and of the images that it may know.
    """

    parts: np.ndarray
    count: int

    def priors(self, left: np.ndarray) -> list[likelihood.Prior]:
        """Fitted without the candidates `left`, bool [candidate]."""
        return likelihood.priors(self.parts, self.count, ~left)

    def scores(self, priors: Sequence[likelihood.Prior]) -> np.ndarray:
        """float64 [..., candidate, column]."""
        return likelihood.scores(self.parts, self.count, priors)

    def outside(self, left: np.ndarray) -> np.ndarray:
        """Scores of all, with priors that know nothing of the candidates `left`, bool [candidate]."""
        return self.scores(self.priors(left))

    @property
    def value(self) -> np.ndarray:
        """Scores of all, with priors that know them all."""
        return self.outside(np.zeros(self.parts.shape[-2], bool))


def relative(bank: Bank, piles: Sequence[np.ndarray] | np.ndarray, order: np.ndarray, count: int) -> Relative:
    """`piles`, each [candidate, number], of none of the bank's shadows: parts [part, pile, candidate, column]. `order`
    [candidate, shadow]: see `priorities`. Raises ValueError as `choose_references` does."""
    chosen = [_first(ranked_references(barred, order), count, ()) for barred in kinds(bank.member, bank.ratio)]
    return Relative(np.stack([_parts(bank, own, chosen) for own in piles], axis=1), count)


@dataclass(frozen=True)
class ShadowResiduals(Relative):
    """Every shadow's own pile relative to others: parts [part, shadow, candidate, column]. Of each kind of references:
    references, int [shadow, candidate, R], never the shadow itself, and ranked, see `ranked_references`."""

    bank: Bank
    ranked: tuple[np.ndarray, ...]
    references: tuple[np.ndarray, ...]

    def without(self, held_out: int) -> ShadowResiduals:
        """The same with `held_out` among no references. Only pairs that had it are worked out anew: in a large fleet
        they are few, and to hold out every shadow in turn would else take the square of their number."""
        parts, references = self.parts.copy(), tuple(kind.copy() for kind in self.references)
        for k, own in enumerate(self.bank.values):
            columns = np.flatnonzero(np.any([(kind[k] == held_out).any(1) for kind in references], axis=0))
            if len(columns):
                for kind, ranked in zip(references, self.ranked, strict=True):
                    kind[k, columns] = _first(ranked[columns], self.count, (k, held_out))
                chosen = [kind[k, columns] for kind in references]
                parts[:, k, columns] = _parts(self.bank, own[columns], chosen, columns)
        return dataclasses.replace(self, parts=parts, references=references)


def shadow_residuals(bank: Bank, order: np.ndarray, count: int) -> ShadowResiduals:
    """`order` [candidate, shadow]: see `priorities`. Raises ValueError as `choose_references` does."""
    ranked = tuple(ranked_references(barred, order) for barred in kinds(bank.member, bank.ratio))
    references = tuple(np.stack([_first(kind, count, (k,)) for k in range(len(bank.values))]) for kind in ranked)
    parts = [_parts(bank, own, chosen) for own, *chosen in zip(bank.values, *references, strict=True)]
    return ShadowResiduals(np.stack(parts, axis=1), count, bank, ranked, references)


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

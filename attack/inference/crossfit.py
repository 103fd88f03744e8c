"""Two-way cross-fitting: every held-out score is of a pair (shadow k, image x) where neither k nor x's group was seen.

When k is held out its pile leaves everything that is fitted: the weights, the references of other pairs, the pooled
variances. What is expected of x (`expectation`) knows no slice of x's fold. That is the situation of the test: an
unseen generator and unseen patients.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from attack.inference import calibration, combiner, reference_choice
from attack.inference.calibration import Nulls, Relative
from attack.inference.combiner import Combiner
from attack.inference.shadow_signals import ShadowSignals
from shadow import keys


@dataclass(frozen=True)
class Labelled:
    """The shadows' pool, dev images or more, as the shadows know it: evidence, ids and group numbers [candidate], and
    the family of each shadow, int [shadow] (where it is not given, all are of one)."""

    shadow_signals: ShadowSignals
    ids: tuple[str, ...]
    group: np.ndarray
    family: np.ndarray = field(default_factory=lambda: np.zeros(0, int))

    def __post_init__(self) -> None:
        shadows = len(self.shadow_signals.member)
        if not self.family.size:
            object.__setattr__(self, "family", np.zeros(shadows, int))
        elif self.family.shape != (shadows,):
            raise ValueError(f"family has the shape {self.family.shape}: must be ({shadows},)")

    @property
    def groups(self) -> int:
        """Number of groups."""
        return int(self.group.max()) + 1

    def only(self, shadows: Sequence[int] | np.ndarray) -> Labelled:
        """As if the other shadows had never been trained."""
        rows = np.asarray(shadows, int)
        return dataclasses.replace(self, shadow_signals=self.shadow_signals.only(rows), family=self.family[rows])

    def outside(self, out: np.ndarray) -> Labelled:
        """As if there were no images of the groups `out`, bool [group]; the others keep their numbers."""
        kept = np.flatnonzero(~out[self.group])
        return dataclasses.replace(
            self,
            shadow_signals=self.shadow_signals.about(kept),
            ids=tuple(self.ids[i] for i in kept),
            group=self.group[kept],
        )


@dataclass(frozen=True)
class Options:
    """The fields of the attack's config that fitting depends on. `aside`: shadows that are no reference of a pair,
    itself and the one held out, or 1 where that one is not among the shadows."""

    references: int
    folds: int
    ridge: float
    seed: int
    aside: int = reference_choice.ASIDE

    def count(self, shadow_signals: ShadowSignals) -> int:
        """References that every pair has."""
        return reference_choice.reference_count(shadow_signals.member, self.references, self.aside)


@dataclass(frozen=True)
class HeldOut:
    """Two-way held-out scores: logit [shadow, candidate] and z [shadow, candidate, column], and the combiners that gave
    them [shadow][fold], with the fold of each candidate, int [candidate]."""

    logit: np.ndarray
    z: np.ndarray
    combiners: tuple[tuple[Combiner, ...], ...] = ()
    fold: np.ndarray | None = None


def folds(group: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Fold of each group, int [group]: groups in random order, each to the fold that has fewest images so far."""
    sizes = np.bincount(group)
    result, load = np.zeros(len(sizes), int), np.zeros(min(count, len(sizes)))
    for g in keys.generator(seed, "folds").permutation(len(sizes)):
        result[g] = int(np.argmin(load))
        load[result[g]] += sizes[g]
    return result


def shadow_nulls(residuals: np.ndarray, data: Labelled) -> list[Nulls]:
    """Sums over the images that each shadow does not hold."""
    return [
        calibration.null_sums(residuals[k], ~data.shadow_signals.member[k], data.group, data.groups)
        for k in range(len(residuals))
    ]


def by_fold(found: Relative, data: Labelled, fold: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, list[Nulls]]]:
    """For each fold of groups, `fold` int [group]: the groups in it, bool [group], the residuals [shadow, candidate,
    column] with expectations that know nothing of them, and the `shadow_nulls` of these. `found`: all piles of
    `data`."""
    for f in range(fold.max() + 1):
        out = fold == f
        residuals = found.outside(out[data.group])
        yield out, residuals, shadow_nulls(residuals, data)


@dataclass(frozen=True)
class Pairs:
    """What a combiner is fitted on: z [pair, column], label 0/1 [pair], and the pooled variance [column]."""

    z: np.ndarray
    label: np.ndarray
    pooled: np.ndarray


def pairs_of(
    residuals: np.ndarray, data: Labelled, shadows: Sequence[int], out: np.ndarray, nulls: Sequence[Nulls]
) -> Pairs:
    """The pairs of `shadows` with images outside the groups `out`, bool [group]; `nulls`: of `shadow_nulls`."""
    kept = {k: nulls[k].without(out) for k in shadows}
    pooled = calibration.pooled_variance(list(kept.values()))
    inside = ~out[data.group]
    z = np.concatenate([calibration.standardise(residuals[k], kept[k], pooled)[inside] for k in shadows])
    label = np.concatenate([data.shadow_signals.member[k][inside] for k in shadows]).astype(float)
    return Pairs(z, label, pooled)


def fit_on(
    residuals: np.ndarray,
    data: Labelled,
    shadows: Sequence[int],
    out: np.ndarray,
    ridge: float,
    weight: np.ndarray | None = None,
) -> tuple[Combiner, np.ndarray]:
    """The combiner fitted on the pairs of `shadows` with images outside the groups `out`, and the pooled variance.

    `weight` [shadow, group] counts pairs (bootstrap).
    """
    found = pairs_of(residuals, data, shadows, out, shadow_nulls(residuals, data))
    counts = None
    if weight is not None:
        counts = np.concatenate([weight[k][data.group[~out[data.group]]] for k in shadows])
    return combiner.fit(found.z, found.label, tuple(data.shadow_signals.names), ridge, counts), found.pooled


def two_way_each(data: Labelled, options: Options, draw: int, parts: Sequence[Sequence[int]]) -> list[HeldOut]:
    """Held-out scores of all pairs for one draw of references, by attacks on each of `parts`, numbers of columns: what
    they share is done once."""
    shadows, candidates = data.shadow_signals.member.shape
    order = reference_choice.priorities(data.ids, shadows, options.seed, draw)
    count = options.count(data.shadow_signals)
    fold = folds(data.group, options.folds, options.seed)
    every = calibration.shadow_residuals(data.shadow_signals, order, count)
    names = data.shadow_signals.names
    logit = np.zeros((len(parts), shadows, candidates))
    z = np.zeros((shadows, candidates, len(names)))
    combiners: list[list[tuple[Combiner, ...]]] = [[] for _ in parts]
    for held in range(shadows):
        others = [k for k in range(shadows) if k != held]
        mine: list[list[Combiner]] = [[] for _ in parts]
        for out, residuals, nulls in by_fold(every.without(held), data, fold):
            pairs, here = pairs_of(residuals, data, others, out, nulls), out[data.group]
            z[held, here] = calibration.standardise(residuals[held], nulls[held], pairs.pooled)[here]
            for i, part in enumerate(map(list, parts)):
                columns = tuple(names[j] for j in part)
                fitted = combiner.fit(_some(pairs.z, part), pairs.label, columns, options.ridge)
                logit[i, held, here] = fitted.logit(_some(z[held, here], part))
                mine[i].append(fitted)
        for all_of, some in zip(combiners, mine, strict=True):
            all_of.append(tuple(some))
    return [HeldOut(logit[i], z, tuple(found), fold[data.group]) for i, found in enumerate(combiners)]


def _some(z: np.ndarray, columns: Sequence[int]) -> np.ndarray:
    """These columns of z [pair, column], laid out as z is: sums have the same bits if they are all."""
    return np.ascontiguousarray(z[:, columns])


def two_way(data: Labelled, options: Options, draw: int) -> HeldOut:
    """Held-out scores of all pairs for one draw of references."""
    return two_way_each(data, options, draw, [range(len(data.shadow_signals.names))])[0]


def two_way_mean(data: Labelled, options: Options, draws: int) -> HeldOut:
    """Held-out scores of all pairs, averaged over draws of references. See `two_way`."""
    logit, z = (
        np.zeros((*data.shadow_signals.member.shape, *more)) for more in ((), (len(data.shadow_signals.names),))
    )
    for draw in range(draws):
        held = two_way(data, options, draw)
        logit += held.logit
        z += held.z
    return HeldOut(logit / draws, z / draws)

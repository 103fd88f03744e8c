"""Two-way cross-fitting: every held-out score is of a pair (shadow k, image x) where neither k nor x's group was seen.

When k is held out its pile leaves everything that is fitted: the weights, the references of other pairs, the pooled
variances. That is the situation of the test: an unseen generator and unseen patients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from attack import calibration
from attack.calibration import Bank, Nulls
from attack.model import Combiner, fit_combiner
from shadow import keys


@dataclass(frozen=True)
class Labelled:
    """The dev images as the shadows know them: evidence, ids and group numbers [candidate], and the family of each
    shadow, int [shadow] (where it is not given, all are of one)."""

    bank: Bank
    ids: tuple[str, ...]
    group: np.ndarray
    family: np.ndarray = field(default_factory=lambda: np.zeros(0, int))

    def __post_init__(self) -> None:
        shadows = len(self.bank.member)
        if not self.family.size:
            object.__setattr__(self, "family", np.zeros(shadows, int))
        elif self.family.shape != (shadows,):
            raise ValueError(f"family has the shape {self.family.shape}: must be ({shadows},)")

    @property
    def groups(self) -> int:
        return int(self.group.max()) + 1


@dataclass(frozen=True)
class Options:
    """The fields of the attack's config that fitting depends on."""

    references: int
    folds: int
    ridge: float
    seed: int


@dataclass(frozen=True)
class HeldOut:
    """Two-way held-out scores: logit [shadow, candidate] and z [shadow, candidate, column]."""

    logit: np.ndarray
    z: np.ndarray


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
        calibration.null_sums(residuals[k], ~data.bank.member[k], data.group, data.groups)
        for k in range(len(residuals))
    ]


def fit_on(
    residuals: np.ndarray,
    data: Labelled,
    shadows: Sequence[int],
    out: np.ndarray,
    ridge: float,
    weight: np.ndarray | None = None,
    nulls: Sequence[Nulls] | None = None,
) -> tuple[Combiner, np.ndarray]:
    """The combiner fitted on the pairs of `shadows` with images outside the groups `out`, and the pooled variance.

    `weight` [shadow, group] counts pairs (bootstrap); `nulls`: the residuals' `shadow_nulls`, where they are known.
    """
    nulls = shadow_nulls(residuals, data) if nulls is None else nulls
    pooled = calibration.pooled_variance([nulls[k].without(out) for k in shadows])
    inside = ~out[data.group]
    z = np.concatenate([calibration.standardise(residuals[k], nulls[k].without(out), pooled)[inside] for k in shadows])
    label = np.concatenate([data.bank.member[k][inside] for k in shadows]).astype(float)
    pairs = None
    if weight is not None:
        pairs = np.concatenate([weight[k][data.group[inside]] for k in shadows])
    return fit_combiner(z, label, tuple(data.bank.names), ridge, pairs), pooled


def two_way(data: Labelled, options: Options, draw: int) -> HeldOut:
    """Held-out scores of all pairs for one draw of references."""
    shadows, candidates = data.bank.member.shape
    order = calibration.priorities(data.ids, shadows, options.seed, draw)
    count = calibration.reference_count(data.bank.member, options.references)
    fold = folds(data.group, options.folds, options.seed)
    every = calibration.shadow_residuals(data.bank, order, count)
    logit = np.zeros((shadows, candidates))
    z = np.zeros((shadows, candidates, len(data.bank.names)))
    for held in range(shadows):
        residuals = every.without(held)
        others = [k for k in range(shadows) if k != held]
        nulls = shadow_nulls(residuals, data)
        for f in range(fold.max() + 1):
            out = fold == f
            combiner, pooled = fit_on(residuals, data, others, out, options.ridge, nulls=nulls)
            here = out[data.group]
            mine = calibration.standardise(residuals[held], nulls[held], pooled)[here]
            z[held, here], logit[held, here] = mine, combiner.logit(mine)
    return HeldOut(logit, z)


def two_way_mean(data: Labelled, options: Options, draws: int) -> HeldOut:
    """Held-out scores of all pairs, averaged over draws of references."""
    logit, z = (np.zeros((*data.bank.member.shape, *more)) for more in ((), (len(data.bank.names),)))
    for draw in range(draws):
        held = two_way(data, options, draw)
        logit += held.logit
        z += held.z
    return HeldOut(logit / draws, z / draws)

"""How well scores rank members above non-members: AUC, its intervals, comparisons and power.

Everywhere a higher score means "more likely a member" and labels are 0/1 with 1 = used. Scores are finite
floats [n], labels [n] hold both classes; anything else is a ValueError.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, stats

from attack.metrics import pooling
from attack.metrics.intervals import (
    Interval,
    bootstrap_weights,
    check_level,
    clopper_pearson,
    group_numbers,
    percentile_interval,
)
from attack.results.against_truth import GroupRow, PerGroup
from attack.results.labellings import Estimate
from shadow import keys

EVERY_GROUP = "every group has a member, so there is nothing to tell apart"
DRAWS = 2000  # of every bootstrap: the noise of a 2.5 % quantile is then a tenth of the interval's half-width


def check_labels(labels: ArrayLike) -> np.ndarray:
    """int64 [n] of zeros and ones, both present; else ValueError."""
    values = np.asarray(labels)
    if values.ndim != 1 or values.dtype.kind not in "biuf" or not np.isin(values, (0, 1)).all():
        raise ValueError("labels must be a list of 0 (not used) and 1 (used)")
    result = values.astype(np.int64)
    if not 0 < result.sum() < len(result):
        raise ValueError("labels must hold at least one member (1) and one non-member (0)")
    return result


def check_scores(scores: ArrayLike, count: int) -> np.ndarray:
    """float64 [count], all finite; else ValueError."""
    try:
        values = np.asarray(scores, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError("scores must be numbers") from error
    if values.shape != (count,):
        raise ValueError(f"scores must have one number for each of the {count} labels, got {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError("scores must be finite")
    return values


def placements(scores: ArrayLike, labels: ArrayLike) -> np.ndarray:
    """DeLong's structural components, float [n] in [0, 1], aligned with the items.

    For a member: the share of non-members that score lower (V10); for a non-member: the share of members that
    score higher (V01); ties count half. The mean over either class is the AUC. By midranks (Sun and Xu 2014).
    """
    target = check_labels(labels)
    values = check_scores(scores, len(target))
    member = target == 1
    ranks = stats.rankdata(values)
    result = np.empty(len(values))
    result[member] = (ranks[member] - stats.rankdata(values[member])) / (~member).sum()
    result[~member] = 1 - (ranks[~member] - stats.rankdata(values[~member])) / member.sum()
    return result


def auc(scores: ArrayLike, labels: ArrayLike) -> float:
    """P(a member scores above a non-member) + half P(tie): the Mann-Whitney estimate, in [0, 1]."""
    return float(placements(scores, labels)[np.asarray(labels) == 1].mean())


def _mean_variance(values: np.ndarray, bound: float) -> float:
    """Variance of the mean of `values`. One value tells nothing: then the largest variance possible."""
    return float(values.var(ddof=1)) / len(values) if len(values) > 1 else bound


def delong(scores: ArrayLike, labels: ArrayLike) -> tuple[float, float]:
    """(AUC, its variance) after DeLong, DeLong and Clarke-Pearson 1988: var(V10)/n1 + var(V01)/n0.

    A class with a single item contributes AUC (1 - AUC), the largest variance that a component can have.
    """
    components = placements(scores, labels)
    member = np.asarray(labels) == 1
    area = float(components[member].mean())
    bound = area * (1 - area)
    return area, _mean_variance(components[member], bound) + _mean_variance(components[~member], bound)


def auc_interval(scores: ArrayLike, labels: ArrayLike, level: float = 0.95) -> Interval:
    """Interval for the AUC: DeLong's variance on the logit scale, which stays within (0, 1).

    Where the variance is zero (AUC of 0 or 1, or every score equal) DeLong would claim certainty. Then a
    Clopper-Pearson interval of AUC x m successes in m = min(members, non-members) trials is given: no
    distribution gives the Mann-Whitney estimate a variance above AUC (1 - AUC) / m (Birnbaum and Klose 1957),
    so the interval is conservative. Perfect ranking of 30 + 30 items gives [.884, 1].
    """
    check_level(level)
    area, variance = delong(scores, labels)
    members = int(np.sum(np.asarray(labels) == 1))
    trials = min(members, len(np.asarray(labels)) - members)
    return _logit_interval(area, variance, trials, level)


def _logit_interval(area: float, variance: float, trials: int, level: float) -> Interval:
    if variance < 1e-18 or not 0 < area < 1:
        return clopper_pearson(min(max(area, 0.0), 1.0) * trials, trials, level)
    half = float(stats.norm.ppf((1 + level) / 2)) * math.sqrt(variance) / (area * (1 - area))
    centre = math.log(area / (1 - area))
    return _expit(centre - half), _expit(centre + half)


def _expit(x: float) -> float:
    return 0.5 * (1 + math.tanh(x / 2))


class Paired(NamedTuple):
    """AUC of attack a minus AUC of attack b on the same items, interval, two-sided p of "no difference"."""

    difference: float
    interval: Interval
    p: float


def delong_paired(scores_a: ArrayLike, scores_b: ArrayLike, labels: ArrayLike, level: float = 0.95) -> Paired:
    """DeLong's test of two correlated AUCs (DeLong, DeLong and Clarke-Pearson 1988).

    Equal rankings give (0, [0, 0], p = 1). Where the variance vanishes although the AUCs differ (one perfect
    and one constant score, say) the interval combines the two conservative intervals (Zou and Donner's MOVER
    without correlation) and p is that of min(n1, n0) disjoint pairs that all favour one side: 2 x 2^-min.
    """
    check_level(level)
    first, second = placements(scores_a, labels), placements(scores_b, labels)
    member = np.asarray(labels) == 1
    gap = first - second
    difference = float(gap[member].mean())
    bound = 1 - difference**2
    variance = 0.0
    if np.abs(gap).max() > 1e-12:
        variance = _mean_variance(gap[member], bound) + _mean_variance(gap[~member], bound)
    if variance > 1e-18:
        error = math.sqrt(variance)
        half = float(stats.norm.ppf((1 + level) / 2)) * error
        limits = max(-1.0, difference - half), min(1.0, difference + half)
        return Paired(difference, limits, float(2 * stats.norm.sf(abs(difference) / error)))
    if abs(difference) < 1e-12:
        return Paired(0.0, (0.0, 0.0), 1.0)
    area_a, area_b = float(first[member].mean()), float(second[member].mean())
    low_a, high_a = auc_interval(scores_a, labels, level)
    low_b, high_b = auc_interval(scores_b, labels, level)
    low = difference - math.hypot(area_a - low_a, high_b - area_b)
    high = difference + math.hypot(high_a - area_a, area_b - low_b)
    trials = min(int(member.sum()), int((~member).sum()))
    return Paired(difference, (max(-1.0, low), min(1.0, high)), min(1.0, 2 * 0.5**trials))


def _weighted_auc(scores: np.ndarray, labels: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """A function from weights [draws, n] to AUCs [draws]; the sorting is done once."""
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=np.nan) != 0)
    member = (labels[order] == 1).astype(float)

    def areas(weights: np.ndarray) -> np.ndarray:
        ordered = weights[:, order]
        ones = np.add.reduceat(ordered * member, starts, axis=1)
        zeros = np.add.reduceat(ordered * (1 - member), starts, axis=1)
        below = np.cumsum(zeros, axis=1) - zeros / 2
        return np.asarray((ones * below).sum(axis=1) / (ones.sum(axis=1) * zeros.sum(axis=1)))

    return areas


def _group_trials(labels: np.ndarray, groups: ArrayLike) -> int:
    """The smaller of: groups with a member, groups with a non-member."""
    numbers = group_numbers(groups, len(labels))[1]
    return min(len(np.unique(numbers[labels == 1])), len(np.unique(numbers[labels == 0])))


def auc_interval_grouped(
    scores: ArrayLike,
    labels: ArrayLike,
    groups: ArrayLike,
    level: float = 0.95,
    seed: int = 0,
    draws: int = DRAWS,
) -> Interval:
    """Interval for the AUC when items of one group (patient) are alike: a bootstrap over whole groups.

    The bootstrap's standard error is used on the logit scale with Student's t at min(groups with a member,
    groups with a non-member) - 1 degrees of freedom, which covers better with few groups than percentiles do.
    Where the resamples do not differ at all, Clopper-Pearson at that number of groups, as in `auc_interval`.
    """
    check_level(level)
    target = check_labels(labels)
    values = check_scores(scores, len(target))
    rng = keys.generator(seed, "metrics/auc-groups")
    areas = _weighted_auc(values, target)
    sampled = np.concatenate([areas(weights) for weights in bootstrap_weights(target, groups, draws, rng)])
    area, trials = auc(values, target), _group_trials(target, groups)
    if trials == 1:
        return clopper_pearson(area, 1, level)
    # t at few degrees of freedom, written as a wider variance: `_logit_interval` multiplies by the normal.
    upper = (1 + level) / 2
    widen = float(stats.t.ppf(upper, trials - 1) / stats.norm.ppf(upper))
    return _logit_interval(area, float(sampled.var()) * widen**2, trials, level)


def auc_difference_grouped(
    scores_a: ArrayLike,
    scores_b: ArrayLike,
    labels: ArrayLike,
    groups: ArrayLike,
    seed: int = 0,
    draws: int = DRAWS,
) -> Paired:
    """As `delong_paired` by a paired bootstrap over groups: percentile interval at 95 %, p = twice the smaller tail.

    p is never below 2 / (draws + 1).
    """
    target = check_labels(labels)
    first, second = check_scores(scores_a, len(target)), check_scores(scores_b, len(target))
    rng = keys.generator(seed, "metrics/auc-difference")
    area_a, area_b = _weighted_auc(first, target), _weighted_auc(second, target)
    sampled = np.concatenate(
        [area_a(weights) - area_b(weights) for weights in bootstrap_weights(target, groups, draws, rng)]
    )
    tails = (1 + np.sum(sampled <= 0), 1 + np.sum(sampled >= 0))
    return Paired(
        auc(first, target) - auc(second, target),
        percentile_interval(sampled),
        min(1.0, 2 * float(min(tails)) / (len(sampled) + 1)),
    )


def hanley_mcneil(area: float, n_members: float, n_non_members: float) -> float:
    """Variance of an AUC under exponential scores (Hanley and McNeil 1982), a formula of the AUC alone."""
    if n_members < 1 or n_non_members < 1 or not 0 <= area <= 1:
        raise ValueError(f"need an AUC in [0, 1] and both classes, got {area}, {n_members}, {n_non_members}")
    first, second = area / (2 - area), 2 * area**2 / (1 + area)
    total = area * (1 - area) + (n_members - 1) * (first - area**2) + (n_non_members - 1) * (second - area**2)
    return max(0.0, total / (n_members * n_non_members))


def smallest_detectable_auc(
    n_members: int, n_non_members: int, power: float = 0.8, level: float = 0.95
) -> float | None:
    """The AUC that a two-sided test against 0.5 finds with `power`; None if it misses even a perfect attack.

    The root of `A - 1/2 = z((1 + level)/2) se(1/2) + z(power) se(A)` with Hanley and McNeil's standard
    errors. About 140 + 140 items for .60, 530 + 530 for .55.
    """
    check_level(level)
    if not 0.5 <= power < 1:
        raise ValueError(f"power must lie in [0.5, 1), got {power}")
    reach = float(stats.norm.ppf((1 + level) / 2)) * math.sqrt(hanley_mcneil(0.5, n_members, n_non_members))
    quantile = float(stats.norm.ppf(power))

    def surplus(area: float) -> float:
        return area - 0.5 - reach - quantile * math.sqrt(hanley_mcneil(area, n_members, n_non_members))

    return float(optimize.brentq(surplus, 0.5, 1.0)) if surplus(1.0) > 0 else None


def per_group(scores: ArrayLike, labels: ArrayLike, groups: ArrayLike, level: float = 0.95) -> PerGroup:
    """Was anything of this group (patient) used? Ranked by each score of `pooling.SCORES`; intervals are DeLong's over
    groups. A group's label is 1 if any item of it is a member; where all have one, `why` says so."""
    target = check_labels(labels)
    values = check_scores(scores, len(target))
    names, numbers = group_numbers(groups, len(target))
    sizes, members = np.bincount(numbers), np.bincount(numbers, weights=target).astype(int)
    used = members > 0
    pooled = {name: pooling.pool(values, numbers, len(names), how) for name, how in pooling.SCORES.items()}

    def area(pool: np.ndarray) -> Estimate:
        if used.all():
            return Estimate(value=None, low=None, high=None, why=EVERY_GROUP)
        low, high = auc_interval(pool, used, level)
        return Estimate(value=auc(pool, used), low=low, high=high)

    return PerGroup(
        groups=len(names),
        member_groups=int(used.sum()),
        table=tuple(
            GroupRow(
                group=str(names[i]),
                label=int(used[i]),
                items=int(sizes[i]),
                members=int(members[i]),
                **{name: float(pool[i]) for name, pool in pooled.items()},
            )
            for i in np.argsort(-pooled["max"], kind="stable")
        ),
        **{name: area(pool) for name, pool in pooled.items()},
    )

"""Intervals for proportions and bootstrap resamples, with or without groups (patients) behind the items."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

# Relative error that a count may have from floating-point sums: a mean of ones can come out as 1.0000000000000002.
ROUNDING = 1e-12
CELLS = 4_000_000  # entries of one block of bootstrap weights: bounds the memory, not the result's accuracy

Interval = tuple[float, float]


def check_level(level: float) -> None:
    """Raises ValueError for a level outside (0, 1)."""
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}")


def clopper_pearson(successes: float, trials: float, level: float = 0.95) -> Interval:
    """Exact binomial interval (Clopper and Pearson 1934, in its beta quantile form).

    Both counts may be fractional (an effective sample size). 0 <= successes <= trials and trials > 0, up to rounding
    of the successes (`ROUNDING` x trials), else ValueError. Returns (low, high), both in [0, 1].
    """
    check_level(level)
    slack = ROUNDING * trials
    if not (0 < trials < np.inf and -slack <= successes <= trials + slack):
        raise ValueError(f"need 0 <= successes <= trials and trials > 0, got {successes} of {trials}")
    successes = min(max(successes, 0.0), trials)
    tail, failures = (1 - level) / 2, trials - successes
    low = float(stats.beta.ppf(tail, successes, failures + 1)) if successes > 0 else 0.0
    high = float(stats.beta.ppf(1 - tail, successes + 1, failures)) if failures > 0 else 1.0
    return low, high


def group_numbers(groups: ArrayLike, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(sorted names [groups], number of its group for every item [count]). ValueError on another length."""
    names = np.asarray(groups)
    if names.shape != (count,):
        raise ValueError(f"groups must have shape ({count},), got {names.shape}")
    unique, numbers = np.unique(names.astype(str), return_inverse=True)
    return unique, numbers.reshape(-1)


def proportion_interval(
    hits: ArrayLike, groups: ArrayLike | None = None, level: float = 0.95, across: ArrayLike | None = None
) -> Interval:
    """Interval in [0, 1] for the mean of `hits` (bool [n], n > 0).

    Without groups this is Clopper-Pearson. With `groups` [n] it is Clopper-Pearson at the effective sample size
    (Korn and Graubard 1998): items of one patient resemble each other, so n items say less than n patients.
    `across` [n] is a second grouping that crosses the first, such as the shadow of each pair. Then the variance is
    that of Cameron, Gelbach and Miller (2011) for two ways, and at least that of either way alone. Where all or none
    are hits the design effect cannot be estimated, and the number of groups is the size; of two groupings the smaller.
    ValueError on a grouping of another length, or `across` without `groups`.
    """
    mask = np.asarray(hits, dtype=bool)
    total, count = int(mask.sum()), len(mask)
    if groups is None:
        if across is not None:
            raise ValueError("`across` needs `groups` that it crosses")
        return clopper_pearson(total, count, level)
    ways = [group_numbers(way, count)[1] for way in (groups, across) if way is not None]
    clusters = min(int(way.max()) + 1 for way in ways)
    if clusters == 1 or total in (0, count):
        # One cluster shows no spread: what it says counts as one trial.
        effective = float(clusters)
    else:
        share = total / count
        variance = _share_variance(mask, ways)
        upper = (1 + level) / 2
        shrink = (stats.norm.ppf(upper) / stats.t.ppf(upper, clusters - 1)) ** 2
        # Never more than the items: a design effect below one is taken for noise.
        size = share * (1 - share) / variance if variance > 0 else float(count)
        effective = min(float(count), size * float(shrink))
    return clopper_pearson(total / count * effective, effective, level)


def _share_variance(mask: np.ndarray, ways: Sequence[np.ndarray]) -> float:
    """Clustered variance of the mean of `mask` [n] over one or two groupings, int [n] each, of two or more groups."""
    residual = mask - mask.mean()

    def clustered(numbers: np.ndarray) -> float:
        sums = np.bincount(numbers, weights=residual)
        groups = len(sums)
        return groups / (groups - 1) * float(sums @ sums) / len(mask) ** 2

    each = [clustered(way) for way in ways]
    if len(each) == 1:
        return each[0]
    cells = np.unique(ways[0] * (int(ways[1].max()) + 1) + ways[1], return_inverse=True)[1].reshape(-1)
    return max(each[0] + each[1] - clustered(cells), *each)


def resample_counts(size: int, draws: int, rng: np.random.Generator) -> np.ndarray:
    """int [draws, size]: how often each of `size` units is drawn when `size` are drawn with replacement."""
    picked = rng.integers(0, size, size=(draws, size)) + size * np.arange(draws)[:, None]
    return np.bincount(picked.ravel(), minlength=draws * size).reshape(draws, size)


def bootstrap_weights(
    labels: np.ndarray, groups: ArrayLike | None, draws: int, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """Blocks [some draws, n] of bootstrap weights, `draws` rows in all.

    Without groups members and non-members are resampled apart, since their numbers are the organizers'
    choice. With groups whole groups are resampled, and draws that lack a class are drawn again.
    """
    count = len(labels)
    member = labels == 1
    numbers = None if groups is None else group_numbers(groups, count)[1]
    block = max(1, CELLS // count)
    left = draws
    while left > 0:
        size = min(block, left)
        if numbers is None:
            weights = np.empty((size, count))
            for kind in (member, ~member):
                weights[:, kind] = resample_counts(int(kind.sum()), size, rng)
        else:
            weights = resample_counts(int(numbers.max()) + 1, size, rng)[:, numbers].astype(float)
            both = weights[:, member].any(axis=1) & weights[:, ~member].any(axis=1)
            weights = weights[both]
        left -= len(weights)
        yield weights


def percentile_interval(values: ArrayLike, level: float = 0.95) -> Interval:
    """The middle `level` of bootstrap values [draws]."""
    check_level(level)
    low, high = np.quantile(np.asarray(values, dtype=float), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)

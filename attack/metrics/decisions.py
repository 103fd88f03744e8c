"""Hard decisions: which labelling is best in expectation, and how good a labelling turned out to be.

Probabilities are P(used) in [0, 1]; decisions and labels are 0/1 with 1 = used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import signal, stats

from attack.metrics.intervals import (
    Interval,
    bootstrap_weights,
    clopper_pearson,
    group_numbers,
    percentile_interval,
    proportion_interval,
)
from attack.metrics.ranking import DRAWS, check_labels
from attack.results.figures import Figure
from attack.results.labellings import Coin, Confusion, Labelling, Majority, Share, Summaries, Trivial
from shadow import keys

OBJECTIVES = ("f1", "kappa", "accuracy")


def check_probability(probability: ArrayLike, count: int | None = None) -> np.ndarray:
    """float64 [n] within [0, 1], n = `count` where given and at least 1; else ValueError."""
    try:
        values = np.asarray(probability, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError("probabilities must be numbers") from error
    if values.ndim != 1 or not len(values) or (count is not None and len(values) != count):
        wanted = "a list" if count is None else f"one for each of the {count} labels"
        raise ValueError(f"probabilities must be {wanted}, got shape {values.shape}")
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError("probabilities must lie between 0 and 1")
    return values


@dataclass(frozen=True)
class Decision:
    """The best labelling in expectation. Not a finding: `all_ones` says that it singles nobody out."""

    labels: np.ndarray  # int [n]
    objective: str
    expected: float  # of the objective, if the probabilities are right and independent
    claimed: int  # how many are labelled 1
    all_ones: bool


def _without(pmf: np.ndarray, p: float) -> np.ndarray:
    """Removes one Bernoulli(p) from the pmf [n + 1] of a sum of n: [n].

    The recursion runs from whichever end keeps rounding errors from growing.
    """
    if p <= 0.5:
        return np.asarray(signal.lfilter([1.0], [1 - p, p], pmf[:-1]))
    return np.asarray(signal.lfilter([1.0], [p, 1 - p], pmf[:0:-1])[::-1])


def _expected_by_size(falling: np.ndarray, objective: str) -> np.ndarray:
    """Expected objective [n + 1] of labelling the first m of falling probabilities [n], m = 0..n; exact."""
    count = len(falling)
    if objective == "accuracy":
        kept = np.concatenate([[0.0], np.cumsum(falling)])
        left = np.concatenate([[0.0], np.cumsum(1 - falling)])
        return np.asarray((kept + left[-1] - left) / count)
    pmf = np.zeros(count + 1)  # of S, the number of members: Poisson-binomial
    pmf[0] = 1
    for done, p in enumerate(falling):
        pmf[1 : done + 2] = pmf[1 : done + 2] * (1 - p) + pmf[: done + 1] * p
        pmf[0] *= 1 - p
    joint = np.zeros(count + 1)  # E[T; S = s] for T, the members among the first m
    members = np.arange(count + 1)
    expected = np.zeros(count + 1)  # m = 0: F1 and kappa are 0 (0/0 counts as 0)
    for m, p in enumerate(falling, start=1):
        joint[1:] += p * _without(pmf, float(p))
        if objective == "f1":  # 2 T / (m + S)
            expected[m] = joint @ (2 / (m + members))
        else:  # kappa = 2 (n T - m S) / (n (m + S) - 2 m S), linear in T once S is known
            bottom = count * (m + members) - 2 * m * members
            safe = np.where(bottom > 0, bottom, 1)
            expected[m] = np.sum(np.where(bottom > 0, 2 * (count * joint - m * members * pmf) / safe, 0))
    return expected


def decide(probability: ArrayLike, objective: str = "f1") -> Decision:
    """The labelling with the highest expected F1, Cohen's kappa or accuracy, exactly, in O(n^2).

    Members are taken as independent coins with these probabilities. For each of the three the best set of m
    is the m most probable ones (for F1 see Lewis 1995), so only m is searched; equal probabilities are taken
    in the given order, and of equally good m the smallest. F1 and kappa of 0/0 count as 0.
    """
    if objective not in OBJECTIVES:
        raise ValueError(f"objective must be one of {', '.join(OBJECTIVES)}, got {objective!r}")
    values = check_probability(probability)
    order = np.argsort(-values, kind="stable")
    expected = _expected_by_size(values[order], objective)
    best = int(np.flatnonzero(expected >= expected.max() - 1e-12)[0])
    labels = np.zeros(len(values), dtype=np.int64)
    labels[order[:best]] = 1
    return Decision(labels, objective, min(float(expected[best]), 1.0), best, best == len(values))


def expected_f1_decision(probability: ArrayLike) -> tuple[np.ndarray, float]:
    """(labels int [n], expected F1) of `decide(probability, "f1")`."""
    decision = decide(probability, "f1")
    return decision.labels, decision.expected


def _f1(tp: Any, fp: Any, fn: Any, tn: Any) -> Any:
    return 2 * tp / (2 * tp + fp + fn)


def _kappa(tp: Any, fp: Any, fn: Any, tn: Any) -> Any:
    """Cohen's kappa from counts; the denominator is positive when both true classes are present."""
    return 2 * (tp * tn - fn * fp) / ((tp + fp) * (fp + tn) + (tp + fn) * (fn + tn))


def _accuracy(tp: Any, fp: Any, fn: Any, tn: Any) -> Any:
    return (tp + tn) / (tp + fp + fn + tn)


SUMMARIES = {"f1": _f1, "kappa": _kappa, "accuracy": _accuracy}


def _cell_interval(
    name: str, cells: np.ndarray, sampled: np.ndarray, trials: tuple[int, int], level: float
) -> Interval:
    """Percentiles of a summary over resampled cells [draws, 4].

    Where no resample differs (all-ones, a perfect labelling) the bootstrap would claim certainty: then the
    extremes over exact limits of recall and specificity, each at a confidence that makes both hold at
    `level`; `trials` are the sizes of the two samples (items, or groups).
    """
    values = SUMMARIES[name](*sampled.T)
    if np.ptp(values) > 1e-12:
        return percentile_interval(values, level)
    tp, fp, fn, tn = (float(cell) for cell in cells)
    members, others = tp + fn, fp + tn
    joint = 1 - (1 - level) / 2
    recalls = clopper_pearson(tp / members * trials[0], trials[0], joint)
    specificities = clopper_pearson(tn / others * trials[1], trials[1], joint)
    corners = [
        SUMMARIES[name](r * members, (1 - s) * others, (1 - r) * members, s * others)
        for r in recalls
        for s in specificities
    ]
    return float(min(corners)), float(max(corners))


def decision_figures(
    decided: ArrayLike,
    labels: ArrayLike,
    groups: ArrayLike | None = None,
    level: float = 0.95,
    seed: int = 0,
    draws: int = DRAWS,
) -> Labelling:
    """Every figure of a labelling `decided` (0/1 [n]) against the truth, with the trivial labellings beside.

    Intervals of F1 and kappa are from a bootstrap (within members and non-members, or over groups), those of shares
    are Clopper and Pearson's (with groups at the effective size). ValueError on bad input.
    """
    target = check_labels(labels)
    flags = np.asarray(decided)
    if flags.shape != target.shape or not np.isin(flags, (0, 1)).all():
        raise ValueError(f"decisions must be 0 or 1, one for each of the {len(target)} labels")
    flags = flags.astype(np.int64)
    place = np.array([[3, 1], [2, 0]])[target, flags]  # cells in the order tp, fp, fn, tn
    cells = np.bincount(place, minlength=4)
    rng = keys.generator(seed, "metrics/decision")
    trials = int(cells[0] + cells[2]), int(cells[1] + cells[3])
    if groups is None:
        hits = rng.binomial(trials[0], cells[0] / trials[0], draws)
        alarms = rng.binomial(trials[1], cells[1] / trials[1], draws)
        sampled = np.stack([hits, alarms, trials[0] - hits, trials[1] - alarms], axis=1)
    else:
        onehot = np.eye(4)[place]
        sampled = np.concatenate([w @ onehot for w in bootstrap_weights(target, groups, draws, rng)])
        numbers = group_numbers(groups, len(target))[1]
        trials = len(np.unique(numbers[target == 1])), len(np.unique(numbers[target == 0]))
    tp, fp, fn, tn = (int(cell) for cell in cells)

    def figure(name: str) -> Figure:
        low, high = _cell_interval(name, cells, sampled, trials, level)
        return Figure(value=float(SUMMARIES[name](tp, fp, fn, tn)), low=low, high=high)

    def share(among: np.ndarray, right: np.ndarray) -> Share:
        return _share(right[among], None if groups is None else np.asarray(groups)[among], level)

    return Labelling(
        confusion=Confusion(true_positives=tp, false_positives=fp, false_negatives=fn, true_negatives=tn),
        f1=figure("f1"),
        kappa=figure("kappa"),
        accuracy=share(np.ones(len(target), dtype=bool), flags == target),
        precision=share(flags == 1, target == 1),
        recall=share(target == 1, flags == 1),
        specificity=share(target == 0, flags == 0),
        baselines=trivial_labellings(int(target.sum()), int((target == 0).sum()), level),
    )


def _share(right: np.ndarray, groups: np.ndarray | None, level: float) -> Share:
    count = int(right.sum())
    if not len(right):
        return Share(value=None, low=None, high=None, count=count, of=0, why="nobody was labelled used")
    low, high = proportion_interval(right, groups, level)
    return Share(value=float(right.mean()), low=low, high=high, count=count, of=len(right))


def trivial_labellings(members: int, non_members: int, level: float = 0.95) -> Trivial:
    """What labelling without looking reaches: all-ones, the majority (all-ones in a tie), and a fair coin.

    All-ones and majority are certain once the numbers of members and non-members are. A coin's expectation and range
    are exact over the two binomials.
    """

    def trivial(ones: bool) -> dict[str, float]:
        counts = (members, non_members, 0, 0) if ones else (0, 0, members, non_members)
        return {name: float(summary(*counts)) for name, summary in SUMMARIES.items()}

    def support(trials: int) -> tuple[np.ndarray, np.ndarray]:
        reach = 4.5 * np.sqrt(trials)  # nine standard deviations: what lies beyond has no weight in float64
        values = np.arange(max(0, int(trials / 2 - reach)), min(trials, int(trials / 2 + reach) + 1) + 1)
        return values, stats.binom.pmf(values, trials, 0.5)

    hits, hit_weight = support(members)
    alarms, alarm_weight = support(non_members)
    weight = np.outer(hit_weight, alarm_weight).ravel()
    coin = {}
    for name, summary in SUMMARIES.items():
        lattice = summary(hits[:, None], alarms[None, :], members - hits[:, None], non_members - alarms[None, :])
        values = np.broadcast_to(lattice, (len(hits), len(alarms))).ravel()
        order = np.argsort(values)
        below = np.cumsum(weight[order])
        low, high = (
            float(values[order][min(int(np.searchsorted(below, q)), len(order) - 1)])
            for q in ((1 - level) / 2, (1 + level) / 2)
        )
        coin[name] = Figure(value=float(values @ weight), low=low, high=high)
    ones = members >= non_members
    return Trivial(
        all_ones=Summaries(**trivial(True)),
        coin=Coin(**coin),
        majority=Majority(label="used" if ones else "not used", **trivial(ones)),
    )

"""Can the probabilities be taken at their word? Brier, log loss, calibration error, reliability, priors."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from attack.metrics.decisions import check_probability
from attack.metrics.intervals import bootstrap_weights, percentile_interval, proportion_interval
from attack.metrics.ranking import DRAWS, check_labels
from attack.results.against_truth import ByChance, Calibration, CalibrationError, Loss, ReliabilityBin
from shadow import keys

SMALLEST = 1e-12  # probabilities are held this far from 0 and 1 in the log loss, which would be infinite


def _checked(probability: ArrayLike, labels: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    target = check_labels(labels)
    return check_probability(probability, len(target)), target


def brier_items(probability: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Squared error of every item, float64 [item]."""
    return np.asarray((probability - labels) ** 2)


def log_loss_items(probability: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Log loss of every item in nats, float64 [item]."""
    held = np.clip(probability, SMALLEST, 1 - SMALLEST)
    return np.asarray(-np.log(np.where(labels == 1, held, 1 - held)))


def brier(probability: ArrayLike, labels: ArrayLike) -> float:
    """Mean squared error of the probability (Brier 1950): 0 best, 0.25 for a constant 1/2."""
    return float(brier_items(*_checked(probability, labels)).mean())


def log_loss(probability: ArrayLike, labels: ArrayLike) -> float:
    """Mean negative log likelihood in nats: 0 best, log 2 for a constant 1/2."""
    return float(log_loss_items(*_checked(probability, labels)).mean())


def default_bins(count: int) -> int:
    """Ten bins of equal mass, fewer where a bin would hold under ten items."""
    return max(1, min(10, count // 10))


def _bins(probability: np.ndarray, bins: int | None) -> np.ndarray:
    """Number of the equal-mass bin for every item [n]; equal probabilities share a bin; no bin is empty."""
    number = default_bins(len(probability)) if bins is None else bins
    if number < 1:
        raise ValueError(f"bins must be at least 1, got {bins}")
    _, place, sizes = np.unique(probability, return_inverse=True, return_counts=True)
    middle = np.cumsum(sizes) - sizes / 2  # the midrank of each distinct probability, from 0 to n
    raw = np.minimum(number - 1, (number * middle / len(probability)).astype(int))
    return np.unique(raw, return_inverse=True)[1][place]


def ece(probability: ArrayLike, labels: ArrayLike, bins: int | None = None) -> float:
    """Expected calibration error over equal-mass bins: mean of |share of members - mean probability|.

    Above zero by chance alone, the more so the fewer items: see `calibration_figures`.
    """
    values, target = _checked(probability, labels)
    return float(np.abs(np.bincount(_bins(values, bins), weights=target - values)).sum() / len(values))


def reliability(
    probability: ArrayLike,
    labels: ArrayLike,
    bins: int | None = None,
    level: float = 0.95,
    groups: ArrayLike | None = None,
    across: ArrayLike | None = None,
) -> tuple[ReliabilityBin, ...]:
    """Bins of a reliability plot by rising probability; `share_low` and `share_high` are those of `proportion_interval`
    with `groups` and `across` [n]."""
    values, target = _checked(probability, labels)
    place = _bins(values, bins)
    ways = [None if way is None else np.asarray(way) for way in (groups, across)]
    rows = []
    for number in range(int(place.max()) + 1):
        here = place == number
        inside, hits = values[here], int(target[here].sum())
        own, other = (None if way is None else way[here] for way in ways)
        low, high = proportion_interval(target[here], own, level, other)
        rows.append(
            ReliabilityBin(
                low=float(inside.min()),
                high=float(inside.max()),
                probability=float(inside.mean()),
                items=len(inside),
                members=hits,
                share=hits / len(inside),
                share_low=low,
                share_high=high,
            )
        )
    return tuple(rows)


def calibration_figures(
    probability: ArrayLike,
    labels: ArrayLike,
    groups: ArrayLike | None = None,
    level: float = 0.95,
    seed: int = 0,
    draws: int = DRAWS,
) -> Calibration:
    """Brier score, log loss and ECE with bootstrap intervals and what to hold them against, and the reliability bins.

    Brier and log loss: percentile interval (members and non-members apart, or whole groups). ECE: the resampled ECE is
    biased upwards as the ECE itself is, so its interval is the basic bootstrap (2 x value - quantiles), cut at 0 and
    stretched to hold the value; `by_chance` is what it would be if these probabilities were right.
    """
    values, target = _checked(probability, labels)
    rng = keys.generator(seed, "metrics/calibration")
    place = _bins(values, None)
    onehot = np.eye(int(place.max()) + 1)[place]
    losses = np.stack([brier_items(values, target), log_loss_items(values, target)], axis=1)
    means, errors = [], []
    for weights in bootstrap_weights(target, groups, draws, rng):
        total = weights.sum(axis=1)
        means.append(weights @ losses / total[:, None])
        errors.append(np.abs((weights * (target - values)) @ onehot).sum(axis=1) / total)
    sampled, gaps = np.concatenate(means), np.concatenate(errors)
    share = float(target.mean())

    def loss(number: int, constant: float) -> Loss:
        low, high = percentile_interval(sampled[:, number], level)
        return Loss(value=float(losses[:, number].mean()), low=low, high=high, constant=constant)

    error = ece(values, target)
    low, high = percentile_interval(gaps, level)
    chance = np.empty(draws)
    for draw in range(draws):
        noise = (rng.random(len(values)) < values) - values
        chance[draw] = np.abs(np.bincount(place, weights=noise)).sum() / len(values)
    return Calibration(
        brier=loss(0, share * (1 - share)),
        log_loss=loss(1, float(-share * np.log(share) - (1 - share) * np.log(1 - share))),
        ece=CalibrationError(
            value=error,
            low=max(0.0, min(error, 2 * error - high)),
            high=max(error, 2 * error - low),
            bins=int(place.max()) + 1,
            by_chance=ByChance(value=float(chance.mean()), high=float(np.quantile(chance, level))),
            p=float((1 + np.sum(chance >= error - 1e-12)) / (draws + 1)),
        ),
        reliability=reliability(values, target, level=level),
    )


def ppv_at_prior(tpr: float, fpr: float, prior: float) -> float | None:
    """P(used | flagged) for a flag with these rates where a share `prior` was used; None if none is.

    Bayes: prior TPR / (prior TPR + (1 - prior) FPR). All three in [0, 1], else ValueError.
    """
    if not all(0 <= value <= 1 for value in (tpr, fpr, prior)):
        raise ValueError(f"rates and prior must lie between 0 and 1, got {tpr}, {fpr}, {prior}")
    flagged = prior * tpr + (1 - prior) * fpr
    return prior * tpr / flagged if flagged > 0 else None


def shift_prior(probability: ArrayLike, prior_from: float, prior_to: float) -> np.ndarray:
    """Probabilities [n] under another prior: the odds are multiplied by the ratio of the prior odds.

    Both priors lie strictly between 0 and 1, else ValueError.
    """
    if not (0 < prior_from < 1 and 0 < prior_to < 1):
        raise ValueError(f"priors must lie strictly between 0 and 1, got {prior_from} and {prior_to}")
    values = check_probability(probability)
    ones = values * prior_to / prior_from
    return ones / (ones + (1 - values) * (1 - prior_to) / (1 - prior_from))

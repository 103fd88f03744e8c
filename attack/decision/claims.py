"""What is stated of the target: the AUC to expect, the probabilities and the thresholds, all following the verdict.

The AUC comes from the target's own images: from labelled dev slices where these are of the same generator, else from
how far the candidates stand above slices known not to be used. Probabilities are tempered to it (`tempering`). Where no
leak is shown the interval holds one half and every probability is next to the prior.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special, stats

from attack import metrics
from attack.decision import placebo as placebos
from attack.decision import platt, tempering, unlabelled, verdict
from attack.decision.platt import Labels, ShadowPairs
from attack.inference import estimate
from attack.metrics.intervals import Interval
from attack.results import Thresholds
from shadow import keys

DEV, CANDIDATES = "dev", "candidates"
_Z = 1.959964


@dataclass(frozen=True)
class Expected:
    """The AUC to expect on the candidates, in [0, 1], and its 95 % interval for these candidates; None and `why` where
    nothing can be said. source: "dev" (labelled dev slices of the same generator, with a leak together with the
    candidates) or "candidates"."""

    auc: float | None
    interval: Interval | None
    source: str
    why: str = ""


@dataclass(frozen=True)
class ByLabels:
    """What labelled dev slices of the same generator say: their AUC and its interval, and the AUC by them and the
    candidates together, each None where no labels count or no leak was found."""

    dev: tuple[float, Interval] | None = None
    pooled: unlabelled.Pooled | None = None


def expect(
    found: unlabelled.Contrast | None,
    why_not: str,
    said: verdict.Verdict,
    labels: ByLabels,
    candidates: int,
    prior: float,
) -> Expected:
    """The AUC to expect of used against unused candidates.

    found: their comparison, None for the reason `why_not`. With a leak the pooled AUC of `labels` is stated, or without
    labels that of the comparison. Without a leak the interval holds one half: it is that of the labels, with the chance
    of judging on other slices, or where they alone stand apart it reaches from what the candidates say to what the
    labels say.
    """
    dev, pooled = labels.dev, labels.pooled
    held = None if dev is None else _for_candidates(*dev, candidates)
    if said.level == verdict.LEAK and pooled is not None:
        return Expected(pooled.auc, pooled.interval(), DEV)
    if held is not None and dev is not None and said.level == verdict.CANNOT_TELL:
        return Expected(dev[0], (min(held[0], 0.5), max(held[1], 0.5)), DEV)
    if found is None:
        if held is None:
            return Expected(None, None, CANDIDATES, why_not)
        return Expected(None, (min(held[0], 0.5), held[1]), CANDIDATES, why_not)
    low, high = found.interval(prior)
    if said.level == verdict.LEAK:
        return Expected(found.auc_weighed(prior), (low, high), CANDIDATES)
    low, high = min(low, 0.5), max(high, 0.5, held[1] if held else 0.5)
    return Expected(float(np.clip(found.auc(prior), 0.0, 1.0)), (low, high), CANDIDATES)


def _for_candidates(auc: float, limits: Interval, candidates: int) -> Interval:
    """The interval of an AUC of labelled slices, with the chance of judging on so many candidates, half of them used:
    on either side the root of the sum of squares of both half-widths (Hanley and McNeil 1982 for the second)."""
    half = max(candidates // 2, 1)
    low, high = (
        _Z * np.sqrt(metrics.hanley_mcneil(float(np.clip((auc + end) / 2, 0.02, 0.98)), half, half)) for end in limits
    )
    ends = max(auc - float(np.hypot(auc - limits[0], low)), 0.0), min(auc + float(np.hypot(limits[1] - auc, high)), 1.0)
    return estimate.attainable(ends, candidates)


@dataclass(frozen=True)
class Probabilities:
    """Of membership at the prior: probability, low and high [candidate]; implied: the AUC that they imply."""

    probability: np.ndarray
    low: np.ndarray
    high: np.ndarray
    implied: float | None


@dataclass(frozen=True)
class Claim:
    """What probabilities may claim: the AUC to expect, whether a leak is shown, and the prior of membership."""

    expected: Expected
    leak: bool
    prior: float


def probabilities(score: np.ndarray, resampled: np.ndarray, claim: Claim, seed: int) -> Probabilities:
    """Without labels: scores [candidate] tempered to the expected AUC, or next to the prior where no leak is shown.

    resampled: scores [resample, candidate] with shadows and patients drawn anew. The limits are the 2.5 and 97.5 %
    points over resamples, each tempered to an AUC drawn from what is known of it.
    """
    expected, leak, prior = claim.expected, claim.leak, claim.prior
    if len(score) < 2:
        flat = np.full(len(score), prior)
        return Probabilities(flat, np.zeros(len(score)), np.ones(len(score)), None)
    # so few candidates cannot know an AUC nearer to 1, and no slice is certain
    claimed = min(expected.auc, 1 - 1 / len(score)) if leak and expected.auc is not None else 0.5
    chance = tempering.temper(score, claimed, prior).probability(score)
    rng = keys.generator(seed, "tempered")
    aucs = _drawn(expected, rng.random(len(resampled)))
    spread = np.array(
        [
            tempering.temper(row, min(auc, 1 - 1 / len(score)), prior).probability(row)
            for row, auc in zip(resampled, aucs, strict=True)
        ]
    )
    return _with_limits(score, chance, spread, prior, leak)


def _drawn(expected: Expected, quantile: np.ndarray) -> np.ndarray:
    """AUCs at these quantiles of a normal law with the expected AUC's interval; anything from one half to 1 where
    nothing is known."""
    if expected.auc is None or expected.interval is None:
        return 0.5 + quantile / 2
    low, high = expected.interval
    below, above = (expected.auc - low) / _Z, (high - expected.auc) / _Z
    z = stats.norm.ppf(np.clip(quantile, 1e-6, 1 - 1e-6))
    return np.clip(expected.auc + np.where(z < 0, below, above) * z, 0.0, 1.0)


def labelled_probabilities(
    score: np.ndarray,
    resampled: np.ndarray,
    dev: Labels,
    shadows: ShadowPairs,
    claim: Claim,
    seed: int,
) -> Probabilities:
    """With labelled dev slices of the same generator: their Platt map (`recalibration.fit`), whose log odds are made
    smaller where they imply a larger AUC than is expected; next to the prior where no leak is shown. The limits are
    over resamples of shadows and of the dev slices' patients."""
    expected, leak, prior = claim.expected, claim.leak, claim.prior
    claimed = expected.auc if leak and expected.auc is not None else 0.5
    found = platt.fit(dev, shadows)
    chance = _held_down(found.logit(score), claimed, prior)
    groups = int(dev.group.max()) + 1
    spread = np.zeros(resampled.shape)
    rng = keys.generator(seed, "tempered")
    aucs = _drawn(expected, rng.random(len(resampled)))
    for b, row in enumerate(resampled):
        counts = np.bincount(rng.integers(0, groups, groups), minlength=groups)[dev.group].astype(float)
        spread[b] = _held_down(platt.fit(dev, shadows, counts).logit(row), float(aucs[b]), prior)
    return _with_limits(score, chance, spread, prior, leak)


def _held_down(log_odds: np.ndarray, auc: float, prior: float) -> np.ndarray:
    """Probabilities of log odds [candidate] at a prior of one half, times the largest share in [0, 1] that implies no
    more than the AUC `auc`, moved to `prior`."""
    if len(log_odds) < 2:
        return special.expit(log_odds + special.logit(prior))

    def implied(share: float) -> float:
        return tempering.implied_auc(log_odds, special.expit(share * log_odds + special.logit(prior)))

    share = 1.0
    if implied(1.0) > auc:
        low, high = 0.0, 1.0
        for _ in range(30):
            middle = (low + high) / 2
            low, high = (low, middle) if implied(middle) > auc else (middle, high)
        share = max(low, 1e-3)
    return special.expit(share * log_odds + special.logit(prior))


def _with_limits(score: np.ndarray, chance: np.ndarray, spread: np.ndarray, prior: float, leak: bool) -> Probabilities:
    low, high = np.quantile(spread, (0.025, 0.975), axis=0)
    low, high = np.minimum(low, chance), np.maximum(high, chance)
    if not leak:
        low, high = np.minimum(low, prior), np.maximum(high, prior)
    return Probabilities(chance, low, high, tempering.implied_auc(score, chance) if len(score) > 1 else None)


def thresholds(
    score: np.ndarray,
    probability: np.ndarray,
    null: np.ndarray,
    labelled: np.ndarray,
    placebo: placebos.Placebo,
    fpr: float,
) -> Thresholds:
    """Where `used` and `not used` begin, from the target's own images.

    null: scores of slices known not to be used, on the same pile: a candidate above all but a share `fpr` of them is
    called used (`recalibration.threshold`). The share is lowered until no more than `fpr` of the candidates would have
    been called used on the shadows' piles, which hold none of them. labelled: scores of used dev slices of the same
    generator, which set `not used` in the same way. Where slices are too few for a threshold, the probabilities set it:
    of all members, or non-members, that they imply, a share `fpr` is missed, or flagged.
    """
    share = placebo.share(fpr)
    used = platt.threshold(null, share)
    interval = platt.fpr_interval(len(null), share) if used is not None else None
    below = platt.threshold(-labelled, fpr)
    order = np.argsort(score)
    if used is None:
        flagged = np.cumsum((1 - probability[order])[::-1]) <= fpr * (1 - probability).sum()
        used = float(score[order][::-1][flagged.sum() - 1]) if flagged.any() else None
    if below is None:
        missed = np.cumsum(probability[order]) <= fpr * probability.sum()
        not_used = float(score[order][missed.sum() - 1]) if missed.any() else None
    else:
        not_used = -below
    if used is not None and not_used is not None and not_used >= used:  # so well separated that the zones overlap
        used = (used + not_used) / 2  # both shares are kept wherever they meet, and best in the middle
        not_used = float(np.nextafter(used, -np.inf))
    return Thresholds(
        used=used,
        not_used=not_used,
        nulls=len(null) if interval is not None else 0,
        share=share,
        fpr_interval=interval,
    )

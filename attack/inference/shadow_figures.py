"""Figures of the attack on the shadows' held-out pairs: how well it tells members, by rate, stratum and signal."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from attack import metrics, results
from attack.inference import estimate, heldout
from attack.inference.combiner import Combiner
from attack.inference.crossfit import Labelled
from attack.results import Interval, PriorRow, Rate, ShadowsAuc, Signal, Stratum, TwoWay

FPRS = (0.1, 0.01, 0.001)
PRIORS = (0.5, 0.1, 0.01)
STRATA = ("unrelated", "related")


def open_above(found: TwoWay) -> TwoWay:
    """More images of the target than of a shadow show more of it, and how much more the shadows do not tell: the
    prediction intervals end at certainty."""

    def opened(limits: Interval | None) -> Interval | None:
        return None if limits is None else (limits[0], 1.0)

    return dataclasses.replace(
        found,
        prediction_interval=opened(found.prediction_interval),
        strata=tuple(
            dataclasses.replace(one, prediction_interval=opened(one.prediction_interval)) for one in found.strata
        ),
    )


def _auc(known: Labelled, score: np.ndarray, candidates: int, weight: np.ndarray, excess: float = 0.0) -> ShadowsAuc:
    try:
        kinds = estimate.Kinds(known.family, excess)
        found = estimate.mean_auc(score, known.shadow_signals.member, known.group, candidates, weight, kinds)
    except ValueError as error:
        return ShadowsAuc(why=str(error))
    return ShadowsAuc(
        auc=found.auc,
        interval=found.interval,
        prediction_interval=found.prediction,
        within_shadow=tuple(found.within.tolist()),
    )


@dataclass(frozen=True)
class Expecting:
    """The target that the figures are to hold for. candidates: how many; prior: of membership; mix: how near its
    non-members lie to its members; excess: how far it lies outside the shadows (`pile_shift.excess`)."""

    candidates: int
    prior: float
    mix: estimate.Mix
    excess: float


def two_way(
    known: Labelled, logit: np.ndarray, probability: np.ndarray, parts: heldout.Split, asked: Expecting
) -> TwoWay:
    """AUC for non-members as near to members as the target's are expected to be; rates, calibration and strata as they
    are among the shadows' pairs.

    Rates and calibration are those of thresholds and of a map (`probability`, [shadow, candidate]) that were set
    without a pair's shadow and group, see `heldout`. Their intervals allow for pairs that share a shadow or a patient.
    """
    member = known.shadow_signals.member
    label, chance, mix = member.ravel().astype(int), probability.ravel(), asked.mix
    at_half = metrics.shift_prior(chance, asked.prior, 0.5)  # pairs are half members, whatever prior the user set
    return TwoWay(
        **vars(_auc(known, logit, asked.candidates, mix.weight, asked.excess)),
        pairs=member.size,
        members=int(member.sum()),
        non_members=int((~member).sum()),
        tpr_at_fpr=tuple(_rate(heldout.operating_point(logit, member, parts, fpr), fpr) for fpr in FPRS),
        strata=tuple(_stratum(name, known, logit, asked.candidates, asked.excess) for name in STRATA),
        brier=metrics.brier(at_half, label),
        log_loss=metrics.log_loss(at_half, label),
        ece=metrics.ece(at_half, label),
        reliability=_reliability(at_half, label, parts),
        nearness=results.Nearness(edges=mix.edges[:-1], target=mix.target, shadows=mix.shadows, thin=mix.thin),
    )


def _rate(point: metrics.OperatingPoint, fpr: float) -> Rate:
    if not point.attainable:
        return Rate(fpr=fpr, why=point.why)
    return Rate(
        fpr=fpr,
        tpr=point.tpr,
        interval=point.interval,
        true_positives=point.true_positives,
        members=point.members,
        false_positives=point.false_positives,
        non_members=point.non_members,
        fpr_interval=point.fpr_interval,
    )


def _stratum(name: str, known: Labelled, logit: np.ndarray, candidates: int, excess: float) -> Stratum:
    """Members against non-members of one kind, a name of STRATA."""
    member, related = known.shadow_signals.member, known.shadow_signals.holds_relative
    others = ~member & (related if name == "related" else ~related)
    return Stratum(
        **vars(_auc(known, logit, candidates, others.astype(float), excess)),
        stratum=name,
        members=int(member.sum()),
        non_members=int(others.sum()),
    )


def _reliability(at_half: np.ndarray, label: np.ndarray, parts: heldout.Split) -> tuple[results.ReliabilityRow, ...]:
    """at_half, label [pair]: probabilities at a prior of one half, and the answers."""
    rows = metrics.reliability(at_half, label, groups=parts.groups.ravel(), across=parts.shadows.ravel())
    return tuple(each.row for each in rows)


def signals(
    known: Labelled, z: np.ndarray, combiners: list[Combiner], candidates: int, weight: np.ndarray
) -> tuple[Signal, ...]:
    """Each calibrated signal alone, and its mean weight in the attack."""

    def figures(column: int, name: str) -> Signal:
        found = _auc(known, z[..., column], candidates, weight)
        mean = float(np.mean([combiner.weights[column] for combiner in combiners]))
        return Signal(name=name, auc=found.auc, interval=found.interval, why=found.why, weight=mean)

    return tuple(figures(j, name) for j, name in enumerate(known.shadow_signals.names))


@dataclass(frozen=True)
class Limits:
    """used: scores at or above are called used; not_used: at or below, not used; priors: what the first means at other
    priors."""

    used: float | None
    not_used: float | None
    priors: tuple[PriorRow, ...]


def thresholds(logit: np.ndarray, known: Labelled, parts: heldout.Split, fpr: float) -> Limits:
    """Frozen on the shadows: `used` at or above the first (false positive rate `fpr`), `not used` at or below the
    second (share `fpr` of members missed), and what the first means at other priors. What it means is measured with
    thresholds that were set on other pairs (`heldout`)."""
    member = known.shadow_signals.member
    label = member.ravel().astype(int)
    used = metrics.tpr_at_fpr(logit.ravel(), label, fpr)
    missed = metrics.tpr_at_fpr(-logit.ravel(), 1 - label, fpr)
    high = used.threshold
    low = None if missed.threshold is None else -missed.threshold
    if high is not None and low is not None and low >= high:  # so well separated that the zones overlap
        low = float(np.nextafter(high, -np.inf))
    held = heldout.operating_point(logit, member, parts, fpr)
    return Limits(high, low, tuple(_prior_row(held, prior) for prior in PRIORS))


def _prior_row(held: metrics.OperatingPoint, prior: float) -> PriorRow:
    ppv = None if held.tpr is None or held.fpr is None else metrics.ppv_at_prior(held.tpr, held.fpr, prior)
    return PriorRow(prior=prior, tpr=held.tpr, fpr=held.fpr, ppv=ppv)

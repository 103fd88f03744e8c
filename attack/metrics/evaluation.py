"""Every figure of a membership inference attack, each with a 95 % interval: `evaluate` and its parts.

Higher score = more likely a member; labels are 0/1 with 1 = used. The parts live in `ranking` (AUC), `roc_curve`
(curve, TPR at a low FPR), `decisions` (labellings), `probabilities` and `intervals`; the package offers them.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from attack.metrics import pooling
from attack.metrics.decisions import OBJECTIVES, check_probability, decide, decision_figures, trivial_labellings
from attack.metrics.intervals import group_numbers, proportion_interval
from attack.metrics.probabilities import calibration_figures, ppv_at_prior
from attack.metrics.ranking import (
    EVERY_GROUP,
    auc,
    auc_interval,
    auc_interval_grouped,
    check_labels,
    check_scores,
    delong,
    per_group,
    smallest_detectable_auc,
)
from attack.metrics.roc_curve import roc, tpr_at_fpr
from attack.results.against_truth import (
    AgainstTruth,
    Area,
    BestLabelling,
    Curve,
    DetectableAuc,
    ItemsArea,
    Losses,
    PerGroup,
    Probabilities,
    RatePoint,
    Strata,
    StratumArea,
)
from attack.results.labellings import Counts, Decided, Estimate, Ppv

DECISIONS = ("used", "not used", "undetermined")
RATES = (0.1, 0.01, 0.001)
PRIORS = (0.5, 0.1, 0.01)
LEVEL = 0.95


def _area(scores: np.ndarray, labels: np.ndarray, groups: np.ndarray | None, seed: int) -> Area:
    if groups is None:
        low, high = auc_interval(scores, labels, LEVEL)
        method = "DeLong on the logit scale"
    else:
        low, high = auc_interval_grouped(scores, labels, groups, LEVEL, seed)
        method = "bootstrap over groups on the logit scale"
    return Area(value=auc(scores, labels), low=low, high=high, method=method)


def _ppv(flagged: np.ndarray, labels: np.ndarray, groups: np.ndarray | None) -> tuple[Ppv, ...]:
    """PPV at every prior. Its interval pairs the limits of TPR and FPR, each wide enough that both hold."""
    joint = 1 - (1 - LEVEL) / 2
    (tpr, tpr_low, tpr_high), (fpr, fpr_low, fpr_high) = (
        (
            float(flagged[kind].mean()),
            *proportion_interval(flagged[kind], None if groups is None else groups[kind], joint),
        )
        for kind in (labels == 1, labels == 0)
    )
    rows = []
    for prior in PRIORS:
        value = ppv_at_prior(tpr, fpr, prior)
        if value is None:
            rows.append(_no_ppv(prior, "nobody was flagged"))
            continue
        low, high = ppv_at_prior(tpr_low, fpr_high, prior), ppv_at_prior(tpr_high, fpr_low, prior)
        rows.append(Ppv(value=value, low=low, high=high, prior=prior))
    return tuple(rows)


def _no_ppv(prior: float, why: str) -> Ppv:
    return Ppv(value=None, low=None, high=None, prior=prior, why=why)


def _rate_point(scores: np.ndarray, labels: np.ndarray, rate: float, groups: np.ndarray | None) -> RatePoint:
    point = tpr_at_fpr(scores, labels, rate, LEVEL, groups)
    low, high = point.interval or (None, None)
    fpr_low, fpr_high = point.fpr_interval or (None, None)
    if point.attainable:
        flagged = scores >= (np.inf if point.threshold is None else point.threshold)
        ppv = _ppv(flagged, labels, groups)
    else:
        ppv = tuple(_no_ppv(prior, str(point.why)) for prior in PRIORS)
    return RatePoint(
        wanted_fpr=rate,
        value=point.tpr,
        low=low,
        high=high,
        why=point.why,
        attainable=point.attainable,
        true_positives=point.true_positives,
        members=point.members,
        false_positives=point.false_positives,
        non_members=point.non_members,
        fpr=Estimate(value=point.fpr, low=fpr_low, high=fpr_high),
        threshold=point.threshold,
        ppv=ppv,
    )


def _curve(scores: np.ndarray, labels: np.ndarray) -> Curve:
    """The ROC without the points inside straight runs: the same curve, shorter."""
    fpr, tpr, thresholds = roc(scores, labels)
    keep = np.ones(len(fpr), dtype=bool)
    members, others = int(labels.sum()), int((labels == 0).sum())
    hits, alarms = np.rint(tpr * members), np.rint(fpr * others)
    keep[1:-1] = (np.diff(hits, 2) != 0) | (np.diff(alarms, 2) != 0)
    finite = thresholds[keep][1:].tolist()  # the first is infinite, which JSON cannot say
    return Curve(fpr=tuple(fpr[keep].tolist()), tpr=tuple(tpr[keep].tolist()), thresholds=(None, *finite))


def _decided(decision: ArrayLike, labels: np.ndarray, groups: np.ndarray | None, seed: int) -> Decided:
    chosen = np.asarray(decision)
    if chosen.shape != labels.shape:
        raise ValueError(f"decision must have one entry for each of the {len(labels)} labels")
    if not np.isin(chosen.astype(str), DECISIONS).all():
        raise ValueError(f"decision must be one of {', '.join(DECISIONS)}")
    chosen = chosen.astype(str)
    flagged = chosen == "used"
    settled = chosen != "undetermined"
    counts = {}
    for name in DECISIONS:
        members, others = (int(np.sum((chosen == name) & (labels == kind))) for kind in (1, 0))
        counts[name] = Counts(members=members, non_members=others)
    only, why = None, "what was decided does not hold both members and non-members"
    if 0 < labels[settled].sum() < settled.sum():
        among = None if groups is None else groups[settled]
        only = decision_figures(flagged[settled], labels[settled], among, LEVEL, seed)
    return Decided(
        counts=counts,
        settled=int(settled.sum()),
        undetermined_as_not_used=decision_figures(flagged, labels, groups, LEVEL, seed),
        ppv=_ppv(flagged, labels, groups),
        settled_only=only,
        settled_only_why=None if only else why,
    )


def _probabilities(probability: np.ndarray, labels: np.ndarray, groups: np.ndarray | None, seed: int) -> Probabilities:
    found, best = calibration_figures(probability, labels, groups, LEVEL, seed), {}
    for objective in OBJECTIVES:
        choice = decide(probability, objective)
        figures = decision_figures(choice.labels, labels, groups, LEVEL, seed)
        best[objective] = BestLabelling(
            expected=choice.expected,
            claimed=choice.claimed,
            all_ones=choice.all_ones,
            reached=getattr(figures, objective),
            figures=figures,
        )
    return Probabilities(**vars(found), best=best)


def _strata(scores: np.ndarray, labels: np.ndarray, groups: np.ndarray, seed: int) -> Strata:
    """AUC of members against the two kinds of non-members: near relatives of members, and strangers."""
    numbers = group_numbers(groups, len(labels))[1]
    holds_relative = np.bincount(numbers, weights=labels)[numbers] > 0

    def against(others: np.ndarray) -> StratumArea:
        inside, count = (labels == 1) | others, int(others.sum())
        if not count:
            return StratumArea(value=None, low=None, high=None, non_members=0, why="there are no such non-members")
        return StratumArea(**vars(_area(scores[inside], labels[inside], groups[inside], seed)), non_members=count)

    relatives = against(holds_relative & (labels == 0))
    return Strata(other_item_of_a_member_group=relatives, item_of_a_non_member_group=against(~holds_relative))


def _per_group(
    scores: np.ndarray, labels: np.ndarray, groups: np.ndarray, probability: np.ndarray | None, seed: int
) -> PerGroup:
    """With probabilities also Brier score, log loss and ECE of the chance that anything of a group was used, if items
    were independent."""
    found = per_group(scores, labels, groups, LEVEL)
    if probability is None:
        return found
    unique, numbers = group_numbers(groups, len(labels))
    used = (np.bincount(numbers, weights=labels) > 0).astype(int)
    if used.all():
        return replace(found, any_used=Estimate(value=None, low=None, high=None, why=EVERY_GROUP))
    chance = pooling.pool(probability, numbers, len(unique), pooling.any_used)
    sure = calibration_figures(chance, used, None, LEVEL, seed)
    return replace(found, any_used=Losses(brier=sure.brier, log_loss=sure.log_loss, ece=sure.ece))


def evaluate(
    scores: ArrayLike,
    labels: ArrayLike,
    probability: ArrayLike | None = None,
    decision: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    seed: int = 0,
) -> AgainstTruth:
    """Every figure for one labelled set of n candidates; all numbers in it are finite.

    scores: finite [n], higher = more likely used; labels: 0/1 [n], both present; probability: P(used) in [0,
    1]; decision: "used", "not used" or "undetermined"; groups: patient (or cluster) of every candidate, any
    type. Same input and seed, same result. With groups every interval allows for the likeness of items of one group.

    ValueError on other lengths, one class only, scores that are not finite, or values outside their range.
    """
    target = check_labels(labels)
    values = check_scores(scores, len(target))
    names = None
    if groups is not None:
        unique, numbers = group_numbers(groups, len(target))
        names = unique[numbers]
    sure = None if probability is None else check_probability(probability, len(target))
    members, others = int(target.sum()), int((target == 0).sum())
    area, items = _area(values, target, names, seed), _area(values, target, None, seed)
    detectable = smallest_detectable_auc(members, others, 0.8, LEVEL)
    too_few = None if detectable else "too few candidates to tell even a perfect attack from chance"
    return AgainstTruth(
        items=len(target),
        members=members,
        non_members=others,
        groups=None if names is None else len(np.unique(names)),
        level=LEVEL,
        seed=seed,
        auc=area,
        auc_items=ItemsArea(**vars(items), variance=delong(values, target)[1]),
        verdict="above chance" if area.low > 0.5 else "below chance" if area.high < 0.5 else "cannot tell",
        smallest_detectable_auc=DetectableAuc(value=detectable, power=0.8, why=too_few),
        roc=_curve(values, target),
        tpr_at_fpr=tuple(_rate_point(values, target, rate, names) for rate in RATES),
        decision=None if decision is None else _decided(decision, target, names, seed),
        probability=None if sure is None else _probabilities(sure, target, names, seed),
        baselines=trivial_labellings(members, others, LEVEL),
        per_group=None if names is None else _per_group(values, target, names, sure, seed),
        strata=None if names is None else _strata(values, target, names, seed),
    )

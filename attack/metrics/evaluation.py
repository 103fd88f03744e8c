"""Every figure of a membership inference attack, each with a 95 % interval: `evaluate` and its parts.

Higher score = more likely a member; labels are 0/1 with 1 = used. The parts live in `ranking` (AUC), `roc_curve`
(curve, TPR at a low FPR), `decisions` (labellings), `probabilities` and `intervals`; the package offers them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from attack.metrics import pooling
from attack.metrics.decisions import (
    OBJECTIVES,
    check_probability,
    decide,
    decision_figures,
    trivial_labellings,
)
from attack.metrics.intervals import group_numbers, proportion_interval
from attack.metrics.probabilities import (
    calibration_figures,
    ppv_at_prior,
)
from attack.metrics.ranking import (
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

DECISIONS = ("used", "not used", "undetermined")
RATES = (0.1, 0.01, 0.001)
PRIORS = (0.5, 0.1, 0.01)
LEVEL = 0.95


def _absent(why: str, **more: Any) -> dict[str, Any]:
    return {"value": None, "low": None, "high": None, **more, "why": why}


def _auc_figure(scores: np.ndarray, labels: np.ndarray, groups: np.ndarray | None, seed: int) -> dict[str, Any]:
    if groups is None:
        low, high = auc_interval(scores, labels, LEVEL)
        method = "DeLong on the logit scale"
    else:
        low, high = auc_interval_grouped(scores, labels, groups, LEVEL, seed)
        method = "bootstrap over groups on the logit scale"
    return {"value": auc(scores, labels), "low": low, "high": high, "method": method}


def _ppv(flagged: np.ndarray, labels: np.ndarray, groups: np.ndarray | None) -> list[dict[str, Any]]:
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
            rows.append(_absent("nobody was flagged", prior=prior))
            continue
        low, high = ppv_at_prior(tpr_low, fpr_high, prior), ppv_at_prior(tpr_high, fpr_low, prior)
        rows.append({"value": value, "low": low, "high": high, "prior": prior})
    return rows


def _operating_point(scores: np.ndarray, labels: np.ndarray, rate: float, groups: np.ndarray | None) -> dict[str, Any]:
    point = tpr_at_fpr(scores, labels, rate, LEVEL, groups)
    low, high = point.interval or (None, None)
    fpr_low, fpr_high = point.fpr_interval or (None, None)
    result = {
        "wanted_fpr": rate,
        "value": point.tpr,
        "low": low,
        "high": high,
        **{
            name: getattr(point, name)
            for name in ("attainable", "true_positives", "members", "false_positives", "non_members")
        },
        "fpr": {"value": point.fpr, "low": fpr_low, "high": fpr_high},
        "threshold": point.threshold,
    }
    if not point.attainable:
        return {**result, "ppv": [_absent(str(point.why), prior=prior) for prior in PRIORS], "why": point.why}
    flagged = scores >= (np.inf if point.threshold is None else point.threshold)
    return {**result, "ppv": _ppv(flagged, labels, groups)}


def _curve(scores: np.ndarray, labels: np.ndarray) -> dict[str, list[float | None]]:
    """The ROC without the points inside straight runs: the same curve, shorter."""
    fpr, tpr, thresholds = roc(scores, labels)
    keep = np.ones(len(fpr), dtype=bool)
    members, others = int(labels.sum()), int((labels == 0).sum())
    hits, alarms = np.rint(tpr * members), np.rint(fpr * others)
    keep[1:-1] = (np.diff(hits, 2) != 0) | (np.diff(alarms, 2) != 0)
    return {
        "fpr": fpr[keep].tolist(),
        "tpr": tpr[keep].tolist(),
        "thresholds": [None, *thresholds[keep][1:].tolist()],  # the first is infinite, which JSON cannot say
    }


def _decided(decision: ArrayLike, labels: np.ndarray, groups: np.ndarray | None, seed: int) -> dict[str, Any]:
    chosen = np.asarray(decision)
    if chosen.shape != labels.shape:
        raise ValueError(f"decision must have one entry for each of the {len(labels)} labels")
    if not np.isin(chosen.astype(str), DECISIONS).all():
        raise ValueError(f"decision must be one of {', '.join(DECISIONS)}")
    chosen = chosen.astype(str)
    flagged = chosen == "used"
    settled = chosen != "undetermined"
    counts = {
        name: {
            "members": int(np.sum((chosen == name) & (labels == 1))),
            "non_members": int(np.sum((chosen == name) & (labels == 0))),
        }
        for name in DECISIONS
    }
    result = {
        "counts": counts,
        "settled": int(settled.sum()),
        "undetermined_as_not_used": decision_figures(flagged, labels, groups, LEVEL, seed),
        "ppv": _ppv(flagged, labels, groups),
    }
    if 0 < labels[settled].sum() < settled.sum():
        among = None if groups is None else groups[settled]
        result["settled_only"] = decision_figures(flagged[settled], labels[settled], among, LEVEL, seed)
    else:
        result["settled_only"] = None
        result["settled_only_why"] = "what was decided does not hold both members and non-members"
    return result


def _best_labellings(
    probability: np.ndarray, labels: np.ndarray, groups: np.ndarray | None, seed: int
) -> dict[str, Any]:
    result = {}
    for objective in OBJECTIVES:
        choice = decide(probability, objective)
        figures = decision_figures(choice.labels, labels, groups, LEVEL, seed)
        result[objective] = {
            "expected": choice.expected,
            "claimed": choice.claimed,
            "all_ones": choice.all_ones,
            "reached": figures[objective],
            "figures": figures,
        }
    return result


def _strata(scores: np.ndarray, labels: np.ndarray, groups: np.ndarray, seed: int) -> dict[str, Any]:
    """AUC of members against the two kinds of non-members: near relatives of members, and strangers."""
    numbers = group_numbers(groups, len(labels))[1]
    holds_relative = np.bincount(numbers, weights=labels)[numbers] > 0
    result = {}
    for name, others in (
        ("other_item_of_a_member_group", holds_relative & (labels == 0)),
        ("item_of_a_non_member_group", ~holds_relative),
    ):
        inside = (labels == 1) | others
        if others.any():
            figure = _auc_figure(scores[inside], labels[inside], groups[inside], seed)
        else:
            figure = _absent("there are no such non-members")
        result[name] = {**figure, "non_members": int(others.sum())}
    return result


def _any_used(probability: np.ndarray, labels: np.ndarray, groups: np.ndarray, seed: int) -> dict[str, Any]:
    """Brier, log loss and ECE of the probability that anything of a group was used, items taken for independent."""
    unique, numbers = group_numbers(groups, len(labels))
    holds_relative = (np.bincount(numbers, weights=labels) > 0).astype(int)
    if holds_relative.all():
        return _absent("every group has a member, so there is nothing to tell apart")
    chance = pooling.pool(probability, numbers, len(unique), pooling.any_used)
    found = calibration_figures(chance, holds_relative, None, LEVEL, seed)
    return {name: found[name] for name in ("brier", "log_loss", "ece")}


def evaluate(
    scores: ArrayLike,
    labels: ArrayLike,
    probability: ArrayLike | None = None,
    decision: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Every figure for one labelled set of n candidates, ready for JSON (no NaN, no infinity).

    scores: finite [n], higher = more likely used; labels: 0/1 [n], both present; probability: P(used) in [0,
    1]; decision: "used", "not used" or "undetermined"; groups: patient (or cluster) of every candidate, any
    type. Same input and seed, same result. A figure is {value, low, high} (95 %); where it cannot be had the
    three are None and `why` says why. With groups every interval allows for the likeness of items of one
    group.

    Keys: `items`, `members`, `non_members`, `groups` (number or None), `level`, `seed`;
    `auc` (+ method), `auc_items` (DeLong over items, groups or not; + variance), `verdict` ("above chance",
    "below chance" or "cannot tell": the AUC's interval holds 1/2), `smallest_detectable_auc` {value, power};
    `roc` {fpr, tpr, thresholds: lists, the first threshold None = infinite};
    `tpr_at_fpr`: for 10 %, 1 % and 0.1 % {wanted_fpr, value, low, high, attainable, true_positives, members,
    false_positives, non_members, fpr {value, low, high}, threshold, ppv};
    `ppv`: list over priors .5, .1, .01 of {value, low, high, prior};
    `decision` (None without): {counts {used, not used, undetermined: {members, non_members}}, settled,
    undetermined_as_not_used, settled_only (or None and settled_only_why): as `decision_figures`, ppv};
    `probability` (None without): {brier, log_loss, ece, reliability (as `calibration_figures`), best: for f1,
    kappa, accuracy {expected, claimed, all_ones, reached, figures}};
    `baselines` (as `trivial_labellings`); `per_group` (as `per_group`, and with probabilities `any_used`: brier,
    log_loss and ece of the chance that anything of a group was used; None without groups); `strata` (None
    without groups): AUC of members against `other_item_of_a_member_group` and `item_of_a_non_member_group`.

    ValueError on other lengths, one class only, scores that are not finite, or values outside their range.
    """
    target = check_labels(labels)
    values = check_scores(scores, len(target))
    names = None
    if groups is not None:
        unique, numbers = group_numbers(groups, len(target))
        names = unique[numbers]
    members, others = int(target.sum()), int((target == 0).sum())
    area = _auc_figure(values, target, names, seed)
    low, high = auc_interval(values, target, LEVEL)
    verdict = "above chance" if area["low"] > 0.5 else "below chance" if area["high"] < 0.5 else "cannot tell"
    detectable = smallest_detectable_auc(members, others, 0.8, LEVEL)
    result: dict[str, Any] = {
        "items": len(target),
        "members": members,
        "non_members": others,
        "groups": None if names is None else len(np.unique(names)),
        "level": LEVEL,
        "seed": seed,
        "auc": area,
        "auc_items": {
            "value": area["value"],
            "low": low,
            "high": high,
            "variance": delong(values, target)[1],
            "method": "DeLong on the logit scale",
        },
        "verdict": verdict,
        "smallest_detectable_auc": {"value": detectable, "power": 0.8},
        "roc": _curve(values, target),
        "tpr_at_fpr": [_operating_point(values, target, rate, names) for rate in RATES],
        "decision": None if decision is None else _decided(decision, target, names, seed),
        "probability": None,
        "baselines": trivial_labellings(members, others, LEVEL),
        "per_group": None if names is None else per_group(values, target, names, LEVEL),
        "strata": None if names is None else _strata(values, target, names, seed),
    }
    if detectable is None:
        result["smallest_detectable_auc"]["why"] = "too few candidates to tell even a perfect attack from chance"
    if probability is not None:
        sure = check_probability(probability, len(target))
        result["probability"] = {
            **calibration_figures(sure, target, names, LEVEL, seed),
            "best": _best_labellings(sure, target, names, seed),
        }
        if names is not None:
            result["per_group"]["any_used"] = _any_used(sure, target, names, seed)
    return result

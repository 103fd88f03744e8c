"""How strong the attack is on generators like the shadows, and what to expect of one more: the target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special, stats

from attack.intervals import Interval, clopper_pearson
from attack.ranking import hanley_mcneil


@dataclass(frozen=True)
class MeanAuc:
    """Mean of the within-shadow AUCs, its interval, and the interval for the AUC of one unseen generator."""

    auc: float
    interval: Interval
    prediction: Interval
    within: np.ndarray  # [shadow]


def _interval(auc: float, variance: float, freedom: float, units: int) -> Interval:
    """Student-t interval on the logit scale. Next to 0 or 1 the variance estimate dies and would claim certainty:
    there a Clopper-Pearson interval for `units` independent trials stands in."""
    if not 0.005 < auc < 0.995:
        return clopper_pearson(auc * units, units)
    half = stats.t.ppf(0.975, freedom) * np.sqrt(variance) / (auc * (1 - auc))
    centre = special.logit(auc)
    return float(special.expit(centre - half)), float(special.expit(centre + half))


def weighted_placements(score: np.ndarray, member: np.ndarray, weight: np.ndarray) -> tuple[float, np.ndarray]:
    """AUC of one pile's scores [candidate] when non-members weigh `weight`, and the influence of every candidate.

    Influences sum to 0 and the sum of their squares estimates the AUC's variance (DeLong's components, DeLong,
    DeLong and Clarke-Pearson 1988, with weights).
    """
    inside, outside = score[member], score[~member]
    share = weight[~member] / weight[~member].sum()
    above = (inside[:, None] > outside[None]) + 0.5 * (inside[:, None] == outside[None])
    auc = float((above @ share).mean())
    influence = np.zeros(len(score))
    influence[member] = (above @ share - auc) / len(inside)
    influence[~member] = share * (above.mean(0) - auc)
    return auc, influence


def mean_auc(
    score: np.ndarray,
    member: np.ndarray,
    group: np.ndarray,
    target_candidates: int,
    weight: np.ndarray | None = None,
) -> MeanAuc:
    """Figures of scores [shadow, candidate] with the answer member bool [shadow, candidate].

    The interval of the mean uses the two-way cluster variance of Cameron, Gelbach and Miller (2011) over shadows and
    groups of images: V = V_shadow + V_group - V_pair, each a sum of squared influence sums, never below V_pair. The
    prediction interval adds the variance of one generator around that mean: the variance between the shadows' AUCs
    (which holds the chance of the images they were judged on), at least the chance of judging on
    `target_candidates` images, half of them members. Both with Student's t, shadows - 1 degrees of freedom.
    `weight` >= 0 [shadow, candidate] of non-members gives another mix of them (0 leaves a pair out); shadows without
    both classes drop out. Raises ValueError where fewer than two shadows are left.
    """
    weight = np.ones(member.shape) if weight is None else weight
    shadows = [k for k in range(len(score)) if member[k].any() and (weight[k] * ~member[k]).any()]
    if len(shadows) < 2:
        raise ValueError("fewer than two shadows have members and non-members here")
    count, groups = len(shadows), int(group.max()) + 1
    aucs, judged = np.zeros(count), np.zeros(count)
    pair_square, by_group = 0.0, np.zeros(groups)
    for i, k in enumerate(shadows):
        aucs[i], influence = weighted_placements(score[k], member[k], weight[k])
        judged[i] = (influence**2).sum()
        clustered = np.bincount(group, influence, groups) / count
        by_group += clustered
        pair_square += float((clustered**2).sum())
    mean, between = float(aucs.mean()), float(aucs.var(ddof=1))
    used_groups = max(len(np.unique(group[(weight > 0).any(0)])), 2)
    group_square = float((by_group**2).sum()) * used_groups / (used_groups - 1)
    variance = max(between / count + group_square - pair_square, pair_square, 1e-6)
    half = max(target_candidates // 2, 1)
    chance = hanley_mcneil(float(np.clip(mean, 0.02, 0.98)), half, half)
    one = max(between + max(0.0, chance - float(judged.mean())), chance)
    return MeanAuc(
        mean,
        _interval(mean, variance, count - 1, used_groups),
        _interval(mean, variance + one, count - 1, min(used_groups, half)),
        aucs,
    )


def sibling_share(groups: Sequence[str], dev_labels: Sequence[int], candidate_groups: Sequence[str]) -> float | None:
    """Expected share, among the candidates that were not used, of those with a used slice in their group.

    How the challenge was split is read off the labelled dev slices alone: `mixing` is the chance that another slice
    of a not-used slice's group was used. `groups` and `dev_labels` (1 = used) are those of the dev slices. None
    where no group has two slices, so that there is nothing to read.
    """
    names, label = np.asarray(groups), np.asarray(dev_labels)
    pairs = used = 0
    for name in sorted(set(names[label == 0].tolist())):
        members, others = int((label[names == name] == 1).sum()), int((label[names == name] == 0).sum())
        pairs += others * (members + others - 1)
        used += others * members
    mates = {name: int((np.asarray(candidate_groups) == name).sum()) - 1 for name in set(candidate_groups)}
    if not pairs:
        return None if any(mates.values()) or set(mates) & set(groups) else 0.0
    mixing = used / pairs
    shares, weights = [], []
    for name in candidate_groups:
        members, others = int((label[names == name] == 1).sum()), int((label[names == name] == 0).sum())
        not_used = (others * (1 - mixing) + members * mixing + 0.5) / (members + others + 1)
        shares.append(1.0 if members else 1 - (1 - mixing) ** mates[name])
        weights.append(not_used)
    return float(np.average(shares, weights=weights))


def stratum_weights(member: np.ndarray, touched: np.ndarray, share: float | None) -> np.ndarray:
    """Weights [shadow, candidate] of non-members such that siblings (touched) weigh `share` in all of a shadow, where
    it has both strata; ones where `share` is None."""
    weight = np.ones(member.shape)
    if share is None:
        return weight
    sibling, stranger = ~member & touched, ~member & ~touched
    for k in range(len(member)):
        if sibling[k].any() and stranger[k].any():
            weight[k, sibling[k]] = share / sibling[k].sum()
            weight[k, stranger[k]] = (1 - share) / stranger[k].sum()
    return weight

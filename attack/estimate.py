"""How strong the attack is on generators like the shadows, and what to expect of one more: the target."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special, stats

from attack.intervals import clopper_pearson
from attack.ranking import delong, hanley_mcneil, placements


@dataclass(frozen=True)
class MeanAuc:
    """Mean of the within-shadow AUCs, its interval, and the interval for the AUC of one unseen generator."""

    auc: float
    interval: tuple[float, float]
    prediction: tuple[float, float]
    within: np.ndarray  # [shadow]


def _interval(auc: float, variance: float, freedom: float, units: int) -> tuple[float, float]:
    """Student-t interval on the logit scale. Next to 0 or 1 the variance estimate dies and would claim certainty:
    there a Clopper-Pearson interval for `units` independent trials stands in."""
    if not 0.005 < auc < 0.995:
        return clopper_pearson(auc * units, units)
    half = stats.t.ppf(0.975, freedom) * np.sqrt(variance) / (auc * (1 - auc))
    centre = special.logit(auc)
    return float(special.expit(centre - half)), float(special.expit(centre + half))


def mean_auc(
    score: np.ndarray,
    member: np.ndarray,
    group: np.ndarray,
    target_candidates: int,
    use: np.ndarray | None = None,
) -> MeanAuc:
    """Figures of scores [shadow, candidate] with the answer member bool [shadow, candidate].

    The interval of the mean uses the two-way cluster variance of Cameron, Gelbach and Miller (2011) over shadows and
    groups of images: V = V_shadow + V_group - V_pair, each a sum of squared influence sums (DeLong's placements), never
    below V_pair. The prediction interval adds the variance of one generator around that mean: the variance between
    the shadows' AUCs (which holds the chance of the images they were judged on), at least the chance of judging on
    `target_candidates` images, half of them members. Both with Student's t, shadows - 1 degrees of freedom.
    `use` bool [shadow, candidate] restricts the pairs (a stratum); shadows without both classes drop out. Raises
    ValueError where fewer than two shadows are left.
    """
    use = np.ones(member.shape, bool) if use is None else use
    shadows = [k for k in range(len(score)) if len(set(member[k][use[k]].tolist())) == 2]
    if len(shadows) < 2:
        raise ValueError("fewer than two shadows have members and non-members here")
    groups = int(group.max()) + 1
    aucs, judged = np.zeros(len(shadows)), np.zeros(len(shadows))
    pair_square, by_group = 0.0, np.zeros(groups)
    for i, k in enumerate(shadows):
        pick = use[k]
        label = member[k][pick].astype(int)
        aucs[i], judged[i] = delong(score[k][pick], label)
        share = np.where(label == 1, label.sum(), len(label) - label.sum())
        influence = (placements(score[k][pick], label) - aucs[i]) / share / len(shadows)
        np.add.at(by_group, group[pick], influence)
        pair_square += float((np.bincount(group[pick], influence, groups) ** 2).sum())
    count = len(shadows)
    mean = float(aucs.mean())
    between = float(aucs.var(ddof=1))
    used_groups = max(len(np.unique(group[use.any(0)])), 2)
    group_square = float((by_group**2).sum()) * used_groups / (used_groups - 1)
    variance = max(between / count + group_square - pair_square, pair_square, 1e-6)
    half = max(target_candidates // 2, 1)
    chance = hanley_mcneil(float(np.clip(mean, 0.02, 0.98)), half, half)
    one = max(between + max(0.0, chance - float(judged.mean())), chance)
    freedom = count - 1
    return MeanAuc(
        mean,
        _interval(mean, variance, freedom, used_groups),
        _interval(mean, variance + one, freedom, min(used_groups, half)),
        aucs,
    )

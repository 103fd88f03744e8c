"""How strong the attack is on generators like the shadows, and what to expect of one more: the target."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special, stats

from attack.metrics.intervals import Interval, clopper_pearson
from attack.metrics.ranking import hanley_mcneil
from shadow import keys

# sd on the logit scale: how far the AUC of targets lay from that of shadows, beyond what those differ by among
# themselves (docs/results.md). Shadows of one family cannot tell.
OTHERS = 0.5


@dataclass(frozen=True)
class MeanAuc:
    """Mean of the within-shadow AUCs, its interval, and the interval for the AUC of one unseen generator."""

    auc: float
    interval: Interval
    prediction: Interval
    within: np.ndarray  # [shadow]


def interval(auc: float, variance: float, freedom: float, units: float) -> Interval:
    """Student-t interval on the logit scale of an AUC of this `variance`. Next to 0 or 1 the variance estimate dies and
    would claim certainty: there a Clopper-Pearson interval for `units` independent trials stands in."""
    if not 0.005 <= auc <= 0.995:
        return clopper_pearson(auc * units, units)
    half = stats.t.ppf(0.975, freedom) * np.sqrt(variance) / (auc * (1 - auc))
    centre = special.logit(auc)
    return float(special.expit(centre - half)), float(special.expit(centre + half))


def attainable(limits: Interval, candidates: int) -> Interval:
    """An interval for the AUC of one pile, widened to the steps of 1 / (members x non-members) in which the AUC of so
    many candidates, half of them members, moves: so that it holds 1 where 1 is as good as its end."""
    steps = max(candidates // 2, 1) ** 2
    return math.floor(limits[0] * steps) / steps, min(math.ceil(limits[1] * steps) / steps, 1.0)


def weighted_placements(score: np.ndarray, member: np.ndarray, weight: np.ndarray) -> tuple[float, np.ndarray]:
    """AUC of one pile's scores [candidate] when non-members weigh `weight`, and the influence of every candidate.

    Influences sum to 0 and the sum of their squares estimates the AUC's variance (DeLong's components, DeLong,
    DeLong and Clarke-Pearson 1988, with weights).
    """
    inside, outside = score[member], score[~member]
    share = weight[~member] / weight[~member].sum()
    above = (inside[:, None] > outside[None]) + 0.5 * (inside[:, None] == outside[None])
    # Shares sum to 1 up to rounding only: without the bound a perfect attack has an AUC of 1.0000000000000002.
    auc = min(float((above @ share).mean()), 1.0)
    influence = np.zeros(len(score))
    influence[member] = (above @ share - auc) / len(inside)
    influence[~member] = share * (above.mean(0) - auc)
    return auc, influence


def spread(aucs: np.ndarray, family: np.ndarray) -> tuple[float, float, float]:
    """(variance, its part between families, degrees of freedom of the rest) of the AUC of one more generator around the
    mean of `aucs` [shadow].

    Of one family, or with a shadow from each: the variance between shadows. Else one-way random effects (Searle,
    Casella and McCulloch 1992): with the mean squares MSW within and MSB between F families of n_f shadows, K in all,
    a family has the variance s = max(0, (MSB - MSW) (F - 1) / (K - sum n_f^2 / K)), and a generator of a new family
    lies around the mean of these ones with MSW + s (1 + sum n_f^2 / K^2).
    """
    names, number = np.unique(family, return_inverse=True)
    count, size = len(aucs), np.bincount(number)
    if len(names) < 2 or len(names) == count:
        return float(aucs.var(ddof=1)), 0.0, count - 1
    means = np.bincount(number, aucs) / size
    within = float(((aucs - means[number]) ** 2).sum()) / (count - len(names))
    among = float((size * (means - aucs.mean()) ** 2).sum()) / (len(names) - 1)
    each = max(0.0, (among - within) * (len(names) - 1) / (count - float((size**2).sum()) / count))
    part = each * (1 + float((size**2).sum()) / count**2)
    return within + part, part, count - len(names)


def freedom_of(of_families: float, rest: float, family: np.ndarray, freedom: float) -> float:
    """Degrees of freedom of the sum of two variances, one between the families, int [shadow], and a rest with `freedom`
    (Satterthwaite 1946)."""
    if not of_families:
        return freedom
    families = len(np.unique(family))
    return (rest + of_families) ** 2 / (of_families**2 / (families - 1) + rest**2 / freedom)


@dataclass(frozen=True)
class Kinds:
    """How far the target is from the shadows.

    family: int [shadow]; where there are two or more, the prediction is for a generator of yet another one (`spread`).
    excess: >= 0 (`pile_shift.excess`); the variance of one generator is multiplied by 1 + excess, since the target lies
    outside the shadows.
    """

    family: np.ndarray | None = None
    excess: float = 0.0


def mean_auc(
    score: np.ndarray,
    member: np.ndarray,
    group: np.ndarray,
    target_candidates: int,
    weight: np.ndarray | None = None,
    kinds: Kinds | None = None,
) -> MeanAuc:
    """Figures of scores [shadow, candidate] with the answer member bool [shadow, candidate].

    The interval of the mean uses the two-way cluster variance of Cameron, Gelbach and Miller (2011) over shadows and
    groups of images: V = V_shadow + V_group - V_pair, each a sum of squared influence sums, never below V_pair / 2.
    (It may lie below V_pair: shadows are references of each other, so that an image's scores in two of them vary
    against each other. On 300 null self-tests the interval covered .5 in 96.0 % at 1.20 times the exact width; with
    V_pair as the floor in 99.0 % at 1.37 times, with none in 91.0 % at 1.13 times.) The prediction interval adds
    the variance of one generator around that mean: the variance between the shadows' AUCs (which holds the chance
    of the images they were judged on), at least the chance of judging on `target_candidates` images, half of them
    members; and, where the
    shadows are of one family, that of generators of another kind (`OTHERS`). Both with Student's t, shadows - 1 degrees
    of freedom. `weight` >= 0 [shadow, candidate] of non-members gives another mix of them (0 leaves a pair out);
    shadows without both classes drop out. Raises ValueError where fewer than two shadows are left.
    """
    of, excess = (None, 0.0) if kinds is None else (kinds.family, kinds.excess)
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
    variance = max(between / count + group_square - pair_square, pair_square / 2, 1e-6)
    half = max(target_candidates // 2, 1)
    chance = hanley_mcneil(float(np.clip(mean, 0.02, 0.98)), half, half)
    family = np.zeros(count, int) if of is None else np.asarray(of)[shadows]
    around, of_families, freedom = spread(aucs, family)
    one = max(around + max(0.0, chance - float(judged.mean())), chance)
    if len(np.unique(family)) == 1:
        one += (OTHERS * mean * (1 - mean)) ** 2
    one *= 1 + excess
    of_families *= 1 + excess
    freedom = freedom_of(of_families, variance + one - of_families, family, freedom)
    units = min(used_groups, half) / (1 + excess)
    return MeanAuc(
        mean,
        interval(mean, variance, count - 1, used_groups),
        attainable(interval(mean, variance + one, freedom, units), target_candidates),
        aucs,
    )


def mean_within(score: np.ndarray, member: np.ndarray) -> float:
    """Mean within-shadow AUC of scores [shadow, candidate]. Raises ValueError where a shadow lacks a class."""
    if not (member.any(1) & (~member).any(1)).all():
        raise ValueError("a shadow has members or non-members alone here")
    ones = np.ones(member.shape[1])
    return float(np.mean([weighted_placements(s, m, ones)[0] for s, m in zip(score, member, strict=True)]))


def paired_gain(score: np.ndarray, other: np.ndarray, member: np.ndarray, group: np.ndarray) -> tuple[float, float]:
    """(gain, standard error): mean within-shadow AUC of `score` [shadow, candidate] minus that of `other` on the same
    pairs, with the two-way cluster variance of `mean_auc` of the differences of their influences. Raises ValueError
    where a shadow lacks a class."""
    gain = mean_within(score, member) - mean_within(other, member)
    count, ones = len(member), np.ones(member.shape[1])
    numbers = np.unique(group, return_inverse=True)[1]
    groups = max(int(numbers.max()) + 1, 2)
    differences, pair_square, by_group = np.zeros(count), 0.0, np.zeros(groups)
    for k in range(count):
        mine, first = weighted_placements(score[k], member[k], ones)
        theirs, second = weighted_placements(other[k], member[k], ones)
        differences[k] = mine - theirs
        clustered = np.bincount(numbers, first - second, groups) / count
        by_group += clustered
        pair_square += float((clustered**2).sum())
    between = float(differences.var(ddof=1)) / count if count > 1 else 0.0
    group_square = float((by_group**2).sum()) * groups / (groups - 1)
    return gain, float(np.sqrt(max(between + group_square - pair_square, pair_square / 2)))


@dataclass(frozen=True)
class Mix:
    """How near the target's non-members are expected to lie to its members, beside the shadows'.

    weight: [shadow, candidate] of the shadows' non-members; edges: of the nearness bins; target, shadows: share of
    non-members in each bin; thin: share of the target's in bins where the shadows have fewer than ten pairs.
    """

    weight: np.ndarray
    edges: tuple[float, ...]
    target: tuple[float, ...]
    shadows: tuple[float, ...]
    thin: float


NEARNESS = (0.0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, np.inf)  # distance of standardised images; 1.41: unrelated
_GUESSES = 50  # memberships of the candidates guessed for the expected nearness
_FEW = 10


def mixing(groups: Sequence[str], used: np.ndarray) -> float | None:
    """Chance that another dev slice of a not-used dev slice's group was used; None where no group has two slices, or no
    slice is known to be used.

    It tells how the challenge was split: 0 by patient, about one half by slice.
    """
    if not used.any():
        return None
    names = np.asarray(groups)
    same = (names[:, None] == names[None]) & ~np.eye(len(names), dtype=bool)
    pairs = same[~used]
    return float(pairs[:, used].sum() / pairs.sum()) if pairs.any() else None


def expected_nearness(
    distance: np.ndarray, groups: Sequence[str], dev_used: np.ndarray, prior: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """(nearness, weight) [guess, candidate]: distance of each test candidate, were it not used, to the nearest used
    slice, over guessed memberships of the other candidates.

    distance [real, real] and groups [real] are of the dev slices, then the candidates. Another candidate of the same
    group is used with the chance `mixing` read off the dev slices, one of another group with chance `prior`; dev
    slices are what their label says. The weight is the chance that the candidate was not used, judged by the labels
    of its group. Only real slices and dev labels enter: no pile, no score.
    """
    dev, names = len(dev_used), np.asarray(groups)
    chance = mixing(groups[:dev], dev_used)
    chance = prior if chance is None else chance
    same = names[dev:, None] == names[None]
    found = np.full((_GUESSES, len(names) - dev), np.inf)
    for guess in range(_GUESSES):
        rng = keys.generator(seed, "nearness", guess)
        coin = rng.random(len(names) - dev)
        by_coin = np.where(same[:, dev:], coin[None] < chance, coin[None] < prior)
        used = np.concatenate([np.broadcast_to(dev_used, (len(by_coin), dev)), by_coin], axis=1)
        np.fill_diagonal(used[:, dev:], False)
        found[guess] = np.where(used, distance[dev:], np.inf).min(1)
    members, others = (same[:, :dev] @ mask.astype(float) for mask in (dev_used, ~dev_used))
    weight = (others * (1 - chance) + members * chance + 0.5) / (members + others + 1)
    return found, np.broadcast_to(weight, found.shape)


def match_nearness(
    distance: np.ndarray,
    groups: Sequence[str],
    dev_used: np.ndarray,
    member: np.ndarray,
    prior: float,
    seed: int,
) -> Mix:
    """Weights of the shadows' non-members such that they lie as near to members as the target's are expected to.

    A non-member that looks like a member is the hard case, and a challenge that is split by slice has many more of
    them than shadows trained on the few dev slices. Post-stratification by the distance to the nearest member.
    """
    pool = member.shape[1]
    own = np.stack([np.where(m[None], distance[:pool, :pool], np.inf).min(1) for m in member])
    wanted, weight = expected_nearness(distance, groups, dev_used, prior, seed)
    inner = np.array(NEARNESS[1:-1])
    bins = len(NEARNESS) - 1
    target = np.bincount(np.digitize(wanted, inner).ravel(), weight.ravel(), bins)
    pairs = np.bincount(np.digitize(own, inner)[~member], minlength=bins)
    target, shadows = target / target.sum(), pairs / pairs.sum()
    ratio = np.divide(target, shadows, out=np.zeros(bins), where=pairs > 0)
    return Mix(
        np.where(member, 1.0, ratio[np.digitize(own, inner)]),
        NEARNESS,
        tuple(target.tolist()),
        tuple(shadows.tolist()),
        float(target[pairs < _FEW].sum()),
    )

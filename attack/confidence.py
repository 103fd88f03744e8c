"""The AUC to expect of this very target without a label of its own: how sure the attack is of its candidates.

Probabilities that are right say themselves how well their ranking tells members apart. On a generator unlike the
shadows they are not right, but they still spread less where less is leaked. So the attack is tried on the shadows'
piles of every training step, from hardly trained to well trained, each as if it were the target's: what AUC it had, and
what AUC its probabilities implied. A line through these trials turns what the candidates' probabilities imply into the
AUC to expect. Accuracy under shift from the drop of the mean confidence is due to Guillory et al. (2021, ICCV, arXiv
2107.03315); here confidence is that of a ranking, and the line is learned from generators that leak less and more.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import optimize, special

from attack import estimate, store, target
from attack.crossfit import Options
from attack.model import Recalibration
from attack.statistics.ranking import hanley_mcneil
from shadow import fleet

LEAST = 10  # candidates: fewer imply an AUC by chance
_LEAST_SHADOWS = 3
_SLOPE, _SLOPE_SD = 1.5, 0.35  # of the line, on the logit scale, before any trial: as of other fleets (docs/results.md)
_OFFSET_SD = 5.0  # so that trials that were all perfect have a line
OTHERS = 0.4  # sd around the line, as `estimate.OTHERS`
_STEEP = 0.25  # d expit / d logit at 1/2
_EXCESS = 2.0  # the line knows targets outside, too: trials are of all steps
_EXACT = {"gtol": 1e-8}
_SURE = 1e-6  # no probability is nearer to 0 or 1


def implied_auc(score: np.ndarray, probability: np.ndarray) -> float:
    """The AUC of scores [candidate] if each were a member with its `probability` [candidate], independently:

        sum_{i != j} p_i (1 - p_j) (1[f_i > f_j] + 1/2 1[f_i = f_j])  /  sum_{i != j} p_i (1 - p_j)

    In n log n. ValueError for fewer than two candidates.
    """
    if len(score) < 2:
        raise ValueError("one candidate has no AUC")
    p = np.clip(probability, _SURE, 1 - _SURE)
    level, where = np.unique(score, return_inverse=True)
    inside, outside = (np.bincount(where, weight, len(level)) for weight in (p, 1 - p))
    below = np.cumsum(outside) - outside
    own = float(p @ (1 - p))
    return (float(inside @ (below + outside / 2)) - own / 2) / (float(p.sum() * (1 - p).sum()) - own)


@dataclass(frozen=True)
class Trials:
    """The attack on piles whose answer is known. implied, auc: float [shadow, step], what its probabilities implied and
    what it had; members, others: float [shadow], the images that it was judged on, of unequal weights as many as would
    tell as much with equal ones (Kish 1965); family: int [shadow]; groups: of all these images."""

    implied: np.ndarray
    auc: np.ndarray
    members: np.ndarray
    others: np.ndarray
    family: np.ndarray
    groups: int

    @property
    def level(self) -> np.ndarray:
        """How sure the attack is at each step: the mean over the shadows of logit implied, float [shadow, step], the
        same in each row."""
        return np.broadcast_to(special.logit(self.implied).mean(0), self.implied.shape)


def trials(
    data: store.Store, step: int, options: Options, draws: int, recalibration: Recalibration, weight: np.ndarray
) -> Trials:
    """Every shadow in turn stands for the target: the attack is fitted on the others at training step `step` and asked
    about its pile of each step (of that step alone where signals have no numbers for others), about every image by a
    fit without the image's group. `recalibration` and the combiner `options.model`, which is not "auto", are those of
    all shadows. Non-members weigh `weight` [shadow, image] (`estimate.match_nearness`) in its AUC. Shadows without both
    classes are left out."""
    like = "generated_test"
    known = data.labelled(step, like)
    steps = (step,) if data.layout.by_step else fleet.pile_steps(data.config)
    piles = {s: data.labelled(s, like).bank.values for s in steps}
    share = np.where(known.bank.member, 0.0, weight)
    asked = [k for k, member in enumerate(known.bank.member) if member.any() and share[k].any()]
    implied, auc = (np.zeros((len(asked), len(piles))) for _ in range(2))
    for row, k in enumerate(asked):
        member = known.bank.member[k]
        rest = known.only([j for j in range(len(known.bank.member)) if j != k])
        # of the target most of the presumed are no members; of a shadow half of them are, and which is known
        targets = [
            target.Target(pile[k], pile[k], ~member, rest.bank, data.pool, data.presumed) for pile in piles.values()
        ]
        found = target.score_pools(rest, targets, dataclasses.replace(options, aside=1), draws)
        for column, score in enumerate(found):
            auc[row, column] = estimate.weighted_placements(score, member, weight[k])[0]
            implied[row, column] = implied_auc(score, recalibration.probability(score, 0.5))
    others = share[asked].sum(1) ** 2 / (share[asked] ** 2).sum(1)
    members = known.bank.member[asked].sum(1).astype(float)
    return Trials(implied, auc, members, others, known.family[asked], len(np.unique(known.group)))


def _line(found: Trials) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(line, inverse information, residuals, slopes) of the fractional logistic regression (Papke and Wooldridge 1996)

        E[AUC] = expit(offset + slope . level)

    over the trials: line [offset, slope], residuals and d expit / d level both [shadow, step]. By the `level` of a step
    and not by what each trial implied, whose noise would flatten the line. A trial weighs as many coins as tell what
    its AUC tells at 1/2, 3 m n / (m + n + 1).
    """
    x = np.stack([np.ones(found.auc.size), found.level.ravel()], 1)
    y, coins = found.auc.ravel(), np.repeat(_coins(found), found.auc.shape[1])
    mean, precision = np.array([0.0, _SLOPE]), np.diag([_OFFSET_SD**-2, _SLOPE_SD**-2])

    def loss(line: np.ndarray) -> float:
        log_odds, off = x @ line, line - mean
        return float(coins @ (np.logaddexp(0, log_odds) - y * log_odds) + off @ precision @ off / 2)

    def gradient(line: np.ndarray) -> np.ndarray:
        return x.T @ (coins * (special.expit(x @ line) - y)) + precision @ (line - mean)

    def information(line: np.ndarray) -> np.ndarray:
        chance = special.expit(x @ line)
        return x.T @ ((coins * chance * (1 - chance))[:, None] * x) + precision

    line = optimize.minimize(loss, mean, jac=gradient, hess=information, method="trust-exact", options=_EXACT).x
    chance = special.expit(x @ line)
    shape = found.auc.shape
    return line, np.linalg.inv(information(line)), (y - chance).reshape(shape), (chance * (1 - chance)).reshape(shape)


def _coins(found: Trials) -> np.ndarray:
    """What a trial weighs, [shadow]."""
    return 3 * found.members * found.others / (found.members + found.others + 1)


def _scatter(found: Trials, residual: np.ndarray, rise: np.ndarray) -> float:
    """Variance of the trials around the line on the logit scale, beyond the chance of judging them and, with two
    families or more, beyond that between these; by moments, for a line of two numbers. With one trial more, at 1/2 and
    on the line: next to 1 a single image makes logits scatter widely."""
    line, count = found.auc - residual, residual.size
    names, number = np.unique(found.family, return_inverse=True)
    if len(names) > 1:
        shift = np.array([residual[number == f].sum() / rise[number == f].sum() for f in range(len(names))])
        residual = residual - rise * shift[number][:, None]
    chance = sum(
        hanley_mcneil(auc, members, others)
        for aucs, members, others in zip(line, found.members, found.others, strict=True)
        for auc in aucs
    )
    freedom = max(count - 1 - len(names), 1)
    return max(0.0, float((residual**2).sum()) * count / freedom - chance) / (float((rise**2).sum()) + _STEEP**2)


def foresee(found: Trials, implied: float, candidates: int, excess: float) -> dict[str, Any]:
    """{"auc", "interval", "implied", "offset", "slope", "trials"}: the AUC to expect of `candidates`, half of them
    members, whose probabilities imply the AUC `implied`, with the 95 % interval for that one AUC.

    The line of `_line` at `implied`; its slope has the prior N(1.5, .35), as of other fleets, which decides where the
    trials imply much the same. On the logit scale its variance is the sum of that of the line there, clustered by
    shadow; of the scatter of the trials around it beyond the chance of judging them, by moments; of generators of
    another kind (`OTHERS`) or, with two families or more, between these; and of the chance of judging on these
    candidates (Hanley and McNeil 1982). Where the target's pile lies outside the shadows' all but the first are
    1 + `excess` (`regime.excess`) times as large, at most three times. Student's t with shadows - 1 degrees of freedom;
    next to 0 and 1 the Clopper-Pearson interval of `estimate.interval` where it reaches further. {"auc": None, "why"}
    where there are too few shadows.
    """
    shadows, _ = found.auc.shape
    if shadows < _LEAST_SHADOWS:
        return {"auc": None, "interval": None, "why": f"only {shadows} shadows hold both members and non-members"}
    line, inverse, residual, rise = _line(found)
    coins = _coins(found)[:, None]
    at = np.array([1.0, special.logit(implied)])
    pull = np.stack([coins * residual, coins * residual * found.level]).sum(2)
    of_line = float(at @ inverse @ (pull @ pull.T) @ inverse @ at) * shadows / (shadows - 1)
    of_line += float((inverse @ at)[1] ** 2) / _SLOPE_SD**2
    auc, half = float(special.expit(at @ line)), max(candidates // 2, 1)
    clipped = float(np.clip(auc, 0.02, 0.98))
    judged = hanley_mcneil(clipped, half, half) / (clipped * (1 - clipped)) ** 2
    shift = (coins * residual).sum(1) / (coins * rise).sum(1)  # of each shadow, one step from the line
    _, of_families, freedom = estimate.spread(shift, found.family)
    of_others = OTHERS**2 if len(np.unique(found.family)) == 1 else 0.0
    outside = 1 + min(excess, _EXCESS)
    of_families *= outside
    rest = of_line + outside * (_scatter(found, residual, rise) + of_others + judged)
    freedom = estimate.freedom_of(of_families, rest, found.family, freedom)
    units = min(found.groups, half) / outside
    near = float(np.clip(auc, 0.005, 0.995))
    variance = (rest + of_families) * (near * (1 - near)) ** 2  # of the AUC itself
    ends = [estimate.interval(each, variance, freedom, units) for each in (auc, near)]
    limits = min(low for low, _ in ends), max(high for _, high in ends)
    return {
        "auc": auc,
        "interval": list(estimate.attainable(limits, candidates)),
        "implied": implied,
        "offset": float(line[0]),
        "slope": float(line[1]),
        "trials": {"implied": found.implied.tolist(), "auc": found.auc.tolist()},
    }


def of_candidates(
    data: store.Store,
    score: np.ndarray,
    step: int,
    options: Options,
    draws: int,
    recalibration: Recalibration,
    weight: np.ndarray,
    excess: float,
) -> dict[str, Any]:
    """`foresee` for the target's candidates with their scores [candidate], by the shadows' recalibration; the others as
    in `trials` and `foresee`."""
    if len(score) < LEAST:
        return {"auc": None, "interval": None, "why": f"{len(score)} candidates are too few, {LEAST} are needed"}
    implied = implied_auc(score, recalibration.probability(score, 0.5))
    found = trials(data, step, options, draws, recalibration, weight)
    return foresee(found, implied, len(score), excess)

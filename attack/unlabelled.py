"""What the target's own images say of the candidates without a label of theirs.

Candidates are a mixture of used and unused slices. Slices known not to be used say how an unused slice scores on the
very pile that is attacked. So two things can be measured on the target itself, whatever made it: whether the candidates
stand above those slices (a one-sided test with patients as units), and from how far they do, the AUC of used against
unused candidates, if a share `prior` of them was used. To learn of one part of a mixture from the other is the idea of
positive-unlabelled learning (Elkan and Noto 2008, KDD), here with known negatives.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

from attack import estimate, target
from attack.crossfit import Labelled, Options
from attack.statistics.intervals import Interval
from attack.statistics.ranking import hanley_mcneil

_Z = 1.959964  # of a 95 % interval
_FAR = 40.0  # standard errors: a mean so far below leaves only the lower end of the interval
LEAST = 10  # candidates, and slices known not to be used: fewer stand above each other by chance


@dataclass(frozen=True)
class Inflation:
    """By how much a comparison varies more than its own variance says: factor >= 1, the mean of so many `placebos`."""

    factor: float = 1.0
    placebos: int = 0


@dataclass(frozen=True)
class Contrast:
    """Candidates against slices known not to be used.

    area: the chance in [0, 1] that a candidate scores higher than such a slice, ties counted one half; variance: of the
    area, patients drawn anew; freedom: of Student's t for it; candidates, nulls: slices; patients: of the candidates;
    null_patients: of the others.
    """

    area: float
    variance: float
    freedom: float
    candidates: int
    nulls: int
    patients: int
    null_patients: int

    @property
    def p(self) -> float:
        """One-sided p of "the candidates score like slices that were not used"."""
        return float(stats.t.sf((self.area - 0.5) / np.sqrt(self.variance), self.freedom))

    def inflated(self, by: Inflation) -> Contrast:
        """With the variance times the factor, where that is above 1, and the degrees of freedom of a product of two
        estimates: K placebos tell the factor with K, and relative variances add up (2 / f of f degrees)."""
        if not by.factor > 1:
            return self
        freedom = 1 / (1 / self.freedom + 1 / by.placebos)
        return dataclasses.replace(self, variance=self.variance * by.factor, freedom=freedom)

    def auc(self, prior: float) -> float:
        """Of used against unused candidates, not clipped, if a share `prior` was used:

        P(candidate > null) = prior AUC + (1 - prior) / 2
        """
        return 0.5 + (self.area - 0.5) / prior

    def auc_after(self, limit: float, prior: float) -> float:
        """The AUC where it is stated only because `p` came out below `limit`: such estimates are too high.

        The median-unbiased estimate of a normal mean given that it passed the limit (Zhong and Prentice 2008,
        Biostatistics, for effects that are reported where they are significant), no lower than the interval and no
        higher than `auc`. Just past the limit it is far lower, far past it the same. ValueError where p is not below.
        """
        error = float(np.sqrt(self.variance))
        z, least = (self.area - 0.5) / error, float(stats.t.isf(limit, self.freedom))

        def surplus(mean: float) -> float:
            return float(np.log(0.5) + stats.norm.logsf(least - mean) - stats.norm.logsf(z - mean))

        plain, low = min(self.auc(prior), 1.0), max(self.interval(prior)[0], 0.5)
        if z <= least:
            raise ValueError(f"p {self.p:.2g} is not below {limit}")
        mean = z if surplus(z) >= 0 else z - _FAR
        if surplus(z) < 0 < surplus(z - _FAR):
            mean = float(optimize.brentq(surplus, z - _FAR, z))
        return float(np.clip(0.5 + mean * error / prior, low, max(plain, low)))

    def interval(self, prior: float, level: float = 0.95) -> Interval:
        """Student's t interval of `auc`, cut to [0, 1]."""
        half = float(stats.t.ppf((1 + level) / 2, self.freedom) * np.sqrt(self.variance)) / prior
        centre = self.auc(prior)
        return float(np.clip(centre - half, 0, 1)), float(np.clip(centre + half, 0, 1))


def contrast(score: np.ndarray, null: np.ndarray, group: np.ndarray, null_group: np.ndarray) -> Contrast:
    """Compares scores of candidates [candidate] with those of slices known not to be used, null [slice].

    group, null_group: patient numbers of both, from one numbering. The variance sums DeLong's influences by patient
    (DeLong, DeLong and Clarke-Pearson 1988; Obuchowski 1997 for clustered data), and Student's t has the degrees of
    freedom of a sum of two variances, one of each side's patients (Satterthwaite 1946). Next to complete separation
    the influences vanish; the variance is at least that of one in twelve for each of the fewer side's patients.
    ValueError where there are fewer than two patients on a side.
    """
    patients, null_patients = len(np.unique(group)), len(np.unique(null_group))
    if min(patients, null_patients) < 2:
        raise ValueError("one patient alone: chance cannot be told from use")
    values, asked = np.concatenate([score, null]), np.arange(len(score) + len(null)) < len(score)
    area, influence = estimate.weighted_placements(values, asked, np.ones(len(values)))
    numbers = np.unique(np.concatenate([group, null_group]), return_inverse=True)[1]
    count = int(numbers.max()) + 1
    mine, theirs = (np.bincount(numbers[side], influence[side], count) for side in (asked, ~asked))
    of_asked = float((mine**2).sum()) * patients / (patients - 1)
    of_nulls = float((theirs**2).sum()) * null_patients / (null_patients - 1)
    variance = of_asked + of_nulls + 2 * float(mine @ theirs)  # patients on both sides
    floor, least = (0.5 / min(patients, null_patients)) ** 2 / 3, float(min(patients, null_patients) - 1)
    freedom = least
    if of_asked + of_nulls > 0:
        parts = of_asked**2 / (patients - 1) + of_nulls**2 / (null_patients - 1)
        freedom = max((of_asked + of_nulls) ** 2 / parts, least)
    return Contrast(area, max(variance, floor), freedom, len(score), len(null), patients, null_patients)


@dataclass(frozen=True)
class Pooled:
    """The AUC by labelled slices and by candidates together: auc in [0, 1], its variance and the degrees of freedom of
    Student's t."""

    auc: float
    variance: float
    freedom: float

    def interval(self, level: float = 0.95) -> Interval:
        """Student's t interval, cut to [0, 1]."""
        half = float(stats.t.ppf((1 + level) / 2, self.freedom) * np.sqrt(self.variance))
        return float(np.clip(self.auc - half, 0, 1)), float(np.clip(self.auc + half, 0, 1))


@dataclass(frozen=True)
class Slices:
    """Scores of slices and their patient numbers, both [slice]."""

    score: np.ndarray
    group: np.ndarray


def pooled(asked: Slices, null: Slices, used: Slices, reach: float, prior: float, inflation: Inflation) -> Pooled:
    """The AUC of used against unused slices from `used` and `null` dev slices, and from candidates `asked`, of which a
    share `prior` was used; each weighs by the inverse of its variance. All patients are numbered together.

    Both estimates share the slices `null`, so the variance is that of the weighted influences, summed by patient. The
    candidates' part is inflated (`Contrast.inflated`). The labels' part has the variance of a 95 % interval which
    reaches `reach` below their AUC, since influences vanish next to 1, and the chance of judging on other slices, as
    many as the candidates (Hanley and McNeil 1982). ValueError as `contrast`.
    """
    by_label, by_asked = (contrast(side.score, null.score, side.group, null.group) for side in (used, asked))
    by_asked = by_asked.inflated(inflation)
    half = max(len(asked.score) // 2, 1)
    other = hanley_mcneil(float(np.clip(by_label.area, 0.02, 0.98)), half, half)
    of_labels = max(by_label.variance, (reach / _Z) ** 2)
    variances = np.array([of_labels + other, by_asked.variance / prior**2])
    weight = (1 / variances) / (1 / variances).sum()
    auc = float(weight @ [by_label.area, by_asked.auc(prior)])
    places = np.concatenate([asked.group, null.group, used.group])
    numbers = np.unique(places, return_inverse=True)[1]
    influence = np.zeros(len(places))
    ends = len(asked.score), len(asked.score) + len(null.score)
    _, of_asked = estimate.weighted_placements(
        np.concatenate([asked.score, null.score]), np.arange(ends[1]) < ends[0], np.ones(ends[1])
    )
    _, of_used = estimate.weighted_placements(
        np.concatenate([null.score, used.score]),
        np.arange(len(null.score) + len(used.score)) >= len(null.score),
        np.ones(len(null.score) + len(used.score)),
    )
    influence[: ends[1]] += weight[1] * np.sqrt(inflation.factor) / prior * of_asked
    influence[ends[0] :] += weight[0] * np.sqrt(of_labels / by_label.variance) * of_used
    sums = np.bincount(numbers, influence)
    variance = float((sums**2).sum()) * len(sums) / (len(sums) - 1) + weight[0] ** 2 * other
    apart = float(1 / (1 / variances).sum())  # as if nothing were shared: the least, where influences vanish
    freedom = 1 / float(weight**2 @ [1 / by_label.freedom, 1 / by_asked.freedom])
    return Pooled(float(np.clip(auc, 0, 1)), max(variance, apart), freedom)


@dataclass(frozen=True)
class Placebo:
    """The same comparison on every shadow's pile, whose shadow holds none of the candidates asked about.

    contrasts: of each shadow, against its own non-members; above: for each shadow, float [candidate] in (0, 1], the
    share of the shadow's non-members, the candidate counted in, that score as high or higher.
    """

    contrasts: tuple[Contrast, ...]
    above: tuple[np.ndarray, ...]

    @property
    def inflation(self) -> Inflation:
        """By how much the comparison varies more than its own variance says.

        It is the mean square of the standardised areas, in units of that of Student's t, f / (f - 2): 1 where nothing
        is to be seen and patients are all that varies. Genomic control does so for tests of association (Devlin and
        Roeder 1999).
        """
        squares = [
            (found.area - 0.5) ** 2 / found.variance * (found.freedom - 2) / found.freedom
            for found in self.contrasts
            if found.freedom > 2
        ]
        return Inflation(max(1.0, float(np.mean(squares))), len(squares)) if squares else Inflation()

    def flagged(self, share: float) -> np.ndarray:
        """The share of the candidates that is flagged on each shadow's pile, [shadow], if `share` of its non-members
        and a new one may be."""
        return np.array([(above <= share).mean() for above in self.above])

    def share(self, fpr: float) -> float:
        """The share of the nulls that a threshold may flag: `fpr`, or where clearly more of the candidates than that
        are flagged on these piles (by two standard errors over shadows), the largest that flags `fpr` of them."""
        rates = self.flagged(fpr)
        if len(rates) < 2 or rates.mean() - fpr <= 2 * rates.std(ddof=1) / np.sqrt(len(rates)):
            return fpr
        every = np.sort(np.concatenate(self.above))
        return float(min(fpr, every[max(int(np.floor(fpr * len(every))) - 1, 0)]))


def placebo(
    known: Labelled, asked: target.Target, options: Options, draws: int, group: np.ndarray, pool_group: np.ndarray
) -> Placebo:
    """Every shadow in turn stands for a target that never saw the candidates: the attack is fitted on the others and
    compares them with the shadow's non-members. One fit scores both, since fits on fewer slices have another scale.

    group [candidate] and pool_group [image of the pool]: patient numbers from one numbering. Where shadows hold
    candidates too, those are no non-members to compare with, as they are none of the target. Shadows without ten of
    both, or with one patient on a side, are left out.
    """
    alone, candidate = dataclasses.replace(options, aside=1), np.isin(known.ids, asked.ids)
    contrasts: list[Contrast] = []
    above: list[np.ndarray] = []
    for k, member in enumerate(known.bank.member):
        free, outside = ~asked.bank.member[k], ~member & ~candidate
        if min(free.sum(), outside.sum()) < LEAST:
            continue
        if min(len(np.unique(group[free])), len(np.unique(pool_group[outside]))) < 2:
            continue
        rest = known.only([j for j in range(len(known.bank.member)) if j != k])
        stands = stand_in(rest, known.bank.values[k], asked, k, outside)
        own = dataclasses.replace(stands, pile_candidates=stands.pile_pool, bank=rest.bank, ids=rest.ids)
        fitted = target.fit_draws(rest, alone, draws)
        score, null = target.score(rest, stands, fitted, alone)[free], target.score(rest, own, fitted, alone)[outside]
        contrasts.append(contrast(score, null, group[free], pool_group[outside]))
        above.append((1 + len(null) - np.searchsorted(np.sort(null), score, "left")) / (1 + len(null)))
    return Placebo(tuple(contrasts), tuple(above))


def stand_in(rest: Labelled, pile: np.ndarray, asked: target.Target, shadow: int, outside: np.ndarray) -> target.Target:
    """Shadow number `shadow` in the place of the target: its pile's evidence about the pool, `pile` [image, number],
    and about the candidates, with the shadows of `rest` as references."""
    bank = asked.bank.only([j for j in range(len(asked.bank.member)) if j != shadow])
    return target.Target(pile, np.asarray(asked.bank.values[shadow]), outside, bank, asked.ids)


def numbered(*groups: Sequence[str]) -> list[np.ndarray]:
    """Numbers of the patients of several lists of names, the same for the same name."""
    names = np.concatenate([np.asarray(part, dtype=str) for part in groups])
    numbers = np.unique(names, return_inverse=True)[1].reshape(-1)
    ends = np.cumsum([len(part) for part in groups])[:-1]
    return np.split(numbers, ends)

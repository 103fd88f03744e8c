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
from dataclasses import dataclass, field

import numpy as np
from scipy import stats

from attack.metrics.intervals import Interval
from attack.metrics.ranking import hanley_mcneil

_Z = 1.959964  # of a 95 % interval
_AUCS = 501  # steps of .001
_CACHED = 2**17  # pairs of a candidate and another slice that are worked on together
LEAST_ALIKE = 5  # patients of a kind: with three of them .03 of simulated nulls had a p below .01
LEAST = 10  # candidates, and slices known not to be used: fewer stand above each other by chance


@dataclass(frozen=True)
class Inflation:
    """By how much a comparison varies more than its own variance says: factor >= 1, the mean of so many `placebos`.
    centre: the area that candidates nobody used are held against."""

    factor: float = 1.0
    placebos: int = 0
    centre: float = 0.5


@dataclass(frozen=True)
class Contrast:
    """Candidates against slices known not to be used.

    area: the chance in [0, 1] that a candidate scores higher than such a slice, ties counted one half; variance: of the
    area, patients drawn anew; freedom: of Student's t for it; candidates, nulls: slices; patients: of the candidates;
    null_patients: of the others; aside: candidates that no slice is like (`compared`), which are in none of these;
    centre: the area that is held to be that of chance.
    """

    area: float
    variance: float
    freedom: float
    candidates: int
    nulls: int
    patients: int
    null_patients: int
    aside: int = 0
    centre: float = 0.5

    @property
    def p(self) -> float:
        """One-sided p of "the candidates score like slices that were not used"."""
        return float(stats.t.sf((self.area - self.centre) / np.sqrt(self.variance), self.freedom))

    def inflated(self, by: Inflation) -> Contrast:
        """With the variance times the factor, where that is above 1, the degrees of freedom of a product of two
        estimates, and the centre. K placebos tell the factor with K degrees, and relative variances add up (2 / f of f
        degrees)."""
        if not by.factor > 1:
            return dataclasses.replace(self, centre=max(by.centre, self.centre))
        freedom = 1 / (1 / self.freedom + 1 / by.placebos)
        return dataclasses.replace(self, variance=self.variance * by.factor, freedom=freedom, centre=by.centre)

    def auc(self, prior: float) -> float:
        """Of used against unused candidates, not clipped, if a share `prior` was used:

        P(candidate > null) = prior AUC + (1 - prior) / 2
        """
        return 0.5 + (self.area - 0.5) / prior

    def auc_weighed(self, prior: float) -> float:
        """The mean of the AUC after this comparison, where before it no leak was as likely as a leak, and every AUC of
        a leak from one half to 1 alike; within the interval.

        An estimate that is stated only because it passed a limit is too high. A mean that weighs "no leak" in is not
        (Senn 2008, Statistics & Probability Letters: what Bayes says needs no correction for selection). Far past the
        limit it is the plain estimate.
        """
        every = np.linspace(0.5, 1.0, _AUCS)
        likely = stats.t.pdf((self.auc(prior) - every) * prior / np.sqrt(self.variance), self.freedom)
        of_leak = float(likely.mean())
        mean = (likely[0] * 0.5 + of_leak * float(likely @ every / likely.sum())) / (likely[0] + of_leak)
        low, high = self.interval(prior)
        return float(np.clip(mean, low, high))

    def interval(self, prior: float, level: float = 0.95) -> Interval:
        """Student's t interval of `auc`, cut to [0, 1]."""
        half = float(stats.t.ppf((1 + level) / 2, self.freedom) * np.sqrt(self.variance)) / prior
        centre = self.auc(prior)
        return float(np.clip(centre - half, 0, 1)), float(np.clip(centre + half, 0, 1))


@dataclass(frozen=True)
class Slices:
    """Scores of slices, their patient numbers, and whether another slice of the patient is known to be used, each
    [slice]; where `related` is not given, none is."""

    score: np.ndarray
    group: np.ndarray
    related: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))

    def __post_init__(self) -> None:
        if not self.related.size:
            object.__setattr__(self, "related", np.zeros(len(self.score), bool))

    def only(self, kept: np.ndarray) -> Slices:
        """As if the others, by bool [slice], were not there."""
        return Slices(self.score[kept], self.group[kept], self.related[kept])


def compared(asked: Slices, null: Slices) -> np.ndarray:
    """Which slices known not to be used each candidate is compared with, bool [candidate, null].

    A generator shows relatives of what it learned. So a candidate with a relative that is known to be used is compared
    with such slices that have one too, and with none where they are too few: fewer than LEAST, or of fewer than
    LEAST_ALIKE patients. Another is compared with those that have none, or where they are too few with all, which errs
    towards "not used".
    """
    related = np.zeros((len(asked.score), len(null.score)), bool)
    for kind, otherwise in ((True, False), (False, True)):
        alike = null.related == kind
        enough = alike.sum() >= LEAST and len(np.unique(null.group[alike])) >= LEAST_ALIKE
        related[asked.related == kind] = alike if enough else otherwise
    return related


@dataclass(frozen=True)
class Comparison:
    """Who is compared with whom, for scores that are still to come: share [candidate, null], the weight of each slice
    for each candidate (rows of sum 1, or 0 where a candidate has none to compare); related: bool [candidate]; kinds:
    bool [kind, null], slices whose patients are alike; numbers: of the patients of candidates and of slices known not
    to be used, from 0."""

    share: np.ndarray
    related: np.ndarray
    kinds: np.ndarray
    numbers: tuple[np.ndarray, np.ndarray]

    @staticmethod
    def of(asked: Slices, null: Slices) -> Comparison:
        """ValueError where the comparison would say nothing: no candidate has its kind, or a side has one patient."""
        pairs = compared(asked, null)
        ours, others = np.asarray(pairs.any(1)), np.asarray(pairs.any(0))
        if len(ours) and not ours.any():
            raise ValueError(
                "the candidates are of patients with a slice that is known to be used, and too few slices known not to "
                "be used are: that relatives of a used slice stand above others shows nothing"
            )
        if min(len(np.unique(asked.group[ours])), len(np.unique(null.group[others]))) < 2:
            raise ValueError("one patient alone: chance cannot be told from use")
        numbers = np.unique(np.concatenate([asked.group, null.group]), return_inverse=True)[1].reshape(-1)
        share = pairs / np.maximum(pairs.sum(1, keepdims=True), 1)
        mixed = (pairs & null.related).any(1) & (pairs & ~null.related).any(1)
        kinds = others[None] if mixed.any() else np.stack([others & null.related, others & ~null.related])
        return Comparison(share, asked.related, kinds[kinds.any(1)], (numbers[: len(ours)], numbers[len(ours) :]))

    def placed(self, score: np.ndarray, null: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(area [trial], influence [trial, candidate], influence [trial, null]) of scores [trial, candidate] and
        [trial, null]: the mean over candidates of the share of their slices that score lower, ties one half, and
        DeLong's influences on it. A candidate without any to compare has none."""
        above = (score[..., None] > null[:, None]) + 0.5 * (score[..., None] == null[:, None])
        place = (above * self.share).sum(-1)
        counted = self.share.any(1)
        area = np.minimum(place[:, counted].mean(1), 1.0)  # shares sum to 1 up to rounding only
        of_kind = np.zeros(place.shape)
        for kind in (True, False):
            here = counted & (self.related == kind)
            if here.any():
                of_kind[:, here] = place[:, here].mean(1, keepdims=True)
        of_asked = np.where(counted, place - area[:, None], 0.0) / counted.sum()
        of_null = ((above * self.share).sum(1) - of_kind @ self.share) / counted.sum()
        return area, of_asked, of_null

    def contrasts(self, score: np.ndarray, null: np.ndarray) -> list[Contrast]:
        """`contrast` of every trial: scores [trial, candidate] and [trial, null]."""
        ours, others = self.share.any(1), self.share.any(0)
        # in lots of trials whose pairs stay in the processor's cache
        lots = np.array_split(np.arange(len(score)), -(-len(score) * self.share.size // _CACHED))
        parts = [self.placed(score[lot], null[lot]) for lot in lots if len(lot)]
        area, *influences = (np.concatenate([part[i] for part in parts]) for i in range(3))
        count = int(max(numbers.max() for numbers in self.numbers)) + 1
        mine, theirs = (
            influence @ (numbers[:, None] == np.arange(count))
            for influence, numbers in zip(influences, self.numbers, strict=True)
        )
        # patients on both sides, then the candidates' patients, then those of each kind
        variance, squares = 2 * (mine * theirs).sum(1), np.zeros(len(area))
        of_sides = np.zeros(len(area))
        asking, *known = [np.unique(self.numbers[0][ours]), *(np.unique(self.numbers[1][kind]) for kind in self.kinds)]
        for sums, group in [(mine, asking), *((theirs, group) for group in known)]:
            part = (sums[:, group] ** 2).sum(1) * len(group) / (len(group) - 1)
            of_sides, squares = of_sides + part, squares + part**2 / (len(group) - 1)
        variance += of_sides
        patients, nulls = len(asking), sum(len(group) for group in known)  # a patient is of one kind
        floor, least = (0.5 / min(patients, nulls)) ** 2 / 3, float(min(patients, *map(len, known)) - 1)
        freedom = np.where(squares > 0, of_sides**2 / np.maximum(squares, 1e-300), least)
        counts = int(ours.sum()), int(others.sum()), patients, nulls, int((~ours).sum())
        return [
            Contrast(float(a), max(float(v), floor), max(float(f), least), *counts)
            for a, v, f in zip(area, variance, freedom, strict=True)
        ]


def contrast(asked: Slices, null: Slices) -> Contrast:
    """Compares candidates with slices known not to be used, each with those of its kind (`compared`).

    Patient numbers of both are from one numbering. The variance sums DeLong's influences by patient (DeLong, DeLong and
    Clarke-Pearson 1988; Obuchowski 1997 for clustered data). Student's t has the degrees of freedom of a sum of
    variances: that of the candidates' patients, and that of the others' of each kind (Satterthwaite 1946). Next to
    complete separation the influences vanish. So the variance is at least that of one in twelve for each of the fewer
    side's patients.
    ValueError as `Comparison.of`.
    """
    return Comparison.of(asked, null).contrasts(asked.score[None], null.score[None])[0]


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


def pooled(asked: Slices, null: Slices, used: Slices, reach: float, prior: float, inflation: Inflation) -> Pooled:
    """The AUC of used against unused slices from `used` and `null` dev slices, and from candidates `asked`, of which a
    share `prior` was used; each weighs by the inverse of its variance. All patients are numbered together.

    Both estimates share the slices `null`, so the variance is that of the weighted influences, summed by patient. The
    candidates' part is inflated (`Contrast.inflated`). The labels' part has the variance of a 95 % interval which
    reaches `reach` below their AUC, since influences vanish next to 1, and the chance of judging on other slices, as
    many as the candidates (Hanley and McNeil 1982). ValueError as `contrast`.
    """
    by_label, by_asked = contrast(used, null), contrast(asked, null).inflated(inflation)
    half = max(len(asked.score) // 2, 1)
    other = hanley_mcneil(float(np.clip(by_label.area, 0.02, 0.98)), half, half)
    of_labels = max(by_label.variance, (reach / _Z) ** 2)
    variances = np.array([of_labels + other, by_asked.variance / prior**2])
    weight = (1 / variances) / (1 / variances).sum()
    auc = float(weight @ [by_label.area, by_asked.auc(prior)])
    numbers = np.unique(np.concatenate([asked.group, null.group, used.group]), return_inverse=True)[1]
    by_candidates, by_labels = (
        [influence[0] for influence in Comparison.of(side, null).placed(side.score[None], null.score[None])[1:]]
        for side in (asked, used)
    )
    ours, theirs = weight[1] * np.sqrt(inflation.factor) / prior, weight[0] * np.sqrt(of_labels / by_label.variance)
    influence = np.concatenate(
        [ours * by_candidates[0], ours * by_candidates[1] + theirs * by_labels[1], theirs * by_labels[0]]
    )
    sums = np.bincount(numbers, influence)
    variance = float((sums**2).sum()) * len(sums) / (len(sums) - 1) + weight[0] ** 2 * other
    apart = float(1 / (1 / variances).sum())  # as if nothing were shared: the least, where influences vanish
    freedom = 1 / float(weight**2 @ [1 / by_label.freedom, 1 / by_asked.freedom])
    return Pooled(float(np.clip(auc, 0, 1)), max(variance, apart), freedom)


def numbered(*groups: Sequence[str]) -> list[np.ndarray]:
    """Numbers of the patients of several lists of names, the same for the same name."""
    names = np.concatenate([np.asarray(part, dtype=str) for part in groups])
    numbers = np.unique(names, return_inverse=True)[1].reshape(-1)
    ends = np.cumsum([len(part) for part in groups])[:-1]
    return np.split(numbers, ends)

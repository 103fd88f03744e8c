"""What `predict` says of the target, beside what `fit` said of the shadows: attack/evaluation.json."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from attack.results.codec import named
from attack.results.figures import Auc, Figure, Interval, Quality
from attack.results.fitted import FitSummary

LEAK, LABELLED_ONLY, CANNOT_TELL = "leak", "labelled only", "cannot tell"


@dataclass(frozen=True, kw_only=True)
class MappedQuality(Quality):
    """Quality of the probabilities expit(slope x log odds + offset), slope >= 0."""

    slope: float
    offset: float


@dataclass(frozen=True, kw_only=True)
class Recalibrated:
    """The map that dev labels set. before: by the shadows' own map; cross_validated: by maps that had not seen the
    slice's patient; slices: labelled ones, > 0."""

    slope: float
    offset: float
    before: MappedQuality
    cross_validated: Quality
    slices: int


@dataclass(frozen=True, kw_only=True)
class Dev(Auc):
    """The labelled dev slices; all but `same_generator` are None where there are none.

    members, non_members: slices; same_generator: whether the figures are of the generator under test; brier, log_loss,
    ece: of the probabilities by the shadows' map; images: of the pile; by_shadows: AUC before labels moved the weights
    of the signals; weights: by name, after; recalibration: None where labels set no probability.
    """

    same_generator: bool
    members: int | None = None
    non_members: int | None = None
    brier: Figure | None = None
    log_loss: Figure | None = None
    ece: Figure | None = None
    images: int | None = None
    by_shadows: Auc | None = None
    weights: dict[str, float] | None = None
    recalibration: Recalibrated | None = None

    @property
    def quality(self) -> Quality | None:
        """brier, log_loss and ece together."""
        if self.brier is None or self.log_loss is None or self.ece is None:
            return None
        return Quality(brier=self.brier, log_loss=self.log_loss, ece=self.ece)


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Whether dev labels count as labels of the target, and why.

    The rest is None where it was not tested: kind: see `same_generator.KINDS`; power: in [0, 1]; p: of one generator
    for both piles, in (0, 1]; images: compared of each pile; shadows_told_apart: pairs of shadows, and of how many;
    auc_on_piles: on the dev and on the test pile; labels_p, labels_power: of the test of the labels.
    """

    counts: bool
    why: str
    kind: str | None = None
    power: float | None = None
    p: float | None = None
    images: int | None = None
    shadows_told_apart: tuple[int, int] | None = None
    auc_on_piles: tuple[float, float] | None = None
    labels_p: float | None = None
    labels_power: float | None = None


@dataclass(frozen=True, kw_only=True)
class Candidates(Auc):
    """The candidates against slices known not to be used, on the target's pile.

    auc: at the config's prior, not clipped; blind_p: of a classifier that sees no generated image, in (0, 1];
    placebo: the area on each shadow's pile, [shadow]; inflation: of the variance, >= 1; placebo_flagged: mean share of
    candidates that the threshold flags there. The rest is None without a fair comparison: p: one-sided; area, variance,
    freedom, centre, and numbers of slices and patients, see `unlabelled.Contrast`.
    """

    blind_p: float | None
    placebo: tuple[float, ...]
    inflation: float
    placebo_flagged: float | None
    p: float | None = None
    area: float | None = None
    variance: float | None = None
    freedom: float | None = None
    candidates: int | None = None
    nulls: int | None = None
    patients: int | None = None
    null_patients: int | None = None
    aside: int | None = None
    centre: float | None = None


@dataclass(frozen=True, kw_only=True)
class Expected(Auc):
    """The AUC to expect on the candidates. source (`from` in JSON): "dev" or "candidates", whose images say so."""

    source: str = named("from")


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """used: scores at or above are called used; not_used: scores at or below are called not used; None: no call.
    nulls: slices known not to be used that set the first, 0 where the probabilities did; fpr_interval: of the chance
    that it flags an unused slice; share: of those slices that it may flag, below `fpr` where a placebo said so."""

    used: float | None
    not_used: float | None
    nulls: int
    share: float
    fpr_interval: Interval | None


@dataclass(frozen=True, kw_only=True)
class Decisions:
    """How many candidates are called what, >= 0."""

    used: int
    not_used: int = named("not used")
    undetermined: int

    @property
    def total(self) -> int:
        return self.used + self.not_used + self.undetermined


@dataclass(frozen=True, kw_only=True)
class Submission:
    """The labelling in submission.csv. objective: "f1", "kappa" or "accuracy"; expected: of it, if the probabilities
    are right; ones: of so many candidates labelled used; all_ones: whether it says so of everybody."""

    objective: str
    expected: float
    ones: int
    candidates: int
    all_ones: bool


@dataclass(frozen=True, kw_only=True)
class VerdictReached:
    """level: "leak", "labelled only" or "cannot tell"; why: one sentence without its full stop; p, p_labelled: of the
    two tests, limit: the level of the first; smallest_auc: of a leak that would be called, in (.5, 1]."""

    level: str
    why: str
    p: float | None
    p_labelled: float | None
    limit: float
    smallest_auc: float | None

    @property
    def leak(self) -> bool:
        return self.level == LEAK


@dataclass(frozen=True, kw_only=True)
class Evaluation(FitSummary):
    """Every figure of the report: those of the shadows, and those of the target.

    implied_auc: that the stated probabilities imply, in [0, 1], None for a single candidate.
    """

    REMEDY: ClassVar[str] = "predict again"

    dev: Dev
    same_generator: Provenance
    candidates: Candidates
    expected: Expected
    implied_auc: float | None
    thresholds: Thresholds
    decisions: Decisions
    submission: Submission
    verdict: VerdictReached

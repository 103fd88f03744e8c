"""Figures of scores, probabilities and decisions against known labels: what `metrics.evaluate` gives.

Labels are 1 for members (used) and 0 for non-members. Higher scores mean "more likely a member". Intervals are at 95 %,
unless a function was asked for another level.
"""

from __future__ import annotations

from dataclasses import dataclass

from attack.results.codec import noted
from attack.results.figures import Figure, ReliabilityRow
from attack.results.labellings import Decided, Estimate, Labelling, Ppv, Share, Trivial


@dataclass(frozen=True, kw_only=True)
class Area(Figure):
    """An AUC in [0, 1]; method: of its interval."""

    method: str


@dataclass(frozen=True, kw_only=True)
class ItemsArea(Area):
    """variance: of the AUC, after DeLong, items taken for independent."""

    variance: float


@dataclass(frozen=True, kw_only=True)
class StratumArea(Estimate):
    """The AUC of all members against some non-members; non_members: how many those are."""

    non_members: int
    method: str | None = noted()


@dataclass(frozen=True, kw_only=True)
class Strata:
    """The two kinds of non-members: relatives of members, and strangers."""

    other_item_of_a_member_group: StratumArea
    item_of_a_non_member_group: StratumArea


@dataclass(frozen=True, kw_only=True)
class DetectableAuc:
    """The AUC that a test against one half finds with `power`; None where not even a perfect one is found."""

    value: float | None
    power: float
    why: str | None = noted()


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The ROC as steps, [point] each, flagging scores at or above thresholds. The first is infinite: None."""

    fpr: tuple[float, ...]
    tpr: tuple[float, ...]
    thresholds: tuple[float | None, ...]


@dataclass(frozen=True, kw_only=True)
class RatePoint(Estimate):
    """The TPR at a wanted FPR, by the conservative step rule. fpr: reached; counts are of items; threshold: None where
    nobody is flagged, or the rate is not attainable; ppv: at several priors."""

    wanted_fpr: float
    attainable: bool
    true_positives: int | None
    members: int
    false_positives: int | None
    non_members: int
    fpr: Estimate
    threshold: float | None
    ppv: tuple[Ppv, ...]


@dataclass(frozen=True, kw_only=True)
class Loss(Figure):
    """constant: the loss of saying the share of members to everybody."""

    constant: float


@dataclass(frozen=True, kw_only=True)
class ByChance:
    """A calibration error if the probabilities were right: its mean, and its 95 % quantile."""

    value: float
    high: float


@dataclass(frozen=True, kw_only=True)
class CalibrationError(Figure):
    """Expected calibration error over equal-mass bins, in [0, 1]; p: of one as large by chance alone, in (0, 1]."""

    bins: int
    by_chance: ByChance
    p: float


@dataclass(frozen=True, kw_only=True)
class ReliabilityBin:
    """Items of like probability. low, high: range of their probabilities; probability: mean; share: of members."""

    low: float
    high: float
    probability: float
    items: int
    members: int
    share: float
    share_low: float
    share_high: float

    @property
    def row(self) -> ReliabilityRow:
        """What a plot shows of it."""
        limits = self.share_low, self.share_high
        return ReliabilityRow(mean_probability=self.probability, observed=self.share, count=self.items, interval=limits)


@dataclass(frozen=True, kw_only=True)
class Losses:
    """brier: in [0, 1]; log_loss: in nats, >= 0; ece: calibration error."""

    brier: Loss
    log_loss: Loss
    ece: CalibrationError


@dataclass(frozen=True, kw_only=True)
class Calibration(Losses):
    """reliability: by rising probability."""

    reliability: tuple[ReliabilityBin, ...]


@dataclass(frozen=True, kw_only=True)
class BestLabelling:
    """The labelling with the highest expected objective. claimed: items labelled used; reached: of the objective."""

    expected: float
    claimed: int
    all_ones: bool
    reached: Figure | Share
    figures: Labelling


@dataclass(frozen=True, kw_only=True)
class Probabilities(Calibration):
    """best: by objective, "f1", "kappa" and "accuracy"."""

    best: dict[str, BestLabelling]


@dataclass(frozen=True, kw_only=True)
class GroupRow:
    """One group (patient). label: 1 where an item is a member; then its pooled scores, see `metrics.pooling`."""

    group: str
    label: int
    items: int
    members: int
    logmeanexp: float
    top3: float
    max: float
    mean: float


@dataclass(frozen=True, kw_only=True)
class PerGroup:
    """Was anything of a group used? AUC over groups by each pooled score; table: by falling maximum; any_used: of the
    chance that an item of the group was used, where there are probabilities."""

    groups: int
    member_groups: int
    logmeanexp: Estimate
    top3: Estimate
    max: Estimate
    mean: Estimate
    table: tuple[GroupRow, ...]
    any_used: Losses | Estimate | None = noted()


@dataclass(frozen=True, kw_only=True)
class AgainstTruth:
    """Every figure of one labelled set of `items`.

    groups: their number; auc: allows for groups, auc_items does not; verdict: "above chance", "below chance" or "cannot
    tell", where the interval of `auc` holds one half; tpr_at_fpr: at 10 %, 1 % and 0.1 %. None: groups, per_group and
    strata without groups, decision and probability without such a column.
    """

    items: int
    members: int
    non_members: int
    groups: int | None
    level: float
    seed: int
    auc: Area
    auc_items: ItemsArea
    verdict: str
    smallest_detectable_auc: DetectableAuc
    roc: Curve
    tpr_at_fpr: tuple[RatePoint, ...]
    decision: Decided | None
    probability: Probabilities | None
    baselines: Trivial
    per_group: PerGroup | None
    strata: Strata | None

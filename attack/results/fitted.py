"""What `fit` says of the attack on the shadows: attack/fit.json."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from attack.results.codec import Document
from attack.results.figures import Auc, Interval, PredictedAuc, ReliabilityRow, ShadowsAuc


@dataclass(frozen=True, kw_only=True)
class Rate:
    """What is found at a false positive rate. fpr: the wanted rate in (0, 1); tpr: share of members found, in [0, 1],
    with its interval; counts of pairs; fpr_interval: of the rate that came out. All but `fpr` are None where `why`."""

    fpr: float
    tpr: float | None = None
    interval: Interval | None = None
    true_positives: int | None = None
    members: int | None = None
    false_positives: int | None = None
    non_members: int | None = None
    fpr_interval: Interval | None = None
    why: str | None = None


@dataclass(frozen=True, kw_only=True)
class Stratum(ShadowsAuc):
    """Members against non-members of one kind. stratum: "unrelated" or "related" (patients with a slice in training);
    members, non_members: pairs, >= 0."""

    stratum: str
    members: int
    non_members: int


@dataclass(frozen=True, kw_only=True)
class Nearness:
    """How near non-members lie to members. edges: lower ends of the bins, distances >= 0, [bin]; target, shadows: share
    of non-members in each bin, [bin]; thin: share of the target's in bins where the shadows have few pairs."""

    edges: tuple[float, ...]
    target: tuple[float, ...]
    shadows: tuple[float, ...]
    thin: float


@dataclass(frozen=True, kw_only=True)
class TwoWay(ShadowsAuc):
    """The attack on shadows and patients that were kept out of fitting.

    auc: of non-members as near to members as the target's; pairs = members + non_members: of a shadow and a slice;
    tpr_at_fpr: by falling rate; strata: [kind of non-member]; brier, log_loss, ece: of held-out probabilities at a
    prior of one half; reliability: by rising probability.
    """

    pairs: int
    members: int
    non_members: int
    tpr_at_fpr: tuple[Rate, ...]
    strata: tuple[Stratum, ...]
    brier: float
    log_loss: float
    ece: float
    reliability: tuple[ReliabilityRow, ...]
    nearness: Nearness


@dataclass(frozen=True, kw_only=True)
class PatientAuc(PredictedAuc):
    """AUC of telling patients with a used slice from those without. score: how slices are pooled, see `pooling`."""

    score: str


@dataclass(frozen=True, kw_only=True)
class Patients:
    """How exposed single patients are on the shadows; all but `why` are None where patients are not known.

    patients: > 0; judged: of them, those with a used and an unused slice somewhere; auc: [pooled score]; success:
    [judged patient], rising, in [0, 1]; above_all: patients with a success of 1; median: of `success`. worst_decile:
    success of the most exposed tenth, which is `worst_decile_patients` patients; worst_decile_redrawn and its range:
    the same with memberships that no shadow was trained on.
    """

    patients: int | None = None
    auc: tuple[PatientAuc, ...] | None = None
    judged: int | None = None
    success: tuple[float, ...] | None = None
    above_all: int | None = None
    worst_decile: float | None = None
    worst_decile_patients: int | None = None
    worst_decile_redrawn: float | None = None
    worst_decile_redrawn_range: Interval | None = None
    median: float | None = None
    why: str | None = None


@dataclass(frozen=True, kw_only=True)
class Null:
    """Slices that stand for non-members of the target. known: not used; unknown: of no known use; presumed: whether
    most of the latter are presumed not to be used."""

    known: int
    unknown: int
    presumed: bool


@dataclass(frozen=True, kw_only=True)
class Control(Auc):
    """An experiment that must show nothing. p: one-sided, in [0, 1]; what: a sentence; result_p: of "the real
    membership looks no stronger than redrawn ones", in (0, 1]."""

    name: str
    p: float | None = None
    what: str | None = None
    result_p: float | None = None


@dataclass(frozen=True, kw_only=True)
class LeftOut(PredictedAuc):
    """The attack on families that it was not fitted on. by_family: mean AUC, [family]."""

    by_family: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Families:
    """names; shadows: their number; two_way: mean AUC within shadows by the attack fitted on all; each [family].
    left_out: None where too few shadows are left, for the reason `why`."""

    names: tuple[str, ...]
    shadows: tuple[int, ...]
    two_way: tuple[float, ...]
    left_out: LeftOut | None
    why: str | None


@dataclass(frozen=True, kw_only=True)
class Part:
    """What a signal or an embedding (`kind`) is worth. drop: AUC lost when its values are dealt anew; left_out: AUC
    lost when the attack is fitted without it; both with standard errors; alone: AUC of it alone."""

    kind: str
    name: str
    drop: float
    error: float | None
    left_out: float
    left_out_error: float
    alone: float


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """The attack with so many `shadows`: mean AUC, mean ends of the interval, and the AUC of `each` choice of them."""

    shadows: int
    auc: float
    interval: Interval
    each: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Worth:
    """parts: signals, then embeddings; curve: by rising number of shadows."""

    parts: tuple[Part, ...]
    curve: tuple[CurvePoint, ...]


@dataclass(frozen=True, kw_only=True)
class Signal(Auc):
    """A calibrated signal alone. name: `signal@embedding`; weight: its mean weight in the attack."""

    name: str
    weight: float


@dataclass(frozen=True, kw_only=True)
class Statistic:
    """A statistic of piles: the target's, and the shadows', [shadow]."""

    name: str
    target: float
    shadows: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Regime:
    """Whether the target's pile lies among the shadows'. step: of their training, whose piles are most like it;
    distance: root mean square of z; inside: whether every statistic does; excess: >= 0, see `pile_shift.excess`;
    message: a sentence."""

    step: int
    distance: float
    statistic: tuple[Statistic, ...]
    inside: bool
    excess: float
    message: str


@dataclass(frozen=True, kw_only=True)
class FlipsFound:
    """names: of "left_right" and "up_down", by which piles were flipped; share: for both, of real slices nearer to the
    target's pile than to the flipped one, in [0, 1]; None where it was not looked at."""

    names: tuple[str, ...]
    share: dict[str, float] | None


@dataclass(frozen=True, kw_only=True)
class PriorRow:
    """A flag under another prior, by the rates of the shadows. prior, tpr, fpr, ppv (share of flags that are right): in
    [0, 1]."""

    prior: float
    tpr: float | None
    fpr: float | None
    ppv: float | None


@dataclass(frozen=True, kw_only=True)
class FitSummary(Document):
    """Every figure of the shadows.

    shadows_asked, shadows_used: numbers of shadows; shadows_missing: which, rising; pile_size: images of each shadow's
    pile that are compared, target_pile: of the target's, as many or more; controls: [control]; families, worth: None
    where there is one family, and where attack.ablation is off; signals: [signal]; prior, fpr: of the config, in
    (0, 1); threshold_used, threshold_not_used: scores on the shadows; priors: [prior].
    """

    REMEDY: ClassVar[str] = "fit again"

    shadows_asked: int
    shadows_used: int
    shadows_missing: tuple[int, ...]
    pile_size: int
    target_pile: int
    two_way: TwoWay
    patients: Patients
    null: Null
    controls: tuple[Control, ...]
    families: Families | None
    worth: Worth | None
    signals: tuple[Signal, ...]
    regime: Regime
    flips: FlipsFound
    prior: float
    fpr: float
    threshold_used: float | None
    threshold_not_used: float | None
    priors: tuple[PriorRow, ...]

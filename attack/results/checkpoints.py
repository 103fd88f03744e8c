"""What a comparison says of one checkpoint.

AUCs are of attacks whose scores are higher for members. `low` and `high` are the ends of intervals at 95 %. What could
not be had is `NotComparable`, with the reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from attack.results.codec import named, noted
from attack.results.figures import Figure, Interval

T = TypeVar("T")


@dataclass(frozen=True)
class NotComparable:
    """In the place of figures: why there are none."""

    not_comparable: str


def known(part: NotComparable | T | None) -> T | None:
    """The figures, where there are any."""
    return None if isinstance(part, NotComparable) else part


@dataclass(frozen=True, kw_only=True)
class Spectrum:
    """Of a layer's matrix: its largest singular values, and two measures of how many directions it uses."""

    largest: tuple[float, ...]
    stable_rank: float
    effective_rank: float


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """spectra: by the names of matrices, in the order of the network."""

    count: int
    layers: int
    spectra: dict[str, Spectrum]


@dataclass(frozen=True, kw_only=True)
class FeatureBlocks:
    """pictures: real slices that were looked at, at the noise power `level`; blocks: names, in their order."""

    pictures: int
    level: float
    blocks: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class LossFigures:
    """Denoising loss by level: on slices seen (`in` in JSON) and unseen; gap: how much larger, as a share."""

    levels: tuple[float, ...]
    times: tuple[int, ...]
    noise_power: tuple[float, ...]
    inside: tuple[Figure, ...] = named("in")
    out: tuple[Figure, ...]
    gap: tuple[Figure, ...]

    @property
    def mean_gap(self) -> float:
        return sum(gap.value for gap in self.gap) / len(self.gap)


@dataclass(frozen=True, kw_only=True)
class FoundAt:
    """Members found at a false positive rate, by the conservative step rule; false: non-members flagged."""

    fpr: float
    tpr: float | None
    interval: Interval | None
    found: int | None
    false: int | None
    why: str | None


@dataclass(frozen=True, kw_only=True)
class AttackFigures:
    """by_group: whether the interval allows for images of one group."""

    auc: float
    low: float
    high: float
    by_group: bool
    members: int
    non_members: int
    tpr_at_fpr: tuple[FoundAt, ...]


@dataclass(frozen=True, kw_only=True)
class CalibratedAttack(AttackFigures):
    """The loss relative to that of other `shadows`, of which so many are `references` of each slice."""

    references: int
    shadows: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class WhiteboxFigures:
    """Attacks by the weights. loss_by_level: AUC of each level alone."""

    loss: AttackFigures
    secmi: AttackFigures
    pia: AttackFigures
    pian: AttackFigures
    sima: AttackFigures
    loss_by_level: tuple[float, ...]
    calibrated: NotComparable | CalibratedAttack


@dataclass(frozen=True, kw_only=True)
class Strongest:
    """The attack with the highest AUC of those in `of`; the interval allows for the choice."""

    attack: str
    auc: float
    low: float
    high: float
    of: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class BesideReal:
    """A pile beside real slices that no shadow was trained on."""

    images: int
    fd: float
    fd_interval: Interval
    kid: Figure
    spectrum: tuple[float, ...]
    spectrum_gap: float


@dataclass(frozen=True, kw_only=True)
class ToSlices:
    """members, others: median distance of such slices to their nearest generated image; copies: share of generated
    images that have a member within `near`, and copies_of_others a non-member, which chance alone would give."""

    embedding: str
    near: float
    members: float | None
    members_interval: Interval | None
    others: float | None
    others_interval: Interval | None
    copies: float | None
    copies_of_others: float | None


@dataclass(frozen=True, kw_only=True)
class PileFigures:
    """fellow_distance: of an image to the nearest other, on average; near_duplicates: share of images; spectrum: log
    power by radial frequency; real: None where there are too few real slices."""

    images: int
    fellow_distance: float
    near_duplicates: float
    spectrum: tuple[float, ...]
    real: BesideReal | None
    slices: NotComparable | ToSlices | None = noted()


@dataclass(frozen=True, kw_only=True)
class BlackboxFigures:
    """The attack on the images. score: of each slice of the run; auc_by_signal: of each of `signals` alone; without
    known members there is no AUC, for the reason `why`."""

    calibrated: bool
    how: str
    signals: tuple[str, ...]
    left_out: dict[str, NotComparable]
    score: dict[str, float]
    auc: float | None
    low: float | None = noted()
    high: float | None = noted()
    by_group: bool | None = noted()
    members: int | None = noted()
    non_members: int | None = noted()
    tpr_at_fpr: tuple[FoundAt, ...] | None = noted()
    auc_by_signal: tuple[float, ...] | None = noted()
    why: str | None = noted()


@dataclass(frozen=True, kw_only=True)
class CheckpointFigures:
    """members: slices it was trained on, None where they are not known; notes: what its folder says and nobody uses."""

    label: str
    step: int | None
    weights: str
    architecture: str
    size: int
    members: int | None
    notes: tuple[str, ...]
    parameters: Parameters
    features: NotComparable | FeatureBlocks
    loss: NotComparable | LossFigures
    whitebox: NotComparable | WhiteboxFigures
    pile: NotComparable | PileFigures
    blackbox: NotComparable | BlackboxFigures
    strongest: NotComparable | Strongest

    @property
    def uncalibrated(self) -> str:
        """Why the AUC of its images is of uncalibrated signals; empty where it is not, or is not known."""
        black = known(self.blackbox)
        return black.how if black and black.auc is not None and not black.calibrated else ""

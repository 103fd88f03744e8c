"""What a comparison says of pairs of checkpoints and of trainings, and all of it: compare.json."""

from __future__ import annotations

from dataclasses import dataclass

from attack.results.checkpoints import CheckpointFigures, NotComparable, known
from attack.results.codec import JsonFile, noted
from attack.results.figures import Figure, Interval

BY_NAME = "by name"  # how blocks of two networks are matched
Option = str | bool | int | float | tuple[str | int | float, ...] | None


@dataclass(frozen=True, kw_only=True)
class OptionPair:
    """An option that differs; None where one of them does not tell, or has no such option."""

    field: str
    a: Option
    b: Option


@dataclass(frozen=True, kw_only=True)
class LayerDistance:
    """relative: |a - b| over the mean of |a| and |b|, in [0, 2]; cosine: None where one of them is 0."""

    relative: float
    cosine: float | None


@dataclass(frozen=True, kw_only=True)
class ParameterPair(LayerDistance):
    """Of all parameters as one vector, and of each layer."""

    layers: dict[str, LayerDistance]


@dataclass(frozen=True, kw_only=True)
class FeaturePair:
    """cka: [block of a][block of b]; mean: of `by_block`, see `pairs`; output: of the networks' outputs."""

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cka: tuple[tuple[float | None, ...], ...]
    matched: str
    by_block: tuple[float | None, ...]
    mean: float | None
    output: float | None


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Of a minus b; p: of "no difference", two-sided."""

    difference: float
    low: float
    high: float
    p: float
    method: str


@dataclass(frozen=True, kw_only=True)
class KidPair(Figure):
    """p: of "the same distribution"."""

    p: float | None


@dataclass(frozen=True, kw_only=True)
class PilePair:
    """corresponding: median distance of images that grew from the same noise."""

    fd: float
    kid: KidPair
    spectrum_gap: float
    corresponding: float


@dataclass(frozen=True, kw_only=True)
class BlackboxPair:
    """spearman: rank correlation of the scores, None where it cannot be had."""

    spearman: float | None
    auc: NotComparable | Difference


@dataclass(frozen=True, kw_only=True)
class PairFigures:
    """What differs between the checkpoints with the labels `a` and `b`. whitebox: by the names of attacks."""

    a: str
    b: str
    config: tuple[OptionPair, ...]
    parameters: NotComparable | ParameterPair
    features: NotComparable | FeaturePair
    loss: NotComparable | Difference
    whitebox: NotComparable | dict[str, Difference]
    pile: NotComparable | PilePair
    blackbox: NotComparable | BlackboxPair

    @property
    def leak(self) -> Difference | None:
        """How much more AUC the images of a give."""
        black = known(self.blackbox)
        return None if black is None else known(black.auc)


@dataclass(frozen=True, kw_only=True)
class Side:
    """What one step gives away. rise: p of "no attack has risen since the first step"."""

    auc: float
    low: float
    high: float
    rise: float
    calibrated: bool | None = noted()
    attack: str | None = noted()


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of a training; None where a figure could not be had. gap: mean of `LossFigures.gap`."""

    label: str
    step: int
    blackbox: Side | None
    whitebox: Side | None
    fd: float | None
    fd_interval: Interval | None
    kid: float | None
    members: float | None
    members_interval: Interval | None
    others: float | None
    others_interval: Interval | None
    copies: float | None
    copies_of_others: float | None
    gap: float | None


@dataclass(frozen=True, kw_only=True)
class BestImages:
    """step: of the lowest FD; enough: the first whose FD lies within the interval of that one."""

    step: int
    fd: float
    enough: int


@dataclass(frozen=True, kw_only=True)
class SideAdvice:
    """quiet: the last step before a leak shows, None: it shows at the first; front: Pareto's steps of FD and AUC; stop:
    the step of the lowest FD up to the quiet one, None where that is earlier than `enough`; said: one sentence."""

    quiet: int | None
    front: tuple[int, ...]
    stop: int | None
    said: str


@dataclass(frozen=True, kw_only=True)
class Advice:
    """What quality and leakage ask for. A side is None where its AUC is not known at every step."""

    quality: BestImages
    blackbox: SideAdvice | None = noted()
    whitebox: SideAdvice | None = noted()

    @property
    def sides(self) -> list[SideAdvice]:
        return [side for side in (self.blackbox, self.whitebox) if side]


@dataclass(frozen=True, kw_only=True)
class Onset:
    """The first step from which on every step leaks; None where the last one does not, or is not known."""

    blackbox: int | None
    whitebox: int | None


@dataclass(frozen=True, kw_only=True)
class Trajectory:
    """rows: by rising step; advice: None where FD is not known at every step."""

    of: str
    rows: tuple[Step, ...]
    onset: Onset
    advice: Advice | None


@dataclass(frozen=True, kw_only=True)
class SpaceUsed:
    """Where FD and KID are computed. no_real: why there are no real slices to compare with, or empty."""

    embedding: str
    axes: int
    fitted_on: str
    size: int
    no_real: str


@dataclass(frozen=True, kw_only=True)
class Comparison(JsonFile):
    """compare.json. space: None where there is neither a run nor a pile."""

    version: int
    checkpoints: tuple[CheckpointFigures, ...]
    pairs: tuple[PairFigures, ...]
    trajectories: tuple[Trajectory, ...]
    space: SpaceUsed | None

    @property
    def beside_first(self) -> list[PairFigures]:
        """The pairs with the first checkpoint."""
        return [pair for pair in self.pairs if pair.a == self.checkpoints[0].label]

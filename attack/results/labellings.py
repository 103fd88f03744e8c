"""How good decisions are against known labels. Members are used items, with the label 1."""

from __future__ import annotations

from dataclasses import dataclass

from attack.results.codec import noted
from attack.results.figures import Figure, Interval


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A figure with the ends of its interval; None where it could not be had, for the reason `why`."""

    value: float | None
    low: float | None
    high: float | None
    why: str | None = noted()

    @property
    def interval(self) -> Interval | None:
        return None if self.low is None or self.high is None else (self.low, self.high)


@dataclass(frozen=True, kw_only=True)
class Ppv(Estimate):
    """Chance that a flagged item is a member, where a share `prior` of all is."""

    prior: float


@dataclass(frozen=True, kw_only=True)
class Share(Estimate):
    """A share in [0, 1]: `count` items of `of`."""

    count: int
    of: int


@dataclass(frozen=True, kw_only=True)
class Summaries:
    """f1: in [0, 1]; kappa: Cohen's, in [-1, 1]; accuracy: in [0, 1]."""

    f1: float
    kappa: float
    accuracy: float


@dataclass(frozen=True, kw_only=True)
class Majority(Summaries):
    """label: "used" or "not used", whichever is more frequent."""

    label: str


@dataclass(frozen=True, kw_only=True)
class Coin:
    """Expectations of a fair coin for every item; low, high: the range of 95 % of coins."""

    f1: Figure
    kappa: Figure
    accuracy: Figure


@dataclass(frozen=True, kw_only=True)
class Trivial:
    """What labelling without looking reaches. all_ones: "used" for everybody."""

    all_ones: Summaries
    coin: Coin
    majority: Majority


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """Numbers of items."""

    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int


@dataclass(frozen=True, kw_only=True)
class Labelling:
    """How good a labelling is, beside `baselines`."""

    confusion: Confusion
    f1: Figure
    kappa: Figure
    accuracy: Share
    precision: Share
    recall: Share
    specificity: Share
    baselines: Trivial


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Items of one decision, by the truth."""

    members: int
    non_members: int

    @property
    def total(self) -> int:
        return self.members + self.non_members


@dataclass(frozen=True, kw_only=True)
class Decided:
    """counts: of "used", "not used" and "undetermined"; settled: items that are not undetermined; settled_only: of
    those alone, None where they lack a class, for the reason `settled_only_why`."""

    counts: dict[str, Counts]
    settled: int
    undetermined_as_not_used: Labelling
    ppv: tuple[Ppv, ...]
    settled_only: Labelling | None
    settled_only_why: str | None = noted()

"""What the question "whose data?" was answered with: the document attack/attribution.json."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from attack.results.codec import Document
from attack.results.figures import Figure, ReliabilityRow


@dataclass(frozen=True, kw_only=True)
class SubsetCounts:
    """A subset of real slices. slices, groups: how many it has; groups are patients or clusters of near-duplicates."""

    name: str
    slices: int
    groups: int


@dataclass(frozen=True, kw_only=True)
class SharedSlices:
    """Two subsets that have something in common. same: files; groups: patients or clusters with slices in both."""

    first: str
    second: str
    same: int
    groups: int


@dataclass(frozen=True, kw_only=True)
class Nearness:
    """How near images lie to their nearest real slice, -log distance in the median, higher = nearer. target: of those
    asked about; low, high: of the single shadows; outside: the target's lie farther than those of any shadow."""

    step: int
    target: float
    low: float
    high: float
    outside: bool


@dataclass(frozen=True, kw_only=True)
class Checked:
    """The answers to images whose subset is known. images, units, generators: how many; units are images that lie
    nearest to slices of one patient or cluster.

    accuracy: share of images whose most likely subset is right, in [0, 1]; nearest: the same of the subset that holds
    the nearest slice, which needs no shadow; gain: accuracy - nearest; chance: 1 / subsets. log_loss: of the subset in
    nats, 0 best, log_loss_even what even probabilities have. stated: mean probability of the most likely subset, to be
    held against accuracy; reliability: by that probability. confusion: images [true subset][most likely subset]. none:
    mean probability of "none of them", hidden_none: the same where the true subset was off the list and all answers
    equally likely; None where that was not tried.
    """

    images: int
    units: int
    generators: int
    accuracy: Figure
    nearest: Figure
    gain: Figure
    chance: float
    log_loss: float
    log_loss_even: float
    stated: float
    reliability: tuple[ReliabilityRow, ...]
    confusion: tuple[tuple[int, ...], ...]
    none: float
    hidden_none: float | None = None


@dataclass(frozen=True, kw_only=True)
class PileShare:
    """An answer about a pile. answer: a subset, or "none". share: of the pile's images; probability: that all of them
    were made from it, if one generator made all; low and high of both: 95 % intervals."""

    answer: str
    share: Figure
    probability: Figure


@dataclass(frozen=True, kw_only=True)
class PileAnswer:
    """A pile that was asked about. units: images that lie nearest to slices of one patient or cluster count as one."""

    name: str
    images: int
    units: int
    answers: tuple[PileShare, ...]

    @property
    def best(self) -> PileShare:
        """The answer with the largest share."""
        return max(self.answers, key=lambda one: one.share.value)


@dataclass(frozen=True, kw_only=True)
class Attribution(Document):
    """Everything that the page says. none: the probability before looking that no subset made an image; weights: of the
    signals, by name; temper: the share of a pile's evidence that counts, 0 to 1; held_out: images of shadows, by models
    without them; labelled: generated images whose subset the folder names, None without such."""

    subsets: tuple[SubsetCounts, ...]
    shared: tuple[SharedSlices, ...]
    shadows: int
    shadows_missing: tuple[int, ...]
    nearness: Nearness
    flips: tuple[str, ...]
    none: float
    weights: dict[str, float]
    temper: float
    held_out: Checked
    labelled: Checked | None
    piles: tuple[PileAnswer, ...]

    REMEDY: ClassVar[str] = "predict again"

    @property
    def judged(self) -> Checked:
        """The figures that count: of labelled images where there are such, else of shadows."""
        return self.labelled or self.held_out

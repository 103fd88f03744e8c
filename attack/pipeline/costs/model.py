"""The cost of a run in closed form, from rates that were measured (`timing`, `miniature`).

A pack costs its steps, its saves and its batches of images. Whoever is free takes the next pack. The attack costs a
fixed part and one that grows with the shadows: linearly where piles are measured, and with the square where every
shadow is held out in turn while the others are fitted.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

LINEAR, SQUARE = 1, 2  # powers of the number of shadows


@dataclass(frozen=True)
class Took:
    """Seconds on the clock, and of all processors together. On a machine that others use the first is the longer."""

    wall: float = 0.0
    processor: float = 0.0

    def __add__(self, other: Took) -> Took:
        return Took(self.wall + other.wall, self.processor + other.processor)

    def __sub__(self, other: Took) -> Took:
        """The difference, no part of it below 0: what is left of two timings that chance has swapped is nothing."""
        return Took(max(0.0, self.wall - other.wall), max(0.0, self.processor - other.processor))

    def __mul__(self, count: float) -> Took:
        return Took(self.wall * count, self.processor * count)


@dataclass(frozen=True)
class Stored:
    """bytes on the disk; files: with folders, as quotas count them."""

    bytes: int = 0
    files: int = 0

    def __add__(self, other: Stored) -> Stored:
        return Stored(self.bytes + other.bytes, self.files + other.files)

    def __mul__(self, count: int) -> Stored:
        return Stored(self.bytes * count, self.files * count)


@dataclass(frozen=True)
class Growth:
    """fixed + each n ** power. of two measurements: see `through`."""

    fixed: float
    each: float
    power: int

    def at(self, n: float) -> float:
        """The value at n."""
        return float(self.fixed + self.each * n**self.power)


def through(first: tuple[float, float], second: tuple[float, float], power: int) -> Growth:
    """The growth through two points (n, value) of different n. Where chance lets the larger n have the smaller value,
    all of the mean is fixed."""
    (n, low), (m, high) = first, second
    each = (high - low) / (m**power - n**power)
    if each <= 0:
        return Growth((low + high) / 2, 0.0, power)
    fixed = low - each * n**power
    return Growth(fixed, each, power) if fixed > 0 else Growth(0.0, high / m**power, power)


@dataclass(frozen=True)
class Batch:
    """images that one shadow draws together; rate: images a second of a pack, a shadow."""

    images: int
    rate: float


@dataclass(frozen=True)
class PackRates:
    """What one worker needs for a pack of one family.

    shadows: of a pack; start: from the start of the process to the end of its first step, compilation included; step: a
    step of training; save: the losses of all images and a checkpoint; compile: of sampling; batch: a batch of images
    of every shadow; memory: bytes of the process at most; checkpoint: of one shadow; batches: sizes of a sampling batch
    that were tried, on accelerators alone.
    """

    shadows: int
    start: Took
    step: Took
    save: Took
    compile: Took
    batch: Took
    memory: int
    checkpoint: Stored
    batches: tuple[Batch, ...] = ()


@dataclass(frozen=True)
class PackWork:
    """What a pack of one family has to do: steps, saves (checkpoints written), batches (of images, over all piles of a
    shadow); kept: what a shadow leaves."""

    rates: PackRates
    steps: int
    saves: int
    batches: int
    kept: Stored

    @property
    def train(self) -> Took:
        """Seconds of training one pack."""
        return self.rates.step * self.steps + self.rates.save * self.saves

    @property
    def sample(self) -> Took:
        """Seconds of drawing the piles of one pack."""
        return self.rates.batch * self.batches


@dataclass(frozen=True)
class AttackRates:
    """What the stages after the fleet need, as functions of the number of shadows.

    start: of `launch.py` itself; plan: once; seconds: (stage, wall, processor) of each; memory: bytes of the process at
    most; kept: bytes, in so many files; pool: images of the membership matrix.
    """

    start: Took
    plan: Took
    seconds: tuple[tuple[str, Growth, Growth], ...]
    memory: Growth
    kept: Growth
    files: int
    pool: int


@dataclass(frozen=True)
class Cost:
    """Of one stage. memory: bytes of all its processes together, at most."""

    stage: str
    took: Took
    memory: int
    stored: Stored


def schedule(seconds: Sequence[float], workers: int) -> float:
    """Seconds until all packs are done, where each of `workers` takes the next one when it is free."""
    free = [0.0] * workers
    for pack in seconds:
        heapq.heapreplace(free, free[0] + pack)
    return max(free)


def fleet_costs(packs: Sequence[PackWork], workers: int) -> tuple[Cost, Cost]:
    """The stages `train` and `sample`, which follow each other within a pack, for `packs` in their order.

    Every worker starts once. The time on the clock is shared out by what training and sampling need.
    """
    busy = min(workers, len(packs))
    start = max((pack.rates.start.wall for pack in packs), default=0.0)
    compiled = max((pack.rates.compile.wall for pack in packs), default=0.0)
    training = sum(pack.train.wall for pack in packs)
    drawing = sum(pack.sample.wall for pack in packs)
    wall = schedule([(pack.train + pack.sample).wall for pack in packs], busy) if packs else 0.0
    share = training / (training + drawing) if training + drawing else 1.0
    memory = busy * max((pack.rates.memory for pack in packs), default=0)
    kept = sum((pack.kept * pack.rates.shadows for pack in packs), Stored())
    slowest = max(packs, key=lambda pack: pack.rates.start.processor, default=None)
    starts = Took() if slowest is None else slowest.rates.start * busy
    compiles = Took() if slowest is None else slowest.rates.compile * busy
    processor = [sum(part.processor for part in (p.train for p in packs)), sum(p.sample.processor for p in packs)]
    return (
        Cost("train", Took(start + wall * share, starts.processor + processor[0]), memory, kept),
        Cost("sample", Took(compiled + wall * (1 - share), compiles.processor + processor[1]), memory, Stored()),
    )


def attack_costs(rates: AttackRates, shadows: int) -> tuple[Cost, ...]:
    """The stages after the fleet, in order; what they store is counted with the last one."""
    memory = int(rates.memory.at(shadows))
    found = [Cost(name, Took(wall.at(shadows), cpu.at(shadows)), memory, Stored()) for name, wall, cpu in rates.seconds]
    *others, last = found
    kept = Stored(int(rates.kept.at(shadows)), rates.files)
    return (*others, Cost(last.stage, last.took, last.memory, kept))


def total(costs: Sequence[Cost]) -> Cost:
    """All stages after each other: seconds and what is stored add up, and the largest memory counts."""
    took = sum((cost.took for cost in costs), Took())
    stored = sum((cost.stored for cost in costs), Stored())
    return Cost("all", took, max((cost.memory for cost in costs), default=0), stored)

"""Which of the numbers stored for a (pile, candidate) are whose, and which signals are computed from them."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from attack.signals import SIGNALS
from attack.signals.evidence import Evidence
from attack.signals.scene import PileBlock, Scene
from attack.signals.sight import Block, Sight
from attack.vectors import embeddings
from attack.vectors.embeddings import EMBEDDINGS
from attack.vectors.ssim import WINDOW
from shadow.config import SUPPLIED
from shadow.errors import UserError


def columns_of(names: Sequence[str], signals: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """(signal, embedding) in the order of the columns of z; signals that need no embedding have "" and come last."""
    within = [(s, e) for e in names for s in signals if _fits(s, e)]
    return (*within, *((s, "") for s in signals if isinstance(SIGNALS[s].block, PileBlock)))


def _fits(signal: str, embedding: str) -> bool:
    block = SIGNALS[signal].block
    return isinstance(block, Block) and block.kind in ("", EMBEDDINGS[embedding].kind)


def check(names: Sequence[str], signals: Sequence[str], resolution: int) -> None:
    """Raises UserError for unknown signals and embeddings, for those that images of this size do not bear, for a signal
    without an embedding that it can be measured in, and for an embedding that no signal is measured in."""
    for name in names:
        embeddings.check(name, resolution)
    for name in signals:
        if name not in SIGNALS:
            raise UserError(f"attack.signals: {name!r} is not known; choose from {', '.join(SIGNALS)}")
        block = SIGNALS[name].block
        if isinstance(block, Block) and not any(_fits(name, e) for e in names):
            fitting = ", ".join(e for e in EMBEDDINGS if _fits(name, e))
            raise UserError(f"attack.signals: {name!r} needs one of attack.embeddings = {fitting}")
    if "ssim" in signals and resolution < WINDOW:
        raise UserError(f"attack.signals: 'ssim' needs data.resolution = {WINDOW} or more; leave it out")
    within = any(isinstance(SIGNALS[s].block, Block) for s in signals) or SUPPLIED in names
    for name in names:
        if within and not any(_fits(s, name) for s in signals):
            if name == SUPPLIED:
                able = ", ".join(s for s in SIGNALS if _fits(s, name))
                raise UserError(f"attack.embeddings_from: vectors are for the signals {able}; give attack.signals one")
            raise UserError(f"attack.embeddings: none of attack.signals is measured in {name!r}; leave it out")


def key(block: str, embedding: str) -> str:
    return f"{block}@{embedding}" if embedding else block


@dataclass(frozen=True)
class Layout:
    """columns: (signal, embedding), in the order of the columns of z. numbers: the names of the numbers of each block,
    by `key(block, embedding)`, in the order in which they are stored. step: (which, of how many) training steps of the
    piles is attacked with, for blocks that have numbers for each. places: of the bank's shadows among those that a
    block has numbers for, where the bank holds some of them alone; all in turn where empty."""

    columns: tuple[tuple[str, str], ...]
    numbers: Mapping[str, tuple[str, ...]]
    step: tuple[int, int] = (0, 1)
    places: tuple[int, ...] = ()

    @property
    def names(self) -> list[str]:
        """Columns of z."""
        return [key(c, e) for s, e in self.columns for c in SIGNALS[s].columns]

    @property
    def stored(self) -> list[str]:
        """Every number, by a name of its own: number@embedding."""
        return [key(n, k.partition("@")[2]) for k, names in self.numbers.items() for n in names]

    @property
    def size(self) -> int:
        return sum(map(len, self.numbers.values()))

    @property
    def blocks(self) -> list[tuple[Block | PileBlock, str]]:
        """(block, embedding) that the columns need, each once, in order."""
        return list(dict.fromkeys((SIGNALS[s].block, e) for s, e in self.columns))

    @property
    def by_step(self) -> bool:
        """Does a column need numbers that a shadow's pile has for its own training step alone?"""
        return any(isinstance(block, PileBlock) and block.by_step for block, _ in self.blocks)

    def measure(
        self, sights: Callable[[str], Sequence[Sight]], whole: Mapping[str, np.ndarray] | None = None
    ) -> np.ndarray:
        """float32 [candidate, number] of one pile. sights(embedding): the pile in it, together of every candidate
        once, asked for once and let go; whole: [candidate, number] of blocks that need no embedding, by name."""
        parts: list[np.ndarray] = []
        for embedding, group in itertools.groupby(self.blocks, lambda pair: pair[1]):
            seen = sights(embedding) if embedding else []
            parts += [together(b, seen) if isinstance(b, Block) else (whole or {})[b.name] for b, _ in group]
        return np.concatenate(parts, axis=1, dtype=np.float32, casting="same_kind")

    def place(self, block: str, embedding: str) -> slice:
        """Of a block among the numbers. KeyError where it was not measured."""
        first = 0
        for name, numbers in self.numbers.items():
            if name == key(block, embedding):
                return slice(first, first + len(numbers))
            first += len(numbers)
        raise KeyError(key(block, embedding))

    def _part(self, column: tuple[str, str]) -> tuple[str, slice]:
        """The block that a column is computed from, and where it lies."""
        block = SIGNALS[column[0]].block
        place = self.place(block.name, column[1])
        if isinstance(block, PileBlock) and block.by_step:
            width = (place.stop - place.start) // self.step[1]
            first = place.start + width * self.step[0]
            place = slice(first, first + width)
        return block.name, place

    def evidence(self, values: np.ndarray, column: tuple[str, str]) -> Evidence:
        """What `column` (signal, embedding) is computed from, of values [..., number]: a view."""
        block, place = self._part(column)
        return Evidence({block: values[..., place]})

    def chosen(
        self, bank: np.ndarray, column: tuple[str, str], shadows: np.ndarray, candidates: np.ndarray
    ) -> Evidence:
        """The same of `bank` [shadow, candidate, number] for references `shadows` int [..., R] about `candidates` int
        [..., 1]."""
        block, place = self._part(column)
        named = np.asarray(self.places)[shadows] if self.places else shadows
        return Evidence({block: bank[..., place][shadows, candidates]}, named)

    def only(self, shadows: Sequence[int] | np.ndarray) -> Layout:
        """For a bank of these rows, int [row], of the present one alone: their numbers stay where they are."""
        kept = np.asarray(self.places)[shadows] if self.places else np.asarray(shadows)
        return dataclasses.replace(self, places=tuple(kept.tolist()))


def together(block: Block, sights: Sequence[Sight]) -> np.ndarray:
    """[candidate, number] of a block, over all sights."""
    found = np.concatenate([block.measure(sight) for sight in sights])
    result = np.empty_like(found)
    result[np.concatenate([np.arange(len(s.rows)) if s.about is None else s.about for s in sights])] = found
    return result


def plan(names: Sequence[str], signals: Sequence[str], scene: Scene | None = None) -> Layout:
    """The layout of what these signals need in these embeddings. `scene`: for blocks that need no embedding."""
    columns, numbers = columns_of(names, signals), dict[str, tuple[str, ...]]()
    for block, embedding in Layout(columns, {}).blocks:
        if isinstance(block, Block):
            numbers[key(block.name, embedding)] = block.numbers
        elif scene is None:
            raise ValueError(f"{block.name} is measured on all piles at once")
        else:
            numbers[block.name] = block.numbers(scene)
    return Layout(columns, numbers)

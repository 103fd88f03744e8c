"""Which of the numbers stored for a (pile, candidate) are whose, and which signals are computed from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from attack.signals import SIGNALS
from attack.signals.evidence import Evidence
from attack.signals.scene import PileBlock, Scene
from attack.signals.sight import Block, Sight


def columns_of(embeddings: Sequence[str], signals: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """(signal, embedding) in the order of the columns of z; signals that need no embedding have "" and come last."""
    within = [(s, e) for e in embeddings for s in signals if isinstance(SIGNALS[s].block, Block)]
    return (*within, *((s, "") for s in signals if isinstance(SIGNALS[s].block, PileBlock)))


def key(block: str, embedding: str) -> str:
    return f"{block}@{embedding}" if embedding else block


@dataclass(frozen=True)
class Layout:
    """columns: (signal, embedding), in the order of the columns of z. numbers: the names of the numbers of each block,
    by `key(block, embedding)`, in the order in which they are stored."""

    columns: tuple[tuple[str, str], ...]
    numbers: Mapping[str, tuple[str, ...]]

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

    def measure(self, sights: Mapping[str, Sight], whole: Mapping[str, np.ndarray] | None = None) -> np.ndarray:
        """float32 [candidate, number] of one pile. sights: the pile in each embedding; whole: [candidate, number] of
        blocks that need no embedding, by name."""
        parts = [
            block.measure(sights[embedding]) if isinstance(block, Block) else (whole or {})[block.name]
            for block, embedding in self.blocks
        ]
        return np.concatenate(parts, axis=1, dtype=np.float32, casting="same_kind")

    def place(self, block: str, embedding: str) -> slice:
        """Of a block among the numbers. KeyError where it was not measured."""
        first = 0
        for name, numbers in self.numbers.items():
            if name == key(block, embedding):
                return slice(first, first + len(numbers))
            first += len(numbers)
        raise KeyError(key(block, embedding))

    def evidence(self, values: np.ndarray, column: tuple[str, str]) -> Evidence:
        """What `column` (signal, embedding) is computed from, of values [..., number]: a view."""
        block = SIGNALS[column[0]].block.name
        return Evidence({block: values[..., self.place(block, column[1])]})

    def chosen(
        self, bank: np.ndarray, column: tuple[str, str], shadows: np.ndarray, candidates: np.ndarray
    ) -> Evidence:
        """The same of `bank` [shadow, candidate, number] for references `shadows` int [..., R] about `candidates` int
        [..., 1]."""
        block = SIGNALS[column[0]].block.name
        return Evidence({block: bank[..., self.place(block, column[1])][shadows, candidates]}, shadows)


def plan(embeddings: Sequence[str], signals: Sequence[str], scene: Scene | None = None) -> Layout:
    """The layout of what these signals need in these embeddings. `scene`: for blocks that need no embedding."""
    columns, numbers = columns_of(embeddings, signals), dict[str, tuple[str, ...]]()
    for block, embedding in Layout(columns, {}).blocks:
        if isinstance(block, Block):
            numbers[key(block.name, embedding)] = block.numbers
        elif scene is None:
            raise ValueError(f"{block.name} is measured on all piles at once")
        else:
            numbers[block.name] = block.numbers(scene)
    return Layout(columns, numbers)

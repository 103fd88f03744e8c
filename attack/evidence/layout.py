"""Which of the numbers stored for a (pile, candidate) are whose, and which signals are computed from them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from attack.evidence.embedded_pile import Block, EmbeddedPile
from attack.evidence.embeddings import builtin
from attack.evidence.embeddings.builtin import EMBEDDINGS
from attack.evidence.signals import SIGNALS
from shadow.config import SUPPLIED
from shadow.errors import UserError

TARGETS = ("generated_dev", "generated_test")  # piles of the target, named as their roles


def pile_name(shadow: int, step: int, size: int) -> str:
    """The name of a shadow's pile after `step` steps, of which the first `size` images are compared."""
    return f"{shadow:04d}@{step}x{size}"


def columns_of(names: Sequence[str], signals: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """(signal, embedding) in the order of the columns of z."""
    return tuple((s, e) for e in names for s in signals if _fits(s, e))


def _fits(signal: str, embedding: str) -> bool:
    return EMBEDDINGS[embedding].embed is not None or not SIGNALS[signal].block.pictures


def check(names: Sequence[str], signals: Sequence[str], resolution: int) -> None:
    """Raises UserError for unknown signals and embeddings, for embeddings that images of this size do not bear, for a
    signal without an embedding that it can be measured in, and for vectors that no signal is measured in."""
    for name in names:
        builtin.check(name, resolution)
    for name in signals:
        if name not in SIGNALS:
            raise UserError(f"attack.signals: {name!r} is not known; choose from {', '.join(SIGNALS)}")
        if not any(_fits(name, e) for e in names):
            fitting = ", ".join(e for e in EMBEDDINGS if _fits(name, e))
            raise UserError(f"attack.signals: {name!r} needs one of attack.embeddings = {fitting}")
    able = [s for s in SIGNALS if _fits(s, SUPPLIED)]
    if SUPPLIED in names and not set(able) & set(signals):
        known = ", ".join(able)
        raise UserError(f"attack.embeddings_from: vectors are for the signals {known}; give attack.signals one")


def key(name: str, embedding: str) -> str:
    """Name of a number in an embedding, as `names.json` has it."""
    return f"{name}@{embedding}"


def signal_of(column: str) -> str:
    """The signal of a column that `key` named."""
    return column.partition("@")[0]


def embedding_of(column: str) -> str:
    """The embedding of a column that `key` named."""
    return column.partition("@")[2]


@dataclass(frozen=True)
class Layout:
    """columns: (signal, embedding), in the order of the columns of z. numbers: the names of the numbers of each block,
    by `key(block, embedding)`, in the order in which they are stored."""

    columns: tuple[tuple[str, str], ...]
    numbers: Mapping[str, tuple[str, ...]]

    @property
    def names(self) -> tuple[str, ...]:
        """Columns of `signals`."""
        return tuple(itertools.starmap(key, self.columns))

    @property
    def stored(self) -> list[str]:
        """Every number, by a name of its own: number@embedding."""
        return [key(n, embedding_of(k)) for k, names in self.numbers.items() for n in names]

    @property
    def size(self) -> int:
        """Numbers that are stored for a (pile, candidate)."""
        return sum(map(len, self.numbers.values()))

    @property
    def blocks(self) -> list[tuple[Block, str]]:
        """(block, embedding) that the columns need, each once, in order."""
        return list(dict.fromkeys((SIGNALS[s].block, e) for s, e in self.columns))

    def measure(self, embedded: Callable[[str], EmbeddedPile]) -> np.ndarray:
        """float32 [candidate, number] of one pile. embedded(embedding): the pile in it, asked for once and let go."""
        parts: list[np.ndarray] = []
        for embedding, group in itertools.groupby(self.blocks, lambda pair: pair[1]):
            seen = embedded(embedding)
            parts += [block.measure(seen) for block, _ in group]
        return np.concatenate(parts, axis=1, dtype=np.float32, casting="same_kind")

    def place(self, block: str, embedding: str) -> slice:
        """Of a block among the numbers. KeyError where it was not measured."""
        first = 0
        for name, numbers in self.numbers.items():
            if name == key(block, embedding):
                return slice(first, first + len(numbers))
            first += len(numbers)
        raise KeyError(key(block, embedding))

    def signals(self, values: np.ndarray) -> np.ndarray:
        """float64 [..., column] of values [..., number]."""
        found = []
        for signal, embedding in self.columns:
            known = SIGNALS[signal]
            found.append(known.value(values[..., self.place(known.block.name, embedding)]))
        return np.concatenate(found, axis=-1)


def plan(names: Sequence[str], signals: Sequence[str]) -> Layout:
    """The layout of what these signals need in these embeddings."""
    columns = columns_of(names, signals)
    numbers = {key(block.name, embedding): block.numbers for block, embedding in Layout(columns, {}).blocks}
    return Layout(columns, numbers)

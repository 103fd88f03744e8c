"""All piles and all real images of a run: what the blocks that need no embedding are measured on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from shadow.config import Config


@dataclass(frozen=True)
class Pile:
    """One pile that is measured.

    name: in the store; shadow: its number in the fleet, and step: the training step, both -1 for a pile of the
    target's; count: images at which it is compared with other piles. read() -> [count, side, side] in grey levels 0 to
    255, from the disk: uint8 where they are whole, float32 where the images were reduced. seen, whole(): the same for
    what distances see, which of a target's pile may be more.
    """

    name: str
    shadow: int
    step: int
    count: int
    read: Callable[[], np.ndarray]
    seen: int
    whole: Callable[[], np.ndarray]


@dataclass(frozen=True, eq=False)
class AttackData:
    """images: float32 [image, side, side] in grey levels, the dev images and then the test candidates; ids, groups: of
    them; dev: how many are dev images; piles: in the order of the store, those of one step and size by rising shadow,
    the target's last; workdir: where a block may keep what it trained."""

    images: np.ndarray
    ids: tuple[str, ...]
    groups: tuple[str, ...]
    dev: int
    piles: tuple[Pile, ...]
    workdir: Path
    config: Config


class PileBlock(NamedTuple):
    """Numbers that are measured once for every (pile, candidate), without an embedding.

    numbers(attack_data): their names. measure(attack_data) -> float [pile, candidate, number], of all piles at once:
    they may be compared with each other, or trained on together. No row may depend on which other candidates there are.
    """

    name: str
    numbers: Callable[[AttackData], tuple[str, ...]]
    measure: Callable[[AttackData], np.ndarray]

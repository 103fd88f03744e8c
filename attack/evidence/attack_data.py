"""All piles and all real images of a run: what evidence is measured on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


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
    the target's last."""

    images: np.ndarray
    ids: tuple[str, ...]
    groups: tuple[str, ...]
    dev: int
    piles: tuple[Pile, ...]

"""Which subset each shadow is trained on, where the question is "whose data?": one subset, whole, as its generator was.

Shadows of one family take the subsets in turn, so that a fleet grows by rounds of one shadow a subset.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shadow.errors import UserError
from shadow.training.membership import UnitChoice

LEAST = 2  # shadows of each subset: one teaches while the other is asked about
UNIT = UnitChoice("group", 0.0, 0.0, None, "each shadow holds one subset, whole")


def draw(subset: np.ndarray, family: Sequence[int]) -> np.ndarray:
    """bool [shadow, image]; more shadows only add rows.

    subset: int [image], numbers from 0; family: of each shadow. Raises UserError where the shadows of a family are no
    whole rounds, or a subset would have fewer than `LEAST`.
    """
    names, count = np.asarray(family), int(subset.max()) + 1
    families = len(set(names.tolist()))
    turn = np.zeros(len(names), int)
    for one in set(names.tolist()):
        own = names == one
        if own.sum() % count:
            raise UserError(
                f"fleet.shadows = {len(names)}: use a multiple of {count * families}, so that each of the {count} "
                f"subsets has as many shadows{' of each family' if families > 1 else ''} (and an even membership.block "
                "that divides it)"
            )
        turn[own] = np.arange(own.sum()) % count
    if len(names) < LEAST * count:
        raise UserError(
            f"fleet.shadows = {len(names)}: use {LEAST * count} or more, {LEAST} for each of the {count} subsets"
        )
    return turn[:, None] == subset[None]

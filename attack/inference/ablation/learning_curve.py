"""The learning curve: how good the attack is with fewer shadows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from attack.inference import crossfit, reference_choice
from attack.inference.ablation import importance
from attack.inference.crossfit import HeldOut, Labelled, Options
from attack.results import CurvePoint
from shadow import keys

SIZES = (4, 8, 16, 32, 64, 128)
_FLEETS = 4  # of each size
_TRIES = 20


def sub_fleets(member: np.ndarray, shadows: Sequence[int], block: int, size: int, seed: int) -> list[np.ndarray]:
    """Up to four different random choices of `size` shadows, each int [size] of rows of member bool [shadow, image].

    `shadows`: their numbers in the fleet. Whole blocks of the membership matrix where `size` holds them, so that every
    image is in half of a choice, else any shadows. Choices that leave a pair without a reference are passed over.
    """
    numbers = np.asarray(shadows) // block
    whole = [b for b in np.unique(numbers) if (numbers == b).sum() == block]
    in_blocks = size % block == 0 and len(whole) * block >= size
    found: list[np.ndarray] = []
    for turn in range(_TRIES):
        rng = keys.generator(seed, "curve", size, turn)
        if in_blocks:
            rows = np.flatnonzero(np.isin(numbers, rng.permutation(whole)[: size // block]))
        else:
            rows = np.sort(rng.permutation(len(numbers))[:size])
        if reference_choice.enough(member[rows]) and not any((rows == other).all() for other in found):
            found.append(rows)
        if len(found) == _FLEETS:
            break
    return found


def figures(
    data: Labelled,
    options: Options,
    whole: HeldOut,
    shadows: Sequence[int],
    block: int,
) -> tuple[CurvePoint, ...]:
    """Points by rising number of shadows, the whole fleet last.

    The AUC and the ends of its interval are means over the sub-fleets, for the first draw of references.
    `whole`: the held-out scores of the attack on the whole fleet; `shadows` and `block` as in `sub_fleets`. Sizes that
    leave pairs without references are left out.
    """
    count = len(data.shadow_signals.member)
    rows = []
    for size in SIZES:
        if size < count:
            found = []
            for chosen in sub_fleets(data.shadow_signals.member, shadows, block, size, options.seed):
                part = data.only(chosen)
                held = crossfit.two_way(part, options, 0)
                found.append(importance.point(part, held.logit))
            if found:
                low, high = np.mean([one.interval for one in found], axis=0).tolist()
                each = tuple(one.auc for one in found)
                rows.append(CurvePoint(shadows=size, auc=float(np.mean(each)), interval=(low, high), each=each))
    return (*rows, importance.point(data, whole.logit))

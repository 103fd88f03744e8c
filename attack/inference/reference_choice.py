"""References of a pair: which shadows they are, how many, and what they show on average."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from attack.inference.shadow_signals import ShadowSignals
from shadow import keys
from shadow.errors import UserError

ASIDE = 2  # shadows that are no reference of a pair: the one asked about and the one held out
LEAST_SHADOWS = 6


def reference_count(member: np.ndarray, most: int, aside: int = ASIDE) -> int:
    """R: what every pair can have when itself and one held-out shadow (`aside` in all) stand aside.

    member: bool [shadow, image]. The image that the fewest shadows lack decides for all: half of them in a complete
    fleet, fewer where some are missing.
    """
    return max(1, min(most, least_without(member) - aside))


def least_without(member: np.ndarray) -> int:
    """The number of shadows without an image, of the image where it is least."""
    return int((~member).sum(0).min())


def enough(member: np.ndarray) -> bool:
    """Do these shadows, bool [shadow, image], leave every pair a reference?"""
    return least_without(member) > ASIDE


def check_enough(member: np.ndarray, ids: Sequence[str]) -> None:
    """Raises UserError where the attack cannot work with these shadows, bool [shadow, image `ids`]."""
    shadows, without = len(member), (~member).sum(0)
    if shadows < LEAST_SHADOWS:
        raise UserError(f"{shadows} shadows are too few, at least {LEAST_SHADOWS} are needed")
    image = int(without.argmin())
    if without[image] <= ASIDE:
        raise UserError(
            f"{without[image]} of these {shadows} shadows were trained without {ids[image]}, and at least {ASIDE + 1} "
            "are needed for every image"
        )
    if without.max() == shadows:
        raise UserError(f"none of these {shadows} shadows was trained on {ids[without.argmax()]}")


@functools.lru_cache(maxsize=32)  # every fold, and every pile of a target, asks for the same few draws
def priorities(ids: tuple[str, ...], shadows: int, seed: int, draw: int) -> np.ndarray:
    """Random order of the shadows as references, float [candidate, shadow] in [0, 1): a function of the id alone.
    Read-only."""
    order = np.stack([keys.generator(seed, "references", draw, name).random(shadows) for name in ids])
    order.setflags(write=False)
    return order


def ranked_references(no_reference: np.ndarray, order: np.ndarray) -> np.ndarray:
    """The shadows of each candidate by their turn as its references, int [candidate, shadow]; -1 for those that are
    no_reference, bool [shadow, candidate], which come last. `order` [candidate, shadow]: see `priorities`."""
    cost = np.where(no_reference.T, np.inf, order)
    ranked = np.argsort(cost, axis=1, kind="stable")
    return np.where(np.isfinite(np.take_along_axis(cost, ranked, 1)), ranked, -1)


def first(ranked: np.ndarray, count: int, banned: Sequence[int]) -> np.ndarray:
    """The first `count` of `ranked` [candidate, shadow] that are not banned. ValueError where there are fewer."""
    near = ranked[:, : count + len(banned)]
    kept = np.argsort(np.isin(near, banned), axis=1, kind="stable")[:, :count]
    chosen = np.take_along_axis(near, kept, 1)
    if chosen.shape[1] < count or (chosen < 0).any() or np.isin(chosen, banned).any():
        raise ValueError("too few shadows can be references of a candidate")
    return chosen


def choose_references(
    shadow_signals: ShadowSignals, order: np.ndarray, count: int, banned: Sequence[int] = ()
) -> np.ndarray:
    """Indices of the references, int [candidate, count].

    `order` [candidate, shadow]: see `priorities`; `banned`: shadows that stand aside. Those of `no_reference`
    are never taken. Raises ValueError where fewer than `count` are not.
    """
    return first(ranked_references(shadow_signals.no_reference, order), count, banned)


def reference_means(
    shadow_signals: ShadowSignals, references: np.ndarray, columns: np.ndarray | None = None
) -> np.ndarray:
    """Mean signals of the references at every training step: float64 [step, candidate, column].

    references: int [candidate, R], numbers of shadows; columns: int [candidate], which candidates of `shadow_signals`
    they are for (all in turn where None).
    """
    columns = (np.arange(len(references)) if columns is None else columns)[:, None]
    return np.stack([step[references, columns].mean(1) for step in shadow_signals.references])

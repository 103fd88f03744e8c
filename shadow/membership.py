"""Which image is in which shadow: the membership matrix, drawn once, in blocks.

In a block of B shadows every unit (an image, or several of one group that go together) is in exactly B/2 of them,
and the shadows' sizes differ by at most the largest unit. Rows once written never change; a fleet grows by blocks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from absl import logging

from shadow import keys
from shadow.config import MembershipConfig
from shadow.errors import UserError

# New deals tried per ordered pair of shadows: enough for the chain to forget the greedy start it begins from.
_DEALS_PER_PAIR = 40


def units(groups: Sequence[str], kind: str, seed: int) -> list[np.ndarray]:
    """Indices of the images of each unit.

    `image`: every image alone. `group`: every group whole. `mixed`: a group of two or more images is whole or split
    into two halves, by a fair coin, since a real challenge holds both strangers and neighbours of members. A group
    above a tenth of the images is always split under `mixed`.
    """
    names = np.asarray(groups)
    if kind == "image":
        return [np.array([i]) for i in range(len(names))]
    if kind not in ("group", "mixed"):
        raise UserError(f"membership.unit = {kind!r}: use 'image', 'group' or 'mixed'")
    result = []
    for name in sorted(set(names.tolist())):
        images = np.flatnonzero(names == name)
        rng = keys.generator(seed, "membership/units", name)
        if kind == "mixed" and len(images) > 1 and (rng.random() < 0.5 or len(images) > len(names) / 10):
            shuffled = rng.permutation(images)
            half = len(images) // 2
            result += [np.sort(shuffled[:half]), np.sort(shuffled[half:])]
        else:
            result.append(images)
    return result


def warn_of_large_units(groups: Sequence[str], config: MembershipConfig, seed: int) -> None:
    """A logged warning where a unit holds more than a tenth of the images."""
    largest = max(len(unit) for unit in units(groups, config.unit, seed))
    if largest > max(1, len(groups) / 10):
        said = "a membership unit holds %d of %d images: shadows share it whole, and estimates rest on few units"
        logging.warning(said, largest, len(groups))


def checked_units(groups: Sequence[str], config: MembershipConfig, seed: int) -> list[np.ndarray]:
    """As `units`. Raises UserError where there are so few that nothing could be held out."""
    found = units(groups, config.unit, seed)
    if len(found) < 4:
        raise UserError(f"only {len(found)} independent units among the dev images: at least 4 are needed")
    return found


def _block(sizes: np.ndarray, shadows: int, rng: np.random.Generator) -> np.ndarray:
    """bool [shadow, unit]: columns sum to shadows / 2, row weights differ by at most the largest size.

    A greedy start (largest unit first, into the emptiest shadows) meets both conditions. Then the units that just
    one of two shadows holds are dealt anew between the two, in equal numbers as before or by fair coins, and a deal
    that keeps the conditions is taken. The proposals are symmetric, so every allowed matrix is equally likely in the
    end. Coins are needed: with equal numbers alone, two units far larger than the others would never meet.
    """
    matrix = np.zeros((shadows, len(sizes)), bool)
    for unit in np.lexsort((rng.random(len(sizes)), -sizes)):
        loads = matrix @ sizes
        matrix[np.lexsort((rng.random(shadows), loads))[: shadows // 2], unit] = True
    loads = matrix @ sizes
    largest = sizes.max()
    for k, m, coins in rng.integers(0, [[shadows, shadows, 2]], (_DEALS_PER_PAIR * shadows**2, 3)).tolist():
        differ = np.flatnonzero(matrix[k] != matrix[m])
        before = matrix[k, differ]
        after = rng.random(len(differ)) < 0.5 if coins else rng.permutation(before)
        moved = sizes[differ[after]].sum() - sizes[differ[before]].sum()
        changed = loads.copy()
        changed[k] += moved
        changed[m] -= moved
        if changed.max() - changed.min() <= largest:
            matrix[k, differ], matrix[m, differ] = after, ~after
            loads = changed
    return matrix


def draw(groups: Sequence[str], shadows: int, config: MembershipConfig, seed: int) -> np.ndarray:
    """bool [shadow, image]: a pure function of (groups, block, unit, seed); more shadows only add rows.

    Raises UserError where shadows do not fill whole blocks or there is nothing to hold out.
    """
    if config.block < 2 or config.block % 2:
        raise UserError(f"membership.block = {config.block}: use an even number of 2 or more")
    if shadows < config.block or shadows % config.block:
        raise UserError(f"fleet.shadows = {shadows}: use a multiple of membership.block = {config.block}")
    parts = checked_units(groups, config, seed)
    sizes = np.array([len(part) for part in parts])
    rows = np.zeros((shadows, len(groups)), bool)
    for block in range(shadows // config.block):
        drawn = _block(sizes, config.block, keys.generator(seed, "membership/block", block))
        for unit, part in enumerate(parts):
            rows[block * config.block : (block + 1) * config.block, part] = drawn[:, unit, None]
    return rows


def touched(membership: np.ndarray, groups: Sequence[str], of: Sequence[str]) -> np.ndarray:
    """bool [shadow, candidate]: does the shadow hold an image of the candidate's group?

    `groups` are those of the matrix's columns, `of` those of the candidates. Its complement is OUT(x).
    """
    same = np.asarray(groups)[:, None] == np.asarray(of)[None]
    return (membership.astype(np.int32) @ same.astype(np.int32)) > 0

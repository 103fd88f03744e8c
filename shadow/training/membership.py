"""Which image is in which shadow: the membership matrix, drawn once, in blocks.

In a block of B shadows every unit (an image, or several of one group that go together) is in exactly B/2 of them,
and the shadows' sizes differ by at most the largest unit. Rows once written never change; a fleet grows by blocks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from absl import logging

from shadow import keys
from shadow.config import MembershipConfig
from shadow.errors import UserError

# New deals tried per ordered pair of shadows: enough for the chain to forget the greedy start it begins from.
_DEALS_PER_PAIR = 40
UNITS = ("image", "mixed", "group")  # from the most to the fewest units
AUTO = "auto"
_LEAST_UNITS = 4
# How far the share of candidates with relatives may lie below that of dev images (in a simulation of unused candidates
# .1 below raised false alarms from 9 to 16 %), and how far above, where it accuses nobody.
_BELOW, _ABOVE = 0.08, 0.2
# The same as a ratio: below the first, candidates are strangers to dev images; below the second, `mixed` still accuses
# too many of them; below the third, some are strangers and some are not.
_SELDOM, _HALF, _OFTEN = 0.2, 0.6, 0.8
_WHOLE, _SPLIT = 0.2, 0.5  # of `label_split`: groups are whole below the first, split from the second on
_LEAST_RELATIVES = 5  # not-used images with a labelled relative: fewer do not tell how groups were split


def units(groups: Sequence[str], kind: str, seed: int) -> list[np.ndarray]:
    """Indices of the images of each unit.

    `image`: every image alone. `group`: every group whole. `mixed`: a group of two or more images is whole or split
    into two halves, by a fair coin, since a real challenge holds both strangers and neighbours of members. A group
    above a tenth of the images is always split under `mixed`.
    """
    names = np.asarray(groups)
    if kind == "image":
        return [np.array([i]) for i in range(len(names))]
    if kind not in UNITS:
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


@dataclass(frozen=True)
class UnitChoice:
    """The unit of membership that is in force, and what speaks for it.

    unit: image, group or mixed. candidates, dev: share of the test candidates and of the dev images, 0 to 1, that have
    a relative in the pool, which is another image of their group that shadows may hold. split: see `label_split`. why:
    a clause for people. warning: a sentence where the unit does not fit the data, else empty.
    """

    unit: str
    candidates: float
    dev: float
    split: float | None
    why: str
    warning: str = ""


def choose_unit(
    dev_groups: Sequence[str],
    test_groups: Sequence[str],
    dev_label: np.ndarray,
    asked: str = AUTO,
    candidates: bool = False,
    seed: int = 0,
) -> UnitChoice:
    """The unit `asked` for, judged, or where that is "auto" the one that fits the data.

    References of an image are shadows without it. Those of a dev image may hold its relatives under `image`, never
    under `group`; those of a candidate may too, unless they are excluded (`of_two_kinds`). Unused dev images set the
    scale of scores. So candidates look more used than they are where dev images have such references and they have not.

    - `image` where all groups are single images. All units are then the same.
    - `group` where candidates seldom have relatives. Where they have them less often than dev images it is `group`,
      which errs towards "not used" alone, or, above 60 %, `mixed`.
    - Else the labels decide: `group` where they keep groups whole, `image` where they split them, `mixed` between.
      `image` too where they do not tell, since it treats candidates and dev images alike.
    - A unit with more parts where the chosen one leaves fewer than four.

    dev_groups [dev image], test_groups [candidate]; dev_label int [dev image]: 1 used, 0 not used, -1 not known.
    candidates: shadows hold candidates too (`membership.candidates`). Raises UserError for an unknown unit.
    """
    share, dev = relatives(dev_groups, test_groups, "image", candidates, seed)
    split, said = label_split(dev_groups, dev_label), _shares(share, dev)
    fitting, why = _fitting(share, dev, split, candidates)
    unit = fitting if asked == AUTO else asked
    if asked == AUTO:
        enough = [u for u in UNITS[: UNITS.index(unit) + 1] if len(units(dev_groups, u, seed)) >= _LEAST_UNITS]
        if enough and unit != enough[-1]:
            unit, why = enough[-1], f"{why}; but so few groups leave too few units of '{unit}'"
    theirs, own = relatives(dev_groups, test_groups, unit, candidates, seed)
    warning, two_kinds = "", of_two_kinds(dev_groups, test_groups, candidates)
    whole = not candidates and (unit == "group" or (unit == "image" and not dev))  # then references may be excluded
    if own - theirs > _BELOW:
        warning = f"{said}: unused candidates look more used than they are, and too many are flagged"
        if asked not in (AUTO, fitting):
            warning += f"; membership.unit = {fitting!r} fits better"
    elif two_kinds:
        warning = f"{said}: no unit fits both candidates with relatives, which look less used, and those without"
    elif theirs - own > _ABOVE and not whole:
        warning = f"{said}: candidates with relatives look less used than they are"
    if warning:
        warning = f"membership.unit = {unit!r} does not fit well: {warning}"
        if not candidates:
            warning += "; membership.candidates=true treats all alike"
    return UnitChoice(unit, share, dev, split, why if asked == AUTO else f"as given; {said}", warning)


def of_two_kinds(dev_groups: Sequence[str], test_groups: Sequence[str], candidates: bool = False) -> bool:
    """Are many candidates of groups that dev images are of too, and many of others?

    What is not in the dev set of the two kinds of groups may differ: unlisted images of one kind may have been used.
    Then no shadow is excluded (`attack/inference/calibration.py`), so that shadows in the place of the target vary as
    much as the candidates may. Arguments as of `choose_unit`.
    """
    share, dev = relatives(dev_groups, test_groups, "image", candidates, 0)
    return _SELDOM * dev <= share < _OFTEN * dev and dev - share > _BELOW


def _fitting(share: float, dev: float, split: float | None, candidates: bool) -> tuple[str, str]:
    """(unit, why) by the rule of `choose_unit`, but for the number of units."""
    if not dev and not (candidates and share):
        return "image", "no two of the shadows' slices belong together, so that all units are the same"
    said = _shares(share, dev)
    if share < _SELDOM * dev:
        return "group", said
    if split is not None and split < _WHOLE:
        return "group", f"{said}; dev labels keep slices that belong together whole"
    if share < _HALF * dev and dev - share > _BELOW:
        return "group", f"{said}, so that it errs towards 'not used'"
    if split is not None and split < _SPLIT:
        return "mixed", f"{said}; dev labels split some slices that belong together"
    if dev - share > _BELOW:
        return "mixed", f"{said}, so that it stands between"
    if split is None:
        return "image", f"{said}; too few labels tell whether slices that belong together were used together"
    return "image", f"{said}; dev labels split slices that belong together"


def _shares(share: float, dev: float) -> str:
    had = "have relatives (slices of one patient or cluster) among the slices that shadows may hold"
    return f"{share:.0%} of the candidates and {dev:.0%} of the dev slices {had}"


def relatives(
    dev_groups: Sequence[str], test_groups: Sequence[str], unit: str, candidates: bool, seed: int
) -> tuple[float, float]:
    """Share of the candidates and of the dev images, 0 to 1, of which a shadow without the image may hold a relative.

    Arguments as of `choose_unit`. A candidate that no shadow holds has one where a dev image is of its group; an image
    that shadows may hold has one where its group is of two units or more. Without candidates their share is 0.
    """
    pool = [*dev_groups, *test_groups] if candidates else list(dev_groups)
    parts = Counter(pool[part[0]] for part in units(pool, unit, seed))
    dev = [parts[group] > 1 for group in dev_groups]
    test = [parts[group] > int(candidates) for group in test_groups]
    return sum(test) / max(len(test), 1), sum(dev) / max(len(dev), 1)


def label_split(groups: Sequence[str], label: np.ndarray) -> float | None:
    """How far the labels of dev images split their groups: 0 where groups are whole, 1 where labels fall at random.

    That is the chance that another labelled image of a not-used one's group was used, over the share of used ones among
    all other labelled images. It may exceed 1. groups [image]; label int [image]: 1 used, 0 not used, -1 not known.
    None where used or not-used images are missing, or fewer than five not-used ones have a labelled relative.
    """
    known = np.flatnonzero(label >= 0)
    names, used = np.asarray(groups)[known], label[known] == 1
    if not used.any() or used.all():
        return None
    pairs = ((names[:, None] == names[None]) & ~np.eye(len(names), dtype=bool))[~used]
    if pairs.any(1).sum() < _LEAST_RELATIVES:
        return None
    return float(pairs[:, used].sum() / pairs.sum() * (len(used) - 1) / used.sum())


def warn_of_large_units(groups: Sequence[str], config: MembershipConfig, seed: int) -> None:
    """A logged warning where a unit holds more than a tenth of the images."""
    largest = max(len(unit) for unit in units(groups, config.unit, seed))
    if largest > max(1, len(groups) / 10):
        said = "a membership unit holds %d of %d images: shadows share it whole, and estimates rest on few units"
        logging.warning(said, largest, len(groups))


def checked_units(groups: Sequence[str], config: MembershipConfig, seed: int) -> list[np.ndarray]:
    """As `units`. Raises UserError for one group alone, or so few units that nothing can be held out."""
    if len(set(groups)) < 2:
        raise UserError(
            f"all {len(groups)} dev images are of one patient or cluster of near-duplicates ({groups[0]}), and nothing "
            "can be judged on another one; add real slices of other patients"
        )
    found = units(groups, config.unit, seed)
    if len(found) < _LEAST_UNITS:
        raise UserError(
            f"membership.unit = {config.unit!r}: only {len(found)} independent units among the dev images, at least "
            f"{_LEAST_UNITS} are needed; add real slices of other patients"
        )
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


def holds_relative(membership: np.ndarray, groups: Sequence[str], of: Sequence[str]) -> np.ndarray:
    """bool [shadow, candidate]: does the shadow hold an image of the candidate's group?

    `groups` are those of the matrix's columns, `of` those of the candidates. Its complement is OUT(x).
    """
    same = np.asarray(groups)[:, None] == np.asarray(of)[None]
    return (membership.astype(np.int32) @ same.astype(np.int32)) > 0

"""What a folder holds, before anything is trained: counts, modes, gray values, copies and patients of every role.

Real and generated images must differ in what the generator did, and in nothing else: a palette of few levels, another
window or another size would tell them apart by itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shadow.config import DataConfig
from shadow.data import editions, manifest
from shadow.errors import UserError

MOST = 400  # images of a role whose gray values are looked at, spread evenly
_APART = 12.0  # gray levels between the means of real and generated images that are worth a word
_FEW = 0.5  # share of the levels of real images below which generated ones look quantised


@dataclass(frozen=True)
class RoleFacts:
    """One role. Of gray values, over at most `MOST` images: mean, spread and levels of an image in the median."""

    role: str
    folder: str  # relative to the root
    count: int
    expected: int  # 0: any number is as good
    sizes: tuple[tuple[str, int], ...]  # ("256 x 256", images), most first
    modes: tuple[tuple[str, int], ...]
    copies: int  # files with the bytes of another one of this role
    groups: int  # patients or clusters; 0 of generated images
    largest: int  # images of the largest group
    mean: float
    spread: float
    levels: float
    black: float  # share of pixels that are 0


@dataclass(frozen=True)
class Facts:
    """A folder as one edition."""

    root: Path
    edition: str
    grouped_by: str
    roles: tuple[RoleFacts, ...]
    warnings: tuple[str, ...]


def chosen_edition(root: Path, asked: str | None) -> str:
    """The edition that was asked for, else the only one that fits. Raises UserError where none or several do."""
    if asked is not None:
        return editions.get(asked).name
    names = editions.fitting(root)
    if len(names) == 1:
        return names[0]
    if names:
        raise UserError(f"{root}: fits the editions {', '.join(names)}; say which with --config.data.edition")
    wanted = "; ".join(
        f"{edition.name}: {', '.join(_plain(role.folder) for role in edition.roles)}"
        for edition in editions.EDITIONS.values()
    )
    raise UserError(
        f"{root}: has not all folders of any edition ({wanted}); --config.data.edition=NAME says what is missing"
    )


def inspect(data: DataConfig, edition: str | None) -> Facts:
    """Reads and checks all images below `data.root`, as `plan` would. Raises UserError as `manifest.build`."""
    root = Path(data.root)
    name = chosen_edition(root, edition)
    found = manifest.build(root, name, data.patients, data.group_distance, data.roles)
    known = bool(data.patients) or (root / manifest.PATIENTS).is_file()
    expected = {role.name: role.count for role in editions.get(name).roles}
    present = [role for role in editions.ROLES if len(found.rows(role))]
    roles = tuple(_facts(found, role, expected[role]) for role in present)
    how = "patients of the csv" if known else f"near-duplicates (data.group_distance = {data.group_distance:g})"
    return Facts(root, name, how, roles, tuple(_differences(roles)))


def _facts(found: manifest.Manifest, role: str, expected: int) -> RoleFacts:
    rows = found.rows(role)
    folders = {str(Path(path).parent) for path in found.path[rows].tolist()}
    sizes = Counter(f"{w} x {h}" for w, h in zip(found.width[rows], found.height[rows], strict=True))
    groups = Counter(group for group in found.group[rows].tolist() if group)
    taken = rows[np.unique(np.linspace(0, len(rows) - 1, min(MOST, len(rows))).astype(int))]
    images = found.images(found.id[taken].tolist())
    return RoleFacts(
        role=role,
        folder=", ".join(sorted(folders)),
        count=len(rows),
        expected=expected,
        sizes=tuple(sizes.most_common()),
        modes=tuple(Counter(found.mode[rows].tolist()).most_common()),
        copies=len(rows) - len(set(found.sha256[rows].tolist())),
        groups=len(groups),
        largest=max(groups.values(), default=0),
        mean=float(images.mean()),
        spread=float(np.median(images.reshape(len(images), -1).std(1))),
        levels=float(np.median([len(np.unique(image)) for image in images])),
        black=float((images == 0).mean()),
    )


def _differences(roles: Sequence[RoleFacts]) -> Iterable[str]:
    """Sentences about what sets generated images apart from real ones, whoever made them."""
    real = [facts for facts in roles if facts.role in editions.REAL]
    for pile in (facts for facts in roles if facts.role in editions.GENERATED):
        levels = float(np.median([facts.levels for facts in real]))
        mean = float(np.mean([facts.mean for facts in real]))
        if pile.levels < _FEW * levels:
            yield f"{pile.role}: an image has {pile.levels:.0f} gray levels, a real one {levels:.0f}: was it quantised?"
        if abs(pile.mean - mean) > _APART:
            yield f"{pile.role}: mean gray value {pile.mean:.0f}, of real ones {mean:.0f}: was the window another?"
        if pile.copies > pile.count // 100:
            yield f"{pile.role}: {pile.copies} of {pile.count} files repeat another one, to the last byte"
        if {size for size, _ in pile.sizes} != {size for facts in real for size, _ in facts.sizes}:
            yield f"{pile.role}: {pile.sizes[0][0]} pixels, real images {real[0].sizes[0][0]}: both are reduced alike"
        if {mode for mode, _ in pile.modes}.isdisjoint(mode for facts in real for mode, _ in facts.modes):
            yield f"{pile.role}: stored as {pile.modes[0][0]}, real images as {real[0].modes[0][0]}"
    for facts in real:
        if facts.groups and facts.largest > max(1, facts.count // 3):
            yield f"{facts.role}: one group holds {facts.largest} of {facts.count} slices"


def _plain(pattern: str) -> str:
    """A role's pattern as a name that somebody may give a folder."""
    return pattern.replace(r"(_\d+)?", "").replace(r"\d+", "1").replace("_?", "_")


def report(data: DataConfig, given: Mapping[str, object]) -> str:
    """What `launch.py inspect` says; `given`: options by name, of which the edition counts. Raises UserError."""
    if not data.root:
        raise UserError("data.root is missing: name the folder with --config.data.root=DIR")
    return describe(inspect(data, data.edition if "data.edition" in given or data.roles else None))


def describe(facts: Facts) -> str:
    """The facts as a table for the terminal."""
    header = ("role", "folder", "images", "expected", "pixels", "mode", "mean", "spread", "levels", "black", "groups")
    rows = [header]
    for one in facts.roles:
        rows.append(
            (
                one.role,
                one.folder,
                f"{one.count:,}",
                f"{one.expected:,}" if one.expected else "any",
                ", ".join(size for size, _ in one.sizes),
                ", ".join(f"{mode} {count:,}" if len(one.modes) > 1 else mode for mode, count in one.modes),
                f"{one.mean:.1f}",
                f"{one.spread:.1f}",
                f"{one.levels:.0f}",
                f"{one.black:.0%}",
                f"{one.groups} (largest {one.largest})" if one.groups else "",
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    ways = f"{facts.root}: edition {facts.edition}, groups are {facts.grouped_by}"
    return "\n".join(
        [ways, "", *lines, *([""] if facts.warnings else []), *(f"note: {line}" for line in facts.warnings)]
    )

"""What a folder holds, before anything is trained: counts, modes, gray values, copies and patients of every role.

Real and generated images must differ in what the generator did, and in nothing else: a palette of few levels, another
window or another size would tell them apart by itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from shadow.config import DataConfig
from shadow.data import doubles, editions, manifest
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
    copies: int  # files that repeat another one of this role, to the last pixel
    groups: int  # patients or clusters; 0 of generated images
    largest: int  # images of the largest group
    mean: float
    spread: float
    levels: float
    black: float  # share of pixels that are 0


@dataclass(frozen=True)
class Copies:
    """Files of one picture, by role and path relative to the root, and why a run refuses them (empty: it does not)."""

    files: tuple[tuple[str, str], ...]
    refused: str

    @property
    def roles(self) -> frozenset[str]:
        return frozenset(role for role, _ in self.files)


@dataclass(frozen=True, eq=False)
class Facts:
    """A folder as one edition."""

    root: Path
    edition: str
    grouped_by: str
    roles: tuple[RoleFacts, ...]
    copies: tuple[Copies, ...]
    warnings: tuple[str, ...]
    found: manifest.Manifest


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
    """Reads and checks all images below `data.root`, as `plan` would.

    Pictures that are there twice are told, where `plan` would refuse some. Raises UserError as `manifest.build`.
    """
    root = Path(data.root)
    name = chosen_edition(root, edition)
    pictures: list[doubles.Picture] = []
    found = manifest.build(root, name, data.patients, data.group_distance, data.roles, pictures.extend)
    known = bool(data.patients) or (root / manifest.PATIENTS).is_file()
    expected = {role.name: role.count for role in editions.get(name).roles}
    copies = tuple(_copies(files, root) for files in doubles.clusters(pictures))
    present = [role for role in editions.ROLES if len(found.rows(role))]
    roles = tuple(_facts(found, role, expected[role], copies) for role in present)
    how = "patients of the csv" if known else f"near-duplicates (data.group_distance = {data.group_distance:g})"
    return Facts(root, name, how, roles, copies, (*_same(copies), *_differences(roles)), found)


def sample(found: manifest.Manifest, role: str, most: int = MOST) -> list[str]:
    """Ids of at most `most` images of a role, spread evenly over it."""
    rows = found.rows(role)
    return found.id[rows[np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(int))]].tolist()


def _copies(files: Sequence[doubles.Picture], root: Path) -> Copies:
    inner = [replace(picture, path=picture.path.relative_to(root)) for picture in files]
    return Copies(tuple((picture.role, picture.path.as_posix()) for picture in inner), doubles.refusal(inner))


def _same(copies: Sequence[Copies]) -> Iterable[str]:
    """Sentences about pictures that are there twice in different roles: one a kind, with an example."""
    refused = [one for one in copies if one.refused]
    if refused:
        more = f" (and {len(refused) - 1} more such pictures)" if len(refused) > 1 else ""
        yield f"a run refuses this folder: {refused[0].refused}{more}"
    across = Counter(one.roles for one in copies if len(one.roles) > 1 and not one.refused)
    for roles, count in sorted(across.items(), key=lambda item: sorted(item[0])):
        first = next(one for one in copies if one.roles == roles and not one.refused)
        named = " and ".join(role for role in editions.ROLES if role in roles)
        many = "a picture" if count == 1 else f"{count} pictures"
        example = " and ".join(
            next(path for role, path in first.files if role == name) for name in named.split(" and ")
        )
        yield f"{named} share {many}, to the last pixel: {example}"


def _facts(found: manifest.Manifest, role: str, expected: int, copies: Sequence[Copies]) -> RoleFacts:
    rows = found.rows(role)
    folders = {str(Path(path).parent) for path in found.path[rows].tolist()}
    sizes = Counter(f"{w} x {h}" for w, h in zip(found.width[rows], found.height[rows], strict=True))
    groups = Counter(group for group in found.group[rows].tolist() if group)
    images = found.images(sample(found, role))
    mine = [sum(name == role for name, _ in one.files) for one in copies]
    return RoleFacts(
        role=role,
        folder=", ".join(sorted(folders)),
        count=len(rows),
        expected=expected,
        sizes=tuple(sizes.most_common()),
        modes=tuple(Counter(found.mode[rows].tolist()).most_common()),
        copies=sum(max(0, count - 1) for count in mine),
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
            yield f"{pile.role}: {pile.copies} of {pile.count} files repeat another one, to the last pixel"
        if {size for size, _ in pile.sizes} != {size for facts in real for size, _ in facts.sizes}:
            yield f"{pile.role}: {pile.sizes[0][0]} pixels, real images {real[0].sizes[0][0]}: both are reduced alike"
        if {mode for mode, _ in pile.modes}.isdisjoint(mode for facts in real for mode, _ in facts.modes):
            yield f"{pile.role}: stored as {pile.modes[0][0]}, real images as {real[0].modes[0][0]}"
    for facts in real:
        if facts.copies:
            yield f"{facts.role}: {facts.copies} of {facts.count} files repeat another one, to the last pixel"
        if facts.groups and facts.largest > max(1, facts.count // 3):
            yield f"{facts.role}: one group holds {facts.largest} of {facts.count} slices"


def _plain(pattern: str) -> str:
    """A role's pattern as a name that somebody may give a folder."""
    return pattern.replace(r"(_\d+)?", "").replace(r"\d+", "1").replace("_?", "_")


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

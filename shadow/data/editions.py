"""Where each edition keeps its images: folder names, the roles they stand for, and how many to expect.

The archives are unpacked differently by everyone, so a role folder is found by its name anywhere below the
root and not by a fixed path. `sealed/` (the truth of a challenge of our own) is never opened and never
listed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from absl import logging

from shadow.data import listing
from shadow.errors import UserError

ROLES = ("generated_dev", "generated_test", "used", "not_used", "reference", "unknown")  # the order of a manifest
GENERATED = ("generated_dev", "generated_test")
DEV = ("used", "not_used", "reference")  # shadows are trained on them; of a reference slice no label is known
REAL = (*DEV, "unknown")
LABELS = {"used": 1, "not_used": 0}
SUBSETS = "2025-2"  # the edition that asks from which subset of real slices images were generated (sub-task 2 of 2025)


@dataclass(frozen=True)
class Role:
    """One role of an edition.

    `folder` and `beside` are regular expressions for a whole folder name, whatever its case. `beside`: the
    role needs a sibling folder of that name (two folders `generated` are told apart by it). `count` 0: any number is
    as good. `prefix` is put before the file stem to make an id, where two roles use the same file names. An `optional`
    role may have no folder. `parts`: the folder may hold folders of images in the place of images, each a part of its
    own (a subset, a pile); the name of an image's folder is then put before its id. `piles`: the folder may hold
    folders, too, each a pile that is asked about in a run of its own.
    """

    name: str
    folder: str
    count: int
    beside: str = ""
    prefix: str = ""
    optional: bool = False
    parts: bool = False
    piles: bool = False

    def fits(self, name: str, siblings: list[str]) -> bool:
        return _matches(self.folder, name) and (
            not self.beside or any(_matches(self.beside, sibling) for sibling in siblings)
        )

    def wanted(self) -> str:
        return f"'{self.folder}'" + (f" beside a folder '{self.beside}'" if self.beside else "")


@dataclass(frozen=True)
class Edition:
    """An edition's roles. The first role that fits a folder has it, so `not_used` stands before `used`. `refused`:
    regular expression for folders that a user may think are read here, and are not. `unfit`: marks that its submission
    file cannot hold in an id."""

    name: str
    roles: tuple[Role, ...]
    refused: str = ""
    unfit: str = ',"'  # their readers know no quotes


EDITIONS = {
    edition.name: edition
    for edition in (
        Edition(
            "2023",
            (
                Role("generated_dev", r"generated", 500),
                Role("generated_test", r"generated_\d+", 10_000, piles=True),
                Role("not_used", r"not_?used", 80),
                Role("used", r"used", 80),
                Role("unknown", r"real_unknown(_\d+)?", 200),
            ),
        ),
        Edition(
            "2025",
            (
                Role("generated_dev", r"generated", 5_000, beside=r"real_(not_?)?used"),
                Role("generated_test", r"generated", 2_000, beside=r"real_unknown(_\d+)?", prefix="test_", piles=True),
                Role("not_used", r"real_not_?used", 100),
                Role("used", r"real_used", 100),
                Role("unknown", r"real_unknown(_\d+)?", 500),
            ),
        ),
        Edition(  # data of one's own: of `not_used` it is known, of `reference` nothing is
            "own",
            (
                Role("generated_test", r"generated", 0, prefix="generated_", piles=True),
                Role("not_used", r"not_?used", 0, optional=True),
                Role("reference", r"reference", 0, optional=True),
                Role("unknown", r"candidates", 0),
            ),
            refused=r"(real_)?used",
            unfit="",
        ),
        Edition(  # whose data: a folder for each subset of real slices, and for what was generated from it
            SUBSETS,
            (
                Role("generated_dev", r"generated", 0, prefix="generated/", optional=True, parts=True),
                Role("generated_test", r"generated_unknown", 0, parts=True),
                Role("reference", r"real", 0, prefix="real/", parts=True),
            ),
        ),
    )
}


def get(name: str) -> Edition:
    """The edition called `name`; UserError with the known ones otherwise."""
    if name not in EDITIONS:
        raise UserError(f"data.edition={name!r} is not known; the known editions are {', '.join(EDITIONS)}")
    return EDITIONS[name]


def find_roles(root: Path | str, edition: str) -> dict[str, Path]:
    """The folder of every role of the edition below `root`, in the order of `ROLES`; none for optional ones not there.

    Unexpected numbers of images are logged as warnings, except in a challenge of our own. Raises UserError
    for an unknown edition, a folder that cannot be read, a role without a folder, with two, or with an empty
    one, for a file in a role folder that is not named `.png`, and for a folder that the edition refuses.
    """
    roles = get(edition).roles
    root = Path(root)
    found, ours = _search(root, get(edition))
    for role in roles:
        if role.name not in found and role.optional:
            continue
        if role.name not in found:
            others = [name for name in fitting(root) if name != edition]
            hint = f"; the folders are those of edition {' or '.join(others)}: give --config.data.edition"
            raise UserError(
                f"no folder for the role {role.name}: edition {edition} needs a folder named {role.wanted()} "
                f"below data.root={root}{hint if others else ''}"
            )
        count = sum(len(images_in(folder)) for folder in parts_in(role, found[role.name]))
        if role.count and count != role.count and not ours:
            logging.warning(
                "%s holds %d images; edition %s has %d of the role %s",
                found[role.name],
                count,
                edition,
                role.count,
                role.name,
            )
    return {name: found[name] for name in ROLES if name in found}


def fitting(root: Path | str) -> list[str]:
    """Names of the editions that have a folder below `root` for each of their roles that must have one."""
    names = []
    for edition in EDITIONS.values():
        try:
            found, _ = _search(Path(root), edition)
        except UserError:  # a folder that this edition has no place for, say
            continue
        if all(role.optional or role.name in found for role in edition.roles):
            names.append(edition.name)
    return names


def _search(root: Path, edition: Edition) -> tuple[dict[str, Path], bool]:
    """The folder of every role that has one, and whether this is a challenge of our own."""
    if root.name.casefold() == listing.SEALED:
        raise UserError(f"data.root={root} is a sealed folder: give the challenge folder around it")
    found: dict[str, Path] = {}
    ours = False
    for parent, (folders, files) in listing.walk(root, lambda folder: folder not in found.values()):
        ours = ours or listing.SEALED in map(str.casefold, folders) or "challenge.json" in files
        for name in folders:
            _check_place(parent / name, root, edition)
            role = _fitting(edition.roles, name, folders)
            if role is None or listing.is_sealed(parent / name, root) or _is_wrapping(parent / name, edition.roles):
                continue
            if role.name in found:
                raise UserError(
                    f"two folders for the role {role.name} of edition {edition.name}: {found[role.name]} and "
                    f"{parent / name}; move one of them out of data.root={root}"
                )
            found[role.name] = parent / name
    return {name: _innermost(folder, root, edition) for name, folder in found.items()}, ours


def parts_in(role: Role, folder: Path) -> list[Path]:
    """The folders that hold the images of a role: those in its folder where it has `parts` or `piles`, else itself.

    Raises UserError as `images_in`, and where images lie beside the folders of parts.
    """
    folders, files = listing.listing(folder)
    if not (role.parts or role.piles) or not folders:
        return [folder]
    if files:
        raise UserError(f"{folder / files[0]}: lies beside folders of images; move it into one of them")
    return [folder / name for name in folders]


def images_in(folder: Path) -> list[Path]:
    """The PNG files of a role folder in natural order, without hidden files, `Thumbs.db` and their like.

    Raises UserError for a folder that is empty or unreadable, and for anything else in it, since a file that
    is silently left out would shift what a score is about.
    """
    folders, files = listing.listing(folder)
    for name in files:
        if not name.lower().endswith(".png"):
            raise UserError(f"{folder / name}: only .png files belong into a role folder; move it elsewhere")
    if folders:
        raise UserError(f"{folder / folders[0]}: a folder inside a role folder; move it elsewhere")
    if not files:
        raise UserError(f"{folder}: no .png file in it")
    return [folder / name for name in files]


def _matches(pattern: str, name: str) -> bool:
    return re.fullmatch(pattern, name, re.IGNORECASE) is not None


def _fitting(roles: tuple[Role, ...], name: str, siblings: Sequence[str]) -> Role | None:
    """The role of a folder of this name beside these, or None."""
    return next((role for role in roles if role.fits(name, list(siblings))), None)


def _check_place(folder: Path, root: Path, edition: Edition) -> None:
    """Refuses a folder that the edition has no place for."""
    if edition.refused and _matches(edition.refused, folder.name):
        raise UserError(
            f"{folder}: edition {edition.name} has no place for used slices; move the folder out of "
            f"data.root={root}, or use the layout of edition 2023"
        )


def _is_wrapping(folder: Path, roles: tuple[Role, ...]) -> bool:
    """Does the folder, whatever its name, hold role folders and nothing else?"""
    folders, files = listing.listing(folder)
    return len(folders) > 1 and not files and any(_fitting(roles, name, folders) for name in folders)


def _innermost(folder: Path, root: Path, edition: Edition) -> Path:
    """Where the images of a role folder are. A zip in a zip leaves a folder that holds one folder and nothing else."""
    role, seen = _fitting(edition.roles, folder.name, listing.listing(folder.parent).folders), {folder.resolve()}
    while True:
        folders, files = listing.listing(folder)
        if files or len(folders) != 1 or (folder / folders[0]).resolve() in seen:
            return folder
        outer, folder = folder, folder / folders[0]
        seen.add(folder.resolve())
        _check_place(folder, root, edition)
        inner = _fitting(edition.roles, folder.name, folders)
        if inner not in (None, role) or listing.is_sealed(folder, root):
            raise UserError(f"{folder}: its name has no place inside {outer}, which is named for other images; move it")

"""What lies in a folder: the one lister of every folder of images that a user gives.

Computers leave files of their own behind, in different places on every system. A copy of a slice in a recycle bin
must not become an image, and an index of thumbnails must not stop a run.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from shadow.errors import UserError

SEALED = "sealed"  # holds the truth of a challenge of our own: never opened here, and never listed

# Of Windows, macOS, Linux and network drives, whatever the case; hidden names (`.Trash-1000`, `._x.png`) beside them.
_JUNK = frozenset(
    {
        *("thumbs.db", "thumbs.db:encryptable", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "picasa.ini"),
        *("$recycle.bin", "recycler", "system volume information", "lost+found", "icon\r", "__macosx"),
        *("@eadir", "@tmp", "@recycle", "@recently-snapshot", "#recycle", "#snapshot", "~snapshot"),
        *("network trash folder", "temporary items", "thevolumesettingsfolder"),
    }
)
_CONTROL = ("Cc", "Zl", "Zp")  # categories of characters that break a line, or cannot be seen


class Listing(NamedTuple):
    """Names in one folder, in natural order."""

    folders: list[str]
    files: list[str]


class Found(NamedTuple):
    """Files below a folder, in natural order of their paths: the wanted ones, and all others."""

    wanted: list[Path]
    others: list[Path]


def natural_key(name: str) -> tuple[list[str | int], str]:
    """Sorts `generated_2` before `generated_10`, padded or not; the name itself breaks ties."""
    parts = re.split(r"([0-9]+)", name)  # text and digits alternate, so like is always compared with like
    return [int(part) if index % 2 else part for index, part in enumerate(parts)], name


def is_junk(name: str) -> bool:
    """Is this the name of something that a computer left behind, or a hidden one?"""
    return name.startswith(".") or name.casefold() in _JUNK


def flaw(name: str) -> str:
    """What makes this no name for a file, as the end of a sentence; '' where nothing does."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return "is not a UTF-8 name"
    broken = any(unicodedata.category(letter) in _CONTROL for letter in name)
    return "holds a line break or another control character" if broken else ""


def is_sealed(folder: Path, root: Path) -> bool:
    """Does the folder, or what it links to, lie in a sealed folder below `root`?"""
    top, real = root.resolve(), folder.resolve()
    parts = real.relative_to(top).parts if real.is_relative_to(top) else real.parts
    return SEALED in map(str.casefold, (*parts, *folder.relative_to(root).parts))


def listing(folder: Path) -> Listing:
    """The folders and files in `folder`, without junk, which is not even looked at: it may be closed to us.

    Raises UserError where the folder cannot be read, and on names that are no UTF-8 or hold control characters.
    """
    try:
        with os.scandir(folder) as entries:
            kinds = {entry.name: entry.is_dir() for entry in entries if not is_junk(entry.name)}
    except OSError as error:
        raise UserError(f"{folder}: cannot read this folder: {error.strerror or error}") from error
    for name in kinds:
        if why := flaw(name):
            raise UserError(f"{folder}: {name!r} {why}; rename it")
    names = sorted(kinds, key=natural_key)
    return Listing([name for name in names if kinds[name]], [name for name in names if not kinds[name]])


def walk(root: Path, enter: Callable[[Path], bool] = lambda folder: True) -> Iterator[tuple[Path, Listing]]:
    """Every folder from `root` down with its listing, each once. Links are followed, but none into a sealed folder.

    `enter` is asked about a folder after the one around it was given. Raises UserError as `listing`.
    """
    seen: set[Path] = set()
    waiting = [root]
    while waiting:
        folder = waiting.pop(0)
        real = folder.resolve()
        if real in seen or is_sealed(folder, root):
            continue
        seen.add(real)
        found = listing(folder)
        yield folder, found
        waiting += [path for name in found.folders if enter(path := folder / name)]


def below(root: Path, ending: str) -> Found:
    """All files below `root`; wanted are those whose name has this `ending`, whatever its case.

    Raises UserError as `listing`.
    """
    paths = [folder / name for folder, found in walk(root) for name in found.files]
    paths.sort(key=lambda path: natural_key(path.relative_to(root).as_posix()))
    wanted = [path for path in paths if path.name.casefold().endswith(ending)]
    return Found(wanted, [path for path in paths if not path.name.casefold().endswith(ending)])

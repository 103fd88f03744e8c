"""Several real subsets beside images that were generated from one of them each: who belongs where (edition 2025-2).

A subset is named for the folder of its slices, and so is what was generated from it. Folders of images of unknown
origin are piles.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from absl import logging

from shadow import tables
from shadow.data.manifest import Manifest
from shadow.errors import UserError

_REAL, _LABELLED, _UNKNOWN = "reference", "generated_dev", "generated_test"
NONE = "none"  # the answer that no subset was used; no subset may have this name
_UNFIT = ',"'  # marks that a submission could not hold in the name of a subset


@dataclass(frozen=True, eq=False)
class Subsets:
    """names: of the subsets, in the manifest's order; of: int [real slice], the number of the subset of each."""

    names: tuple[str, ...]
    of: np.ndarray


@dataclass(frozen=True)
class Shared:
    """What two subsets have in common. same: files that the other subset has too, byte for byte; groups: patients or
    clusters of near-duplicates with slices in both."""

    first: str
    second: str
    same: int
    groups: int


@dataclass(frozen=True)
class Pile:
    """Generated images of one folder. subset: the number of the one that they were made from, -1 where that is the
    question; ids: of the images."""

    name: str
    subset: int
    ids: tuple[str, ...]


def read(manifest: Manifest) -> Subsets:
    """The subsets of the real slices. Raises UserError for fewer than two, and for names that no file could hold."""
    folders = _folders(manifest, _REAL)
    names = tuple(dict.fromkeys(folders))
    if len(names) < 2:
        raise UserError(
            f"{manifest.root}: the real slices lie in {len(names)} folder ({', '.join(names)}): give each subset a "
            "folder of its own, two or more"
        )
    for name in names:
        mark = next((mark for mark in _UNFIT if mark in name), None)
        if mark or name.casefold() == NONE:
            why = f"its name holds the mark {mark}" if mark else f"{NONE!r} means that no subset was used"
            raise UserError(f"{manifest.root}: subset {name!r}: {why}; rename the folder")
    number = {name: i for i, name in enumerate(names)}
    return Subsets(names, np.array([number[name] for name in folders]))


def piles(manifest: Manifest, names: tuple[str, ...]) -> list[Pile]:
    """The generated images by folder: those whose subset (of `names`) is known, then the others.

    Raises UserError for a labelled folder that is named for no subset.
    """
    found = []
    for role in (_LABELLED, _UNKNOWN):
        ids: defaultdict[str, list[str]] = defaultdict(list)
        for name, image in zip(_folders(manifest, role), manifest.id[manifest.rows(role)].tolist(), strict=True):
            ids[name].append(image)
        for name, images in ids.items():
            if role == _LABELLED and name not in names:
                raise UserError(
                    f"{manifest.root}: {name!r} holds generated images and is named for no subset of real slices "
                    f"({', '.join(names)}); rename or move the folder"
                )
            found.append(Pile(name, names.index(name) if role == _LABELLED else -1, tuple(images)))
    return found


def shared(manifest: Manifest, subsets: Subsets) -> list[Shared]:
    """Pairs of subsets with slices or groups in common, in order; a logged warning for each."""
    rows, found = manifest.rows(_REAL), []
    for i, first in enumerate(subsets.names):
        for j in range(i + 1, len(subsets.names)):
            mine, theirs = rows[subsets.of == i], rows[subsets.of == j]
            same = len(set(manifest.sha256[mine].tolist()) & set(manifest.sha256[theirs].tolist()))
            groups = len(set(manifest.group[mine].tolist()) & set(manifest.group[theirs].tolist()))
            if same or groups:
                found.append(Shared(first, subsets.names[j], same, groups))
    for one in found:
        said = "subsets %s and %s share %d files and %d patients or near-duplicates: they are told apart by the rest"
        logging.warning(said, one.first, one.second, one.same, one.groups)
    return found


def _folders(manifest: Manifest, role: str) -> list[str]:
    """The name of the folder of each image of a role."""
    return [tables.normal(PurePosixPath(path).parent.name) for path in manifest.path[manifest.rows(role)].tolist()]

"""Folders that are named for no edition: which of them stand for which role, as the user says in `data.roles`."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

from shadow.data import editions, listing
from shadow.errors import UserError


def find_folders(root: Path, edition: str, roles: Sequence[str]) -> dict[str, list[Path]]:
    """The folders of every role below `root`, in the order of `editions.ROLES`.

    `roles`: entries "ROLE=GLOB", each glob relative to the root and of one or more folders; empty: the one folder of
    each role that `editions.find_roles` finds, or its parts. Raises UserError as that does, and for an entry that is
    none, a role that the edition has not, a role without an entry, a glob without a folder, a folder that two roles
    claim, and a folder of several piles.
    """
    found = _found(root, edition, roles)
    for role in editions.get(edition).roles:
        if role.piles and not roles and len(found[role.name]) > 1:
            names = ", ".join(folder.name for folder in found[role.name])
            where = found[role.name][0].parent
            raise UserError(f"{where}: holds several piles ({names}): give --config.data.piles=apart")
    return found


def _found(root: Path, edition: str, roles: Sequence[str]) -> dict[str, list[Path]]:
    """As `find_folders`, with all folders of piles."""
    known = {role.name: role for role in editions.get(edition).roles}
    if not roles:
        there = editions.find_roles(root, edition)
        return {role: editions.parts_in(known[role], folder) for role, folder in there.items()}
    found: dict[str, list[Path]] = {}
    owner: dict[Path, str] = {}
    for entry in roles:
        role, equals, pattern = (part.strip() for part in entry.partition("="))
        if not equals or not pattern or role not in known:
            raise UserError(f"data.roles: {entry!r}: write ROLE=GLOB, with a role of {', '.join(known)}")
        if role in found:
            raise UserError(f"data.roles: {role} is named twice; give it one glob")
        found[role] = _folders(root, entry, pattern)
        for folder in found[role]:
            if owner.setdefault(folder.resolve(), role) != role:
                raise UserError(f"data.roles: {folder} is claimed for {owner[folder.resolve()]} and for {role}")
    missing = [name for name, role in known.items() if name not in found and not role.optional]
    if missing:
        raise UserError(f"data.roles: edition {edition} needs {', '.join(missing)} too: add ROLE=GLOB for each")
    return {name: found[name] for name in editions.ROLES if name in found}


def apart(root: Path, edition: str, roles: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """For each folder of the role generated_test, by its name: `data.roles` with that folder for the role, and with all
    other roles as they are.

    Raises UserError as `find_folders`, for one folder alone, and for two of one name.
    """
    found = _found(root, edition, roles)
    piles = found["generated_test"]
    names = [folder.name for folder in piles]
    if len(piles) < 2:
        raise UserError(f"data.piles = 'apart': {piles[0]} is the only pile; leave it 'together'")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise UserError(f"data.piles = 'apart': two piles have the name {twice}; rename one of the folders")

    def entry(role: str, folder: Path) -> str:
        return f"{role}={glob.escape(folder.relative_to(root).as_posix())}"

    given = {entry.partition("=")[0].strip(): entry for entry in roles}
    others = [given.get(role) or entry(role, folders[0]) for role, folders in found.items() if role != "generated_test"]
    return {folder.name: (entry("generated_test", folder), *others) for folder in piles}


def _folders(root: Path, entry: str, pattern: str) -> list[Path]:
    """The folders of one glob in natural order, without junk and what is sealed."""
    parts = Path(pattern).parts
    if Path(pattern).is_absolute() or ".." in parts:
        raise UserError(f"data.roles: {entry!r}: give a glob relative to data.root, without '..'")
    try:
        matched = [path for path in root.glob(pattern) if path.is_dir()]
    except (ValueError, NotImplementedError) as error:
        raise UserError(f"data.roles: {entry!r}: {error}") from error
    kept = [
        path
        for path in matched
        if not listing.is_sealed(path, root) and not any(map(listing.is_junk, path.relative_to(root).parts))
    ]
    if not kept:
        raise UserError(f"data.roles: {entry!r}: no such folder below data.root={root}")
    return sorted(kept, key=lambda path: listing.natural_key(path.relative_to(root).as_posix()))

"""The files of a source in one order, whether they lie in folders or in archives."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from shadow.convert import archives
from shadow.data import decoding, editions, listing
from shadow.errors import UserError


@dataclass(frozen=True)
class File:
    """path: for messages; source: below the whole source, as `scans.zip/a/1.dcm`; folder: the names of the folders that
    it lies in, were all archives unpacked."""

    path: Path
    source: str
    folder: tuple[str, ...]
    content: bytes


@dataclass(frozen=True)
class Listed:
    """A file or an archive of the source. place: its folders and its name, of an archive those of the folder that it
    stands for."""

    path: Path
    source: str
    place: tuple[str, ...]
    archive: bool


def is_role(name: str) -> bool:
    """Is this the name of a role's folder, in any edition?"""
    return bool(_roles(name))


def has_parts(name: str) -> bool:
    """Does this name stand for nothing but roles whose folders hold folders, subsets or piles of them?"""
    return all(role.parts for role in _roles(name))


def _roles(name: str) -> list[editions.Role]:
    every = (role for edition in editions.EDITIONS.values() for role in edition.roles)
    return [role for role in every if re.fullmatch(role.folder, name, re.IGNORECASE)]


def listed(source: Path) -> list[Listed]:
    """What lies in the folder `source`, or the archive that it is. Raises UserError as `listing.below`, and where it is
    neither."""
    if source.is_dir():
        found = []
        for path in listing.below(source, "").wanted:
            parts, archive = path.relative_to(source).parts, bool(archives.suffix(path.name))
            place = (*parts[:-1], archives.stem(path.name)) if archive else parts
            found.append(Listed(path, "/".join(parts), place, archive))
        return _in_order(found)
    if not source.exists():
        raise UserError(f"--source={source}: no such folder or archive")
    if not archives.suffix(source.name):
        raise UserError(f"--source={source}: name a folder or an archive ({', '.join(archives.SUFFIXES)})")
    return [Listed(source, source.name, _alone(source.name), True)]


def files(one: Listed, folder: Path) -> Generator[File, None, None]:
    """The file, or all files of an archive; none where it is the sealed truth of a challenge. `folder`: for temporary
    files. Raises UserError as `archives.opened`, and where a file cannot be read."""
    if _is_sealed(one.place):
        return
    if not one.archive:
        yield File(one.path, one.source, one.place[:-1], decoding.read_bytes(one.path))
        return
    with _open(one.path) as stream:
        yield from _inside(one, stream, folder, archives.Budget.whole(), 1)


def _open(path: Path) -> IO[bytes]:
    """Raises UserError where it cannot be read, or is a pipe, which would keep us waiting."""
    if path.exists() and not path.is_file():
        raise UserError(f"{path}: cannot read this file: it is a pipe or a device; move it elsewhere")
    try:
        return path.open("rb")
    except OSError as error:
        raise UserError(f"{path}: cannot read this file: {error.strerror or error}") from error


def _inside(one: Listed, stream: IO[bytes], folder: Path, budget: archives.Budget, depth: int) -> Iterator[File]:
    """All files of an open archive, those of archives in it too."""
    with archives.opened(one.path, stream, folder, budget) as archive:
        members = {"/".join(member.parts): member for member in archive.members}
        for inner in _in_order(_members(one, [member.parts for member in archive.members])):
            member = members[inner.source.removeprefix(f"{one.source}/")]
            if _is_sealed(inner.place):
                continue
            if not inner.archive:
                yield File(inner.path, inner.source, inner.place[:-1], archive.read(member))
                continue
            if depth == archives.DEPTH:
                raise UserError(f"{inner.path}: archives lie in each other deeper than {depth}; unpack the outer ones")
            with archive.copied(member, folder) as copy:
                yield from _inside(inner, copy, folder, budget, depth + 1)


def _members(outer: Listed, members: Sequence[tuple[str, ...]]) -> Iterator[Listed]:
    """Where the members of an archive lie. A single folder at its top, which is named for no role, is looked through,
    and so is an archive that is all there is."""
    tops = {parts[0] for parts in members}
    through = len(tops) == 1 and all(len(parts) > 1 for parts in members) and not any(map(is_role, tops))
    for parts in members:
        inner, name = parts[int(through) :], parts[-1]
        if archives.suffix(name):
            named = _alone(name) if len(members) == 1 and len(inner) == 1 else (archives.stem(name),)
            inner = (*inner[:-1], *named)
        place = (*outer.place, *inner)
        yield Listed(outer.path.joinpath(*parts), "/".join((outer.source, *parts)), place, bool(archives.suffix(name)))


def _alone(name: str) -> tuple[str, ...]:
    """The folder that an archive stands for where nothing lies beside it."""
    return (archives.stem(name),) if is_role(archives.stem(name)) else ()


def _in_order(found: Sequence[Listed] | Iterator[Listed]) -> list[Listed]:
    """As if archives were folders: what is in one stands where its folder would."""
    return sorted(found, key=lambda one: listing.natural_key("/".join(one.place) + "/" * one.archive))


def _is_sealed(place: Sequence[str]) -> bool:
    return listing.SEALED in map(str.casefold, place)

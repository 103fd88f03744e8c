"""Zip and tar archives, read in place: nothing of them is written under a name of theirs, so no name can lead astray.

Every member is looked at by name, kind and declared size before the first is read, and real bytes are counted while
reading. An archive in an archive, and a tar behind a compression, go through a nameless temporary file.
"""

from __future__ import annotations

import contextlib
import gzip
import lzma
import os
import re
import stat
import struct
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from shadow.data import listing
from shadow.errors import UserError

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz")  # whatever their case
DEPTH = 3  # archives in archives, the outermost counted
MOST_MEMBERS = 200_000  # of an archive, with all archives in it
MOST_BYTES = 1 << 31  # of one file, unpacked
MOST_IN_ALL = 1 << 36  # of an archive, with all archives in it, unpacked

_CHUNK = 1 << 20
_IN_MEMORY = 1 << 25  # bytes of a temporary file that need no disk
_AT_ONCE = 1 << 26  # bytes that a directory of names may take
_XZ_MEMORY = 1 << 28  # bytes; the strongest preset needs a quarter of it
_END = struct.Struct("<4s6xH10x")  # of a zip: mark, entries
_BLOCK = 512  # bytes of a tar


def suffix(name: str) -> str:
    """The ending by which a name is an archive's, or ''."""
    return next((name[-len(end) :] for end in SUFFIXES if name.casefold().endswith(end)), "")


def stem(name: str) -> str:
    """The name of the folder that an archive stands for."""
    return name.removesuffix(suffix(name))


@dataclass
class Budget:
    """What may still come out of one archive on disk, with all that lie in it."""

    members: int
    bytes: int

    @classmethod
    def whole(cls) -> Budget:
        return cls(MOST_MEMBERS, MOST_IN_ALL)

    def count(self, where: Path) -> None:
        """Counts a member of the archive `where`. Raises UserError."""
        self.members -= 1
        if self.members < 0:
            raise UserError(f"{where}: more than {MOST_MEMBERS} members, no archive of slices; unpack it yourself")

    def spend(self, count: int, where: Path) -> None:
        """Counts bytes of the member `where`. Raises UserError."""
        self.bytes -= count
        self.check(0, where)

    def check(self, count: int, where: Path) -> None:
        """Raises UserError where so many more bytes would be too many."""
        if count > self.bytes:
            raise UserError(
                f"{where}: with it more than {MOST_IN_ALL} bytes come out of one archive, no archive of slices; "
                "unpack it yourself"
            )


@dataclass(frozen=True)
class Member:
    """A file in an archive: its folders and its name, and the bytes that it declares."""

    parts: tuple[str, ...]
    size: int
    open: Callable[[], IO[bytes]]


@dataclass(frozen=True)
class Archive:
    """An open archive. path: for messages; members: its files, without what computers leave behind."""

    path: Path
    members: tuple[Member, ...]
    budget: Budget

    def read(self, member: Member) -> bytes:
        """The content of a file. Raises UserError where it is damaged or too large."""
        with self._opened(member) as stream:
            return b"".join(self._content(member, stream, MOST_BYTES))

    @contextlib.contextmanager
    def copied(self, member: Member, folder: Path) -> Iterator[IO[bytes]]:
        """A member as a nameless temporary file in `folder`, for archives. Raises UserError as `read`."""
        with _temporary(folder) as copy:
            with self._opened(member) as stream:
                for chunk in self._content(member, stream, MOST_IN_ALL):
                    copy.write(chunk)
            copy.seek(0)
            yield copy

    @contextlib.contextmanager
    def _opened(self, member: Member) -> Iterator[IO[bytes]]:
        with _whole(self.path.joinpath(*member.parts)):
            stream = member.open()
        with stream:
            yield stream

    def _content(self, member: Member, stream: IO[bytes], most: int) -> Iterator[bytes]:
        """In chunks. Raises UserError as `read`."""
        where, count = self.path.joinpath(*member.parts), 0
        for chunk in _chunks(stream, where, most, self.budget):
            count += len(chunk)
            yield chunk
        if count != member.size:
            raise UserError(f"{where}: damaged: {count} bytes where {member.size} are declared; copy the archive again")


@contextlib.contextmanager
def opened(path: Path, stream: IO[bytes], folder: Path, budget: Budget) -> Iterator[Archive]:
    """The archive `stream`, whose name is that of `path`. `folder`: for temporary files.

    Raises UserError naming the archive, and the member at fault: one whose name leads out of the archive, a link, an
    encrypted one, one that is there twice, one that is too large, one too many; and where the archive is damaged.
    """
    with contextlib.ExitStack() as held:
        if suffix(path.name).casefold() == ".zip":
            found = _zip_members(path, stream, budget, held)
        else:
            found = _tar_members(path, held.enter_context(_plain(path, stream, folder, budget)), budget, held)
        seen: set[tuple[str, ...]] = set()
        declared = 0
        for member in found:
            where = path.joinpath(*member.parts)
            if member.parts in seen:
                raise UserError(f"{where}: is there twice; pack the archive again")
            seen.add(member.parts)
            if member.size > (MOST_IN_ALL if suffix(member.parts[-1]) else MOST_BYTES):
                raise UserError(
                    f"{where}: declares {member.size} bytes, more than any file of slices has; save it anew"
                )
            declared += member.size
            budget.check(declared, where)
        yield Archive(path, tuple(m for m in found if not any(map(listing.is_junk, m.parts))), budget)


class _Careful:
    """A file of which no more is read at once than a directory of names can take: libraries ask for what it says."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.seek, self.tell, self.seekable = stream.seek, stream.tell, stream.seekable

    def read(self, count: int = -1) -> bytes:
        found = self._stream.read(_AT_ONCE + 1 if count is None or count < 0 else min(count, _AT_ONCE + 1))
        if len(found) > _AT_ONCE:
            raise ValueError("its directory is too large")
        return found


@contextlib.contextmanager
def _whole(where: Path) -> Iterator[None]:
    """Turns what a damaged archive makes a library raise, which is nearly anything, into a UserError."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        why = str(error).strip() or type(error).__name__
        raise UserError(f"{where}: damaged ({why}); copy the archive again") from error


def _temporary(folder: Path) -> tempfile.SpooledTemporaryFile[bytes]:
    return tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY, dir=str(folder))


def _chunks(stream: IO[bytes], where: Path, most: int, budget: Budget) -> Iterator[bytes]:
    """What really comes out. Raises UserError where that is more than `most` bytes or the budget."""
    count = 0
    while True:
        with _whole(where):
            chunk = stream.read(_CHUNK)
        if not chunk:
            return
        count += len(chunk)
        if count > most:
            raise UserError(
                f"{where}: unpacks to more than {most} bytes, more than any file of slices has; save it anew"
            )
        budget.spend(len(chunk), where)
        yield chunk


def _parts(path: Path, name: str, folder: bool) -> tuple[str, ...]:
    """A member's folders and name. Raises UserError where they lead out of the archive, or cannot be names, and where
    what is no folder has none."""
    name = name.replace("\\", "/")  # as some programs of Windows write
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if name.startswith("/") or re.match("[A-Za-z]:", name) or ".." in parts:
        raise UserError(f"{path}: the member {name!r} lies outside of the archive; pack the folder again")
    if not parts and not folder:
        raise UserError(f"{path}: damaged (a member without a name); copy the archive again")
    for part in parts:
        if flaw := listing.flaw(part):
            raise UserError(f"{path}: the member {name!r} {flaw}; rename it and pack the folder again")
    return parts


def _zip_members(path: Path, stream: IO[bytes], budget: Budget, held: contextlib.ExitStack) -> list[Member]:
    with _whole(path):
        archive = held.enter_context(zipfile.ZipFile(cast(IO[bytes], _Careful(stream))))
        entries = archive.infolist()
        stream.seek(-_END.size - len(archive.comment), os.SEEK_END)
        mark, count = _END.unpack(stream.read(_END.size))
        # zipfile takes a directory's length on trust, and a shorter one for fewer members
        if mark != b"PK\5\6" or count not in (0xFFFF, len(entries) & 0xFFFF):
            raise zipfile.BadZipFile(f"{len(entries)} members where {count} are declared")
    found = []
    for entry in entries:
        budget.count(path)
        parts = _parts(path, entry.filename, entry.filename.endswith("/"))
        where = path.joinpath(*parts)
        _check_kind(where, stat.S_IFMT(entry.external_attr >> 16))
        if entry.flag_bits & 0x41:
            raise UserError(f"{where}: is encrypted; pack it without a password, or unpack it yourself")
        if entry.filename.endswith("/"):
            continue
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # those unpack without measure
            raise UserError(f"{where}: is packed by method {entry.compress_type}; pack it by Deflate, as usual")

        def open_it(entry: zipfile.ZipInfo = entry) -> IO[bytes]:
            return archive.open(entry)

        found.append(Member(parts, entry.file_size, open_it))
    return found


def _check_kind(where: Path, kind: int) -> None:
    """Refuses what is no file and no folder, by the bits of its mode; 0: nothing is said. Raises UserError."""
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        what = "link, which is never followed" if kind == stat.S_IFLNK else "device or pipe"
        raise UserError(f"{where}: is a {what}; pack files and folders alone")


@contextlib.contextmanager
def _plain(path: Path, stream: IO[bytes], folder: Path, budget: Budget) -> Iterator[IO[bytes]]:
    """A tar without its compression, which is told by its first bytes."""
    start = stream.read(6)
    stream.seek(0)
    if start.startswith(b"\x1f\x8b"):
        unpacked: IO[bytes] = cast(IO[bytes], gzip.GzipFile(fileobj=stream, mode="rb"))
    elif start.startswith(b"\xfd7zXZ\0"):
        unpacked = cast(IO[bytes], _Xz(stream))
    else:
        yield stream
        return
    with _temporary(folder) as copy:
        for chunk in _chunks(unpacked, path, MOST_IN_ALL, budget):
            copy.write(chunk)
        copy.seek(0)
        yield copy


class _Xz:
    """Unpacks xz with a bound on memory, which `lzma.open` has not."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._unpacker = lzma.LZMADecompressor(lzma.FORMAT_XZ, _XZ_MEMORY)

    def read(self, count: int) -> bytes:
        while not self._unpacker.eof:
            packed = self._stream.read(_CHUNK) if self._unpacker.needs_input else b""
            if self._unpacker.needs_input and not packed:
                raise EOFError("it ends too early")
            if found := self._unpacker.decompress(packed, count):
                return found
        if (self._unpacker.unused_data + self._stream.read(_CHUNK)).strip(b"\0"):
            raise ValueError("more than one stream")
        return b""


def _tar_members(path: Path, stream: IO[bytes], budget: Budget, held: contextlib.ExitStack) -> list[Member]:
    with _whole(path):
        archive = held.enter_context(tarfile.TarFile(fileobj=cast(IO[bytes], _Careful(stream)), mode="r"))
    found = []
    while True:
        with _whole(path):
            entry = archive.next()
            if entry is None:
                break
            if entry.size < 0:  # tarfile would go back, and round and round
                raise ValueError("a size below 0")
        budget.count(path)
        parts = _parts(path, entry.name, entry.isdir())
        where = path.joinpath(*parts)
        if entry.islnk() or entry.issym():
            _check_kind(where, stat.S_IFLNK)
        if entry.issparse() or not (entry.isreg() or entry.isdir()):
            _check_kind(where, stat.S_IFBLK)
        if entry.isdir():
            continue

        def open_it(entry: tarfile.TarInfo = entry) -> IO[bytes]:
            stream = archive.extractfile(entry)
            assert stream is not None  # it is of files, which this is
            return stream

        found.append(Member(parts, entry.size, open_it))
    with _whole(path):
        _check_end(stream, archive.offset)
    return found


def _check_end(stream: IO[bytes], start: int) -> None:
    """Raises ValueError where a tar does not end as it should: tarfile takes a damaged header for the end."""
    stream.seek(start)
    count = 0
    while chunk := stream.read(_CHUNK):
        if chunk.strip(b"\0"):
            raise ValueError("a header that is none")
        count += len(chunk)
    if count < _BLOCK:
        raise ValueError("it ends too early")

"""The parts of a PNG file: whole, undamaged, and without those that say nothing of gray values.

Pillow decodes the pixels. It takes damaged ones near the end of a file, refuses whole files with long notes in them,
and overlooks some transparency; so the parts are checked here first.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shadow.errors import UserError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GRAY, COLOUR, PALETTE = 0, 2, 3  # colour types
_MOST_PIXELS = 1 << 26  # 8192 x 8192: a bigger header is damage (or an attack), and Pillow would warn about it
_NEEDED = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")  # all that gray values depend on
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of a pixel, by colour type
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_MOST_ENTRIES = 256  # of a palette
_MAY_SKIP = ord("a")  # a part whose name begins with a small letter may be passed over


@dataclass(frozen=True)
class Png:
    """`content` is a PNG file of the needed parts alone. `transparent` is the level of a gray one that is clear."""

    content: bytes
    width: int
    height: int
    depth: int  # bits of a sample
    colour: int  # colour type
    entries: int  # colours in the palette
    transparent: int | None


def read(content: bytes, path: Path) -> Png:
    """The parts of the PNG file at `path`.

    Raises UserError naming the file where it is no PNG, is cut off or damaged, is animated, or has more pixels than
    any slice.
    """
    if not content:
        raise UserError(f"{path}: the file is empty; copy it again")
    if not SIGNATURE.startswith(content[: len(SIGNATURE)]):
        raise UserError(f"{path}: not a PNG file, whatever its name says; save it anew, or rename it")
    parts = _parts(content, path)
    header = parts[0][1]
    if parts[0][0] != b"IHDR" or len(header) != 13:
        raise UserError(f"{path}: damaged PNG file: it does not begin with a header; copy it again")
    width, height = (int.from_bytes(header[at : at + 4], "big") for at in (0, 4))
    depth, colour = header[8], header[9]
    if width * height > _MOST_PIXELS:
        raise UserError(f"{path}: {width} x {height} pixels, more than any slice has; save it anew")
    if any(kind == b"acTL" for kind, _ in parts):
        raise UserError(f"{path}: an animated PNG; save one slice a file")
    for kind, _ in parts:
        if kind not in _NEEDED and kind[0] < _MAY_SKIP:
            raise UserError(f"{path}: holds a part {kind.decode('latin-1')!r} that PNG does not know; save it anew")
    _check_order([kind for kind, _ in parts], path)
    palette = next((data for kind, data in parts if kind == b"PLTE"), b"")
    entries = len(palette) // 3
    if len(palette) % 3 or entries > _MOST_ENTRIES:
        raise UserError(f"{path}: damaged PNG file: its palette has {len(palette)} bytes; save it anew")
    if colour == PALETTE and not entries:
        raise UserError(f"{path}: damaged PNG file: its palette is missing; save it anew")
    clear = next((data for kind, data in parts if kind == b"tRNS"), None)
    transparent = None
    if colour == GRAY and clear is not None:
        transparent = int.from_bytes(clear[:2], "big") & ((1 << depth) - 1)
    _check_length(parts, path)
    kept = [b"IHDR", b"PLTE", b"IDAT", b"IEND"] + [b"tRNS"] * (colour in (COLOUR, PALETTE))
    rebuilt = b"".join(_part(kind, data) for kind, data in parts if kind in kept)
    return Png(SIGNATURE + rebuilt, width, height, depth, colour, entries, transparent)


def _check_order(kinds: Sequence[bytes], path: Path) -> None:
    """Refuses needed parts that are there twice or out of order, of which Pillow takes one or the other."""
    needed = [kind for kind in kinds if kind in _NEEDED]
    once = [kind for i, kind in enumerate(needed) if kind != b"IDAT" or needed[i - 1] != b"IDAT"]
    first, last = kinds.index(b"IDAT"), len(kinds) - kinds[::-1].index(b"IDAT")
    if once != sorted(set(needed), key=_NEEDED.index) or set(kinds[first:last]) != {b"IDAT"}:
        raise UserError(
            f"{path}: damaged PNG file: its parts are out of order or there twice; copy it again, or save it anew"
        )


def _check_length(parts: Sequence[tuple[bytes, bytes]], path: Path) -> None:
    """Refuses more or fewer pixels than the header says: Pillow takes the first ones, or those of a part cut off."""
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", parts[0][1])
    bits = depth * _SAMPLES.get(colour, 0)
    sizes = [(width, height)]
    if interlaced:  # seven pictures, each a grid of its own
        sizes = [(-(-(width - x) // dx), -(-(height - y) // dy)) for x, y, dx, dy in _ADAM7]
    expected = sum(rows * (1 + -(-columns * bits // 8)) for columns, rows in sizes if columns > 0 and rows > 0)
    unpacker = zlib.decompressobj()
    try:
        found = len(unpacker.decompress(b"".join(data for kind, data in parts if kind == b"IDAT"), expected + 1))
    except zlib.error as error:
        raise UserError(f"{path}: damaged PNG file: {error}; copy it again, or save it anew") from error
    if found != expected or not unpacker.eof or unpacker.unused_data:
        raise UserError(f"{path}: damaged PNG file: more or fewer pixels than its header says; save it anew")


def is_clear(png: Png, gray: np.ndarray) -> bool:
    """Is any pixel transparent of a gray image, with levels [height, width] stretched to [0, 255]?"""
    if png.transparent is None:
        return False
    return bool((gray == png.transparent * 255 // ((1 << png.depth) - 1)).any())


def _parts(content: bytes, path: Path) -> list[tuple[bytes, bytes]]:
    """(name, data) of every part up to the end mark, each checked by its sum."""
    found: list[tuple[bytes, bytes]] = []
    at, names = len(SIGNATURE), set()
    while b"IEND" not in names:
        size, kind = int.from_bytes(content[at : at + 4], "big"), content[at + 4 : at + 8]
        data, end = content[at + 8 : at + 8 + size], at + 12 + size
        if end > len(content):
            raise UserError(f"{path}: the PNG file is cut off; copy it again")
        if zlib.crc32(data, zlib.crc32(kind)) != int.from_bytes(content[end - 4 : end], "big"):
            raise UserError(
                f"{path}: damaged PNG file: a checksum is wrong at byte {at}; copy it again, or save it anew"
            )
        found.append((kind, data))
        names.add(kind)
        at = end
    if b"IDAT" not in names:
        raise UserError(f"{path}: the PNG file is cut off; copy it again")
    return found


def _part(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(data, zlib.crc32(kind)).to_bytes(4, "big")

"""From PNG files to gray values, and from any size to the one the shadows see.

Editions ship gray, palette and sometimes colour PNGs. Everything becomes 8-bit gray here, and what cannot be
turned into gray without guessing (colour, transparency, 16 bits) is refused by name.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from shadow.errors import UserError

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER_END = 33  # signature and the IHDR chunk
_MOST_PIXELS = 1 << 26  # 8192 x 8192: a bigger header is damage (or an attack), and Pillow would warn about it
_CHUNK_PIXELS = 1 << 24  # of the input, resized at a time


def read_gray(path: Path) -> tuple[np.ndarray, str]:
    """Gray values uint8 [height, width] of a PNG file, and the Pillow mode it was stored in (`L`, `P` ...).

    Raises UserError naming the file if it cannot be read, is not a whole PNG, has 16 bits, colours,
    transparency or several frames.
    """
    return decode(read_bytes(path), path)


def read_bytes(path: Path) -> bytes:
    """Content of a file; UserError naming it if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot read this file: {error.strerror or error}") from error


def decode(content: bytes, path: Path) -> tuple[np.ndarray, str]:
    """As `read_gray`, for the `content` of the file at `path`."""
    if not content:
        raise UserError(f"{path}: the file is empty")
    if not _SIGNATURE.startswith(content[:8]):
        raise UserError(f"{path}: not a PNG file, whatever its name says")
    data = content.find(b"IDAT", _HEADER_END)
    if data < 0 or content.find(b"IEND", data) < 0:  # Pillow would pass over a missing end
        raise UserError(f"{path}: the PNG file is cut off; copy it again")
    # The header is read here since Pillow reduces 16-bit colour to 8 bits without a word, and warns about
    # huge and about animated images, which cannot be silenced among threads.
    width, height = (int.from_bytes(content[at : at + 4], "big") for at in (16, 20))
    if content[24] == 16:
        raise UserError(f"{path}: 16 bits a pixel; window the slices to 8 bits first (the edition's are 8-bit)")
    if width * height > _MOST_PIXELS:
        raise UserError(f"{path}: {width} x {height} pixels, more than any slice has")
    if content.find(b"acTL", 0, data) >= 0:
        raise UserError(f"{path}: an animated PNG; save one slice a file")
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            mode = image.mode
            if mode in ("L", "1") and "transparency" not in image.info:
                return np.array(image.convert("L")), mode
            channels = np.asarray(image.convert("RGBA"))
    except Exception as error:  # a damaged file makes Pillow raise nearly anything
        raise UserError(f"{path}: damaged PNG file: {error}") from error
    if (channels[..., 3] != 255).any():
        raise UserError(f"{path}: has transparent pixels, whose gray value is anyone's guess; flatten it first")
    gray = channels[..., 0]
    if (gray != channels[..., 1]).any() or (gray != channels[..., 2]).any():
        raise UserError(f"{path}: has colours; slices must be gray")
    return gray.copy(), mode


def to_unit(images: np.ndarray) -> np.ndarray:
    """Gray levels [0, 255] -> float32 [-1, 1]."""
    return (np.asarray(images, np.float32) / 127.5 - 1).astype(np.float32)


def resize(images: np.ndarray, resolution: int) -> np.ndarray:
    """Square images [image, side, side] in [0, 255], float32 [image, resolution, resolution] in [0, 255].

    The one anti-aliased reduction of the project: candidates and piles alike go through it. Where
    `resolution` divides the side it is the exact mean of each box, otherwise Pillow's BOX filter (the mean of
    the pixels whose centre lies in the box). An image's result does not depend on its neighbours in the
    array, and beside the result the memory needed is constant. Raises UserError for oblong images and where
    it would have to enlarge.
    """
    count, height, width = images.shape
    if height != width:
        raise UserError(f"slices are {width} x {height} pixels; they must be square")
    if not 1 <= resolution <= height:
        raise UserError(f"data.resolution={resolution} must lie between 1 and {height}, the side of the images")
    result = np.empty((count, resolution, resolution), np.float32)
    step = max(1, _CHUNK_PIXELS // (height * width))
    for start in range(0, count, step):
        part = images[start : start + step]
        if resolution == height:
            result[start : start + step] = part
        elif height % resolution == 0:
            result[start : start + step] = _box_mean(part, height // resolution)
        else:
            for index, image in enumerate(part.astype(np.float32), start):
                small = Image.fromarray(image).resize((resolution, resolution), Image.Resampling.BOX)
                result[index] = np.asarray(small)
    return result.clip(0, 255, out=result)


def _box_mean(images: np.ndarray, factor: int) -> np.ndarray:
    """Mean of each factor x factor box. Integers are added exactly; rows first, the fast direction."""
    count, side, _ = images.shape
    small = side // factor
    whole = images.dtype == np.uint8
    narrow = np.uint16 if factor <= 257 else np.uint32  # 257 * 255 still fits 16 bits
    rows = images.reshape(count, small, factor, side).sum(axis=2, dtype=narrow if whole else np.float64)
    columns = rows.reshape(count, small, small, factor)
    return columns.sum(axis=3, dtype=np.uint64 if whole else np.float64) / factor**2

"""From PNG files to gray values, and from any size to the one the shadows see.

Editions ship gray, palette and sometimes colour PNGs. Everything becomes 8-bit gray here, and what cannot be
turned into gray without guessing (colour, transparency, 16 bits) is refused by name.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from shadow.data import png
from shadow.errors import UserError

TRANSPARENT = "has transparent pixels, whose gray value is anyone's guess; flatten it first"
_CHUNK_PIXELS = 1 << 24  # of the input, resized at a time


class ColourError(UserError):
    """A picture that is whole, and not gray."""


def read_gray(path: Path) -> tuple[np.ndarray, str]:
    """Gray values uint8 [height, width] of a PNG file, and the Pillow mode it was stored in (`L`, `P` ...).

    Raises UserError naming the file if it cannot be read, is not a whole PNG, has 16 bits, colours,
    transparency or several frames.
    """
    return decode(read_bytes(path), path)


def read_bytes(path: Path) -> bytes:
    """Content of a file; UserError naming it if it cannot be read, or is a pipe, which would keep us waiting."""
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise UserError(f"{path}: cannot read this file: it is a pipe or a device; move it elsewhere")
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot read this file: {error.strerror or error}") from error


def decode(content: bytes, path: Path) -> tuple[np.ndarray, str]:
    """As `read_gray`, for the `content` of the file at `path`."""
    parts = png.read(content, path)
    # Pillow reduces 16-bit colour to 8 bits without a word
    if parts.depth == 16:
        raise UserError(f"{path}: 16 bits a pixel; window the slices to 8 bits first (the edition's are 8-bit)")
    try:
        with Image.open(io.BytesIO(parts.content), formats=["PNG"]) as image:
            mode = image.mode
            stored = np.array(image.convert("L") if parts.colour == png.GRAY else image)
            channels = None if parts.colour == png.GRAY else np.asarray(image.convert("RGBA"))
    except UnidentifiedImageError as error:  # whose text names an object of ours
        raise UserError(f"{path}: damaged PNG file: its header makes no sense; save it anew") from error
    except Exception as error:  # a damaged file makes Pillow raise nearly anything
        raise UserError(f"{path}: damaged PNG file: {error}; copy it again, or save it anew") from error
    if channels is None:
        if png.is_clear(parts, stored):
            raise UserError(f"{path}: {TRANSPARENT}")
        return stored, mode
    if parts.colour == png.PALETTE and stored.max(initial=0) >= parts.entries:
        raise UserError(f"{path}: damaged PNG file: a pixel has a colour that its palette lacks; save it anew")
    if (channels[..., 3] != 255).any():
        raise UserError(f"{path}: {TRANSPARENT}")
    gray = channels[..., 0]
    if (gray != channels[..., 1]).any() or (gray != channels[..., 2]).any():
        raise ColourError(
            f"{path}: has colours, slices must be gray; `launch.py convert --colour=luminance` makes them so"
        )
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

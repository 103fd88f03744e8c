"""Pictures: PNG, JPEG, TIFF and BMP, of 1 to 16 bits and floats, of one page or several."""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from shadow.convert.values import MOST_PIXELS, Slice, check_size
from shadow.data import decoding, png
from shadow.errors import UserError

_KINDS = {b"\x89PNG": "PNG", b"\xff\xd8\xff": "JPEG", b"II*\0": "TIFF", b"MM\0*": "TIFF", b"BM": "BMP"}
_DEEP = ("I", "I;16", "I;16B", "I;16L", "F")
_DEEP_GRAY = "save it as gray without transparency, or with 8 bits"
_BITS, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0  # of TIFF


def kind(start: bytes) -> str:
    """The format of a file with these first bytes, or ''."""
    return next((name for mark, name in _KINDS.items() if start.startswith(mark)), "")


def read(path: Path, content: bytes) -> Iterator[Slice]:
    """Every page of a picture. Raises UserError naming the file where it cannot be read or is transparent."""
    name, transparent = kind(content), None
    if name == "PNG":
        parts = png.read(content, path)
        if parts.depth < 16:
            yield _of_png(path, content, parts)
            return
        if parts.colour != png.GRAY:
            raise UserError(f"{path}: 16 bits a pixel, with colours or transparency; {_DEEP_GRAY}")
        content, transparent = parts.content, parts.transparent
    try:
        with _heard(name):
            image = Image.open(io.BytesIO(content), formats=[name])
            pages = int(getattr(image, "n_frames", 1))
        with image:
            for number in range(pages):
                with _heard(name):
                    image.seek(number)
                    if image.width * image.height > MOST_PIXELS:
                        size = f"{image.width} x {image.height} pixels"
                        raise UserError(f"{path}: {size}, more than any slice has; save it anew")
                    check_size((pages, image.height, image.width), str(path))
                    image.load()
                    piece = _page(path, image, name, transparent)
                yield piece
    except UserError:
        raise
    except Exception as error:  # a damaged file makes Pillow raise nearly anything
        raise UserError(f"{path}: damaged {name} file; copy it again, or save it anew") from error


@contextlib.contextmanager
def _heard(name: str) -> Iterator[None]:
    """Takes warnings of TIFF tags that cannot be read for damage, since they say what the numbers are; all others pass.

    What libtiff writes to stderr, past Python, is not shown: our own line names it.
    """
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if name == "TIFF":
                warnings.filterwarnings("error", "Tag |Corrupt EXIF|Truncated|Possibly corrupt")
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _of_png(path: Path, content: bytes, parts: png.Png) -> Slice:
    """With 8 bits or fewer, by the rule of a run; colours, which a run refuses, as they are."""
    try:
        gray, mode = decoding.decode(content, path)
    except decoding.ColourError:
        with Image.open(io.BytesIO(parts.content), formats=["PNG"]) as image:
            return Slice(np.array(image.convert("RGB")), ("PNG in colour",))
    return Slice(gray, (f"PNG {mode}",))


def _page(path: Path, page: Image.Image, name: str, transparent: int | None) -> Slice:
    """`transparent`: the level that is clear, of 16 bits."""
    said, tags = (f"{name} {page.mode}",), getattr(page, "tag_v2", {})
    page = ImageOps.exif_transpose(page)
    if page.mode in _DEEP:
        values = np.array(page)
        if transparent is not None and (values == transparent).any():
            raise UserError(f"{path}: {decoding.TRANSPARENT}")
        # Pillow turns white on black round in 8 bits alone
        return Slice(values, said, inverted=tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO)
    if max(np.ravel(tags.get(_BITS, 8))) > 8:  # which Pillow would drop
        raise UserError(f"{path}: more than 8 bits a pixel in mode {page.mode}; {_DEEP_GRAY}")
    if page.mode in ("L", "1"):
        return Slice(np.array(page.convert("L")), said)
    if page.mode in ("P", "RGB", "RGBA", "LA", "PA", "YCbCr"):
        channels = np.asarray(page.convert("RGBA"))
        if (channels[..., 3] != 255).any():
            raise UserError(f"{path}: {decoding.TRANSPARENT}")
        return Slice(channels[..., :3].copy(), said)
    raise UserError(f"{path}: a {name} of mode {page.mode} has no rule here; save it as gray PNG")

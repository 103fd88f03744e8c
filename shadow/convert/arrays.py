"""NumPy arrays: NPY files, and NPZ files with one array, of a slice or of a stack of them."""

from __future__ import annotations

import io
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

from shadow.convert.values import Slice, check_size
from shadow.errors import UserError


def read(path: Path, content: bytes) -> Iterator[Slice]:
    """Slices of [height, width] or [slice, height, width], also with a last axis of 1 or 3 channels.

    Raises UserError where the file is damaged, holds a pickle, or has other shapes or types.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python's, of what a damaged header looks like
        array = _array(path, content)
    if array.ndim in (3, 4) and array.shape[-1] == 1:
        array = array[..., 0]
    colours = array.ndim >= 3 and array.shape[-1] == 3
    stack = array if array.ndim == (4 if colours else 3) else array[None]
    if stack.ndim != (4 if colours else 3) or not stack.size or stack.dtype.kind not in "uif":
        raise UserError(
            f"{path}: holds {array.dtype} {array.shape}; save gray values of [slice, height, width] as numbers"
        )
    if colours and stack.dtype != np.uint8:
        raise UserError(f"{path}: holds colours as {stack.dtype}; save them as uint8")
    for piece in stack:
        yield Slice(np.array(piece), (f"NumPy {array.dtype}",))


def _array(path: Path, content: bytes) -> np.ndarray:
    try:
        if content.startswith(b"\x93NUMPY"):
            _check_header(path, io.BytesIO(content))
            return _only(io.BytesIO(content))
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = [name for name in archive.namelist() if name.endswith(".npy")]
            if len(names) != 1:
                raise UserError(f"{path}: holds {len(names)} arrays; save one of [slice, height, width] a file")
            with archive.open(names[0]) as stream:
                _check_header(path, stream)
            with archive.open(names[0]) as stream:
                return _only(stream)
    except UserError:
        raise
    except Exception as error:  # of a damaged header, a pickle, or an archive that another program packed
        raise UserError(f"{path}: no readable array of numbers ({error}); save it with numpy.save") from error


def _only(stream: IO[bytes]) -> np.ndarray:
    """The array in a stream. Raises ValueError where something follows it: `numpy.save` writes one after the other."""
    array = np.lib.format.read_array(stream, allow_pickle=False)
    if stream.read(1):
        raise ValueError("more follows than its header says; one array a file")
    return array


def _check_header(path: Path, stream: IO[bytes]) -> None:
    """Refuses a header that asks for more memory than any slices need. Raises UserError, and ValueError on none."""
    version = np.lib.format.read_magic(stream)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read_header(stream)
    if dtype.hasobject:
        raise ValueError("a pickle, which is never opened")
    check_size(shape, str(path))

"""NIfTI volumes: axial slices in the view of radiology, found by the affine whatever the order on disk."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import io
import logging
import math
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from shadow.convert.values import MOST_VALUES, Slice, check_size
from shadow.errors import UserError

_MARKS = (b"n+1\0", b"n+2\0")  # at byte 344 of NIfTI-1, and at byte 4 of NIfTI-2
_MOST_BYTES = 8 * MOST_VALUES


def is_nifti(content: bytes) -> bool:
    """Of the first bytes, unpacked where they are those of gzip."""
    if content.startswith(b"\x1f\x8b"):
        try:
            content = zlib.decompressobj(31).decompress(content, 400)
        except zlib.error:
            return False
    return content[344:348] in _MARKS or content[4:8] in _MARKS


def read(path: Path, content: bytes) -> Iterator[Slice]:
    """Slices from feet to head, with the patient's right at the left and the front at the top, as in DICOM.

    All slices of a file are of one patient, who is named for its content. Raises UserError naming the file where it is
    no volume of three axes.
    """
    if importlib.util.find_spec("nibabel") is None:
        raise UserError(f"{path}: NIfTI needs a package: pip install 'shadowprint[nifti]'")
    import nibabel

    nibabel.imageglobals.logger.setLevel(logging.CRITICAL + 1)  # it would say on stderr what it mends in a header
    try:
        if content.startswith(b"\x1f\x8b"):
            content = _unpacked(path, content)
        kind = nibabel.Nifti1Image if content[344:348] in _MARKS else nibabel.Nifti2Image
        stored = kind.from_bytes(content)
        image = nibabel.as_closest_canonical(stored)  # axes: right, front, head
        placed = bool(stored.header["sform_code"]) or bool(stored.header["qform_code"])
        shape = tuple(side for i, side in enumerate(image.shape) if i < 3 or side > 1)
        check_size(shape, str(path))
        if len(shape) != 3:
            raise UserError(f"{path}: holds {len(shape)} axes; save each volume alone")
        _check_end(path, content, stored)
        volume = np.asarray(image.dataobj).reshape(shape)
    except UserError:
        raise
    except Exception as error:  # a damaged file makes nibabel raise nearly anything
        raise UserError(f"{path}: cannot read this NIfTI file ({type(error).__name__}); copy it again") from error
    if volume.dtype.kind not in "uif":
        raise UserError(f"{path}: holds {volume.dtype}; save gray values as numbers")
    patient = f"volume {hashlib.sha256(content).hexdigest()}"  # the same in a folder and in an archive
    said = "NIfTI, axial" if placed else "NIfTI, axial if stored as usual: its header does not say"
    for plane in range(shape[2]):
        yield Slice(np.array(volume[::-1, ::-1, plane].T), (said,), patient=patient)


def _check_end(path: Path, content: bytes, stored: Any) -> None:
    """Refuses more voxels than the header says: it is not of this volume, and all of them are out of place."""
    size = stored.header.get_data_dtype().itemsize * math.prod(map(int, stored.shape))
    if content[int(stored.dataobj.offset) + size :].strip(b"\0"):
        raise UserError(f"{path}: holds more voxels than its header says; copy it again, or save it anew")


def _unpacked(path: Path, content: bytes) -> bytes:
    with gzip.GzipFile(fileobj=io.BytesIO(content)) as stream:
        unpacked = stream.read(_MOST_BYTES + 1)
    if len(unpacked) > _MOST_BYTES:
        raise UserError(f"{path}: unpacks to more than any volume holds; save it anew")
    return unpacked

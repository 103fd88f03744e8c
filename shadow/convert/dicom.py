"""DICOM files: slices and multi-frame volumes, compressed ones too where the packages for that are installed.

Text that is burned into the pixels is not looked for. Of the header nothing is kept but the patient's id, hashed.
"""

from __future__ import annotations

import importlib.util
import io
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from shadow.convert.values import Slice, check_size
from shadow.errors import UserError

LUNG = (-1350.0, 150.0)  # Hounsfield units: centre -600, width 1500
_MARK = slice(128, 132)  # of a file's bytes
_SHOWN_AS_IS = 8  # bits


def is_dicom(content: bytes) -> bool:
    return content[_MARK] == b"DICM"


def read(path: Path, content: bytes) -> Iterator[Slice]:
    """Every frame; none of a file without pixels (a DICOMDIR, a report).

    CT is in Hounsfield units and has a lung window unless another is asked for; other kinds take the window of the
    file. Raises UserError naming the file, and where a package is missing, the command that installs it.
    """
    if importlib.util.find_spec("pydicom") is None:
        raise UserError(f"{path}: DICOM needs a package: pip install 'shadowprint[dicom]'")
    import pydicom
    from pydicom import pixels

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of headers that break small rules, as nearly all do
        try:
            data = pydicom.dcmread(io.BytesIO(content))
            if "PixelData" not in data:
                return
            check_size((int(data.get("NumberOfFrames") or 1), data.Rows, data.Columns), str(path))
            stored = pixels.pixel_array(data)
            colours = data.SamplesPerPixel == 3
            values = stored if colours else pixels.apply_rescale(stored, data)
            window = _window(data.get("Modality", ""), data.get("WindowCenter"), data.get("WindowWidth"))
        except UserError:
            raise
        except Exception as error:  # a damaged file makes pydicom raise nearly anything
            raise UserError(f"{path}: cannot read this DICOM file: {_reason(error)}") from error
    said = (f"DICOM {data.get('Modality', '')}".strip(),)
    if not colours and data.BitsStored == _SHOWN_AS_IS and np.array_equal(values, stored) and values.min() >= 0:
        values = values.astype(np.uint8)
    inverted, patient = data.PhotometricInterpretation == "MONOCHROME1", str(data.get("PatientID") or "")
    for frame in values if values.ndim == (4 if colours else 3) else values[None]:
        yield Slice(np.array(frame), said, window, patient, inverted)


def _window(modality: str, centre: object, width: object) -> tuple[float, float] | None:
    """(lowest, highest): for CT of the lung, else the first that the file names."""
    if modality == "CT":
        return LUNG
    if centre is None or width is None:
        return None
    middle, whole = float(np.ravel(np.asarray(centre, float))[0]), float(np.ravel(np.asarray(width, float))[0])
    return (middle - whole / 2, middle + whole / 2) if whole > 0 else None


def _reason(error: Exception) -> str:
    """In one line; where only a package is missing, how to get it."""
    text = str(error)
    if "missing dependencies" in text or "plugins are missing" in text:
        return "its pixels are compressed: pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg"
    return f"{text.splitlines()[0][:200] if text else type(error).__name__}; export it again"

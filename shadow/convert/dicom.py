"""DICOM files: axial slices and multi-frame volumes, compressed ones too where the packages for that are installed.

Localizers and slices that are not axial are left out; axial ones are turned to the view of radiology. A file that does
not say how it lies is taken as it is stored.
Text that is burned into the pixels is not looked for. Of the header nothing is kept but the patient's id, hashed.
"""

from __future__ import annotations

import importlib.util
import io
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from shadow.convert import orientation
from shadow.convert.values import LeftOut, Slice, check_size
from shadow.errors import UserError

LUNG = (-1350.0, 150.0)  # Hounsfield units: centre -600, width 1500
_MARK = slice(128, 132)  # of a file's bytes
_SHOWN_AS_IS = 8  # bits
_JPEG_2000 = "1.2.840.10008.1.2.4.9"  # how its transfer syntaxes start; all other compressed ones are JPEG's
_HIGH_THROUGHPUT = "1.2.840.10008.1.2.4.20"


def is_dicom(content: bytes) -> bool:
    return content[_MARK] == b"DICM"


def read(path: Path, content: bytes) -> Iterator[Slice | LeftOut]:
    """Every frame, or why it is left out; none of a file without pixels (a DICOMDIR, a report).

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
            planes = _planes(data, path)
            left_out = _why_left_out(data, planes)
            if not left_out:
                check_size((int(data.get("NumberOfFrames") or 1), data.Rows, data.Columns), str(path))
                stored = pixels.pixel_array(data)
                colours = data.SamplesPerPixel == 3
                values = stored if colours else pixels.apply_rescale(stored, data)
                window = _window(data.get("Modality", ""), data.get("WindowCenter"), data.get("WindowWidth"))
        except UserError:
            raise
        except Exception as error:  # a damaged file makes pydicom raise nearly anything
            raise UserError(f"{path}: cannot read this DICOM file: {_reason(error, content)}") from error
    if left_out:
        yield LeftOut(left_out)
        return
    said = (f"DICOM {data.get('Modality', '')}".strip(),)
    if not colours and data.BitsStored == _SHOWN_AS_IS and np.array_equal(values, stored) and values.min() >= 0:
        values = values.astype(np.uint8)
    inverted, patient = data.PhotometricInterpretation == "MONOCHROME1", str(data.get("PatientID") or "")
    for number, frame in enumerate(values if values.ndim == (4 if colours else 3) else values[None]):
        lies = planes[min(number, len(planes) - 1)] if planes else None
        if lies is not None and lies.name != "axial":
            yield LeftOut(_not_axial(lies))
            continue
        seen, how = frame, "lies as stored, since it does not say how"
        if lies is not None:
            seen = orientation.standard(frame, lies)
            how = "" if seen is frame else "turned to the standard view"
        yield Slice(np.array(seen), (*said, how) if how else said, window, patient, inverted)


def _why_left_out(data: Any, planes: Sequence[orientation.Plane]) -> str:
    """Why nothing of the file is for a run; empty where something is. Its pixels need not be readable."""
    if "LOCALIZER" in [str(word).upper() for word in _several(data.get("ImageType"))]:
        return "is a localizer, by its ImageType"
    return _not_axial(planes[0]) if planes and all(lies.name != "axial" for lies in planes) else ""


def _not_axial(lies: orientation.Plane) -> str:
    return f"is {lies.name}, by its ImageOrientationPatient; slices of a run are axial"


def _planes(data: Any, path: Path) -> list[orientation.Plane]:
    """How the frames lie: one for each, or one for all; none where the file does not say."""
    shared = [data, *_several(data.get("SharedFunctionalGroupsSequence"))]
    frames = [_plane(frame, path) for frame in _several(data.get("PerFrameFunctionalGroupsSequence"))]
    known = [lies for lies in frames if lies is not None]
    if known and len(known) == len(frames):
        return known
    return [lies for group in shared if (lies := _plane(group, path)) is not None][:1]


def _plane(group: Any, path: Path) -> orientation.Plane | None:
    """The orientation in a file's header, or in one of its functional groups."""
    for place in (group, *_several(group.get("PlaneOrientationSequence"))):
        if numbers := _several(place.get("ImageOrientationPatient")):
            return orientation.plane(numbers, str(path))
    return None


def _several(value: Any) -> list[Any]:
    """The values of an element that may be absent, empty, one or many."""
    if value is None:
        return []
    return [value] if isinstance(value, str | int | float) else list(value)


def _window(modality: str, centre: object, width: object) -> tuple[float, float] | None:
    """(lowest, highest): for CT of the lung, else the first that the file names."""
    if modality == "CT":
        return LUNG
    if centre is None or width is None:
        return None
    middle, whole = float(np.ravel(np.asarray(centre, float))[0]), float(np.ravel(np.asarray(width, float))[0])
    return (middle - whole / 2, middle + whole / 2) if whole > 0 else None


def _reason(error: Exception, content: bytes) -> str:
    """In one line; where only a package is missing, how to get it."""
    text = str(error)
    if "missing dependencies" in text or "plugins are missing" in text:
        plugin = "openjpeg" if _is_jpeg_2000(content) else "libjpeg"
        return f"its pixels are compressed: pip install pylibjpeg pylibjpeg-{plugin}"
    return f"{text.splitlines()[0][:200] if text else type(error).__name__}; export it again"


def _is_jpeg_2000(content: bytes) -> bool:
    import pydicom

    header = pydicom.dcmread(io.BytesIO(content), stop_before_pixels=True)
    return str(header.file_meta.get("TransferSyntaxUID", "")).startswith((_JPEG_2000, _HIGH_THROUGHPUT))

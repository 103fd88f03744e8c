"""DICOM files: axial slices and multi-frame volumes, compressed ones too where the packages for that are installed.

Localizers and slices that are not axial are left out; axial ones are turned to the view of radiology. A file that does
not say how it lies is taken as it is stored.
Text that is burned into the pixels is not looked for. Of the header nothing is kept but the patient's id, hashed.
"""

from __future__ import annotations

import importlib.util
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shadow.convert import orientation
from shadow.convert.values import LeftOut, Slice, check_size
from shadow.errors import UserError

LUNG = (-1350.0, 150.0)  # Hounsfield units: centre -600, width 1500
_MARK, _FIRST = slice(128, 132), slice(132, 136)  # of a file's bytes: its mark, and the first element's tag
_STANDARD = "1.2.840.10008."  # how the kinds of the standard start; what makers add does not
_SHOWN_AS_IS = 8  # bits
_JPEG_2000 = "1.2.840.10008.1.2.4.9"  # how its transfer syntaxes start; all other compressed ones are JPEG's
_HIGH_THROUGHPUT = "1.2.840.10008.1.2.4.20"


def is_dicom(content: bytes) -> bool:
    """By its mark, or by what follows it where the mark is damaged."""
    return content[_MARK] == b"DICM" or content[_FIRST] == b"\2\0\0\0"


def read(path: Path, content: bytes) -> Iterator[Slice | LeftOut]:
    """Every frame, or why it is left out; none of a file without pixels (a DICOMDIR, a report).

    CT is in Hounsfield units and has a lung window unless another is asked for; other kinds take the window of the
    file. Raises UserError naming the file, and where a package is missing, the command that installs it.
    """
    if importlib.util.find_spec("pydicom") is None:
        raise UserError(f"{path}: DICOM needs a package: pip install 'shadowprint[dicom]'")
    import pydicom

    pydicom.config.logger.setLevel(logging.CRITICAL + 1)  # it would say on stderr what it warns of, too
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of headers that break small rules, as nearly all do
        try:
            found = _stored(pydicom.dcmread(io.BytesIO(content)), path)
        except UserError:
            raise
        except Exception as error:  # a damaged file makes pydicom raise nearly anything
            raise UserError(f"{path}: cannot read this DICOM file: {_reason(error, content)}") from error
    if isinstance(found, LeftOut):
        yield found
        return
    if found is None:
        return
    for number, frame in enumerate(found.frames):
        lies = found.planes[min(number, len(found.planes) - 1)] if found.planes else None
        if lies is not None and lies.name != "axial":
            yield LeftOut(_not_axial(lies))
            continue
        seen, how = frame, "lies as stored, since it does not say how"
        if lies is not None:
            seen = orientation.standard(frame, lies)
            how = "" if seen is frame else "turned to the standard view"
        said = (*found.said, how) if how else found.said
        yield Slice(np.array(seen), said, found.window, found.patient, found.inverted)


@dataclass(frozen=True, eq=False)
class _Stored:
    """frames: [frame, height, width], or [frame, height, width, 3] of colours; the rest as in `Slice`. planes: one a
    frame, one for all, or none."""

    frames: np.ndarray
    planes: Sequence[orientation.Plane]
    window: tuple[float, float] | None
    patient: str
    inverted: bool
    said: tuple[str, ...]


def _stored(data: Any, path: Path) -> _Stored | LeftOut | None:
    """What is read of a file; None where it is of a kind without pixels. Raises UserError, and what pydicom raises."""
    from pydicom import pixels

    if "PixelData" not in data:
        _check_none(path, data)
        return None
    planes = _planes(data, path)
    if why := _why_left_out(data, planes):
        return LeftOut(why)
    check_size((int(data.get("NumberOfFrames") or 1), data.Rows, data.Columns), str(path))
    stored = pixels.pixel_array(data)
    _check_end(path, data)
    said = f"DICOM {data.get('Modality', '')}".strip()
    by_palette = data.PhotometricInterpretation == "PALETTE COLOR"
    if by_palette:
        stored, said = pixels.apply_color_lut(stored, data), f"{said}, by its palette"
        stored = (stored >> 8).astype(np.uint8) if stored.dtype == np.uint16 else stored
    colours = by_palette or data.SamplesPerPixel == 3
    if colours and stored.dtype != np.uint8:
        raise UserError(f"{path}: holds colours of {data.BitsStored} bits; export it with 8")
    frames = stored if stored.ndim == (4 if colours else 3) else stored[None]
    values = frames if colours else _rescaled(frames, data, path)
    if not colours and data.BitsStored == _SHOWN_AS_IS and np.array_equal(values, frames) and values.min() >= 0:
        values = values.astype(np.uint8)
    return _Stored(
        values,
        planes,
        _window(data.get("Modality", ""), data.get("WindowCenter"), data.get("WindowWidth")),
        str(data.get("PatientID") or ""),
        data.PhotometricInterpretation == "MONOCHROME1",
        (said,),
    )


def _rescaled(frames: np.ndarray, data: Any, path: Path) -> np.ndarray:
    """Values [frame, height, width] by the slope and intercept of the file, or of each of its frames."""
    from pydicom import pixels

    shared = _scales(_several(data.get("SharedFunctionalGroupsSequence")))
    own = _scales(_several(data.get("PerFrameFunctionalGroupsSequence")))
    if "RescaleSlope" in data or "ModalityLUTSequence" in data or not (shared or own):
        return pixels.apply_rescale(frames, data)
    scales = np.array(own or shared * len(frames))
    if len(scales) != len(frames):
        raise UserError(f"{path}: {len(scales)} of {len(frames)} frames say what their numbers mean; export it again")
    return frames * scales[:, 0, None, None] + scales[:, 1, None, None]


def _scales(groups: Sequence[Any]) -> list[tuple[float, float]]:
    """(slope, intercept) of those functional groups that have them."""
    places = [place for group in groups for place in _several(group.get("PixelValueTransformationSequence"))]
    return [(float(place.RescaleSlope), float(place.RescaleIntercept)) for place in places]


def _check_none(path: Path, data: Any) -> None:
    """Refuses a file without pixels whose kind has some: pydicom takes one that is cut off for whole."""
    from pydicom.uid import UID

    kind = UID(str(data.file_meta.get("MediaStorageSOPClassUID") or ""))
    known = kind.name != str(kind) and "Image Storage" not in kind.name  # a directory, a report, a structure
    private = kind.is_valid and not kind.startswith(_STANDARD) and data.get("SOPClassUID") == kind
    if data.get("Rows") or not (known or private):
        raise UserError(f"{path}: this DICOM file has no pixels, it is cut off or damaged; copy or export it again")


def _check_end(path: Path, data: Any) -> None:
    """Refuses more pixels than the header says, which pydicom takes for padding: they are out of place. Zeros pass."""
    from pydicom.pixels.utils import get_expected_length

    if data.file_meta.TransferSyntaxUID.is_compressed:
        return
    expected = get_expected_length(data)
    if data.PixelData[expected + expected % 2 :].strip(b"\0"):  # an odd length is filled up by a byte
        raise UserError(f"{path}: holds more pixels than its header says; export it again")


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

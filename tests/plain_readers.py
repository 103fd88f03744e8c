"""Readers of the formats, written from their definitions and for the files of `mutations` alone: what a slice is.

Each gives uint8 [slice, side, side], or None where a file is beyond it. They tell what a damaged file really says.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib

import numpy as np
from mutations import chunks

WINDOW = (-1350.0, 150.0)
_STEPS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # samples of a pixel, by colour type


def windowed(values: np.ndarray) -> np.ndarray:
    low, high = WINDOW
    return np.rint(255 * np.clip((values.astype(float) - low) / (high - low), 0, 1)).astype(np.uint8)


def of_png(content: bytes) -> np.ndarray | None:
    """Of 8 bits, not interlaced, gray in any way."""
    parts = chunks(content)
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", parts[0][1])
    if depth != 8 or interlaced or colour not in _STEPS:
        return None
    step = _STEPS[colour]
    packed = zlib.decompressobj()
    raw = packed.decompress(b"".join(data for name, data in parts if name == b"IDAT"))
    assert len(raw) == height * (1 + width * step), "more or fewer pixels than the header says"
    rows = np.zeros((height + 1, width * step), np.uint8)
    for y in range(height):
        line = raw[y * (1 + width * step) :][: 1 + width * step]
        rows[y + 1] = _unfiltered(line[0], np.frombuffer(line[1:], np.uint8), rows[y], step)
    samples = rows[1:].reshape(height, width, step)
    if colour == 3:
        palette = np.frombuffer(next(data for name, data in parts if name == b"PLTE"), np.uint8).reshape(-1, 3)
        samples = palette[samples[..., 0]]
    gray = samples[..., : 3 if step > 2 or colour == 3 else 1]
    return samples[None, ..., 0] if (gray == gray[..., :1]).all() else None


def _unfiltered(kind: int, line: np.ndarray, above: np.ndarray, step: int) -> np.ndarray:
    found = np.zeros(len(line), int)
    for x in range(len(line)):
        left = found[x - step] if x >= step else 0
        up, corner = int(above[x]), int(above[x - step]) if x >= step else 0
        nearest = min((left, up, corner), key=lambda value: abs(left + up - corner - value))
        found[x] = (int(line[x]) + (0, left, up, (left + up) // 2, nearest)[kind]) % 256
    return found.astype(np.uint8)


def of_array(content: bytes) -> np.ndarray | None:
    stream = io.BytesIO(content)
    array = np.lib.format.read_array(stream, allow_pickle=False)
    assert not stream.read(), "numbers that the header leaves out"
    if array.ndim not in (2, 3) or array.shape[-1] in (1, 3) or array.dtype == np.uint8:
        return None
    return windowed(array if array.ndim == 3 else array[None])


def of_dicom(content: bytes) -> np.ndarray | None:
    """Of 16 bits, uncompressed, that lies as it should."""
    import pydicom

    names = ("ImageOrientationPatient", "Modality", "PhotometricInterpretation", "NumberOfFrames", "Rows", "Columns")
    wanted = {"BitsAllocated": 16, "BitsStored": 16, "HighBit": 15, "SamplesPerPixel": 1, "PixelRepresentation": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        read = pydicom.dcmread(io.BytesIO(content))
        try:
            data = {name: read.get(name) for name in (*names, *wanted, "RescaleSlope", "RescaleIntercept", "PixelData")}
        except NotImplementedError:  # a damaged type of an element that pixels do not depend on
            return None
    usual = all(data[name] == value for name, value in wanted.items())
    lies = list(data["ImageOrientationPatient"] or [1, 0, 0, 0, 1, 0]) == [1, 0, 0, 0, 1, 0]
    plain = read.file_meta.get("TransferSyntaxUID") == "1.2.840.10008.1.2.1" and data["Modality"] == "CT"
    if not usual or not lies or not plain or data["PhotometricInterpretation"] != "MONOCHROME2":
        return None
    shape = (int(data["NumberOfFrames"] or 1), data["Rows"], data["Columns"])
    values = np.frombuffer(data["PixelData"], "<u2")
    assert values.size == np.prod(shape), "more or fewer pixels than the header says"
    slope, intercept = data["RescaleSlope"], data["RescaleIntercept"]
    if slope is None or intercept is None:
        return None
    return windowed(values.reshape(shape) * float(slope) + float(intercept))


def of_nifti(content: bytes, sound: bytes) -> np.ndarray | None:
    """Where only numbers and their scale are not as in `sound`, and its axes go to the left and the back."""
    start = int(struct.unpack("<f", content[108:112])[0])
    if content[:40] != sound[:40] or content[40:112] != sound[40:112] or content[252:344] != sound[252:344]:
        return None
    slope, offset = struct.unpack("<ff", content[112:120])
    shape = struct.unpack("<3h", content[42:48])
    values = np.frombuffer(content[start:], "<i2")
    assert values.size == np.prod(shape), "more or fewer voxels than the header says"
    scaled = values.astype(float) if not slope or not np.isfinite([slope, offset]).all() else values * slope + offset
    return windowed(scaled.reshape(shape[::-1]))

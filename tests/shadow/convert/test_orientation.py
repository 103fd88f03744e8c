"""Slices of DICOM by how they lie: axial ones are seen the same way, others are left out with a reason."""

from __future__ import annotations

import csv
import importlib.util
import itertools
import logging

import numpy as np
import pytest
from dicom_files import dicom
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from shadow.convert import folder as folders
from shadow.convert import orientation
from shadow.convert.values import Rule
from shadow.errors import UserError

pydicom = pytest.importorskip("pydicom")
SIDE = 8
HU = np.random.default_rng(0).integers(-1024, 300, (SIDE, SIDE)).astype(np.int16)
AXIAL = (1, 0, 0, 0, 1, 0)
FEET_FIRST = (-1, 0, 0, 0, 1, 0)
CORONAL = (1, 0, 0, 0, 0, -1)
SAGITTAL = (0, 1, 0, 0, 0, -1)


def stored(values, numbers):
    """The picture `values`, seen in the standard view, as a scanner writes it whose rows and columns go on so."""
    right, down = np.array(numbers, float).reshape(2, 3)
    picture = np.empty_like(values)
    middle = (len(values) - 1) / 2
    for row, column in itertools.product(range(len(values)), repeat=2):
        left, back, _ = right * (column - middle) + down * (row - middle)
        picture[row, column] = values[round(back + middle), round(left + middle)]
    return picture


def converted(tmp_path):
    folders.convert(tmp_path / "in", tmp_path / "out", Rule())
    images = [np.array(Image.open(path)) for path in sorted((tmp_path / "out").rglob("*.png"))]
    with (tmp_path / "out/conversions.csv").open(newline="") as stream:
        return images, [row["conversion"] for row in csv.DictReader(stream)]


def test_axial_slices_are_seen_the_same_way_however_they_are_stored(tmp_path):
    """All eight ways to turn and mirror a square."""
    ways = [
        (*(np.array(a) * i), *(np.array(b) * j))
        for a, b in (((1, 0, 0), (0, 1, 0)), ((0, 1, 0), (1, 0, 0)))
        for i, j in itertools.product((1, -1), repeat=2)
    ]
    assert FEET_FIRST in ways
    for i, way in enumerate(ways):
        dicom(tmp_path / f"in/IM{i}", stored(HU, way), ImageOrientationPatient=list(map(float, way)))
    images, said = converted(tmp_path)
    assert len(images) == 8
    assert all(np.array_equal(image, images[0]) for image in images)
    assert not np.array_equal(images[0], images[0].T)
    assert "turned" not in said[0]
    assert all("turned to the standard view" in one for one in said[1:])


@given(st.floats(-0.75, 0.75), st.sampled_from([AXIAL, FEET_FIRST]))
def test_a_tilted_gantry_is_axial_still(angle, way):
    right, down = np.array(way[:3], float), np.array([0, np.cos(angle), np.sin(angle)])
    lies = orientation.plane([*right, *down], "a")
    assert lies.name == "axial"
    assert orientation.plane([*right, 0, -np.sin(angle), np.cos(angle)], "a").name == "coronal"


def test_what_is_not_axial_is_left_out_with_its_name_and_why(tmp_path, caplog):
    kinds = {
        "a/IM0": {"ImageOrientationPatient": list(AXIAL)},
        "a/IM1": {"ImageOrientationPatient": list(CORONAL)},
        "a/IM2": {"ImageOrientationPatient": list(CORONAL)},
        "a/IM3": {"ImageOrientationPatient": list(SAGITTAL)},
        "a/scout": {"ImageOrientationPatient": list(AXIAL), "ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]},
        "a/IM4": {},
    }
    for name, fields in kinds.items():
        dicom(tmp_path / "in" / name, HU, **fields)
    with caplog.at_level(logging.WARNING, "absl"):
        images, said = converted(tmp_path)
    assert len(images) == 2
    assert "lies as stored, since it does not say how" in said[1]
    across = "by its ImageOrientationPatient; slices of a run are axial: left out"
    assert [record.getMessage().removeprefix(f"{tmp_path}/in/a/") for record in caplog.records] == [
        f"IM1 is coronal, {across} (and 1 more such files)",
        f"IM3 is sagittal, {across}",
        "scout is a localizer, by its ImageType: left out",
    ]
    with (tmp_path / "out/left_out.csv").open(newline="") as stream:
        assert [row["source"] for row in csv.DictReader(stream)] == ["a/IM1", "a/IM2", "a/IM3", "a/scout"]
    assert [path.name for path in sorted((tmp_path / "out/a").iterdir())] == ["a_000001.png", "a_000002.png"]


def frame(numbers):
    place, group = pydicom.Dataset(), pydicom.Dataset()
    place.ImageOrientationPatient = list(numbers)
    group.PlaneOrientationSequence = [place]
    return group


def test_frames_of_a_volume_lie_each_by_its_own(tmp_path):
    ways = (FEET_FIRST, CORONAL, AXIAL)
    volume = np.stack([stored(HU, FEET_FIRST), HU, HU])
    dicom(tmp_path / "in/each.dcm", volume, PerFrameFunctionalGroupsSequence=[frame(way) for way in ways])
    dicom(tmp_path / "in/shared.dcm", volume[:1], SharedFunctionalGroupsSequence=[frame(FEET_FIRST)])
    images, _ = converted(tmp_path)
    assert len(images) == 3
    assert all(np.array_equal(image, images[0]) for image in images)
    assert "each.dcm,is coronal" in (tmp_path / "out/left_out.csv").read_text().replace('"', "")


@pytest.mark.parametrize("numbers", [(0,) * 6, (1, 0, 0, 1, 0, 0), (1, 0, 0), (2, 0, 0, 0, 1, 0)])
def test_an_orientation_that_is_none_is_refused(tmp_path, numbers):
    dicom(tmp_path / "in/IM0", HU, ImageOrientationPatient=list(map(float, numbers)))
    with pytest.raises(UserError, match=r"IM0: its ImageOrientationPatient \(.*\) is no orientation; export it again"):
        converted(tmp_path)


def test_compressed_pixels_are_read_where_the_package_is_there(tmp_path):
    """RLE needs none; JPEG 2000 needs pylibjpeg with openjpeg, of the extra `dicom`, and 64 pixels for its levels."""
    dicom(tmp_path / "in/IM0", np.kron(HU, np.ones((8, 8), np.int16)))
    kinds = [pydicom.uid.RLELossless]
    if all(map(importlib.util.find_spec, ("pylibjpeg", "openjpeg"))):
        kinds.append(pydicom.uid.JPEG2000Lossless)
    for i, kind in enumerate(kinds):
        data = pydicom.dcmread(tmp_path / "in/IM0")
        data.compress(kind)
        data.save_as(tmp_path / f"in/IM{i + 1}")
    images, _ = converted(tmp_path)
    assert len(images) == 1 + len(kinds)
    assert all(np.array_equal(image, images[0]) for image in images)


def test_the_missing_package_is_named(tmp_path, monkeypatch):
    dicom(tmp_path / "in/IM0", HU)
    data = pydicom.dcmread(tmp_path / "in/IM0")
    for syntax, plugin in ((pydicom.uid.JPEG2000Lossless, "openjpeg"), (pydicom.uid.JPEGLosslessSV1, "libjpeg")):
        data.file_meta.TransferSyntaxUID = syntax
        data.PixelData = pydicom.encaps.encapsulate([bytes(64)])
        data["PixelData"].VR = "OB"
        data.save_as(tmp_path / "in/IM0")

        def missing(data):
            raise RuntimeError("Unable to decompress because all plugins are missing dependencies:")

        monkeypatch.setattr(pydicom.pixels, "pixel_array", missing)
        with pytest.raises(UserError, match=rf"IM0: .* compressed: pip install pylibjpeg pylibjpeg-{plugin}$"):
            converted(tmp_path)

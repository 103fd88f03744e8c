"""The same slices, written in every format and mode that is read, become the same arrays."""

from __future__ import annotations

import gzip
import io
import struct
import tempfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from dicom_files import dicom
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from mutations import chunks, joined, png, tarred, zipped
from PIL import Image, TiffImagePlugin

from shadow.convert import folder as folders
from shadow.convert.values import Rule
from shadow.errors import UserError

SIDE = 8
WINDOW = (-1350.0, 150.0)
VOLUMES = arrays.arrays(np.int16, (2, SIDE, SIDE), elements=st.integers(-2000, 2000))
pydicom, nibabel = pytest.importorskip("pydicom"), pytest.importorskip("nibabel")
pytest.importorskip("openjpeg")


def windowed(values):
    """The definition, one value at a time."""
    gray = [round(255 * min(max((float(v) - WINDOW[0]) / (WINDOW[1] - WINDOW[0]), 0.0), 1.0)) for v in values.ravel()]
    return np.array(gray, np.uint8).reshape(values.shape)


def converted(root, rule):
    folders.convert(root / "in", root / "out", rule)
    return [np.array(Image.open(path)) for path in sorted((root / "out").rglob("*.png"))]


def as_series(root, hu):
    for i, values in enumerate(hu):
        dicom(root / f"IM{i}", values, intercept=-2048.0)


def as_signed_frames(root, hu):
    dicom(root / "a.dcm", hu, intercept=0.0, PixelRepresentation=1)
    data = pydicom.dcmread(root / "a.dcm")
    data.PixelData = hu.astype("<i2").tobytes()
    data.save_as(root / "a.dcm")


def as_enhanced(root, hu):
    """Slope and intercept stand with each frame, as in the multi-frame classes of CT and MR."""
    dicom(root / "a.dcm", hu, intercept=0.0)
    data = pydicom.dcmread(root / "a.dcm")
    del data.RescaleSlope, data.RescaleIntercept
    groups, stored = [], []
    for i, values in enumerate(hu):
        intercept = -2048 - 10 * i
        scale, group = pydicom.Dataset(), pydicom.Dataset()
        scale.RescaleSlope, scale.RescaleIntercept = 1, intercept
        group.PixelValueTransformationSequence = [scale]
        groups.append(group)
        stored.append((values - intercept).astype("<u2").tobytes())
    data.PerFrameFunctionalGroupsSequence, data.PixelData = groups, b"".join(stored)
    data.save_as(root / "a.dcm")


def as_compressed(name):
    def write(root, hu):
        dicom(root / "a.dcm", hu, intercept=-2048.0)
        data = pydicom.dcmread(root / "a.dcm")
        data.compress(getattr(pydicom.uid, name))
        data.save_as(root / "a.dcm")

    return write


def as_implicit(root, hu):
    dicom(root / "a.dcm", hu, intercept=-2048.0)
    data = pydicom.dcmread(root / "a.dcm")
    data.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    data.save_as(root / "a.dcm", implicit_vr=True)


def as_deflated(root, hu):
    dicom(root / "a.dcm", hu, intercept=-2048.0)
    data = pydicom.dcmread(root / "a.dcm")
    data.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    data.save_as(root / "a.dcm")


def volume(hu):
    """x to the left, y to the back, as scanners store; slices from feet to head."""
    return nibabel.Nifti1Image(hu.transpose(2, 1, 0), np.diag([-1.0, -1.0, 2.5, 1.0]))


def as_nifti(root, hu):
    nibabel.save(volume(hu), root / "a.nii")


def as_nifti_2(root, hu):
    nibabel.save(nibabel.Nifti2Image(hu.transpose(2, 1, 0), np.diag([-1.0, -1.0, 2.5, 1.0])), root / "a.nii.gz")


def as_turned_nifti(root, hu):
    """Head to feet first, x to the right, whole numbers of another type."""
    affine = np.array([[0, 1.0, 0, 0], [0, 0, -1.0, 0], [-2.5, 0, 0, 0], [0, 0, 0, 1]])
    nibabel.save(nibabel.Nifti1Image(hu.transpose(0, 2, 1)[::-1, ::-1].astype(np.int32), affine), root / "a.nii.gz")


def as_scaled_nifti(root, hu):
    image = volume(hu * 2)
    image.header.set_slope_inter(0.5, 0)
    (root / "a.nii").write_bytes(image.to_bytes())
    content = bytearray((root / "a.nii").read_bytes())
    content[112:120] = struct.pack("<ff", 0.5, 0.0)
    content[352:] = np.ascontiguousarray((hu * 2).astype("<i2")).tobytes()
    (root / "a.nii").write_bytes(content)


def as_npy(root, hu):
    np.save(root / "a.npy", hu)


def as_big_endian_npy(root, hu):
    np.save(root / "a.npy", np.asfortranarray(hu.astype(">i4")))


def as_npz(root, hu):
    np.savez_compressed(root / "a.npz", hu.astype(np.float32)[..., None])


def as_float_pages(root, hu):
    pages = [Image.fromarray(values.astype(np.float32)) for values in hu]
    pages[0].save(root / "a.tif", save_all=True, append_images=pages[1:], compression="tiff_lzw")


def as_deep_png(root, hu):
    """Numbers from 0 on: the window moves with them."""
    for i, values in enumerate(hu):
        Image.fromarray((values.astype(int) + 2000).astype(np.uint16)).save(root / f"{i}.png")


def as_deep_tiff(root, hu):
    for i, values in enumerate(hu):
        Image.fromarray((values.astype(int) + 2000).astype(np.uint16)).save(root / f"{i}.tif")


def as_white_on_black(root, hu):
    """TIFF whose highest number is black."""
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[262] = 0
    for i, values in enumerate(hu):
        Image.fromarray((values.astype(int) + 2000).astype(np.uint16)).save(root / f"{i}.tif", tiffinfo=tags)


def as_archive(pack, name, write):
    def packed(root, hu):
        (root.parent / "raw").mkdir()
        write(root.parent / "raw", hu)
        files = [(path.name, path.read_bytes()) for path in sorted((root.parent / "raw").iterdir())]
        (root / name).write_bytes(pack(files))

    return packed


SHIFTED = (as_deep_png, as_deep_tiff, as_white_on_black)
OF_DICOM = {
    "series": as_series,
    "signed frames": as_signed_frames,
    "a rescale a frame": as_enhanced,
    "RLE": as_compressed("RLELossless"),
    "implicit": as_implicit,
    "deflated": as_deflated,
    "zip": as_archive(zipped, "a.zip", as_series),
}
OTHERS = {
    "NIfTI": as_nifti,
    "NIfTI 2": as_nifti_2,
    "turned NIfTI": as_turned_nifti,
    "scaled NIfTI": as_scaled_nifti,
    "NPY": as_npy,
    "NPY big endian": as_big_endian_npy,
    "NPZ": as_npz,
    "TIFF of floats": as_float_pages,
    "PNG of 16 bits": as_deep_png,
    "TIFF of 16 bits": as_deep_tiff,
    "TIFF white on black": as_white_on_black,
    "tar": as_archive(tarred, "a.tar", as_npy),
    "tgz": as_archive(lambda files: gzip.compress(tarred(files)), "a.tgz", as_nifti),
    "zip": as_archive(zipped, "a.zip", as_float_pages),
}


@pytest.mark.parametrize("name", [*(f"DICOM {name}" for name in OF_DICOM), *OTHERS])
@settings(max_examples=5, deadline=None)
@given(hu=VOLUMES)
def test_every_format_of_a_volume_gives_the_same_slices(tmp_path_factory, name, hu):
    root = tmp_path_factory.mktemp("formats")
    (root / "in").mkdir()
    write = OF_DICOM.get(name.removeprefix("DICOM ")) if name.startswith("DICOM") else OTHERS[name]
    write(root / "in", hu)
    window = (WINDOW[0] + 2000, WINDOW[1] + 2000) if write in SHIFTED else WINDOW
    found = np.stack(converted(root, Rule(window=None if name.startswith("DICOM") else window)))
    if write is as_white_on_black:  # the middle of two levels may be rounded the other way
        assert np.abs(found.astype(int) - (255 - windowed(hu).astype(int))).max() <= 1
    else:
        np.testing.assert_array_equal(found, windowed(hu))


@pytest.mark.parametrize("name", ["JPEG2000Lossless", "RLELossless"])
@settings(max_examples=3, deadline=None)
@given(hu=VOLUMES)
def test_compressed_dicom_gives_what_is_not_compressed(tmp_path_factory, name, hu):
    """Of 32 pixels: smaller ones cannot be packed as JPEG 2000."""
    root, large = tmp_path_factory.mktemp("packed"), np.kron(hu, np.ones((1, 4, 4), np.int16))
    (root / "in").mkdir()
    as_compressed(name)(root / "in", large)
    np.testing.assert_array_equal(np.stack(converted(root, Rule())), windowed(large))


def dicom_of_bytes(path, gray, **fields):
    dicom(path, gray.astype(np.uint16), intercept=0.0)
    data = pydicom.dcmread(path)
    del data.RescaleSlope, data.RescaleIntercept
    data.Modality, data.BitsAllocated, data.BitsStored, data.HighBit = "OT", 8, 8, 7
    data.PixelData = gray.tobytes()
    data["PixelData"].VR = "OB"
    for name, value in fields.items():
        setattr(data, name, value)
        if name.endswith("Descriptor"):
            data[name].VR = "US"
    data.save_as(path)


def by_palette(path, gray, order):
    """The palette is any order of all levels, and the pixels are places in it."""
    levels = np.asarray(order, np.uint16) << 8
    table = {"PhotometricInterpretation": "PALETTE COLOR"}
    for colour in ("Red", "Green", "Blue"):
        table[f"{colour}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        table[f"{colour}PaletteColorLookupTableData"] = levels.tobytes()
    dicom_of_bytes(path, np.argsort(order).astype(np.uint8)[gray], **table)


@settings(max_examples=10, deadline=None)
@given(arrays.arrays(np.uint8, (SIDE, SIDE)), st.permutations(range(256)))
def test_every_picture_of_eight_bits_gives_the_same_gray(tmp_path_factory, gray, order):
    root = tmp_path_factory.mktemp("modes")
    (root / "in").mkdir()
    image, place = Image.fromarray(gray), np.argsort(order).astype(np.uint8)
    for mode in ("L", "LA", "RGB", "RGBA", "P"):
        image.convert(mode).save(root / "in" / f"{mode}.png")
    shuffled = Image.fromarray(place[gray])
    shuffled.putpalette(np.repeat(np.asarray(order, np.uint8), 3).tobytes())
    shuffled.save(root / "in/shuffled.png")
    shuffled.save(root / "in/shuffled.tif")
    shuffled.save(root / "in/shuffled.bmp")
    for name, how in (("lzw", "tiff_lzw"), ("deflate", "tiff_adobe_deflate"), ("plain", None)):
        image.save(root / f"in/{name}.tif", compression=how)
    image.save(root / "in/white.tif", tiffinfo={262: 0})
    image.save(root / "in/a.bmp")
    np.save(root / "in/a.npy", gray)
    np.save(root / "in/channels.npy", np.repeat(gray[None, ..., None], 3, axis=-1))
    nibabel.save(nibabel.Nifti1Image(gray.T[..., None], np.diag([-1.0, -1.0, 1.0, 1.0])), root / "in/a.nii")
    dicom_of_bytes(root / "in/gray.dcm", gray)
    by_palette(root / "in/palette.dcm", gray, order)
    three = np.repeat(gray[..., None], 3, axis=-1)
    dicom_of_bytes(
        root / "in/rgb.dcm",
        three.reshape(SIDE, -1),
        SamplesPerPixel=3,
        PhotometricInterpretation="RGB",
        PlanarConfiguration=0,
        Columns=SIDE,
    )
    dicom_of_bytes(root / "in/inverted.dcm", 255 - gray, PhotometricInterpretation="MONOCHROME1")
    (root / "in/a.zip").write_bytes(zipped([("a.png", (root / "in/L.png").read_bytes())]))
    count = len(list((root / "in").iterdir()))
    found = converted(root, Rule(window=(0, 255)))
    assert len(found) == count == 21
    assert all(np.array_equal(one, gray) for one in found)


@settings(max_examples=10, deadline=None)
@given(st.sampled_from([1, 2, 4]), st.data())
def test_few_bits_are_stretched_in_every_format(tmp_path_factory, bits, data):
    root, most = tmp_path_factory.mktemp("bits"), 2**bits - 1
    (root / "in").mkdir()
    levels = data.draw(arrays.arrays(np.uint8, (SIDE, SIDE), elements=st.integers(0, most)))
    packed = b"".join(
        b"\0" + bytes(np.packbits(np.unpackbits(row[:, None], axis=1)[:, 8 - bits :].ravel())) for row in levels
    )
    for colour, palette in ((0, []), (3, [(b"PLTE", bytes(np.repeat(np.arange(most + 1) * 255 // most, 3).tolist()))])):
        header = struct.pack(">IIBBBBB", SIDE, SIDE, bits, colour, 0, 0, 0)
        parts = [(b"IHDR", header), *palette, (b"IDAT", zlib.compress(packed)), (b"IEND", b"")]
        (root / f"in/{colour}.png").write_bytes(joined(parts))
    for found in converted(root, Rule()):
        np.testing.assert_array_equal(found, levels * (255 // most))


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 5), st.integers(0, 5), st.integers(0, 90))
def test_a_jpeg_is_near(tmp_path_factory, across, down, dark):
    root = tmp_path_factory.mktemp("jpeg")
    (root / "in").mkdir()
    smooth = np.add.outer(down * np.arange(16), across * np.arange(16)).astype(np.uint8) + np.uint8(dark)
    for mode in ("L", "RGB"):
        Image.fromarray(smooth).convert(mode).save(root / f"in/{mode}.jpg", quality=95)
    for found in converted(root, Rule()):
        assert np.abs(found.astype(int) - smooth).max() <= 4


def deep_png(colour, samples, **clear):
    """Of 16 bits a sample, all of them 300."""
    rows = (b"\0" + struct.pack(f">{SIDE * samples}H", *[300] * SIDE * samples)) * SIDE
    parts = [(b"IHDR", struct.pack(">IIBBBBB", SIDE, SIDE, 16, colour, 0, 0, 0)), (b"IDAT", zlib.compress(rows))]
    parts[1:1] = [(b"tRNS", value) for value in clear.values()]
    return joined([*parts, (b"IEND", b"")])


def dicom_bytes(change=lambda data: None):
    stream = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder:
        dicom(Path(folder) / "a", HU[0], ImageOrientationPatient=[1.0, 0.0, 0.0, 0.0, 1.0, 0.0])
        data = pydicom.dcmread(Path(folder) / "a")
        change(data)
        data.save_as(stream)
    return stream.getvalue()


def numbers(*arrays):
    stream = io.BytesIO()
    for array in arrays:
        np.save(stream, array)
    return stream.getvalue()


def more_pixels(data):
    data.Rows -= 1


def no_pixels(data):
    del data.PixelData


HU = np.random.default_rng(0).integers(-1000, 0, (2, SIDE, SIDE)).astype(np.int16)
PNG = chunks(png(np.full((SIDE, SIDE), 7, np.uint8)))
PALETTE = chunks(png(np.full((SIDE, SIDE), 7, np.uint8), "P"))
NIFTI = volume(HU).to_bytes()
REFUSED = {
    "16 bits in colour": ("a.png", deep_png(2, 3), r"a\.png: 16 bits a pixel, with colours or transparency; save it"),
    "16 bits and alpha": ("a.png", deep_png(4, 2), r"a\.png: 16 bits a pixel, with colours or transparency; save it"),
    "a clear level": ("a.png", deep_png(0, 1, clear=struct.pack(">H", 300)), r"a\.png: has transparent pixels"),
    "pixels twice": ("a.png", joined([*PNG[:2], *PNG[1:]]), r"a\.png: damaged PNG file"),
    "a header twice": ("a.png", joined([PNG[0], *PNG]), r"a\.png: damaged PNG file: its parts are out of order"),
    "the palette last": ("a.png", joined([PALETTE[0], *PALETTE[:0:-1][1:], PALETTE[-1]]), r"parts are out of order"),
    "a note within pixels": ("a.png", joined([*PNG[:2], (b"tEXt", b"a\0b"), *PNG[1:]]), r"parts are out of order"),
    "half a colour": (
        "a.png",
        joined([(name, data + b"x" * (name == b"PLTE")) for name, data in PALETTE]),
        r"its palette has 769 bytes; save it anew",
    ),
    "two arrays in a row": ("a.npy", numbers(HU, HU), r"a\.npy: .*more follows than its header says"),
    "more voxels": ("a.nii", NIFTI + b"\1\2", r"a\.nii: holds more voxels than its header says; copy it again"),
    "fewer voxels": ("a.nii", NIFTI[:-1], r"a\.nii: cannot read this NIfTI file"),
    "more pixels": ("a.dcm", dicom_bytes(more_pixels), r"a\.dcm: holds more pixels than its header says; export it"),
    "DICOM without pixels": ("a.dcm", dicom_bytes(no_pixels), r"a\.dcm: this DICOM file has no pixels, it is cut off"),
    "DICOM cut in its header": ("IM1", dicom_bytes()[:500], r"IM1: this DICOM file has no pixels, it is cut off"),
    "DICOM without its mark": (
        "IM1",
        dicom_bytes()[:128] + b"DICN" + dicom_bytes()[132:],
        r"IM1: cannot read this DICOM file",
    ),
    "a very long one": (
        "a.jpg",
        None,
        r"a\.jpg: 65000 x 8 pixels, too long to be made square; --shape=crop, or save it anew",
    ),
    "a name alone": ("a.tiff", b"words", r"a\.tiff: its name says that it holds images, its content is no PNG, "),
    "an empty file": ("scan.DCM", b"", r"scan\.DCM: its name says .* leave such files out with --unreadable=leave_out"),
    "another format": ("a.mha", b"ObjectType = Image", r"a\.mha: its name says that it holds images"),
    "a pair": ("a.img", bytes(400), r"a\.img: one of a pair \.hdr and \.img; save the volume as \.nii"),
    "in a tar": (
        "a.tar",
        tarred([("1.png", b"\x88" + joined(PNG)[1:])]),
        r"a\.tar/1\.png: its name says that it holds",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_be_misread_is_refused_by_name(tmp_path, name):
    file, content, said = REFUSED[name]
    (tmp_path / "in").mkdir()
    if content is None:
        Image.new("L", (65_000, 8)).save(tmp_path / "in" / file)
    else:
        (tmp_path / "in" / file).write_bytes(content)
    (tmp_path / "in/0.png").write_bytes(joined(PNG))
    with pytest.raises(UserError, match=said):
        converted(tmp_path, Rule(window=WINDOW, shape="pad"))
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_names_alone_are_left_out_where_that_is_asked_for(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/0.png").write_bytes(joined(PNG))
    (tmp_path / "in/a.tar").write_bytes(tarred([("1.dcm", b"words"), ("2.png", joined(PNG))]))
    assert len(converted(tmp_path, Rule(unreadable="leave_out"))) == 2
    left = (tmp_path / "out/left_out.csv").read_text().splitlines()
    assert left == ["source,why", 'a.tar/1.dcm,"holds no slice that can be read, whatever its name says"']


@pytest.mark.parametrize("kind", ["1.2.840.10008.5.1.4.1.1.88.33", "1.3.12.2.1107.5.9.1"])
def test_reports_and_what_makers_add_are_left_out(tmp_path, kind):
    """A structured report, and Siemens' raw data: DICOM without pixels, as it should be."""

    def change(data):
        for name in ("PixelData", "Rows", "Columns"):
            delattr(data, name)
        data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = kind

    (tmp_path / "in").mkdir()
    (tmp_path / "in/IM1").write_bytes(dicom_bytes())
    (tmp_path / "in/SR1").write_bytes(dicom_bytes(change))
    assert len(converted(tmp_path, Rule())) == 1
    assert (tmp_path / "out/left_out.csv").read_text() == "source,why\nSR1,holds no slice\n"

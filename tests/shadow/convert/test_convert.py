"""The same slices in every format become the same gray values; what cannot is named with the option that helps."""

from __future__ import annotations

import csv
import gzip
import io
import warnings

import numpy as np
import pytest
from dicom_files import dicom
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from shadow.convert import folder as folders
from shadow.convert.values import Rule, Slice, show
from shadow.data import manifest
from shadow.errors import UserError

SIDE = 8
HU = np.random.default_rng(0).integers(-1024, 300, (3, SIDE, SIDE)).astype(np.int16)
WINDOW = (-1350.0, 150.0)
PLAIN = Rule()


def windowed(values, low=WINDOW[0], high=WINDOW[1]):
    """The definition, one value at a time."""
    gray = [round(255 * min(max((float(v) - low) / (high - low), 0.0), 1.0)) for v in values.ravel()]
    return np.array(gray, np.uint8).reshape(values.shape)


def nifti(path, volume, affine):
    nibabel = pytest.importorskip("nibabel")
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(volume, affine), path)


def convert(tmp_path, rule=PLAIN):
    to = tmp_path / "out"
    folders.convert(tmp_path / "in", to, rule)
    images = [np.array(Image.open(path)) for path in sorted(to.rglob("*.png"))]
    with (to / "conversions.csv").open(newline="") as stream:
        return images, list(csv.DictReader(stream)), to


def as_dicom(root):
    for i, values in enumerate(HU):
        dicom(root / f"IM{i}", values)


def as_frames(root):
    dicom(root / "volume.dcm", HU)


def as_white_on_black(root):
    """MONOCHROME1: low values are white. These are turned round so that the same picture comes out."""
    for i, values in enumerate(HU):
        dicom(root / f"IM{i}", -values - 1200, PhotometricInterpretation="MONOCHROME1", intercept=-3000.0)


def as_nifti(root):
    """x to the left, y to the back, as scanners store; the slices from feet to head."""
    nifti(root / "v.nii.gz", HU.transpose(2, 1, 0), np.diag([-1.0, -1.0, 2.5, 1.0]))


def as_turned_nifti(root):
    """The same volume with its axes in another order: head to feet first, x to the right."""
    affine = np.array([[0, 1.0, 0, 0], [0, 0, -1.0, 0], [-2.5, 0, 0, 0], [0, 0, 0, 1]])
    nifti(root / "v.nii", HU.transpose(0, 2, 1)[::-1, ::-1], affine)


def as_npy(root):
    np.save(root / "stack.npy", HU)


def as_npz(root):
    np.savez_compressed(root / "stack.npz", HU.astype(np.float32))


def as_pages(root):
    pages = [Image.fromarray(values.astype(np.float32)) for values in HU]
    pages[0].save(root / "stack.tif", save_all=True, append_images=pages[1:])


@pytest.mark.parametrize(
    "write", [as_dicom, as_frames, as_white_on_black, as_nifti, as_turned_nifti, as_npy, as_npz, as_pages]
)
def test_every_format_of_a_volume_gives_the_same_slices(tmp_path, write):
    (tmp_path / "in").mkdir()
    write(tmp_path / "in")
    images, rows, _ = convert(
        tmp_path, Rule(window=None if write in (as_dicom, as_frames, as_white_on_black) else WINDOW)
    )
    # of values turned round, halves may be rounded the other way
    np.testing.assert_allclose(np.stack(images).astype(int), windowed(HU), atol=int(write is as_white_on_black))
    assert all("window" in row["conversion"] for row in rows)


def test_a_jpeg_is_near_and_a_picture_of_sixteen_bits_goes_through_the_window(tmp_path):
    (tmp_path / "in").mkdir()
    smooth = np.add.outer(np.arange(16), np.arange(16)).astype(np.uint8) * 8
    Image.fromarray(smooth).save(tmp_path / "in/a.jpg", quality=95)
    deep = np.arange(256, dtype=np.uint16).reshape(16, 16) * 16
    Image.fromarray(deep).save(tmp_path / "in/b.png")
    images, rows, _ = convert(tmp_path, Rule(window=(0, 4095)))
    assert np.abs(images[0].astype(int) - smooth).max() <= 4
    np.testing.assert_array_equal(images[1], windowed(deep, 0, 4095))
    assert [row["source"] for row in rows] == ["a.jpg", "b.png"]


@pytest.mark.parametrize(
    ("inside", "kept"),
    [
        ("real/used/series 1", "real/used"),  # the innermost name of a role
        ("real/not_used", "real/not_used"),
        ("all/real/t1/Miller", "all/real/t1"),  # a subset
        ("generated_unknown/first", "generated_unknown/first"),
        ("generated/series 1", "generated"),
        ("used/used/series 1", "used"),
        ("clinic/series 1", "clinic"),
    ],
)
def test_folders_that_say_what_their_slices_are_stay(tmp_path, inside, kept):
    (tmp_path / "in" / inside).mkdir(parents=True)
    Image.fromarray(windowed(HU[0])).save(tmp_path / "in" / inside / "0.png")
    _, _, to = convert(tmp_path)
    (path,) = to.rglob("*.png")
    assert path.parent.relative_to(to).as_posix() == kept


def test_roles_stay_names_go_and_patients_are_hashed(tmp_path):
    """What a hospital has: series below folders with names, and the pile of a generator."""
    for i, who in enumerate(("Mu\u0308ller^Eva", "M\u00fcller^Eva", "Schmidt^Jo")):
        dicom(tmp_path / f"in/dev/candidates/{who}/series {i}/IM1", HU[i], patient=who)
    (tmp_path / "in/generated/a, b").mkdir(parents=True)
    Image.fromarray(windowed(HU[0])).save(tmp_path / "in/generated/a, b/0.png")
    (tmp_path / "in/notes.txt").write_text("no slice")
    _, rows, to = convert(tmp_path)
    names = [path.relative_to(to).as_posix() for path in sorted(to.rglob("*.png"))]
    assert names == [
        *(f"dev/candidates/candidates_{i:06d}.png" for i in (1, 2, 3)),
        "generated/generated_000004.png",
    ]
    assert [row["file"] for row in rows] == names
    with (to / "patients.csv").open(newline="") as stream:
        patients = [row["patient"] for row in csv.DictReader(stream)]
    assert len(patients) == 3
    assert patients[0] == patients[1] != patients[2]
    for path in to.rglob("*"):
        assert "ller" not in path.name
        assert path.suffix != ".csv" or "Eva" not in path.read_text() or path.name == "conversions.csv"
    assert to.stat().st_mode & 0o077 == 0


def test_eight_bits_of_dicom_are_shown_as_they_are_and_a_window_counts_before_the_turn(tmp_path):
    gray = np.arange(64, dtype=np.uint16).reshape(8, 8) * 4
    dicom(tmp_path / "in/IM1", gray, BitsStored=8, HighBit=7, intercept=0.0, PhotometricInterpretation="MONOCHROME1")
    dicom(tmp_path / "in/IM2", gray, intercept=0.0, PhotometricInterpretation="MONOCHROME1")
    images, _, _ = convert(tmp_path, Rule(window=(0, 100)))
    np.testing.assert_array_equal(images[0], 255 - gray)
    assert (images[1][gray >= 100] == 0).all()
    assert images[1][0, 0] == 255


def test_a_converted_folder_is_one_for_a_run(tmp_path):
    """From series of DICOM and a pile of PNG, as README.md says."""
    rng = np.random.default_rng(1)
    for role, count in (("candidates", 4), ("not_used", 6)):
        for i in range(count):
            values = rng.integers(-1000, 0, (SIDE, SIDE))
            dicom(tmp_path / f"in/{role}/P{i // 2}{role}/IM{i}", values, patient=f"P{i // 2}{role}")
    (tmp_path / "in/generated").mkdir()
    for i in range(5):
        Image.fromarray(rng.integers(0, 256, (SIDE, SIDE), np.uint8)).save(tmp_path / f"in/generated/{i}.png")
    folders.convert(tmp_path / "in", tmp_path / "out", Rule())
    built = manifest.build(tmp_path / "out", "own", "", 0.5)
    assert [len(built.rows(role)) for role in ("unknown", "not_used", "generated_test")] == [4, 6, 5]
    assert len(set(built.group[built.rows("unknown")])) == 2


def test_with_the_same_salt_patients_are_the_same_without_it_nobody_can_tell(tmp_path):
    dicom(tmp_path / "in/IM1", HU[0])
    found = []
    for name, salt in (("a", "s"), ("b", "s"), ("c", "t"), ("d", ""), ("e", "")):
        folders.convert(tmp_path / "in", tmp_path / name, Rule(salt=salt))
        found.append((tmp_path / name / "patients.csv").read_text().split(",")[-1])
    assert found[0] == found[1]
    assert len(set(found)) == 4


def colours(root):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)).save(root / "a.png")


def oblong(root):
    Image.fromarray(np.zeros((6, 8), np.uint8)).save(root / "a.png")


def no_window(root):
    np.save(root / "a.npy", HU)


def pickle(root):
    np.save(root / "a.npy", np.array([{}]), allow_pickle=True)


def two_arrays(root):
    np.savez(root / "a.npz", a=HU, b=HU)


def bomb(root):
    """A header alone that asks for 2 TB."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        stream, {"descr": "|u1", "fortran_order": False, "shape": (2**21, 2**10, 2**10)}
    )
    (root / "a.npy").write_bytes(stream.getvalue())


def not_a_number(root):
    np.save(root / "a.npy", np.full((8, 8), np.nan))


def archive(root):
    (root / "a.7z").write_bytes(b"7z\xbc\xaf" + bytes(40))


def four_axes(root):
    nifti(root / "a.nii", np.zeros((4, 4, 4, 2), np.int16), np.eye(4))


def damaged_dicom(root):
    dicom(root / "a.dcm", HU[0])
    content = (root / "a.dcm").read_bytes()
    (root / "a.dcm").write_bytes(content[: len(content) - 50])


def compressed_dicom(root):
    """Lossless JPEG, as many archives send; no package for it is installed."""
    pydicom = pytest.importorskip("pydicom")
    dicom(root / "a.dcm", HU[0])
    data = pydicom.dcmread(root / "a.dcm")
    data.file_meta.TransferSyntaxUID = pydicom.uid.JPEGLosslessSV1
    data.PixelData = pydicom.encaps.encapsulate([bytes(64)])
    data["PixelData"].VR = "OB"
    data.save_as(root / "a.dcm")


def nothing(root):
    (root / "notes.txt").write_text("no slice")


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (colours, r"a\.png: has colours; --colour=luminance"),
        (oblong, r"a\.png: 8 x 6 pixels; --shape=pad or --shape=crop"),
        (no_window, r"a\.npy: holds values from -\d+ to \d+; .*--window=LOW,HIGH"),
        (pickle, r"a\.npy: no readable array of numbers .*a pickle, which is never opened"),
        (two_arrays, r"a\.npz: holds 2 arrays"),
        (bomb, r"a\.npy: 2097152 x 1024 x 1024 values, more than"),
        (not_a_number, r"a\.npy: holds values from nan"),
        (archive, r"a\.7z: an archive, read here only as \.zip, .*; unpack it first"),
        (four_axes, r"a\.nii: holds 4 axes; save each volume alone"),
        (damaged_dicom, r"a\.dcm: cannot read this DICOM file"),
        (compressed_dicom, r"a\.dcm: cannot read this DICOM file: .*compressed: pip install pylibjpeg"),
        (nothing, r"no slice there"),
    ],
)
def test_what_cannot_be_converted_is_named_and_leaves_nothing(tmp_path, write, said):
    (tmp_path / "in").mkdir()
    write(tmp_path / "in")
    with pytest.raises(UserError, match=said):
        folders.convert(tmp_path / "in", tmp_path / "out", Rule())
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_oblong_slices_and_colours_as_asked(tmp_path):
    gray = np.arange(48, dtype=np.uint8).reshape(6, 8)
    padded = show(Slice(gray, ()), Rule(shape="pad"), "a")
    np.testing.assert_array_equal(padded.gray, np.pad(gray, ((1, 1), (0, 0))))
    np.testing.assert_array_equal(show(Slice(gray, ()), Rule(shape="crop"), "a").gray, gray[:, 1:7])
    assert padded.said == "pad from 8 x 6"
    colour = np.zeros((4, 4, 3), np.uint8)
    colour[0, 0] = (255, 0, 0)
    assert show(Slice(colour, ()), Rule(colour="luminance"), "a").gray[0, 0] == 76


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["dcm", "nii", "npy", "tif", "png", "jpg"]), st.data())
def test_mutated_files_are_read_or_refused(seeds, capfd, kind, data):
    """No traceback, whatever is changed in a file, and nothing that a library says beside our line."""
    content = bytearray(seeds[kind])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(len(content) // 2, len(content)))]
    path = seeds["root"] / f"a.{kind}"
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            rule = Rule((0, 100), "pad", "luminance")
            for piece in folders._read(path, bytes(content), rule):
                if isinstance(piece, Slice):
                    show(piece, rule, str(path))
        except UserError as error:
            assert str(path) in str(error)  # noqa: PT017
    assert capfd.readouterr() == ("", "")


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    root = tmp_path_factory.mktemp("seeds")
    dicom(root / "a.dcm", HU[0])
    nifti(root / "a.nii", HU, np.eye(4))
    np.save(root / "a.npy", HU)
    for kind in ("tif", "png", "jpg"):
        Image.fromarray(windowed(HU[0])).save(root / f"a.{kind}")
    found = {kind: (root / f"a.{kind}").read_bytes() for kind in ("dcm", "nii", "npy", "tif", "png", "jpg")}
    assert gzip.decompress(gzip.compress(found["nii"])) == found["nii"]
    return {"root": root, **found}

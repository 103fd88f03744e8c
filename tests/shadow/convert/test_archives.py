"""An archive is what the folder in it is, and what would lead astray is refused by name."""

from __future__ import annotations

import csv
import gzip
import io
import lzma
import stat
import tarfile
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from dicom_files import dicom
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from shadow.convert import archives
from shadow.convert import folder as folders
from shadow.convert.values import Rule
from shadow.errors import UserError

RULE = Rule(window=(0, 255), salt="s")


def png(seed=0):
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8), np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def zipped(files, method=zipfile.ZIP_DEFLATED):
    """Names to contents; a name may be a ZipInfo."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def entry(name, size=0, **fields):
    found = tarfile.TarInfo(name)
    found.size = size
    for field, value in fields.items():
        setattr(found, field, value)
    return found


def tarred(files):
    """Names to contents; a name may be a TarInfo."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in files.items():
            one = entry(name) if isinstance(name, str) else name
            one.size = len(content)
            archive.addfile(one, io.BytesIO(content))
    return stream.getvalue()


PACKED = {
    "zip": zipped,
    "tar": tarred,
    "tar.gz": lambda files: gzip.compress(tarred(files)),
    "TGZ": lambda files: gzip.compress(tarred(files)),
    "tar.xz": lambda files: lzma.compress(tarred(files)),
}


def unpacked(root, files):
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def convert(source, to):
    folders.convert(source, to, RULE)
    with (to / "conversions.csv").open(newline="") as stream:
        return content(to), list(csv.DictReader(stream))


def content(to):
    """All that is the same wherever the slices came from."""
    found = {path.relative_to(to).as_posix(): path for path in to.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if name not in ("conversions.csv", "left_out.csv")}


def series(tmp_path):
    """Of two patients, a volume, a stack, and what is no slice."""
    for i in range(4):
        values = np.random.default_rng(i).integers(-1000, 0, (8, 8))
        dicom(tmp_path / f"raw/{i}", values, patient=f"P{i // 2}")
    stack = io.BytesIO()
    np.save(stack, np.random.default_rng(9).integers(0, 256, (3, 8, 8), np.uint8))
    return {
        **{f"candidates/P{i // 2}/IM{i}": (tmp_path / f"raw/{i}").read_bytes() for i in range(4)},
        **{f"generated/{name}": png(i) for i, name in enumerate(("10.png", "2.png", "a-1.png", "a/b.png"))},
        "not_used/stack.npy": stack.getvalue(),
        "notes.txt": b"no slice",
    }


@pytest.mark.parametrize("kind", PACKED)
def test_every_archive_gives_what_its_folder_gives(tmp_path, kind):
    files = series(tmp_path)
    wanted, rows = convert(unpacked(tmp_path / "in", files), tmp_path / "out")
    path = tmp_path / f"in.{kind}"
    path.write_bytes(PACKED[kind](files))
    found, named = convert(path, tmp_path / "out2")
    assert found == wanted
    assert [row | {"source": f"in.{kind}/{row['source']}"} for row in rows] == named
    assert len(rows) == 11
    left = (tmp_path / "out2/left_out.csv").read_text()
    assert left == f"source,why\nin.{kind}/notes.txt,holds no slice\n"


NAMES = st.sampled_from(["1.png", "2.png", "10.png", "01.png", "a.png", "a-1.png", "ä.png", "a/1.png", "a/b c/2.png"])
ROLES = st.sampled_from(["generated", "candidates", "not_used", "Used", "generated_1"])


@settings(max_examples=25, deadline=None)
@given(
    st.dictionaries(st.tuples(ROLES, NAMES), st.integers(0, 99), min_size=1, max_size=8),
    st.sampled_from(sorted(PACKED)),
    st.sampled_from(sorted(PACKED)),
    st.booleans(),
)
def test_slices_are_the_same_in_folders_archives_and_archives_in_archives(tmp_path_factory, slices, one, other, top):
    """Whole, one in another, an archive a role, and below a folder of the archive's name."""
    tmp_path = tmp_path_factory.mktemp("same")
    files = {f"{role}/{name}": png(seed) for (role, name), seed in slices.items()}
    wanted, _ = convert(unpacked(tmp_path / "in", files), tmp_path / "out")
    below = {f"{'raw/' if top else ''}{name}": content for name, content in files.items()}
    (tmp_path / f"raw.{one}").write_bytes(PACKED[one](below))
    assert convert(tmp_path / f"raw.{one}", tmp_path / "out2")[0] == wanted
    (tmp_path / f"all.{other}").write_bytes(PACKED[other]({f"raw.{one}": PACKED[one](below)}))
    assert convert(tmp_path / f"all.{other}", tmp_path / "out3")[0] == wanted
    roles = {}
    for role in {role for role, _ in slices}:
        mine = {name: content for name, content in files.items() if name.startswith(f"{role}/")}
        # with the role's folder in it or without
        inner = mine if top else {name.partition("/")[2]: content for name, content in mine.items()}
        roles[f"{role}.{one}"] = PACKED[one](inner)
    assert convert(unpacked(tmp_path / "roles", roles), tmp_path / "out4")[0] == wanted
    (tmp_path / f"roles.{other}").write_bytes(PACKED[other](roles))
    assert convert(tmp_path / f"roles.{other}", tmp_path / "out5")[0] == wanted


def test_a_volume_is_of_one_patient_wherever_it_lies(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    path = tmp_path / "in/candidates/v.nii.gz"
    path.parent.mkdir(parents=True)
    nibabel.save(nibabel.Nifti1Image(np.arange(192, dtype=np.int16).reshape(8, 8, 3), np.eye(4)), path)
    wanted, _ = convert(tmp_path / "in", tmp_path / "out")
    (tmp_path / "v.zip").write_bytes(zipped({"candidates/v.nii.gz": path.read_bytes()}))
    assert convert(tmp_path / "v.zip", tmp_path / "out2")[0] == wanted
    assert "patients.csv" in wanted


def test_what_computers_leave_behind_and_what_is_sealed_is_passed_over(tmp_path):
    files = {
        "raw/candidates/1.png": png(),
        "__MACOSX/raw/candidates/._1.png": png(1),
        "raw/.DS_Store": b"",
        "raw/candidates/Thumbs.db": png(2),
        "raw/sealed/2.png": png(3),
        "raw/candidates/sealed.zip": zipped({"3.png": png(4)}),
    }
    (tmp_path / "raw.zip").write_bytes(zipped(files))
    found, rows = convert(tmp_path / "raw.zip", tmp_path / "out")
    assert [row["source"] for row in rows] == ["raw.zip/raw/candidates/1.png"]
    assert list(found) == ["candidates/candidates_000001.png"]


def test_folders_of_archives_beside_archives_keep_their_names(tmp_path):
    """An archive a patient, an archive that is named for nothing, and one that was packed on Windows."""
    one = {"scan/1.png": png(1), "scan/2.png": png(2)}
    raw = {
        "candidates/p1.zip": zipped(one),
        "candidates/p2.zip": zipped({"scan\\3.png": png(3)}),
        "more.zip": zipped({"x/4.png": png(4), "y/5.png": png(5)}),
    }
    found, rows = convert(unpacked(tmp_path / "in", raw), tmp_path / "out")
    assert sorted(found) == [f"candidates/candidates_{i:06d}.png" for i in (1, 2, 3)] + [
        f"more/more_{i:06d}.png" for i in (4, 5)
    ]
    assert [row["source"] for row in rows][2:4] == ["candidates/p2.zip/scan/3.png", "more.zip/x/4.png"]


def link(name, kind=stat.S_IFLNK):
    found = zipfile.ZipInfo(name)
    found.create_system, found.external_attr = 3, (kind | 0o777) << 16
    return found


def encrypted(files):
    """The bit alone: nothing here asks for a password."""
    packed = bytearray(zipped(files))
    packed[6] |= 1
    packed[packed.index(b"PK\1\2") + 8] |= 1
    return bytes(packed)


def twice():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            archive.writestr("1.png", png())
            archive.writestr("./1.png", png(1))
        return stream.getvalue()


def nested(depth):
    packed, name = png(), "1.png"
    for i in range(depth):
        packed, name = zipped({name: packed}), f"{i}.zip"
    return packed


def negative():
    """A size below 0, as base 256 can say it; the checksum is right."""
    header = bytearray(tarfile.TarInfo("1.png").tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"\xff" * 11 + b"\x00"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + bytes(1024)


def nameless():
    """A name that is as long as before, and begins with a zero, where names end."""
    return zipped({"1.png": png(1), "2.png": png(2)}).replace(b"1.png", b"\0.png")


BAD = {
    "leads out": ("zip", zipped({"a/../../1.png": png()}), r"the member 'a/\.\./\.\./1\.png' lies outside"),
    "leads out of windows": ("zip", zipped({"..\\1.png": png()}), r"the member '\.\./1\.png' lies outside"),
    "absolute": ("zip", zipped({"/etc/1.png": png()}), r"the member '/etc/1\.png' lies outside"),
    "drive": ("zip", zipped({"C:\\1.png": png()}), r"the member 'C:/1\.png' lies outside"),
    "tar leads out": ("tar", tarred({"../1.png": png()}), r"the member '\.\./1\.png' lies outside"),
    "tar absolute": ("tgz", gzip.compress(tarred({"/1.png": png()})), r"the member '/1\.png' lies outside"),
    "link": ("zip", zipped({link("1.png"): b"/etc/passwd"}), r"1\.png: is a link"),
    "pipe": ("zip", zipped({link("1.png", stat.S_IFIFO): b""}), r"1\.png: is a device or pipe"),
    "tar link": (
        "tar",
        tarred({entry("1.png", type=tarfile.SYMTYPE, linkname="/etc/passwd"): b""}),
        r"1\.png: is a li",
    ),
    "hard link": ("tar", tarred({entry("1.png", type=tarfile.LNKTYPE, linkname="0.png"): b""}), r"1\.png: is a link"),
    "device": ("tar", tarred({entry("1.png", type=tarfile.CHRTYPE): b""}), r"1\.png: is a device"),
    "encrypted": ("zip", encrypted({"1.png": png()}), r"1\.png: is encrypted"),
    "bzip2": (
        "zip",
        zipped({"1.png": png()}, zipfile.ZIP_BZIP2),
        r"1\.png: is packed by method 12; pack it by Deflate",
    ),
    "twice": ("zip", twice(), r"1\.png: is there twice"),
    "line break": ("zip", zipped({"a\nb.png": png()}), r"the member 'a\\nb\.png' holds a line break"),
    "no UTF-8": ("tar", tarred({entry("\udcff.png"): png()}), r"the member '\\udcff\.png' is not a UTF-8 name"),
    "too deep": ("zip", nested(4), r"2\.zip/1\.zip/0\.zip: archives lie in each other deeper than 3"),
    "no zip": ("zip", b"words", "damaged"),
    "no tar": ("tar", b"words" * 200, "damaged"),
    "zip as tar": ("tar", zipped({"1.png": png()}), "damaged"),
    "empty file": ("tar.gz", b"", "damaged"),
    "cut zip": ("zip", zipped({"1.png": png()})[:-9], "damaged"),
    "cut gzip": ("tgz", gzip.compress(tarred({"1.png": png()}))[:-9], "damaged"),
    "cut xz": ("tar.xz", lzma.compress(tarred({"1.png": png()}))[:-9], "damaged"),
    "cut between members": ("tar", tarred({"1.png": png(), "2.png": png()})[:1024], "damaged .*ends too early"),
    "header": ("tar", tarred({"1.png": png(), "2.png": png()})[:1024].ljust(4096, b"x"), "damaged .*a header that"),
    "negative": ("tar", negative(), "damaged .*a size below 0"),
    "picture": ("zip", zipped({"1.png": png()[:-9]}), r"a\.zip/1\.png: the PNG file is cut off"),
    "in it": ("zip", zipped({"a.tar": b"words"}), r"a\.zip/a\.tar: damaged"),
    "no name": ("tar", tarred({"": png(), "1.png": png(1)}), r"a\.tar: damaged \(a member without a name\)"),
    "no name in a zip": ("zip", nameless(), r"a\.zip: damaged \(a member without a name\)"),
    "nothing": ("zip", zipped({}), "no slice there"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_not_read_is_named_and_leaves_nothing(tmp_path, name):
    kind, packed, said = BAD[name]
    (tmp_path / f"a.{kind}").write_bytes(packed)
    with pytest.raises(UserError, match=said) as caught:
        folders.convert(tmp_path / f"a.{kind}", tmp_path / "out", RULE)
    assert f"{tmp_path / 'a'}.{kind}" in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == [f"a.{kind}"]


def test_an_archive_in_the_folder_stops_it_all(tmp_path):
    unpacked(tmp_path / "in", {"a/1.png": png(), "b.zip": zipped({"../x.png": png()})})
    with pytest.raises(UserError, match=r"in/b\.zip: the member '\.\./x\.png' lies outside"):
        folders.convert(tmp_path / "in", tmp_path / "out", RULE)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_depth_three_is_read(tmp_path):
    (tmp_path / "a.zip").write_bytes(nested(3))
    assert convert(tmp_path / "a.zip", tmp_path / "out")[1][0]["source"] == "a.zip/1.zip/0.zip/1.png"


def lying(files, size):
    """A zip whose directory and headers declare `size` bytes of the first member."""
    packed = bytearray(zipped(files))
    for mark, at in ((b"PK\3\4", 22), (b"PK\1\2", 24)):
        start = packed.index(mark) + at
        packed[start : start + 4] = size.to_bytes(4, "little")
    return bytes(packed)


BOMB = bytes(1 << 20)


@pytest.mark.parametrize(
    ("kind", "packed", "said"),
    [
        ("zip", zipped({"1.npy": BOMB}), r"1\.npy: declares 1048576 bytes, more than any file"),
        ("tar", tarred({"1.npy": BOMB}), r"1\.npy: declares 1048576 bytes, more than any file"),
        ("zip", lying({"1.npy": BOMB}, 1000), r"1\.npy: damaged"),
        ("zip", lying({"1.npy": b"words"}, 1000), r"1\.npy: damaged: 5 bytes where 1000 are declared"),
        ("zip", zipped({f"{i}.npy": BOMB[:60_000] for i in range(9)}), r"with it more than 300000 bytes come out"),
        ("tgz", gzip.compress(tarred({"1.npy": BOMB})), r"a\.tgz: unpacks to more than 300000 bytes"),
        ("tar.xz", lzma.compress(tarred({"1.npy": BOMB})), r"a\.tar\.xz: unpacks to more than 300000 bytes"),
        ("zip", zipped({"b.zip": zipped({"1.npy": BOMB})}), r"b\.zip/1\.npy: declares 1048576 bytes"),
        ("zip", zipped({"b.tgz": gzip.compress(tarred({"1.npy": BOMB}))}), r"b\.tgz: unpacks to more than"),
        ("zip", zipped({"b.zip": BOMB[:300_001]}), r"b\.zip: declares 300001 bytes"),
        ("zip", zipped({f"{i}.txt": b"" for i in range(21)}), "more than 20 members"),
        ("tar", tarred({f"{i}.txt": b"" for i in range(21)}), "more than 20 members"),
        (
            "zip",
            zipped({f"{i}.zip": zipped({f"{k}.txt": b"" for k in range(9)}) for i in range(3)}),
            "more than 20 mem",
        ),
    ],
)
def test_what_would_fill_memory_or_disk_is_refused(tmp_path, monkeypatch, kind, packed, said):
    """The limits are lower here, so that the bombs are small."""
    monkeypatch.setattr(archives, "MOST_BYTES", 100_000)
    monkeypatch.setattr(archives, "MOST_IN_ALL", 300_000)
    monkeypatch.setattr(archives, "MOST_MEMBERS", 20)
    (tmp_path / f"a.{kind}").write_bytes(packed)
    with pytest.raises(UserError, match=said):
        folders.convert(tmp_path / f"a.{kind}", tmp_path / "out", RULE)
    assert [path.name for path in tmp_path.iterdir()] == [f"a.{kind}"]


def test_a_directory_of_names_is_not_read_without_measure(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "_AT_ONCE", 2_000)
    (tmp_path / "a.zip").write_bytes(zipped({f"{i}.txt": b"" for i in range(99)}))
    with pytest.raises(UserError, match="its directory is too large"):
        folders.convert(tmp_path / "a.zip", tmp_path / "out", RULE)


def test_a_temporary_file_on_disk_gives_the_same_and_goes(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "_IN_MEMORY", 10)
    (tmp_path / "a.zip").write_bytes(zipped({"b.tgz": gzip.compress(tarred({"1.png": png()}))}))
    convert(tmp_path / "a.zip", tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip", "out"]


def test_a_source_that_is_none(tmp_path):
    with pytest.raises(UserError, match=r"--source=.*nothing: no such folder or archive"):
        folders.convert(tmp_path / "nothing", tmp_path / "out", RULE)
    (tmp_path / "a.dcm").write_bytes(b"")
    with pytest.raises(UserError, match=r"a\.dcm: name a folder or an archive \(\.zip, \.tar, "):
        folders.convert(tmp_path / "a.dcm", tmp_path / "out", RULE)


@pytest.mark.parametrize("kind", ["zip", "tar", "tgz", "tar.xz", "nested"])
def test_mutated_archives_are_read_right_or_refused(tmp_path, kind):
    """No traceback, no other slice, and no slice lost in silence, whatever bytes are changed or cut off."""
    files = {f"candidates/{i}.png": png(i) for i in range(3)} | {"generated/0.png": png(9)}
    packed = (
        zipped({"inner.tgz": PACKED["TGZ"](files)})
        if kind == "nested"
        else PACKED[{"tgz": "TGZ"}.get(kind, kind)](files)
    )
    path: Path = tmp_path / ("a.zip" if kind == "nested" else f"a.{kind}")
    path.write_bytes(packed)
    wanted, _ = convert(path, tmp_path / "whole")
    rng, refused = np.random.default_rng(0), 0
    for turn in range(50):
        changed = bytearray(packed)
        for at in rng.integers(0, len(changed), rng.integers(1, 4)):
            changed[at] = rng.integers(0, 256)
        if turn % 4 == 0:
            changed = changed[: rng.integers(1, len(changed))]
        path.write_bytes(changed)
        to = tmp_path / f"out{turn}"
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                folders.convert(path, to, RULE)
                assert content(to) == wanted
            except UserError as error:
                refused += 1
                assert str(path) in str(error)  # noqa: PT017
                assert not to.exists()
    assert refused > 12

"""Inputs that chance has changed: each is read right or refused by one line, soon, in little memory, leaving nothing.

`make test-slow` feeds 2,000 of them, `make test` some, `PYTHONPATH=. python tests/test_fuzz.py 20000` any number.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import re
import shutil
import signal
import sys
import tarfile
import tempfile
import time
import warnings
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import mutations
import numpy as np
import plain_readers
import pytest
from absl import logging
from PIL import Image
from tiny_run import fails

from attack.evidence.attack_data import AttackData
from attack.evidence.embeddings import supplied
from shadow import keys
from shadow.convert import folder as folders
from shadow.convert.values import Rule
from shadow.data import groups, manifest
from shadow.errors import UserError

for _package in ("pydicom", "nibabel", "openjpeg"):
    pytest.importorskip(_package)

RULE = Rule(plain_readers.WINDOW, "pad", "luminance", "salt")
ARCHIVES = ("a.zip", "a.tar", "a.tar.gz")
MOST_SECONDS = 5.0  # of a processor, for one input
MOST_BYTES = 1 << 30
# what a message tells to do about it
REMEDY = re.compile(
    r"\b(again|anew|export|save|write|rename|remove|restore|unpack|pack|mend|makes?|say which|needs? a package|"
    r"pip install|move|give|add|put|flatten|use|name a)\b"
)


class TooLong(BaseException):
    """Not an Exception: a reader that takes all of those for damage must not take this for one."""


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """Ends what takes too long, of the processor's time: a machine that others use is no failure."""

    def stop(*_: object) -> None:
        raise TooLong(f"more than {MOST_SECONDS} s")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, MOST_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def peak_bytes(anew: bool = False) -> int:
    """Most bytes that the process ever held, on Linux; 0 elsewhere. anew: forgets what it held before."""
    with contextlib.suppress(OSError):
        if anew:
            Path("/proc/self/clear_refs").write_text("5")
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) << 10
    return 0


def check(name: str, content: bytes, sound: dict[str, bytes], root: Path) -> str:
    """Feeds one input to all that reads its kind; returns the messages of those that refused it, or ''."""
    said = [_convert(name, content, sound, root)] if name not in ("patients.csv", "vectors.npz") else []
    if name == "patients.csv":
        said.append(_patients(content, root))
    if name == "vectors.npz":
        said.append(_vectors(content, root))
    if name.endswith(".png"):
        said.append(_index(content, sound[name], root))
    return "\n".join(filter(None, said))


def _refusal(error: UserError, path: Path) -> str:
    text = str(error)
    assert str(path) in text, text
    assert "\n" not in text
    assert REMEDY.search(text.replace(str(path), "")), text
    return text.replace(str(path.parent), "")


def _convert(name: str, content: bytes, sound: dict[str, bytes], root: Path) -> str:
    source = root / "in"
    source.mkdir()
    (source / name).write_bytes(content)
    try:
        folders.convert(source, root / "out", RULE)
    except UserError as error:
        assert [path.name for path in root.iterdir()] == ["in"]
        no_slice = "no slice there" in str(error)
        return _refusal(error, source if no_slice else source / name)
    made = root / "out"
    with (made / "conversions.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {path.relative_to(made).as_posix() for path in made.rglob("*.png")} == {row["file"] for row in rows}
    found: dict[str, list[np.ndarray]] = {}
    for row in rows:
        picture = np.array(Image.open(made / row["file"]))
        assert picture.dtype == np.uint8
        assert picture.ndim == 2
        assert picture.shape[0] == picture.shape[1]
        found.setdefault(row["source"], []).append(picture)
    left = made / "left_out.csv"
    left_out = {row["source"] for row in csv.DictReader(left.open(newline=""))} if left.exists() else set()
    wanted = {f"{name}/{inner}": data for inner, data in _members(name, content).items()} or {name: content}
    assert found.keys() | left_out == wanted.keys()
    for source_name, data in wanted.items():
        truth = _truth(source_name, data, sound) if source_name not in left_out else None
        if truth is not None:
            np.testing.assert_array_equal(np.stack(found[source_name]), truth, err_msg=source_name)
    return ""


def _members(name: str, content: bytes) -> dict[str, bytes]:
    """Files of an archive, by the names that `convert` gives them."""
    if name == "a.zip":
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            found = {entry: archive.read(entry) for entry in archive.namelist() if not entry.endswith("/")}
    elif name.startswith("a.tar"):
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            found = {entry.name: archive.extractfile(entry).read() for entry in archive if entry.isreg()}
    else:
        return {}
    parts = {tuple(p for p in entry.replace("\\", "/").split("/") if p not in ("", ".")): entry for entry in found}
    return {
        "/".join(place): found[entry] for place, entry in parts.items() if not any(p.startswith(".") for p in place)
    }


def _truth(name: str, content: bytes, sound: dict[str, bytes]) -> np.ndarray | None:
    """What the file really says, where a plain reader can tell."""
    if content.startswith(b"\x89PNG"):
        return plain_readers.of_png(content)
    if name == "a.npy":
        return plain_readers.of_array(content)
    if name == "a.npz":
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            (inner,) = [entry for entry in archive.namelist() if entry.endswith(".npy")]
            return plain_readers.of_array(archive.read(inner))
    if name in ("a.dcm", "frames.dcm"):
        return plain_readers.of_dicom(content)
    if name in ("a.nii", "a.nii.gz"):
        content = gzip.decompress(content) if name == "a.nii.gz" else content
        return plain_readers.of_nifti(content, sound["a.nii"])
    return None


def _index(content: bytes, sound: bytes, root: Path) -> str:
    """As `plan` and all stages read a folder: found, decoded, hashed, and read again."""
    data, names = root / "data", {"candidates": 2, "not_used": 2, "generated": 2}
    for role, count in names.items():
        (data / role).mkdir(parents=True)
        for i in range(count):
            gray = keys.generator(1, role, i).integers(0, 256, (mutations.SIDE,) * 2, np.uint8)
            (data / role / f"{role} {i}.png").write_bytes(mutations.png(gray))
    path = data / "candidates/candidates 0.png"
    path.write_bytes(content)
    try:
        found = manifest.build(data, "own", None, 0.5)
        images = found.images("unknown")
    except UserError as error:
        return _refusal(error, path if str(path) in str(error) else data / "candidates/candidates 1.png")
    truth = plain_readers.of_png(content)
    if truth is not None:
        np.testing.assert_array_equal(images[:1], truth)
    return ""


def _patients(content: bytes, root: Path) -> str:
    path = root / "patients.csv"
    path.write_bytes(content)
    names = [f"slice {i}, ä" for i in range(6)]
    try:
        found = groups.patients_from_csv(path, names)
    except UserError as error:
        return _refusal(error, path)
    assert list(found) == names
    assert all(found.values())
    return ""


def _vectors(content: bytes, root: Path) -> str:
    path = root / "vectors.npz"
    path.write_bytes(content)
    images = np.zeros((4, 8, 8), np.float32)
    try:
        found = supplied.read(path, AttackData(images, tuple("abcd"), tuple("abcd"), 3, ()))
    except UserError as error:
        return _refusal(error, path)
    assert found.real.shape == (4, 3)
    assert np.isfinite(found.real).all()
    return ""


@dataclass(frozen=True)
class Found:
    """What became of many inputs. refused: how many of each kind; wrong: what went wrong, by input; peak: bytes that
    they took at most."""

    refused: Counter[str]
    wrong: tuple[str, ...]
    peak: int


def run(count: int, folder: Path) -> Found:
    """Feeds `count` inputs, kind after kind. What went wrong stays in the folder `wrong`."""
    sound = mutations.sound(folder / "sound")
    vectors = keys.generator(2, "vectors").normal(size=(4, 3)).astype(np.float32)
    sound["vectors.npz"] = mutations.npz(id=np.array(list("abcd")), vector=vectors)
    (folder / "wrong").mkdir()
    refused: Counter[str] = Counter()
    wrong = []
    start = peak_bytes(anew=True)
    for i in range(count):
        name, step = list(sound)[i % len(sound)], i // len(sound)
        content = mutations.mutated(name, sound[name], step)
        (folder / "one").mkdir()
        try:
            with bounded(), warnings.catch_warnings(record=True) as warned:  # not as errors, which might be caught
                warnings.simplefilter("always")
                refused[name] += bool(check(name, content, sound, folder / "one"))
            assert not warned, warned[0].message
        except (Exception, TooLong) as error:
            wrong.append(f"{name}, step {step}: {type(error).__name__}: {error}")
            (folder / "wrong" / f"{step} {name}").write_bytes(content)
        shutil.rmtree(folder / "one")
    return Found(refused, tuple(wrong), peak_bytes() - start)


@pytest.mark.parametrize("count", [204, pytest.param(2000, marks=pytest.mark.slow)])
def test_changed_inputs_are_read_right_or_refused(tmp_path, capfd, count):
    with quiet():
        found = run(count, tmp_path)
    assert found.wrong == ()
    assert found.peak < MOST_BYTES
    assert min(found.refused.values()) > 3  # they are changed in earnest
    assert found.refused.total() < 0.95 * count  # and some can still be read
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_the_command_says_so_in_one_line(tmp_path, launch):
    sound = mutations.sound(tmp_path / "sound")
    (tmp_path / "in").mkdir()
    for name in sorted(sound.keys() - {"patients.csv"}):
        path, step, refused = tmp_path / "in" / name, 0, False
        while not refused:
            path.write_bytes(mutations.mutated(name, sound[name], step))
            try:
                folders.convert(tmp_path / "in", tmp_path / f"{name} {step}", RULE)
            except UserError:
                refused = True
            step += 1
        result = launch("convert", f"--source={tmp_path / 'in'}", f"--to={tmp_path / 'out'}", "--window=-1350,150")
        assert str(path) in fails(result)
        assert not [made for made in tmp_path.iterdir() if made.name.lstrip(".").startswith("out")]
        path.unlink()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without our own warnings of what is left out."""
    before = logging.get_verbosity()
    logging.set_verbosity(logging.FATAL)
    yield
    logging.set_verbosity(before)


if __name__ == "__main__":
    with quiet(), tempfile.TemporaryDirectory() as _folder:
        _found = run(int(sys.argv[1]), Path(_folder))
    print(*_found.wrong, _found.refused, f"{_found.peak >> 20} MiB more, {time.process_time():.0f} s", sep="\n")

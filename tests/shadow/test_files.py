"""Whole files or none."""

import csv
import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest

from shadow import files


def test_replacing_makes_folders_and_leaves_no_part(tmp_path):
    path = tmp_path / "a" / "b" / "x.txt"
    files.write_text(path, "é\n")
    assert path.read_bytes() == "é\n".encode()
    assert os.listdir(path.parent) == ["x.txt"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_replacing_keeps_the_old_file_on_an_exception(tmp_path, error):
    path = tmp_path / "x.txt"
    path.write_text("old")
    with pytest.raises(error), files.replacing(path) as part:  # noqa: PT012
        part.write_text("half of the n")
        raise error
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["x.txt"]


def test_replacing_keeps_the_old_file_while_the_new_one_is_written(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text("old")
    with files.replacing(path) as part:
        part.write_text("new")
        assert path.read_text() == "old"
        assert part.parent == tmp_path  # the same file system: the rename is one step
    assert path.read_text() == "new"


def test_the_part_of_a_killed_process_is_overwritten(tmp_path):
    (tmp_path / ".x.txt.part").write_text("left behind by a kill, and longer")
    files.write_text(tmp_path / "x.txt", "new")
    assert (tmp_path / "x.txt").read_text() == "new"
    assert os.listdir(tmp_path) == ["x.txt"]


class _Full:
    """A stream on a full disk: a few bytes, then ENOSPC."""

    def __init__(self, stream):
        self._stream = stream

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._stream.close()

    def write(self, content):
        self._stream.write(bytes(content)[:3])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    ("write", "content"),
    [
        (files.write_bytes, b"new content"),
        (files.write_text, "new content"),
        (files.write_json, {"new": 1}),
        (files.write_array, np.zeros((64, 64))),
        (lambda path, rows: files.write_csv(path, ("a",), rows), [(1,), (2,)]),
    ],
)
def test_a_full_disk_keeps_the_old_file_and_says_that_it_is_full(tmp_path, monkeypatch, write, content):
    path = tmp_path / "x"
    path.write_text("old")
    opened = Path.open
    monkeypatch.setattr(Path, "open", lambda self, mode="r", *a, **k: _Full(opened(self, mode, *a, **k)))
    with pytest.raises(OSError, match="space") as caught:
        write(path, content)
    monkeypatch.undo()
    assert caught.value.errno == errno.ENOSPC
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["x"]


@pytest.mark.parametrize("value", [float("nan"), {"a": [float("inf")]}])
def test_json_without_nan(tmp_path, value):
    path = tmp_path / "x.json"
    files.write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(path, value)
    assert json.loads(path.read_text()) == {"a": 1}
    assert path.read_text().endswith("}\n")


def test_csv_is_quoted_and_has_plain_line_ends(tmp_path):
    rows = [("a,b", 'c"d'), ("ü", "two\nlines")]
    files.write_csv(tmp_path / "x.csv", ("one", "two"), rows)
    content = (tmp_path / "x.csv").read_bytes()
    assert b"\r" not in content
    assert content.startswith(b"one,two\n")
    read = list(csv.reader(content.decode().splitlines(keepends=True)))
    assert read == [["one", "two"], *map(list, rows)]


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, bool])
def test_array_round_trip(tmp_path, dtype):
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    files.write_array(tmp_path / "x.npy", array)
    read = np.load(tmp_path / "x.npy", allow_pickle=False)
    assert read.dtype == dtype
    assert np.array_equal(read, array)


def test_array_is_never_pickled(tmp_path):
    with pytest.raises(ValueError, match="allow_pickle"):
        files.write_array(tmp_path / "x.npy", np.array([{}, None], object))
    assert os.listdir(tmp_path) == []

"""One lister for all folders: what computers leave behind is passed over, and no image is."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from shadow.config import ChallengeConfig
from shadow.data import editions, listing, pool
from shadow.errors import UserError

JUNK_FILES = (
    "desktop.ini",
    "Desktop.INI",
    "Icon\r",
    "ehthumbs.db",
    "Thumbs.db",
    ".DS_Store",
    "._0.png",
    ".0.png.icloud",
)
JUNK_FOLDERS = (
    "@eaDir",
    "$RECYCLE.BIN",
    "lost+found",
    "System Volume Information",
    ".ipynb_checkpoints",
    ".Trash-1000",
)


def slices(folder: Path, names) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        pixels = np.frombuffer(str(folder / name).encode().ljust(64)[-64:], np.uint8).reshape(8, 8)
        Image.fromarray(pixels).save(folder / name, format="PNG")


def litter(folder: Path) -> None:
    """Also copies of slices, as a recycle bin or a notebook keeps them."""
    for name in JUNK_FILES:
        (folder / name).write_bytes(b"no picture")
    for name in JUNK_FOLDERS:
        slices(folder / name, ["0.png"])
    slices(folder / "__MACOSX", ["0.png"])


@pytest.fixture
def logged(monkeypatch):
    lines = []
    monkeypatch.setattr(pool.logging, "warning", lambda text, *values: lines.append(text % values))
    return lines


def test_junk_is_passed_over_in_role_folders_and_beside_them(tmp_path):
    for name in ("generated", "candidates", "not_used"):
        slices(tmp_path / name, ["0.png", "1.PNG"])
        litter(tmp_path / name)
    litter(tmp_path)
    found = editions.find_roles(tmp_path, "own")
    assert {name: [path.name for path in editions.images_in(folder)] for name, folder in found.items()} == {
        name: ["0.png", "1.PNG"] for name in ("generated_test", "not_used", "unknown")
    }


def test_junk_is_not_even_looked_at(tmp_path, monkeypatch):
    """`lost+found` is closed to everybody but root, and so may be what a link in a recycle bin leads to."""
    slices(tmp_path, ["0.png"])
    litter(tmp_path)
    scandir = os.scandir

    class Closed:
        def __init__(self, entry):
            self.name, self.entry = entry.name, entry

        def is_dir(self):
            if listing.is_junk(self.name):
                raise PermissionError(13, "Permission denied", self.name)
            return self.entry.is_dir()

    class Scan:
        def __init__(self, path):
            assert not listing.is_junk(Path(path).name)
            self.path = path

        def __enter__(self):
            with scandir(self.path) as entries:
                return [Closed(entry) for entry in entries]

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(os, "scandir", Scan)
    assert listing.below(tmp_path, ".png") == ([tmp_path / "0.png"], [])


def test_a_pool_takes_every_slice_and_no_junk(tmp_path, logged):
    root = tmp_path / "pool"
    slices(root / "a", ["s10.png", "s2.PNG", "s1.Png"])
    slices(tmp_path / "elsewhere", ["s3.png"])
    (root / "b").symlink_to(tmp_path / "elsewhere")
    (root / "a" / "loop").symlink_to(root)
    litter(root)
    litter(root / "a")
    slices(root / "sealed", ["s4.png"])
    found = pool.folder_pool(ChallengeConfig(pool=str(root)))
    assert found.names == ["a/s1.Png", "a/s2.PNG", "a/s10.png", "b/s3.png"]
    assert logged == []


def test_a_pool_says_what_it_passes_over(tmp_path, logged):
    slices(tmp_path, ["1.png"])
    for name in ("2.jpg", "3.dcm", "notes.txt"):
        (tmp_path / name).touch()
    assert pool.folder_pool(ChallengeConfig(pool=str(tmp_path))).names == ["1.png"]
    (line,) = logged
    assert str(tmp_path / "2.jpg") in line
    assert "3 files" in line


@pytest.mark.parametrize("name", ["a\nb.png", "a\tb.png", "a\x85b.png", "a\u2028b.png", "a\x7f.png"])
def test_names_with_control_characters_are_refused(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(UserError, match="control character; rename it"):
        editions.images_in(tmp_path)


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.integers(0, 99_999), unique=True),
    st.sampled_from(["generated_{}", "generated_{:04}", "{:05}"]),
)
def test_natural_order_is_the_order_of_numbers(numbers, pattern):
    names = sorted((pattern.format(number) + ".png" for number in numbers), key=listing.natural_key)
    assert names == [pattern.format(number) + ".png" for number in sorted(numbers)]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.text(max_size=20), unique=True), st.randoms())
def test_natural_order_is_total(names, random):
    shuffled = random.sample(names, len(names))
    assert sorted(shuffled, key=listing.natural_key) == sorted(names, key=listing.natural_key)

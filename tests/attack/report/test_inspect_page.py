"""The page of `launch.py inspect`: what it shows of a folder, and what it never shows."""

from __future__ import annotations

import re

import numpy as np
import pytest
from html_page import Page
from PIL import Image

from attack.report.inspecting import command, looks, page
from shadow.config import Config
from shadow.data import inspection
from shadow.errors import UserError

HOSTILE = "a<b>&'$x$"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder of edition `own`: a pile of another brightness, and one candidate that is a slice not used."""
    folder, rng = tmp_path_factory.mktemp("secret-place") / "data", np.random.default_rng(0)
    for role, count, low in (("generated", 6, 90), ("candidates", 4, 0), ("not_used", 5, 0)):
        (folder / role).mkdir(parents=True)
        for i in range(count):
            Image.fromarray(rng.integers(low, 256, (16, 16), np.uint8)).save(folder / role / f"{role}{i}{HOSTILE}.png")
    (folder / f"candidates/candidates0{HOSTILE}.png").write_bytes(
        (folder / f"not_used/not_used0{HOSTILE}.png").read_bytes()
    )
    return folder


@pytest.fixture(scope="module")
def facts(root):
    return inspection.inspect(config(root).data, None)


def config(root, gallery="auto"):
    made = Config()
    made.data.root, made.report.gallery = str(root), gallery
    return made


def test_the_page_says_what_the_table_says(facts):
    text = page.render(facts, pictures=False)
    parsed = Page(text)
    for words in ("edition own", "6 generated test", "4 unknown", "5 not used", "Look at the notes", "near-duplicates"):
        assert words in parsed.text
    for line in facts.warnings:
        assert line in parsed.text
    assert "mean gray value 17" in parsed.text
    assert "not_used and unknown share a picture" in parsed.text
    rows = re.findall(r"<tr><th scope=\"row\">(.*?)</th>(.*?)</tr>", text)
    cells = {name: re.findall(r"<td>(.*?)</td>", rest) for name, rest in rows[:3]}
    assert cells["unknown"] == ["candidates", "4", "any", "16 x 16", "L"]
    shared = {name: re.findall(r"<td>(.*?)</td>", rest) for name, rest in rows[6:9]}
    assert shared["not_used"] == ["–", "–", "1"]
    groups = {name: re.findall(r"<td>(.*?)</td>", rest) for name, rest in rows[9:]}
    assert groups["unknown"] == ["4", "1", "1", "3 (75 %)", "1 (25 %)", "–"]


def test_the_page_stands_alone_names_no_machine_and_escapes_names(facts, root):
    text = page.render(facts, pictures=False)
    parsed = Page(text)
    assert str(root) not in text
    assert "secret-place" not in text
    assert HOSTILE in parsed.text
    assert not {"script", "link", "iframe", "img", "b>"} & {tag for tag, _ in parsed.tags}
    assert "http" not in re.sub(r"http-equiv", "", text)
    assert text == page.render(facts, pictures=False)
    figures = [attributes for tag, attributes in parsed.tags if tag == "svg"]
    assert len(figures) == 4
    assert all(one["role"] == "img" and one["aria-label"] for one in figures)


def test_pictures_are_shown_only_where_the_gallery_allows(facts, root, tmp_path):
    shown = Page(page.render(facts, pictures=True))
    sheets = [attributes for tag, attributes in shown.tags if tag == "img"]
    assert [one["alt"] for one in sheets] == [
        f"images of the role {r}" for r in ("generated test", "not used", "unknown")
    ]
    for gallery, private, allowed in (
        ("auto", True, False),
        ("auto", False, True),
        ("true", True, True),
        ("false", False, False),
    ):
        assert page.shows_pictures(config(root, gallery), private) is allowed
    made = config("", "auto")
    made.challenge.pool = "/some/slices"
    assert not page.shows_pictures(made, private=False)


def test_a_folder_that_a_run_refuses_says_so(root, tmp_path):
    for role in ("generated", "candidates", "reference"):
        (tmp_path / role).mkdir()
        for i, file in enumerate(sorted((root / "generated").iterdir())):
            gray = np.array(Image.open(file)) // (2 if role == "generated" else 1)
            Image.fromarray(gray).save(tmp_path / role / f"{role[0]}{i}.png")
    text = Page(page.render(inspection.inspect(config(tmp_path).data, None), pictures=False)).text
    assert "A run would refuse it" in text
    assert "a run refuses this folder: reference/r0.png and candidates/c0.png are the same picture" in text
    assert "(and 5 more such pictures)" in text


def test_the_command_writes_where_it_is_told(root, tmp_path, monkeypatch):
    said = command.inspect(config(root), {}, None, tmp_path / "new/a.html")
    assert said.startswith(f"{root}: edition own")
    assert said.endswith(f"\n\n{tmp_path / 'new/a.html'}")
    command.inspect(config(root), {}, tmp_path / "run", None)
    assert (tmp_path / "run/inspect.html").read_bytes() == (tmp_path / "new/a.html").read_bytes()
    monkeypatch.chdir(tmp_path)
    assert command.inspect(config(root), {}, None, None).endswith("\n\ninspect.html")
    with pytest.raises(UserError, match=r"--out=.*new is a folder: name the file to write"):
        command.inspect(config(root), {}, None, tmp_path / "new")


def test_the_edition_is_found_unless_it_is_given_and_a_run_s_challenge_is_looked_at(root, tmp_path):
    with pytest.raises(UserError, match=r"data\.root is missing"):
        command.inspect(config(""), {}, tmp_path, None)
    with pytest.raises(UserError, match="role generated_test: edition 2023"):
        command.inspect(config(root), {"data.edition": "2023"}, tmp_path, None)
    (tmp_path / "challenge").symlink_to(root)
    assert "edition own" in command.inspect(config(""), {}, tmp_path, None)
    assert "<img" in (tmp_path / "inspect.html").read_text()  # the challenge of phantoms that a run makes
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="role generated_test: edition 2023"):
        command.inspect(config(""), {}, tmp_path, None)


def test_gray_values_and_spectra_are_those_of_the_definition(facts, root):
    one = looks.look(facts.found, "unknown")
    images = np.stack([np.array(Image.open(path)) for path in sorted((root / "candidates").iterdir())])
    for place in range(0, 256, looks.BIN):
        inside = (images >= max(1, place)) & (images < place + looks.BIN)
        assert one.gray[place // looks.BIN] == pytest.approx(100 * inside.sum() / (images > 0).sum())
    both = looks.together("both", [one, looks.look(facts.found, "not_used")])
    assert both.images == 9
    assert both.gray.sum() == pytest.approx(100)


def test_a_picture_has_the_same_spectrum_at_every_size(tmp_path):
    """A wave of three cycles an image, at 16 and at 64 pixels."""
    found = []
    for side in (16, 64):
        root = tmp_path / str(side)
        wave = 128 + 100 * np.cos(6 * np.pi * np.arange(side) / side)
        for role in ("generated", "candidates", "not_used"):
            (root / role).mkdir(parents=True)
            gray = np.roll(np.tile(wave, (side, 1)), len(role), 1).round().astype(np.uint8)
            Image.fromarray(gray).save(root / role / f"{role}.png")
        found.append(looks.look(inspection.inspect(config(root).data, "own").found, "unknown"))
    assert found[0].spectrum.argmax() == found[1].spectrum.argmax() == 2
    rings = [sum(np.hypot(*np.meshgrid(a, a)).round().ravel() == 3) for a in (np.fft.fftfreq(s) * s for s in (16, 64))]
    assert rings[0] == rings[1]
    assert found[0].spectrum[2] == pytest.approx(found[1].spectrum[2], abs=0.02)

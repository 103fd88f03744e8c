"""Whose data, from folders to the page, through the real `launch.py`."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest
from html_page import Page
from PIL import Image
from tiny_run import fails, leftovers, snapshot

SUBSETS = ("--config.data.edition=2025-2", "--config.attack.same_generator=auto")
FLEET = ("--config.fleet.shadows=6", "--config.membership.block=2", "--config.fleet.pack=3")
CHALLENGE = (
    *("--config.challenge.subsets=3", "--config.challenge.subset_slices=6"),
    *("--config.challenge.dev_generated=8", "--config.challenge.test_generated=8"),
)


def rows_of(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def check(folder, names, piles):
    """What a run left, whatever it found: every image once, rows that sum to one, piles, a submission, a page."""
    stated = rows_of(folder / "predictions.csv")
    columns = [f"probability_{name}" for name in (*names, "none")]
    assert list(stated[0]) == ["id", "pile", "subset", *columns]
    for row in stated:
        values = [float(row[column]) for column in columns]
        assert sum(values) == pytest.approx(1, abs=1e-5)
        assert row["subset"] == (*names, "none")[int(np.argmax(values))]
    assert sorted({row["pile"] for row in stated}) == sorted(piles)
    found = rows_of(folder / "piles.csv")
    assert [(row["pile"], row["subset"]) for row in found] == [(p, s) for p in piles for s in (*names, "none")]
    for pile in piles:
        mine = [row for row in found if row["pile"] == pile]
        for figure in ("share", "probability"):
            assert sum(float(row[figure]) for row in mine) == pytest.approx(1, abs=1e-4)
            for row in mine:
                low, value, high = (float(row[f"{figure}{end}"]) for end in ("_low", "", "_high"))
                assert 0 <= low <= value <= high <= 1
    assert leftovers(folder) == []
    page = (folder / "report.html").read_text()
    assert Page(page).open == []
    return stated, json.loads((folder / "attack/attribution.json").read_text()), page


@pytest.mark.slow
def test_a_challenge_of_three_generators_from_start_to_report(tiny, launch, tmp_path):
    folder = tmp_path / "run"
    result = tiny("run", folder, *SUBSETS, *FLEET, *CHALLENGE)
    assert result.returncode == 0, result.stderr
    stated, found, page = check(folder, ("t1", "t2", "t3"), ["generated_unknown"])
    assert "labelled generated images" in result.stdout
    assert found["labelled"]["images"] == 24
    assert found["labelled"]["generators"] == 3
    assert found["held_out"]["images"] == 120
    assert [one["slices"] for one in found["subsets"]] == [6, 6, 6]
    member = np.load(folder / "membership.npy")
    assert member.sum(1).tolist() == [6] * 6
    assert "How right was it?" in page

    truth = {row["id"]: row["subset"] for row in rows_of(folder / "challenge/sealed/truth.csv")}
    assert truth.keys() == {row["id"] for row in stated}
    right = sum(truth[row["id"]] == row["subset"] for row in stated)
    assert f"Of 24 images {right} were put right" in page

    lines = (folder / "submission.csv").read_text().splitlines()
    assert lines[0] == "image_path,predicted_class"
    for line, row in zip(lines[1:], stated, strict=True):
        values = [float(row[f"probability_{name}"]) for name in ("t1", "t2", "t3")]
        assert line == f"{row['id'].partition('/')[2]}.png,t{int(np.argmax(values)) + 1}"
    written = f"--submission={folder / 'submission.csv'}"
    assert "24 rows" in tiny("validate", folder, written, *SUBSETS, *FLEET, *CHALLENGE).stdout
    assert "24 rows" in launch("validate", written, "--edition=2025-2").stdout

    before = snapshot(folder)
    assert "nothing was changed" in tiny("run", folder, *SUBSETS, *FLEET, *CHALLENGE).stdout
    assert snapshot(folder) == before
    shutil.rmtree(folder / "challenge/sealed")
    (folder / "predictions.csv").unlink()
    assert tiny("run", folder, *SUBSETS, *FLEET, *CHALLENGE).returncode == 0
    after = snapshot(folder)
    for name in ("predictions.csv", "piles.csv", "submission.csv", "attack/attribution.json"):
        assert after[name][0] == before[name][0]
    assert "How right was it?" not in (folder / "report.html").read_text()
    assert "part of `launch.py predict`" in fails(tiny("fit", folder, *SUBSETS, *FLEET, *CHALLENGE))
    said = tiny("status", folder, *SUBSETS, *FLEET, *CHALLENGE).stdout
    assert "5 of 6" not in said
    assert "score" not in said


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two subsets of noise, a copy of one slice in the other, and two piles: one is nearly the slices of a subset."""
    root, rng = tmp_path_factory.mktemp("subsets") / "data", np.random.default_rng(0)
    slices = {name: rng.integers(0, 256, (6, 16, 16), np.uint8) for name in ("north", "south")}
    slices["south"][5] = slices["north"][5]
    piles = {"first": slices["north"][[0, 1, 2, 3, 4, 0, 1, 2]] // 2 + 60}
    piles["second"] = rng.integers(0, 256, (5, 16, 16), np.uint8)
    for folder, images in (
        *((f"real/{name}", images) for name, images in slices.items()),
        *((f"generated_unknown/{name}", images) for name, images in piles.items()),
    ):
        (root / folder).mkdir(parents=True)
        for i, image in enumerate(images):
            Image.fromarray(image).save(root / folder / f"image_{i + 1}.png")
    return root


@pytest.mark.slow
def test_piles_without_any_label_are_answered_one_by_one(tiny, data, tmp_path):
    folder = tmp_path / "run"
    asked = (*SUBSETS, f"--config.data.root={data}", "--config.fleet.shadows=4", "--config.membership.block=2")
    assert "use at least 6" in fails(tiny("run", folder, *asked))
    asked = (*SUBSETS, f"--config.data.root={data}", *FLEET)
    result = tiny("run", folder, *asked)
    assert result.returncode == 0, result.stderr
    assert "subsets north and south share 1 files" in result.stderr
    stated, found, page = check(folder, ("north", "south"), ["first", "second"])
    assert found["labelled"] is None
    assert found["shared"] == [{"first": "north", "second": "south", "same": 1, "groups": 1}]
    assert "images of shadows that were held out, and not of the target" in result.stdout
    assert "No generated image of known origin was given" in page
    of_first = [row for row in stated if row["pile"] == "first"]
    north, south = (np.array([float(row[f"probability_{name}"]) for row in of_first]) for name in ("north", "south"))
    assert (north > south).all()
    lines = (folder / "submission.csv").read_text().splitlines()
    assert lines[1].startswith("first/image_1.png,")
    assert len(lines) == 14


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (("--config.fleet.shadows=8", "--config.membership.block=2"), ""),
        (("--config.fleet.shadows=7", "--config.membership.block=2"), r"membership.block"),
        (("--config.fleet.shadows=0",), "needs shadows"),
        (("--config.membership.candidates=true",), "has no candidates"),
        (("--config.attack.none=1.0",), "attack.none = 1.0"),
    ],
)
def test_options_that_do_not_fit_are_refused_before_training(tiny, data, tmp_path, given, why):
    result = tiny("plan", tmp_path / "run", *SUBSETS, f"--config.data.root={data}", *given)
    if not why:
        assert result.returncode == 0, result.stderr
        assert "subsets: north, south; each shadow holds one subset, whole" in result.stdout
    else:
        assert why in fails(result)
        assert not (tmp_path / "run/plan.json").exists()

"""Any name of a file works from start to end, or is refused before anything is trained."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from PIL import Image

from attack.baselines.alone.run import QuickRun
from attack.decision import submission
from configs import baselines
from shadow.errors import UserError

NAMES = ("scan 3, axial", 'the "best" one', " blank ", "Mu\u0308ller", "<b>&amp;", "=1+2", "a;b", "$x_1$", "%s{0}")
IDS = ["scan 3, axial", 'the "best" one', "blank", "M\u00fcller", *NAMES[4:]]


@pytest.fixture
def own(tmp_path):
    rng = np.random.default_rng(0)
    names = {"candidates": NAMES, "not_used": [f"n{i}" for i in range(6)], "generated": ["g, 1", *"abcdefgh"]}
    for folder, stems in names.items():
        (tmp_path / "data" / folder).mkdir(parents=True)
        for stem in stems:
            pixels = rng.integers(0, 256, (16, 16), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "data" / folder / f"{stem}.png")
    return tmp_path / "data"


def settings(root, edition):
    config = baselines.get_config()
    config.data.root, config.data.edition, config.data.resolution = str(root), edition, 8
    return config


def test_any_name_of_a_candidate_works(own, tmp_path):
    run = QuickRun(tmp_path / "run", settings(own, "own"))
    run.plan()
    run.predict()
    assert (tmp_path / "run").stat().st_mode & 0o077 == 0  # of its owner alone
    for name in ("predictions.csv", "scores.csv"):
        with (tmp_path / "run" / name).open(newline="") as stream:
            assert sorted(row["id"] for row in csv.DictReader(stream)) == sorted(IDS)
    assert submission.validate(tmp_path / "run/submission.csv", "own", IDS) == len(IDS)
    assert submission.validate(tmp_path / "run/submission.csv", "own", run.candidate_ids()) == len(IDS)


def test_a_name_that_a_submission_cannot_hold_stops_the_plan(own, tmp_path):
    (own / "candidates").rename(own / "real_unknown_1")
    (own / "generated").rename(own / "generated_1")
    for folder in ("used", "generated"):
        (own / folder).mkdir()
        Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).save(own / folder / f"{folder}.png")
    with pytest.raises(UserError, match=r"scan 3, axial\.png: .* cannot hold the , in its name"):
        QuickRun(tmp_path / "run", settings(own, "2023")).plan()
    assert {path.name for path in (tmp_path / "run").iterdir()} <= {"config.json", ".lock"}

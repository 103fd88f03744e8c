"""Several test piles: a run for each with one fleet."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from PIL import Image
from tiny_run import fails, snapshot

from attack.report.inspecting import command
from shadow.config import Config
from shadow.data import manifest, mapping
from shadow.errors import UserError

OWN = ("--config.data.edition=own", "--config.attack.same_generator=false", "--config.data.piles=apart")
LAYOUT = {"generated/old [1]": 24, "generated/new": 24, "candidates": 10, "not_used": 16}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root, rng = tmp_path_factory.mktemp("piles") / "data", np.random.default_rng(0)
    for folder, count in LAYOUT.items():
        (root / folder).mkdir(parents=True)
        for i in range(count):
            Image.fromarray(rng.integers(0, 256, (16, 16), np.uint8)).save(root / folder / f"{folder[0]}{i}.png")
    return root


def test_every_pile_has_roles_of_its_own(data):
    found = mapping.apart(data, "own", ())
    assert list(found) == ["new", "old [1]"]
    for name, roles in found.items():
        images = manifest.build(data, "own", "", 0.5, roles)
        folders = {path.rpartition("/")[0] for path in images.path[images.rows("generated_test")].tolist()}
        assert folders == {f"generated/{name}"}
        assert len(images.rows("unknown")) == 10
        assert len(images.rows("not_used")) == 16


def test_globs_say_what_is_a_pile(data):
    given = ("generated_test=generated/*", "unknown=candidates", "not_used=not_*")
    found = mapping.apart(data, "own", given)
    assert found["new"] == ("generated_test=generated/new", "not_used=not_*", "unknown=candidates")
    with pytest.raises(UserError, match="is the only pile"):
        mapping.apart(data, "own", ("generated_test=generated/new", *given[1:]))


def test_each_pile_has_a_page(data, tmp_path):
    config = Config()
    config.data.root, config.data.edition, config.data.piles, config.data.resolution = str(data), "own", "apart", 16
    said = command.inspect(config, {}, None, tmp_path / "look.html")
    assert [line for line in said.splitlines() if line.startswith("pile ")] == ["pile new", "pile old [1]"]
    pages = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert sorted(pages) == ["look_new.html", "look_old [1].html"]
    assert "generated/old [1]" in pages["look_old [1].html"]
    assert "generated/old [1]" not in pages["look_new.html"]


def test_two_piles_of_one_name_are_refused(data, tmp_path):
    for folder in ("a/pile", "b/pile"):
        (tmp_path / folder).mkdir(parents=True)
    for folder in ("a/pile", "b/pile", "candidates"):
        (tmp_path / folder).mkdir(exist_ok=True)
        Image.new("L", (16, 16)).save(tmp_path / folder / "image.png")
    with pytest.raises(UserError, match="two piles have the name pile"):
        mapping.apart(tmp_path, "own", ("generated_test=*/pile", "unknown=candidates"))


def test_several_piles_are_not_thrown_together_unasked(data):
    with pytest.raises(UserError, match=r"holds several piles \(new, old \[1\]\): give --config\.data\.piles=apart"):
        manifest.build(data, "own", "", 0.5)


def rows_of(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.slow
def test_one_fleet_is_asked_about_every_pile(tiny, launch, data, tmp_path):
    folder = tmp_path / "run"
    asked = (*OWN, f"--config.data.root={data}")
    assert "the folder of your data" in fails(tiny("run", folder, *OWN))
    result = tiny("run", folder, *asked)
    assert result.returncode == 0, result.stderr
    assert "reuse: 2 packs taken" in result.stdout
    assert result.stdout.count("report: ") == 2
    first, second = folder / "piles/new", folder / "piles/old [1]"
    for name in ("membership.npy", "shadows/0003/piles/00000030.npy", "shadows/0003/result.json"):
        assert (first / name).read_bytes() == (second / name).read_bytes()
    assert (first / "predictions.csv").read_bytes() != (second / "predictions.csv").read_bytes()
    table = rows_of(folder / "piles.csv")
    assert [row["id"] for row in table] == [f"c{i}" for i in range(10)]
    for name, run in (("new", first), ("old [1]", second)):
        for row, own in zip(table, rows_of(run / "predictions.csv"), strict=True):
            for column in ("score", "probability", "decision"):
                assert row[f"{column}_{name}"] == own[column]
    before = snapshot(folder)
    assert tiny("run", folder, *asked).stdout.count("nothing was changed") == 2
    after = snapshot(folder)
    assert {name: content for name, (content, _) in after.items()} == {n: content for n, (content, _) in before.items()}
    said = tiny("status", folder, *asked).stdout
    assert said.count("6 of 6 steps done") + said.count("5 of 5 steps done") == 2
    assert "name the run of a pile" in fails(tiny("images", folder, *asked, f"--to={tmp_path / 'out'}"))
    alone = launch("report", f"--workdir={first}")  # a run like any other, which keeps its config
    assert alone.returncode == 0, alone.stderr

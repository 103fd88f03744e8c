"""Data without labels: a pile and candidates of one's own, shadows on slices of which no use is known."""

from __future__ import annotations

import csv
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from recipes import tiny as tiny_recipe
from tiny_run import fails, leftovers

from attack.baselines.alone.run import QuickRun
from attack.decision import predicting
from attack.evidence import measuring
from attack.inference import fitting, store
from attack.pipeline import Run
from attack.report.write import write_report
from configs import baselines
from shadow import files, fleet, piles
from shadow.data import manifest
from shadow.errors import UserError
from shadow.fleet import orchestrate
from shadow.training import membership

OWN = ("--config.data.edition=own", "--config.attack.same_generator=false")


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """Noise of 16 x 16 pixels, without any label but that 16 slices were not used."""
    root, rng = tmp_path_factory.mktemp("own") / "data", np.random.default_rng(0)
    for name, count in (("generated", 24), ("candidates", 12), ("not_used", 16)):
        (root / name).mkdir(parents=True)
        for i in range(count):
            Image.fromarray(rng.integers(0, 256, (16, 16), np.uint8)).save(root / name / f"{name[0]}{i}.png")
    return root


@pytest.fixture(scope="module")
def known(tiny, own, tmp_path_factory):
    folder = tmp_path_factory.mktemp("known") / "run"
    return folder, tiny("run", folder, f"--config.data.root={own}", *OWN)


def check(folder, names):
    with (folder / "predictions.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert sorted(row["id"] for row in rows) == names
    assert all(0 <= float(row["probability"]) <= 1 for row in rows)
    lines = (folder / "submission.csv").read_text().splitlines()
    assert sorted(line.split(",")[0] for line in lines) == names
    evaluation = json.loads((folder / "attack/evaluation.json").read_text())
    page = (folder / "report.html").read_text()
    assert evaluation["dev"]["auc"] is None
    same = evaluation["same_generator"]
    assert (same["counts"], same["why"]) == (False, "there are no labelled slices of a generator")
    assert evaluation["verdict"]["level"] == "cannot tell"  # the pile is noise
    asked, expected = evaluation["candidates"], evaluation["expected"]
    assert expected["from"] == "candidates"
    if evaluation["null"]["known"] + evaluation["null"]["unknown"] < 10:
        assert (expected["auc"], expected["interval"]) == (asked["auc"], asked["interval"]) == (None, None)
        assert "too few to compare" in asked["why"]
        assert asked["why"] in page
    else:
        assert expected["interval"][0] <= 0.5 <= expected["interval"][1]
        assert expected["auc"] == min(max(asked["auc"], 0.0), 1.0)
    assert all(abs(float(row["probability"]) - 0.5) < 5e-3 for row in rows)
    blind = next(row for row in evaluation["controls"] if row["name"] == "blind")
    assert blind["auc"] is None
    assert "no used and not-used slices are labelled" in page
    assert "there are no labelled slices of a generator" in page
    return evaluation, page


def test_a_run_without_labels(known, own, tiny):
    folder, result = known
    assert result.returncode == 0, result.stderr
    assert leftovers(folder) == []
    names = sorted(path.stem for path in (own / "candidates").iterdir())
    evaluation, page = check(folder, names)
    assert evaluation["null"] == {"known": 16, "unknown": 0, "presumed": False}
    assert "Nothing is known about" not in page
    assert json.loads((folder / "signals/names.json").read_text())["piles"][8:] == ["generated_test"]
    submission = f"--submission={folder / 'submission.csv'}"
    good = tiny("validate", folder, submission, "--edition=own", f"--config.data.root={own}", *OWN)
    assert (good.returncode, good.stderr) == (0, "")


def attacked(data, folder, online=False):
    """The attack on `data` by eight shadows whose piles hold their members: nothing is trained."""
    recipe = tiny_recipe.get_config()
    recipe.membership.candidates = online
    recipe.data.root, recipe.data.edition, recipe.attack.same_generator = str(data), "own", "auto"
    Run(folder, recipe).plan()
    found = manifest.read(folder / "manifest.csv", data)
    names, member = fleet.pool_ids(found, recipe), np.load(folder / "membership.npy")
    dev = np.rint(found.images_at(names, recipe.data.resolution)).astype(np.uint8)
    for k, held in enumerate(member):
        pile = np.concatenate([dev[held], 255 - dev, dev[held] // 2])[:20]
        files.write_array(piles.pile_path(fleet.shadow_folder(folder, k), recipe.train.steps), pile)
    measuring.build(folder, found, recipe, range(8))
    fitting.fit(folder, found, recipe)
    predicting.predict(folder, found, recipe)
    write_report(folder, found, recipe)


def test_shadows_of_few_slices_and_of_candidates(own, tmp_path, monkeypatch):
    """Of four reference slices one shadow holds all: of them it has no non-member, of the candidates it has."""
    data, folder = tmp_path / "data", tmp_path / "run"
    shutil.copytree(own, data)
    (data / "not_used").rename(data / "reference")
    for path in sorted((data / "reference").iterdir())[4:]:
        path.unlink()
    draw = membership.draw

    def drawn(*arguments):
        found = draw(*arguments)
        first = next(k for k in range(8) if found[k, :4].sum() > 1)
        for i in np.flatnonzero(~found[first, :4]):
            other = np.flatnonzero(found[:, i])[0]
            found[first, i], found[other, i] = True, False
        assert found[first, :4].all()
        return found

    monkeypatch.setattr(membership, "draw", drawn)
    attacked(data, folder, online=True)
    evaluation, _ = check(folder, sorted(path.stem for path in (own / "candidates").iterdir()))
    assert evaluation["null"] == {"known": 0, "unknown": 4, "presumed": True}
    assert evaluation["two_way"]["pairs"] == 8 * 16


@pytest.mark.parametrize("known", [0, 4])
def test_where_little_is_known_it_says_what_it_presumes(own, tmp_path, known):
    data, folder = tmp_path / "data", tmp_path / "run"
    shutil.copytree(own, data)
    (data / "not_used").rename(data / "reference")
    for i in range(known):
        (data / "not_used").mkdir(exist_ok=True)
        (data / f"reference/n{i}.png").rename(data / f"not_used/n{i}.png")
    attacked(data, folder)
    evaluation, page = check(folder, sorted(path.stem for path in (own / "candidates").iterdir()))
    assert evaluation["null"] == {"known": known, "unknown": 16 - known, "presumed": True}
    assert f"Nothing is known about the {16 - known} reference slices" in page
    assert ("only 4 others are known not to be used" in page) == (known == 4)


@pytest.mark.parametrize(
    ("used", "not_used", "reference", "presumed"),
    [(0, 10, 0, False), (0, 3, 0, False), (5, 3, 0, False), (0, 10, 90, False), (0, 9, 3, True), (0, 0, 5, True)],
)
def test_few_known_slices_stand_for_non_members_only_where_there_are_no_others(used, not_used, reference, presumed):
    labels = np.repeat([1, 0, -1], [used, not_used, reference])
    data = SimpleNamespace(used=labels == 1, not_used=labels == 0, dev=labels, pool=range(len(labels) + 2))
    data.presumed = store.Store.presumed.fget(data)
    assert data.presumed == presumed
    found = store.Store.null.fget(data).tolist()
    assert found == [*(label == 0 or presumed for label in labels), False, False]  # a candidate never does


def test_without_real_slices_there_are_baselines_but_no_shadows(tiny, own, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(own, data)
    shutil.rmtree(data / "not_used")
    line = fails(tiny("plan", tmp_path / "run", f"--config.data.root={data}", *OWN))
    assert "'not_used' or 'reference'" in line
    assert not (tmp_path / "run/manifest.csv").exists()
    recipe = baselines.get_config()
    recipe.data.root, recipe.data.edition, recipe.data.resolution = str(data), "own", 8
    run = QuickRun(tmp_path / "quick", recipe)
    run.everything()
    assert "No AUC: there are no labelled" in (tmp_path / "quick/report.html").read_text()
    with (tmp_path / "quick/scores.csv").open(newline="") as stream:
        header = next(csv.reader(stream))
    assert "ratio.highpass" in header
    assert "domias" not in header  # needs slices known not to be used


def test_bad_own_data_are_named(own, tmp_path):
    recipe = baselines.get_config()
    recipe.data.edition = "own"
    with pytest.raises(UserError, match=r"data\.root"):
        QuickRun(tmp_path / "run", recipe)
    recipe.data.root, recipe.attack.same_generator = str(own), "true"
    with pytest.raises(UserError, match=r"attack\.same_generator"):
        QuickRun(tmp_path / "run", recipe)
    data = tmp_path / "data"
    shutil.copytree(own, data)
    for path in sorted((data / "not_used").iterdir())[1:]:
        path.unlink()
    found = manifest.build(data, "own", "", 0.5)
    for online in (False, True):  # candidates are units of the shadows, and of no use where they are all there is
        recipe.membership.candidates, recipe.fleet.shadows, recipe.fleet.pack = online, 8, 4
        with pytest.raises(UserError, match="all 1 dev images are of one patient"):
            orchestrate.plan(tmp_path, data, recipe)
    shutil.rmtree(data / "candidates")
    with pytest.raises(UserError, match="no folder for the role unknown: edition own needs"):
        manifest.build(data, "own", "", 0.5)
    assert np.array_equal(found.label[found.rows("not_used")], [0])

"""Runs without shadows: what they write and say, what they refuse, and that a real run can follow."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image
from tiny_run import LAUNCH, fails, leftovers, snapshot

from attack.baselines import BASELINES, score_all
from attack.baselines.alone.run import QuickRun
from attack.metrics import decide
from configs import baselines
from shadow.config import AttackConfig, Config
from shadow.data import decoding
from shadow.errors import UserError
from shadow.validate import validate

QUICK = LAUNCH.parent / "configs" / "baselines.py"
FILES = {"config.json", "manifest.csv", "scores.csv", "predictions.csv", "submission.csv", "report.html", "attack"}
FEW = ("--config.data.resolution=16", "--config.attack.folds=2")


def table(path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Slices of noise in the 2023 layout. Both piles hold copies of the used ones, that of the test also of the first
    four candidates."""
    root, rng = tmp_path_factory.mktemp("quick") / "data", np.random.default_rng(0)

    def save(name, images):
        for i, image in enumerate(images, 1):
            path = root / name.format(i)
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)

    def noise(count):
        return rng.integers(0, 256, (count, 16, 16), np.uint8)

    used, unknown = noise(8), noise(8)
    save("dev/used/used_{:04d}.png", used)
    save("dev/not_used/not_used_{:04d}.png", noise(8))
    save("test/real_unknown_1/real_unknown_{:04d}.png", unknown)
    save("dev/generated/generated_{:04d}.png", [*np.maximum(used, 2), *noise(16)])
    save("test/generated_1/generated_{:05d}.png", [*np.maximum(used, 4), *np.maximum(unknown[:4], 2), *noise(12)])
    (root / "sealed").mkdir()
    return root


@pytest.fixture(scope="module")
def quick(launch, folder, tmp_path_factory):
    """`launch.py COMMAND` without shadows, on a folder (the one above)."""

    def launched(command, workdir, *arguments, data=folder, **options):
        given = f"--config={QUICK}", f"--workdir={workdir}", f"--config.data.root={data}"
        return launch(command, *given, *FEW, *arguments, **options)

    return launched


@pytest.fixture(scope="module")
def done(quick, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("done") / "run"
    return workdir, quick("run", workdir, "--config.attack.same_generator=true")


def test_a_quick_run_ranks_the_candidates_by_every_baseline(done, folder):
    workdir, result = done
    assert result.returncode == 0
    (line,) = result.stderr.splitlines()
    assert "are the same to the last pixel" in line  # the piles hold members as they are
    assert "no verdict" in result.stdout
    assert {path.name for path in workdir.iterdir() if not path.name.endswith(".lock")} == FILES
    assert leftovers(workdir) == []
    rows = table(workdir / "scores.csv")
    assert list(rows[0]) == ["id", *BASELINES]
    assert [row["id"] for row in rows] == [f"real_unknown_{i:04d}" for i in range(1, 9)]

    def images(name):
        paths = sorted((folder / name).glob("*.png"))
        return np.stack([decoding.read_gray(path)[0] for path in paths]).astype(np.float32)

    wanted = score_all(images("test/real_unknown_1"), images("test/generated_1"), images("dev/not_used"))
    for name, values in wanted.items():
        np.testing.assert_allclose([float(row[name]) for row in rows], values, rtol=1e-6, atol=1e-6, err_msg=name)


def test_the_best_on_dev_labels_the_submission(done, launch):
    workdir, _ = done
    content = json.loads((workdir / "attack/baselines.json").read_text())
    name = content["chosen"]["name"]
    assert content["chosen"]["by"] == "dev"
    areas = {key: row["auc"] for key, row in content["dev"]["auc"].items()}
    assert set(areas) == set(BASELINES)
    assert areas[name] == max(a for key, a in areas.items() if not BASELINES[key].set_dependent) == 1
    assert content["dev"]["picked"]["auc"] > 0.9
    said = [line.split(",") for line in (workdir / "submission.csv").read_text().splitlines()]
    assert [int(label) for _, label in said] == [1] * 4 + [0] * 4
    chosen = table(workdir / "predictions.csv")
    assert list(chosen[0]) == ["id", "score", "probability"]
    if not BASELINES[name].needs_reference:
        assert [row["score"] for row in chosen] == [row[name] for row in table(workdir / "scores.csv")]
    chance = [float(row["probability"]) for row in chosen]
    assert min(chance[:4]) > 0.7
    assert max(chance[4:]) < 0.4
    said = content["submission"]
    assert (said["rule"], said["objective"]) == ("expected", "f1")
    assert said["expected"] == pytest.approx(decide(chance).expected, abs=1e-4)
    good = launch("validate", f"--submission={workdir / 'submission.csv'}", f"--workdir={workdir}")
    assert (good.returncode, good.stderr) == (0, "")


def test_the_report_leads_with_what_it_cannot_say(done):
    page = (done[0] / "report.html").read_text()
    warning = page.index("what it cannot say")
    for said in ("Probabilities rest on development slices alone", "No error rate", "Difficult slices"):
        assert warning < page.index(said) < page.index("<main>")
    assert page.count("best on development slices") == 1
    assert "highest expected F1 under the probabilities of predictions.csv" in page
    assert "The labels of the development slices count" in page
    assert '<td data-name="probability">' in page
    assert all(f">{name}<" in page for name in BASELINES)
    assert str(done[0]) not in page


def other(workdir, data, **attack) -> QuickRun:
    """A run in this process; `attack`: fields of its config."""
    recipe = baselines.get_config()
    recipe.data.root, recipe.data.resolution, recipe.attack.folds = str(data), 16, 2
    for name, value in attack.items():
        setattr(recipe.attack, name, value)
    return QuickRun(workdir, recipe)


def test_running_again_changes_nothing_and_other_options_redo_it(done, folder, tmp_path, capsys):
    workdir = tmp_path / "run"
    shutil.copytree(done[0], workdir)
    before = snapshot(workdir)
    again = other(workdir, folder, same_generator="true")
    again.everything()
    assert "nothing was changed" in capsys.readouterr().out
    assert snapshot(workdir) == before
    again.status()
    said = capsys.readouterr().out
    assert "not yet" not in said
    assert "shadows    none" in said
    changed = other(workdir, folder, baseline="vcmi.retrieval.ssim", same_generator="false")
    changed.config.report.gallery = "false"
    changed.everything()
    content = json.loads((workdir / "attack/baselines.json").read_text())
    assert content["chosen"] == {"name": "vcmi.retrieval.ssim", "by": "user"}
    assert "best" not in content["dev"]
    page = (workdir / "report.html").read_text()
    assert "may be of another generator" in page
    assert "are about the development pile" in page
    assert "Their labels do not count" in page
    assert "submission.csv follows its own rule" in page
    assert "data:image/png" not in page
    said = [row["vcmi.retrieval.ssim"] for row in table(workdir / "scores.csv")]
    lines = (workdir / "submission.csv").read_text().splitlines()
    assert [line[-1] for line in lines] == [str(int(float(value) > 0)) for value in said]


def test_dev_labels_of_another_generator_label_nobody(folder, tmp_path):
    """A test pile that copies no dev slice: `auto` finds that the labels are not its generator's."""
    data, rng = tmp_path / "data", np.random.default_rng(1)
    shutil.copytree(folder, data)
    for i in range(1, 9):
        Image.fromarray(rng.integers(0, 256, (16, 16), np.uint8)).save(data / f"test/generated_1/generated_{i:05d}.png")
    run = other(tmp_path / "run", data)
    run.everything()
    content = json.loads((tmp_path / "run/attack/baselines.json").read_text())
    assert content["dev"]["standing"]["by"] == "test"
    assert not content["dev"]["standing"]["count"]
    assert content["chosen"] == {"name": "ratio.highpass", "by": "default"}
    assert content["submission"]["rule"] == "prior"
    lines = (tmp_path / "run/submission.csv").read_text().splitlines()
    assert [line[-1] for line in lines] == ["1"] * 8  # no ranking is known to reach the F1 of all-ones
    assert list(table(tmp_path / "run/predictions.csv")[0]) == ["id", "score"]
    page = (tmp_path / "run/report.html").read_text()
    assert "No probability" in page
    assert "all 8 candidates, which singles nobody out" in page


def test_dev_labels_of_the_same_generator_count_unasked(folder, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(folder, data)
    for path in (data / "test/generated_1").iterdir():  # a part of the dev pile
        shutil.copy(data / f"dev/generated/generated_{path.stem[-4:]}.png", path)
    other(tmp_path / "run", data).everything()
    content = json.loads((tmp_path / "run/attack/baselines.json").read_text())
    found = content["dev"]["standing"]
    assert (found["count"], found["by"]) == (True, "test")
    assert content["chosen"]["by"] == "dev"
    assert "in the other pile" in (tmp_path / "run/report.html").read_text()


def test_other_images_are_scored_anew(done, folder, tmp_path):
    data, workdir = tmp_path / "data", tmp_path / "run"
    shutil.copytree(folder, data)
    shutil.copytree(done[0], workdir)
    (data / "test/real_unknown_1/real_unknown_0001.png").unlink()
    other(workdir, data, same_generator="true").everything()
    assert len(table(workdir / "scores.csv")) == 7


@pytest.mark.parametrize("command", ["train", "sample", "signals", "fit"])
def test_commands_about_shadows_are_refused(folder, tmp_path, command):
    with pytest.raises(UserError, match=f"^{command}: fleet.shadows = 0"):
        getattr(other(tmp_path / "run", folder), command)()


def test_stages_ask_for_what_they_need(folder, tmp_path):
    with pytest.raises(UserError, match=r"`launch\.py plan`"):
        other(tmp_path / "run", folder).predict()
    with pytest.raises(UserError, match="--executor"):
        QuickRun(tmp_path / "run", baselines.get_config(), "slurm")
    with pytest.raises(UserError, match="nearst"):
        other(tmp_path / "new", folder, baseline="nearst")
    assert not (tmp_path / "new").exists()
    small = baselines.get_config()
    small.data.resolution = 6
    with pytest.raises(UserError, match=r"data\.resolution = 6"):
        QuickRun(tmp_path / "new", small)
    with pytest.raises(UserError, match=r"attack\.baseline"):
        validate(Config(attack=AttackConfig(baseline="domias")))


def test_a_baseline_without_its_reference_is_named(folder, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(folder / "test/generated_1", data / "generated")
    shutil.copytree(folder / "test/real_unknown_1", data / "candidates")
    run = other(tmp_path / "run", data, baseline="domias")
    run.config.data.edition = "own"
    with pytest.raises(UserError, match=r"attack\.baseline = 'domias' needs .* not_used"):
        run.everything()


def one_candidate(root) -> int:
    for path in sorted((root / "test/real_unknown_1").iterdir())[1:]:
        path.unlink()
    return 1


def one_generated(root) -> int:
    for path in sorted((root / "test/generated_1").iterdir())[1:]:
        path.unlink()
    return 8


@pytest.mark.parametrize("spoil", [one_candidate, one_generated])
def test_the_fewest_images_will_do(folder, tmp_path, spoil):
    data = tmp_path / "data"
    shutil.copytree(folder, data)
    count = spoil(data)
    other(tmp_path / "run", data).everything()
    assert len(table(tmp_path / "run/scores.csv")) == count


def test_wrong_images_are_named(quick, folder, tmp_path):
    data = tmp_path / "data"
    assert str(data) in fails(quick("run", tmp_path / "a", data=data))
    shutil.copytree(folder, data)
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(data / "test/real_unknown_1/real_unknown_0003.png")
    with pytest.raises(UserError, match=r"real_unknown_0003\.png: 8 x 8"):
        other(tmp_path / "b", data).everything()
    shutil.rmtree(data / "test/real_unknown_1")
    with pytest.raises(UserError, match="unknown"):
        other(tmp_path / "b", data).everything()
    large = other(tmp_path / "c", folder)
    large.config.data.resolution = 32
    with pytest.raises(UserError, match=r"data\.resolution"):
        large.everything()

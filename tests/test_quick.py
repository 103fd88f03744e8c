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
from shadow.data import decoding

QUICK = LAUNCH.parent / "configs" / "baselines.py"
FILES = {"config.json", "manifest.csv", "scores.csv", "predictions.csv", "submission.csv", "report.html", "attack"}
FEW = ("--config.data.resolution=16", "--config.attack.folds=2")


def table(path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Slices of noise in the 2023 layout; the piles hold copies of the used ones and of the first four candidates."""
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
    save("test/generated_1/generated_{:05d}.png", [*np.maximum(unknown[:4], 2), *noise(20)])
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
    assert (result.returncode, result.stderr) == (0, "")
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
    chosen = {row["id"]: row["score"] for row in table(workdir / "predictions.csv")}
    assert chosen == {row["id"]: row[name] for row in table(workdir / "scores.csv")}
    good = launch("validate", f"--submission={workdir / 'submission.csv'}", f"--workdir={workdir}")
    assert (good.returncode, good.stderr) == (0, "")


def test_the_report_leads_with_what_it_cannot_say(done):
    page = (done[0] / "report.html").read_text()
    warning = page.index("what it cannot say")
    for said in ("No probability", "No error rate", "Difficult slices", "are about the development pile"):
        assert warning < page.index(said) < page.index("<main>")
    assert page.count("best on development slices") == 1
    assert all(f">{name}<" in page for name in BASELINES)
    assert str(done[0]) not in page


def test_running_again_changes_nothing_and_other_options_redo_it(quick, done, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(done[0], workdir)
    before = snapshot(workdir)
    again = quick("run", workdir, "--config.attack.same_generator=true")
    assert "nothing was changed" in again.stdout
    assert snapshot(workdir) == before
    assert "not yet" not in quick("status", workdir, "--config.attack.same_generator=true").stdout
    other = quick("run", workdir, "--config.attack.baseline=vcmi.retrieval.ssim", "--config.report.gallery=false")
    assert (other.returncode, other.stderr) == (0, "")
    content = json.loads((workdir / "attack/baselines.json").read_text())
    assert content["chosen"] == {"name": "vcmi.retrieval.ssim", "by": "user"}
    assert "best" not in content["dev"]  # whose generator that is, nobody said
    page = (workdir / "report.html").read_text()
    assert "may be of another generator" in page
    assert "data:image/png" not in page


def test_commands_about_shadows_are_refused(quick, tmp_path):
    for command in ("train", "sample", "signals", "fit"):
        line = fails(quick(command, tmp_path / "run"))
        assert line.startswith(f"error: {command}: fleet.shadows = 0")
    assert "--executor" in fails(quick("run", tmp_path / "run", "--executor=slurm"))
    assert "fleet.shadows = 0" in fails(quick("train", tmp_path / "run", "--pack=0"))
    assert "shadows    none" in quick("status", tmp_path / "run").stdout
    assert "`launch.py plan`" in fails(quick("predict", tmp_path / "run"))


@pytest.mark.parametrize(
    ("argument", "named"),
    [
        ("--config.attack.baseline=nearst", "nearst"),
        ("--config.data.resolution=6", "data.resolution = 6"),
        ("--config.data.resolution=32", "data.resolution"),
        ("--config.fleet.shadows=3", "fleet.shadows = 3"),
        ("--config.attack.pile=0", "attack.pile"),
    ],
)
def test_wrong_options_are_named(quick, tmp_path, argument, named):
    assert named in fails(quick("run", tmp_path / "run", argument))
    assert leftovers(tmp_path) == []


def one_candidate(root) -> int:
    for path in sorted((root / "test/real_unknown_1").iterdir())[1:]:
        path.unlink()
    return 1


def one_generated(root) -> int:
    for path in sorted((root / "test/generated_1").iterdir())[1:]:
        path.unlink()
    return 8


@pytest.mark.parametrize("spoil", [one_candidate, one_generated])
def test_the_fewest_images_will_do(quick, folder, tmp_path, spoil):
    data = tmp_path / "data"
    shutil.copytree(folder, data)
    count = spoil(data)
    result = quick("run", tmp_path / "run", data=data)
    assert (result.returncode, result.stderr) == (0, "")
    assert len(table(tmp_path / "run/scores.csv")) == count


def test_missing_and_wrong_images_are_named(quick, folder, tmp_path):
    data = tmp_path / "data"
    assert str(data) in fails(quick("run", tmp_path / "a", data=data))
    shutil.copytree(folder, data)
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(data / "test/real_unknown_1/real_unknown_0003.png")
    assert "real_unknown_0003.png: 8 x 8" in fails(quick("run", tmp_path / "b", data=data))
    shutil.rmtree(data / "test/real_unknown_1")
    assert "unknown" in fails(quick("run", tmp_path / "c", data=data))

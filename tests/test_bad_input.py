"""The user's mistakes: one line on stderr that names the file or field, exit code 2, nothing half written."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from recipes import tiny as tiny_recipe
from tiny_run import TINY, fails, leftovers

from attack.pipeline import Run
from shadow.data import editions, manifest
from shadow.errors import UserError

USED = "dev/used/used_0003.png"


def read(path) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image)


def save(path, pixels, mode=None, **options) -> None:
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(path, **options)


def no_role(root) -> str:
    shutil.rmtree(root / "dev/not_used")
    return "not_used"


def empty_folder(root) -> str:
    for path in (root / "test/real_unknown_1").iterdir():
        path.unlink()
    return "real_unknown_1"


def no_root(root) -> str:
    shutil.rmtree(root)
    return str(root)


def cut_off(root) -> str:
    path = root / USED
    path.write_bytes(path.read_bytes()[:150])
    return USED


def other_size(root) -> str:
    save(root / USED, np.zeros((8, 8), np.uint8))
    return USED


def sixteen_bits(root) -> str:
    save(root / USED, read(root / USED).astype(np.uint16) * 257)
    return USED


def coloured(root) -> str:
    save(root / USED, np.random.default_rng(1).integers(0, 256, (16, 16, 3), np.uint8))
    return USED


def text(root) -> str:
    (root / USED).write_text("no picture")
    return USED


def one_id_twice(root) -> str:
    (root / "dev/not_used/not_used_0001.png").rename(root / "dev/not_used/used_0003.png")
    return "used_0003"


def used_and_not_used(root) -> str:
    note = PngImagePlugin.PngInfo()
    note.add_text("note", "the same picture in other bytes")
    save(root / "dev/not_used/not_used_0005.png", read(root / USED), pnginfo=note)
    return "not_used_0005"


def enlarged(root) -> str:
    for path in root.rglob("*.png"):
        save(path, read(path)[:4, :4])
    return "data.resolution"


@pytest.mark.parametrize(
    "spoil",
    [
        no_role,
        empty_folder,
        no_root,
        cut_off,
        other_size,
        sixteen_bits,
        coloured,
        text,
        one_id_twice,
        used_and_not_used,
    ],
)
def test_bad_images_are_refused_by_name(images, tmp_path, capfd, spoil):
    named = spoil(images)
    recipe = tiny_recipe.get_config()
    recipe.data.root = str(images)
    with pytest.raises(UserError) as error:
        Run(tmp_path / "run", recipe).plan()
    assert named in str(error.value)
    assert "\n" not in str(error.value)
    assert capfd.readouterr() == ("", "")
    assert {path.name for path in (tmp_path / "run").iterdir()} <= {"config.json", ".lock"}


def test_a_bad_image_is_one_line_of_the_command(tiny, images, tmp_path):
    named = cut_off(images)
    assert named in fails(tiny("plan", tmp_path / "run", f"--config.data.root={images}"))
    assert {path.name for path in (tmp_path / "run").iterdir()} <= {"config.json", ".lock"}


def test_images_below_the_resolution_are_refused_by_field(tiny, images, tmp_path):
    named = enlarged(images)
    line = fails(tiny("run", tmp_path / "run", f"--config.data.root={images}"))
    assert named in line
    assert leftovers(tmp_path / "run") == []


def test_gray_values_in_other_modes_are_accepted(tiny, images, tmp_path):
    gray = [read(images / f"dev/used/used_000{i}.png") for i in range(1, 5)]
    for i, mode in enumerate(("P", "LA", "RGB", "RGBA")):
        save(images / f"dev/used/used_000{i + 1}.png", gray[i], mode)
    result = tiny("plan", tmp_path / "run", f"--config.data.root={images}")
    assert (result.returncode, result.stderr) == (0, "")
    found = manifest.read(tmp_path / "run/manifest.csv", images)
    rows = found.rows("used")[:4]
    assert found.mode[rows].tolist() == ["P", "LA", "RGB", "RGBA"]
    np.testing.assert_array_equal(found.images(found.id[rows].tolist()), gray)


def test_a_folder_closed_to_us_is_named(tiny, images, tmp_path, monkeypatch):
    closed = images / "dev/used"
    if os.geteuid():
        closed.chmod(0)
        try:
            assert str(closed) in fails(tiny("plan", tmp_path / "run", f"--config.data.root={images}"))
        finally:
            closed.chmod(0o700)
        return

    def refuse(path, scandir=os.scandir):  # nothing is closed to root
        if path == closed:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UserError, match="dev/used: cannot read this folder: Permission denied"):
        editions.find_roles(images, "2023")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--config.train.stepz=3"], "stepz"),
        (["--config.train.steps=abc"], "steps"),
        (["--config.train.steps=0"], "train.steps"),
        (["--config.attack.signals=('nearst',)"], "nearst"),
        (["--config=missing.py"], "missing.py"),
        (["--wrkdir=elsewhere"], "wrkdir"),
    ],
)
def test_bad_fields_and_flags_are_named(launch, tmp_path, arguments, named):
    folder = tmp_path / "run"
    assert named in fails(launch("plan", f"--workdir={folder}", *arguments))
    assert not folder.exists()


def test_the_workdir_must_be_given_and_be_a_folder_of_ours(launch, tmp_path):
    assert "--workdir" in fails(launch("plan"))
    path = tmp_path / "file"
    path.write_text("text")
    assert str(path) in fails(launch("plan", f"--workdir={path}"))
    assert path.read_text() == "text"
    strange = tmp_path / "strange"
    strange.mkdir()
    (strange / "config.json").write_text("{}")
    for recipe in ((), ("--config.seed=0",), (f"--config={TINY}",)):
        line = fails(launch("plan", *recipe, f"--workdir={strange}"))
        assert str(strange) in line
        assert "config.json" in line
    assert (strange / "config.json").read_text() == "{}"


def test_stages_ask_for_what_they_need(tiny, tmp_path):
    folder = tmp_path / "run"
    for command, needed in (("sample", "plan"), ("fit", "signals")):
        assert f"`launch.py {needed}`" in fails(tiny(command, folder))


@pytest.mark.slow
def test_a_full_disk_ends_each_stage_with_one_line_and_nothing_half_written(tiny, run):
    """A limit of file sizes stands for the full disk: both fail in the middle of a write."""
    before = (run / "predictions.csv").read_bytes()
    stages = {  # bytes a file may have, and what the stage writes
        "challenge": (5_000, ["challenge"]),
        "plan": (5_000, ["manifest.csv", "membership.npy", "plan.json"]),
        "report": (50_000, ["report.html"]),
        "fit": (2_000, ["attack"]),
        "signals": (2_000, ["signals"]),  # which takes the stamps of what rests on it
        "sample": (5_000, ["shadows"]),
    }
    for stage, (limit, made) in stages.items():
        for name in made:
            (run / name).rename(run.parent / name)
        result = tiny(stage, run, file_limit=limit)
        assert "File too large" in fails(result), stage
        halves = [path for path in leftovers(run) if not path.endswith((".challenge.part", "-tmp"))]
        assert halves == [], stage  # a challenge and a checkpoint go on from what is there
        written = [name for name in made if (run / name).exists() and (run / name).is_file()]
        assert written == [], stage
        if stage != "sample":  # which is left to go on below
            for name in made:
                shutil.rmtree(run / name, ignore_errors=True)
                (run.parent / name).rename(run / name)
    shutil.rmtree(run / ".challenge.part")
    assert not (run / "attack/fit.done.json").exists()
    (run / "predictions.csv").unlink()
    result = tiny("run", run)
    assert result.returncode == 0, result.stderr
    assert (run / "predictions.csv").read_bytes() == before
    assert leftovers(run) == []


def test_truth_of_other_candidates_is_refused(launch, finished, tmp_path):
    truth = tmp_path / "truth.csv"
    lines = (finished / "challenge/sealed/truth.csv").read_text().splitlines()
    truth.write_text("\n".join(lines[:-1]))
    figures = tmp_path / "figures.json"
    files = f"--predictions={finished / 'predictions.csv'}", f"--truth={truth}", f"--json={figures}"
    assert lines[-1].split(",")[0] in fails(launch("score", *files))
    assert not figures.exists()


def test_a_damaged_plan_is_named(tiny, run):
    plan = json.loads((run / "plan.json").read_text())
    (run / "plan.json").write_text(json.dumps(plan)[:20])
    assert str(run / "plan.json") in fails(tiny("sample", run))

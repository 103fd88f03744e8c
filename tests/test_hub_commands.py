"""`launch.py export` and `launch.py import` as a user calls them."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from hub_folders import edit, shadow_run
from PIL import Image
from tiny_run import TINY, fails, leftovers

SMALL = ("--config.pile.count=3", "--config.pile.sampler_steps=2", "--config.pile.batch_size=2")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return shadow_run(tmp_path_factory.mktemp("hub") / "run")[0]


@pytest.fixture(scope="module")
def exported(run, launch):
    out = run.parent / "pipeline"
    said = launch("export", "--checkpoint=shadows/0003@20:raw", f"--workdir={run}", f"--to={out}")
    assert said.returncode == 0, said.stderr
    assert "DDPMPipeline.from_pretrained" in said.stdout
    return out


def test_export_then_import(exported, launch, tmp_path):
    out = tmp_path / "audit"
    said = launch("import", f"--pipeline={exported}", f"--to={out}", *SMALL)
    assert said.returncode == 0, said.stderr
    assert "3 images by ddim in 2 steps" in said.stdout
    assert "use_clipped_model_output = True" in said.stdout
    images = [np.asarray(Image.open(path)) for path in sorted((out / "pile").iterdir())]
    np.testing.assert_array_equal(np.stack(images), np.load(out / "pile.npy"))
    assert json.loads((out / "generator.json").read_text())["size"] == 8
    before = (out / "pile.npy").stat().st_mtime_ns
    again = launch("import", f"--pipeline={exported}", f"--to={out}", *SMALL)
    assert again.returncode == 0, again.stderr
    assert (out / "pile.npy").stat().st_mtime_ns == before
    assert not leftovers(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("export", "--to=out"), "--checkpoint is missing"),
        (("export", "--checkpoint=shadows/0003"), "--to is missing"),
        (("export", "--checkpoint=shadows/0007", "--to=out"), "shadows/0007: neither a shadow with checkpoints"),
        (("export", "--checkpoint=shadows/0003@7", "--to=out"), "no checkpoint of step 7; there are: 10, 20"),
        (("import", "--to=out"), "--pipeline is missing"),
        (("export", "--checkpoint=shadows/0003@0", "--to=out"), "no checkpoint of step 0; there are: 10, 20"),
        (("export", "--checkpoint=shadows/0003", f"--to={__file__}/out"), "is no folder"),
        (("import", "--pipeline=google/ddpm-cat-256", "--to=out"), "no such folder; a pipeline of the Hub"),
        (
            ("import", "--pipeline=here", "--to=out", "--workdir=run"),
            "--workdir is not for import, which takes --pipeline",
        ),
        (
            ("import", "--pipeline=here", "--to=out", f"--config={TINY}"),
            "--config is not for import, which takes --pipeline",
        ),
        (("import", "--pipeline=here", "--to=out", "--config.pile.sampler=ddpm"), "--config.pile.sampler is not for"),
        (("import", "--pipeline=here", "--to=out", "--config.attack.pile=3"), "--config.attack.pile is not for"),
        (("import", "--pipeline=here", f"--to={__file__}"), "is no folder"),
        (("import", "--pipeline=here", f"--to={'long' * 100}"), "File name too long"),
    ],
)
def test_wrong_arguments(run, launch, tmp_path, arguments, said):
    workdir = [f"--workdir={run}"] if arguments[0] == "export" else []
    result = launch(*arguments, *workdir, cwd=tmp_path)
    assert said in fails(result)
    assert not list(tmp_path.iterdir())


def truncated(folder):
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:-9])


def pickled(folder):
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    path.rename(path.with_suffix(".bin"))


def unknown(folder):
    edit(folder / "unet" / "config.json", addition_embed_type="text")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (truncated, "no whole safetensors file"),
        (pickled, "diffusion_pytorch_model.bin: a pickle"),
        (unknown, "'addition_embed_type' is unknown"),
    ],
)
def test_damaged_and_foreign_folders(exported, launch, tmp_path, spoil, said):
    folder = shutil.copytree(exported, tmp_path / "pipeline")
    spoil(folder)
    assert said in fails(launch("import", f"--pipeline={folder}", f"--to={tmp_path / 'out'}", *SMALL))
    assert not (tmp_path / "out").exists()

"""Slices at their own size: a whole run at 256 x 256 with networks on blocks of pixels, and what it exports."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

NETWORK = (
    *("--config.challenge.denoiser.patch=64", "--config.challenge.denoiser.overlap=true"),
    *("--config.denoiser.kind=unet2d", "--config.denoiser.block=32"),
    *("--config.denoiser.unet.block_out_channels=(4,)", "--config.denoiser.unet.norm_num_groups=2"),
    "--config.denoiser.unet.mid_block_type=",  # soon compiled
)
SMALLER = (
    *(f"--config.{train}.{field}" for train in ("train", "challenge.train") for field in ("steps=8", "log_every=4")),
    *("--config.fleet.shadows=6", "--config.membership.block=2", "--config.diffusion.weighting=min_snr"),
    *("--config.diffusion.min_weight=.05", "--config.attack.embeddings=('pixels',)"),
)


@pytest.mark.slow
def test_a_run_at_256(tiny, launch, tmp_path):
    run = tmp_path / "run"
    said = tiny("run", run, "--config.data.resolution=256", *NETWORK, *SMALLER)
    assert said.returncode == 0, said.stderr
    pile = np.load(run / "shadows" / "0000" / "piles" / "00000008.npy", mmap_mode="r")
    assert pile.shape == (20, 256, 256)
    assert (run / "report.html").is_file()
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*.npy")}
    again = tiny("run", run, "--config.data.resolution=256", *NETWORK, *SMALLER)
    assert again.returncode == 0, again.stderr
    assert before == {path: path.stat().st_mtime_ns for path in run.rglob("*.npy")}

    said = launch("export", f"--workdir={run}", "--checkpoint=shadows/0001", f"--to={tmp_path / 'out'}")
    assert said.returncode == 0, said.stderr
    assert "it draws blocks of 32 x 32 pixels as channels; README.md there" in said.stdout
    content = json.loads((tmp_path / "out" / "unet" / "config.json").read_text())
    assert (content["sample_size"], content["in_channels"]) == (8, 1024)
    small = ("--config.pile.count=2", "--config.pile.batch_size=2", "--config.pile.sampler_steps=2")
    said = launch("import", f"--pipeline={tmp_path / 'out'}", f"--to={tmp_path / 'audit'}", *small)
    assert said.returncode == 0, said.stderr
    images = [np.asarray(Image.open(path)) for path in sorted((tmp_path / "audit" / "pile").iterdir())]
    assert [image.shape for image in images] == [(256, 256)] * 2

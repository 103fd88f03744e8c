"""A shadow, by step, averaged or raw, and its export to a folder of diffusers."""

from __future__ import annotations

import errno
import os
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hub_folders import SIZE, equal, generator, shadow_run

from shadow import hub
from shadow.config import PileConfig
from shadow.errors import UserError


def test_a_shadow_by_step_averaged_or_raw(tmp_path):
    run, state = shadow_run(tmp_path)
    last = hub.read_generator(run / "shadows" / "0003")
    equal(last.params, jax.tree.map(lambda leaf: leaf[0], state.ema))
    raw = hub.read_generator("shadows/0003:raw", run)
    equal(raw.params, jax.tree.map(lambda leaf: leaf[0], state.params))
    early = hub.read_generator(f"{run}/shadows/0003@10:raw")
    np.testing.assert_allclose(raw.params["conv_in"]["bias"] - early.params["conv_in"]["bias"], 20, rtol=1e-6)
    average = hub.read_generator("shadows/0003@10", run)
    np.testing.assert_allclose(last.params["conv_in"]["bias"] - average.params["conv_in"]["bias"], 0.2, rtol=1e-5)
    for step in (15, 0):
        with pytest.raises(UserError, match=re.escape(f"no checkpoint of step {step}; there are: 10, 20")):
            hub.read_generator(f"shadows/0003@{step}", run)
    with pytest.raises(UserError, match="neither a shadow"):
        hub.read_generator("shadows/0004", run)
    x = jnp.ones((1, SIZE, SIZE, 1))
    np.testing.assert_array_equal(
        hub.load_denoiser(f"{run}/shadows/0003:raw")(x, [5]), jax.jit(raw.network.apply)(raw.params, x, jnp.array([5]))
    )


def test_export(tmp_path):
    run, state = shadow_run(tmp_path / "run")
    said = hub.export("shadows/0003@20", run, tmp_path / "out")
    assert "DDPMPipeline.from_pretrained" in said
    assert "use_clipped_model_output=True" in said
    equal(hub.read_generator(tmp_path / "out").params, jax.tree.map(lambda leaf: leaf[0], state.ema))
    with pytest.raises(UserError, match="is there already"):
        hub.export("shadows/0003", run, tmp_path / "out")


@pytest.mark.parametrize(
    ("pile", "said"),
    [
        (PileConfig(sampler_steps=20), "DDIMPipeline called with num_inference_steps=20, eta=0.0, use_clipped"),
        (PileConfig(sampler="ddpm"), "DDPMPipeline called with num_inference_steps=25"),
        (PileConfig(sampler="dpmpp_2m", sampler_steps=9), "DDPMPipeline called with num_inference_steps=9"),
        (PileConfig(sampler_steps=30), "but nearly: 30 steps do not divide 1000 times"),
    ],
)
def test_export_names_the_call(tmp_path, pile, said):
    hub.write_pipeline(generator(pile=pile), tmp_path / "in")
    words = hub.export(str(tmp_path / "in"), None, tmp_path / "out")
    assert said in words
    assert "shadow's" not in words
    assert hub.read_generator(tmp_path / "out").pile == pile


def test_a_full_disk_is_said(tmp_path, monkeypatch):
    def full(path, content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(hub.files, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        hub.write_pipeline(generator(), tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_part_that_is_a_file_is_no_obstacle(tmp_path):
    (tmp_path / ".out.part").write_text("of another program")
    hub.write_pipeline(generator(), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_cannot_be_a_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("words")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name, said in (("file", "is there already"), ("link", "is there already"), ("file/out", "is no folder")):
        with pytest.raises(UserError, match=said):
            hub.write_pipeline(generator(), tmp_path / name)


def test_a_dit_is_not_exported(tmp_path):
    run, _ = shadow_run(tmp_path / "run", "dit")
    with pytest.raises(UserError, match="'dit': diffusers has no such network"):
        hub.export("shadows/0003", run, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_failed_export_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(hub.weights, "to_diffusers", lambda params: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        hub.write_pipeline(generator(), tmp_path / "out")
    assert not list(tmp_path.iterdir())

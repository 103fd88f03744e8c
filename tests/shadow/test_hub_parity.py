"""Folders of diffusers with PyTorch: what one side writes, the other reads, and the images are the same."""

from __future__ import annotations

import dataclasses
import json
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hub_folders import SIZE, generator
from hypothesis import HealthCheck, given, settings
from legal_configs import legal_unets

from shadow import hub
from shadow.config import DiffusionConfig, PileConfig
from shadow.diffusion import dialect, samplers

# What torch and diffusers warn of is not ours to mend.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]

torch: Any = None  # imported when the first test runs: it takes seconds, also where none of these is chosen


@pytest.fixture(autouse=True, scope="module")
def imported():
    global torch
    torch = pytest.importorskip("torch", reason="parity is checked where PyTorch is (extra `parity`)")


STEPS, COUNT = 20, 4


def noises(count=STEPS + 1):
    rng = np.random.default_rng(5)
    return rng.standard_normal((count, COUNT, SIZE, SIZE, 1)).astype(np.float32)


def ours(folder, given, **changed):
    """Images in [0, 1] of a folder, from the first noise; the rest are those of the steps."""
    read = hub.read_generator(folder)
    config = dataclasses.replace(read.pile, sampler_steps=STEPS, **changed)
    sampler = samplers.make(config, read.diffusion)
    step = jax.jit(lambda s, i, noise: sampler.step(lambda x, t: read.network.apply(read.params, x, t), s, i, noise))
    state = sampler.start(jnp.asarray(given[0]))
    for index in range(STEPS):
        state = step(state, jnp.int32(index), jnp.asarray(given[1 + index]))
    return np.clip(np.asarray(state.x) / 2 + 0.5, 0, 1)


def theirs(pipeline, given, monkeypatch, **options):
    """The same by a pipeline of diffusers, to which the noises are handed one by one."""
    left = iter(torch.from_numpy(noise).permute(0, 3, 1, 2) for noise in given)

    def randn_tensor(shape, *_, **__):
        noise = next(left)
        assert tuple(shape) == tuple(noise.shape)
        return noise

    import diffusers.pipelines.ddim.pipeline_ddim as ddim
    import diffusers.pipelines.ddpm.pipeline_ddpm as ddpm
    import diffusers.schedulers.scheduling_ddim as ddim_scheduler
    import diffusers.schedulers.scheduling_ddpm as ddpm_scheduler

    for module in (ddim, ddpm, ddim_scheduler, ddpm_scheduler):
        monkeypatch.setattr(module, "randn_tensor", randn_tensor)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline(batch_size=COUNT, num_inference_steps=STEPS, output_type="np", **options).images


@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
@pytest.mark.parametrize("block", [2, 4])
def test_a_network_on_blocks_draws_the_same_there(tmp_path, monkeypatch, sampler, block, caplog):
    """From the noise of the pixels in blocks, and by PyTorch's way from blocks to pixels. Written again by diffusers,
    the folder still says what its channels are, and diffusers has no word to say about it."""
    from diffusers import DDIMPipeline, DDPMPipeline
    from diffusers.utils import logging

    made = generator(pile=PileConfig(sampler=sampler, sampler_steps=STEPS), block=block)
    hub.write_pipeline(made, tmp_path / "out")
    kind = DDIMPipeline if sampler == "ddim" else DDPMPipeline
    logging.enable_propagation()
    try:
        with caplog.at_level("WARNING"):
            pipeline = kind.from_pretrained(tmp_path / "out")
    finally:
        logging.disable_propagation()
    assert "space_to_depth" not in caplog.text
    assert pipeline.unet.config.in_channels == block**2

    def shuffled(images, way):
        return way(torch.from_numpy(np.asarray(images)).permute(0, 3, 1, 2), block).permute(0, 2, 3, 1).numpy()

    given = np.stack([shuffled(noise, torch.nn.functional.pixel_unshuffle) for noise in noises()])
    options = {"eta": 0.0, "use_clipped_model_output": True} if sampler == "ddim" else {}
    found = shuffled(theirs(pipeline, given, monkeypatch, **options), torch.nn.functional.pixel_shuffle)
    expected = ours(tmp_path / "out", noises())
    assert expected.std() > 0.05
    assert np.abs(found - expected).max() < 1e-4
    pipeline.save_pretrained(tmp_path / "again")
    assert hub.read_config(tmp_path / "again").denoiser == hub.read_config(tmp_path / "out").denoiser
    np.testing.assert_array_equal(
        ours(tmp_path / "again", noises(), use_clipped_model_output=made.pile.use_clipped_model_output), expected
    )


@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
@pytest.mark.parametrize("prediction", ["sample", "epsilon", "v"])
def test_an_exported_folder_gives_the_same_images_there(tmp_path, monkeypatch, sampler, prediction):
    from diffusers import DDIMPipeline, DDPMPipeline

    pile = PileConfig(sampler=sampler, sampler_steps=STEPS)
    hub.write_pipeline(generator(diffusion=DiffusionConfig(prediction=prediction), pile=pile), tmp_path / "out")
    kind = DDIMPipeline if sampler == "ddim" else DDPMPipeline
    pipeline = kind.from_pretrained(tmp_path / "out")
    options = {"eta": 0.0, "use_clipped_model_output": True} if sampler == "ddim" else {}
    found = theirs(pipeline, noises(), monkeypatch, **options)
    expected = ours(tmp_path / "out", noises())
    assert expected.std() > 0.05
    assert np.abs(found - expected).max() < 1e-4


@pytest.mark.parametrize("sampler", ["ddim", "ddpm", "dpmpp_2m"])
def test_ddpm_pipeline_opens_all_of_them(tmp_path, monkeypatch, sampler, caplog):
    """Without a word about our file beside; DDIM without `use_clipped_model_output`, which that pipeline cannot ask."""
    from diffusers import DDPMPipeline
    from diffusers.utils import logging

    bites = {"use_clipped_model_output": False} if sampler == "ddim" else {}
    pile = PileConfig(sampler=sampler, sampler_steps=STEPS, **bites)
    hub.write_pipeline(generator(pile=pile), tmp_path / "out")
    logging.enable_propagation()
    try:
        with caplog.at_level("WARNING"):
            pipeline = DDPMPipeline.from_pretrained(tmp_path / "out")
    finally:
        logging.disable_propagation()
    assert "shadowprint" not in caplog.text
    found = theirs(pipeline, noises(), monkeypatch)
    expected = ours(tmp_path / "out", noises())
    assert expected.std() > 0.05
    assert np.abs(found - expected).max() < 1e-4


@pytest.mark.parametrize("scheduler", ["DDIMScheduler", "DDPMScheduler"])
def test_a_ddim_pipeline_of_diffusers_draws_here_what_it_draws_there(tmp_path, monkeypatch, scheduler):
    """Called with nothing but noise. The clip bites: with the noise computed anew the images are others."""
    import diffusers

    blocks = {"down_block_types": ["DownBlock2D"] * 2, "up_block_types": ["UpBlock2D"] * 2}
    torch.manual_seed(0)
    unet = diffusers.UNet2DModel(SIZE, 1, 1, block_out_channels=[8, 8], norm_num_groups=4, **blocks)
    kind = getattr(diffusers, scheduler)
    pipeline = diffusers.DDIMPipeline(unet, kind(prediction_type="sample", clip_sample_range=0.1))
    pipeline.save_pretrained(tmp_path / "theirs")
    if scheduler == "DDPMScheduler":  # the pipeline makes DDIM of it, but a folder may hold what it was
        kind(prediction_type="sample", clip_sample_range=0.1).save_pretrained(tmp_path / "theirs" / "scheduler")
        pipeline = diffusers.DDIMPipeline.from_pretrained(tmp_path / "theirs")
    expected = theirs(pipeline, noises(), monkeypatch)
    assert np.abs(ours(tmp_path / "theirs", noises()) - expected).max() < 1e-4
    assert np.abs(ours(tmp_path / "theirs", noises(), use_clipped_model_output=True) - expected).max() > 1e-3


@pytest.mark.parametrize("name", ["DDIMPipeline", "DDPMPipeline"])
def test_steps_are_the_default_of_the_pipeline(name):
    import inspect

    import diffusers

    default = inspect.signature(getattr(diffusers, name).__call__).parameters["num_inference_steps"].default
    assert hub._STEPS[name] == default


@pytest.mark.parametrize("ours_name", ["DDIMScheduler", "DDPMScheduler", "DPMSolverMultistepScheduler"])
@pytest.mark.parametrize(
    ("source", "field", "value"),
    [
        ("PNDMScheduler", "skip_prk_steps", True),
        ("EulerDiscreteScheduler", "interpolation_type", "log_linear"),
        ("UniPCMultistepScheduler", "predict_x0", False),
    ],
)
def test_a_scheduler_made_of_another_is_read(tmp_path, ours_name, source, field, value):
    """diffusers carries the fields of the other along, and writes them."""
    import diffusers

    made = getattr(diffusers, ours_name).from_config(getattr(diffusers, source)(**{field: value}).config)
    made.save_pretrained(tmp_path)
    content = json.loads((tmp_path / "scheduler_config.json").read_text())
    read = dialect.read_scheduler(content, "scheduler_config.json")
    assert any(note.startswith(f"{field} = ") and "is of another scheduler" in note for note in read.notes)


def test_a_ddpm_pipeline_of_diffusers_is_read_here(tmp_path, monkeypatch):
    from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

    torch.manual_seed(0)
    blocks = {"down_block_types": ["DownBlock2D", "AttnDownBlock2D"], "up_block_types": ["AttnUpBlock2D", "UpBlock2D"]}
    unet = UNet2DModel(SIZE, 1, 1, block_out_channels=[8, 16], layers_per_block=1, norm_num_groups=4, **blocks)
    scheduler = DDPMScheduler(beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction")
    pipeline = DDPMPipeline(unet, scheduler)
    pipeline.save_pretrained(tmp_path / "whole")
    pipeline.save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    assert len(list((tmp_path / "shards" / "unet").glob("*.safetensors"))) > 1
    expected = theirs(pipeline, noises(), monkeypatch)
    for name in ("whole", "shards"):
        assert np.abs(ours(tmp_path / name, noises()) - expected).max() < 1e-4


@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(unet=legal_unets())
def test_any_legal_network_computes_the_same_there(tmp_path, unet):
    import shutil

    from diffusers import UNet2DModel

    made = generator(unet)
    shutil.rmtree(tmp_path / "any", ignore_errors=True)
    hub.write_pipeline(made, tmp_path / "any")
    with warnings.catch_warnings(action="ignore"):
        peer = UNet2DModel.from_pretrained(tmp_path / "any" / "unet").eval()
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, SIZE, SIZE, unet.in_channels), np.float32)
    t, labels = np.array([5, 900]), None
    if unet.class_embed_type == "identity":
        labels = rng.standard_normal((2, unet.time_width), np.float32)
    elif unet.conditional:
        labels = np.array([0, 2])
    there = torch.from_numpy(t).float() if unet.time_embedding_type == "fourier" else torch.from_numpy(t)
    if unet.class_embed_type == "timestep" and unet.time_embedding_type == "fourier":
        labels = np.array([1.0, 2.0], np.float32)  # it takes their logarithm
    with torch.no_grad():
        given = None if labels is None else torch.from_numpy(labels)
        expected = peer(torch.from_numpy(x).permute(0, 3, 1, 2), there, class_labels=given).sample
    found = jax.jit(made.network.apply)(
        made.params, jnp.asarray(x), jnp.asarray(t), None if labels is None else jnp.asarray(labels)
    )
    expected = expected.permute(0, 2, 3, 1).numpy()
    assert np.abs(found - expected).max() <= 2e-5 * np.abs(expected).max()

"""Folders of diffusers that others wrote: what their pipeline does by itself is what is read."""

from __future__ import annotations

import pytest
from hub_folders import UNET, edit, equal, generator

from shadow import hub
from shadow.config import Config
from shadow.diffusion import rules
from shadow.validate import validate


def foreign(pipeline, kind, scheduler=None):
    """As diffusers would have written it."""
    (pipeline / "shadowprint.json").unlink()
    edit(pipeline / "model_index.json", _class_name=kind)
    if scheduler:
        edit(pipeline / "scheduler" / "scheduler_config.json", _class_name=scheduler)
        edit(pipeline / "model_index.json", scheduler=["diffusers", scheduler])
    return hub.read_config(pipeline)


@pytest.mark.parametrize(
    ("kind", "scheduler", "sampler", "steps"),
    [
        ("DDIMPipeline", "DDIMScheduler", "ddim", 50),
        ("DDPMPipeline", "DDIMScheduler", "ddim", 1000),
        ("DDPMPipeline", "DDPMScheduler", "ddpm", 1000),
        ("DDIMPipeline", "DDPMScheduler", "ddim", 50),
        ("DDIMPipeline", "DPMSolverMultistepScheduler", "ddim", 50),
        ("DDPMPipeline", "DPMSolverMultistepScheduler", "dpmpp_2m", 50),
    ],
)
def test_what_a_foreign_pipeline_does_by_itself(pipeline, kind, scheduler, sampler, steps):
    read = foreign(pipeline, kind, scheduler)
    assert (read.pile.sampler, read.pile.sampler_steps, read.pile.eta) == (sampler, steps, 0.0)
    assert read.pile.use_clipped_model_output == (sampler != "ddim")
    rules.check(read.diffusion, read.pile)


def test_the_class_in_the_index_counts_as_in_diffusers(pipeline):
    (pipeline / "shadowprint.json").unlink()
    edit(pipeline / "scheduler" / "scheduler_config.json", _class_name="DDPMScheduler")
    read = hub.read_config(pipeline)
    assert read.pile.sampler == "ddim"
    assert "DDIMPipeline makes a DDIMScheduler of the DDPMScheduler" in read.notes[0]


def test_a_short_process_has_no_more_steps_than_times(pipeline):
    edit(pipeline / "scheduler" / "scheduler_config.json", num_train_timesteps=300)
    assert foreign(pipeline, "DDPMPipeline").pile.sampler_steps == 300


def test_a_flat_folder(pipeline):
    """As the first pipelines of the Hub are, google/ddpm-* among them."""
    for path in [*(pipeline / "unet").iterdir(), *(pipeline / "scheduler").iterdir()]:
        path.rename(pipeline / path.name)
    (pipeline / "unet").rmdir()
    (pipeline / "scheduler").rmdir()
    read, made = hub.read_generator(pipeline), generator()
    equal(read.params, made.params)
    assert (read.diffusion, read.pile) == (made.diffusion, made.pile)


def test_the_recipe_of_the_readme_at_a_size_that_patches_do_not_divide(tmp_path):
    hub.write_pipeline(generator(UNET, size=10), tmp_path / "theirs")
    config, target = Config(), hub.read_config(tmp_path / "theirs")
    config.denoiser, config.diffusion, config.data.resolution = target.denoiser, target.diffusion, target.size
    config.fleet.pack = 1
    config.data.root = "folder"
    validate(config)


def test_a_name_is_that_of_the_folder(pipeline, monkeypatch):
    monkeypatch.chdir(pipeline)
    assert hub.read_config(".").name == "pipeline"

"""Folders of diffusers that cannot be read: each is refused by what is wrong with it."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pytest
from hub_folders import MODEL, edit
from safetensors.numpy import load_file, save_file

from shadow import hub
from shadow.errors import UserError


def cut_off(pipeline):
    path = pipeline / "unet" / MODEL
    path.write_bytes(path.read_bytes()[:-100])


def cut_off_head(pipeline):
    path = pipeline / "unet" / MODEL
    path.write_bytes(path.read_bytes()[:20])


def pickled(pipeline):
    (pipeline / "unet" / MODEL).unlink()
    (pipeline / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"\x80\x02}q\x00.")


def variant(pipeline):
    (pipeline / "unet" / MODEL).rename(pipeline / "unet" / "diffusion_pytorch_model.fp16.safetensors")


def conditional(pipeline):
    edit(pipeline / "unet" / "config.json", _class_name="UNet2DConditionModel")


def float8(pipeline):
    head = json.dumps({"conv_in.bias": {"dtype": "F8_E4M3", "shape": [8], "data_offsets": [0, 8]}}).encode()
    (pipeline / "unet" / MODEL).write_bytes(len(head).to_bytes(8, "little") + head + bytes(8))


def whole_numbers(pipeline):
    tensors = load_file(pipeline / "unet" / MODEL)
    save_file(tensors | {"conv_in.bias": np.zeros(8, np.int64)}, pipeline / "unet" / MODEL)


def unknown_option(pipeline):
    edit(pipeline / "shadowprint.json", clip_sample=False)


def steps_in_words(pipeline):
    edit(pipeline / "shadowprint.json", sampler_steps="many")


def bad_eta(pipeline):
    edit(pipeline / "shadowprint.json", eta=-1.0)


def no_weights(pipeline):
    (pipeline / "unet" / MODEL).unlink()


def latent(pipeline):
    edit(pipeline / "model_index.json", vqvae=["diffusers", "VQModel"])


def unknown_field(pipeline):
    edit(pipeline / "unet" / "config.json", encoder_hid_dim=3)


def other_network(pipeline):
    edit(pipeline / "unet" / "config.json", layers_per_block=2)


def other_widths(pipeline):
    edit(pipeline / "unet" / "config.json", time_embedding_dim=24)


def odd_size(pipeline):
    edit(pipeline / "unet" / "config.json", sample_size=7)


def thresholding(pipeline):
    edit(pipeline / "scheduler" / "scheduler_config.json", thresholding=True)


def other_scheduler(pipeline):
    edit(pipeline / "scheduler" / "scheduler_config.json", _class_name="ScoreSdeVeScheduler")
    edit(pipeline / "model_index.json", scheduler=["diffusers", "ScoreSdeVeScheduler"])


def no_scheduler(pipeline):
    shutil.rmtree(pipeline / "scheduler")


def no_json(pipeline):
    (pipeline / "unet" / "config.json").write_text("{")


def nothing(pipeline):
    shutil.rmtree(pipeline)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (cut_off, f"unet/{MODEL}: no whole safetensors file"),
        (cut_off_head, f"unet/{MODEL}: no whole safetensors file"),
        (pickled, "a pickle, whose loading runs whatever code is in it, is never opened"),
        (variant, "diffusion_pytorch_model.fp16.safetensors"),
        (conditional, '_class_name = "UNet2DConditionModel"'),
        (latent, "the pipeline also has 'vqvae'"),
        (unknown_field, "'encoder_hid_dim'"),
        (other_network, "is missing; the config beside it is of another network"),
        (other_widths, "has shape"),
        (odd_size, "sample_size = 7"),
        (thresholding, "thresholding"),
        (other_scheduler, '"ScoreSdeVeScheduler"'),
        (no_scheduler, "scheduler_config.json is missing"),
        (float8, "tensor 'conv_in.bias' holds F8_E4M3"),
        (whole_numbers, "tensor 'conv_in.bias' holds I64"),
        (unknown_option, "shadowprint.json: clip_sample = false is not known"),
        (steps_in_words, 'shadowprint.json: sampler_steps = "many" is not known'),
        (bad_eta, "shadowprint.json: eta = -1.0: must be 0 or more"),
        (no_weights, f"{MODEL} is missing (there are: no other safetensors)"),
        (no_json, "unet/config.json: no readable JSON"),
        (nothing, "neither a shadow with checkpoints"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(pipeline, spoil, said):
    spoil(pipeline)
    with pytest.raises(UserError, match=re.escape(said)):
        hub.read_generator(pipeline)

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


def pipeline_of_its_own(pipeline):
    edit(pipeline / "model_index.json", _class_name=["pipeline", "TheirPipeline"])


def pointer_of_git(pipeline):
    text = "version https://git-lfs.github.com/spec/v1\noid sha256:4665a5ea423c2713\nsize 134\n"
    (pipeline / "unet" / MODEL).write_text(text)


def pointer_as_config(pipeline):
    (pipeline / "unet" / "config.json").write_text("version https://git-lfs.github.com/spec/v1\nsize 134\n")


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
        (pipeline_of_its_own, '_class_name = ["pipeline", "TheirPipeline"]: a pipeline with code of its own'),
        (pointer_of_git, f"unet/{MODEL}: a pointer of Git LFS stands in for the file: run `git lfs pull`"),
        (pointer_as_config, "unet/config.json: a pointer of Git LFS"),
        (nothing, "neither a shadow with checkpoints"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(pipeline, spoil, said):
    spoil(pipeline)
    with pytest.raises(UserError, match=re.escape(said)):
        hub.read_generator(pipeline)


def cache_of_the_hub(pipeline, tmp_path):
    """Two revisions, of which `main` is the first by name."""
    root = tmp_path / "models--them--theirs"
    for revision in ("0123", "4567"):
        shutil.copytree(pipeline, root / "snapshots" / revision)
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text("0123")
    return root, f"give {root}/snapshots/0123 (2 pipelines are there)"


def folder_around(pipeline, tmp_path):
    shutil.copytree(pipeline, tmp_path / "out" / "final")
    return tmp_path / "out", f"the pipeline lies further in: give {tmp_path}/out/final"


def checkpoint_of_a_training(pipeline, tmp_path):
    shutil.copytree(pipeline / "unet", tmp_path / "checkpoint-500" / "unet_ema")
    return tmp_path / "checkpoint-500", "checkpoint of a training, without a scheduler: write a pipeline with diffusers"


def one_file(pipeline, tmp_path):
    return pipeline / "unet" / MODEL, f"it is a file of a pipeline: give the folder, {pipeline}"


def one_file_alone(pipeline, tmp_path):
    shutil.copy(pipeline / "unet" / MODEL, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors", "weights alone say nothing of their network"


def one_pickle(pipeline, tmp_path):
    (tmp_path / "model.ckpt").write_bytes(b"\x80\x02}q\x00.")
    return tmp_path / "model.ckpt", "it is a pickle, which is never opened"


@pytest.mark.parametrize(
    "astray",
    [cache_of_the_hub, folder_around, checkpoint_of_a_training, one_file, one_file_alone, one_pickle],
)
def test_a_place_beside_the_pipeline_is_told_from_it(pipeline, tmp_path, astray):
    place, said = astray(pipeline, tmp_path)
    for read in (hub.read_generator, hub.read_pipeline):  # of `compare`, and of `import`
        with pytest.raises(UserError, match=re.escape(said)):
            read(place)


@pytest.mark.parametrize(
    ("prefixes", "writer"),
    [
        (["_orig_mod."], "torch.compile"),
        (["module."], "DataParallel"),
        (["module._orig_mod."], "torch.compile"),
        (["model."], "what was around the network"),
        (["online_model.", "ema_model."], "EMA"),
    ],
)
def test_weights_with_their_wrapping_are_named_with_a_command_that_mends_them(pipeline, prefixes, writer):
    path = pipeline / "unet" / MODEL
    tensors = load_file(path)
    wrapped = {f"{prefix}{name}": tensor for prefix in prefixes for name, tensor in tensors.items()}
    save_file(wrapped | {"step": np.zeros(1, np.int64)}, path)
    with pytest.raises(UserError, match=f"tensors are named {prefixes[-1]}..., by .*{writer}") as caught:
        hub.read_generator(pipeline)
    exec(str(caught.value).split('python -c "')[1].removesuffix('"'), {})
    mended = load_file(path)
    assert mended.keys() == tensors.keys()
    assert all(np.array_equal(mended[name], tensor) for name, tensor in tensors.items())
    hub.read_generator(pipeline)


def test_a_byte_order_mark_does_not_matter(pipeline):
    for path in (
        pipeline / "model_index.json",
        pipeline / "unet/config.json",
        pipeline / "scheduler/scheduler_config.json",
    ):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    hub.read_generator(pipeline)

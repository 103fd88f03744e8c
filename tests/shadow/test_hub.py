"""Folders of diffusers, without PyTorch: there and back, and what is refused. With it: test_hub_parity.py."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hub_folders import SIZE, UNET, edit, generator, shadow_run
from hypothesis import HealthCheck, given, settings
from legal_configs import legal_unets
from safetensors.numpy import load_file, save_file

from shadow import hub
from shadow.config import Config, DiffusionConfig, PileConfig, UNet2DConfig, validate
from shadow.diffusion import rules
from shadow.errors import UserError

MODEL = "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub") / "pipeline"
    hub.write_pipeline(generator(), folder)
    return folder


@pytest.fixture
def pipeline(written, tmp_path):
    return shutil.copytree(written, tmp_path / "pipeline")


def equal(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_there_and_back(written):
    made, back = generator(), hub.read_generator(written)
    equal(back.params, made.params)
    assert (back.size, back.diffusion, back.pile) == (SIZE, made.diffusion, PileConfig())
    assert back.denoiser.unet.block_out_channels == (8, 8)
    assert back.notes == ()


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(unet=legal_unets())
def test_any_legal_network_runs_and_comes_back_bit_for_bit(tmp_path, unet):
    made = generator(unet)
    x = jnp.ones((1, SIZE, SIZE, unet.in_channels))
    labels = None
    if unet.class_embed_type == "identity":
        labels = jnp.ones((1, unet.time_width))
    elif unet.conditional:
        labels = jnp.ones(1, jnp.int32)
    with jax.disable_jit():
        out = made.network.apply(made.params, x, jnp.ones(1, jnp.int32), labels)
    assert out.shape == (1, SIZE, SIZE, unet.out_channels)
    assert bool(jnp.isfinite(out).all())
    folder = tmp_path / "any"
    shutil.rmtree(folder, ignore_errors=True)
    hub.write_pipeline(made, folder)
    back = hub.read_generator(folder)
    equal(back.params, made.params)
    with_names = {"down_block_types": unet.down_blocks, "up_block_types": unet.up_blocks}
    assert back.denoiser.unet == UNet2DConfig(**vars(unet) | with_names)


def test_files_are_those_of_diffusers(written):
    names = {path.relative_to(written).as_posix() for path in written.rglob("*") if path.is_file()}
    of_diffusers = {"model_index.json", "unet/config.json", f"unet/{MODEL}", "scheduler/scheduler_config.json"}
    assert names == of_diffusers | {"shadowprint.json"}
    ours = {"sampler_steps": 25, "eta": 0.0, "use_clipped_model_output": True}
    assert json.loads((written / "shadowprint.json").read_text()) == ours
    index = json.loads((written / "model_index.json").read_text())
    assert index["_class_name"] == "DDIMPipeline"
    assert index["unet"] == ["diffusers", "UNet2DModel"]
    assert index["scheduler"] == ["diffusers", "DDIMScheduler"]
    for path in ("unet/config.json", "scheduler/scheduler_config.json", "model_index.json"):
        assert "_diffusers_version" in json.loads((written / path).read_text())


def test_load_denoiser_computes_what_the_network_does(written):
    made = generator()
    x = np.random.default_rng(0).standard_normal((2, SIZE, SIZE, 1)).astype(np.float32)
    expected = made.network.apply(made.params, jnp.asarray(x), jnp.array([3, 700]))
    np.testing.assert_allclose(hub.load_denoiser(written)(x, [3, 700]), expected, atol=1e-5)


def test_a_model_alone_is_a_denoiser_without_a_scheduler(written):
    alone = hub.read_generator(written / "unet")
    assert alone.diffusion is None
    assert alone.pile is None
    with pytest.raises(UserError, match="without a scheduler"):
        hub.write_pipeline(alone, written.with_name("other"))


def test_shards(pipeline):
    whole = pipeline / "unet" / MODEL
    tensors = load_file(whole)
    whole.unlink()
    names = sorted(tensors)
    places = {}
    for i, part in enumerate((names[::2], names[1::2])):
        shard = f"diffusion_pytorch_model-{i + 1:05d}-of-00002.safetensors"
        save_file({name: tensors[name] for name in part}, pipeline / "unet" / shard)
        places |= dict.fromkeys(part, shard)
    index = pipeline / "unet" / f"{MODEL}.index.json"
    index.write_text(json.dumps({"weight_map": places}))
    equal(hub.read_generator(pipeline).params, generator().params)

    index.write_text(json.dumps({"weight_map": places | {names[0]: places[names[1]]}}))
    with pytest.raises(UserError, match=rf"has tensor '{names[0]}', which .* places in .*00002"):
        hub.read_generator(pipeline)
    save_file({name: 0 * tensors[name] for name in names[::2] + names[1:2]}, pipeline / "unet" / places[names[0]])
    index.write_text(json.dumps({"weight_map": places}))
    with pytest.raises(UserError, match=rf"has tensor '{names[1]}', which .* places in .*00002"):
        hub.read_generator(pipeline)
    save_file({name: tensors[name] for name in names[::2]}, pipeline / "unet" / places[names[0]])
    index.write_text(json.dumps({"weight_map": places | {"conv_in.bias": "../elsewhere.safetensors"}}))
    with pytest.raises(UserError, match="outside of the folder"):
        hub.read_generator(pipeline)
    index.write_text(json.dumps({"weight_map": places | {"ghost": places["conv_in.bias"]}}))
    with pytest.raises(UserError, match="'ghost'"):
        hub.read_generator(pipeline)
    (pipeline / "unet" / shard).unlink()
    index.write_text(json.dumps({"weight_map": places}))
    with pytest.raises(UserError, match=re.escape(shard)):
        hub.read_generator(pipeline)


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


def test_what_the_sampler_of_a_shadow_does_comes_back(tmp_path):
    pile = PileConfig(sampler_steps=7, eta=0.5, use_clipped_model_output=False)
    hub.write_pipeline(generator(pile=pile), tmp_path / "out")
    assert hub.read_config(tmp_path / "out").pile == pile


def test_a_flat_folder(pipeline):
    """As the first pipelines of the Hub are, google/ddpm-* among them."""
    for path in [*(pipeline / "unet").iterdir(), *(pipeline / "scheduler").iterdir()]:
        path.rename(pipeline / path.name)
    (pipeline / "unet").rmdir()
    (pipeline / "scheduler").rmdir()
    read, made = hub.read_generator(pipeline), generator()
    equal(read.params, made.params)
    assert (read.diffusion, read.pile) == (made.diffusion, made.pile)


def test_the_config_alone(pipeline):
    (pipeline / "unet" / MODEL).unlink()
    read, made = hub.read_config(pipeline), generator()
    assert (read.denoiser.unet.block_out_channels, read.diffusion, read.size) == ((8, 8), made.diffusion, SIZE)
    assert read.params == {}
    edit(pipeline / "unet" / "config.json", decay=0.99)
    assert hub.read_config(pipeline).notes[0].startswith("decay = 0.99")


def test_the_recipe_of_the_readme_at_a_size_that_patches_do_not_divide(tmp_path):
    hub.write_pipeline(generator(UNET, size=10), tmp_path / "theirs")
    config, target = Config(), hub.read_config(tmp_path / "theirs")
    config.denoiser, config.diffusion, config.data.resolution = target.denoiser, target.diffusion, target.size
    config.fleet.pack = 1
    config.data.root = "folder"
    validate(config)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_weights_of_16_bits(pipeline, dtype):
    from safetensors.flax import save_file as save

    path = pipeline / "unet" / MODEL
    rounded = {name: jnp.asarray(tensor, dtype) for name, tensor in load_file(path).items()}
    save(rounded, path)
    params = hub.read_generator(pipeline).params
    equal(
        params, jax.tree.map(lambda leaf: np.asarray(jnp.asarray(leaf, dtype).astype(jnp.float32)), generator().params)
    )


def test_labels_and_times_outside_of_their_table_are_refused(tmp_path):
    unet = UNet2DConfig(
        block_out_channels=(8,), norm_num_groups=4, num_class_embeds=3, time_embedding_type="learned",
        num_train_timesteps=9,
    )  # fmt: skip
    hub.write_pipeline(
        generator(unet, diffusion=DiffusionConfig(timesteps=9), pile=PileConfig(sampler_steps=9)), tmp_path / "a"
    )
    denoiser, x = hub.load_denoiser(tmp_path / "a"), np.zeros((2, SIZE, SIZE, 1))
    assert denoiser(x, [0, 8], [0, 2]).shape == x.shape  # lists will do
    for t, labels, said in (
        ([0, 9], [0, 2], "t go from 0 to 9: must lie between 0 and 8"),
        ([-1, 8], [0, 2], "t go from -1"),
        ([0, 8], [0, 3], "class_labels go from 0 to 3: must lie between 0 and 2"),
        ([0, 8], [0.0, 2.0], "class_labels are float32: must be whole numbers"),
    ):
        with pytest.raises(ValueError, match=said):
            denoiser(x, t, labels)


def test_a_name_is_that_of_the_folder(pipeline, monkeypatch):
    monkeypatch.chdir(pipeline)
    assert hub.read_config(".").name == "pipeline"


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


@pytest.mark.parametrize("sampler", ["ddim", "ddpm", "dpmpp_2m"])
def test_the_process_and_the_sampler_come_back(tmp_path, sampler):
    made = generator(
        UNET, diffusion=DiffusionConfig(schedule="linear", prediction="v"), pile=PileConfig(sampler=sampler)
    )
    hub.write_pipeline(made, tmp_path / "out")
    back = hub.read_generator(tmp_path / "out")
    assert (back.diffusion, back.pile) == (made.diffusion, made.pile)

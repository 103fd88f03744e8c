"""Folders of diffusers, without PyTorch: there and back, and what is refused. With it: test_hub_parity.py."""

from __future__ import annotations

import json
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
from shadow.config import DiffusionConfig, PileConfig, UNet2DConfig
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
    out = jax.eval_shape(made.network.apply, made.params, x, jnp.ones(1, jnp.int32), labels)
    assert out.shape == (1, SIZE, SIZE, unet.out_channels)
    folder = tmp_path / "any"
    shutil.rmtree(folder, ignore_errors=True)
    hub.write_pipeline(made, folder)
    back = hub.read_generator(folder)
    equal(back.params, made.params)
    with_names = {"down_block_types": unet.down_blocks, "up_block_types": unet.up_blocks}
    assert back.denoiser.unet == UNet2DConfig(**vars(unet) | with_names)


def test_files_are_those_of_diffusers(written):
    names = {path.relative_to(written).as_posix() for path in written.rglob("*") if path.is_file()}
    assert names == {"model_index.json", "unet/config.json", f"unet/{MODEL}", "scheduler/scheduler_config.json"}
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
        (conditional, "_class_name = 'UNet2DConditionModel'"),
        (latent, "the pipeline also has 'vqvae'"),
        (unknown_field, "'encoder_hid_dim'"),
        (other_network, "is missing; the config beside it is of another network"),
        (other_widths, "has shape"),
        (odd_size, "sample_size = 7"),
        (thresholding, "thresholding"),
        (other_scheduler, "'ScoreSdeVeScheduler'"),
        (no_scheduler, "scheduler_config.json: no readable JSON"),
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
    with pytest.raises(UserError, match=re.escape("no checkpoint of step 15; there are: 10, 20")):
        hub.read_generator("shadows/0003@15", run)
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

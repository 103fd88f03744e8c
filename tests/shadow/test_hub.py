"""Folders of diffusers, without PyTorch: there and back. With it: test_hub_parity.py."""

from __future__ import annotations

import json
import re
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hub_folders import MODEL, SIZE, UNET, drawn, edit, equal, generator
from hypothesis import HealthCheck, given, settings
from legal_configs import legal_unets
from safetensors.numpy import load_file, save_file

from shadow import hub
from shadow.config import DiffusionConfig, PileConfig, UNet2DConfig
from shadow.errors import UserError


def test_there_and_back(written):
    made, back = generator(), hub.read_generator(written)
    equal(back.params, made.params)
    assert (back.size, back.diffusion, back.pile) == (SIZE, made.diffusion, PileConfig())
    assert back.denoiser.unet.block_out_channels == (8, 8)
    assert back.notes == ()


@pytest.mark.slow
@settings(max_examples=4, deadline=None)  # each is compiled anew
@given(unet=legal_unets())
def test_any_legal_network_runs(unet):
    made = drawn(unet)
    x = jnp.ones((1, SIZE, SIZE, unet.in_channels))
    labels = None
    if unet.class_embed_type == "identity":
        labels = jnp.ones((1, unet.time_width))
    elif unet.conditional:
        labels = jnp.ones(1, jnp.int32)
    out = jax.jit(made.network.apply)(made.params, x, jnp.ones(1, jnp.int32), labels)
    assert out.shape == (1, SIZE, SIZE, unet.out_channels)
    assert bool(jnp.isfinite(out).all())


@pytest.mark.slow
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(unet=legal_unets())
def test_any_legal_network_comes_back_bit_for_bit(tmp_path, unet):
    made, folder = drawn(unet), tmp_path / "any"
    shutil.rmtree(folder, ignore_errors=True)
    hub.write_pipeline(made, folder)
    back = hub.read_generator(folder)
    equal(back.params, made.params)
    with_names = {"down_block_types": unet.down_blocks, "up_block_types": unet.up_blocks}
    assert back.denoiser.unet == UNet2DConfig(**vars(unet) | with_names)


def test_files_are_those_of_diffusers(written):
    names = {path.relative_to(written).as_posix() for path in written.rglob("*") if path.is_file()}
    of_diffusers = {"model_index.json", "unet/config.json", f"unet/{MODEL}", "scheduler/scheduler_config.json"}
    assert names == of_diffusers | {"shadowprint.json", "README.md"}
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
    expected = jax.jit(made.network.apply)(made.params, jnp.asarray(x), jnp.array([3, 700]))
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


def test_what_the_sampler_of_a_shadow_does_comes_back(tmp_path):
    pile = PileConfig(sampler_steps=7, eta=0.5, use_clipped_model_output=False)
    hub.write_pipeline(generator(pile=pile), tmp_path / "out")
    assert hub.read_config(tmp_path / "out").pile == pile


def test_the_config_alone(pipeline):
    (pipeline / "unet" / MODEL).unlink()
    read, made = hub.read_config(pipeline), generator()
    assert (read.denoiser.unet.block_out_channels, read.diffusion, read.size) == ((8, 8), made.diffusion, SIZE)
    assert read.params == {}
    edit(pipeline / "unet" / "config.json", decay=0.99)
    assert hub.read_config(pipeline).notes[0].startswith("decay = 0.99")


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


@pytest.mark.parametrize("sampler", ["ddim", "ddpm", "dpmpp_2m"])
def test_the_process_and_the_sampler_come_back(tmp_path, sampler):
    made = generator(
        UNET, diffusion=DiffusionConfig(schedule="linear", prediction="v"), pile=PileConfig(sampler=sampler)
    )
    hub.write_pipeline(made, tmp_path / "out")
    back = hub.read_generator(tmp_path / "out")
    assert (back.diffusion, back.pile) == (made.diffusion, made.pile)

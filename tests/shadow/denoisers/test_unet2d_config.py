"""The dialect of `unet/config.json`: round trips, refusals by name."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from legal_configs import legal_unets

from shadow.denoisers import unet2d_config
from shadow.denoisers.unet2d_config import UNet2DConfig
from shadow.errors import UserError


@given(legal_unets(), st.integers(1, 64))
def test_round_trip(config, size):
    unet2d_config.check(config, "denoiser.unet")
    content = json.loads(json.dumps(unet2d_config.to_diffusers(config, size)))
    back, found = unet2d_config.from_diffusers(content | {"_class_name": "UNet2DModel"}, "config.json")
    named = replace(config, down_block_types=config.down_blocks, up_block_types=config.up_blocks)
    assert (back, found) == (named, size)


def test_fields_left_out_have_the_defaults_of_diffusers():
    config, size = unet2d_config.from_diffusers({"norm_num_groups": 8}, "config.json")
    assert size is None
    assert (config.in_channels, config.layers_per_block, config.add_attention) == (3, 2, True)
    assert config.block_out_channels == (224, 448, 672, 896)
    assert config.up_block_types == ("AttnUpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D")


def test_the_defaults_are_those_of_diffusers():
    """Read from the installed diffusers' source, which without PyTorch cannot be imported."""
    import ast
    import importlib.util
    from pathlib import Path

    package = importlib.util.find_spec("diffusers").submodule_search_locations[0]
    tree = ast.parse((Path(package) / "models/unets/unet_2d.py").read_text())
    model = next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "UNet2DModel")
    init = next(n for n in model.body if isinstance(n, ast.FunctionDef) and n.name == "__init__")
    names = [arg.arg for arg in init.args.args[1:]]
    theirs = dict(zip(names, map(ast.literal_eval, init.args.defaults), strict=True))
    ours = unet2d_config.to_diffusers(unet2d_config.from_diffusers({}, "config.json")[0], None)
    assert ours == theirs


NAN, INF = float("nan"), float("inf")
BAD = [
    ({"block_out_channels": ()}, "block_out_channels"),
    ({"block_out_channels": (8, 0)}, "block_out_channels"),
    ({"block_out_channels": (8, 18), "norm_num_groups": 4}, "18 is not divisible by norm_num_groups = 4"),
    ({"block_out_channels": (9, 9), "norm_num_groups": 3}, "must be even"),
    ({"norm_num_groups": 0}, "norm_num_groups"),
    ({"layers_per_block": 0}, "layers_per_block"),
    ({"in_channels": 0}, "in_channels"),
    ({"out_channels": 0}, "out_channels"),
    ({"down_block_types": ("DownBlock2D",)}, "as many as block_out_channels, 3"),
    ({"down_block_types": ("SkipDownBlock2D",) * 3}, "SkipDownBlock2D"),
    ({"up_block_types": ("DownBlock2D",) * 3}, "up_block_types"),
    ({"down_block_types": ("AttnDownBlock2D",) * 3, "attention_head_dim": 7}, "attention_head_dim = 7"),
    ({"add_attention": True, "attention_head_dim": 48}, "attention_head_dim = 48"),
    ({"add_attention": True, "attn_norm_num_groups": 7}, "attn_norm_num_groups = 7"),
    ({"attention_head_dim": -1}, "attention_head_dim"),
    ({"downsample_padding": 2}, "downsample_padding"),
    ({"downsample_type": "fir"}, "downsample_type"),
    ({"act_fn": "tanh"}, "act_fn = 'tanh'"),
    ({"dropout": 1.0}, "dropout"),
    ({"resnet_time_scale_shift": "spatial"}, "resnet_time_scale_shift"),
    ({"time_embedding_type": "random"}, "time_embedding_type"),
    ({"time_embedding_type": "learned"}, "num_train_timesteps"),
    ({"freq_shift": 16}, "freq_shift"),
    *(({name: value}, name) for name in ("norm_eps", "mid_block_scale_factor") for value in (0.0, -1.0, NAN, INF)),
    ({"block_out_channels": [8, 8]}, "block_out_channels = [8, 8]: must be a tuple of whole numbers"),
    ({"block_out_channels": (8, True)}, "block_out_channels = (8, True): must be a tuple of whole numbers"),
    ({"down_block_types": ["DownBlock2D"] * 3}, "must be a tuple of names"),
    ({"layers_per_block": True}, "layers_per_block = True: must be a whole number"),
    ({"layers_per_block": 1.0}, "layers_per_block = 1.0: must be a whole number"),
    ({"add_attention": 1}, "add_attention = 1: must be a true or false"),
    ({"down_block_types": ("SkipDownBlock2D",) * 3}, "NCSN++ is not supported"),
    ({"class_embed_type": "simple_projection"}, "class_embed_type"),
    ({"class_embed_type": "timestep", "num_class_embeds": 4}, "num_class_embeds"),
]


@pytest.mark.parametrize(("changed", "said"), BAD)
def test_what_is_not_supported_is_refused_by_name(changed, said):
    with pytest.raises(UserError, match=r"^denoiser\.unet\.") as caught:
        unet2d_config.check(UNet2DConfig(**changed), "denoiser.unet")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"in_channels": 3}, "gray"),
        ({"num_class_embeds": 2}, "num_class_embeds = 2: shadows have no class labels"),
        ({"class_embed_type": "identity"}, "class_embed_type = 'identity'"),
        ({"time_embedding_type": "fourier"}, "fourier"),
        ({"time_embedding_type": "learned", "num_train_timesteps": 999}, "diffusion.timesteps = 1000"),
    ],
)
def test_what_only_imported_networks_may_have_is_refused_for_shadows(changed, said):
    config = UNet2DConfig(**changed)
    unet2d_config.check(config, "denoiser.unet")
    with pytest.raises(UserError, match=re.escape(said)):
        unet2d_config.check_trained(config, "denoiser.unet", 1000)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"cross_attention_dim": 768}, "the field 'cross_attention_dim' is unknown"),
        ({"sample_size": [32, 16]}, "only square images"),
        ({"sample_size": "32"}, 'sample_size = "32"'),
        ({"block_out_channels": 32}, "block_out_channels = 32: is not supported, a list of whole numbers is"),
        ({"block_out_channels": [32, "64", 64, 64]}, "block_out_channels"),
        ({"norm_num_groups": None}, "norm_num_groups = null"),
        ({"add_attention": 1}, "add_attention = 1: is not supported, a true or false is"),
        ({"attention_head_dim": 0}, "attention_head_dim = 0: use null"),
        ({"norm_eps": "1e-5"}, "norm_eps"),
        ({"norm_eps": 0}, "unet/config.json: norm_eps = 0: must be above 0"),
        ({"mid_block_type": "Mid"}, 'mid_block_type = "Mid"'),
        ({"time_embedding_type": "learned"}, "unet/config.json: num_train_timesteps = null: "),
        ({"down_block_types": ["AttnSkipDownBlock2D"] * 4}, "NCSN++ is not supported"),
        ({"sample_size": []}, "sample_size = []"),
    ],
)
def test_files_that_cannot_be_read_are_refused_by_name(content, said):
    with pytest.raises(UserError, match=r"^unet/config\.json") as caught:
        unet2d_config.from_diffusers(content, "unet/config.json")
    assert said in str(caught.value)


def test_the_configs_of_averages_are_read():
    """As diffusers' EMAModel.save_pretrained writes them."""
    average = {"decay": 0.9999, "inv_gamma": 1.0, "min_decay": 0.0, "optimization_step": 100, "power": 0.75}
    average |= {"update_after_step": 0, "use_ema_warmup": False}
    assert unet2d_config.from_diffusers(average, "config.json") == unet2d_config.from_diffusers({}, "config.json")
    notes = unet2d_config.notes(average)
    assert len(notes) == 7
    assert notes[0].startswith("decay = 0.9999 ")
    assert unet2d_config.notes({}) == ()


def test_null_resizes_by_convolutions():
    config, _ = unet2d_config.from_diffusers({"downsample_type": None, "upsample_type": None}, "config.json")
    assert (config.downsample_type, config.upsample_type) == ("conv", "conv")

"""Weights by their PyTorch names: layouts, former names, refusals by name."""

from __future__ import annotations

import re

import jax
import ml_dtypes
import numpy as np
import pytest

from shadow.config import DenoiserConfig, UNet2DConfig
from shadow.denoisers import weights
from shadow.denoisers.build import build
from shadow.errors import UserError

NETWORK = build(
    DenoiserConfig(kind="unet2d", unet=UNet2DConfig(block_out_channels=(8, 8), norm_num_groups=4, add_attention=True)),
    8,
)


@pytest.fixture(scope="module")
def params():
    return NETWORK.init(jax.random.key(0))


def test_layouts_are_those_of_pytorch(params):
    tensors = weights.to_diffusers(params)
    conv, linear = params["conv_in"], params["time_embedding"]["linear_1"]
    np.testing.assert_array_equal(tensors["conv_in.weight"][5, 0, 2, 1], conv["kernel"][2, 1, 0, 5])
    np.testing.assert_array_equal(tensors["time_embedding.linear_1.weight"], linear["kernel"].T)
    np.testing.assert_array_equal(tensors["mid_block.attentions.0.to_out.0.bias"].shape, (8,))
    assert all(array.flags["C_CONTIGUOUS"] and array.dtype == np.float32 for array in tensors.values())


def test_there_and_back(params):
    back = weights.from_diffusers(weights.to_diffusers(params), params, "file")
    assert jax.tree.structure(back) == jax.tree.structure(params)
    jax.tree.map(np.testing.assert_array_equal, back, params)


def test_former_names_of_attention_are_read(params):
    new = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    former = {}
    for name, tensor in weights.to_diffusers(params).items():
        for now, then in new.items():
            name = name.replace(f"attentions.0.{now}.", f"attentions.0.{then}.")
        former[name] = tensor
    assert "mid_block.attentions.0.proj_attn.weight" in former
    back = weights.from_diffusers(former, params, "file")
    jax.tree.map(np.testing.assert_array_equal, back, params)
    both = former | weights.to_diffusers(params)
    with pytest.raises(UserError, match="former and their present names"):
        weights.from_diffusers(both, params, "file")


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_other_floats_become_float32(params, dtype):
    tensors = {name: array.astype(dtype) for name, array in weights.to_diffusers(params).items()}
    back = weights.from_diffusers(tensors, params, "file")
    assert {leaf.dtype for leaf in jax.tree.leaves(back)} == {np.dtype(np.float32)}
    np.testing.assert_array_equal(back["conv_out"]["bias"], tensors["conv_out.bias"].astype(np.float32))


def without(tensors):
    del tensors["conv_in.bias"]


def extra(tensors):
    tensors["class_embedding.weight"] = np.zeros((3, 32), np.float32)


def reshaped(tensors):
    tensors["conv_in.weight"] = np.zeros((8, 3, 3, 3), np.float32)


def quantised(tensors):
    tensors["conv_in.weight"] = tensors["conv_in.weight"].astype(np.int8)


def not_finite(tensors):
    tensors["conv_in.bias"] = np.full(8, np.nan, np.float32)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (without, "tensor 'conv_in.bias' is missing"),
        (extra, "tensor 'class_embedding.weight' has no place"),
        (reshaped, "tensor 'conv_in.weight' has shape (8, 3, 3, 3), the network of the config beside it (8, 1, 3, 3)"),
        (quantised, "tensor 'conv_in.weight' holds int8"),
        (not_finite, "tensor 'conv_in.bias' has values that are not finite"),
    ],
)
def test_what_does_not_fit_is_named(params, spoil, said):
    tensors = weights.to_diffusers(params)
    spoil(tensors)
    with pytest.raises(UserError, match=r"^file: ") as caught:
        weights.from_diffusers(tensors, params, "file")
    assert re.search(re.escape(said), str(caught.value))

"""UNet2D: shapes, names, gradients, jit, vmap, dropout, refusals. Parity with PyTorch: test_parity.py."""

from __future__ import annotations

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from shadow.config import DenoiserConfig
from shadow.denoisers.build import build
from shadow.denoisers.times import time_features
from shadow.denoisers.unet2d import UNet2D
from shadow.denoisers.unet2d_blocks import GroupNorm, Upsample2D, dropout
from shadow.denoisers.unet2d_config import UNet2DConfig

SMALL = {"block_out_channels": (8, 16), "norm_num_groups": 4}
ATTENTION = {
    **SMALL,
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    "add_attention": True,
    "attention_head_dim": 4,
}
RESIZED = {
    **SMALL,
    "down_block_types": ("ResnetDownsampleBlock2D", "DownBlock2D"),
    "up_block_types": ("ResnetUpsampleBlock2D", "UpBlock2D"),
    "resnet_time_scale_shift": "scale_shift",
    "add_attention": True,
}
EVERY = {  # the blocks of both
    **RESIZED,
    "down_block_types": ("ResnetDownsampleBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "ResnetUpsampleBlock2D"),
    "attention_head_dim": 4,
}


def split(seed=0, **config):
    return nnx.split(UNet2D(UNet2DConfig(**{**SMALL, **config}), rngs=nnx.Rngs(seed)))


def inputs(side=8, channels=1, batch=3):
    keys = jax.random.split(jax.random.key(7), 2)
    x = jax.random.normal(keys[0], (batch, side, side, channels))
    return x, jax.random.randint(keys[1], (batch,), 0, 1000)


def close(actual, expected, tolerance):
    """Largest difference against the largest expected value: single entries may be near zero."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= tolerance * np.abs(expected).max()


def apply(graph, state, x, t):
    return nnx.merge(graph, state)(x, t)


@pytest.mark.parametrize(
    ("config", "shape"),
    [
        (SMALL, (3, 8, 8, 1)),
        (ATTENTION, (3, 8, 8, 1)),
        (RESIZED, (1, 8, 8, 1)),
        ({**SMALL, "block_out_channels": (8,), "in_channels": 3, "out_channels": 2}, (2, 5, 5, 3)),
        ({**SMALL, "block_out_channels": (8, 8, 16), "layers_per_block": 2}, (1, 4, 12, 1)),
        ({**SMALL, "mid_block_type": "", "downsample_padding": 0}, (1, 8, 8, 1)),
    ],
)
def test_shapes(config, shape):
    graph, state = split(**config)
    x, t = jnp.zeros(shape), jnp.zeros(shape[0])
    out = jax.eval_shape(lambda s: apply(graph, s, x, t), state)
    assert out.shape == (*shape[:3], config.get("out_channels", 1))
    assert out.dtype == jnp.float32


def test_paths_are_those_of_diffusers():
    paths = {".".join(map(str, path[:-1])) for path, _ in nnx.to_flat_state(split(**ATTENTION)[1])}
    assert {
        "conv_in",
        "time_embedding.linear_1",
        "down_blocks.0.resnets.0.norm1",
        "down_blocks.0.downsamplers.0.conv",
        "down_blocks.1.resnets.0.conv_shortcut",
        "down_blocks.1.attentions.0.group_norm",
        "mid_block.attentions.0.to_out.0",
        "mid_block.resnets.1.time_emb_proj",
        "up_blocks.0.attentions.1.to_q",
        "up_blocks.0.upsamplers.0.conv",
        "conv_norm_out",
        "conv_out",
    } <= paths
    assert "down_blocks.1.downsamplers.0.conv" not in paths
    assert "up_blocks.1.upsamplers.0.conv" not in paths


@pytest.mark.slow
def test_jit_equals_eager():
    graph, state = split(**(ATTENTION | {"block_out_channels": (8, 8)}))  # few different shapes to compile
    x, t = inputs()
    close(jax.jit(lambda s, x, t: apply(graph, s, x, t))(state, x, t), apply(graph, state, x, t), 1e-5)


@pytest.mark.slow
def test_vmapped_equals_solo():
    config = {"block_out_channels": (8, 8)}  # few different shapes, since every one of them compiles anew
    graph, _ = split(**config)
    x, t = inputs()
    keys = jax.random.split(jax.random.key(3), 2)
    stacked = jax.vmap(lambda key: split(key, **config)[1])(keys)
    outs = jax.jit(jax.vmap(lambda s: apply(graph, s, x, t)))(stacked)
    solo = jax.jit(lambda s: apply(graph, s, x, t))
    for i, key in enumerate(keys):
        state = split(key, **config)[1]
        for one, many in zip(jax.tree.leaves(state), jax.tree.leaves(stacked), strict=True):
            close(many[i], one, 1e-6)
        close(outs[i], solo(state), 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("config", [ATTENTION, EVERY])  # SMALL has no layer that is in neither
def test_every_parameter_has_a_gradient(config):
    graph, state = split(**config)
    x, t = inputs()
    gradient = jax.jit(jax.grad(lambda s: (apply(graph, s, x, t) ** 2).mean()))(state)
    for path, leaf in nnx.to_flat_state(gradient):
        assert np.isfinite(leaf[...]).all(), path
        # A constant added to every key changes no softmax: this gradient is zero but for rounding.
        if path[-2:] != ("to_k", "bias"):
            assert np.abs(leaf[...]).max() > 1e-9, path


def test_time_changes_the_output_and_may_be_int_or_float():
    graph, state = split()
    x, t = inputs()
    said = jax.jit(lambda t: apply(graph, state, x, t))
    early, late = said(t), said(t + 100)
    assert np.abs(early - late).max() > 1e-4
    np.testing.assert_array_equal(said(t.astype(jnp.float32)), early)


def test_time_features_are_cosines_then_sines():
    t = np.array([0, 1, 999])
    angles = t[:, None] * 10_000.0 ** (-np.arange(4) / 4)
    expected = np.concatenate([np.cos(angles), np.sin(angles)], axis=1)
    np.testing.assert_allclose(time_features(jnp.asarray(t), 8), expected, atol=1e-4)


def test_group_norm_equals_that_of_flax():
    ours, theirs = (
        GroupNorm(8, 4, epsilon=1e-5),
        nnx.GroupNorm(8, num_groups=4, epsilon=1e-5, rngs=nnx.Rngs(0)),
    )
    for name in ("scale", "bias"):
        value = jax.random.normal(jax.random.key(len(name)), (8,))
        getattr(ours, name)[...] = value
        getattr(theirs, name)[...] = value
    x = 3 + inputs(channels=8)[0]
    close(ours(x), theirs(x), 1e-5)


def test_up_sampling_equals_repeat_then_convolution():
    up = Upsample2D(6, rngs=nnx.Rngs(0))
    up.conv.bias[...] = jnp.arange(6.0)
    x = jax.random.normal(jax.random.key(1), (2, 3, 5, 6))
    close(up(x, x, dropout(0, None)), up.conv(jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)), 1e-5)


@pytest.mark.parametrize(
    ("x_shape", "t_shape", "field"),
    [
        ((2, 9, 8, 1), (2,), "cannot be halved 1 times"),
        ((2, 8, 9, 1), (2,), "cannot be halved 1 times"),
        ((2, 8, 8, 3), (2,), "in_channels"),
        ((8, 8, 1), (8,), "x has shape"),
        ((2, 8, 8, 1), (1,), "t has shape"),
        ((2, 8, 8, 1), (), "t has shape"),
    ],
)
def test_refused_inputs(x_shape, t_shape, field):
    graph, state = split()
    with pytest.raises(ValueError, match=field):
        apply(graph, state, jnp.zeros(x_shape), jnp.zeros(t_shape))


@pytest.mark.parametrize(
    ("config", "labels", "said"),
    [
        ({"num_class_embeds": 3}, None, "class_labels are missing"),
        ({}, jnp.zeros(2, jnp.int32), "class_labels are not asked for"),
    ],
)
def test_labels_are_given_where_and_only_where_they_are_asked_for(config, labels, said):
    graph, state = split(**config)
    with pytest.raises(ValueError, match=re.escape(said)):
        nnx.merge(graph, state)(jnp.zeros((2, 8, 8, 1)), jnp.zeros(2), labels)


def test_dropout_leaves_out_its_share_and_scales_the_rest():
    drop = dropout(0.25, jax.random.key(0))
    ones = jnp.ones((64, 64))
    first, second = drop(ones), drop(ones)
    assert {0.0, float(np.float32(1 / 0.75))} == set(np.unique(first).tolist())
    assert abs(float((first == 0).mean()) - 0.25) < 4 * math.sqrt(0.25 * 0.75 / ones.size)
    assert (first != second).any()  # every block draws anew
    np.testing.assert_array_equal(first, dropout(0.25, jax.random.key(0))(ones))
    np.testing.assert_array_equal(dropout(0.25, None)(ones), ones)  # sampling leaves nothing out


def test_a_key_switches_dropout_on():
    x, t = inputs()
    small = {"block_out_channels": (8,), "norm_num_groups": 4}  # few different shapes to compile
    for rate in (0.0, 0.5):
        network = build(DenoiserConfig(kind="unet2d", unet=UNet2DConfig(**small, dropout=rate)), 8)
        params = network.init(jax.random.key(0))
        plain = network.apply(params, x, t)
        dropped = network.apply(params, x, t, key=jax.random.key(1))
        assert (np.abs(plain - dropped).max() > 1e-3) == (rate > 0)


@pytest.mark.slow
@pytest.mark.parametrize("config", [ATTENTION, RESIZED])
def test_bfloat16_computes_and_float32_comes_out(config):
    x, t = inputs()
    exact, coarse = (
        build(DenoiserConfig(kind="unet2d", dtype=dtype, unet=UNet2DConfig(**config)), 8)
        for dtype in ("float32", "bfloat16")
    )
    params = exact.init(jax.random.key(0))
    wide, narrow = jax.jit(exact.apply)(params, x, t), jax.jit(coarse.apply)(params, x, t)
    assert narrow.dtype == jnp.float32
    error = np.abs(wide - narrow).max() / np.abs(wide).max()
    assert 1e-4 < error < 0.05  # it did compute in 16 bits, and well
    gradient = jax.jit(jax.grad(lambda p: (coarse.apply(p, x, t) ** 2).mean()))(params)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(gradient)} == {"float32"}  # of the master weights
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))

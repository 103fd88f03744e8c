"""UNet2D: shapes, gradients, jit, vmap, refusals; parity with PyTorch diffusers where torch is there."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from shadow.denoisers.unet2d import GroupNorm, UNet2D, Upsample2D, time_features

SMALL = {"channels": (8, 16), "layers": 1, "norm_groups": 4}
ATTENTION = {**SMALL, "attention": (False, True), "mid_attention": True, "attention_head_dim": 4}


def split(seed=0, **config):
    return nnx.split(UNet2D(**{**SMALL, **config}, rngs=nnx.Rngs(seed)))


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
        ({**SMALL, "channels": (8,), "in_channels": 3, "out_channels": 2}, (2, 5, 5, 3)),
        ({**SMALL, "channels": (8, 8, 16), "layers": 2}, (1, 4, 12, 1)),
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


def test_jit_equals_eager():
    graph, state = split(**ATTENTION)
    x, t = inputs()
    close(jax.jit(lambda s, x, t: apply(graph, s, x, t))(state, x, t), apply(graph, state, x, t), 1e-5)


def test_vmapped_equals_solo():
    config = {"channels": (8, 8)}  # few different shapes, since every one of them compiles anew
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


@pytest.mark.parametrize("config", [SMALL, ATTENTION])
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
    early, late = apply(graph, state, x, t), apply(graph, state, x, t + 100)
    assert np.abs(early - late).max() > 1e-4
    np.testing.assert_array_equal(apply(graph, state, x, t.astype(jnp.float32)), early)


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
    close(up(x), up.conv(jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)), 1e-5)


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"channels": ()}, "channels"),
        ({"channels": (8, 0)}, "channels"),
        ({"channels": (8, 18)}, "norm_groups"),
        ({"channels": (9, 9), "norm_groups": 3}, "channels"),
        ({"norm_groups": 0}, "norm_groups"),
        ({"layers": 0}, "layers"),
        ({"in_channels": 0}, "in_channels"),
        ({"out_channels": 0}, "out_channels"),
        ({"attention": (True,)}, "attention"),
        ({"attention": (False, True), "attention_head_dim": 3}, "attention_head_dim"),
        ({"mid_attention": True, "attention_head_dim": 32}, "attention_head_dim"),
        ({"attention_head_dim": 0}, "attention_head_dim"),
    ],
)
def test_refused_configs(config, field):
    with pytest.raises(ValueError, match=field):
        split(**config)


@pytest.mark.parametrize(
    ("x_shape", "t_shape", "field"),
    [
        ((2, 9, 8, 1), (2,), "height = 9"),
        ((2, 8, 9, 1), (2,), "width = 9"),
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


@pytest.mark.filterwarnings("default")  # what torch and diffusers warn of at import is not ours to mend
@pytest.mark.parametrize(
    "config",
    [
        {"channels": (8, 16, 16), "layers": 1, "norm_groups": 4},
        {**ATTENTION, "in_channels": 2, "out_channels": 3},
        {"channels": (8, 16), "layers": 2, "norm_groups": 8, "attention": (True, False)},
    ],
    ids=["plain", "attention", "two layers"],
)
def test_parity_with_diffusers(config):
    torch = pytest.importorskip("torch")
    from diffusers import UNet2DModel

    channels = config["channels"]
    attention = config.get("attention", (False,) * len(channels))
    peer = UNet2DModel(
        in_channels=config.get("in_channels", 1),
        out_channels=config.get("out_channels", 1),
        block_out_channels=channels,
        layers_per_block=config["layers"],
        norm_num_groups=config["norm_groups"],
        attention_head_dim=config.get("attention_head_dim", 8),
        add_attention=config.get("mid_attention", False),
        down_block_types=["AttnDownBlock2D" if flag else "DownBlock2D" for flag in attention],
        up_block_types=["AttnUpBlock2D" if flag else "UpBlock2D" for flag in reversed(attention)],
    )
    rng = np.random.default_rng(0)
    with torch.no_grad():  # also biases and norms, which both sides start at constants
        for weight in peer.parameters():
            weight += torch.from_numpy(0.1 * rng.standard_normal(tuple(weight.shape), np.float32))
    weights = {name: weight.detach().numpy() for name, weight in peer.named_parameters()}

    graph, state = split(**config)
    flat = nnx.to_flat_state(state)
    for path, leaf in flat:
        *parents, last = map(str, path)
        weight = weights.pop(".".join([*parents, "bias" if last == "bias" else "weight"]))
        weight = weight.transpose({4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}[weight.ndim])
        assert leaf.shape == weight.shape, path
        leaf[...] = jnp.asarray(weight)
    assert not weights  # every weight of the peer has its place

    x, t = inputs(side=16, channels=config.get("in_channels", 1), batch=4)
    with torch.no_grad():
        theirs = peer(torch.from_numpy(np.array(x)).permute(0, 3, 1, 2), torch.from_numpy(np.array(t))).sample
    ours = jax.jit(lambda s, x, t: apply(graph, s, x, t))(state, x, t)
    expected = theirs.permute(0, 2, 3, 1).numpy()
    close(ours, expected, 1e-5)

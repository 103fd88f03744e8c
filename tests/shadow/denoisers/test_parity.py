"""UNet2D against PyTorch diffusers' UNet2DModel: outputs and gradients, weights both ways, over every config field."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shadow.config import DenoiserConfig
from shadow.denoisers import unet2d_config, weights
from shadow.denoisers.build import build

# What torch and diffusers warn of is not ours to mend.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]

torch: Any = None  # imported when the first test runs: it takes seconds, also where none of these is chosen


@pytest.fixture(autouse=True, scope="module")
def imported():
    global torch
    torch = pytest.importorskip("torch", reason="parity is checked where PyTorch is (extra `parity`)")


SMALL = {
    "in_channels": 1,
    "out_channels": 1,
    "block_out_channels": [8, 16],
    "down_block_types": ["DownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "UpBlock2D"],
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "add_attention": False,
}
ATTENTION = {
    **SMALL,
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
    "add_attention": True,
    "attention_head_dim": 4,
}
RESNET = {
    **SMALL,
    "down_block_types": ["ResnetDownsampleBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "ResnetUpsampleBlock2D"],
}
CONFIGS = {  # each compiles anew: fields that do not meet in a layer share one
    "plain": {
        **SMALL,
        "block_out_channels": [8, 16, 16],
        "down_block_types": ["DownBlock2D"] * 3,
        "up_block_types": ["UpBlock2D"] * 3,
    },
    "attention, classes as embeddings": {
        **ATTENTION,
        "in_channels": 2,
        "out_channels": 3,
        "class_embed_type": "identity",
    },
    "attention everywhere, one head": {
        **ATTENTION,
        "down_block_types": ["AttnDownBlock2D", "AttnDownBlock2D"],
        "up_block_types": ["AttnUpBlock2D", "AttnUpBlock2D"],
        "attention_head_dim": None,
        "mid_block_scale_factor": 1.5,
    },
    "two layers, fourier": {
        **SMALL,
        "layers_per_block": 2,
        "norm_num_groups": 8,
        "norm_eps": 1e-6,
        "time_embedding_type": "fourier",
    },
    "attention, resized by residual blocks": {
        **ATTENTION,
        "down_block_types": ["AttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["AttnUpBlock2D", "AttnUpBlock2D"],
        "downsample_type": "resnet",
        "upsample_type": "resnet",
    },
    "resnet blocks": {**RESNET, "resnet_time_scale_shift": "scale_shift", "add_attention": True},
    "resnet blocks, norm in the middle": {
        **RESNET,
        "resnet_time_scale_shift": "scale_shift",
        "add_attention": True,
        "attn_norm_num_groups": 2,
    },
    "padding below and right, gelu": {
        **ATTENTION,
        "downsample_padding": 0,
        "act_fn": "gelu",
        "mid_block_scale_factor": 2.0,
    },
    "no middle, sines first, shifted, mish, centred": {
        **SMALL,
        "mid_block_type": None,
        "flip_sin_to_cos": False,
        "freq_shift": 1,
        "time_embedding_dim": 24,
        "act_fn": "mish",
        "center_input_sample": True,
    },
    "as wide as real ones": {**SMALL, "block_out_channels": [32, 48], "norm_num_groups": 8},
    "relu, dropout at rest, classes as times": {
        **SMALL,
        "act_fn": "relu",
        "dropout": 0.3,
        "class_embed_type": "timestep",
    },
    "learned times, classes": {
        **SMALL,
        "time_embedding_type": "learned",
        "num_train_timesteps": 1000,
        "num_class_embeds": 5,
    },
}


def close(actual, expected, tolerance, what=""):
    """Largest difference against the largest expected value: single entries may be near zero."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, what
    assert np.abs(actual - expected).max() <= tolerance * max(np.abs(expected).max(), 1e-6), what


def peer_of(config, seed=0):
    """A PyTorch network with random weights, also where both sides start at constants."""
    from diffusers import UNet2DModel

    torch.manual_seed(seed)  # else the weights depend on the tests before, and by chance a gradient nearly cancels
    peer = UNet2DModel(**config).eval()
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for weight in peer.parameters():
            weight += torch.from_numpy(0.1 * rng.standard_normal(tuple(weight.shape), np.float32))
    return peer


def tensors_of(peer):
    return {name: tensor.detach().numpy().copy() for name, tensor in peer.state_dict().items()}


def inputs(config, batch=3, side=16):
    rng = np.random.default_rng(7)
    x = rng.standard_normal((batch, side, side, config.in_channels), np.float32)
    times = rng.integers(1, 1000, batch)
    labels = None
    if config.class_embed_type == "identity":
        labels = rng.standard_normal((batch, config.time_width), np.float32)
    elif config.conditional:
        labels = rng.integers(0, 5, batch)
    return x, times, labels


def theirs(peer, x, t, labels):
    t = torch.from_numpy(t)
    # integers would make the logarithm of fourier embeddings a float64
    t = t.float() if peer.config.time_embedding_type == "fourier" else t
    given = None if labels is None else torch.from_numpy(labels)
    return peer(torch.from_numpy(x).permute(0, 3, 1, 2), t, class_labels=given).sample.permute(0, 2, 3, 1)


# Gradients take long to compile. These have every layer whose gradient is written by hand, and every way of a time or a
# class into the network; of the others JAX derives the gradient of an output that agrees.
GRADIENTS = (
    "plain",
    "attention, resized by residual blocks",
    "resnet blocks, norm in the middle",
    "two layers, fourier",
    "as wide as real ones",
    "learned times, classes",
)


@pytest.mark.parametrize("name", sorted(CONFIGS.keys() - set(GRADIENTS)))
def test_outputs_agree(name):
    content = CONFIGS[name]
    config, _ = unet2d_config.from_diffusers(content, "config.json")
    peer = peer_of(content)
    network = build(DenoiserConfig(kind="unet2d", unet=config), 16)
    params = weights.from_diffusers(tensors_of(peer), jax.eval_shape(network.init, jax.random.key(0)), "there")
    x, t, labels = inputs(config)
    ours = jax.jit(network.apply)(params, jnp.asarray(x), jnp.asarray(t), labels)
    close(ours, theirs(peer, x, t, labels).detach(), 1e-5)


@pytest.mark.parametrize("name", GRADIENTS)
def test_outputs_and_gradients_agree(name):
    content = CONFIGS[name]
    config, _ = unet2d_config.from_diffusers(content, "config.json")
    peer = peer_of(content)
    network = build(DenoiserConfig(kind="unet2d", unet=config), 16)
    like = jax.eval_shape(network.init, jax.random.key(0))
    params = weights.from_diffusers(tensors_of(peer), like, "there")
    x, t, labels = inputs(config)
    target = np.random.default_rng(1).standard_normal((*x.shape[:3], config.out_channels), np.float32)

    def loss(params):
        out = network.apply(params, jnp.asarray(x), jnp.asarray(t), labels)
        return ((out - target) ** 2).mean(), out

    grads, ours = jax.jit(jax.grad(loss, has_aux=True))(params)
    expected = theirs(peer, x, t, labels)
    ((expected - torch.from_numpy(target)) ** 2).mean().backward()
    close(ours, expected.detach(), 1e-5)
    found = weights.to_diffusers(grads)
    largest = max(float(p.grad.abs().max()) for p in peer.parameters() if p.grad is not None)
    trained = {name: p.grad for name, p in peer.named_parameters() if p.grad is not None}
    for name, gradient in trained.items():
        # 1e-4 of the tensor's own largest entry. A key's bias changes no softmax, and a bias before a norm of single
        # channels nothing at all: such gradients are rounding alone, and 1e-6 of the largest gradient is allowed
        own = float(gradient.abs().max())
        own = own if own > 1e-4 * largest else 1e-2 * largest
        assert np.abs(found[name] - gradient.numpy()).max() <= 1e-4 * own, name
    assert found.keys() - trained.keys() <= {"time_proj.weight"}  # the random frequencies are never trained


@pytest.mark.parametrize("content", CONFIGS.values(), ids=CONFIGS.keys())
def test_weights_go_both_ways(content):
    from diffusers import UNet2DModel

    config, _ = unet2d_config.from_diffusers(content, "config.json")
    network = build(DenoiserConfig(kind="unet2d", unet=config), 16)
    rng = np.random.default_rng(3)
    params = jax.tree.map(  # which need no compilation
        lambda leaf: rng.standard_normal(leaf.shape, np.float32), jax.eval_shape(network.init, jax.random.key(3))
    )
    tensors = weights.to_diffusers(params)
    peer = UNet2DModel(**unet2d_config.to_diffusers(config, 16))
    peer.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in tensors.items()}, strict=True)
    back = weights.from_diffusers(tensors_of(peer), params, "there")
    jax.tree.map(np.testing.assert_array_equal, back, params)


def test_every_field_is_covered():
    """Some config above has another value than diffusers' default, in every field that is not checked elsewhere."""
    import inspect

    from diffusers import UNet2DModel

    signature = inspect.signature(UNet2DModel.__init__).parameters
    fields = {name: parameter.default for name, parameter in signature.items() if name != "self"}
    changed = {
        name for content in CONFIGS.values() for name, value in content.items()
        if value != (list(fields[name]) if isinstance(fields[name], tuple) else fields[name])
    }  # fmt: skip
    assert changed == fields.keys() - {"sample_size"}

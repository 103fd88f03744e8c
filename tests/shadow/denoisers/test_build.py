"""Denoisers as pure functions of a pytree of parameters."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shadow import keys
from shadow.config import DenoiserConfig, UNet2DConfig
from shadow.denoisers.build import build
from shadow.errors import UserError

DIT = DenoiserConfig(patch=4, width=8, depth=1, heads=2)


def unet(**fields):
    return DenoiserConfig(kind="unet2d", unet=UNet2DConfig(**fields))


UNET = unet(block_out_channels=(8, 8), norm_num_groups=4)
RNG = np.random.default_rng(0)
X = RNG.standard_normal((2, 3, 8, 8, 1)).astype(np.float32)  # [network, image, ...]
T = np.array([1, 20, 300], np.int32)


@pytest.mark.parametrize("config", [DIT, pytest.param(UNET, marks=pytest.mark.slow)], ids=["dit", "unet2d"])
def test_vmapped_networks_equal_solo_ones(config):
    network = build(config, 8)
    pack = jnp.stack([keys.key(0, "init", i) for i in range(2)])
    params = jax.jit(jax.vmap(network.init))(pack)
    leaves = jax.tree.leaves(params)
    assert all(leaf.dtype == jnp.float32 and leaf.shape[0] == 2 for leaf in leaves)
    rng = np.random.default_rng(1)
    params = jax.tree.map(lambda leaf: leaf + 0.2 * rng.standard_normal(leaf.shape).astype(np.float32), params)
    together = jax.jit(jax.vmap(network.apply, in_axes=(0, 0, None)))(params, X, T)
    assert together.shape == X.shape
    solo = jax.jit(network.apply)
    for i in range(2):
        alone = solo(jax.tree.map(lambda leaf, i=i: leaf[i], params), X[i], T)
        scale = float(np.abs(alone).max())
        assert scale > 1e-3
        np.testing.assert_allclose(together[i], alone, atol=1e-4 * scale)


def test_init_is_a_function_of_its_key():
    network = build(DIT, 8)
    init = jax.jit(network.init)
    one, same, other = init(keys.key(0, "a")), init(keys.key(0, "a")), init(keys.key(0, "b"))
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), one, same))
    assert not np.array_equal(one["embed"]["kernel"], other["embed"]["kernel"])
    assert not np.array_equal(one["time1"]["kernel"], one["time2"]["kernel"])  # each layer draws for itself


def test_apply_has_gradients_in_every_parameter():
    network = build(DIT, 8)
    params = network.init(keys.key(0, "a"))
    rng = np.random.default_rng(2)
    params = jax.tree.map(lambda leaf: leaf + 0.2 * rng.standard_normal(leaf.shape).astype(np.float32), params)
    grads = jax.jit(jax.grad(lambda p: (network.apply(p, X[0], T) ** 2).mean()))(params)
    assert jax.tree.structure(grads) == jax.tree.structure(params)
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(grads))


def test_labels_that_are_not_asked_for_are_refused():
    for config in (DIT, UNET):
        network = build(config, 8)
        params = jax.eval_shape(network.init, keys.key(0, "a"))
        with pytest.raises(ValueError, match="class_labels are not asked for"):
            jax.eval_shape(network.apply, params, X[0], T, np.zeros(3, np.int32))


@pytest.mark.parametrize(
    ("config", "field"),
    [
        (DenoiserConfig(kind="unet3d"), "denoiser.kind = 'unet3d'"),
        (DenoiserConfig(patch=3), "denoiser.patch"),
        (DenoiserConfig(patch=4, heads=5), "denoiser.heads"),
        (DenoiserConfig(patch=4, width=0), "denoiser.width"),
        (DenoiserConfig(dtype="float16"), "denoiser.dtype = 'float16'"),
        (unet(block_out_channels=(8,) * 5), "cannot be halved 4 times (denoiser.unet.block_out_channels)"),
        (unet(block_out_channels=()), "denoiser.unet.block_out_channels"),
        (unet(block_out_channels=(8,), norm_num_groups=3), "norm_num_groups"),
    ],
)
def test_fields_that_do_not_fit_are_refused_by_name(config, field):
    with pytest.raises(UserError, match=re.escape(field)):
        build(config, 8)

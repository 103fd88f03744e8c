"""Features of blocks, and CKA against the definition."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hub_folders import SIZE, generator
from hypothesis import given
from hypothesis import strategies as st
from test_whitebox import made

from attack.compare import features
from shadow import keys
from shadow.config import DenoiserConfig
from shadow.denoisers.build import build
from shadow.denoisers.unet2d_config import UNet2DConfig
from shadow.diffusion import process

IMAGES = np.random.default_rng(0).uniform(-1, 1, (20, SIZE, SIZE)).astype(np.float32)


@pytest.mark.parametrize("network", [made, pytest.param(generator, marks=pytest.mark.slow)], ids=["dit", "unet2d"])
def test_the_last_feature_is_what_the_network_says(network):
    found = network()
    blocks = features.block_features(found, IMAGES, seed=2)
    abar = process.alpha_bar(found.diffusion)
    t = int(np.argmin(np.abs(1 - abar - features.LEVEL)))
    noise = np.asarray(jax.random.normal(keys.key(2, "features/noise"), (20, SIZE, SIZE, 1)))
    x = np.sqrt(abar[t]) * IMAGES[..., None] + np.sqrt(1 - abar[t]) * noise
    wanted = build(found.denoiser, SIZE).apply(found.params, jnp.asarray(x, jnp.float32), jnp.full(20, t))
    np.testing.assert_allclose(blocks["output"], np.asarray(wanted).reshape(20, -1), rtol=1e-4, atol=1e-5)
    names = list(blocks)
    first = ["embed", "blocks.0", "output"] if found.denoiser.kind == "dit" else ["conv_in", "down_blocks.0"]
    assert names[: len(first)] == first
    assert len({name: value.tobytes() for name, value in blocks.items()}) == len(names)


@pytest.mark.parametrize(
    "denoiser",
    [
        DenoiserConfig(patch=4, width=16, depth=1, heads=2, overlap=True),
        pytest.param(
            DenoiserConfig(
                kind="unet2d", block=2, unet=UNet2DConfig(block_out_channels=(8,), norm_num_groups=2, mid_block_type="")
            ),
            marks=pytest.mark.slow,
        ),
    ],
    ids=["overlap", "blocks of pixels"],
)
def test_networks_that_see_patches_and_blocks_otherwise_are_looked_at_too(denoiser):
    network = build(denoiser, SIZE)
    found = dataclasses.replace(made(), denoiser=denoiser, params=network.init(keys.key(0, "test")))
    output = features.block_features(found, IMAGES, seed=2)["output"]
    t, signal, scale = features._at_level(found)
    x = signal * IMAGES[..., None] + scale * jax.random.normal(keys.key(2, "features/noise"), (20, SIZE, SIZE, 1))
    wanted = np.asarray(network.apply(found.params, x, jnp.full(20, t)))
    np.testing.assert_allclose(np.sort(output), np.sort(wanted.reshape(20, -1)), rtol=1e-4, atol=1e-5)


def naive_hsic(x, y):
    """Song et al. 2012: the mean over ordered quadruples of other images of k_ij (l_ij + l_qr - 2 l_iq)."""
    k, l = x @ x.T, y @ y.T  # noqa: E741
    found = [k[i, j] * (l[i, j] + l[q, r] - 2 * l[i, q]) for i, j, q, r in itertools.permutations(range(len(k)), 4)]
    return np.mean(found)


@given(st.integers(4, 7), st.integers(1, 4), st.integers(1, 4), st.integers(0, 100))
def test_cka_is_the_mean_over_quadruples(images, wide, other, seed):
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((images, wide)), rng.standard_normal((images, other))
    first, second = naive_hsic(x, x), naive_hsic(y, y)
    found = features.cka(features.gram(x), features.gram(y))
    if min(first, second) > 1e-6:
        assert found == pytest.approx(naive_hsic(x, y) / np.sqrt(first * second), abs=1e-5)


def test_cka_does_not_mind_rotation_scale_and_shift():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((30, 6))
    turned = 3 * x @ np.linalg.qr(rng.standard_normal((6, 6)))[0] + 5
    assert features.cka(features.gram(x), features.gram(turned)) == pytest.approx(1, abs=1e-9)
    assert features.cka(features.gram(x), features.gram(x)) == 1.0
    assert abs(features.cka(features.gram(x), features.gram(rng.standard_normal((30, 5000))))) < 0.2


def test_cka_of_what_does_not_change_is_nothing():
    flat, other = features.gram(np.ones((8, 3))), features.gram(np.random.default_rng(0).standard_normal((8, 3)))
    assert features.cka(flat, other) is None
    assert features.cka(flat, flat) is None
    with pytest.raises(ValueError, match="too few"):
        features.cka(flat[:3, :3], flat[:3, :3])


def test_a_network_is_most_like_itself():
    one, other = (features.grams(made(), IMAGES, 0), features.grams(generator(seed=5), IMAGES, 0))
    matrix = features.cka_matrix(one, one)
    assert all(matrix[i][i] == 1.0 for i in range(len(one)))
    between = np.array(features.cka_matrix(one, other), float)
    assert between.shape == (len(one), len(other))
    assert between[-1, -1] < 1

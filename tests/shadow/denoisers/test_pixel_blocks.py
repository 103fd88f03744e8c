"""A network on blocks of pixels: a permutation, and a UNet2D of more channels on fewer places."""

from __future__ import annotations

import dataclasses
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hub_folders import SIZE, drawn, edit, equal, generator
from hypothesis import given
from hypothesis import strategies as st

from shadow import hub, keys
from shadow.config import Config, DenoiserConfig, UNet2DConfig
from shadow.denoisers import blocks
from shadow.denoisers.build import build
from shadow.errors import UserError
from shadow.validate import validate

UNET = UNet2DConfig(block_out_channels=(8, 8), norm_num_groups=4)
ON_BLOCKS = DenoiserConfig(kind="unet2d", block=2, unet=UNET)


def blocks_by_loop(x, block):
    """Each pixel on its own, from the words of `to_blocks`."""
    batch, height, width, channels = x.shape
    found = np.full((batch, height // block, width // block, channels * block**2), np.nan, x.dtype)
    for row, column, channel in np.ndindex(height, width, channels):
        place = channel * block**2 + row % block * block + column % block
        found[:, row // block, column // block, place] = x[:, row, column, channel]
    return found


@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(0, 99))
def test_blocks_are_a_permutation_and_their_inverse_undoes_it(block, rows, columns, channels, seed):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((2, rows * block, columns * block, channels)).astype(np.float32)
    y = np.asarray(blocks.to_blocks(jnp.asarray(x), block))
    np.testing.assert_array_equal(y, blocks_by_loop(x, block))
    np.testing.assert_array_equal(blocks.from_blocks(jnp.asarray(y), block), x)
    np.testing.assert_array_equal(np.sort(y, axis=None), np.sort(x, axis=None))


def test_the_network_is_a_unet_of_the_blocks():
    network, wide = (
        build(ON_BLOCKS, SIZE),
        build(DenoiserConfig(kind="unet2d", unet=blocks.inner(ON_BLOCKS)), SIZE // 2),
    )
    params = network.init(keys.key(0, "init"))
    equal(params, wide.init(keys.key(0, "init")))
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: leaf + 0.2 * rng.standard_normal(leaf.shape).astype(np.float32), params)
    x, t = rng.standard_normal((2, SIZE, SIZE, 1)).astype(np.float32), np.array([3, 500])
    found = np.asarray(jax.jit(network.apply)(params, x, t))
    expected = np.asarray(jax.jit(wide.apply)(params, blocks_by_loop(x, 2), t))
    assert found.shape == x.shape
    assert found.std() > 1e-2
    np.testing.assert_allclose(blocks_by_loop(found, 2), expected, atol=1e-6)


def test_bfloat16_is_of_the_network_alone():
    """Blocks are made and undone without a rounding of their own."""
    network, short = build(ON_BLOCKS, SIZE), build(dataclasses.replace(ON_BLOCKS, dtype="bfloat16"), SIZE)
    made = generator(UNET, block=2)
    x = np.random.default_rng(1).standard_normal((2, SIZE, SIZE, 1)).astype(np.float32)
    found, exact = (jax.jit(n.apply)(made.params, x, np.array([3, 500])) for n in (short, network))
    assert found.dtype == jnp.float32
    assert 0 < np.abs(found - exact).max() < 0.05 * np.abs(exact).max()


def test_images_that_cannot_be_cut_are_refused():
    """48 pixels in blocks of 2 are 24 places, which can be halved three times and not four."""
    for size, block, levels in ((7, 2, 2), (6, 4, 1), (48, 2, 5)):
        unet = UNet2DConfig(block_out_channels=(8,) * levels, norm_num_groups=4)
        with pytest.raises(UserError, match=f"data.resolution = {size}"):
            build(DenoiserConfig(kind="unet2d", block=block, unet=unet), size)
    config = Config()
    config.denoiser, config.data.resolution = DenoiserConfig(kind="unet2d", block=8, unet=UNET), 40
    config.data.root = "data"
    with pytest.raises(UserError, match=r"2 \*\* 1 .* times denoiser.block = 8, which is = 16"):
        validate(config)
    config.data.resolution = 48
    validate(config)
    config.denoiser.block = 0
    with pytest.raises(UserError, match=r"denoiser\.block = 0: must be 1 or more"):
        validate(config)
    config.denoiser = DenoiserConfig(block=2)
    with pytest.raises(UserError, match=r"denoiser\.block = 2: is for denoiser\.kind = 'unet2d'"):
        validate(config)


@pytest.mark.parametrize(("channels", "block"), [(1, 2), (3, 2), (1, 4)])
def test_a_folder_gives_back_the_generator(tmp_path, channels, block):
    unet = UNet2DConfig(in_channels=channels, out_channels=channels, block_out_channels=(8, 8), norm_num_groups=4)
    made = generator(unet, block=block)
    hub.write_pipeline(made, tmp_path / "out")
    content = json.loads((tmp_path / "out" / "unet" / "config.json").read_text())
    assert (content["in_channels"], content["out_channels"]) == (channels * block**2,) * 2
    assert content["sample_size"] == SIZE // block
    back = hub.read_generator(tmp_path / "out")
    assert (back.size, back.denoiser.block, back.denoiser.unet.in_channels) == (SIZE, block, channels)
    equal(back.params, made.params)
    hub.write_pipeline(back, tmp_path / "again")
    for name in ("unet/config.json", "README.md", "shadowprint.json"):
        assert (tmp_path / "again" / name).read_text() == (tmp_path / "out" / name).read_text()


def test_a_folder_without_a_size_has_a_network(tmp_path):
    made = generator(block=4)
    hub.write_pipeline(made, tmp_path / "out")
    edit(tmp_path / "out" / "unet" / "config.json", sample_size=None)
    back = hub.read_generator(tmp_path / "out")
    assert back.size == 0
    x = np.ones((1, 24, 16, 1), np.float32)
    assert hub.load_denoiser(tmp_path / "out")(x, [5]).shape == x.shape


@pytest.mark.parametrize("block", [3, 0, -2, 2.0, True, "2", None])
def test_a_folder_with_a_wrong_block_is_refused(tmp_path, block):
    hub.write_pipeline(drawn(UNET), tmp_path / "out")
    edit(tmp_path / "out" / "unet" / "config.json", **{blocks.KEY: block})
    with pytest.raises(UserError, match=re.escape(f"config.json: {'in_channels = 1' if block == 3 else blocks.KEY}")):
        hub.read_generator(tmp_path / "out")

"""Space-to-depth: a network that sees an image as blocks of pixels, each block as channels.

A network on blocks of 8 x 8 pixels works on 32 x 32 places where an image has 256 x 256. This is a permutation of
numbers, so white noise stays white, and losses and samplers are those of the image.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax

from shadow.config import DenoiserConfig
from shadow.denoisers.unet2d_config import UNet2DConfig
from shadow.errors import UserError

KEY = "_space_to_depth"  # in a `unet/config.json`; diffusers carries such fields along and reads none of them


def to_blocks(x: jax.Array, block: int) -> jax.Array:
    """[image, height, width, channel] -> [image, height / block, width / block, channel * block ** 2].

    Channels are in the order of PyTorch's `pixel_unshuffle`: the image's channel, then the row in the block, then the
    column in it. `block` divides height and width.
    """
    if block == 1:
        return x
    batch, height, width, channels = x.shape
    rows, columns = height // block, width // block
    parts = x.reshape(batch, rows, block, columns, block, channels).transpose(0, 1, 3, 5, 2, 4)
    return parts.reshape(batch, rows, columns, channels * block**2)


def from_blocks(y: jax.Array, block: int) -> jax.Array:
    """The inverse of `to_blocks`, which is PyTorch's `pixel_shuffle`."""
    if block == 1:
        return y
    batch, rows, columns, features = y.shape
    channels = features // block**2
    parts = y.reshape(batch, rows, columns, channels, block, block).transpose(0, 1, 4, 2, 5, 3)
    return parts.reshape(batch, rows * block, columns * block, channels)


def inner(config: DenoiserConfig) -> UNet2DConfig:
    """The UNet2D that sees the blocks: `config.unet` with as many channels as a block has numbers."""
    unet, area = config.unet, config.block**2
    return dataclasses.replace(unet, in_channels=unet.in_channels * area, out_channels=unet.out_channels * area)


def outer(unet: UNet2DConfig, content: Mapping[str, Any], where: str) -> DenoiserConfig:
    """The inverse of `inner`, by the block that a `unet/config.json` names; 1 where it names none.

    Raises UserError `where: ...` on a block that is no whole number above 0, or does not divide the channels.
    """
    block = content.get(KEY, 1)
    if isinstance(block, bool) or not isinstance(block, int) or block < 1:
        raise UserError(f"{where}: {KEY} = {block!r}: must be a whole number above 0; remove it where there is none")
    area = block**2
    for name in ("in_channels", "out_channels"):
        if getattr(unet, name) % area:
            raise UserError(
                f"{where}: {name} = {getattr(unet, name)}: must be divisible by {area}, the pixels of a block "
                f"({KEY} = {block})"
            )
    image = dataclasses.replace(unet, in_channels=unet.in_channels // area, out_channels=unet.out_channels // area)
    return DenoiserConfig(kind="unet2d", block=block, unet=image)

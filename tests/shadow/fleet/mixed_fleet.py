"""A fleet of three small families, and what each would be alone."""

import copy

from tiny_fleet import make_config

from shadow.config import Config, DenoiserConfig, FamilyConfig, UNet2DConfig

UNET = UNet2DConfig(block_out_channels=(4,), norm_num_groups=2, mid_block_type="")  # soon compiled
SHADOWS = {0: (0, 1), 1: (2, 3), 2: (4, 5)}  # of each family, a block of two
LAST = 8  # the step at which piles are drawn


def three():
    """The first is `tiny_fleet`'s own."""
    return (
        FamilyConfig("coarse", DenoiserConfig(patch=4, width=8, depth=1, heads=2), 2, 4e-3),
        FamilyConfig("fine", DenoiserConfig(patch=2, width=4, depth=1, heads=2, overlap=True), 4, 2e-3),
        FamilyConfig("unet", DenoiserConfig(kind="unet2d", block=2, unet=copy.deepcopy(UNET)), 2, 1e-3),
    )


def mixed(**fields):
    """Six shadows, a block of each family; what families take the place of is as in a new `Config`."""
    config = make_config(**{"fleet__families": three(), "denoiser": DenoiserConfig(), "pile__steps": (LAST,)} | fields)
    config.train.batch_size, config.train.learning_rate = Config().train.batch_size, Config().train.learning_rate
    return config


def alone(family, **fields):
    """The config of a fleet of one family, written by hand."""
    config, chosen = make_config(pile__steps=(LAST,), **fields), three()[family]
    config.denoiser = chosen.denoiser
    config.train.batch_size, config.train.learning_rate = chosen.batch_size, chosen.learning_rate
    return config

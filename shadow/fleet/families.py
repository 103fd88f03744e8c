"""Families of a fleet: shadows of one architecture, each made of whole blocks of the membership matrix.

Block b of `membership.block` shadows is of family b mod F, so within a family every unit is in exactly half of the
shadows too. The shadows of a family are what a fleet of that family alone would train under the same numbers: same
keys, same bits.
"""

from __future__ import annotations

import dataclasses

from shadow.config import Config

ONLY = "shadows"  # the name of the family where there is one


def family_names(config: Config) -> tuple[str, ...]:
    """In the order of `fleet.families`; ("shadows",) where that is empty."""
    return tuple(family.name for family in config.fleet.families) or (ONLY,)


def family_of(config: Config, shadow: int) -> int:
    """Index into `family_names` of the family that the shadow belongs to."""
    return shadow // config.membership.block % len(family_names(config))


def own_config(config: Config, shadow: int) -> Config:
    """The config as the shadow sees it: `denoiser`, `train.batch_size` and `train.learning_rate` are its family's, and
    the fleet has one family."""
    return config_of(config, family_of(config, shadow))


def config_of(config: Config, family: int) -> Config:
    """As `own_config`, by the index of the family."""
    if not config.fleet.families:
        return config
    chosen = config.fleet.families[family]
    train = dataclasses.replace(config.train, batch_size=chosen.batch_size, learning_rate=chosen.learning_rate)
    fleet = dataclasses.replace(config.fleet, families=())
    return dataclasses.replace(config, denoiser=chosen.denoiser, train=train, fleet=fleet)


def pack_size(config: Config, asked: int) -> int:
    """Shadows of a pack at most, for the config of one family. A convolutional network trains alone: its vmap is slower
    than one by one (grouped convolutions)."""
    return 1 if config.denoiser.kind == "unet2d" else asked


def packs(config: Config, first: int, last: int, asked: int) -> list[tuple[int, ...]]:
    """Shadows `first` to `last` - 1 in packs of up to `asked` consecutive ones, none of two families."""
    found = []
    while first < last:
        size = pack_size(own_config(config, first), asked)
        if config.fleet.families:
            size = min(size, config.membership.block - first % config.membership.block)
        found.append(tuple(range(first, min(first + size, last))))
        first = found[-1][-1] + 1
    return found

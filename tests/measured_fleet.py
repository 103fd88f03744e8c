"""A fleet whose piles are drawn without training, and measured: for tests of what comes after."""

import numpy as np

from attack.evidence import measuring
from shadow import fleet, piles
from shadow.config import Config
from shadow.data import manifest as manifests
from shadow.training import membership

ASKED, SIZE = 16, 8


def recipe(**attack) -> Config:
    config = Config()
    config.data.resolution = SIZE
    config.fleet.shadows = ASKED
    config.membership.unit = "mixed"
    config.attack.draws = config.attack.redraws = 1
    config.attack.folds, config.attack.bootstrap = 2, 3
    for name, value in attack.items():
        setattr(config.attack, name, value)
    return config


def make_fleet(folder, images, shadows, config, numbers=None):
    """Piles of `shadows` of the whole fleet, kept under `numbers`; one in two images is a disturbed member."""
    found = manifests.build(images, "2023", "", 0.5)
    found.write(folder / "manifest.csv")
    dev = fleet.dev_ids(found)
    groups = found.groups_of(dev)
    member = membership.draw(groups, ASKED, config.membership, 0)
    real = found.images_at(dev, SIZE)
    numbers = list(shadows) if numbers is None else numbers
    for k, number in zip(shadows, numbers, strict=True):
        rng = np.random.default_rng(k)
        pile = rng.integers(0, 256, (30, SIZE, SIZE)).astype(np.uint8)
        mine = np.flatnonzero(member[k])
        pile[::2] = np.clip(real[rng.choice(mine, 15)] + rng.normal(0, 60, (15, SIZE, SIZE)), 0, 255)
        for step in fleet.pile_steps(config):
            path = piles.pile_path(fleet.shadow_folder(folder, number), step)
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, pile)
    rows = member if numbers == list(shadows) else member[list(shadows)]
    np.save(folder / "membership.npy", rows)
    measuring.build(folder, found, config, numbers)
    return found

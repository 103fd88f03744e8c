"""Which recipe memorises soonest: AUC of the plain nearest distance on a generator's own members, by training time.

python benchmarks/memorisation.py [--pool=DIR]

Two generators of 20 members each are trained together on 40 slices (phantom ones, or those of a folder) at 32x32, and
their members are told from the others by the distance to the nearest of 200 generated images. No shadow, no
calibration: a yardstick for training only. The default recipe is the third.
"""

from __future__ import annotations

import dataclasses
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from absl import app, flags, logging

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from attack.evidence.embeddings import builtin  # noqa: E402
from attack.evidence.embeddings.distances import distances  # noqa: E402
from attack.metrics import ranking  # noqa: E402
from shadow import piles  # noqa: E402
from shadow.config import ChallengeConfig, DenoiserConfig, DiffusionConfig, PileConfig, TrainConfig  # noqa: E402
from shadow.data import challenge, decoding  # noqa: E402
from shadow.errors import exits  # noqa: E402
from shadow.training import train  # noqa: E402

_POOL = flags.DEFINE_string("pool", "phantom", "phantom, or a folder of slices of one size.")
SLICES, PILE = 40, PileConfig(count=200, batch_size=50)
# prediction, weight cap, width, batch size, learning rate, steps: about the same compute each
RECIPES = (
    ("v", float("inf"), 96, 8, 4e-3, 1600),
    ("sample", 1.0, 96, 8, 4e-3, 1600),
    ("sample", 4.0, 96, 8, 4e-3, 1600),
    ("sample", 4.0, 128, 32, 1e-3, 400),
)


def one(images: np.ndarray, recipe: tuple[str, float, int, int, float, int]) -> None:
    """Trains two generators by `recipe` and prints their mean AUC."""
    prediction, cap, width, batch, rate, steps = recipe
    rng = np.random.default_rng(0)
    members = tuple(np.sort(rng.permutation(SLICES)[: SLICES // 2]) for _ in range(2))
    config = TrainConfig(steps=steps, batch_size=batch, learning_rate=rate, checkpoint_every=steps)
    spec = train.Spec(
        0,
        "shadow",
        (0, 1),
        decoding.to_unit(images),
        members,
        DenoiserConfig(width=width),
        DiffusionConfig(prediction=prediction, max_weight=cap),
        config,
    )
    with tempfile.TemporaryDirectory() as folder:
        folders = [Path(folder) / str(k) for k in range(2)]
        for path in folders:
            path.mkdir()
        started = time.monotonic()
        train.train_pack(spec, folders, (steps,))
        seconds = time.monotonic() - started
        paths = [piles.pile_path(path, steps) for path in folders]
        piles.draw_piles(spec, folders, paths, steps, PILE)
        aucs = []
        for path, held in zip(paths, members, strict=True):
            pile = builtin.standardised(np.asarray(piles.open_pile(path)))
            nearest = distances(builtin.standardised(images), pile).min(1)
            aucs.append(ranking.auc(-nearest, np.isin(np.arange(SLICES), held).astype(int)))
    print(
        f"{prediction:7} weight <= {cap:<4} width {width:<4} batch {batch:<3} rate {rate:<6} {steps:5} steps "
        f"{steps * batch * 2 / SLICES:5.0f} images a member {seconds:5.0f} s  AUC {np.mean(aucs):.3f}",
        flush=True,
    )


def main(_: list[str]) -> None:
    logging.set_verbosity(logging.WARNING)
    config = dataclasses.replace(ChallengeConfig(), pool=_POOL.value)
    pool = challenge.phantom_pool(config) if config.pool == "phantom" else challenge.folder_pool(config)
    chosen = np.random.default_rng(1).permutation(len(pool.images))[:SLICES]
    images = decoding.resize(pool.images[chosen], 32)
    for recipe in RECIPES:
        one(images, recipe)


if __name__ == "__main__":
    with exits(lambda: _POOL.value):
        app.run(main)

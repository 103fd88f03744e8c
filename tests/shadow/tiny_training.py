"""A pack of generators small enough to be trained in a moment, and what reads its traces."""

import json

import jax
import numpy as np

from shadow.config import DenoiserConfig, DiffusionConfig, TrainConfig
from shadow.denoisers.build import build
from shadow.training import checkpoint, train

IMAGES = np.random.default_rng(0).uniform(-1, 1, (7, 8, 8)).astype(np.float32)

MEMBERS = (np.array([0, 2, 5]), np.array([1, 3, 4, 6, 0]), np.arange(7))


def make(ids=(0, 1), images=IMAGES, stream="shadow", members=None, **fields):
    settings = {"steps": 6, "batch_size": 4, "checkpoint_every": 3, "log_every": 2, "warmup_steps": 2} | fields
    return train.Spec(
        0,
        stream,
        tuple(ids),
        images,
        tuple(MEMBERS[i] for i in ids) if members is None else members,
        DenoiserConfig(patch=4, width=8, depth=1, heads=2),
        DiffusionConfig(timesteps=20),
        TrainConfig(**settings),
    )


def folders(root, count=2):
    made = [root / str(i) for i in range(count)]
    for folder in made:
        folder.mkdir(parents=True)
    return made


def equal(a, b):
    return jax.tree.structure(a) == jax.tree.structure(b) and jax.tree.all(
        jax.tree.map(lambda x, y: x.dtype == y.dtype and np.array_equal(x, y), a, b)
    )


def rows(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def timeless(found):
    """Rows without the one figure that depends on the clock."""
    return [{k: v for k, v in row.items() if k != "images_per_second"} for row in found]


class Killed(Exception):
    pass


def kill_at(step):
    def progress(done, total, rate, loss=None):
        assert total == 6
        assert loss > 0
        if done == step:
            raise Killed

    return progress


def saved(where, step=6, spec=None):
    """The state of a pack in its checkpoints."""
    spec = spec or make()
    return checkpoint.restore_pack(where, step, train.init_states(spec, build(spec.denoiser, 8)))

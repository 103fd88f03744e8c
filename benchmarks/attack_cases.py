"""Challenges of benchmarks/attack.py, as recipes for `launch.py`: `--config=THIS_FILE:CASE;POOL;PATIENTS`.

A case is named POOL.TARGET.SEED[.SPLIT][.LENGTH]: slices that are `phantom` or `real` (the folder POOL), a target
generator that is a `dit` or a `unet2d`, split by `slice` (default) or by `group`, trained to the `full` (default), for
a `short` time, or hardly at all (`nothing`).
"""

from __future__ import annotations

import re

from shadow.config import Config
from shadow.errors import UserError

_NAME = re.compile(r"(phantom|real)\.(dit|unet2d)\.(\d+)(?:\.(slice|group))?(?:\.(full|short|nothing))?")
_LENGTH = {"full": 1.0, "short": 0.35, "nothing": 0.02}


def recipe(name: str, pool: str, patients: str) -> Config:
    """The `Config` of a case."""
    found = _NAME.fullmatch(name)
    if found is None:
        raise UserError(f"{name!r} is no POOL.TARGET.SEED[.SPLIT][.LENGTH]")
    kind, target, seed, split, length = found.groups()
    config = Config(seed=int(seed))
    config.attack.seed, challenge = int(seed), config.challenge
    challenge.seed, challenge.split, challenge.denoiser.kind = 1000 + int(seed), split or "slice", target
    challenge.train.steps, challenge.train.batch_size = 2400, 16
    if kind == "real":
        challenge.pool, challenge.patients, challenge.publish_patients = pool, patients, True
        challenge.dev_used = challenge.dev_not_used = 30
        challenge.test_used = challenge.test_not_used = 70 if challenge.split == "slice" else 45
        challenge.train.steps = 3000
    if target == "unet2d":
        challenge.train.learning_rate = 2e-3
    challenge.train.steps = max(round(challenge.train.steps * _LENGTH[length or "full"]), 1)
    return config


def get_config(text: str) -> Config:
    """For launch.py: `--config=THIS_FILE:CASE;POOL;PATIENTS`."""
    return recipe(*text.split(";"))

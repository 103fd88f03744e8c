"""A challenge "whose data?" of our own: a generator trained on each of several subsets of a pool (edition 2025-2).

The folders are those of sub-task 2 of 2025: `real/t1`, `generated/t1` and so on, and `generated_unknown` with images of
all generators in a mixed order. Whose they are stands in `sealed/`.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from shadow import files, keys, piles
from shadow.config import ChallengeConfig, Config
from shadow.data import challenge, decoding
from shadow.data.pool import Pool, folder_pool
from shadow.errors import UserError
from shadow.training import train

TRUTH = "truth.csv"  # in `sealed`: id,subset


def deal(config: ChallengeConfig) -> tuple[Pool, list[np.ndarray]]:
    """The pool, and the slices of each subset as indices into it. All slices of a patient that are in the challenge are
    in one subset.

    Raises UserError where the pool is too small for `subsets` of `subset_slices` each, and as `pool.folder_pool`.
    """
    if config.pool == "phantom":
        patients = config.subsets * -(-config.subset_slices // config.slices_a_patient)
        pool = challenge.phantoms(config, patients)
    else:
        pool = folder_pool(config)
    names = np.asarray(pool.groups)
    waiting = keys.generator(config.seed, "challenge/subsets").permutation(sorted(set(pool.groups))).tolist()
    dealt = []
    for number in range(config.subsets):
        found: list[int] = []
        while waiting and len(found) < config.subset_slices:
            found += np.flatnonzero(names == waiting.pop()).tolist()
        if len(found) < config.subset_slices:
            raise UserError(
                f"the pool of {len(pool.images)} slices fills {number} of challenge.subsets = {config.subsets} with "
                f"challenge.subset_slices = {config.subset_slices} of whole patients; lower them or enlarge it"
            )
        dealt.append(np.sort(found[: config.subset_slices]))
    return pool, dealt


def make(
    workdir: Path,
    config: Config,
    stage: Callable[[str], train.Progress] = lambda name: train.silent,
    stop: Callable[[], bool] = train.never,
) -> Path:
    """Makes WORKDIR/challenge unless it is there; resumes after a kill. Returns its path.

    All generators are trained as one pack. Arguments and errors as of `challenge.make`, and those of `deal`.
    """
    done = workdir / "challenge"
    if done.is_dir():
        return done
    asked, (pool, dealt) = config.challenge, deal(config.challenge)
    part, steps = workdir / ".challenge.part", asked.train.steps
    folders = [part / "sealed" / "target" / _name(number) for number in range(len(dealt))]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    images = decoding.to_unit(decoding.resize(pool.images, config.data.resolution))
    numbers = tuple(range(len(dealt)))
    spec = train.Spec(
        asked.seed, "target", numbers, images, tuple(dealt), asked.denoiser, config.diffusion, asked.train
    )
    train.train_pack(spec, folders, (), stage("target train"), stop)
    paths = [piles.pile_path(folder, steps) for folder in folders]
    sampling = dataclasses.replace(config.pile, count=asked.dev_generated + asked.test_generated)
    piles.draw_piles(spec, folders, paths, steps, sampling, stage("target sample"), stop)
    write(part, pool, dealt, [piles.open_pile(path) for path in paths], config)
    os.replace(part, done)
    return done


def write(part: Path, pool: Pool, dealt: list[np.ndarray], made: list[np.ndarray], config: Config) -> None:
    """Writes the folders of a challenge below `part`, for the caller to rename. made: uint8 [image, height, width] of
    each generator, those of the labelled pile first."""
    asked = config.challenge
    for number, (slices, pile) in enumerate(zip(dealt, made, strict=True)):
        _write_images(part / "real" / _name(number), "real", pool.images[slices])
        _write_images(part / "generated" / _name(number), "generated", pile[: asked.dev_generated])
    unknown = np.concatenate([pile[asked.dev_generated :] for pile in made])
    subset = np.repeat(np.arange(len(made)), [len(pile) - asked.dev_generated for pile in made])
    order = keys.generator(asked.seed, "challenge/order").permutation(len(unknown))
    _write_images(part / "generated_unknown", "generated", unknown[order])
    truth = [(f"generated_unknown/generated_{i + 1}", _name(s)) for i, s in enumerate(subset[order].tolist())]
    files.write_csv(part / "sealed" / TRUTH, ("id", "subset"), truth)
    content = {
        "challenge": json.loads(json.dumps(dataclasses.asdict(asked))),
        "diffusion": dataclasses.asdict(config.diffusion),
        "resolution": config.data.resolution,
        "members": {_name(number): [pool.names[i] for i in slices] for number, slices in enumerate(dealt)},
    }
    files.write_json(part / "sealed" / "challenge.json", content)
    if asked.publish_patients:
        table = [
            (f"{_name(number)}/real_{i + 1}.png", pool.groups[x])
            for number, slices in enumerate(dealt)
            for i, x in enumerate(slices.tolist())
        ]
        files.write_csv(part / "patients.csv", ("file", "patient"), table)


def _name(subset: int) -> str:
    return f"t{subset + 1}"


def _write_images(folder: Path, stem: str, images: np.ndarray) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i, image in enumerate(images):  # names without padding, as in 2025
        Image.fromarray(image).save(folder / f"{stem}_{i + 1}.png")

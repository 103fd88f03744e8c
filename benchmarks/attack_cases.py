"""Challenges of benchmarks/attack.py: two bands of difficulty from one target.

A world is named POOL.TARGET.SPLIT.SEED: slices that are `phantom` or `real`, a target generator that is a `dit` or a
`unet2d`, a split by `slice` or by `group`. Its target is trained once; piles are drawn at several steps. A case is a
world and a band, WORLD.BAND: of all training lengths and pile sizes the one at which the best attack without shadows
(told by the truth) is nearest to the band's middle. So difficulty is settled before our attack is looked at. Only
targets that have learned something count, those whose own loss tells their slices: the best of many attacks has an AUC
of .6 to .67 by chance, too.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from attack import baselines
from attack.compare import whitebox
from attack.metrics import ranking
from shadow import files, piles
from shadow.config import Config
from shadow.data import challenge, decoding
from shadow.denoisers.build import build
from shadow.errors import UserError
from shadow.hub import Generator
from shadow.training import checkpoint, train

_TARGETS = ("dit", "unet2d")
_NAME = re.compile(rf"(phantom|real)\.({'|'.join(_TARGETS)})\.(slice|group)\.(\d+)")
BANDS = {"faint": (0.60, 0.75), "clear": (0.85, 0.95)}
_STEPS = {  # of the target's training, at which piles are drawn; a UNet learns slices by heart late, real ones last
    "phantom.dit": (100, 600, 1200, 1800, 2600, 3600, 5000, 8000, 12000),
    "real.dit": (100, 600, 1200, 1800, 2600, 3600, 5000, 8000, 12000),
    "phantom.unet2d": (100, 800, 2000, 4000, 7000),
    "real.unet2d": (100, 800, 2000, 4500, 8000, 12000),
}
_SIZES = (400, 200, 100)  # images of the test pile
_MORE = (800, 50, 25)  # where no pile of these sizes lies inside a band
_LEARNED = 0.7  # AUC of the loss of a target's own weights, from which there is something to find
# Worlds that have a case `nothing` too: the pile of the first step, at which the target has learned no slice yet.
NOTHING = ("phantom.dit.slice.1", "real.unet2d.slice.1")


def _steps(world: str) -> tuple[int, ...]:
    return _STEPS[".".join(world.split(".")[:2])]


def worlds(real: bool) -> list[str]:
    """All worlds: three seeds of every pool and target. Real pools may have few patients: by slice alone."""
    pools = ("phantom", "real") if real else ("phantom",)
    return [
        f"{pool}.{target}.{'group' if pool == 'phantom' and seed == 2 else 'slice'}.{seed}"
        for seed, pool, target in itertools.product((1, 2, 3), pools, _TARGETS)
    ]


def recipe(world: str, pool: str, patients: str, size: int = _SIZES[0]) -> Config:
    """The `Config` of a case with so many images in its test pile."""
    found = _NAME.fullmatch(world)
    if found is None:
        raise UserError(f"{world!r} is no POOL.TARGET.SPLIT.SEED")
    kind, target, split, seed = found.groups()
    steps = _steps(world)
    config = Config(seed=int(seed))
    made = config.challenge
    config.attack.seed, made.split, made.denoiser.kind = int(seed), split, target
    made.seed = 2000 + 10 * _TARGETS.index(target) + int(seed)  # no two worlds of a pool share their roles
    config.pile.count, config.attack.pile, config.pile.steps = _SIZES[0], min(size, _SIZES[0]), (300, 600, 1600)
    config.attack.same_generator = "true"
    made.dev_generated, made.test_generated = _SIZES[0] // 2, size
    made.train.batch_size, made.train.steps, made.train.checkpoint_every = 8, steps[-1], steps[-1]
    if kind == "real":
        made.pool, made.patients = pool, patients
        made.dev_used = made.dev_not_used = 30
        made.test_used = made.test_not_used = 70
    else:
        made.slices_a_patient = 4
        made.dev_used = made.dev_not_used = 30
        made.test_used = made.test_not_used = 50
    made.publish_patients = True
    config.membership.unit = "image" if split == "slice" else "group"
    config.attack.recalibrate = "dev"
    if target == "unet2d":
        made.train.learning_rate, made.denoiser.unet.block_out_channels = 2e-3, (16, 32, 32)
    return config


def make(root: Path, world: str, pool: str, patients: str) -> dict[str, int]:
    """Makes ROOT/WORLD.BAND/challenge for each band of a world, resuming, and ROOT/WORLD/bands.json, which says how
    hard it was at every step and size. Returns the images in the test pile of each band."""
    config, folder = recipe(world, pool, patients), root / world
    path = folder / "bands.json"
    if not path.exists():
        dealt = challenge.deal(config.challenge)
        found = _search(folder, config, dealt)
        bands = {band: _nearest(found, *limits) for band, limits in BANDS.items()}
        if bands["faint"] == bands["clear"] | {"inside": bands["faint"]["inside"]}:  # all its piles are faint
            del bands["clear"]
        if world in NOTHING:
            bands["nothing"] = found[0]
        for band, row in bands.items():
            case = recipe(world, pool, patients, int(row["size"]))
            _write(root / f"{world}.{band}", dealt, _pile(folder, row["step"]), case, row)
        files.write_json(path, {"bands": bands, "searched": found})
    return {band: int(row["size"]) for band, row in json.loads(path.read_text())["bands"].items()}


def _pile(folder: Path, step: int) -> np.ndarray:
    return piles.open_pile(piles.pile_path(folder / "target", step))


def _search(folder: Path, config: Config, dealt: challenge.Dealt) -> list[dict[str, Any]]:
    """Trains the target and says of every step and size which baseline is best, and its AUC on the truth."""
    spec, target = challenge.target_spec(dealt, config), folder / "target"
    target.mkdir(parents=True, exist_ok=True)
    steps = _steps(folder.name)
    train.train_pack(spec, [target], steps)
    dev = config.challenge.dev_generated
    sampling = dataclasses.replace(config.pile, count=dev + max(_SIZES + _MORE))
    small = decoding.resize(dealt.pool.images, config.data.resolution)
    label = np.isin(dealt.unknown, dealt.chosen["test_used"])
    pack = train.init_states(spec, build(spec.denoiser, config.data.resolution))
    weights: dict[int, float] = {}
    found: list[dict[str, Any]] = []
    for step in steps:
        piles.draw_piles(spec, [target], [piles.pile_path(target, step)], step, sampling)
        weights[step] = round(_of_the_weights(spec, target, step, pack, small[dealt.unknown], label), 4)

    def measure(sizes: Sequence[int]) -> None:
        for step, size in itertools.product(steps, sizes):
            generated = _pile(folder, step)[dev : dev + size].astype(np.float32)
            scores = baselines.score_all(
                small[dealt.unknown], generated, small[dealt.chosen["dev_not_used"]], ssim=False
            )
            aucs = {
                name: float(ranking.auc(score, label))
                for name, score in scores.items()
                if not (baselines.BASELINES[name].set_dependent or baselines.BASELINES[name].needs_reference)
            }
            best = max(aucs, key=lambda name: aucs[name])
            found.append(
                {"step": step, "size": size, "best": best, "auc": round(aucs[best], 4), "weights": weights[step]}
            )

    measure(_SIZES)
    if not all(_nearest(found, *limits)["inside"] for limits in BANDS.values()):
        measure(_MORE)
    return found


def _of_the_weights(
    spec: train.Spec, target: Path, step: int, pack: Any, images: np.ndarray, label: np.ndarray
) -> float:
    """AUC of the loss of the averaged weights at `step`, on images in grey levels."""
    params = jax.tree.map(lambda leaf: np.asarray(leaf[0]), checkpoint.restore_pack([target], step, pack).ema)
    side = images.shape[-1]
    model = whitebox.opened(Generator("target", spec.denoiser, side, params, spec.diffusion, None), side)
    errors = whitebox.losses(model, decoding.to_unit(images), 0, 2)
    return float(ranking.auc(whitebox.loss_score(errors), label))


def _nearest(found: list[dict[str, Any]], low: float, high: float) -> dict[str, Any]:
    """The row nearest to the middle of the band, of the usual sizes where one of them lies inside. It may lie outside
    where a target has none inside."""
    learned = [row for row in found if row["weights"] >= _LEARNED] or found
    for rows in ([row for row in learned if row["size"] in _SIZES], learned):
        row = min(rows, key=lambda row: abs(row["auc"] - (low + high) / 2))
        inside = bool(low <= row["auc"] <= high)
        if inside:
            break
    return row | {"inside": inside}


def _write(case: Path, dealt: challenge.Dealt, pile: np.ndarray, config: Config, row: dict[str, Any]) -> None:
    part, done = case / ".challenge.part", case / "challenge"
    if done.is_dir():
        return
    shutil.rmtree(part, ignore_errors=True)  # of a killed process
    dev = config.challenge.dev_generated
    challenge.write(part, dealt, pile[: dev + int(row["size"])], config, int(row["step"]))
    os.replace(part, done)


def get_config(text: str) -> Config:
    """For launch.py: `--config=THIS_FILE:WORLD;POOL;PATIENTS;SIZE`."""
    world, pool, patients, size = text.split(";")
    return recipe(world, pool, patients, int(size))

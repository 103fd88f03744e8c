"""The evidence of every pile about every real image, measured and written to `signals/` (read by `store`).

Of a shadow's pile the first `attack.pile` images are compared. Of the target's, distances see all images, or
`attack.target_pile` of them by chance: each shows something, and the units of a pile's own non-members take care of the
size. What is trained on a pile, and a pile's statistics, are of as many images as the shadows'. Where the dev pile has
fewer than `attack.pile`, shadows are measured at both sizes. With `attack.subsamples` several lots of equal size are
compared, of all piles alike, and the mean of what they show is the evidence.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from absl import logging
from tqdm import tqdm

from attack import layout, regime
from attack.signals.scene import Pile, PileBlock, Scene
from attack.signals.sight import Sight
from attack.store import TARGETS, groups_of, pile_name
from attack.vectors import embeddings, spaces, supplied
from shadow import files, fleet, keys, piles
from shadow.config import Config
from shadow.data.manifest import Manifest
from shadow.errors import UserError


def build(workdir: Path, manifest: Manifest, config: Config, shadows: Sequence[int]) -> None:
    """Measures every pile of `shadows` and of the target against every real image and writes the store."""
    attack, scene = config.attack, set_scene(workdir, manifest, config, shadows)
    names = embeddings.names(attack)
    plan = layout.plan(names, attack.signals, scene)
    given = supplied.read(Path(attack.embeddings_from), scene) if attack.embeddings_from else None
    lots = [dataclasses.replace(scene, piles=_piles(workdir, manifest, config, shadows, lot)) for lot in _lots(config)]
    whole = [{b.name: b.measure(lot) for b, _ in plan.blocks if isinstance(b, PileBlock)} for lot in lots]
    within = {e for _, e in plan.columns if e}
    seen = {e: spaces.space(e, scene, given) for e in names if e in within}
    statistics = {}
    with files.replacing(workdir / "signals" / "values.npy") as part, part.open("wb") as stream:
        _write_header(stream, (len(scene.piles), len(scene.images), plan.size))
        for i, pile in enumerate(tqdm(scene.piles, desc="signals", unit="pile", disable=None, leave=False)):
            found, told = [], []
            for lot, values in zip(lots, whole, strict=True):
                here, made = lot.piles[i], lot.piles[i].whole()
                told.append(regime.pile_statistics(made if here.seen == here.count else here.read()))
                sight = functools.partial(_sight, seen, pile.name, made)
                found.append(plan.measure(sight, {name: value[i] for name, value in values.items()}))
            statistics[pile.name] = np.mean(told, axis=0).tolist()
            stream.write(np.mean(found, axis=0, dtype=np.float64).astype(np.float32).tobytes())
    files.write_json(
        workdir / "signals" / "names.json",
        {
            "piles": [pile.name for pile in scene.piles],
            "candidates": list(scene.ids),
            "signals": plan.stored,
            "blocks": plan.numbers,
            "sizes": sizes_of(manifest, config),
            "seen": seen_of(manifest, config),
            "statistics": statistics,
            "shadows": list(shadows),
            "asked": config.fleet.shadows,
        },
    )


def seen_of(manifest: Manifest, config: Config) -> dict[str, int]:
    """Images of each pile of the target's that distances see: of the dev pile no more than of the test pile, whose
    stand-in it is."""
    sizes, attack = sizes_of(manifest, config), config.attack
    if attack.subsamples > 1:
        return sizes
    there = {role: len(manifest.rows(role)) for role in sizes}
    most = min(attack.target_pile or there["generated_test"], there["generated_test"])
    return {role: max(sizes[role], min(most, count)) for role, count in there.items()}


def _sight(seen: dict[str, spaces.Space], name: str, made: np.ndarray, embedding: str) -> Sight:
    return seen[embedding](name, made)


def sizes_of(manifest: Manifest, config: Config) -> dict[str, int]:
    """Images compared, of each lot of each pile of the target's. Raises UserError where a pile has fewer images than
    there are to be lots."""
    there, lots = {role: len(manifest.rows(role)) for role in TARGETS}, config.attack.subsamples
    if few := [role for role, count in there.items() if 0 < count < lots]:
        raise UserError(f"attack.subsamples = {lots}: the pile {few[0]} has {there[few[0]]} images; use fewer")
    return {role: min(config.attack.pile, count // lots) for role, count in there.items() if count}


def _lots(config: Config) -> range:
    return range(config.attack.subsamples)


def set_scene(workdir: Path, manifest: Manifest, config: Config, shadows: Sequence[int]) -> Scene:
    """All real images and all piles that are measured, the first lot of each. Logs a warning for a target's pile that
    is too small."""
    dev, test = fleet.dev_ids(manifest), manifest.id[manifest.rows("unknown")].tolist()
    sizes = sizes_of(manifest, config)
    for role, count in sizes.items():
        if count < config.attack.pile:
            said = "%s is compared at %d images, not attack.pile = %d: it has no more"
            logging.warning(said, role, count, config.attack.pile)
    return Scene(
        manifest.images_at([*dev, *test], config.data.resolution),
        (*dev, *test),
        tuple(groups_of(manifest, [*dev, *test])),
        len(dev),
        _piles(workdir, manifest, config, shadows, 0),
        workdir,
        config,
    )


def _piles(workdir: Path, manifest: Manifest, config: Config, shadows: Sequence[int], lot: int) -> tuple[Pile, ...]:
    """One lot of every pile, in the order of the store."""
    sizes, found = sizes_of(manifest, config), []
    for step in fleet.pile_steps(config):
        for k in shadows:
            for n in sorted(set(sizes.values())):
                read = functools.partial(_of_shadow, workdir, k, step, n, lot)
                found.append(Pile(pile_name(k, step, n), k, step, n, read, n, read))
    for role, seen in seen_of(manifest, config).items():
        read, whole = (functools.partial(_of_target, manifest, config, role, n, lot) for n in (sizes[role], seen))
        found.append(Pile(role, -1, -1, sizes[role], read, seen, whole))
    return tuple(found)


def pile_of_target(manifest: Manifest, config: Config, role: str, count: int) -> np.ndarray:
    """`count` images of a pile of the target's by chance, [image, side, side] in grey levels at data.resolution."""
    return _of_target(manifest, config, role, count, 0)


def _of_target(manifest: Manifest, config: Config, role: str, count: int, lot: int) -> np.ndarray:
    rows, every = manifest.rows(role), config.attack.subsamples * count
    chosen = keys.generator(config.attack.seed, "subsample", role).choice(len(rows), every, replace=False)
    taken = rows[np.sort(chosen[lot * count : (lot + 1) * count])]
    ids, side = manifest.id[taken].tolist(), config.data.resolution
    if (manifest.width[taken] == side).all() and (manifest.height[taken] == side).all():
        return manifest.images(ids)  # whole grey levels, in a quarter of the memory
    return manifest.images_at(ids, side)


def _of_shadow(workdir: Path, shadow: int, step: int, count: int, lot: int) -> np.ndarray:
    pile = piles.open_pile(piles.pile_path(fleet.shadow_folder(workdir, shadow), step))
    return pile[lot * count : (lot + 1) * count]


def _write_header(stream: BinaryIO, shape: tuple[int, ...]) -> None:
    """The head of a `.npy` file of float32. The rows follow pile by pile, so that memory does not grow with the fleet
    (a memory map would count as memory too, and a full disk under it is a fatal signal)."""
    head = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.float32)), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, head)

"""The evidence of every pile about every real image, measured and written to `signals/` (read by `store`).

Of a shadow's pile the first `attack.pile` images are compared. Of the target's, distances see all images, or
`attack.target_pile` of them by chance: each shows something, and the units of a pile's own non-members take care of the
size. What is trained on a pile, and a pile's statistics, are of as many images as the shadows'. Where the dev pile has
fewer than `attack.pile`, shadows are measured at both sizes.
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

from attack.evidence import flips, layout, pile_shift
from attack.evidence.attack_data import AttackData, Pile
from attack.evidence.embedded_pile import EmbeddedPile
from attack.evidence.embeddings import builtin, spaces, supplied
from attack.evidence.layout import TARGETS, pile_name
from shadow import files, fleet, keys, piles
from shadow.config import Config
from shadow.data.manifest import Manifest


def measure(workdir: Path, manifest: Manifest, config: Config) -> None:
    """The stage `signals` on files. Raises UserError where a pile is damaged."""
    build(workdir, manifest, config, checked_shadows(workdir, config))


def checked_shadows(workdir: Path, config: Config) -> list[int]:
    """Numbers of the shadows that are measured, their piles checked. Raises UserError where a pile is damaged."""
    shadows = fleet.present(workdir, config)
    fleet.verify_piles(workdir, shadows)
    return shadows


def build(workdir: Path, manifest: Manifest, config: Config, shadows: Sequence[int]) -> None:
    """Measures every pile of `shadows` and of the target against every real image and writes the store."""
    attack, attack_data = config.attack, attack_data_of(workdir, manifest, config, shadows)
    names = builtin.names(attack)
    plan = layout.plan(names, attack.signals)
    given = supplied.read(Path(attack.embeddings_from), attack_data) if attack.embeddings_from else None
    within = {e for _, e in plan.columns}
    seen = {e: spaces.space(e, attack_data, given) for e in names if e in within}
    test = next(pile for pile in attack_data.piles if pile.name == "generated_test")
    flipped = flips.choose(attack.flips, attack_data.images[: attack_data.dev], test.read())
    statistics = {}
    with files.replacing(workdir / "signals" / "values.npy") as part, part.open("wb") as stream:
        _write_header(stream, (len(attack_data.piles), len(attack_data.images), plan.size))
        for pile in tqdm(attack_data.piles, desc="signals", unit="pile", disable=None, leave=False):
            made = pile.whole()
            statistics[pile.name] = pile_shift.pile_statistics(
                made if pile.seen == pile.count else pile.read()
            ).tolist()
            embedded = functools.partial(_embedded, seen, pile.name, flipped.of(made))
            stream.write(plan.measure(embedded).tobytes())
    files.write_json(
        workdir / "signals" / "names.json",
        {
            "piles": [pile.name for pile in attack_data.piles],
            "candidates": list(attack_data.ids),
            "signals": plan.stored,
            "blocks": plan.numbers,
            "sizes": sizes_of(manifest, config),
            "seen": seen_of(manifest, config),
            "statistics": statistics,
            "flips": dataclasses.asdict(flipped),
            "shadows": list(shadows),
            "asked": config.fleet.shadows,
        },
    )


def seen_of(manifest: Manifest, config: Config) -> dict[str, int]:
    """Images of each pile of the target's that distances see: of the dev pile no more than of the test pile, whose
    stand-in it is."""
    sizes = sizes_of(manifest, config)
    there = {role: len(manifest.rows(role)) for role in sizes}
    most = min(config.attack.target_pile or there["generated_test"], there["generated_test"])
    return {role: max(sizes[role], min(most, count)) for role, count in there.items()}


def _embedded(seen: dict[str, spaces.Space], name: str, made: np.ndarray, embedding: str) -> EmbeddedPile:
    return seen[embedding](name, made)


def sizes_of(manifest: Manifest, config: Config) -> dict[str, int]:
    """Images of each pile of the target's that the shadows' piles are compared with."""
    there = {role: len(manifest.rows(role)) for role in TARGETS}
    return {role: min(config.attack.pile, count) for role, count in there.items() if count}


def attack_data_of(workdir: Path, manifest: Manifest, config: Config, shadows: Sequence[int]) -> AttackData:
    """All real images and all piles that are measured. Logs a warning for a target's pile that is too small."""
    dev, test = fleet.dev_ids(manifest), manifest.id[manifest.rows("unknown")].tolist()
    sizes = sizes_of(manifest, config)
    for role, count in sizes.items():
        if count < config.attack.pile:
            said = "%s is compared at %d images, not attack.pile = %d: it has no more"
            logging.warning(said, role, count, config.attack.pile)
    return AttackData(
        manifest.images_at([*dev, *test], config.data.resolution),
        (*dev, *test),
        tuple(manifest.groups_of([*dev, *test])),
        len(dev),
        _piles(workdir, manifest, config, shadows),
    )


def _piles(workdir: Path, manifest: Manifest, config: Config, shadows: Sequence[int]) -> tuple[Pile, ...]:
    """Every pile, in the order of the store."""
    sizes, found = sizes_of(manifest, config), []
    for step in fleet.pile_steps(config):
        for k in shadows:
            for n in sorted(set(sizes.values())):
                read = functools.partial(of_shadow, workdir, k, step, n)
                found.append(Pile(pile_name(k, step, n), k, step, n, read, n, read))
    for role, seen in seen_of(manifest, config).items():
        read, whole = (functools.partial(pile_of_target, manifest, config, role, n) for n in (sizes[role], seen))
        found.append(Pile(role, -1, -1, sizes[role], read, seen, whole))
    return tuple(found)


def pile_of_target(manifest: Manifest, config: Config, role: str, count: int) -> np.ndarray:
    """`count` images of a pile of the target's by chance, [image, side, side] in grey levels at data.resolution."""
    rows = manifest.rows(role)
    chosen = keys.generator(config.attack.seed, "subsample", role).choice(len(rows), count, replace=False)
    taken = rows[np.sort(chosen)]
    ids, side = manifest.id[taken].tolist(), config.data.resolution
    if (manifest.width[taken] == side).all() and (manifest.height[taken] == side).all():
        return manifest.images(ids)  # whole grey levels, in a quarter of the memory
    return manifest.images_at(ids, side)


def of_shadow(workdir: Path, shadow: int, step: int, count: int) -> np.ndarray:
    """The first `count` images of a shadow's pile of a step, uint8 [image, side, side]."""
    return piles.open_pile(piles.pile_path(fleet.shadow_folder(workdir, shadow), step))[:count]


def _write_header(stream: BinaryIO, shape: tuple[int, ...]) -> None:
    """The head of a `.npy` file of float32. The rows follow pile by pile, so that memory does not grow with the fleet
    (a memory map would count as memory too, and a full disk under it is a fatal signal)."""
    head = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.float32)), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, head)

"""signals/: the evidence of every pile about every real image, on disk, and how the attack reads it.

`signals/values.npy` is float32 [pile, candidate, signal]; `signals/names.json` names the three axes, says which shadows
were there and how many the config asked for, and holds each pile's own statistics. Piles are compared at equal size:
the first images of a shadow's pile, a random choice of the target's. Where the dev pile is smaller than the test pile,
shadows are measured at both sizes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from absl import logging
from tqdm import tqdm

from attack import calibration, embeddings, regime
from attack.crossfit import Labelled
from attack.signals import evidence
from attack.target import Target
from shadow import files, fleet, keys, membership, piles
from shadow.config import Config
from shadow.data.manifest import Manifest

TARGETS = ("generated_dev", "generated_test")


def groups_of(manifest: Manifest, ids: Sequence[str]) -> list[str]:
    row = {name: i for i, name in enumerate(manifest.id.tolist())}
    return [str(manifest.group[row[name]]) for name in ids]


def pile_name(shadow: int, step: int, size: int) -> str:
    return f"{shadow:04d}@{step}x{size}"


def build(workdir: Path, manifest: Manifest, config: Config, shadows: Sequence[int]) -> None:
    """Measures every pile of `shadows` and of the target against every real image and writes the store."""
    size = config.data.resolution
    dev, test = fleet.dev_ids(manifest), manifest.id[manifest.rows("unknown")].tolist()
    images = manifest.images_at([*dev, *test], size)
    groups = groups_of(manifest, [*dev, *test])
    sizes = {role: min(config.attack.pile, len(manifest.rows(role))) for role in TARGETS}
    for role, count in sizes.items():
        if count < config.attack.pile:
            said = "%s is compared at %d images, not attack.pile = %d: it has no more"
            logging.warning(said, role, count, config.attack.pile)
    names = [
        pile_name(k, s, n) for s in fleet.pile_steps(config) for k in shadows for n in sorted(set(sizes.values()))
    ] + list(TARGETS)

    real = {e: embeddings.embed(e, images) for e in config.attack.embeddings}
    columns = evidence.SIZE
    statistics = []
    with files.replacing(workdir / "signals" / "values.npy") as part, part.open("wb") as stream:
        shape = (len(names), len(images), columns * len(real))
        _write_header(stream, shape)
        for name in tqdm(names, desc="signals", unit="pile", disable=None, leave=False):
            pile = _read_pile(workdir, manifest, config, name, sizes)
            statistics.append(regime.pile_statistics(pile).tolist())
            row = np.zeros(shape[1:], np.float32)
            for e, (embedding, vectors) in enumerate(real.items()):
                known, made = vectors[: len(dev)], embeddings.embed(embedding, pile)
                measured = evidence.measure(vectors, groups, made, known, groups[: len(dev)])
                row[:, e * columns : (e + 1) * columns] = evidence.pack(measured)
            stream.write(row.tobytes())
    closeness = [f"closeness.{i + 1}" for i in range(evidence.NEAREST)]
    signals = [f"{c}@{e}" for e in real for c in (*closeness, "votes", "mosaic")]
    files.write_json(
        workdir / "signals" / "names.json",
        {
            "piles": names,
            "candidates": [*dev, *test],
            "signals": signals,
            "sizes": sizes,
            "statistics": dict(zip(names, statistics, strict=True)),
            "shadows": list(shadows),
            "asked": config.fleet.shadows,
        },
    )


def _write_header(stream: BinaryIO, shape: tuple[int, ...]) -> None:
    """The head of a `.npy` file of float32. The rows follow pile by pile, so that memory does not grow with the fleet
    (a memory map would count as memory too, and a full disk under it is a fatal signal)."""
    head = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.float32)), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, head)


def shadows_in(workdir: Path) -> tuple[list[int], int] | None:
    """(shadows in the store, number the config asked for); None where there is no store or none that tells."""
    try:
        names = json.loads((workdir / "signals" / "names.json").read_text())
        return names["shadows"], names["asked"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def dev_membership(workdir: Path, shadows: Sequence[int]) -> np.ndarray:
    """Who is in which of `shadows`, bool [shadow, dev image]."""
    return np.load(workdir / "membership.npy", allow_pickle=False)[list(shadows)]


def _read_pile(workdir: Path, manifest: Manifest, config: Config, name: str, sizes: dict[str, int]) -> np.ndarray:
    """The images of a pile that are compared, at the shadows' resolution, [image, size, size]."""
    size = config.data.resolution
    if name in TARGETS:
        rows = manifest.rows(name)
        chosen = keys.generator(config.attack.seed, "subsample", name).choice(len(rows), sizes[name], replace=False)
        return manifest.images_at(manifest.id[rows[np.sort(chosen)]].tolist(), size)
    shadow, _, rest = name.partition("@")
    step, _, count = rest.partition("x")
    pile = piles.open_pile(piles.pile_path(fleet.shadow_folder(workdir, int(shadow)), int(step)))
    return np.asarray(pile[: int(count)], np.float32)


@dataclass(frozen=True)
class Store:
    """What the attack reads: everything of `signals/`, and who is in which shadow. Axes [shadow] are of `shadows`."""

    values: np.ndarray  # float32 [pile, candidate, embedding, evidence], memory-mapped
    piles: tuple[str, ...]
    dev: tuple[str, ...]
    test: tuple[str, ...]
    groups: tuple[str, ...]  # of dev, then test
    member: np.ndarray  # bool [shadow, dev image]
    not_used: np.ndarray  # bool [dev image]
    statistics: dict[str, list[float]]
    sizes: dict[str, int]  # images compared, of each target pile
    shadows: tuple[int, ...]  # that were there, rising
    asked: int  # shadows of the config when the signals were measured
    config: Config

    @property
    def missing(self) -> list[int]:
        """Shadows that were asked for and not there."""
        return sorted(set(range(self.asked)) - set(self.shadows))

    def labelled(self, step: int, like: str) -> Labelled:
        """The shadows' piles of one training step about the dev images, at the size of the target pile `like`."""
        dev = len(self.dev)
        touched = membership.touched(self.member, self.groups[:dev], self.groups[:dev])
        bank = calibration.Bank(
            self._evidence(step, like)[:, :dev],
            self.member,
            touched,
            self.config.attack.embeddings,
            self.config.attack.signals,
        )
        return Labelled(bank, self.dev, self._group_numbers()[:dev])

    def target(self, name: str, step: int, only: Sequence[str] | None = None) -> Target:
        """The target's pile `name` about the test candidates (`only` some of them)."""
        dev, pile = len(self.dev), self.values[self.piles.index(name)]
        wanted = set(self.test if only is None else only)
        ids = tuple(name for name in self.test if name in wanted)
        chosen = [dev + i for i, name in enumerate(self.test) if name in wanted]
        touched = membership.touched(self.member, self.groups[:dev], [self.groups[i] for i in chosen])
        nobody = np.zeros((len(self.member), len(chosen)), bool)
        bank = calibration.Bank(
            self._evidence(step, name)[:, chosen],
            nobody,
            touched,
            self.config.attack.embeddings,
            self.config.attack.signals,
        )
        return Target(pile[:dev], pile[chosen], self.not_used, bank, ids)

    def dev_target(self, step: int, name: str = "generated_dev") -> Target:
        """The target's pile `name` about the dev images themselves."""
        data, pile = self.labelled(step, name), self.values[self.piles.index(name)]
        about = pile[: len(self.dev)]
        return Target(about, about, self.not_used, data.bank, self.dev)

    def _evidence(self, step: int, like: str) -> np.ndarray:
        """Of the shadows' piles, [shadow, candidate, embedding, evidence]: a view, not a copy of the store."""
        first, second = (self.piles.index(pile_name(k, step, self.sizes[like])) for k in self.shadows[:2])
        stride = second - first  # one pile a shadow, or two sizes of it
        return self.values[first : first + stride * len(self.shadows) : stride]

    def _group_numbers(self) -> np.ndarray:
        """Numbers by first appearance: those of dev images do not depend on the test images."""
        number: dict[str, int] = {}
        return np.array([number.setdefault(name, len(number)) for name in self.groups])


def read(workdir: Path, manifest: Manifest, config: Config) -> Store:
    """The store, memory-mapped."""
    names = json.loads((workdir / "signals" / "names.json").read_text())
    values = np.load(workdir / "signals" / "values.npy", mmap_mode="r", allow_pickle=False)
    dev = fleet.dev_ids(manifest)
    label = {name: int(label) for name, label in zip(manifest.id.tolist(), manifest.label.tolist(), strict=True)}
    return Store(
        values.reshape(*values.shape[:2], len(config.attack.embeddings), evidence.SIZE),
        tuple(names["piles"]),
        tuple(dev),
        tuple(names["candidates"][len(dev) :]),
        tuple(groups_of(manifest, names["candidates"])),
        dev_membership(workdir, names["shadows"]),
        np.array([label[name] == 0 for name in dev]),
        names["statistics"],
        names["sizes"],
        tuple(names["shadows"]),
        names["asked"],
        config,
    )

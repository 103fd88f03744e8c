"""What every generated image shows of every subset of real slices: the evidence of the question "whose data?".

It is that of membership with the roles turned: an image is asked about, and the slices of a subset stand for a pile. So
the same blocks measure it, but for `votes`, in which the images of a pile would be rivals. Written to `signals/`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from attack.evidence import flips, layout
from attack.evidence.embedded_pile import EmbeddedPile
from attack.evidence.embeddings import builtin
from attack.evidence.embeddings.distances import distances
from attack.evidence.measuring import checked_shadows, of_shadow
from shadow import files, fleet
from shadow.config import Config
from shadow.data import subsets
from shadow.data.manifest import Manifest

SIGNALS = ("nearest", "mosaic")
VALUES, NAMES = "by_subset.npz", "names.json"  # below `signals`
_PART = 1024  # images that are measured at a time


@dataclass(frozen=True)
class PileFacts:
    """One measured pile. subset: the number of the one that made it, -1 where that is the question; shadow, step: -1
    for piles that were given; ids: of its images, none for a shadow's."""

    name: str
    subset: int
    shadow: int
    step: int
    ids: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class SubsetEvidence:
    """values: float32 [image, subset, column]; pile: int [image], the number of its pile; slice: int [image], the real
    slice that is nearest to it in the first embedding; piles: those of shadows first, then labelled ones, then those
    asked about; names: of the subsets; columns: of the signals; flips: by which slices were looked at too."""

    values: np.ndarray
    pile: np.ndarray
    slice: np.ndarray
    piles: tuple[PileFacts, ...]
    names: tuple[str, ...]
    columns: tuple[str, ...]
    flips: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Slices:
    """The real slices, embedded. embedded: for each embedding float32 [slice, feature]; subset: int [slice]; row: int
    [slice], its number before any was flipped."""

    embedded: dict[str, np.ndarray]
    subset: np.ndarray
    row: np.ndarray


def measure(workdir: Path, manifest: Manifest, config: Config) -> None:
    """The stage `signals` on files. Raises UserError where a pile is damaged, and as `subsets.read` and `piles`."""
    shadows = checked_shadows(workdir, config)
    real, given = subsets.read(manifest), []
    side, found = config.data.resolution, []
    for pile in subsets.piles(manifest, real.names):
        found.append(PileFacts(pile.name, pile.subset, -1, -1, pile.ids))
        given.append(manifest.images_at(pile.ids, side))
    images = manifest.images_at(fleet.dev_ids(manifest), side)
    asked = np.concatenate([made for pile, made in zip(found, given, strict=True) if pile.subset < 0])
    flipped = flips.choose(config.attack.flips, images, asked)
    slices = embed_slices(images, real.of, flipped, config.attack.embeddings)
    plan = layout.plan(config.attack.embeddings, SIGNALS)
    own = _of_shadows(workdir, config, shadows, real.of)
    taken = [of_shadow(workdir, pile.shadow, pile.step, config.attack.pile) for pile in own]
    piles = list(zip([*own, *found], [*taken, *given], strict=True))
    parts = [
        measured(made, slices, plan, len(real.names))
        for _, made in tqdm(piles, desc="signals", unit="pile", disable=None, leave=False)
    ]
    with files.replacing(workdir / "signals" / VALUES) as part, part.open("wb") as stream:
        np.savez(
            stream,
            values=np.concatenate([values for values, _ in parts]),
            slice=np.concatenate([nearest for _, nearest in parts]),
            pile=np.repeat(np.arange(len(parts)), [len(nearest) for _, nearest in parts]),
        )
    files.write_json(
        workdir / "signals" / NAMES,
        {
            "piles": [dataclasses.asdict(pile) for pile, _ in piles],
            "subsets": list(real.names),
            "columns": list(plan.names),
            "flips": list(flipped.names),
            "shadows": list(shadows),
            "asked": config.fleet.shadows,
        },
    )


def embed_slices(images: np.ndarray, subset: np.ndarray, flipped: flips.Flips, embeddings: Sequence[str]) -> Slices:
    """Real slices [slice, side, side] of the subsets int [slice], and where `flipped` says so the flipped ones too."""
    every = flipped.of(images)
    ways = len(every) // len(images)
    embedded = {name: builtin.embed(name, every) for name in embeddings}
    return Slices(embedded, np.tile(subset, ways), np.tile(np.arange(len(images)), ways))


def measured(images: np.ndarray, slices: Slices, plan: layout.Layout, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Signals float32 [image, subset, column] of images [image, side, side] about each of `count` subsets, higher =
    nearer, each image for itself; and int [image], the nearest real slice in the first embedding."""
    values, nearest = [], []
    for start in range(0, len(images), _PART):
        part = images[start : start + _PART]
        seen = {name: builtin.embed(name, part) for name in slices.embedded}
        first = next(iter(seen))
        nearest.append(slices.row[distances(seen[first], slices.embedded[first]).argmin(1)])
        values.append(np.stack([plan.signals(plan.measure(_about(seen, slices, s))) for s in range(count)], axis=1))
    return np.concatenate(values, dtype=np.float32, casting="same_kind"), np.concatenate(nearest)


def _about(seen: dict[str, np.ndarray], slices: Slices, subset: int) -> Callable[[str], EmbeddedPile]:
    own = slices.subset == subset
    return lambda name: EmbeddedPile(seen[name], slices.embedded[name][own])


def _of_shadows(workdir: Path, config: Config, shadows: Sequence[int], subset: np.ndarray) -> list[PileFacts]:
    """The piles of the shadows, by step. subset: int [slice]; a shadow's is that of the slices it holds."""
    held = fleet.read_membership(workdir / "membership.npy", config.fleet.shadows, len(subset))
    return [
        PileFacts(f"{k:04d}@{step}", int(subset[held[k]][0]), k, step, ())
        for step in fleet.pile_steps(config)
        for k in shadows
    ]


def read(workdir: Path) -> SubsetEvidence:
    """What `measure` wrote."""
    names = json.loads((workdir / "signals" / NAMES).read_text())
    with np.load(workdir / "signals" / VALUES, allow_pickle=False) as found:
        values, pile, nearest = found["values"], found["pile"], found["slice"]
    return SubsetEvidence(
        values,
        pile,
        nearest,
        tuple(PileFacts(**{**one, "ids": tuple(one["ids"])}) for one in names["piles"]),
        *(tuple(names[key]) for key in ("subsets", "columns", "flips")),
    )

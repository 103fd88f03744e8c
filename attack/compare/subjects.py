"""What `compare` was asked to compare: checkpoints by their names, and what is known of each.

A subject is resolved without its weights, so that a mistake in the last name is found before the first is measured.
"""

from __future__ import annotations

import functools
import gc
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shadow import fleet, hub, workdir
from shadow.config import Config, from_dict
from shadow.data import manifest as manifests
from shadow.data.manifest import Manifest
from shadow.errors import UserError
from shadow.fleet.packs import read_membership
from shadow.fleet.plan import read_plan
from shadow.hub import Generator
from shadow.training import checkpoint

EVERY = "@all"  # in the place of a step: all checkpoints of the shadow
_RUN_FILES = ("config.json", "manifest.csv", "plan.json", "membership.npy")


@dataclass(frozen=True)
class Source:
    """A run: its folder, config, real slices, and who is in which shadow, bool [shadow, image of the pool]."""

    folder: Path
    config: Config
    manifest: Manifest
    membership: np.ndarray

    @functools.cached_property
    def pool(self) -> list[str]:
        """The images that its shadows were drawn from: the dev images, and the candidates where those hold them too."""
        return fleet.pool_ids(self.manifest, self.config)

    @functools.cached_property
    def real(self) -> list[str]:
        """All real slices: the dev images, then the candidates."""
        return [*fleet.dev_ids(self.manifest), *self.manifest.id[self.manifest.rows("unknown")].tolist()]

    @functools.cached_property
    def sha256(self) -> dict[str, str]:
        """Of each file, by the image's id."""
        return dict(zip(self.manifest.id.tolist(), self.manifest.sha256.tolist(), strict=True))

    @functools.cached_property
    def side(self) -> int:
        """Pixels a side of the real slices, which are never enlarged."""
        return int(self.manifest.width[self.manifest.rows("used")].min())

    @functools.cached_property
    def groups(self) -> list[str]:
        """Of the pool."""
        return self.manifest.groups_of(self.pool)

    @functools.cached_property
    def pictures(self) -> tuple[str, ...]:
        """Names of the pool's images, the same in every run that has the same file."""
        return tuple(f"{self.sha256[name]} {name}" for name in self.pool)

    @functools.cached_property
    def kin(self) -> tuple[str, ...]:
        """Groups of the pool's images, each named by its first picture: the same files have one name in every run."""
        first: dict[str, str] = {}
        for group, name in zip(self.groups, self.pictures, strict=True):
            first[group] = min(name, first.get(group, name))
        return tuple(first[group] for group in self.groups)


@dataclass(frozen=True)
class Subject:
    """One checkpoint. `outline` is the generator without weights; `source` its run, None where its members are not
    known, and then `unknown` says why."""

    label: str
    place: hub.Place
    outline: Generator
    source: Source | None
    unknown: str

    @property
    def shadow(self) -> int:
        """Its number in `source`."""
        return int(self.place.folder.name)

    @property
    def member(self) -> np.ndarray | None:
        """bool [image of the pool of `source`]; None where that is not known."""
        return None if self.source is None else self.source.membership[self.shadow]

    def open(self) -> Generator:
        """With its weights."""
        return opened(self.place)


def opened(place: hub.Place) -> Generator:
    """The generator with its weights, as `hub.read_place`, when those of the one before have been given back."""
    gc.collect()  # traced functions hold on to it in cycles
    return hub.read_place(place)


def resolve(names: Sequence[str], run: Path, config: Config) -> tuple[list[Subject], Source | None]:
    """The subjects, and the run whose real slices all are compared with: that in the workdir `run`, or else the first
    that a subject belongs to, or None.

    Raises UserError where fewer than two are named, as `hub.locate` and `hub.outline`, and on a run with damaged files
    or without its images.
    """
    expanded = [name for given in names for name in _expanded(given, run)]
    if len(expanded) < 2:
        raise UserError(f"--checkpoints={','.join(names)}: name two checkpoints or more, with commas between")
    sources: dict[Path, tuple[Source | None, str]] = {}

    def source_of(folder: Path) -> tuple[Source | None, str]:
        key = folder.absolute()
        if key not in sources:
            sources[key] = _read_source(folder, config.data.root if key == run.absolute() else "")
        return sources[key]

    subjects: list[Subject] = []
    seen = Counter[str]()
    for name in expanded:
        place = hub.locate(name, run)
        source, unknown = None, "a pipeline does not say on what it was trained"
        if place.step is not None:
            source, unknown = source_of(place.folder.absolute().parent.parent)
            if source is not None and not _is_shadow(place.folder, source):
                source, unknown = None, f"{place.folder.name} is no shadow of its run's plan"
        seen[name] += 1
        label = name if seen[name] == 1 else f"{name} #{seen[name]}"
        subjects.append(Subject(label, place, hub.outline(place), source, unknown))
    own = source_of(run)[0] if (run / "config.json").is_file() else None
    return subjects, own or next((subject.source for subject in subjects if subject.source), None)


def _expanded(name: str, run: Path) -> list[str]:
    base, every, rest = name.partition(EVERY)
    if not every or rest not in ("", ":raw"):
        return [name]
    place = hub.locate(base, run)
    if place.step is None:
        raise UserError(f"{name}: {EVERY} is for the steps of a shadow, and {base} is a pipeline")
    return [f"{base}@{step}{rest}" for step in checkpoint.steps(place.folder)]


def _is_shadow(folder: Path, source: Source) -> bool:
    return folder.name.isdigit() and int(folder.name) < len(source.membership)


def _read_source(folder: Path, root: str) -> tuple[Source | None, str]:
    """The run in `folder`, or why its members are not known."""
    for name in _RUN_FILES:
        if not (folder / name).is_file():
            return None, f"its run has no {name}"
    config: Config = from_dict(workdir.read_config(folder))
    root = root or config.data.root
    data = Path(root) if root else folder / "challenge"
    if not data.is_dir():
        raise UserError(
            f"{data}: no such folder, and the shadows of {folder} were trained on its images; bring it back, or name "
            "it with --config.data.root where that run is the --workdir"
        )
    manifest = manifests.read(folder / "manifest.csv", data)
    shadows = read_plan(folder / "plan.json").shadows
    membership = read_membership(folder / "membership.npy", shadows, len(fleet.pool_ids(manifest, config)))
    return Source(folder, config, manifest, membership), ""

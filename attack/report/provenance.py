"""How a run was made: learning curves of its shadows, versions, hashes, and the config without paths."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import platform
from collections.abc import Collection, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from attack.report import formats
from attack.results import Evaluation
from shadow.config import Config
from shadow.errors import UserError
from shadow.fleet import families

PACKAGES = (
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "numpy",
    "scipy",
    "scikit-learn",
    "matplotlib",
)
HASHED = ("manifest.csv", "membership.npy", "predictions.csv")
Curve = tuple[np.ndarray, np.ndarray]


def read_json(path: Path) -> Any:
    """UserError naming the file if it is missing or damaged."""
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); run the earlier stages again") from error


def curves(workdir: Path, missing: Collection[int] = ()) -> tuple[list[Curve], list[Curve]]:
    """(training loss, gap in percent [row, noise level]) of every shadow, by images seen.

    Left out are `missing` shadows, whose training may have begun, and those with fewer than two rows. A cut-off last
    line (a killed worker) is passed over.
    """
    losses: list[Curve] = []
    gaps: list[Curve] = []
    for path in sorted(workdir.glob("shadows/*/metrics.jsonl")):
        if path.parent.name in {f"{k:04d}" for k in missing}:
            continue
        loss, gap = [], []
        for row in _rows(path):
            if np.isfinite(row["loss"]):
                loss.append((row["images"], row["loss"]))
            if row.get("loss_in") and row.get("loss_out"):
                ratio = 100 * (np.asarray(row["loss_out"]) / np.asarray(row["loss_in"]) - 1)
                if np.isfinite(ratio).all():
                    gap.append((row["images"], *ratio))
        for rows, found in ((loss, losses), (gap, gaps)):
            if len(rows) > 1:
                table = np.asarray(rows, float)
                found.append((table[:, 0], table[:, 1] if table.shape[1] == 2 else table[:, 1:]))
    return losses, gaps


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_text("utf-8").splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            return


def versions() -> list[tuple[str, str]]:
    rows = [("shadowprint", _version("shadowprint")), ("Python", platform.python_version())]
    return rows + [(name, _version(name)) for name in PACKAGES]


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "unknown"


def hashes(workdir: Path, hashed: Sequence[str] = HASHED) -> list[tuple[str, str]]:
    return [
        (name, hashlib.sha256((workdir / name).read_bytes()).hexdigest())
        for name in hashed
        if (workdir / name).is_file()
    ]


def settings(config: Config) -> list[tuple[str, str]]:
    """(field, value) of every option; a path is replaced: it may name a machine, a user or a project."""
    rows: list[tuple[str, str]] = []

    def walk(prefix: str, value: Any) -> None:
        if isinstance(value, dict):
            for name, inner in value.items():
                walk(f"{prefix}.{name}" if prefix else name, inner)
        elif isinstance(value, list | tuple) and any(isinstance(inner, dict) for inner in value):
            for number, inner in enumerate(value):
                walk(f"{prefix}[{number}]", inner)
        else:
            rows.append((prefix, _shown(value)))

    walk("", dataclasses.asdict(config))
    return rows


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(_shown(inner) for inner in value) or "–"
    if isinstance(value, str):
        return "(a path, not shown)" if "/" in value or "\\" in value else value or "–"
    return str(value).lower() if isinstance(value, bool) else str(value)


def facts(workdir: Path, config: Config, evaluation: Evaluation) -> list[tuple[str, str]]:
    """The run in a few lines, for the head of the section."""
    gone = evaluation.shadows_missing
    named = f" (missing: {formats.listed(gone, 40)})" if gone else ""
    rows = [("Shadows", f"{evaluation.shadows_used} of {evaluation.shadows_asked} asked for{named}")]
    if (workdir / "plan.json").is_file():
        packs = read_json(workdir / "plan.json").get("packs") or []
        rows.append(("Packs", f"{len(packs)}, of up to {max((len(pack) for pack in packs), default=0)} shadows"))
    if (workdir / "membership.npy").is_file():
        table = np.load(workdir / "membership.npy", allow_pickle=False)
        table = table[[k for k in range(len(table)) if k not in gone]]
        sizes = table.sum(axis=1)
        if len(sizes):
            low, high = sizes.min(), sizes.max()
            drawn = f"{low} to {high}" if low < high else f"{low}"
            also = ", test candidates among them" if config.membership.candidates else ""
            rows.append(("Slices a shadow", f"{drawn} of {table.shape[1]}{also}"))
    rows += _training(config)
    rows.append(("Images compared", f"{_images(evaluation)}, {config.data.resolution} pixels a side"))
    rows.append(("Seeds", f"{config.seed} (shadows), {config.attack.seed} (attack)"))
    return rows


def _images(evaluation: Evaluation) -> str:
    size, seen = evaluation.pile_size, evaluation.target_pile
    flipped = ", flipped too" if evaluation.flips.names else ""
    of_each = f"{size:,} of each pile" if seen == size else f"{size:,} of each shadow's pile, {seen:,} of the target's"
    return of_each + flipped


def _training(config: Config) -> list[tuple[str, str]]:
    """How a shadow was trained: a row, or a row for each family."""
    names, rows = families.family_names(config), []
    for number, name in enumerate(names):
        own = families.config_of(config, number)
        said = f"{own.train.steps:,} steps of {own.train.batch_size} images"
        if len(names) > 1:
            rows.append((f"Training of a shadow, {name}", f"{own.denoiser.kind}, {said}"))
        else:
            rows.append(("Training of a shadow", said))
    return rows

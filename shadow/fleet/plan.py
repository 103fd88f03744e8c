"""The plan of a fleet: which shadows are trained together, and a key of everything their bits depend on.

A plan is frozen before training, since packing and threads change the last bits. It grows by packs at its end.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import shadow
from shadow import files, workdir
from shadow.config import Config, MembershipConfig
from shadow.data import editions
from shadow.data.manifest import Manifest
from shadow.errors import UserError
from shadow.fleet import families
from shadow.training.membership import AUTO, UNITS, UnitChoice

VERSION = 2
OLDER_UNIT = "mixed"  # membership.unit of plans that name none: it was the default, and there was no "auto"

# The code that decides about the bits of a checkpoint, and of a pile on top of it.
_TRAINER = (
    *("keys.py", "training/train.py", "training/team.py", "diffusion/process.py", "data/decoding.py", "data/png.py"),
    *("denoisers/blocks.py", "denoisers/build.py", "denoisers/dit.py", "denoisers/layers.py"),
    *("denoisers/times.py", "denoisers/unet2d.py", "denoisers/unet2d_blocks.py", "denoisers/unet2d_config.py"),
)
_SAMPLER = ("piles.py", "diffusion/samplers.py")
_NOT_TRAINED = ("denoisers/__init__.py", "denoisers/weights.py")  # of the networks' folder: they decide about no bit


@dataclass(frozen=True)
class Pack:
    """Shadows that are trained together, and the hash of what their weights depend on (see `training_key`)."""

    shadows: tuple[int, ...]
    key: str


@dataclass(frozen=True)
class Plan:
    """packs: in order of their first shadow; workers: of the measurement where `fleet.pack` is "auto"; unit: which
    images share their shadows, None in a plan of before that was written down."""

    packs: tuple[Pack, ...]
    pack_size: int
    workers: int
    threads: int
    devices: int
    trainer: str  # hash of the code that training depends on, and
    sampler: str  # of that of sampling: shadows of two versions are not mixed
    unit: UnitChoice | None = None
    version: int = VERSION

    @property
    def shadows(self) -> int:
        """Number of shadows in all packs."""
        return sum(len(pack.shadows) for pack in self.packs)

    def check_versions(self) -> None:
        """Raises UserError where the shadows were begun by other code than this: their bits must not be mixed."""
        if (self.trainer, self.sampler) != versions():
            raise UserError(
                f"plan.json: its shadows were begun by another version of the trainer ({self.trainer}/{self.sampler}, "
                f"this is {'/'.join(versions())}) and must not be mixed; go on with that version or use a new workdir"
            )

    def write(self, path: Path) -> None:
        """Writes plan.json, whole or not at all."""
        files.write_json(path, dataclasses.asdict(self))


def read_plan(path: Path) -> Plan:
    """Raises UserError where the plan is missing, damaged, or of another version."""
    try:
        fields = json.loads(path.read_text())
        if fields["version"] != VERSION:
            raise UserError(f"{path}: plan of version {fields['version']}, this is {VERSION}; use a new workdir")
        packs = tuple(Pack(tuple(pack["shadows"]), str(pack["key"])) for pack in fields["packs"])
        unit = None if fields.get("unit") is None else UnitChoice(**fields["unit"])
        plan = Plan(**{**fields, "packs": packs, "unit": unit})
        planned = [shadow for pack in packs for shadow in pack.shadows]
        numbers = (plan.pack_size, plan.workers, plan.threads, plan.devices)
        if planned != list(range(len(planned))) or not all(isinstance(n, int) and n > 0 for n in numbers):
            raise ValueError("its shadows must be 0, 1, 2, ... and its sizes numbers above 0")
        if unit is not None and unit.unit not in UNITS:
            raise ValueError(f"its unit of membership must be one of {', '.join(UNITS)}")
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing: run `launch.py plan` first") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not a plan ({error}); remove it and run `launch.py plan`") from error
    return plan


def membership_in_force(workdir: Path, config: Config) -> MembershipConfig:
    """The membership of the run in `workdir`, with the unit that its plan froze in place of "auto".

    A unit that the config names is in force itself: `workdir.settle` has checked it against the plan. Raises UserError
    where "auto" has no plan yet.
    """
    if config.membership.unit != AUTO:
        return config.membership
    return with_unit(read_plan(workdir / "plan.json").unit, config)


def with_unit(choice: UnitChoice | None, config: Config) -> MembershipConfig:
    """The config's membership with the unit of a plan in place of "auto"; None stands for an older plan."""
    if config.membership.unit != AUTO:
        return config.membership
    return dataclasses.replace(config.membership, unit=OLDER_UNIT if choice is None else choice.unit)


def make_plan(
    config: Config,
    manifest: Manifest,
    membership: np.ndarray,
    size: int,
    workers: int,
    threads: int,
    unit: UnitChoice | None = None,
) -> Plan:
    """Consecutive shadows of one family share a pack of up to `size` (see `families.packs`). `unit`: by which
    `membership` was drawn."""
    own = [families.config_of(config, i) for i in range(len(families.family_names(config)))]
    largest = max(families.pack_size(each, size) for each in own)
    empty = Plan((), largest, workers, threads, config.fleet.devices, *versions(), unit)
    return grow(empty, config, manifest, membership)


def grow(plan: Plan, config: Config, manifest: Manifest, membership: np.ndarray) -> Plan:
    """The plan with packs for the rows of `membership` that are not planned yet; the others stay as they are."""
    if plan.packs:
        plan.check_versions()
    packs = families.packs(config, plan.shadows, len(membership), plan.pack_size)
    new = [Pack(shadows, training_key(plan, config, manifest, membership, shadows)) for shadows in packs]
    return dataclasses.replace(plan, packs=(*plan.packs, *new))


def training_key(plan: Plan, config: Config, manifest: Manifest, membership: np.ndarray, shadows: Sequence[int]) -> str:
    """Hash (16 hex digits) of what the weights of a pack depend on: seed, network, process, training, threads and
    devices, the code of the trainer, and the members of each shadow by the hashes of their files.

    Network and training are those of the shadows' family, of which there is no other trace: a fleet of that family
    alone gives the same shadows the same key."""
    config = families.own_config(config, shadows[0])
    hashes = dict(zip(manifest.id.tolist(), manifest.sha256.tolist(), strict=True))
    pool = [hashes[name] for name in pool_ids(manifest, config)]
    return _digest(
        {
            "trainer": plan.trainer,
            "seed": config.seed,
            "resolution": config.data.resolution,
            "denoiser": workdir.without_later("denoiser", dataclasses.asdict(config.denoiser)),
            "diffusion": workdir.without_later("diffusion", dataclasses.asdict(config.diffusion)),
            "train": dataclasses.asdict(config.train),
            "threads": plan.threads,
            "devices": plan.devices,
            "shadows": list(shadows),
            "dev": pool,
            "members": [np.flatnonzero(membership[k]).tolist() for k in shadows],
        }
    )


def pile_key(plan: Plan, config: Config, key: str) -> str:
    """Hash of what the piles of a pack with the training key `key` depend on."""
    fields = dataclasses.asdict(config.pile)
    fields.pop("png")
    return _digest({"training": key, "sampler": plan.sampler, "pile": fields | {"steps": pile_steps(config)}})


def versions() -> tuple[str, str]:
    """Hashes of the code that training and sampling depend on."""
    return _code(_TRAINER), _code(_SAMPLER)


def check_hashed(root: Path = Path(shadow.__path__[0])) -> None:
    """Raises RuntimeError where the hash of the trainer's code leaves out a module of a network: shadows of two
    versions of it would pass for the same."""
    there = {path.relative_to(root).as_posix() for path in (root / "denoisers").glob("*.py")}
    left = sorted(there - {*_TRAINER, *_NOT_TRAINED})
    if left:
        raise RuntimeError(f"{left[0]}: add it to _TRAINER in shadow/fleet/plan.py, whose hash packs carry")


@functools.cache
def _code(names: tuple[str, ...]) -> str:
    return code(Path(shadow.__path__[0]), names)


def code(root: Path, names: Sequence[str]) -> str:
    """Hash of modules below `root` without comments, docstrings and messages of errors, which change no bit."""
    return _digest([ast.unparse(_Bare().visit(ast.parse((root / name).read_text()))) for name in names])


class _Bare(ast.NodeTransformer):
    """Drops strings that stand alone and what errors say. Other formatted strings count (they name streams of random
    numbers), as tuples of their parts: `unparse` quotes them as the Python likes."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        alone = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if alone else self.generic_visit(node)

    def visit_Pass(self, node: ast.Pass) -> None:
        return None

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        return ast.Raise(exc=node.exc.func if isinstance(node.exc, ast.Call) else node.exc)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        return ast.Tuple([self.visit(part) for part in node.values], ast.Load())

    def visit_FormattedValue(self, node: ast.FormattedValue) -> ast.AST:
        form = [self.visit(node.format_spec)] if node.format_spec else []
        return ast.Tuple([self.visit(node.value), ast.Constant(node.conversion), *form], ast.Load())


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def shadow_folder(workdir: Path, shadow: int) -> Path:
    """Where a shadow's files are."""
    return workdir / "shadows" / f"{shadow:04d}"


def pile_steps(config: Config) -> tuple[int, ...]:
    """Training steps at which piles are drawn, rising; the last one where `pile.steps` is empty."""
    return tuple(sorted(set(config.pile.steps))) or (config.train.steps,)


def dev_ids(manifest: Manifest) -> list[str]:
    """Used, not used, then references, in the manifest's order."""
    return [str(name) for role in editions.DEV for name in manifest.id[manifest.rows(role)]]


def pool_ids(manifest: Manifest, config: Config) -> list[str]:
    """The columns of the membership matrix: the dev images, and with `membership.candidates` the test candidates."""
    candidates = manifest.id[manifest.rows("unknown")].tolist() if config.membership.candidates else []
    return [*dev_ids(manifest), *candidates]

"""Packs that another run has trained already, taken over where everything their bits depend on is the same."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import filelock
from absl import logging

from shadow import piles
from shadow.errors import UserError
from shadow.fleet import plan as plans
from shadow.fleet.packs import Fleet, made_with, read_result, sha256
from shadow.fleet.plan import shadow_folder


def adopt(fleet: Fleet, other: Path) -> tuple[list[int], list[int]]:
    """Copies into `fleet` every missing pack that the run in `other` has done with the same key: (whole, trained).

    `whole` are packs taken with their piles; `trained` those whose piles are of another recipe, so that only the
    checkpoints were taken. Every file is checked against the hashes in the other's result.json after it was copied.
    Raises UserError where `other` is no run or a file there has changed; what is copied so far stays.
    """
    if other.resolve() == fleet.workdir.resolve():
        raise UserError(f"--reuse={other}: is the workdir itself; name another run")
    if not (other / "plan.json").is_file():
        raise UserError(f"--reuse={other}: no run is there (plan.json is missing); name the folder of a run")
    theirs = {pack.key: pack.shadows for pack in plans.read_plan(other / "plan.json").packs}
    whole: list[int] = []
    trained: list[int] = []
    for number in fleet.missing():
        pack = fleet.plan.packs[number]
        if theirs.get(pack.key) != pack.shadows:
            continue
        sources = [shadow_folder(other, k) for k in pack.shadows]
        if not all((source / "result.json").exists() for source in sources):
            continue
        wanted = plans.pile_key(fleet.plan, fleet.config, pack.key)
        same = all(read_result(source)["pile_key"] == wanted for source in sources)
        lock = fleet.lock(number, 0)
        try:
            held = lock.acquire()
        except filelock.Timeout:  # it is being trained right now
            continue
        with held:
            if fleet.done(number, "sample" if same else "train"):
                continue
            if not (whole or trained):
                _warn_of_other_versions(sources[0])
            for source, target in zip(sources, fleet.folders(number), strict=True):
                _copy(source, target, pack.key, piles_too=same)
            if fleet.done(number):
                Path(lock.lock_file).unlink(missing_ok=True)
        (whole if same else trained).append(number)
    return whole, trained


def _warn_of_other_versions(source: Path) -> None:
    """Libraries are not part of a key, but they change last bits."""
    theirs, ours = read_result(source)["made_with"], made_with()
    other = [f"{name} {theirs.get(name)} (here {ours[name]})" for name in ours if theirs.get(name) != ours[name]]
    if other:
        logging.warning(
            "%s was made with %s: the last bits of its packs may differ", source.parent.parent, ", ".join(other)
        )


def _copy(source: Path, target: Path, key: str, *, piles_too: bool) -> None:
    """Copies one shadow under a temporary name, checks it, and renames it."""
    result = read_result(source)
    if result["key"] != key:
        raise UserError(f"{source / 'result.json'}: belongs to another pack than plan.json says; that run is damaged")
    part = target.with_name(f".{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        for step, wanted in result["checkpoints"].items():
            folder = Path("checkpoints") / str(int(step))
            shutil.copytree(source / folder, part / folder)
            _check(source / folder, part / folder, wanted)
        for name in ("metrics.jsonl", "key.json"):
            shutil.copyfile(source / name, part / name)
        if piles_too:
            for step, wanted in result["piles"].items():
                pile = piles.pile_path(Path(), int(step))
                (part / pile).parent.mkdir(exist_ok=True)
                shutil.copyfile(source / pile, part / pile)
                _check(source / pile, part / pile, wanted)
            shutil.copyfile(source / "result.json", part / "result.json")
        if target.exists():  # begun here, and not done: what the other run has is the same and further
            shutil.rmtree(target)
        os.replace(part, target)
    except FileNotFoundError as error:
        raise UserError(f"--reuse: {error.filename} is missing; that run is damaged") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _check(source: Path, copy: Path, wanted: str) -> None:
    if sha256(copy) != wanted:
        raise UserError(f"--reuse: {source} has changed since it was written; that run is damaged")

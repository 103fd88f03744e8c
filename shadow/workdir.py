"""A run's folder: its config, and what each stage depends on.

Fields that training depends on are fixed by the first command on a folder. Fields of the attack and the report may
change: the stages that depend on them are then done again, and only those.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shadow import files
from shadow.config import Config
from shadow.errors import UserError

VERSION = 1

# What is stated of the target depends on these, and no fit of shadows does.
_STATED = ("attack.same_generator", "attack.recalibrate", "attack.objective", "attack.bootstrap")
# Config fields each stage after training depends on, besides everything before it.
LATER = {
    "signals": (
        *("attack.pile", "attack.target_pile", "attack.embeddings", "attack.signals", "attack.flips"),
        *("attack.seed", "attack.embeddings_from", "attack.allow_missing"),
    ),
    "fit": ("attack",),  # but for what only `predict` depends on
    "predict": (*_STATED, "submission"),
    "report": ("report",),
}
# May change at any time: the data may move (their content is checked by hash), and so may whoever does the work.
_FREE = (
    *("data.root", "data.roles", "data.patients", "challenge.pool", "challenge.patients"),
    *("fleet.workers", "fleet.sbatch", "fleet.tensorboard", "pile.png", "compare"),
)
_NAMED = 6  # changed fields that an error names
# Fields that came later, with the value that older runs were made with: with it they are in no hash, and those go on.
# The denoiser's are those of the target and of every family, too.
_SINCE: dict[str, Any] = {
    **{f"{place}denoiser.block": 1 for place in ("", "challenge.")},
    **{f"{place}denoiser.overlap": False for place in ("", "challenge.")},
    "diffusion.min_weight": 0.0,
    "fleet.families": [],
    "membership.candidates": False,
    "data.piles": "together",
    "attack.none": 0.1,
    "challenge.subsets": 5,
    "challenge.subset_slices": 20,
    "submission.header": [],
    "submission.extension": "",
    "submission.delimiter": ",",
    "submission.used": "1",
    "submission.not_used": "0",
}
_NEVER = object()  # equals no value of a field
# The unit of membership that older runs were made with by default, and what "auto" counts as in hashes: the plan
# freezes the unit that "auto" stands for, and older runs go on under the new default.
_UNIT, _OLDER_UNIT, _AUTO = "membership.unit", "mixed", "auto"
# What a first command leaves that depends on the config; before that, all of it may change.
_BEGUN = ("plan.json", "challenge", ".challenge.part", "shadows")


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """{"a.b": leaf} of nested dicts and lists of them ("a[0].b"), in JSON's types (a tuple is a list)."""
    if isinstance(value, list | tuple) and any(isinstance(inner, Mapping) for inner in value):
        return {k: v for i, inner in enumerate(value) for k, v in flatten(inner, f"{prefix[:-1]}[{i}].").items()}
    if isinstance(value, Mapping):
        return {k: v for name, inner in value.items() for k, v in flatten(inner, f"{prefix}{name}.").items()}
    return {prefix[:-1]: list(value) if isinstance(value, tuple) else value}


def _below(name: str, prefixes: tuple[str, ...]) -> bool:
    return any(name == p or name.startswith(p + ".") for p in prefixes)


def digest(value: Any) -> str:
    """SHA-256 (16 hex digits) of a value's canonical JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def fingerprint(path: str) -> str:
    """SHA-256 of the file that attack.embeddings_from names. Raises UserError where it cannot be read."""
    try:
        facts = os.stat(path)
        return _sha256(path, facts.st_size, facts.st_mtime_ns)
    except OSError as error:
        raise UserError(
            f"attack.embeddings_from = {path}: cannot read this file: {error.strerror}; leave the option empty "
            "(--config.attack.embeddings_from=) to go on without"
        ) from error


@functools.lru_cache(maxsize=4)
def _sha256(path: str, size: int, changed: int) -> str:
    """Of a file of this size, last changed then: asked for at every stage, and it may be large."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def stage_hashes(config: Config) -> dict[str, str]:
    """Hash of the fields each stage depends on, its predecessors' included."""
    every = flatten(dataclasses.asdict(config))
    fields = {name: value for name, value in every.items() if not _as_before(name, value)}
    fields[_UNIT] = _OLDER_UNIT if fields[_UNIT] == _AUTO else fields[_UNIT]
    source = config.attack.embeddings_from
    fields["attack.embeddings_from"] = fingerprint(source) if source else ""  # the file may move
    later = tuple(prefix for prefixes in LATER.values() for prefix in prefixes)
    known = {k: v for k, v in fields.items() if not _below(k, later) and not _below(k, _FREE)}
    hashes = {"train": digest(known)}
    for stage, prefixes in LATER.items():
        here = {k: v for k, v in fields.items() if _below(k, prefixes)}
        known |= {k: v for k, v in here.items() if stage == "predict" or not _below(k, _STATED)}
        hashes[stage] = digest(known)
    return hashes


def without_later(place: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of the config's part `place` but for those that older runs lack and that are as in those."""
    return {name: value for name, value in fields.items() if not _as_before(f"{place}.{name}", value)}


def _as_before(name: str, value: Any) -> bool:
    """Is this a field that older runs lack, with the value that they were made with?"""
    return bool(value == _SINCE.get(_outside_families(name), _NEVER))


def _outside_families(name: str) -> str:
    """The name that a field of a family has outside of it."""
    return re.sub(r"^fleet\.families\[\d+\]\.", "", name)


def _content(config: Config) -> dict[str, Any]:
    """What config.json holds."""
    fields = json.loads(json.dumps(dataclasses.asdict(config)))
    return {"version": VERSION, "config": fields, "stages": stage_hashes(config)}


def is_settled(workdir: Path, config: Config) -> bool:
    """Is this the config in WORKDIR/config.json?"""
    try:
        return json.loads((workdir / "config.json").read_text()) == _content(config)
    except (OSError, ValueError):
        return False


def settle(workdir: Path, config: Config) -> None:
    """Writes WORKDIR/config.json, or checks `config` against the one there.

    Raises UserError naming the fields when a field that training depends on has changed. `fleet.shadows` may grow.
    """
    path = workdir / "config.json"
    content = _content(config)
    if path.exists():
        try:
            before = json.loads(path.read_text())
            old, version = flatten(before["config"]), before["version"]
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path}: not a run's config ({error}); use a new workdir") from error
        if version != VERSION:
            raise UserError(f"{path}: written by version {version} of the format, this is {VERSION}; use a new workdir")
        if before == content:
            return
        if any((workdir / name).exists() for name in _BEGUN):
            _check_change(workdir, old, flatten(content["config"]))
    files.write_json(path, content)


def _comparable(*fields: dict[str, Any]) -> list[dict[str, Any]]:
    """Flat configs with what came later, and a list as its length where that differs."""
    names = {name.partition("[")[0] for flat in fields for name in flat if "[" in name}
    for name in names:
        entries = [[key for key in flat if key.startswith(f"{name}[")] for flat in fields]
        lengths = [len({key[len(name) :].partition("]")[0] for key in keys}) for keys in entries]
        if len(set(lengths)) > 1:
            fields = tuple(
                {key: value for key, value in flat.items() if key not in keys} | {name: length}
                for flat, keys, length in zip(fields, entries, lengths, strict=True)
            )
    given = {key for flat in fields for key in flat if _outside_families(key) in _SINCE}
    since = {key: _SINCE[_outside_families(key)] for key in {*_SINCE, *given} if key not in names}
    return [since | flat for flat in fields]


def _check_change(workdir: Path, old: dict[str, Any], new: dict[str, Any]) -> None:
    """Refuses other values of fields on which what is there depends, but for more shadows."""
    later = tuple(prefix for prefixes in LATER.values() for prefix in prefixes)
    old, new = _comparable(old, new)
    changed = [name for name in sorted(old.keys() | new.keys()) if old.get(name) != new.get(name)]
    changed = [name for name in changed if not _below(name, later) and not _below(name, _FREE)]
    if _UNIT in changed and _same_unit(workdir, old.get(_UNIT), new[_UNIT]):
        changed.remove(_UNIT)
    shadows = "fleet.shadows"
    if shadows in changed and isinstance(old.get(shadows), int):
        planned = _planned(workdir, old[shadows])
        if new[shadows] < planned:
            raise UserError(
                f"{shadows} = {new[shadows]} is below the {planned} of {workdir}: a fleet grows, but what was "
                "trained is never left out; give the old number back or use a new --workdir"
            )
        changed.remove(shadows)
    if changed:
        named = ", ".join(f"{name} ({old.get(name)!r} -> {new.get(name)!r})" for name in changed[:_NAMED])
        named += f" and {len(changed) - _NAMED} more" if len(changed) > _NAMED else ""
        raise UserError(
            f"{workdir} was started with other values of {named}: shadows trained with them cannot be mixed; give "
            "them back or use a new --workdir"
        )


def _same_unit(workdir: Path, old: Any, new: Any) -> bool:
    """Do two values of membership.unit stand for one unit in this workdir? "auto" is the one that plan.json names, or
    the older default where it names none. Before there is a plan nothing depends on the unit."""
    path = workdir / "plan.json"
    if not path.exists():
        return not (workdir / "shadows").exists()
    try:
        frozen = (json.loads(path.read_text()).get("unit") or {}).get("unit", _OLDER_UNIT)
    except (OSError, ValueError, AttributeError):
        return False
    return all(unit in (_AUTO, frozen) for unit in (old, new))


def _planned(workdir: Path, otherwise: int) -> int:
    """Shadows in plan.json, which a growth that failed has not changed; `otherwise` where it does not tell."""
    try:
        return sum(len(pack["shadows"]) for pack in json.loads((workdir / "plan.json").read_text())["packs"])
    except (OSError, ValueError, KeyError, TypeError):
        return otherwise


def read_config(workdir: Path) -> dict[str, Any]:
    """The nested config of a run. Raises UserError where there is none."""
    try:
        return json.loads((workdir / "config.json").read_text())["config"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{workdir} holds no run (config.json: {error})") from error


def stamp(folder: Path, stage: str, config: Config) -> None:
    """Marks a stage as done for this config: written last."""
    files.write_json(folder / f"{stage}.done.json", {"hash": stage_hashes(config)[stage]})


def unstamp(folder: Path, stage: str) -> None:
    """Takes a stage's stamp away: it is to be done again."""
    (folder / f"{stage}.done.json").unlink(missing_ok=True)


def is_done(folder: Path, stage: str, config: Config) -> bool:
    """Is the stage stamped with the options that it has in this config?"""
    path = folder / f"{stage}.done.json"
    try:
        return json.loads(path.read_text())["hash"] == stage_hashes(config)[stage]
    except (FileNotFoundError, ValueError, KeyError, TypeError):  # missing or damaged: done again
        return False

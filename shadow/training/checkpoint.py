"""Checkpoints: the only file that knows orbax.

`FOLDER/checkpoints/STEP/` holds the state of one generator, whatever pack it was trained in, and a SHA-256 of its
numbers. Orbax writes under a temporary name and renames, so a folder with a plain number is whole.
"""

from __future__ import annotations

import functools
import hashlib
import logging as std_logging
import multiprocessing
import os
import re
import shutil
import sys
import warnings
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import CoroutineType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from orbax.checkpoint import v1 as ocp

from shadow.errors import UserError

# orbax leaves coroutines and tasks behind where a damaged checkpoint fails to load: no words beside our one line
warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
std_logging.getLogger("asyncio").setLevel(std_logging.CRITICAL)
_print_unraisable = sys.unraisablehook


def _print_ours(found: Any) -> None:
    """In the place of `sys.unraisablehook`: such a load's coroutines (we have none) end in errors too, and
    TensorStore's threads say for every array that they were still reading that its event loop has gone."""
    gone = isinstance(found.exc_value, RuntimeError) and str(found.exc_value) == "Event loop is closed"
    if not gone and not isinstance(found.object, CoroutineType):
        _print_unraisable(found)


sys.unraisablehook = _print_ours

_SPARE = 2  # newest checkpoints that stay besides those asked for: if one is damaged there is another


class DamagedError(UserError):
    """A checkpoint that cannot be read, or whose numbers are not those that were written."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: damaged checkpoint ({reason}); remove this folder and run again")
        self.path = path
        self.reason = reason


def steps(folder: Path) -> list[int]:
    """Steps of which a whole checkpoint is there, rising."""
    root = folder / "checkpoints"
    return sorted(int(p.name) for p in root.iterdir() if p.name.isdigit()) if root.is_dir() else []


def common(folders: Sequence[Path]) -> list[int]:
    """Steps that all generators of a pack have, rising."""
    return sorted(set.intersection(*(set(steps(folder)) for folder in folders)))


def latest_common(folders: Sequence[Path]) -> int:
    """The newest step that all generators of a pack have; 0 where there is none."""
    return max(common(folders), default=0)


def resume_step(folders: Sequence[Path], keep: Sequence[int]) -> int:
    """The newest step from which nothing of `keep` is missed: all steps of `keep` up to it are there. 0: none is."""
    there = common(folders)
    missing = min((step for step in keep if step not in there), default=None)
    return max((step for step in there if missing is None or step < missing), default=0)


def _path(folder: Path, step: int) -> Path:
    return folder.absolute() / "checkpoints" / str(step)


def _digest(state: Any) -> np.ndarray:
    """SHA-256 of a tree of host arrays, uint8 [32]: of names, types, shapes and values."""
    sha = hashlib.sha256()
    for name, leaf in jax.tree_util.tree_leaves_with_path(state):
        array = np.asarray(leaf)
        sha.update(f"{jax.tree_util.keystr(name)} {array.dtype} {array.shape}\n".encode())
        sha.update(array.tobytes())
    return np.frombuffer(sha.digest(), np.uint8)


def sweep(folder: Path) -> None:
    """Removes what a process that was killed while it wrote a checkpoint left behind."""
    root = folder / "checkpoints"
    for path in root.iterdir() if root.is_dir() else ():
        if not path.name.isdigit() and path.suffix != ".damaged":
            shutil.rmtree(path)


def _write(path: Path, state: Any) -> None:
    """The state of one generator, host arrays, under a name that is new."""
    ocp.save(path, {"state": state, "digest": _digest(state)})


def _read(path: Path, like: Any) -> Any:
    """The tree in `path`, on this process's first device, with the shapes and types of `like`."""
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return ocp.load(path, jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here), like))


def _read_apart(path: Path, like: Any) -> tuple[Any, str, bool]:
    """As `_read`, for another process: host arrays; or None, why they cannot be read, and whether the file is not to
    blame (exceptions of libraries do not travel)."""
    try:
        return jax.device_get(_read(path, like)), "", False
    except Exception as error:
        return None, next(iter(str(error).splitlines()), type(error).__name__)[:200], _is_outside(error)


@functools.cache
def _apart() -> ProcessPoolExecutor:
    """A process that belongs to no `jax.distributed`: with several processes orbax waits for all of them at every file,
    and a checkpoint is written or read by one."""
    spawned = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(1, mp_context=spawned, initializer=_on_cpu)


def _on_cpu() -> None:
    jax.config.update("jax_platforms", "cpu")


def save_pack(folders: Sequence[Path], step: int, state: Any, keep: Sequence[int]) -> None:
    """Writes slice i of `state` (leading axis [shadow]) for each folder, then removes older ones but for those in
    `keep` and the newest."""
    host = jax.device_get(state)
    for i, folder in enumerate(folders):
        path = _path(folder, step)
        if not path.exists():
            own = jax.tree.map(lambda leaf, i=i: np.asarray(leaf[i]), host)
            try:
                if jax.process_count() > 1:
                    _apart().submit(_write, path, own).result()
                else:
                    _write(path, own)
            except ValueError as error:
                code = re.search(r"os_error_code='(\d+)'", str(error))  # a full disk, as tensorstore says it
                if code is None:
                    raise
                raise OSError(int(code[1]), os.strerror(int(code[1])), str(path)) from error
    # only when the whole pack has the new step are old ones dispensable
    stay = {*keep, *[there for there in common(folders) if there <= step][-_SPARE:]}
    for folder in folders:
        for old in steps(folder):
            if old < step and old not in stay:
                shutil.rmtree(folder / "checkpoints" / str(old))


def _is_outside(error: BaseException | None) -> bool:
    """Was it this machine that failed (memory, permissions), and not the file, which may be whole?"""
    while error is not None:
        if isinstance(error, (MemoryError, PermissionError)):
            return True
        if re.search("RESOURCE_EXHAUSTED|PERMISSION_DENIED", str(error)):
            return True
        error = error.__cause__
    return False


def restore_pack(folders: Sequence[Path], step: int, like: Any) -> Any:
    """The states of a pack at `step`, stacked, with the shapes and types of `like` (leading axis [shadow]), on this
    process's first device, whatever device wrote them.

    Raises DamagedError naming the folder whose checkpoint does not fit or fails its check.
    """
    abstract = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), like)
    wanted = {"state": abstract, "digest": jax.ShapeDtypeStruct((32,), np.uint8)}
    states = []
    for folder in folders:
        path = _path(folder, step)
        try:
            if jax.process_count() > 1:
                found, reason, outside = _apart().submit(_read_apart, path, wanted).result()
                if found is None:
                    raise OSError(reason) if outside else DamagedError(path, reason)
            else:
                found = _read(path, wanted)
        except DamagedError:
            raise
        except Exception as error:  # orbax raises a bare Exception where an array cannot be read
            if _is_outside(error):
                raise
            reason = next(iter(str(error).splitlines()), type(error).__name__)[:200]
            raise DamagedError(path, reason) from error
        if not np.array_equal(np.asarray(found["digest"]), _digest(jax.device_get(found["state"]))):
            raise DamagedError(path, "its numbers are not those that were written")
        states.append(found["state"])
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)


def restore_newest(folders: Sequence[Path], keep: Sequence[int], like: Any) -> tuple[int, Any]:
    """(step, states) of the newest checkpoint to go on from, (0, None) where there is none.

    A damaged one is set aside with a warning that names it, and the last good one before it is used; raises
    DamagedError where there is none before it.
    """
    while step := resume_step(folders, keep):
        try:
            return step, restore_pack(folders, step, like)
        except DamagedError as damaged:
            set_aside(folders, damaged)
    return 0, None


def set_aside(folders: Sequence[Path], damaged: DamagedError) -> None:
    """Renames a damaged checkpoint to STEP.damaged with a warning, if the pack has an older one to go on from; else
    raises it."""
    older = max((step for step in common(folders) if step < int(damaged.path.name)), default=0)
    if not older:
        raise damaged
    logging.warning("%s is damaged (%s): the pack goes on from step %d", damaged.path, damaged.reason, older)
    aside = damaged.path.with_name(f"{damaged.path.name}.damaged")
    shutil.rmtree(aside, ignore_errors=True)
    os.replace(damaged.path, aside)

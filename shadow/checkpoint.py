"""Checkpoints: the only file that knows orbax.

`FOLDER/checkpoints/STEP/` holds the state of one generator, whatever pack it was trained in. Orbax writes under a
temporary name and renames, so a folder with a plain number is whole.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from orbax.checkpoint import v1 as ocp

from shadow.errors import UserError


def steps(folder: Path) -> list[int]:
    """Steps of which a whole checkpoint is there, rising."""
    root = folder / "checkpoints"
    return sorted(int(p.name) for p in root.iterdir() if p.name.isdigit()) if root.is_dir() else []


def latest_common(folders: Sequence[Path]) -> int:
    """The newest step that all generators of a pack have; 0 where there is none."""
    return max(set.intersection(*(set(steps(folder)) for folder in folders)), default=0)


def save_pack(folders: Sequence[Path], step: int, state: Any, keep: Sequence[int]) -> None:
    """Writes slice i of `state` (leading axis [shadow]) for each folder, then removes older ones not in `keep`."""
    host = jax.device_get(state)
    for i, folder in enumerate(folders):
        path = folder.absolute() / "checkpoints" / str(step)
        if not path.exists():
            try:
                ocp.save(path, jax.tree.map(lambda leaf, i=i: np.asarray(leaf[i]), host))
            except ValueError as error:
                code = re.search(r"os_error_code='(\d+)'", str(error))  # a full disk, as tensorstore says it
                if code is None:
                    raise
                raise OSError(int(code[1]), os.strerror(int(code[1])), str(path)) from error
    # only when the whole pack has the new step is an old one dispensable
    for folder in folders:
        for old in steps(folder):
            if old < step and old not in keep:
                shutil.rmtree(folder / "checkpoints" / str(old))


def restore_pack(folders: Sequence[Path], step: int, like: Any) -> Any:
    """The states of a pack at `step`, stacked, with the shapes and types of `like` (leading axis [shadow]).

    Raises UserError naming the folder whose checkpoint does not fit.
    """
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    abstract = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype, sharding=here), like)
    states = []
    for folder in folders:
        path = folder.absolute() / "checkpoints" / str(step)
        try:
            states.append(ocp.load(path, abstract))
        except Exception as error:  # orbax raises a bare Exception where an array cannot be read
            reason = next(iter(str(error).splitlines()), type(error).__name__)[:200]
            raise UserError(f"{path}: damaged checkpoint ({reason}); remove this folder and run again") from error
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)

"""File locks that a process gives back when it ends, however it ends."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import filelock

from shadow.errors import UserError


def patient_lock(path: Path, busy: str) -> contextlib.AbstractContextManager[Any]:
    """A held file lock, to be entered once. Getting it waits some seconds, since a worker whose parent was killed
    needs a moment to end; the lock of a killed process is free at once. Raises UserError with the line `busy` where
    another process keeps it."""
    try:
        return filelock.FileLock(path).acquire(timeout=10)
    except filelock.Timeout as error:
        raise UserError(busy) from error

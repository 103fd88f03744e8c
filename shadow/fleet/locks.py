"""File locks that a process gives back when it ends, however it ends.

Some file systems that clusters share have no locks. There a marker file beside the lock's tells who works: one of a
process that died is passed over on its own machine, and has to be removed by hand where that machine is gone.
"""

from __future__ import annotations

import contextlib
import errno
import functools
from pathlib import Path
from typing import Any

import filelock
from absl import logging

from shadow.errors import UserError

# What flock says where there are no locks: NFS without its daemon, FUSE, and file handles that went stale meanwhile.
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EIO, errno.ESTALE)
_PATIENCE = 10.0  # seconds


class Lock:
    """A lock on a file, not yet taken. `timeout`: seconds to wait for it, below 0 for ever."""

    def __init__(self, path: Path | str, timeout: float = -1.0) -> None:
        self.lock_file, self.timeout = str(path), timeout
        self.marker = Path(path).with_name(f".held.{Path(path).name.removeprefix('.')}")

    def acquire(self) -> contextlib.AbstractContextManager[Any]:
        """Takes the lock; what is returned gives it back at its end.

        Raises filelock.Timeout where another process keeps it, and UserError where not even a marker can be made.
        """
        try:
            return filelock.FileLock(self.lock_file, timeout=self.timeout, fallback_to_soft=False).acquire()
        except filelock.Timeout:
            raise
        except NotImplementedError:
            said = "not implemented"
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            said = str(error.strerror)
        folder = Path(self.lock_file).parent
        try:
            held = filelock.SoftFileLock(self.marker, timeout=self.timeout).acquire()
        except filelock.Timeout:
            raise
        except OSError as error:
            raise UserError(
                f"{folder}: no lock can be had there ({said}), nor a marker made ({error.strerror}); name a --workdir "
                "on another disk"
            ) from error
        _warn(folder, said)
        return held


@functools.cache
def _warn(folder: Path, said: str) -> None:
    """Once for each folder."""
    logging.warning(
        "%s: its file system has no locks (%s); marker files named .held.* stand in for them, and one that a dead "
        "machine left has to be removed by hand",
        folder,
        said,
    )


def patient_lock(path: Path, busy: str) -> contextlib.AbstractContextManager[Any]:
    """A held file lock, to be entered once. Getting it waits some seconds, since a worker whose parent was killed
    needs a moment to end; the lock of a killed process is free at once. Raises UserError with the line `busy` where
    another process keeps it."""
    lock = Lock(path, _PATIENCE)
    try:
        return lock.acquire()
    except filelock.Timeout as error:
        left = f"; if its machine is gone, remove {lock.marker}" if lock.marker.exists() else ""
        raise UserError(busy + left) from error

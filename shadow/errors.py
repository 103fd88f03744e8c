"""The one error a user can cause, and how a command ends."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Callable, Iterator
from typing import NoReturn


class UserError(Exception):
    """A mistake of the user's: one line that names the file or field and the mend.

    `launch.py` prints the line on stderr and exits with code 2, without a traceback. Everything else that is
    raised is a defect of ours (exit code 1).
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


class Stopped(Exception):
    """The process was asked to end (SIGTERM) and has saved its work: the same command goes on from there."""


_OUTSIDE = (  # not our errors: the disk and its rights, and paths that the user gave
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS),
    *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP),
)


def fail(line: str) -> NoReturn:
    """One line on stderr, and exit code 2. It is the last word: what libraries' threads and the interpreter say of work
    that was broken off (tasks still pending, coroutines never awaited) goes nowhere."""
    sys.stderr.write(f"error: {line}\n")  # in one piece: libraries' threads may be writing there too
    sys.stderr.flush()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    sys.exit(2)


@contextlib.contextmanager
def exits(place: Callable[[], str]) -> Iterator[None]:
    """Turns what ends a command into its exit code: 0 done, 2 the user's mistake (one line on stderr), 1 a defect of
    ours, 143 ended by SIGTERM. `place()` is where it worked, for errors that do not say."""
    try:
        yield
    except UserError as error:
        fail(str(error))
    except Stopped as stopped:
        sys.stderr.write(f"{stopped}; run the same command again to go on\n")
        sys.exit(143)
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        if error.errno not in _OUTSIDE:
            raise
        fail(f"{error.filename or place()}: {error.strerror}; nothing is half written, mend it and run again")
    except KeyboardInterrupt:
        fail("stopped; run the same command again to go on")

"""A cache of compiled programs that the processes of a fleet share, in a private folder of the run.

All packs run the same program: whoever starts later, or takes over from a killed process, reads what others compiled
(two that start together both compile). JAX writes an entry in place: a
process killed meanwhile would leave half of one, for ever. So each process writes to a folder of its own and moves
whole entries into the shared one; folders of dead processes are removed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import filelock
import jax

from shadow.fleet.locks import Lock

_ENTRY = "*-cache"
_SHARE_SECONDS = 2.0


@contextlib.contextmanager
def cache(workdir: Path) -> Iterator[Callable[[], None]]:
    """Compiled programs are read from and written to WORKDIR/.compiled within. Nothing is done where the user has
    named a cache in JAX_COMPILATION_CACHE_DIR.

    Gives a function that exchanges new entries with the others, for the thread that compiles (none is half written
    then) to call now and then; it does so every few seconds at most.
    """
    if os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        yield lambda: None
        return
    shared = workdir / ".compiled" / _machine()
    shared.mkdir(parents=True, exist_ok=True)
    (workdir / ".compiled").chmod(0o700)  # a program in it is run as it is
    sweep(workdir)
    own = shared / f".own-{secrets.token_hex(8)}"
    lock = Lock(f"{own}.lock")
    with lock.acquire():
        own.mkdir()  # under the lock: another's sweep must not take it for a dead one's
        exchange(own, shared)
        jax.config.update("jax_compilation_cache_dir", str(own))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
        # XLA's own caches lie below the folder, and so its name would be part of every entry's key
        jax.config.update("jax_persistent_cache_enable_xla_caches", "none")
        last = time.monotonic()

        def share() -> None:
            nonlocal last
            if time.monotonic() - last > _SHARE_SECONDS:
                exchange(own, shared)
                last = time.monotonic()

        try:
            yield share
            exchange(own, shared)
        except Exception:  # not Ctrl-C, which may have come while an entry was written
            exchange(own, shared)
            raise
        finally:
            shutil.rmtree(own, ignore_errors=True)
            Path(lock.lock_file).unlink(missing_ok=True)  # nobody looks for it without the folder


def exchange(own: Path, shared: Path) -> None:
    """Gives the others what this process has compiled, and takes what they have, each entry whole or not at all."""
    for source, target in ((own, shared), (shared, own)):
        for entry in source.glob(_ENTRY):
            _place(entry, target)


def _place(entry: Path, folder: Path) -> None:
    """A hard link, or a copy that is renamed where the file system has none."""
    if (folder / entry.name).exists():
        return
    try:
        os.link(entry, folder / entry.name)
    except FileExistsError:
        pass
    except OSError:
        part = folder / f".{secrets.token_hex(8)}.part"
        shutil.copyfile(entry, part)
        os.replace(part, folder / entry.name)


def sweep(workdir: Path) -> None:
    """Removes what killed processes left behind."""
    for own in {path.with_suffix("") for path in (workdir / ".compiled").glob("*/.own-*")}:
        lock = Lock(f"{own}.lock", timeout=0)
        with contextlib.suppress(filelock.Timeout), lock.acquire():
            shutil.rmtree(own, ignore_errors=True)
            Path(lock.lock_file).unlink(missing_ok=True)


def _machine() -> str:
    """Name of the processor's kind: what was compiled for one may not run on another of a cluster."""
    features = platform.machine()
    with contextlib.suppress(OSError):  # Linux alone tells
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        features += next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return hashlib.sha256(features.encode()).hexdigest()[:8]

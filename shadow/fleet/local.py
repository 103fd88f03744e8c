"""Worker processes on this machine: one a device, or a few CPU threads each.

A worker takes pack after pack, each under its lock, until none is left. Threads are fixed when JAX starts, which is
why a worker is a process; and it ends with its parent, by a pipe that the parent holds.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from absl import logging

from shadow.errors import Stopped, UserError

# Deaths of workers by a signal (not enough memory, say) in a row between which no work was done.
_DEATHS = 30
_GRACE_SECONDS = 20.0  # for workers to save when another has failed
_FLAG, _SINCE = "SHADOWPRINT_WORKER", "SHADOWPRINT_SINCE"

# Environment of processes that train. XLA on CPU allocates a step's intermediates in one block (6 MB a shadow of the
# demo, 220 MB a shadow of a larger DiT) and frees it after the step; by default glibc maps a block above 32 MB anew at
# every step, and the kernel hands it out 4 kB at a time, zeroed: three tenths of the CPU time of a pack of 8. So: keep
# freed memory, and take it in huge pages. A thread's block above 64 MB glibc maps anew whatever we say: steps run in
# the main thread (`fix_threads`). glibc reads this when a process starts; other C libraries ignore it.
MEMORY = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1:glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=68719476736"}


def is_worker() -> bool:
    """Was this process started by `run`?"""
    return os.environ.get(_FLAG) == "1"


def since() -> float:
    """Unix time at which the parent of this worker began: packs that failed since are not tried again."""
    return float(os.environ[_SINCE])


def die_with_parent() -> None:
    """Ends this worker when its parent does: the parent holds the other end of stdin and never writes to it."""

    def wait() -> None:
        while os.read(0, 1):  # not through sys.stdin, whose lock would hang the interpreter at its end
            pass
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def fix_threads(threads: int) -> None:
    """CPU threads of this process; to be called before JAX makes its first array (XLA reads NPROC then).

    On a CPU the thread that calls a step runs it, with the help of the others. By JAX's default one of them would, and
    get the memory of a large step anew each time (see MEMORY)."""
    import jax

    os.environ["NPROC"] = str(threads)
    jax.config.update("jax_cpu_enable_async_dispatch", False)


def accelerators() -> list[str]:
    """CUDA devices that this machine lets us see, [] on a CPU. Asked of a process of its own, since a process that
    has looked at a GPU holds its memory."""
    plugins = ("jax_cuda12_plugin", "jax_cuda13_plugin")
    if os.environ.get("JAX_PLATFORMS") == "cpu" or not any(map(importlib.util.find_spec, plugins)):
        return []
    question = "import jax; print(jax.default_backend(), jax.local_device_count())"
    answer = subprocess.run([sys.executable, "-c", question], capture_output=True, text=True, check=False)
    if answer.returncode:
        said = answer.stderr.strip().splitlines() or [f"it ended with code {answer.returncode}"]
        raise UserError(f"JAX cannot start here: {said[-1]}")
    backend, count = answer.stdout.split()
    if backend == "cpu":
        return []
    named = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return named.split(",") if named else [str(i) for i in range(int(count))]


def environments(workers: int, devices: int) -> list[dict[str, str]]:
    """What the environment of each worker adds to ours: its devices, where there are accelerators. Raises UserError
    where there are fewer than `devices`."""
    found = accelerators()
    if not found:
        return [{} for _ in range(workers)]
    if len(found) < devices:
        raise UserError(f"fleet.devices = {devices}, but this machine has {len(found)}")
    sets = [found[a : a + devices] for a in range(0, len(found) - devices + 1, devices)]
    return [{"CUDA_VISIBLE_DEVICES": ",".join(names)} for names in sets]


def run(
    arguments: Sequence[str],
    added: Sequence[dict[str, str]],
    show: Callable[[], None],
    progress: Callable[[], object],
    stop: Callable[[], bool],
    began: float,
) -> None:
    """Runs `launch.py ARGUMENTS` once for each environment in `added`, until all have ended, calling `show`. `began`
    is what `since` tells them.

    A worker that is killed is replaced, unless that happens again and again while `progress()` gives the same. Raises
    UserError with a worker's own line where it ends with exit code 2; RuntimeError with its traceback where it ends
    with another; Stopped, with all of them asked to save, when `stop()` says so. None outlives this call.
    """
    waiting, deaths, last = list(added), 0, progress()
    running: list[_Worker] = []
    try:
        while waiting or running:
            while waiting:
                running.append(_Worker(arguments, waiting.pop(0), began))
            for worker in [worker for worker in running if worker.process.poll() is not None]:
                running.remove(worker)
                worker.check()
                if worker.process.returncode < 0:  # by a signal
                    now = progress()
                    deaths, last = (1 if now != last else deaths + 1), now
                    if deaths >= _DEATHS:
                        raise UserError(
                            f"workers were killed by signal {-worker.process.returncode} {deaths} times and nothing "
                            "was done between: out of memory? lower fleet.workers, fleet.pack or train.batch_size"
                        )
                    logging.warning("a worker was killed by signal %d; another takes over", -worker.process.returncode)
                    waiting.append(worker.added)
            show()
            if stop():
                for worker in running:
                    worker.process.terminate()
                for worker in running:
                    worker.process.wait()
                raise Stopped("stopped; what was done is saved")
            time.sleep(0.1)
    finally:
        for worker in running:
            worker.process.terminate()  # it saves what it has
        deadline = time.monotonic() + _GRACE_SECONDS
        for worker in running:
            try:
                worker.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()
            worker.close()


def is_warning_of_ours(line: str) -> bool:
    """Is this what absl writes of a warning that a module of ours logs? Libraries log through it, too."""
    found = re.match(r"W\d{4} [\d:.]+ +\d+ ([\w.]+):\d+\] ", line)
    return found is not None and found[1] in _modules()


@functools.cache
def _modules() -> frozenset[str]:
    """Names of our files."""
    top = Path(__file__).resolve().parents[2]
    return frozenset(path.name for floor in ("shadow", "attack") for path in (top / floor).rglob("*.py"))


class _Worker:
    """One worker process and what it wrote on stderr."""

    def __init__(self, arguments: Sequence[str], added: dict[str, str], began: float) -> None:
        launch = str(Path(__file__).resolve().parents[2] / "launch.py")
        self.added = added
        self.process = subprocess.Popen(
            [sys.executable, launch, *arguments],
            env={**MEMORY, **os.environ, **added, _FLAG: "1", _SINCE: repr(began)},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._errors: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._errors.append(line)
            if is_warning_of_ours(line):  # the user is to see it now
                print(line, end="", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Reads what the ended process left in its pipes and closes them."""
        self._reader.join()
        for stream in (self.process.stdin, self.process.stderr):
            if stream:
                stream.close()

    def check(self) -> None:
        """Raises what the ended worker said, if it did not end well or by a signal."""
        self.close()
        errors = "".join(self._errors)
        if self.process.returncode == 2:  # libraries' threads may have said something around our line
            lines = re.findall(r"\berror: (.*)", errors)
            raise UserError(lines[-1] if lines else "a worker failed")
        if self.process.returncode > 0 and self.process.returncode != 143:
            raise RuntimeError(f"worker ended with code {self.process.returncode}:\n{errors}")

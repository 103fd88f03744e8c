"""The plan of a fleet and the worker processes that carry it out on this machine.

A pack is idempotent and resumable, and guarded by a file lock: `launch.py train --pack=I` may be started anywhere,
any number of times. A worker is a process of its own, because the number of CPU threads (which changes the last
bits) is fixed when JAX starts.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import numpy as np
from tqdm import tqdm

from shadow import checkpoint, files, piles, train
from shadow.config import Config
from shadow.data import manifest as manifests
from shadow.errors import UserError

PLAN_VERSION = 1


@dataclass(frozen=True)
class Plan:
    """What is trained together, frozen before training: packing and threads change the last bits."""

    packs: tuple[tuple[int, ...], ...]  # shadows of each pack
    pack_size: int
    workers: int
    threads: int
    version: int = PLAN_VERSION

    def write(self, path: Path) -> None:
        files.write_json(path, {**self.__dict__, "packs": [list(pack) for pack in self.packs]})


def make_plan(config: Config) -> Plan:
    """Consecutive shadows share a pack. A convolutional network trains alone: its vmap is slower than one by one."""
    fleet = config.fleet
    size = 1 if config.denoiser.kind == "unet2d" else fleet.pack
    packs = [tuple(range(a, min(a + size, fleet.shadows))) for a in range(0, fleet.shadows, size)]
    return Plan(tuple(packs), size, min(fleet.workers, len(packs)), fleet.threads)


def read_plan(path: Path) -> Plan:
    try:
        fields = json.loads(path.read_text())
        if fields["version"] != PLAN_VERSION:
            raise UserError(f"{path}: plan of version {fields['version']}, this is {PLAN_VERSION}; use a new workdir")
        return Plan(**{**fields, "packs": tuple(tuple(pack) for pack in fields["packs"])})
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing: run `launch.py plan` first") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not a plan ({error}); remove it and run `launch.py plan`") from error


def shadow_folder(workdir: Path, shadow: int) -> Path:
    return workdir / "shadows" / f"{shadow:04d}"


def pile_steps(config: Config) -> tuple[int, ...]:
    """Training steps at which piles are drawn, rising; the last one where `pile.steps` is empty."""
    return tuple(sorted(set(config.pile.steps))) or (config.train.steps,)


def dev_ids(manifest: manifests.Manifest) -> list[str]:
    """The columns of the membership matrix: used, then not used, in the manifest's order."""
    return [str(name) for role in ("used", "not_used") for name in manifest.id[manifest.rows(role)]]


def pack_done(workdir: Path, plan: Plan, pack: int) -> bool:
    return all((shadow_folder(workdir, k) / "result.json").exists() for k in plan.packs[pack])


def run_pack(workdir: Path, data_root: Path, config: Config, plan: Plan, pack: int, *, sampling: bool = True) -> bool:
    """Trains pack `pack` and draws its piles, unless that is done; False where another process holds the pack.

    `result.json` is written last. With `sampling=False` only the training is done.
    """
    if not 0 <= pack < len(plan.packs):
        raise UserError(f"--pack={pack}: the plan has packs 0 to {len(plan.packs) - 1}")
    shadows = plan.packs[pack]
    folders = [shadow_folder(workdir, k) for k in shadows]
    (workdir / "shadows").mkdir(exist_ok=True)
    lock = filelock.FileLock(workdir / "shadows" / f".pack{pack:04d}.lock", timeout=10)
    try:
        held = lock.acquire()
    except filelock.Timeout:
        return False
    with held:  # not `with lock`, which would take it a second time and keep it
        if pack_done(workdir, plan, pack):
            return True
        membership = np.load(workdir / "membership.npy", allow_pickle=False)
        manifest = manifests.read(workdir / "manifest.csv", data_root)
        dev = manifest.images_at(dev_ids(manifest), config.data.resolution)
        if membership.shape != (config.fleet.shadows, len(dev)):
            raise UserError(f"{workdir / 'membership.npy'} does not fit the manifest: use a new workdir")
        spec = train.Spec(
            config.seed,
            "shadow",
            shadows,
            piles.to_unit(dev),
            tuple(np.flatnonzero(membership[k]) for k in shadows),
            config.denoiser,
            config.diffusion,
            config.train,
        )
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        keep = pile_steps(config)
        label = f"pack {pack} ({len(shadows)} shadows)"
        train.train_pack(spec, folders, keep, printer(f"{label} train"))
        if sampling:
            for step in keep:
                paths = [piles.pile_path(folder, step) for folder in folders]
                piles.draw_piles(spec, folders, paths, step, config.pile, printer(f"{label} sample {step}"))
            for folder, members in zip(folders, spec.members, strict=True):
                files.write_json(
                    folder / "result.json",
                    {"members": len(members), "steps": config.train.steps, "piles": list(keep)},
                )
    return True


def printer(label: str) -> train.Progress:
    """One JSON line of progress at most twice a second on stdout, for the parent process to show."""
    last = [0.0]

    def show(done: int, total: int, rate: float) -> None:
        if done == total or time.monotonic() - last[0] > 0.5:
            last[0] = time.monotonic()
            row = {"label": label, "done": done, "total": total, "rate": round(rate, 1)}
            print(json.dumps(row), flush=True)

    return show


def is_worker() -> bool:
    """Was this process started by `run_workers`?"""
    return os.environ.get("SHADOWPRINT_WORKER") == "1"


def patient_lock(path: Path, busy: str) -> contextlib.AbstractContextManager[Any]:
    """A held file lock, to be entered once. Getting it waits some seconds, since a worker whose parent was killed
    needs a moment to end; the lock of a killed process is free at once. Raises UserError with the line `busy` where
    another process keeps it."""
    try:
        return filelock.FileLock(path).acquire(timeout=10)
    except filelock.Timeout as error:
        raise UserError(busy) from error


def pack_status(workdir: Path, plan: Plan, pack: int) -> str:
    """done | step S of the newest checkpoint | not started."""
    if pack_done(workdir, plan, pack):
        return "done"
    step = checkpoint.latest_common([shadow_folder(workdir, k) for k in plan.packs[pack]])
    return f"at step {step}" if step else "not started"


def die_with_parent() -> None:
    """Ends this worker when its parent does: the parent holds the other end of stdin and never writes to it."""

    def wait() -> None:
        while os.read(0, 1):  # not through sys.stdin, whose lock would hang the interpreter at its end
            pass
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def fix_threads(threads: int) -> None:
    """CPU threads of this process; to be called before JAX makes its first array (XLA reads NPROC then)."""
    os.environ["NPROC"] = str(threads)


def run_workers(commands: list[list[str]], workers: int, title: str) -> None:
    """Runs each command line of `launch.py` in a process of its own, `workers` at a time, and shows their progress.

    Raises UserError with the worker's own line where one ends with exit code 2; a defect of ours ends all workers
    with its traceback.
    """
    waiting = list(commands)
    running: list[_Worker] = []
    bar = tqdm(total=len(commands), desc=title, unit="pack", disable=not sys.stderr.isatty(), leave=False)
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                running.append(_Worker(waiting.pop(0)))
            finished = [worker for worker in running if worker.process.poll() is not None]
            for worker in finished:
                running.remove(worker)
                worker.check()
                bar.update()
            shown = "; ".join(worker.status for worker in running if worker.status)
            if bar.disable:
                _plain(title, shown)
            else:
                bar.set_postfix_str(shown)
            time.sleep(0.1)
    finally:
        bar.close()
        for worker in running:
            worker.process.kill()
            worker.process.wait()
            worker.close()


_last_plain = [0.0]


def _plain(title: str, shown: str) -> None:
    """A plain line every ten seconds where stderr is no terminal."""
    if shown and time.monotonic() - _last_plain[0] > 10:
        _last_plain[0] = time.monotonic()
        print(f"{title}: {shown}", file=sys.stderr, flush=True)


class _Worker:
    """One worker process, its latest progress and what it wrote on stderr."""

    def __init__(self, command: list[str]) -> None:
        launch = str(Path(__file__).resolve().parent.parent / "launch.py")
        self.process = subprocess.Popen(
            [sys.executable, launch, *command],
            env={**os.environ, "SHADOWPRINT_WORKER": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.status = ""
        self._errors: list[str] = []
        self._readers = [threading.Thread(target=target, daemon=True) for target in (self._progress, self._stderr)]
        for reader in self._readers:
            reader.start()

    def _progress(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                continue
            left = (row["total"] - row["done"]) / row["total"] if row["total"] else 0
            self.status = f"{row['label']} {100 * (1 - left):.0f}% {row['rate']:.0f} images/s"

    def _stderr(self) -> None:
        assert self.process.stderr is not None
        self._errors.extend(self.process.stderr)

    def close(self) -> None:
        """Reads what the ended process left in its pipes and closes them."""
        for reader in self._readers:
            reader.join()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream:
                stream.close()

    def check(self) -> None:
        self.close()
        errors = "".join(self._errors)
        if self.process.returncode == 2:  # libraries' threads may have said something around our line
            lines = re.findall(r"\berror: (.*)", errors)
            raise UserError(lines[-1] if lines else "a worker failed")
        if self.process.returncode != 0:
            raise RuntimeError(f"worker ended with code {self.process.returncode}:\n{errors}")

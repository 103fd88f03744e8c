"""A fleet on a real SLURM cluster of one node: cancelled, requeued, pre-empted and out of time, and yet the same bits.

Run by `make test-slurm`, as root on Debian or Ubuntu; elsewhere it says why it is skipped. Ten to fifteen minutes.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import filelock
from cluster import cluster, install

ROOT = Path(__file__).resolve().parent.parent.parent
PACKS = 8
# A pack must still train when SLURM first looks at time limits, which it does every 30 seconds.
STEPS = 120_000
SETTINGS = {"fleet.pack": 1, "train.steps": STEPS, "train.checkpoint_every": STEPS // 2, "train.log_every": 500}

started = time.monotonic()


def note(text: str) -> None:
    print(f"{time.monotonic() - started:5.0f} s  {text}", flush=True)


def check(good: object, text: str) -> None:
    if not good:
        raise AssertionError(text)
    note(f"ok: {text}")


class Fleet:
    """One run and the cluster that works for it."""

    def __init__(self, workdir: Path, environment: dict[str, str]) -> None:
        self.workdir, self.environment = workdir, environment

    def start(self, *words: str) -> subprocess.Popen[str]:
        """`launch.py WORDS` on the run."""
        line = [sys.executable, str(ROOT / "launch.py"), *words, f"--workdir={self.workdir}"]
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        return subprocess.Popen(line, env=self.environment, text=True, **pipes)

    def launch(self, *words: str, code: int = 0) -> str:
        """What `launch.py WORDS` says, to its end."""
        with self.start(*words) as process:
            return self.end(process, code)

    def end(self, process: subprocess.Popen[str], code: int) -> str:
        """Waits for a process and asks for its exit code."""
        self.until(lambda: process.poll() is not None, 900, "launch.py ends")
        said = process.communicate()[0]
        assert process.returncode == code, f"exit code {process.returncode}, not {code}:\n{said}"
        return said

    def slurm(self, *words: str) -> str:
        done = subprocess.run(words, env=self.environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
        return done.stdout.strip()

    def until(self, what: Callable[[], object], seconds: float, text: str) -> None:
        """Waits for something. Meanwhile tasks that SLURM holds back for two minutes after a requeue are let go."""
        deadline = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < deadline, (
                f"{text}: not within {seconds} seconds\n{self.slurm('squeue', '--array')}"
            )
            for task in self.slurm("squeue", "--noheader", "--array", "--format=%i %r").splitlines():
                if task.endswith("BeginTime"):
                    with contextlib.suppress(AssertionError):  # it may have started by now
                        self.slurm("scontrol", "update", f"JobId={task.split()[0]}", "StartTime=now")
            time.sleep(0.5)

    def step(self, pack: int) -> int:
        """The training step that pack's process tells of; 0 where it tells of none."""
        try:
            row = json.loads((self.workdir / "shadows" / f".pack{pack:04d}.json").read_text())
        except (OSError, ValueError):
            return 0
        return row["done"] if row.get("stage") == "train" else 0

    def trains(self, *packs: int) -> None:
        """Waits until the packs are well under way."""
        for pack in packs:
            self.until(lambda pack=pack: self.step(pack) > STEPS // 20, 300, f"pack {pack} trains")

    def all_train(self, job: str) -> bool:
        """Are there running tasks, and all under way?"""
        running = self.slurm("squeue", "--noheader", "--states=RUNNING", f"--jobs={job}", "--format=%K").split()
        return bool(running) and all("train, " in self.log(job, int(i)).rpartition(" restart ")[2] for i in running)

    def job(self) -> tuple[str, list[int]]:
        """Id and packs of the array that was submitted last."""
        path = self.workdir / "slurm" / "job.json"
        self.until(path.exists, 120, "a job is submitted")
        row = json.loads(path.read_text())["jobs"][-1]
        return row["id"], row["packs"]

    def log(self, job: str, pack: int) -> str:
        path = self.workdir / "slurm" / "logs" / f"{job}_{pack}.txt"
        return path.read_text() if path.exists() else ""

    def resumed(self, job: str, pack: int, after: str) -> bool:
        """Does the log show a process that saved and ended, and after it, if `after` is there, one that went on?"""
        before, _, then = self.log(job, pack).partition(after)
        saved = re.findall(r"stopped at step (\d+) of", before)
        further = re.findall(r"train, ([\d,]+) of", then)
        return bool(saved) and (not further or int(further[0].replace(",", "")) > int(saved[-1]))


@contextlib.contextmanager
def ended(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """The process does not outlive the block."""
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def disturbed(fleet: Fleet) -> None:
    """Trains and samples with all that can happen to a job."""
    with ended(fleet.start("train", "--executor=slurm")) as waiting:
        job, packs = fleet.job()
        check(packs == list(range(PACKS)), f"job {job} is submitted with packs 0 to 7")
        fleet.slurm("scontrol", "update", f"JobId={job}_2", "TimeLimit=1")
        fleet.until(lambda: "RUNNING" in fleet.slurm("squeue", "--format=%T"), 60, "a task runs")
        waiting.send_signal(signal.SIGINT)
        said = fleet.end(waiting, 2)
    check(f"SLURM goes on with job {job}" in said and f"scancel {job}" in said, "Ctrl-C leaves the job running")
    said = fleet.launch("status")
    check("SLURM: RUNNING" in said and "SLURM: PENDING" in said, "status tells the tasks' states")

    # Whoever finds the lock of a pack taken ends with an error.
    locked = filelock.FileLock(fleet.workdir / "shadows" / ".pack0007.lock")
    with locked, ended(fleet.start("train", "--executor=slurm")) as waiting:
        fleet.trains(0, 1)
        fleet.slurm("scancel", f"{job}_0")
        fleet.slurm("scontrol", "requeue", f"{job}_1")
        note("task 0 cancelled, task 1 requeued from outside, both half-way")
        fleet.until(lambda: "back into the queue" in fleet.log(job, 2), 300, "task 2 comes near its limit")
        check(fleet.resumed(job, 2, "back into the queue"), "task 2 saved and requeued itself at its time limit")
        fleet.slurm("scontrol", "update", f"JobId={job}_2", "TimeLimit=60")  # else again and again
        fleet.until(lambda: fleet.all_train(job), 300, "whatever is pre-empted trains")
        fleet.slurm("sbatch", "--partition=urgent", "--ntasks=2", "--output=/dev/null", "--wrap=sleep 1")
        said = fleet.end(waiting, 2)
    check("SLURM job" not in said, "the same command waited for that job and submitted nothing")
    logs = {pack: fleet.log(job, pack) for pack in range(PACKS)}
    check("2 packs are not done (the first is 0)" in said, "only the cancelled task and the failed one are missing")
    check(fleet.resumed(job, 0, "never") and "restart 1" not in logs[0], "task 0 saved, and scancel ended it")
    check(fleet.resumed(job, 1, "restart 1"), "task 1 saved and went on from there")
    check(fleet.resumed(job, 2, "restart 1"), "so did task 2")
    check("another process" in logs[7] and "restart 1" not in logs[7], "the failed task was not requeued")
    hit = [pack for pack, log in logs.items() if "DUE TO PREEMPTION" in log]
    check(hit and all(fleet.resumed(job, pack, "restart 1") for pack in hit), f"pre-empted task {hit} went on, too")

    # In this partition a task is told of its pre-emption some time before.
    grace = "--config.fleet.sbatch=--partition=grace --job-name='another name' --array=%1"
    with ended(fleet.start("train", "--executor=slurm", grace)) as waiting:
        fleet.until(lambda: fleet.job()[0] != job, 120, "a job is submitted")
        job, packs = fleet.job()
        check(packs == [0, 7], f"the same command submits packs 0 and 7 alone, as job {job}")
        fleet.trains(0)
        check("another name" in fleet.slurm("squeue", "--noheader", "--format=%j"), "the user's options win")
        check(fleet.slurm("squeue", "--noheader", "--states=RUNNING").count("\n") == 0, "one task at a time, as asked")
        fleet.slurm("sbatch", "--partition=urgent", "--ntasks=2", "--output=/dev/null", "--wrap=sleep 1")
        fleet.end(waiting, 0)
    log = fleet.log(job, 0)
    check("back into the queue" in log and fleet.resumed(job, 0, "restart 1"), "told of pre-emption, task 0 went on")
    fleet.launch("sample", "--executor=slurm")
    note(f"piles drawn by job {fleet.job()[0]}")


def main() -> None:
    if os.geteuid() != 0:
        print("skipped: SLURM's daemons are started as root here")
        return
    if reason := install():
        print(f"skipped: {reason}")
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where we run in the background
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))  # not without stopping the daemons
    with tempfile.TemporaryDirectory(prefix="slurm") as home, cluster(Path(home), cpus=2) as environment:
        note(f"{subprocess.check_output(['sinfo', '--version'], env=environment, text=True).strip()} is up")
        fleet = Fleet(Path(home) / "a fleet", environment)
        local = Fleet(Path(home) / "local", environment)
        settings = [f"--config.{name}={value}" for name, value in SETTINGS.items()]
        fleet.launch("challenge", f"--config={ROOT / 'tests' / 'recipes' / 'tiny.py'}", *settings)
        fleet.launch("plan")
        shutil.copytree(fleet.workdir, local.workdir)
        note(f"{PACKS} packs of one shadow and {STEPS:,} steps are planned")
        disturbed(fleet)
        local.launch("sample")
        note("the same fleet is done undisturbed on this machine")
        piles = sorted(local.workdir.glob("shadows/*/piles/*.npy"))
        same = [pile.read_bytes() == (fleet.workdir / pile.relative_to(local.workdir)).read_bytes() for pile in piles]
        check(len(piles) == PACKS and all(same), f"{sum(same)} of {len(piles)} piles have the same bits")


if __name__ == "__main__":
    main()

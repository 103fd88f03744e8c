"""A run that is killed again and again, at every stage, ends with the bytes of one that was left alone."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

import pytest
from tiny_run import TINY, leftovers

pytestmark = pytest.mark.slow

# Stage, and what is seen on disk when it is under way (or just over: the next stage is then the one that is killed).
STAGES = {
    "challenge training": ".challenge.part/sealed/target/checkpoints/10",
    "challenge sampling": ".challenge.part/sealed/target/piles/.00000030.npy.part.json",
    "plan": "manifest.csv",
    "shadow training": "shadows/*/checkpoints/10*",
    "a later step": "shadows/*/checkpoints/20*",
    "pile sampling": "shadows/*/piles/.00000030.npy.part.json",
    "signals": "signals",
    "fit": "attack/heldout.npz",
    "predict": "predictions.csv",
    "report": "attack/predict.done.json",
}
SAME = ("predictions.csv", "submission.csv", "membership.npy", "signals/values.npy", "attack/evaluation.json")


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for path in found for child in path.read_text().split()]


def kill(process) -> None:
    """Kills the process alone; its workers must end by themselves."""
    workers = children(process.pid)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 5
    while any(map(alive, workers)):
        assert time.monotonic() < deadline, "a worker outlived its parent by 5 seconds"
        time.sleep(0.05)
    process.stdout.close()
    process.stderr.close()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_kills_at_every_stage_leave_no_trace(start, tiny, finished, tmp_path):
    rng, folder = random.Random(0), tmp_path / "run"
    for stage, sign in STAGES.items():
        process = start("run", f"--config={TINY}", f"--workdir={folder}")
        deadline = time.monotonic() + 120
        while not any(folder.glob(sign)):
            assert process.poll() is None, f"{stage}: the run ended: {process.stderr.read()}"
            assert time.monotonic() < deadline, f"{stage}: {sign} was not seen"
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.03))
        assert process.poll() is None, f"{stage}: ended before it was killed"
        kill(process)

    result = tiny("run", folder)
    assert result.returncode == 0, result.stderr
    for name in SAME:
        assert (folder / name).read_bytes() == (finished / name).read_bytes(), name
    for pile in sorted(finished.glob("shadows/*/piles/*.npy")):
        assert (folder / pile.relative_to(finished)).read_bytes() == pile.read_bytes(), pile
    assert leftovers(folder) == []


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_stage_killed_under_another_config_is_done_again_under_the_first(start, tiny, run, finished):
    process = start("run", f"--config={TINY}", f"--workdir={run}", "--config.attack.seed=5")
    old = (run / "predictions.csv").stat().st_mtime_ns
    while (run / "predictions.csv").stat().st_mtime_ns == old:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.001)
    kill(process)
    assert tiny("run", run).returncode == 0
    for name in SAME:
        assert (run / name).read_bytes() == (finished / name).read_bytes(), name

"""A fleet through the real `launch.py`: killed at random, started twice, grown, reused, by any number of workers."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from tiny_run import PROGRESS, fails, leftovers

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")

pytestmark = pytest.mark.slow


def content(folder: Path) -> dict[str, object]:
    """What a fleet has made: arrays, results and metrics, without what a clock or orbax's random names decide."""
    found: dict[str, object] = {}
    for path in sorted((folder / "shadows").rglob("*")):
        name = path.relative_to(folder).as_posix()
        if "/checkpoints/" in name:
            if path.parent.name == "checkpoints":
                found[name] = "folder"
        elif path.name == "metrics.jsonl":
            rows = [json.loads(line) for line in path.read_text().splitlines()]
            found[name] = [{k: v for k, v in row.items() if k != "images_per_second"} for row in rows]
        elif path.name == "result.json":
            found[name] = {k: v for k, v in json.loads(path.read_text()).items() if k != "checkpoints"}
        elif path.is_file() and path.suffix != ".lock":
            found[name] = path.read_bytes()
    return found


def weights(folder: Path) -> dict[str, bytes]:
    """The numbers in every checkpoint: the SHA-256 that lies in it, of names, shapes and values."""
    from orbax.checkpoint import v1 as ocp

    paths = sorted(folder.glob("shadows/*/checkpoints/*"))
    return {path.relative_to(folder).as_posix(): np.asarray(ocp.load(path)["digest"]).tobytes() for path in paths}


def children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for path in found for child in path.read_text().split()]


def hidden(folder: Path) -> list[str]:
    """Files that only a process at work needs."""
    found = [path for path in folder.rglob(".*") if path.name not in (".lock", ".compiled", ".challenge.lock")]
    return [path.relative_to(folder).as_posix() for path in found] + leftovers(folder)


@pytest.fixture(scope="session")
def planned(tiny, finished, tmp_path_factory):
    """Makes a new workdir with a plan on the finished run's challenge, and the arguments that go on with it."""

    def made(name: str, *changes: str) -> tuple[Path, list[str]]:
        folder = tmp_path_factory.mktemp(name) / "run"
        arguments = [f"--config.data.root={finished / 'challenge'}", *changes]
        result = tiny("plan", folder, *arguments)
        assert result.returncode == 0, result.stderr
        return folder, arguments

    return made


MANY = [
    *("--config.fleet.shadows=16", "--config.fleet.pack=2", "--config.train.steps=20"),
    *("--config.pile.count=10", "--config.attack.pile=10", "--config.fleet.workers=2"),
]


@pytest.fixture(scope="session")
def many(tiny, planned) -> Path:
    """16 shadows in 8 packs, undisturbed."""
    folder, arguments = planned("whole", *MANY)
    result = tiny("sample", folder, *arguments)
    assert result.returncode == 0, result.stderr
    return folder


@linux
def test_16_shadows_whose_workers_are_killed_all_the_time_end_with_the_same_bits(start, planned, many):
    folder, _ = planned("killed", *MANY)
    rng, kills, deadline = random.Random(0), 0, time.monotonic() + 400
    process = start("sample", f"--workdir={folder}")
    try:
        while process.poll() is None:
            assert time.monotonic() < deadline, f"not done after {kills} kills"
            time.sleep(rng.uniform(2, 4) * (1 + kills / 5))  # a busy machine gets something done between, too
            workers = children(process.pid)
            for worker in rng.sample(workers, min(1, len(workers))):
                os.kill(worker, signal.SIGKILL)
                kills += 1
    finally:
        process.kill()
        _, said = process.communicate()
    assert process.returncode == 0, said
    assert kills > 1  # a quiet machine is done soon
    assert content(folder) == content(many)
    assert weights(folder) == weights(many)
    assert hidden(folder) == hidden(many) == []


@linux
def test_two_started_at_once_and_one_of_them_killed_do_the_work_once(start, planned, tiny):
    folder, _ = planned("twice", "--config.fleet.pack=1", "--config.fleet.workers=2")
    both = [start("sample", f"--workdir={folder}") for _ in range(2)]
    while not any(folder.glob("shadows/*/result.json")):
        assert all(process.poll() is None for process in both)
        time.sleep(0.02)
    both[0].kill()
    both[0].communicate()
    _, said = both[1].communicate(timeout=200)
    assert both[1].returncode == 0, said
    alone, arguments = planned("alone", "--config.fleet.pack=1", "--config.fleet.workers=1")
    assert tiny("sample", alone, *arguments).returncode == 0
    assert content(folder) == content(alone)  # nothing twice in a metrics.jsonl, and one worker is as good as four
    assert weights(folder) == weights(alone)
    assert hidden(folder) == []


STRESS = """
import json, os, random, sys, time
from pathlib import Path
from shadow.fleet import packs
from shadow.config import Config

folder, number, die = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "die"

class Fleet(packs.Fleet):
    def done(self, pack, command="sample"):
        return (self.folders(pack)[0] / "result.json").exists()

    def __init__(self):
        self.workdir, self.config, self.keep = folder, Config(), (1600,)
        self.plan = type("Plan", (), {"packs": [type("Pack", (), {"shadows": (k,)}) for k in range(200)]})

    def _work(self, pack, command, stop, echo):
        with (folder / "log").open("a") as stream:
            stream.write(f"{pack} begin\\n")
        time.sleep(random.random() / 100)
        if die and random.random() < 0.05:
            os.kill(os.getpid(), 9)
        target = self.folders(pack)[0]
        target.mkdir(parents=True)
        with (folder / "log").open("a") as stream:
            stream.write(f"{pack} end\\n")
        (target / "result.json").write_text(number)

fleet = Fleet()
(folder / f"ready{number}").touch()
while len(list(folder.glob("ready*"))) < 8:
    time.sleep(0.001)
fleet.work("sample", time.time())
"""


@linux
def test_eight_processes_and_200_packs_some_of_them_dying(tmp_path):
    """Between the beginning and the end of a pack nobody else begins it, unless the one who did is dead."""
    command = [sys.executable, "-c", STRESS, str(tmp_path)]
    processes = [subprocess.Popen([*command, str(i), "die" if i % 2 else "live"]) for i in range(8)]
    codes = [process.wait(timeout=120) for process in processes]
    assert [code for code in codes[::2] if code] == []
    dead = codes.count(-signal.SIGKILL)
    assert dead > 0
    lines = [line.split() for line in (tmp_path / "log").read_text().splitlines()]
    ended = [int(pack) for pack, what in lines if what == "end"]
    assert sorted(ended) == list(range(200))  # each once, those of the dead too
    assert len(lines) == 400 + dead
    for pack in range(200):
        assert [what for name, what in lines if int(name) == pack][-1] == "end"
    assert len({path.read_text() for path in tmp_path.glob("shadows/*/result.json")}) > 2  # several did something
    assert list(tmp_path.glob("shadows/.*")) == []


def test_a_grown_fleet_is_the_one_that_was_large_from_the_start(tiny, planned):
    pack = "--config.fleet.pack=3"  # 8 shadows: the last pack has two, and keeps them
    folder, arguments = planned("grown", pack)
    assert tiny("sample", folder, *arguments).returncode == 0
    before = content(folder)
    rows = np.load(folder / "membership.npy")
    assert "run `launch.py plan`" in fails(tiny("sample", folder, *arguments, "--config.fleet.shadows=16"))
    for command in ("plan", "sample"):
        result = tiny(command, folder, *arguments, "--config.fleet.shadows=16")
        assert result.returncode == 0, result.stderr
    after, grown = content(folder), np.load(folder / "membership.npy")
    assert {name: after[name] for name in before} == before
    assert np.array_equal(grown[:8], rows)
    assert grown.shape[0] == 16
    assert (grown[8:].sum(0) == 4).all()  # a whole block: every image in half of it
    plan = json.loads((folder / "plan.json").read_text())
    assert [pack["shadows"] for pack in plan["packs"]] == [
        [0, 1, 2],
        [3, 4, 5],
        [6, 7],
        [8, 9, 10],
        [11, 12, 13],
        [14, 15],
    ]
    line = fails(tiny("plan", folder, *arguments))
    assert "fleet.shadows = 8" in line
    assert "16" in line


def test_packs_are_reused_where_everything_they_depend_on_is_the_same(tiny, planned, finished):
    reuse = f"--reuse={finished}"
    folder, arguments = planned("reused")  # the same challenge in another place
    result = tiny("sample", folder, *arguments, reuse)
    assert "reuse: 2 packs taken" in result.stdout
    assert content(folder) == content(finished)
    other, arguments = planned("other", "--config.pile.count=21")  # other piles of the same shadows
    result = tiny("sample", other, *arguments, reuse)
    assert "0 packs taken" in result.stdout
    assert "of 2 more their checkpoints" in result.stdout
    assert weights(other) == weights(finished)
    strange, arguments = planned("strange", "--config.seed=5")
    assert "0 packs taken" in tiny("train", strange, *arguments, reuse).stdout
    assert "plan.json is missing" in fails(tiny("train", strange, *arguments, f"--reuse={folder.parent}"))


@linux
def test_a_stopped_fleet_saves_its_work_and_goes_on(start, tiny, planned, finished):
    slow = "--config.train.checkpoint_every=1000000"
    folder, arguments = planned("stopped", slow, "--config.train.steps=3000", "--config.pile.steps=(3000,)")
    process = start("train", f"--workdir={folder}")
    while not any(folder.glob("shadows/*/metrics.jsonl")):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    process.terminate()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "run the same command again" in said
    saved = sorted(path.name for path in folder.glob("shadows/*/checkpoints/*"))
    assert saved
    assert all(0 < int(name) < 3000 for name in saved)
    assert "stopped: train" in tiny("status", folder, *arguments).stdout


def test_a_failed_pack_is_reported_and_the_others_are_done(tiny, planned):
    folder, arguments = planned("failed", "--config.fleet.pack=1", "--config.train.learning_rate=1e30")
    result = tiny("train", folder, *arguments)
    line = fails(result)
    assert "8 of 8 packs failed: pack 0: shadow 0: the loss is not finite" in line
    status = tiny("status", folder, *arguments).stdout
    assert status.count("failed: shadow") == 8
    assert [name for name in result.stderr.splitlines() if not name.startswith((*PROGRESS, "disk", "error"))] == []

"""The plan, packs done once, and worker processes that are all ended."""

import io
import json
import os
import sys
import threading
import time
from types import SimpleNamespace

import filelock
import numpy as np
import pytest

from shadow import files, fleet, piles, train
from shadow.config import Config
from shadow.errors import UserError


def make():
    config = Config()
    config.data.resolution = 8
    config.denoiser.patch, config.denoiser.width, config.denoiser.depth, config.denoiser.heads = 4, 8, 1, 2
    config.diffusion.timesteps = 20
    config.train.steps, config.train.batch_size, config.train.checkpoint_every = 4, 2, 2
    config.pile.count, config.pile.batch_size, config.pile.sampler_steps, config.pile.steps = 4, 4, 2, (2, 4)
    config.fleet.shadows, config.fleet.pack = 6, 2
    return config


@pytest.mark.parametrize(
    ("shadows", "pack", "workers", "kind", "packs", "at_once"),
    [
        (8, 4, 2, "dit", [(0, 1, 2, 3), (4, 5, 6, 7)], 2),
        (8, 3, 9, "dit", [(0, 1, 2), (3, 4, 5), (6, 7)], 3),
        (6, 99, 2, "dit", [(0, 1, 2, 3, 4, 5)], 1),
        (6, 4, 2, "unet2d", [(k,) for k in range(6)], 2),
    ],
)
def test_make_plan(shadows, pack, workers, kind, packs, at_once):
    config = Config()
    config.fleet.shadows, config.fleet.pack, config.fleet.workers, config.fleet.threads = shadows, pack, workers, 3
    config.denoiser.kind = kind
    plan = fleet.make_plan(config)
    assert list(plan.packs) == packs
    assert (plan.workers, plan.threads) == (at_once, 3)
    assert plan.pack_size == (1 if kind == "unet2d" else pack)


def test_plan_round_trip(tmp_path):
    plan = fleet.make_plan(Config())
    plan.write(tmp_path / "plan.json")
    assert fleet.read_plan(tmp_path / "plan.json") == plan


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "run `launch.py plan` first"),
        ("", "not a plan"),
        ("{", "not a plan"),
        ("[]", "not a plan"),
        ("3", "not a plan"),
        ("{}", "not a plan"),
        ('{"version": 1}', "not a plan"),
        ('{"version": 1, "packs": 3, "pack_size": 1, "workers": 1, "threads": 1}', "not a plan"),
        ('{"version": 1, "packs": [], "pack_size": 1, "workers": 1, "threads": 1, "else": 2}', "not a plan"),
        ('{"version": 2, "packs": []}', "plan of version 2"),
    ],
)
def test_read_plan_refuses(tmp_path, content, said):
    if content is not None:
        (tmp_path / "plan.json").write_text(content)
    with pytest.raises(UserError, match=f"plan.json.*{said}"):
        fleet.read_plan(tmp_path / "plan.json")


def test_pile_steps():
    config = Config()
    assert fleet.pile_steps(config) == (1600,)
    config.pile.steps = (400, 100, 400)
    assert fleet.pile_steps(config) == (100, 400)


class Images:
    """Stands for a manifest of eight images."""

    id = np.array([f"i{i}" for i in range(8)])

    def rows(self, role):
        return {"used": slice(0, 4), "not_used": slice(4, 8)}[role]

    def images_at(self, ids, resolution):
        assert ids == self.id.tolist()
        return np.random.default_rng(0).uniform(0, 255, (8, resolution, resolution)).astype(np.float32)


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    monkeypatch.setattr(fleet.manifests, "read", lambda path, root: Images())
    rows = np.random.default_rng(1).random((6, 8)) < 0.5
    rows[:, 0] = True
    files.write_array(tmp_path / "membership.npy", rows)
    return tmp_path


def run(workdir, pack=1, config=None, **options):
    config = config or make()
    return fleet.run_pack(workdir, workdir, config, fleet.make_plan(config), pack, **options)


def times(folder):
    return {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file() and p.suffix != ".lock"}


def test_run_pack_is_idempotent(workdir, monkeypatch, capsys):
    plan = fleet.make_plan(make())
    assert fleet.pack_status(workdir, plan, 1) == "not started"
    assert run(workdir, sampling=False)
    assert fleet.pack_status(workdir, plan, 1) == "at step 4"
    assert not fleet.pack_done(workdir, plan, 1)
    assert run(workdir)
    assert fleet.pack_status(workdir, plan, 1) == "done"
    rows = np.load(workdir / "membership.npy")
    for shadow in (2, 3):
        folder = fleet.shadow_folder(workdir, shadow)
        result = json.loads((folder / "result.json").read_text())
        assert result == {"members": rows[shadow].sum(), "steps": 4, "piles": [2, 4]}
        for step in (2, 4):
            assert piles.open_pile(piles.pile_path(folder, step)).shape == (4, 8, 8)
    assert sorted(p.name for p in (workdir / "shadows").iterdir() if p.is_dir()) == ["0002", "0003"]
    labels = {json.loads(line)["label"] for line in capsys.readouterr().out.splitlines()}
    assert labels == {f"pack 1 (2 shadows) {what}" for what in ("train", "sample 2", "sample 4")}

    before = times(workdir)
    monkeypatch.setattr(train, "train_pack", None)
    monkeypatch.setattr(fleet.manifests, "read", None)
    started = time.monotonic()
    assert run(workdir)
    assert time.monotonic() - started < 1
    assert times(workdir) == before


@pytest.mark.parametrize("pack", [-1, 3])
def test_a_pack_that_is_not_in_the_plan(workdir, pack):
    with pytest.raises(UserError, match=rf"--pack={pack}: the plan has packs 0 to 2"):
        run(workdir, pack)


def test_membership_of_other_images_is_refused_and_the_lock_is_free_again(workdir):
    files.write_array(workdir / "membership.npy", np.ones((6, 9), bool))
    with pytest.raises(UserError, match=r"membership\.npy does not fit") as kept:
        run(workdir)
    other = filelock.FileLock(workdir / "shadows" / ".pack0001.lock")
    with other.acquire(timeout=0):  # though the error, and with it the frame, is still there
        assert kept.value
    assert not other.is_locked


def test_a_pack_held_by_another_is_left_to_it(workdir, monkeypatch):
    impatient = SimpleNamespace(
        FileLock=lambda path, timeout: filelock.FileLock(path, timeout=timeout / 50), Timeout=filelock.Timeout
    )
    monkeypatch.setattr(fleet, "filelock", impatient)
    (workdir / "shadows").mkdir()
    held, answer = threading.Event(), threading.Event()

    def hold():
        with filelock.FileLock(workdir / "shadows" / ".pack0001.lock"):
            held.set()
            answer.wait(30)

    other = threading.Thread(target=hold)
    other.start()
    try:
        assert held.wait(10)
        assert run(workdir) is False
        assert not fleet.shadow_folder(workdir, 2).exists()
    finally:
        answer.set()
        other.join()


def test_patient_lock(tmp_path):
    with fleet.patient_lock(tmp_path / "x.lock", "busy"):
        other = filelock.FileLock(tmp_path / "x.lock")
        with pytest.raises(filelock.Timeout):
            other.acquire(timeout=0)
    with other.acquire(timeout=0):
        pass


@pytest.fixture
def launched(tmp_path, monkeypatch):
    """`run_workers` with a made-up worker: its words are what it does. Returns the folder of their marks."""
    script = tmp_path / "worker.py"
    script.write_text(f"#!{sys.executable}\n" + WORKER)
    script.chmod(0o755)
    monkeypatch.setattr(fleet, "sys", SimpleNamespace(executable=str(script), stderr=io.StringIO()))
    monkeypatch.chdir(tmp_path)
    return tmp_path


WORKER = """
import json, os, sys, time
assert sys.argv[1].endswith("launch.py") and os.environ["SHADOWPRINT_WORKER"] == "1"
for word in sys.argv[2:]:
    what, _, value = word.partition("=")
    if what == "mark":
        open(value, "w").write(str(os.getpid()))
    elif what == "sleep":
        time.sleep(float(value))
    elif what == "wait":  # until another has started
        while not os.path.exists(value):
            time.sleep(0.02)
    elif what == "say":
        print("not json")
        for done in (1, int(value)):
            print(json.dumps({"label": "pack", "done": done, "total": int(value), "rate": 2.0}), flush=True)
    elif what == "chatter":
        print("x" * 300_000, file=sys.stderr)
        print("y" * 300_000)
    elif what == "error":
        print("Traceback: noise", "error: " + value.replace("_", " "), sep="\\n", file=sys.stderr)
        sys.exit(2)
    elif what == "exit":
        print("Traceback: ours", file=sys.stderr)
        sys.exit(int(value))
"""


def gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_workers_do_all_commands_and_are_drained(launched):
    commands = [["chatter", "say=5", f"mark=m{i}"] for i in range(3)]
    fleet.run_workers(commands, 2, "train")
    assert all((launched / f"m{i}").exists() for i in range(3))
    fleet.run_workers([], 2, "train")


def test_as_many_at_once_as_wanted(launched):
    """Two that wait for each other end only where both run at once."""
    fleet.run_workers([["mark=a", "wait=b"], ["mark=b", "wait=a"]], 2, "train")


def test_a_users_mistake_is_passed_on_and_the_others_are_ended(launched):
    commands = [["mark=long", "sleep=60"], ["wait=long", "error=pile.npy:_no_such_thing"], ["mark=never"]]
    started = time.monotonic()
    with pytest.raises(UserError) as caught:
        fleet.run_workers(commands, 2, "train")
    assert str(caught.value) == "pile.npy: no such thing"
    assert time.monotonic() - started < 30
    assert gone(int((launched / "long").read_text()))
    assert not (launched / "never").exists()


def test_a_defect_is_passed_on_with_its_traceback(launched):
    with pytest.raises(RuntimeError, match=r"code 1:\n(.|\n)*Traceback: ours"):
        fleet.run_workers([["mark=long", "sleep=60"], ["wait=long", "exit=1"]], 2, "train")
    assert gone(int((launched / "long").read_text()))


def test_a_stopped_parent_ends_its_workers(launched, monkeypatch):
    real = time.sleep

    def stop(seconds):
        real(seconds)
        if (launched / "long").exists():
            raise KeyboardInterrupt

    monkeypatch.setattr(fleet.time, "sleep", stop)
    with pytest.raises(KeyboardInterrupt):
        fleet.run_workers([["mark=long", "sleep=60"]], 1, "train")
    monkeypatch.undo()
    assert gone(int((launched / "long").read_text()))


def test_printer_is_not_too_talkative(capsys):
    show = fleet.printer("x")
    for done in range(1, 1001):
        show(done, 1000, 3.14159)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert 1 <= len(lines) < 100
    assert lines[-1] == {"label": "x", "done": 1000, "total": 1000, "rate": 3.1}

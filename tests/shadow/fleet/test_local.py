"""Worker processes: all are ended, what goes wrong in one is said, and one that is killed is replaced."""

import io
import logging
import os
import subprocess
import sys
import time
from types import SimpleNamespace

import absl.logging
import pytest

from shadow.data import pool
from shadow.errors import Stopped, UserError
from shadow.fleet import local

# A made-up worker: the words in WORDS are what it does.
WORKER = """
import os, signal, sys, time
from pathlib import Path
assert sys.argv[1].endswith("launch.py") and sys.argv[2:] == ["train", "--workdir=x"]
assert os.environ["SHADOWPRINT_WORKER"] == "1" and os.environ["SHADOWPRINT_SINCE"] == "12.5"
for word in os.environ["WORDS"].split():
    what, _, value = word.partition("=")
    if what == "mark":
        Path(value + ".part").write_text(str(os.getpid()))
        os.replace(value + ".part", value)  # whoever sees the file sees the number
    elif what == "sleep":
        time.sleep(float(value))
    elif what == "wait":  # until another has started
        while not os.path.exists(value):
            time.sleep(0.02)
    elif what == "warn":
        head = "W1201 01:28:50.114892 140564561394560"  # as absl writes it, see below
        print(head + " pool.py:71] " + value, head + " type_handlers.py:9] noise", "noise", sep="\\n", file=sys.stderr)
        sys.stderr.flush()
    elif what == "chatter":
        print("x" * 300_000, file=sys.stderr)
        print("y" * 300_000)
    elif what == "error":
        print("Traceback: noise", "error: " + value.replace("_", " "), sep="\\n", file=sys.stderr)
        sys.exit(2)
    elif what == "exit":
        print("Traceback: ours", file=sys.stderr)
        sys.exit(int(value))
    elif what == "count":  # of those that came to here
        with open(value, "a") as stream:
            stream.write("x")
    elif what == "die":  # until so many came to here
        if os.path.getsize("count") < int(value):
            os.kill(os.getpid(), signal.SIGKILL)
    elif what == "save":  # when asked to end
        def save(number, frame, path=Path(value)):
            time.sleep(0.3)
            path.write_text("saved")
            sys.exit(143)
        signal.signal(signal.SIGTERM, save)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where the made-up workers leave their marks."""
    script = tmp_path / "worker.py"
    script.write_text(f"#!{sys.executable}\n" + WORKER)
    script.chmod(0o755)
    monkeypatch.setattr(local, "sys", SimpleNamespace(executable=str(script), stderr=io.StringIO()))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words, show=lambda: None, progress=lambda: None, stop=lambda: False):
    local.run(["train", "--workdir=x"], [{"WORDS": w} for w in words], show, progress, stop, 12.5)


def gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_workers_are_run_to_their_end_and_drained(folder):
    shown = []
    run(*(f"chatter mark=m{i}" for i in range(3)), show=lambda: shown.append(1))
    assert all((folder / f"m{i}").exists() for i in range(3))
    assert shown
    run()


def test_all_run_at_once(folder):
    """Two that wait for each other end only where both run at once."""
    run("mark=a wait=b", "mark=b wait=a")


def test_a_users_mistake_is_passed_on_and_the_others_are_ended(folder):
    started = time.monotonic()
    with pytest.raises(UserError) as caught:
        run("mark=long sleep=60", "wait=long error=pile.npy:_no_such_thing")
    assert str(caught.value) == "pile.npy: no such thing"
    assert time.monotonic() - started < 30
    assert gone(int((folder / "long").read_text()))


def test_a_mistake_without_a_line(folder):
    with pytest.raises(UserError, match="a worker failed"):
        run("exit=2")


def test_a_defect_is_passed_on_with_its_traceback(folder):
    with pytest.raises(RuntimeError, match=r"code 1:\n(.|\n)*Traceback: ours"):
        run("mark=long sleep=60", "wait=long exit=1")
    assert gone(int((folder / "long").read_text()))


def test_a_worker_that_was_asked_to_end_from_outside_is_no_defect(folder):
    run("exit=143")


def test_warnings_are_shown_at_once_and_nothing_else_is(folder):
    run("warn=hot chatter")
    assert local.sys.stderr.getvalue() == "W1201 01:28:50.114892 140564561394560 pool.py:71] hot\n"


def test_a_warning_is_known_by_the_form_that_absl_gives_it():
    record = logging.LogRecord("absl", logging.WARNING, pool.__file__, 7, "%s is left out", ("b.png",), None)
    line = absl.logging.PythonFormatter().format(record)
    assert line.endswith("pool.py:7] b.png is left out")
    assert local.is_warning_of_ours(line)
    record.levelno = logging.INFO
    assert not local.is_warning_of_ours(absl.logging.PythonFormatter().format(record))


def test_ctrl_c_ends_the_workers(folder):
    def show():
        if (folder / "long").exists():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run("mark=long sleep=60", show=show)
    assert gone(int((folder / "long").read_text()))


def test_when_stopped_the_workers_are_asked_to_save(folder):
    started = time.monotonic()
    with pytest.raises(Stopped):
        run("save=saved mark=long sleep=60", "mark=other sleep=60", stop=lambda: (folder / "long").exists())
    assert (folder / "saved").read_text() == "saved"
    assert time.monotonic() - started < 30
    assert gone(int((folder / "long").read_text()))


def count(folder):
    return len((folder / "count").read_text())


@pytest.fixture
def warned(monkeypatch):
    lines = []
    monkeypatch.setattr(local.logging, "warning", lambda text, *values: lines.append(text % values))
    return lines


def test_a_killed_worker_is_replaced(folder, warned):
    run("count=count die=3 mark=end")
    assert (folder / "end").exists()
    assert count(folder) == 3
    assert warned == ["a worker was killed by signal 9; another takes over"] * 2


def test_it_is_replaced_with_its_own_environment(folder, warned):
    (folder / "count").touch()
    run("mark=other", "wait=other count=count die=2 mark=end")
    assert (folder / "end").exists()


def test_killed_again_and_again_without_progress(folder, warned, monkeypatch):
    monkeypatch.setattr(local, "_DEATHS", 3)
    said = r"killed by signal 9 3 times and nothing was done between: out of memory\? lower fleet\.workers"
    with pytest.raises(UserError, match=said):
        run("count=count die=99", "mark=long sleep=60")
    assert count(folder) == 3
    assert gone(int((folder / "long").read_text()))


def test_killed_again_and_again_with_progress(folder, warned, monkeypatch):
    """Every second time something was done: deaths in a row are what counts."""
    monkeypatch.setattr(local, "_DEATHS", 3)
    (folder / "count").touch()
    run("count=count die=9 mark=end", progress=lambda: count(folder) // 2)
    assert (folder / "end").exists()


@pytest.mark.parametrize(
    ("found", "devices", "added"),
    [
        ([], 2, [{}, {}, {}]),
        (["0", "1", "2"], 1, [{"CUDA_VISIBLE_DEVICES": name} for name in "012"]),
        (["4", "GPU-a", "6", "7", "8"], 2, [{"CUDA_VISIBLE_DEVICES": names} for names in ("4,GPU-a", "6,7")]),
        (["0", "1"], 2, [{"CUDA_VISIBLE_DEVICES": "0,1"}]),
    ],
)
def test_a_worker_for_each_set_of_accelerators(monkeypatch, found, devices, added):
    monkeypatch.setattr(local, "accelerators", lambda: found)
    assert local.environments(3, devices) == added


def test_fewer_accelerators_than_asked(monkeypatch):
    monkeypatch.setattr(local, "accelerators", lambda: ["0"])
    with pytest.raises(UserError, match=r"fleet\.devices = 2, but this machine has 1"):
        local.environments(3, 2)


@pytest.mark.parametrize(
    ("says", "named", "found"),
    [
        ("cpu 8", "", []),
        ("gpu 3", "", ["0", "1", "2"]),
        ("gpu 2", "5,GPU-b", ["5", "GPU-b"]),
    ],
)
def test_accelerators_are_asked_for_in_a_process_of_its_own(monkeypatch, tmp_path, says, named, found):
    answer = tmp_path / "python"
    answer.write_text(f"#!/bin/sh\necho {says}\n")
    answer.chmod(0o755)
    monkeypatch.setattr(local, "sys", SimpleNamespace(executable=str(answer)))
    monkeypatch.setattr(local.importlib.util, "find_spec", lambda name: name == "jax_cuda13_plugin" or None)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    assert local.accelerators() == found
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert local.accelerators() == []


def test_a_driver_that_does_not_start_is_said(monkeypatch, tmp_path):
    answer = tmp_path / "python"
    answer.write_text("#!/bin/sh\necho Traceback >&2; echo 'no driver' >&2; exit 1\n")
    answer.chmod(0o755)
    monkeypatch.setattr(local, "sys", SimpleNamespace(executable=str(answer)))
    monkeypatch.setattr(local.importlib.util, "find_spec", lambda name: True)
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    with pytest.raises(UserError, match="JAX cannot start here: no driver"):
        local.accelerators()


def test_a_worker_ends_when_its_parent_lets_go_of_it():
    code = "import time; from shadow.fleet import local; local.die_with_parent(); print(1, flush=True); time.sleep(60)"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    root = os.path.dirname(os.path.dirname(os.path.dirname(local.__file__)))
    with subprocess.Popen([sys.executable, "-c", code], text=True, cwd=root, **pipes) as process:
        assert process.stdout.readline() == "1\n"
        time.sleep(0.2)
        assert process.poll() is None
        process.stdin.close()
        assert process.wait(10) == 1


def test_what_a_worker_knows_of_its_parent(monkeypatch):
    monkeypatch.delenv("SHADOWPRINT_WORKER", raising=False)
    assert not local.is_worker()
    monkeypatch.setenv("SHADOWPRINT_WORKER", "1")
    monkeypatch.setenv("SHADOWPRINT_SINCE", repr(1.7e9 + 0.123456789))
    assert local.is_worker()
    assert local.since() == 1.7e9 + 0.123456789
    monkeypatch.setenv("NPROC", "7")
    local.fix_threads(3)
    assert os.environ["NPROC"] == "3"

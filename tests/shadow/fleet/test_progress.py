"""What work says of itself, and how it is shown."""

import io
import json
import os
import platform
from types import SimpleNamespace

import pytest
from rich.console import Console

from shadow.fleet import progress
from shadow.fleet.progress import WorkState


@pytest.fixture
def clock(monkeypatch):
    """Time that passes by hand: clock.now."""
    made = SimpleNamespace(now=1000.0)
    fake = SimpleNamespace(monotonic=lambda: made.now, time=lambda: 2e9 + made.now)
    monkeypatch.setattr(progress, "time", fake)
    return made


def test_a_report_is_written_at_most_once_a_second(tmp_path, clock):
    path = tmp_path / "shadows" / ".pack0000.json"
    report = progress.Reporter(path)
    assert progress.read(path) is None
    report.begin()
    assert progress.read(path)["stage"] == "starting"
    show = report.stage("train")
    seen = []
    for done in range(1, 101):
        show(done, 100, 5.0, 0.5)
        seen.append(progress.read(path)["done"])
        clock.now += 0.1
    assert seen[0] == 1
    assert 9 <= len(set(seen)) <= 11
    row = progress.read(path)
    assert row == row | {"stage": "train", "total": 100, "rate": 5.0, "loss": 0.5}
    assert (row["host"], row["pid"]) == (platform.node(), os.getpid())
    assert row["time"] >= 2e9 + 1000
    show(100, 100, 5.0)
    assert progress.read(path)["loss"] is None
    report.fail("two\n lines")
    assert progress.read(path)["failed"] == "two lines"
    report.end()
    assert not path.exists()
    report.end()


def test_an_echo_is_a_plain_line_now_and_then(tmp_path, clock, capsys):
    show = progress.Reporter(tmp_path / "x.json", "pack 3").stage("sample 40")
    for done in range(100):
        show(done, 1000, 2345.6)
        clock.now += 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "pack 3: sample 40, 0 of 1,000, 2,346 images/s"
    assert 9 <= len(lines) <= 10
    progress.Reporter(tmp_path / "x.json").stage("train")(1, 2, 3.0)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("content", ["", "{", '{"stage": "tra'])
def test_a_report_that_is_none(tmp_path, content):
    (tmp_path / "x.json").write_text(content)
    assert progress.read(tmp_path / "x.json") is None


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (WorkState("a", "done", 1.0), "done"),
        (WorkState("a", "waiting"), "waiting"),
        (WorkState("a", "failed", reason="too hot"), "failed: too hot"),
        (WorkState("a", "stopped", 0.5, "train", 1000, 2000), "stopped: train, 1,000 of 2,000"),
        (WorkState("a", "running", stage="starting"), "running"),
        (
            WorkState("a", "running", 0.5, "train", 1, 2, 3456.7, 0.25, where="node:12"),
            "running: train, 1 of 2, loss 0.2500, 3,457 images/s, node:12",
        ),
        (
            WorkState("a", "running", 0.5, "sample 8", 1, 2, 3.0, where="node:12"),
            "running: sample 8, 1 of 2, 3 images/s, node:12",
        ),
    ],
)
def test_lines(state, said):
    assert state.line == said


def test_counts():
    kinds = ["done", "running", "done", "waiting", "failed", "running", "stopped"]
    said = "2 of 7 packs done, 2 running, 1 failed, 1 stopped, 1 waiting"
    assert progress.counts([WorkState("x", kind) for kind in kinds], "packs") == said
    assert progress.counts([WorkState("x", "done")], "packs") == "1 of 1 packs done"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        *((0.4, "0 s"), (45, "45 s"), (89, "89 s"), (91, "2 min"), (720, "12 min"), (89 * 60, "89 min")),
        *((91 * 60, "1 h 31 min"), (3 * 3600 + 300, "3 h 05 min"), (26 * 3600, "26 h 00 min")),
    ],
)
def test_durations(seconds, said):
    assert progress.duration(seconds) == said


def test_the_time_left_is_that_of_the_work_done_here(clock):
    """Work that was done before counts as done, but says nothing of the speed."""
    board = progress.Board("train", list)
    states = [
        WorkState("a", "done", 1.0),
        WorkState("b", "running", 0.5, rate=30.0),
        WorkState("c", "running", 0.0, rate=12.0),
    ]
    assert board.summary(states) == "1 of 3 packs done, 2 running; 42 images/s"
    clock.now += 100
    states[2] = WorkState("c", "running", 0.25, rate=12.0)
    # a quarter took 100 s: five quarters are left
    assert board.summary(states) == "1 of 3 packs done, 2 running; 42 images/s; about 8 min left"


def test_a_plain_line_every_ten_seconds(clock, capsys, monkeypatch):
    asked = []

    def read():
        asked.append(clock.now)
        return [WorkState("a", "running", 0.1, rate=3.0)]

    with progress.Board("sample", read, "challenges") as board:
        for _ in range(1000):
            clock.now += 0.1
            board.show()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "sample: 0 of 1 challenges done, 1 running; 3 images/s"
    assert 9 <= len(lines) == len(asked) <= 10


def test_a_live_table_on_a_terminal(clock, monkeypatch):
    out = io.StringIO()
    monkeypatch.setattr(progress.sys, "stderr", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr(
        progress, "Console", lambda stderr: Console(file=out, force_terminal=True, width=100, color_system=None)
    )
    with progress.Board("train", lambda: [WorkState("pack 7", "running", 0.5, "train", 4, 8, 9.0)]) as board:
        clock.now += 2
        board.show()
    assert "pack 7" in out.getvalue()
    assert "50 %" in out.getvalue()


def test_the_table_holds_what_runs_and_what_failed():
    states = [WorkState(f"pack {i}", "running", 0.1, "train", i, 40, 1.5, 0.125, where="node:1") for i in range(15)]
    states[3] = WorkState("pack 3", "failed", reason="no more disk")
    states += [WorkState("pack 90", "done", 1.0), WorkState("pack 91", "waiting"), WorkState("pack 92", "stopped", 0.5)]
    out = io.StringIO()
    Console(file=out, width=120).print(progress.table("the title", states))
    lines = out.getvalue().splitlines()
    assert lines[0].strip() == "the title"
    assert any("pack 3" in line and "failed: no more disk" in line for line in lines)
    assert any(all(word in line for word in ("pack 10", "25 %", "0.1250", "2", "node:1")) for line in lines)
    assert "and 3 more" in out.getvalue()
    assert not any(f"pack {i}" in out.getvalue() for i in (12, 14, 90, 91, 92))


def test_rows_are_json_whatever_they_hold(tmp_path):
    progress.Reporter(tmp_path / "x.json").stage("train")(1, 2, 3.0, 0.5)
    assert json.loads((tmp_path / "x.json").read_text()).keys() == {
        *("stage", "done", "total", "rate", "loss", "failed", "time", "host", "pid")
    }

"""What every unit of work (a pack, or the making of a challenge) is doing, in small files, and its display.

Whoever does the work writes the file; whoever waits reads it. So the display is the same for worker processes, for
the tasks of a cluster and for `launch.py status`.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from rich import box
from rich.console import Console
from rich.live import Live
from rich.table import Table

from shadow import files

_ROW = {"stage": "starting", "done": 0, "total": 0, "rate": 0.0, "loss": None, "failed": ""}
_WRITE_SECONDS = 1.0
_PLAIN_SECONDS = 10.0
_ROWS = 12  # of running and failed work in the live table


@dataclass(frozen=True)
class WorkState:
    """One unit of work. state: done | running | stopped | failed | waiting; share: of its work that is done [0, 1];
    rate: images a second; reason: of a failure; where: machine and process; weight: of its share in the time left, such
    as the shadows of a pack."""

    name: str
    state: str
    share: float = 0.0
    stage: str = ""
    done: int = 0
    total: int = 0
    rate: float = 0.0
    loss: float | None = None
    reason: str = ""
    where: str = ""
    weight: float = 1.0

    @property
    def line(self) -> str:
        """What is to be said about it."""
        if self.state in ("running", "stopped") and self.total:
            loss = "" if self.loss is None else f", loss {self.loss:.4f}"
            going = f", {self.rate:,.0f} images/s, {self.where}" if self.state == "running" else ""
            return f"{self.state}: {self.stage}, {self.done:,} of {self.total:,}{loss}{going}"
        return f"{self.state}: {self.reason}" if self.reason else self.state


class Reporter:
    """Writes the file of one unit, at most once a second; `echo` also prints a plain line now and then."""

    def __init__(self, path: Path, echo: str = "") -> None:
        self._path, self._echo = path, echo
        self._written = self._said = 0.0

    def stage(self, stage: str) -> Callable[..., None]:
        """A `train.Progress` for one stage of the work."""

        def show(done: int, total: int, rate: float, loss: float | None = None) -> None:
            now = time.monotonic()
            if now - self._written > _WRITE_SECONDS or not self._written:
                self._written = now
                self._write({"stage": stage, "done": done, "total": total, "rate": rate, "loss": loss})
            if self._echo and now - self._said > _PLAIN_SECONDS:
                self._said = now
                print(f"{self._echo}: {stage}, {done:,} of {total:,}, {rate:,.0f} images/s", file=sys.stderr)

        return show

    def begin(self) -> None:
        """Says that the work has begun."""
        self._write({})

    def fail(self, reason: str) -> None:
        """Says that the work failed, and why."""
        self._write({"failed": " ".join(reason.split())})

    def end(self) -> None:
        """Takes the file away: the work is done."""
        self._path.unlink(missing_ok=True)

    def _write(self, row: dict[str, Any]) -> None:
        files.write_json(self._path, _ROW | row | {"time": time.time(), "host": platform.node(), "pid": os.getpid()})


def read(path: Path) -> dict[str, Any] | None:
    """The last row of a `Reporter`; None where there is none, or none of ours."""
    try:
        row = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return row if isinstance(row, dict) and row.keys() >= _ROW.keys() else None


class Board:
    """Shows the states that `read` gives: a live table on a terminal, else a plain line every ten seconds."""

    def __init__(self, title: str, read: Callable[[], Sequence[WorkState]], unit: str = "packs") -> None:
        self._title, self._read, self._unit = title, read, unit
        self._live: Live | None = None
        self._began = self._last = time.monotonic()
        self._first: float | None = None

    def __enter__(self) -> Board:
        if sys.stderr.isatty():
            self._live = Live(console=Console(stderr=True), transient=True, auto_refresh=False)
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._live:
            self._live.stop()

    def show(self) -> None:
        """Draws the states, if it is time to."""
        now = time.monotonic()
        if now - self._last < (_WRITE_SECONDS if self._live else _PLAIN_SECONDS):
            return
        self._last = now
        states = list(self._read())
        head = f"{self._title}: {self.summary(states)}"
        if self._live:
            self._live.update(table(head, states), refresh=True)
        else:
            print(head, file=sys.stderr, flush=True)

    def summary(self, states: Sequence[WorkState]) -> str:
        """Counts, rate and time left, in one line."""
        whole = sum(state.weight for state in states)
        shares = sum(state.weight * state.share for state in states)
        if self._first is None:
            self._first = shares
        gained, elapsed = shares - self._first, time.monotonic() - self._began
        left = f"; about {duration(elapsed * (whole - shares) / gained)} left" if gained > 0.002 else ""
        rate = sum(state.rate for state in states if state.state == "running")
        return f"{counts(states, self._unit)}; {rate:,.0f} images/s{left}"


def counts(states: Sequence[WorkState], unit: str) -> str:
    """'3 of 8 packs done, 2 running, 1 failed'."""
    found = Counter(state.state for state in states)
    rest = [f"{found[name]} {name}" for name in ("running", "failed", "stopped", "waiting") if found[name]]
    return ", ".join([f"{found['done']} of {len(states)} {unit} done", *rest])


def table(title: str, states: Sequence[WorkState]) -> Table:
    """The running and failed ones."""
    drawn = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for column in ("", "stage", "done", "loss", "images/s", "where"):
        drawn.add_column(column, justify="right" if column in ("done", "loss", "images/s") else "left")
    shown = [state for state in states if state.state in ("running", "failed")]
    for state in shown[:_ROWS]:
        if state.state == "failed":
            drawn.add_row(state.name, f"failed: {state.reason}", "", "", "", "")
            continue
        done = f"{100 * state.done / state.total:.0f} %" if state.total else ""
        loss = "" if state.loss is None else f"{state.loss:.4f}"
        drawn.add_row(state.name, state.stage, done, loss, f"{state.rate:,.0f}", state.where)
    if len(shown) > _ROWS:
        drawn.add_row(f"and {len(shown) - _ROWS} more", "", "", "", "", "")
    return drawn


def duration(seconds: float) -> str:
    """'45 s', '12 min' or '3 h 05 min'."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"

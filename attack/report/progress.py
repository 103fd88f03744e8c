"""What `launch.py status` says at its end: where the results are, how far the run is, what the next command is."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Step:
    """A step of a run: the name of its command, whether it is done, and the files that it makes for people."""

    name: str
    done: bool
    results: tuple[Path, ...] = ()

    @property
    def line(self) -> str:
        """The step, and where its results are; also results that are there from before."""
        files = ", ".join(map(str, filter(Path.exists, self.results)))
        if self.done:
            return f"{self.name:10} done{f': {files}' if files else ''}"
        return f"{self.name:10} not yet{f'; of other options or other shadows: {files}' if files else ''}"


def progress(steps: Sequence[Step]) -> str:
    """Says how many steps are done, and which is the next one."""
    todo = [step.name for step in steps if not step.done]
    following = f"; the next one is {todo[0]}" if todo else ""
    return f"{'progress':10} {len(steps) - len(todo)} of {len(steps)} steps done{following}"


def following(folder: Path, steps: Sequence[Step], flags: str, scored: bool = True) -> list[str]:
    """Says what to do next; flags: those that the next command is to have; scored: `score` knows such predictions."""
    if not all(step.done for step in steps):
        return [f"{'next':10} python launch.py run {flags}"]
    lines = [f"{'next':10} open {folder / 'report.html'} in a browser"]
    truth = folder / "challenge" / "sealed" / "truth.csv"
    if scored and truth.exists():
        files = f"--predictions={folder / 'predictions.csv'}", f"--truth={truth}"
        lines.append(f"{'then':10} python launch.py score {shlex.join(files)}")
    return lines

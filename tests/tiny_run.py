"""What the tests of whole runs share besides fixtures."""

from __future__ import annotations

import subprocess
from pathlib import Path

LAUNCH = Path(__file__).parent.parent / "launch.py"
TINY = Path(__file__).parent / "recipes" / "tiny.py"
PROGRESS = ("challenge: ", "train: ", "sample: ", "disk: ")  # plain lines about slow work


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Content and time of every file below a folder, locks left out: {path: (content, ns)}."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix != ".lock")
    return {path.relative_to(folder).as_posix(): (path.read_bytes(), path.stat().st_mtime_ns) for path in found}


def fails(result: subprocess.CompletedProcess[str]) -> str:
    """The one line on stderr of a command that ended by the user's mistake."""
    assert result.returncode == 2, result.stderr
    lines = [line for line in result.stderr.splitlines() if not line.startswith(PROGRESS)]
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    return lines[0]


def leftovers(folder: Path) -> list[str]:
    """Files under a temporary name."""
    return [str(path) for path in folder.rglob("*") if path.name.endswith((".part", ".part.json", "-tmp"))]

"""Runs of benchmarks by the command that users have."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from shadow.errors import UserError

LAUNCH = Path(__file__).resolve().parent.parent / "launch.py"


def launch(*arguments: str) -> None:
    """`launch.py` with these arguments to its end. Where it fails, this process ends with the same code: it has said
    why, unless a signal ended it."""
    code = subprocess.run([sys.executable, str(LAUNCH), *arguments], stdout=subprocess.DEVNULL).returncode
    if code < 0:
        sys.stderr.write(f"error: launch.py {arguments[0]} was ended by signal {-code}\n")
    if code:
        sys.exit(code if code > 0 else 128 - code)


def evaluation(workdir: Path) -> dict[str, Any]:
    """What a finished run says of its target. UserError where an older version predicted, which said less."""
    found: dict[str, Any] = json.loads((workdir / "attack" / "evaluation.json").read_text())
    if "candidates" not in found:
        raise UserError(f"{workdir}: predicted by an older version; remove attack/predict.done.json there")
    return found

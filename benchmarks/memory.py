"""Does the memory of a run grow with the number of shadows? The peak of any of its processes, for several fleets.

python benchmarks/memory.py [--shadows=8,64] [--config=tests/recipes/tiny.py]
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from absl import app, flags

ROOT = Path(__file__).resolve().parent.parent
_SHADOWS = flags.DEFINE_list("shadows", ["8", "64"], "Sizes of the fleets.")
_RECIPE = flags.DEFINE_string("config", str(ROOT / "tests" / "recipes" / "tiny.py"), "Recipe of the run.")
# A process of its own, since a peak is that of all processes waited for so far.
_RUN = "import resource, subprocess, sys; code = subprocess.call(sys.argv[1:]); print(" + (
    "resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(code)"
)


def peak(shadows: int) -> int:
    """KiB at most in one process of a whole run, on Linux."""
    with tempfile.TemporaryDirectory() as folder:
        launch = [sys.executable, str(ROOT / "launch.py"), "run", f"--config={_RECIPE.value}"]
        options = [f"--workdir={folder}/run", f"--config.fleet.shadows={shadows}"]
        out = subprocess.check_output([sys.executable, "-c", _RUN, *launch, *options], text=True)
    return int(out.splitlines()[-1])


def main(_: list[str]) -> None:
    peaks = [peak(int(shadows)) for shadows in _SHADOWS.value]
    for shadows, found in zip(_SHADOWS.value, peaks, strict=True):
        print(f"{shadows:>4} shadows: {found / 1024:.0f} MiB, {100 * (found / peaks[0] - 1):+.1f} %")


if __name__ == "__main__":
    app.run(main)

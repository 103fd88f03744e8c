"""What a shadow leaks, and how good its images are, over training steps: a picture and a table of docs/results.md.

python benchmarks/trajectory.py --comparison=RUN/compare.json --out=docs/trajectory.png

The comparison is that of `launch.py compare --checkpoints=shadows/NNNN@all`. Nothing is measured here.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from absl import app, flags
from matplotlib.axes import Axes
from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from attack.compare import table  # noqa: E402
from attack.report.canvas import ACCENT, INK, LINE, MUTED  # noqa: E402

_COMPARISON = flags.DEFINE_string("comparison", None, "compare.json of a run.", required=True)
_OUT = flags.DEFINE_string("out", None, "The PNG to write.", required=True)


def draw(rows: list[dict[str, Any]], best: int) -> Figure:
    """Three plots over training steps: AUC with intervals, FD, and distance to the nearest generated image."""
    figure = Figure(figsize=(9.6, 2.9), dpi=100, layout="constrained")
    leak, quality, near = figure.subplots(1, 3)
    steps = [row["step"] for row in rows]
    leak.axhline(0.5, color=MUTED, linewidth=1, linestyle=":")
    for name, title, color, style in (
        ("whitebox", "with its weights (loss)", INK, "--"),
        ("blackbox", "from its images", ACCENT, "-"),
    ):
        areas = [row[name] for row in rows]
        leak.fill_between(steps, [a["low"] for a in areas], [a["high"] for a in areas], color=color, alpha=0.12)
        leak.plot(steps, [a["auc"] for a in areas], style, marker="o", color=color, label=title)
    quality.plot(steps, [row["fd"] for row in rows], marker="o", color=ACCENT)
    near.plot(steps, [row["others"] for row in rows], "--", marker="o", color=MUTED, label="not used")
    near.plot(steps, [row["members"] for row in rows], marker="o", color=ACCENT, label="used")
    for plot, title in ((leak, "AUC"), (quality, "FD to unseen slices"), (near, "slice to nearest image")):
        _finish(plot, title, steps, best)
    leak.legend(frameon=False, fontsize=8, loc="lower right")
    near.legend(frameon=False, fontsize=8, loc="lower left")
    return figure


def _finish(plot: Axes, title: str, steps: list[int], best: int) -> None:
    plot.axvline(best, color=INK, linewidth=1, linestyle=":")  # where to stop
    plot.set_xscale("log")
    plot.minorticks_off()
    plot.set_xticks(steps[:4] + steps[5::2], [str(step) for step in steps[:4] + steps[5::2]], fontsize=8)
    plot.set_title(title, fontsize=10)
    plot.set_xlabel("training step", fontsize=9)
    plot.grid(axis="y", color=LINE, linewidth=0.6)
    plot.spines[["top", "right"]].set_visible(False)


def main(_: list[str]) -> None:
    (found,) = json.loads(Path(_COMPARISON.value).read_text())["trajectories"]
    rows = found["rows"]
    draw(rows, found["best"]["step"]).savefig(_OUT.value, metadata={"Software": None})
    print("| step | AUC from the images | AUC with the weights (loss) | FD | to used slices | to slices not used |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        cells = [str(row["step"]), table.area(row["blackbox"]), table.area(row["whitebox"])]
        cells += [table.digits(row[name], 2) for name in ("fd", "members", "others")]
        print(f"| {' | '.join(cells)} |")
    print(f"images leak from {found['onset']['blackbox']}, weights from {found['onset']['whitebox']}; {found['best']}")


if __name__ == "__main__":
    app.run(main)

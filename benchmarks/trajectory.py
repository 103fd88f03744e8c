"""What a shadow leaks, and how good its images are, over training steps: a picture and a table of docs/results.md.

python benchmarks/trajectory.py --comparison=RUN/compare.json --out=docs/trajectory.png

The comparison is that of `launch.py compare --checkpoints=shadows/NNNN@all`. Nothing is measured here.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from absl import app, flags
from matplotlib.axes import Axes
from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from attack.compare import drawings, table  # noqa: E402
from attack.report.plot_style import ACCENT, INK, LINE, MUTED  # noqa: E402
from attack.results.compared import Advice, Comparison, Step  # noqa: E402
from shadow.errors import UserError, exits  # noqa: E402

_COMPARISON = flags.DEFINE_string("comparison", None, "compare.json of a run.", required=True)
_OUT = flags.DEFINE_string("out", None, "The PNG to write.", required=True)


_SIDES = (("whitebox", "with its weights", INK, "--"), ("blackbox", "from its images", ACCENT, "-"))


def draw(rows: Sequence[Step], advice: Advice) -> Figure:
    """Four plots, with intervals: AUC, FD and distance to the nearest generated image over training steps, and FD
    against the upper end of the AUC's interval."""
    figure = Figure(figsize=(9.6, 5.6), dpi=100, layout="constrained")
    (leak, quality), (near, trade) = figure.subplots(2, 2)
    leak.axhline(0.5, color=MUTED, linewidth=1, linestyle=":")
    for name, title, color, style in _SIDES:
        sides = [getattr(row, name) for row in rows]
        _band(leak, rows, [(side.auc, side.low, side.high) for side in sides], color, style, title)
        x, y = [row.fd for row in rows], [side.high for side in sides]
        trade.plot(x, y, style, marker="o", color=color, label=title)
    named: list[float] = []
    for row in rows:
        apart = all(abs(row.fd - fd) > 0.05 * (rows[0].fd - advice.quality.fd) for fd in named)
        if row.step in advice.blackbox.front and apart:
            named.append(row.fd)
            at = (row.fd, row.blackbox.high)
            trade.annotate(
                str(row.step), at, (0, -12), textcoords="offset points", fontsize=7, color=MUTED, ha="center"
            )
    _band(quality, rows, [(row.fd, *row.fd_interval) for row in rows], ACCENT, "-")
    for name, title, color, style in (("others", "not used", MUTED, "--"), ("members", "used", ACCENT, "-")):
        _band(
            near, rows, [(getattr(row, name), *getattr(row, f"{name}_interval")) for row in rows], color, style, title
        )
    marks = {advice.quality.step: ":", advice.blackbox.quiet: "--"}
    for plot, title in ((leak, "AUC"), (quality, "FD to unseen slices"), (near, "slice to nearest image")):
        _steps(plot, [row.step for row in rows], marks)
        plot.set_title(title, fontsize=10)
    trade.set_title("AUC (upper end) against FD, step by step", fontsize=10)
    trade.set_xlabel("FD to unseen slices", fontsize=9)
    for plot in (leak, quality, near, trade):
        plot.grid(axis="y", color=LINE, linewidth=0.6)
        plot.spines[["top", "right"]].set_visible(False)
        plot.tick_params(labelsize=8)
    for plot, corner in ((leak, "lower right"), (near, "lower left"), (trade, "lower left")):
        plot.legend(frameon=False, fontsize=8, loc=corner)
    return figure


def _band(
    plot: Axes,
    rows: Sequence[Step],
    values: list[tuple[float, float, float]],
    color: str,
    style: str,
    title: str | None = None,
) -> None:
    """(value, low, high) by step as a line with a band."""
    steps = [row.step for row in rows]
    plot.fill_between(steps, [low for _, low, _ in values], [high for *_, high in values], color=color, alpha=0.12)
    plot.plot(steps, [value for value, *_ in values], style, marker="o", markersize=4, color=color, label=title)


def _steps(plot: Axes, steps: list[int], marks: dict[int | None, str]) -> None:
    """The axis of steps: dotted at the best images, dashed at the last step before a leak from the images shows."""
    for step, style in marks.items():
        if step is not None:
            plot.axvline(step, color=INK, linewidth=1, linestyle=style)
    plot.set_xscale("log")
    plot.minorticks_off()
    chosen = drawings.apart(steps, 0.1)
    plot.set_xticks(chosen, [str(step) for step in chosen])
    plot.set_xlabel("training step", fontsize=9)


def main(_: list[str]) -> None:
    path = _COMPARISON.value
    trajectories = Comparison.read(Path(path)).trajectories
    if len(trajectories) != 1:
        raise UserError(f"{path}: holds {len(trajectories)} trajectories; compare one shadow at all its steps")
    (found,) = trajectories
    if any(getattr(row, name) is None for row in found.rows for name in ("blackbox", "whitebox", "fd", "members")):
        raise UserError(f"{path}: a figure is missing at some step: compare a shadow whose run has signals")
    draw(found.rows, found.advice).savefig(_OUT.value, metadata={"Software": None})
    print(
        "| step | AUC from the images | AUC with the weights | strongest | loss gap | FD | to used slices | to others |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for row in found.rows:
        cells = [str(row.step), table.area(row.blackbox), table.area(row.whitebox), row.whitebox.attack]
        cells.append(f"{100 * row.gap:.0f} %")
        for name, places in (("fd", 1), ("members", 2), ("others", 2)):
            cells.append(table.with_interval(getattr(row, name), getattr(row, f"{name}_interval"), places))
        print(f"| {' | '.join(cells)} |")
    print(f"images leak from step {found.onset.blackbox} on, weights from {found.onset.whitebox}")
    for side in found.advice.sides:
        print(f"{side.said} Front: {list(side.front)}")


if __name__ == "__main__":
    with exits(lambda: _OUT.value):
        app.run(main)

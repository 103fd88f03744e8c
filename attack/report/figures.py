"""The plots of the report, on the canvas that `canvas` makes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes

from attack import metrics
from attack.report.plot_style import ACCENT, CARD, INK, LINE, MUTED
from attack.report.plot_style import axes as _axes
from attack.report.plot_style import legend as _legend
from attack.report.plot_style import names as _names
from attack.report.plot_style import plain as _plain
from attack.report.plot_style import svg as _svg
from attack.results import CurvePoint, Interval, Rate, ReliabilityRow

_MOST_LINES = 32  # shadows drawn one by one
_MOST_POINTS = 120  # of one line
NOISE_LEVELS = (0.05, 0.2, 0.5)


def _curve(scores: np.ndarray, labels: np.ndarray, floor: float) -> tuple[np.ndarray, np.ndarray]:
    """The conservative step curve from `floor` on: the TPR reached at or below each false positive rate."""
    fpr, tpr, _ = metrics.roc(scores, labels)
    x = np.unique(np.concatenate([[floor], fpr[fpr >= floor]]))
    return x, tpr[np.searchsorted(fpr, x + 1e-12, side="right") - 1]


@_plain
def roc(
    scores: np.ndarray,
    labels: np.ndarray,
    shadow: np.ndarray | None,
    points: Sequence[Rate],
    measured: tuple[np.ndarray, np.ndarray] | None = None,
) -> Markup:
    """Log-log ROC of held-out pairs, a thin line a shadow; `points`: rates, drawn where they have an interval;
    `measured`: (scores, labels) of the candidates against the truth."""
    figure, axes = _axes()
    floor = 1 / int(np.sum(labels == 0))
    lowest = max(floor, 1e-4)
    if shadow is not None:
        for number in np.unique(shadow)[:_MOST_LINES]:
            mine = shadow == number
            others = int(np.sum(labels[mine] == 0))
            if 0 < others < mine.sum():
                x, y = _curve(scores[mine], labels[mine], 1 / others)
                axes.step(x, y, where="post", color=ACCENT, alpha=0.4, linewidth=0.8)
    x, y = _curve(scores, labels, lowest)
    axes.step(x, y, where="post", color=ACCENT, linewidth=2.2, label="on the shadows" if measured else "held out")
    if measured:
        least = 1 / int(np.sum(measured[1] == 0))
        x, y = _curve(*measured, least)
        axes.step(x, y, where="post", color=INK, linewidth=1.6, linestyle=(0, (4, 2)), label="measured")
    for point in points:
        if point.tpr is not None and point.interval is not None:
            _ring(axes, point.fpr, point.tpr, point.interval)
    grid = np.geomspace(lowest, 1, 60)
    axes.plot(grid, grid, color=MUTED, linewidth=1, linestyle=(0, (2, 3)), label="guessing")
    axes.set_xscale("log")
    axes.set_yscale("log")
    bottom = min(lowest, 1e-2)
    axes.set_xlim(lowest, 1.05)
    axes.set_ylim(bottom, 1.15)
    ticks = (1e-4, 1e-3, 1e-2, 1e-1, 1)
    for axis, low in ((axes.xaxis, lowest), (axes.yaxis, bottom)):
        shown = [tick for tick in ticks if tick >= low * 0.999]
        axis.set_ticks(shown, [f"{100 * tick:g} %" for tick in shown])
    axes.grid(color=LINE, linewidth=0.6)
    axes.set_axisbelow(True)
    _names(axes, "false positive rate", "true positive rate")
    _legend(axes, "lower right")
    return _svg(figure, "roc measured" if measured else "roc", "ROC curve on two logarithmic axes")


def _ring(axes: Axes, fpr: float, tpr: float, interval: Interval) -> None:
    axes.plot([fpr] * 2, interval, color=ACCENT, linewidth=1.4)
    axes.plot([fpr], [tpr], "o", color=CARD, markeredgecolor=ACCENT, markeredgewidth=1.6, markersize=6, zorder=5)


@_plain
def histogram(
    scores: np.ndarray,
    labels: np.ndarray,
    thresholds: Sequence[float] = (),
    name: str = "histogram",
    titles: tuple[str, str] = ("not used", "used"),
) -> Markup:
    """Shares of slices of label 0 and 1 (`titles`) by score, an upright line at each threshold of the decisions.

    The outermost half percents are drawn at the edge.
    """
    figure, axes = _axes()
    low, high = np.quantile(scores, [0.005, 0.995])
    edges = np.linspace(low, high if high > low else low + 1, 25)
    for kind, color, style, title in ((0, MUTED, "--", titles[0]), (1, ACCENT, "-", titles[1])):
        values = np.clip(scores[labels == kind], edges[0], edges[-1])
        share = 100 * np.histogram(values, edges)[0] / max(1, len(values))
        axes.stairs(share, edges, fill=True, color=color, alpha=0.22)
        axes.stairs(share, edges, color=color, linewidth=1.6, linestyle=style, label=title)
    for threshold in thresholds:
        if edges[0] < threshold < edges[-1]:
            axes.axvline(threshold, color=INK, linewidth=1)
    axes.set_ylim(bottom=0)
    _names(axes, "score", "% of slices")
    _legend(axes, "above")
    return _svg(figure, name, f"Histogram of scores: {titles[1]} and {titles[0]}")


@_plain
def reliability(rows: Sequence[ReliabilityRow], name: str = "reliability") -> Markup:
    """Observed share of members by stated probability; the area of a point grows with its count."""
    figure, axes = _axes()
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (2, 3)), label="perfect")
    most = max(row.count for row in rows)
    for row in rows:
        x = row.mean_probability
        axes.plot([x, x], row.interval, color=ACCENT, linewidth=1.4, alpha=0.7)
        size = 3 + 6 * (row.count / most) ** 0.5
        axes.plot([x], [row.observed], "o", color=ACCENT, markersize=size)
    axes.set_xlim(-0.03, 1.03)
    axes.set_ylim(-0.03, 1.03)
    axes.grid(color=LINE, linewidth=0.6)
    axes.set_axisbelow(True)
    _names(axes, "stated probability", "share that was used")
    _legend(axes, "upper left")
    return _svg(figure, name, "Reliability plot: share of used slices by stated probability")


def _thin(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    keep = np.unique(np.linspace(0, len(x) - 1, min(len(x), _MOST_POINTS)).round().astype(int))
    return x[keep], y[keep]


def _mean_line(lines: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Mean over lines where all of them have values, on the x of the longest one."""
    x = max((line[0] for line in lines), key=len)
    x = x[(x >= max(line[0][0] for line in lines)) & (x <= min(line[0][-1] for line in lines))]
    return _thin(x, np.mean([np.interp(x, *line) for line in lines], axis=0))


@_plain
def learning(lines: Sequence[tuple[np.ndarray, np.ndarray]]) -> Markup:
    """Training loss by thousands of images, one line a shadow (images [n], loss [n]), and their mean."""
    figure, axes = _axes()
    for x, y in lines[:_MOST_LINES]:
        axes.plot(*_thin(x / 1000, y), color=ACCENT, alpha=0.25, linewidth=0.9)
    x, y = _mean_line(lines)
    axes.plot(x / 1000, y, color=ACCENT, linewidth=2.2, label=f"mean of {len(lines)}")
    axes.set_ylim(bottom=0)
    axes.grid(color=LINE, linewidth=0.6, axis="y")
    _names(axes, "images seen (thousands)", "training loss")
    _legend(axes, "upper right")
    return _svg(figure, "learning", "Training loss of every shadow by images seen")


@_plain
def shadow_curve(rows: Sequence[CurvePoint]) -> Markup:
    """AUC by number of shadows, on a logarithmic axis."""
    figure, axes = _axes()
    counts = [row.shadows for row in rows]
    axes.plot(counts, [row.auc for row in rows], "-o", color=ACCENT, linewidth=2, markersize=5)
    for row in rows:
        axes.plot([row.shadows] * 2, row.interval, color=ACCENT, linewidth=1.4)
        axes.plot([row.shadows] * len(row.each), row.each, "o", color=MUTED, markersize=2.5, alpha=0.8)
    if min(row.interval[0] for row in rows) < 0.55:
        axes.axhline(0.5, color=MUTED, linewidth=1, linestyle=(0, (2, 3)))
    axes.set_xscale("log", base=2)
    axes.xaxis.set_ticks(counts, [str(count) for count in counts])
    axes.set_xlim(counts[0] / 1.3, counts[-1] * 1.3)
    axes.grid(color=LINE, linewidth=0.6, axis="y")
    _names(axes, "shadows", "AUC on unseen shadows")
    return _svg(figure, "shadow curve", "AUC on unseen shadows by their number, with intervals")


@_plain
def gaps(lines: Sequence[tuple[np.ndarray, np.ndarray]]) -> Markup:
    """What shadows memorise: the loss on unseen slices above that on their own, in percent, by noise level.

    lines: (images [n], percent [n, noise level]), one a shadow.
    """
    figure, axes = _axes()
    axes.axhline(0, color=MUTED, linewidth=1, linestyle=(0, (2, 3)))
    styles: Sequence[Any] = ("-", (0, (5, 2)), (0, (1.5, 1.5)))
    for level, style in enumerate(styles):
        chosen = [(x, y[:, level]) for x, y in lines]
        for x, y in chosen[:_MOST_LINES]:
            axes.plot(*_thin(x / 1000, y), color=ACCENT, alpha=0.12, linewidth=0.8)
        x, y = _mean_line(chosen)
        label = f"noise {NOISE_LEVELS[level]:g}"
        axes.plot(x / 1000, y, color=ACCENT, linewidth=2, linestyle=style, label=label)
    axes.grid(color=LINE, linewidth=0.6, axis="y")
    _names(axes, "images seen (thousands)", "loss unseen / seen − 1, %")
    _legend(axes, "upper left")
    return _svg(figure, "gaps", "Denoising loss of unseen slices relative to training slices, by images seen")

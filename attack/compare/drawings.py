"""The plots of the comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes

from attack.compare import trajectory
from attack.report.plot_style import ACCENT, CARD, INK, LINE, MUTED, axes, legend, names, plain, svg
from attack.results.checkpoints import LossFigures
from attack.results.compared import Advice, Side, SideAdvice, Step

_DASHES: Sequence[Any] = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)))


def _style(number: int, count: int) -> dict[str, Any]:
    """Of line `number` of `count`: from faint to strong, four kinds of dashes."""
    strength = 0.35 + 0.65 * (number / (count - 1) if count > 1 else 1.0)
    return {"color": ACCENT, "alpha": strength, "linewidth": 1.6, "linestyle": _DASHES[number % len(_DASHES)]}


def _grid(plot: Axes, axis: Literal["y", "both"]) -> None:
    """Fine lines behind what is drawn."""
    plot.grid(axis=axis, color=LINE, linewidth=0.6)
    plot.set_axisbelow(True)


def _at(plot: Axes, value: float) -> None:
    """A dotted line at what chance, or nothing, gives."""
    plot.axhline(value, color=MUTED, linewidth=1, linestyle=(0, (2, 3)))


def _steps(plot: Axes, steps: Sequence[int], marks: Mapping[int, Any]) -> None:
    """The axis of training steps, and uprights at `marks`: a kind of dashes by step."""
    plot.set_xscale("log")
    chosen = apart(steps)
    plot.set_xticks(chosen, [f"{step:,}" for step in chosen])
    _grid(plot, "y")
    for step, dashes in marks.items():
        plot.axvline(step, color=INK, linewidth=1, linestyle=dashes)


def apart(steps: Sequence[int], least: float = 0.16) -> list[int]:
    """Of rising steps those that have room for their names on a logarithmic axis: the first and the last, and of the
    others each that is `least` of the axis from the last and from the one before."""
    place = np.log(np.array(steps, float) / steps[0])
    place /= max(place[-1], 1e-9)
    chosen, at = [steps[0]], 0.0
    for step, x in zip(steps[1:-1], place[1:-1].tolist(), strict=True):
        if x - at >= least and 1 - x >= least:
            chosen.append(step)
            at = x
    return chosen if len(steps) == 1 else [*chosen, steps[-1]]


def _curve(
    plot: Axes,
    points: Sequence[tuple[int, float, Sequence[float]]],
    title: str | None = None,
    color: str = ACCENT,
    style: Any = "-",
) -> None:
    """(step, value, its interval) as a line with a band."""
    x = [step for step, _, _ in points]
    plot.fill_between(x, [i[0] for *_, i in points], [i[1] for *_, i in points], color=color, alpha=0.13, linewidth=0)
    plot.plot(x, [v for _, v, _ in points], marker="o", color=color, linestyle=style, markersize=4, label=title)


_SIDES: Sequence[tuple[str, str, str, Any]] = (
    ("whitebox", "from its weights", INK, (0, (4, 2))),
    ("blackbox", "from its images", ACCENT, "-"),
)


@plain
def leakage(rows: Sequence[Step], marks: Mapping[int, Any]) -> Markup:
    """AUC of the black-box attack, and of the strongest with the weights, by training step, with 95 % intervals."""
    figure, plot = axes()
    _at(plot, 0.5)
    for name, title, color, style in _SIDES:
        sides: list[tuple[Step, Side | None]] = [(row, getattr(row, name)) for row in rows]
        known = [(row.step, side.auc, (side.low, side.high)) for row, side in sides if side]
        if known:
            _curve(plot, known, title, color, style)
    plot.set_ylim(top=1.02)
    _steps(plot, [row.step for row in rows], marks)
    names(plot, "training step", "AUC")
    legend(plot, "above")
    return svg(figure, "leakage", "AUC of the attacks by training step")


@plain
def quality(rows: Sequence[Step], marks: Mapping[int, Any]) -> Markup:
    """FD to real slices that no shadow was trained on, by training step."""
    figure, plot = axes()
    _curve(plot, [(row.step, row.fd, row.fd_interval) for row in rows if row.fd is not None and row.fd_interval])
    plot.set_ylim(bottom=0)
    _steps(plot, [row.step for row in rows], marks)
    names(plot, "training step", "FD to unseen slices")
    return svg(figure, "quality", "Frechet distance to real slices by training step")


@plain
def nearness(rows: Sequence[Step], marks: Mapping[int, Any]) -> Markup:
    """Median distance of members and of others to the nearest generated image, by training step."""
    figure, plot = axes()
    for title, color, style, values in (
        ("not used", MUTED, "--", [(row.step, row.others, row.others_interval) for row in rows]),
        ("used", ACCENT, "-", [(row.step, row.members, row.members_interval) for row in rows]),
    ):
        known = [(step, value, limits) for step, value, limits in values if value is not None and limits]
        if known:
            _curve(plot, known, title, color, style)
    plot.set_ylim(bottom=0)
    _steps(plot, [row.step for row in rows], marks)
    names(plot, "training step", "distance to nearest image")
    legend(plot, "above")
    return svg(figure, "nearness", "Distance of used and unused slices to the nearest generated image by step")


@plain
def trade(rows: Sequence[Step], advice: Advice) -> Markup:
    """FD against the upper end of the AUC's interval: a line through the steps, those of Pareto's front filled."""
    figure, plot = axes()
    _at(plot, 0.5)
    for name, title, color, style in _SIDES:
        of_side: SideAdvice | None = getattr(advice, name)
        if of_side is None:
            continue
        points = trajectory.points(rows, name)
        x, y = [point.fd for point in points], [point.high for point in points]
        plot.plot(x, y, linestyle=style, linewidth=1, color=color, label=title)
        named: list[float] = []
        for step, fd, _, high, _ in points:
            kept = step in of_side.front
            plot.plot([fd], [high], "o", color=color, markersize=5, markerfacecolor=color if kept else CARD)
            # where images are best, steps lie close: a name where there is room for it
            if name == "blackbox" and all(abs(fd - other) > 0.09 * max(np.ptp(x), 1e-9) for other in named):
                named.append(fd)
                text, at = f"{step:,}", (fd, high)
                plot.annotate(text, at, (0, -14), textcoords="offset points", ha="center", fontsize=10, color=MUTED)
    plot.margins(x=0.08)
    plot.set_ylim(top=1.02)
    _grid(plot, "both")
    names(plot, "FD to unseen slices", "AUC, upper end")
    legend(plot, "above")
    return svg(figure, "trade", "Quality of the images against what leaks, by training step")


@plain
def losses(named: Sequence[tuple[str, LossFigures]]) -> Markup:
    """How much larger the loss on unseen slices is, by noise power; a line a checkpoint (name, figures)."""
    figure, plot = axes()
    _at(plot, 0)
    for number, (name, found) in enumerate(named):
        style = _style(number, len(named))
        x = np.array(found.noise_power)
        plot.plot(x, [100 * gap.value for gap in found.gap], label=name, **style)
        low, high = [100 * gap.low for gap in found.gap], [100 * gap.high for gap in found.gap]
        plot.fill_between(x, low, high, color=ACCENT, alpha=0.07, linewidth=0)
    plot.set_xscale("log")
    plot.set_xticks([0.01, 0.1, 0.9], ["0.01", "0.1", "0.9"])
    _grid(plot, "y")
    names(plot, "noise power", "loss unseen / seen − 1, %")
    _key(plot, len(named))
    return svg(figure, "losses", "Gap of the denoising loss by noise power")


def _key(plot: Axes, lines: int) -> None:
    """A legend in one or two lines above the plot."""
    plot.legend(
        loc="lower right",
        bbox_to_anchor=(1, 1),
        ncols=min(lines, 6),
        frameon=False,
        fontsize=11,
        labelcolor=INK,
        handlelength=1.5,
        columnspacing=0.9,
        handletextpad=0.4,
        borderaxespad=0.2,
    )


@plain
def spectra(named: Sequence[tuple[str, Sequence[float]]], real: Sequence[float] | None) -> Markup:
    """Log power of the images by radial frequency, above that of real slices where there are any."""
    figure, plot = axes()
    base = np.zeros(len(named[0][1])) if real is None else np.array(real)
    if real is not None:
        _at(plot, 0)
    for number, (name, spectrum) in enumerate(named):
        frequency = np.arange(1, len(spectrum) + 1)
        plot.plot(frequency, np.array(spectrum) - base, label=name, **_style(number, len(named)))
    _grid(plot, "y")
    names(plot, "cycles an image", "log power" if real is None else "log power above real slices")
    _key(plot, len(named))
    return svg(figure, "spectra", "Radial spectrum of the piles")


@plain
def layers(named: Sequence[tuple[str, Sequence[float | None]]], what: str, name: str, top: float | None) -> Markup:
    """One number a layer, in the order of the network; a line a checkpoint."""
    figure, plot = axes()
    for number, (title, values) in enumerate(named):
        y = np.array([np.nan if value is None else value for value in values], float)
        marked: dict[str, Any] = {"marker": "o", "markersize": 3} if len(y) < 20 else {}
        plot.plot(np.arange(1, len(y) + 1), y, label=title, **marked, **_style(number, len(named)))
    if top is not None:
        plot.set_ylim(top=top)
    _grid(plot, "y")
    names(plot, "layer" if name != "blocks" else "block", what)
    _key(plot, len(named))
    return svg(figure, name, f"{what} by layer")


@plain
def heat(matrix: Sequence[Sequence[float | None]], rows: str, columns: str, name: str) -> Markup:
    """CKA of every block of one network with every block of another: the darker, the more alike."""
    figure, plot = axes()
    values = np.array([[np.nan if value is None else value for value in row] for row in matrix], float)
    for y, row in enumerate(values):
        for x, value in enumerate(row):
            if np.isfinite(value):
                plot.fill_between(
                    [x - 0.5, x + 0.5], y - 0.5, y + 0.5, color=ACCENT, alpha=float(np.clip(value, 0, 1)), linewidth=0
                )
    plot.set_xlim(-0.5, values.shape[1] - 0.5)
    plot.set_ylim(-0.5, len(values) - 0.5)
    plot.set_xticks([0, values.shape[1] - 1], ["first", "last"])
    plot.set_yticks([0, len(values) - 1], ["first", "last"])
    names(plot, f"blocks of {columns}", f"blocks of {rows}")
    return svg(figure, name, f"CKA of the blocks of {rows} and {columns}")


@plain
def scatter(first: tuple[str, np.ndarray], second: tuple[str, np.ndarray], name: str) -> Markup:
    """Scores of the same slices by two checkpoints."""
    figure, plot = axes()
    x, y = first[1], second[1]
    plot.plot(x, y, "o", color=MUTED, markersize=4.5, alpha=0.75, label="slices", markeredgewidth=0)
    both = np.concatenate([x, y])
    plot.plot([both.min(), both.max()], [both.min(), both.max()], color=LINE, linewidth=1, zorder=0)
    _grid(plot, "both")
    names(plot, f"score by {first[0]}", f"score by {second[0]}")
    legend(plot, "above")
    return svg(figure, name, f"Scores of the same slices by {first[0]} and {second[0]}")

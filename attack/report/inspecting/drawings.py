"""The plots of the page: gray values and spectra of generated and of real images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes

from attack.report.inspecting.looks import BIN, Look, is_real
from attack.report.plot_style import ACCENT, INK, LINE, MUTED, axes, legend, names, plain, svg

_DASHES: Sequence[Any] = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)))
_GUESS: dict[str, Any] = {"color": MUTED, "linewidth": 1, "linestyle": (0, (2, 3))}


@plain
def grays(looks: Sequence[Look], name: str) -> Markup:
    """Percent of the pixels that are not black by gray value, a line a role; the first is filled."""
    figure, plot = axes()
    edges = np.arange(0, 257, BIN)
    for number, one in enumerate(looks):
        if not number:
            plot.stairs(one.gray, edges, fill=True, color=MUTED, alpha=0.18)
        plot.stairs(one.gray, edges, label=_title(one), **_style(one, number))
    plot.set_ylim(bottom=0)
    plot.set_xticks([0, 64, 128, 192, 255])
    names(plot, "gray value", "% of pixels that are not black")
    _key(plot, len(looks))
    peaks = "; ".join(f"{_title(one)} most often about {BIN * int(one.gray.argmax()) + BIN // 2}" for one in looks)
    return svg(figure, name, f"Histogram of gray values: {peaks}")


@plain
def spectra(looks: Sequence[Look], base: Look, name: str) -> Markup:
    """Power by spatial frequency, as a multiple of that of `base`, a line a role."""
    figure, plot = axes()
    plot.axhline(1, **_GUESS)
    said = []
    for number, one in enumerate(looks):
        count = min(len(one.spectrum), len(base.spectrum))
        ratio = np.exp(one.spectrum[:count] - base.spectrum[:count])
        plot.plot(np.arange(1, count + 1), ratio, label=_title(one), **_style(one, number + 1))
        said.append(f"{_title(one)} at the finest detail {ratio[-1]:.2g} times")
    plot.set_yscale("log")
    low, high = plot.get_ylim()
    plot.set_ylim(min(low, 0.4), max(high, 2.5))
    plot.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    plot.grid(axis="y", color=LINE, linewidth=0.6)
    plot.set_axisbelow(True)
    names(plot, "cycles an image", f"power, times that of {base.name}")
    _key(plot, len(looks))
    return svg(figure, name, f"Spectrum relative to {base.name}: {'; '.join(said)}")


def _title(one: Look) -> str:
    return one.name.replace("_", " ")


def _style(one: Look, number: int) -> dict[str, Any]:
    """Real images in gray and black, generated ones in colour; lines of one kind by their dashes."""
    color = (INK if number else MUTED) if is_real(one) or one.name == "real" else ACCENT
    return {"color": color, "linewidth": 1.7, "linestyle": _DASHES[number % len(_DASHES)]}


def _key(plot: Axes, count: int) -> None:
    if count > 2:  # too long for one line above
        plot.legend(
            loc="lower right",
            bbox_to_anchor=(1, 1),
            ncols=2,
            frameon=False,
            fontsize=11,
            labelcolor=INK,
            handlelength=1.6,
            columnspacing=1.2,
        )
    else:
        legend(plot, "above")

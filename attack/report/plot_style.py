"""What every plot is drawn on: inline SVG whose colours are the page's CSS variables (so they follow a dark page).

Byte-deterministic: no date, fixed hash salt. Drawn 300 units wide with text of 11, to be read
on a phone.
"""

from __future__ import annotations

import functools
import io
import re
from collections.abc import Callable
from typing import Any, ParamSpec

import matplotlib
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

INK, MUTED, LINE, ACCENT, CARD = "#16212b", "#566371", "#d9e0e6", "#0b6b87", "#fefefd"
_NAMES = {INK: "ink", MUTED: "muted", LINE: "line", ACCENT: "accent", CARD: "card"}
P = ParamSpec("P")


def plain(draw: Callable[P, Markup]) -> Callable[P, Markup]:
    """`draw` under matplotlib's own defaults, whatever the user's matplotlibrc says."""

    @functools.wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> Markup:
        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            return draw(*args, **kwargs)

    return drawn


def axes(height: float = 3.1) -> tuple[Figure, Axes]:
    """A figure of `height` inches with one plain plot."""
    figure = Figure(figsize=(300 / 72, height), dpi=72, layout="constrained", facecolor="none")
    plot = figure.add_subplot(facecolor="none")
    plot.spines[["top", "right"]].set_visible(False)
    for side in ("left", "bottom"):
        plot.spines[side].set_color(LINE)
    plot.tick_params(colors=MUTED, labelsize=11, length=3, which="major")
    plot.tick_params(length=0, which="minor", labelsize=0)
    return figure, plot


def names(axes: Axes, x: str, y: str) -> None:
    """What the two axes show."""
    axes.set_xlabel(x, color=MUTED, fontsize=11)
    axes.set_ylabel(y, color=MUTED, fontsize=11)


def legend(axes: Axes, where: str) -> None:
    """`where`: a corner, or `above` the axes in one line."""
    place: dict[str, Any] = {"loc": where}
    if where == "above":
        place = {"loc": "lower right", "bbox_to_anchor": (1, 1), "ncols": 2}
    axes.legend(
        **place, frameon=False, fontsize=11, labelcolor=INK, handlelength=1.6, borderaxespad=0.2, columnspacing=1.2
    )


def svg(figure: Figure, salt: str, alt: str) -> Markup:
    """The figure as an `<svg>` element without ids of its groups, metadata, namespaces or font names."""
    stream = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": f"shadowprint {salt}", "svg.fonttype": "none"}):
        FigureCanvasSVG(figure).print_svg(stream, metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    text = re.sub(r"font: [^;\"]*?([\d.]+px)[^;\"]*", r"font-size: \1", text)
    text = re.sub(r"font-family: [^;\"]*;? ?", "", text)
    text = text.replace("xlink:href", "href")
    for color, name in _NAMES.items():
        text = text.replace(color, f"var(--{name})")
    box = re.search(r'viewBox="[^"]*"', text)
    assert box is not None  # matplotlib always writes one
    head = f'<svg role="img" aria-label="{escape(alt)}" {box.group()}>'
    text = head + text[text.index(">") + 1 :]
    return Markup(re.sub(r"\n\s*", "\n", text).strip())

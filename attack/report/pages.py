"""The templates of all pages, and how they are read: report.html, compare.html and inspect.html look alike."""

from __future__ import annotations

from pathlib import Path

import jinja2

from attack.report import formats

_SHARED = Path(__file__).parent  # style, macros and what every head holds


def template(name: str, folder: Path = _SHARED) -> jinja2.Template:
    """The page `name` of a folder; a figure it asks for and does not get is an error."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([folder, _SHARED]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["percent"] = formats.percent
    return environment.get_template(name)

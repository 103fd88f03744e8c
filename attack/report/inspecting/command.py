"""`launch.py inspect`: looks at a folder, says what it holds, and writes that as a page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from shadow import files
from shadow.config import Config
from shadow.data import inspection
from shadow.errors import UserError

PAGE = "inspect.html"


def inspect(config: Config, given: Mapping[str, object], workdir: Path | None, out: Path | None) -> str:
    """Writes the page, and returns the table to print.

    `given`: options by name that were asked for. The page is `out`, else WORKDIR/inspect.html, else inspect.html here.
    Without `data.root` the challenge in the workdir is looked at. Raises UserError as `inspection.inspect`.
    """
    stored = workdir is not None and (workdir / "config.json").is_file()
    if not config.data.root and workdir is not None and (workdir / "challenge").is_dir():
        config.data.root, private = str(workdir / "challenge"), False
    else:
        private = True
    if not config.data.root:
        raise UserError("data.root is missing: name the folder with --config.data.root=DIR")
    if config.data.piles == "apart":
        raise UserError(
            "data.piles = 'apart': a page is about one pile; name it in data.roles, and leave data.piles out"
        )
    path = out or (workdir or Path()) / PAGE
    if path.is_dir():
        raise UserError(f"--out={path} is a folder: name the file to write")
    said = stored or "data.edition" in given or bool(config.data.roles)
    facts = inspection.inspect(config.data, config.data.edition if said else None)
    from attack.report.inspecting import page  # matplotlib and jinja2 are needed here only

    files.write_text(path, page.render(facts, page.shows_pictures(config, private)))
    return f"{inspection.describe(facts)}\n\n{path}"

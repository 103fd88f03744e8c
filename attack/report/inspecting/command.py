"""`launch.py inspect`: looks at a folder, says what it holds, and writes that as a page."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from shadow import files
from shadow.config import Config, DataConfig
from shadow.data import inspection, mapping
from shadow.errors import UserError

PAGE = "inspect.html"


def inspect(config: Config, given: Mapping[str, object], workdir: Path | None, out: Path | None) -> str:
    """Writes the page, and returns the table to print.

    `given`: options by name that were asked for. The page is `out`, else WORKDIR/inspect.html, else inspect.html here.
    Without `data.root` the challenge in the workdir is looked at. With `data.piles = apart` each pile has a page of its
    own, which has the pile's name in its own. Raises UserError as `inspection.inspect` and `mapping.apart`.
    """
    stored = workdir is not None and (workdir / "config.json").is_file()
    if not config.data.root and workdir is not None and (workdir / "challenge").is_dir():
        config.data.root, private = str(workdir / "challenge"), False
    else:
        private = True
    if not config.data.root:
        raise UserError("data.root is missing: name the folder with --config.data.root=DIR")
    path = out or (workdir or Path()) / PAGE
    if path.is_dir():
        raise UserError(f"--out={path} is a folder: name the file to write")
    if config.data.piles != "apart":
        said = stored or "data.edition" in given or bool(config.data.roles)
        return _page(config, config.data, said, private, path)
    found = mapping.apart(Path(config.data.root), config.data.edition, config.data.roles)
    return "\n\n".join(
        f"pile {name}\n"
        + _page(
            config,
            dataclasses.replace(config.data, piles="together", roles=roles),
            True,
            private,
            path.with_name(f"{path.stem}_{name}{path.suffix}"),
        )
        for name, roles in found.items()
    )


def _page(config: Config, data: DataConfig, said: bool, private: bool, path: Path) -> str:
    """Writes the page about the folders of `data`. said: the user named the edition; else it is found."""
    facts = inspection.inspect(data, data.edition if said else None)
    from attack.report.inspecting import page  # matplotlib and jinja2 are needed here only

    files.write_text(path, page.render(facts, page.shows_pictures(config, private)))
    return f"{inspection.describe(facts)}\n\n{path}"

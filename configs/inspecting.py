"""The flag of `launch.py inspect`, and what it asks for."""

from __future__ import annotations

from pathlib import Path

from absl import flags

from configs import flag
from shadow.config import Config

flags.disclaim_key_flags()  # it belongs to the module that defines it, whose --help names it
_OUT = flags.DEFINE_string("out", "", "the page to write; else WORKDIR/inspect.html, or inspect.html here.")


def inspect(config: Config, workdir: str) -> None:
    """Prints what the folder of the data holds, and writes the page. Raises UserError as the command does."""
    from attack.report.inspecting import command

    out = Path(_OUT.value) if _OUT.value else None
    print(command.inspect(config, flag.overrides(), Path(workdir) if workdir else None, out))

"""The flag --config, with one plain line for a mistake in it."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import config_flags

from configs import home
from shadow.errors import UserError, fail

flags.disclaim_key_flags()  # it belongs to the module that defines it, whose --help names it


def define() -> Any:
    """The holder of --config. On an override that a recipe does not take: one line and exit code 2, as the flag reads
    its default, and the overrides in sys.argv, at once."""
    try:
        return config_flags.DEFINE_config_file("config", _default(), "the recipe; else that of the run in --workdir")
    except (UserError, LookupError) as wrong:
        more = ": the recipe has no such element of fleet.families" if isinstance(wrong, IndexError) else ""
        fail(f"--config: {wrong.args[0]}{more}")


def _default() -> str:
    """What --config is where it is not given: the config of the run in --workdir, or else the demo's."""
    folder, given = Path(__file__).parent, []
    words = home.expand_words(sys.argv)
    for word, after in zip(words, [*words[1:], ""], strict=True):
        name, equals, value = word.lstrip("-").partition("=")
        if name == "workdir" and word.startswith("-"):
            given.append(value if equals else after)
    if given and (Path(given[-1]) / "config.json").exists():
        return f"{folder / 'existing.py'}:{given[-1]}"
    return str(folder / "demo.py")


def overrides() -> dict[str, Any]:
    """The fields given as --config.FIELD=VALUE, by name."""
    return dict(config_flags.get_override_values(flags.FLAGS["config"]))


def parse(argv: list[str]) -> list[str]:
    """The words of `argv` that are no flags. Raises UserError on wrong flags and on a recipe that cannot be loaded."""
    try:
        rest = flags.FLAGS(home.expand_words(argv))
        dataclasses.fields(flags.FLAGS.config)  # a recipe that could not be loaded says so only when it is used
        home.expand_fields(flags.FLAGS.config)
        return rest
    except flags.Error as error:
        raise UserError(str(error)) from error
    except (AttributeError, LookupError, TypeError, ValueError, ImportError, SyntaxError, OSError) as error:
        raise UserError(f"--config: {error}") from error

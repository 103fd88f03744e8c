"""shadowprint: which real slices was a generator of medical images trained on?

python launch.py COMMAND --config=configs/NAME.py --workdir=DIR [--config.field.sub=value ...]
"""

from __future__ import annotations

import sys

from absl import app, logging

from configs import commands, flag, helping, options
from shadow.errors import UserError, exits

_HELP = {"-h", "-help", "--help", "-helpshort", "--helpshort"}


def _help(words: list[str]) -> str:
    """All commands, or the one that is asked about."""
    asked = [word for word in words if not word.startswith("-") and word != "help"]
    return helping.explanation(commands.named(asked[0])) if asked else helping.overview()


def main(argv: list[str]) -> None:
    if len(argv) < 2 or argv[1] == "help":
        return print(_help(argv[1:]))
    command = commands.named(argv[1])
    if len(argv) > 2:
        raise UserError(f"{command.name} takes no further word: {argv[2]!r}; options start with --")
    logging.use_python_logging(quiet=True)
    logging.set_verbosity(logging.WARNING)  # libraries talk at INFO (matplotlib a line a label)
    return commands.carry_out(command)


def cli() -> None:
    with exits(lambda: options.WORKDIR.value or options.TO.value):
        if _HELP & set(sys.argv[1:]):  # before absl's own help, which lists every field and ends with code 1
            print(_help(sys.argv[1:]))
        else:
            app.run(main, flags_parser=flag.parse)


if __name__ == "__main__":
    cli()

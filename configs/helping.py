"""The text of `launch.py help`, made from the table of commands."""

from __future__ import annotations

import textwrap

from configs import options
from configs.commands import COMMANDS, Command

_WIDTH = 100
_USAGE = "python launch.py COMMAND [--config=configs/NAME.py] [--workdir=DIR] [--config.FIELD=VALUE ...]"


def overview() -> str:
    """Lists all commands, each with an example."""
    lines = [
        "shadowprint: which real slices was a generator of medical images trained on?",
        "",
        f"Usage: {_USAGE}",
        "",
        "`python launch.py help COMMAND` says more of one command. Recipes are in configs/, and every option of",
        "a run is in shadow/config.py. Exit codes: 0 done, 2 your mistake (one line on stderr), 1 a defect of",
        "ours, 143 stopped with its work saved.",
    ]
    groups = dict.fromkeys(command.group for command in COMMANDS.values())
    for group in groups:
        lines += ["", group]
        for command in (command for command in COMMANDS.values() if command.group == group):
            lines += [f"  {command.name:10} {command.does}", f"{'':13}  {_example(command)}"]
    return "\n".join(lines)


def explanation(command: Command) -> str:
    """Explains one command: what it does, an example, and the options that it reads."""
    lines = [f"{command.name}: {command.does}", "", *textwrap.wrap(command.more, _WIDTH)]
    lines += ["", f"Example: {_example(command)}", "", "Flags"]
    lines += [f"  --{name:12} {options.meaning(name)}" for name in command.flags]
    if command.fields:
        first = command.fields[0]
        option = first if "." in first else f"{first}.NAME"
        said = f"{', '.join(command.fields)}. Give one as --config.{option}=VALUE; all are in shadow/config.py."
        indent = "  "
        lines += ["", "Options of a run that it depends on, besides those of the steps before it"]
        lines += textwrap.wrap(said, _WIDTH, initial_indent=indent, subsequent_indent=indent)
    return "\n".join(lines)


def _example(command: Command) -> str:
    return f"python launch.py {command.example}"

"""`~` in paths that a user gives. A shell expands it in `cp ~/a b`, and leaves it as it is in `--workdir=~/a`."""

from __future__ import annotations

import os
from collections.abc import Sequence

from shadow.config import Config

# Every flag that holds a path, every one that holds paths between commas, every field of a config that holds a path.
FLAGS = (
    "config",
    "workdir",
    "predictions",
    "truth",
    "json",
    "submission",
    "checkpoint",
    "pipeline",
    "source",
    "to",
    "out",
)
LISTS = ("reuse", "checkpoints")
FIELDS = ("data.root", "data.patients", "challenge.pool", "challenge.patients", "attack.embeddings_from")


def expand_words(words: Sequence[str]) -> list[str]:
    """Expands `~` at the start of every path among the words of a command line: `--to=~/a` and `--to ~/a`."""
    found, before = [], ""  # the flag whose value the next word is
    for word in words:
        is_flag = word.startswith("-")
        name, equals, value = word.lstrip("-").partition("=") if is_flag else (before, "", word)
        found.append(word[: len(word) - len(value)] + _expand(name, value))
        before = name if is_flag and not equals else ""
    return found


def expand_fields(config: Config) -> None:
    """Expands `~` at the start of every path in a config, whether a recipe or an override gave it."""
    for field in FIELDS:
        part, name = field.split(".")
        section = getattr(config, part)
        setattr(section, name, os.path.expanduser(getattr(section, name)))


def _expand(flag: str, value: str) -> str:
    """The value of a flag; that of a flag without paths stays as it is."""
    if flag in LISTS:
        return ",".join(map(os.path.expanduser, value.split(",")))
    return os.path.expanduser(value) if flag in FLAGS else value

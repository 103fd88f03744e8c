"""Flags of `launch.py`, but for --config (`configs/flag.py`) and those of `convert` (`configs/converting.py`).

Which command reads which flag says the table in `configs/commands.py`.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

from absl import flags

from configs import flag
from shadow.errors import UserError

flags.disclaim_key_flags()  # they belong to the module that defines them, whose --help names them
CONFIG = flag.define()
WORKDIR = flags.DEFINE_string("workdir", "", "the folder of the run")
PACK = flags.DEFINE_integer("pack", None, "this pack only, in this process", 0)
DRY_RUN = flags.DEFINE_bool("dry_run", False, "print what the run will cost, and write nothing")
MULTIHOST = flags.DEFINE_string(
    "multihost", "", "the batch of a pack over several processes: auto, or HOST:PORT,NUMBER,COUNT"
)
EXECUTOR = flags.DEFINE_enum("executor", "local", ["local", "slurm"], "who does the packs")
REUSE = flags.DEFINE_list("reuse", [], "folders of runs whose packs are taken where they match")
PREDICTIONS = flags.DEFINE_string("predictions", "", "predictions.csv of a run")
TRUTH = flags.DEFINE_string("truth", "", "csv id,label[,group], 1 = used")
JSON = flags.DEFINE_string("json", "", "also write every figure to this file")
SUBMISSION = flags.DEFINE_string("submission", "", "the file to check")
EDITION = flags.DEFINE_string("edition", "2023", "whose format")
CHECKPOINT = flags.DEFINE_string("checkpoint", "", "the shadow, RUN/shadows/0003[@STEP][:raw]")
CHECKPOINTS = flags.DEFINE_list("checkpoints", [], "RUN/shadows/0003[@STEP][:raw] or diffusers folders, by commas")
PIPELINE = flags.DEFINE_string("pipeline", "", "the folder of a diffusers pipeline")
TO = flags.DEFINE_string("to", "", "the folder to write")


def given(asked: Any) -> Any:
    """The value of a flag that the command cannot do without."""
    if not asked.value:
        raise UserError(f"--{asked.name} is missing: {flags.FLAGS[asked.name].help}")
    return asked.value


def folder(asked: Any) -> Path:
    """The folder that a flag names. Raises UserError where the flag is missing."""
    return Path(given(asked))


def is_given(name: str) -> bool:
    """Is the flag on the command line? "config" is --config=RECIPE, "config.FIELD" any field of it."""
    if name == "config.FIELD":
        return bool(flag.overrides())
    if name == "config":
        return not flags.FLAGS["config"].using_default_value
    return bool(flags.FLAGS[name].present)


def meaning(name: str) -> str:
    """What a flag means, and where it takes one of a few values, which."""
    if name == "config.FIELD":
        return "an option of the recipe, as --config.train.steps=500"
    defined = flags.FLAGS[name]
    choices = getattr(defined.parser, "enum_values", None)
    text = defined.help.partition(">: ")[2] if choices else defined.help
    return f"{text}: {' or '.join(choices)}" if choices else text


def words_after(command: str) -> str:
    """The flags of this command line as one types them, for the next command of the same run."""
    words = sys.argv[1:]
    words.remove(command)
    return shlex.join(words)

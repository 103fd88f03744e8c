"""Flags of `launch.py convert`, and what they ask for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from shadow.errors import UserError

if TYPE_CHECKING:
    from shadow.convert.values import Rule

flags.disclaim_key_flags()  # they belong to the module that defines them, whose --help names them
_SOURCE = flags.DEFINE_string("source", "", "the folder or archive of DICOM, NIfTI, arrays or pictures")
_WINDOW = flags.DEFINE_list("window", [], "values that become black and white, LOW,HIGH")
_SHAPE = flags.DEFINE_enum("shape", "refuse", ["refuse", "pad", "crop"], "what becomes of oblong slices")
_COLOUR = flags.DEFINE_enum("colour", "refuse", ["refuse", "luminance"], "what becomes of colours")
_UNREADABLE = flags.DEFINE_enum(
    "unreadable", "refuse", ["refuse", "leave_out"], "what becomes of files that are images by their names alone"
)
_SALT = flags.DEFINE_string("salt", "", "words to hash patients' ids with; else random, and kept nowhere")


def convert(folder: str) -> None:
    """Converts what is below --source into a new folder. Raises UserError as `shadow.convert.folder.convert`."""
    from shadow.convert import folder as folders

    if not _SOURCE.value:
        raise UserError("--source is missing: name the folder or archive of DICOM, NIfTI, arrays or pictures")
    print(folders.convert(Path(_SOURCE.value), Path(folder), rule()))


def rule() -> Rule:
    """What the flags ask for. Raises UserError on a window that is none."""
    from shadow.convert.values import Rule

    window = None
    if _WINDOW.value:
        try:
            low, high = map(float, _WINDOW.value)
        except ValueError as error:
            raise UserError(f"--window={','.join(_WINDOW.value)}: give two numbers, LOW,HIGH") from error
        if not -1e30 < low < high < 1e30:
            raise UserError(f"--window={','.join(_WINDOW.value)}: the first number must be below the second")
        window = low, high
    return Rule(window, _SHAPE.value, _COLOUR.value, _SALT.value, _UNREADABLE.value)

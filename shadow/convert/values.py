"""One slice as it was stored, and the one rule by which any becomes 8-bit gray and square."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shadow.errors import UserError

MOST_VALUES = 1 << 31  # of one file, all slices together: a bigger header is damage, or an attack
MOST_PIXELS = 1 << 26  # of one slice, as in PNG files of a run
_LUMINANCE = (0.299, 0.587, 0.114)  # of red, green and blue, ITU-R BT.601


@dataclass(frozen=True)
class Rule:
    """What is asked of a conversion, the same for every file.

    window: the values that become black and white; None: those of the file's kind, where it has a habit. shape: refuse
    | pad | crop of oblong slices. colour: refuse | luminance. salt: words that patients' names are hashed with.
    unreadable: refuse | leave_out of files that hold images by their names and by their content none that is read here.
    """

    window: tuple[float, float] | None = None
    shape: str = "refuse"
    colour: str = "refuse"
    salt: str = ""
    unreadable: str = "refuse"


@dataclass(frozen=True)
class Slice:
    """`values`: [height, width], or [height, width, 3] of colours; uint8 is shown as it is, all else through a window.

    `window`: the (lowest, highest) value that is told apart where none was asked for; None: there is no such habit.
    `inverted`: low values are white. `patient`: whatever names the patient, in the clear; empty where nothing does.
    `said`: what was done to it already.
    """

    values: np.ndarray
    said: tuple[str, ...]
    window: tuple[float, float] | None = None
    patient: str = ""
    inverted: bool = False


@dataclass(frozen=True)
class LeftOut:
    """A slice of a file that is no slice for a run, and why: a whole sentence's end, after the file's name."""

    why: str


@dataclass(frozen=True)
class Shown:
    """`gray`: uint8 [side, side]; `said`: all that was done to get there, in words."""

    gray: np.ndarray
    said: str


def show(piece: Slice, rule: Rule, where: str) -> Shown:
    """8-bit gray and square, as the rule says. Raises UserError naming the file `where` and the option that helps."""
    values, said = piece.values, list(piece.said)
    if values.ndim == 3:
        if (values[..., :1] == values).all():
            values = values[..., 0]
            said.append("gray in three channels")
        elif rule.colour == "luminance":
            values = np.rint(values @ np.array(_LUMINANCE)).astype(np.uint8)
            said.append("luminance of colours")
        else:
            raise UserError(f"{where}: has colours; --colour=luminance makes them gray")
    if values.dtype != np.uint8:
        window = rule.window or piece.window
        if window is None:
            raise UserError(
                f"{where}: holds values from {values.min():g} to {values.max():g}; say which are black and white with "
                "--window=LOW,HIGH"
            )
        if not np.isfinite(values).all():
            raise UserError(f"{where}: holds values that are not finite; mend the file")
        low, high = window
        share = ((values.astype(np.float64) - low) / (high - low)).clip(0, 1)
        values = np.rint(255 * (1 - share if piece.inverted else share)).astype(np.uint8)
        said.append(f"window {low:g} to {high:g}")
    elif piece.inverted:
        values = 255 - values
    if piece.inverted:
        said.append("inverted")
    if values.shape[0] != values.shape[1]:
        said.append(f"{rule.shape} from {values.shape[1]} x {values.shape[0]}")
        values = _squared(values, rule.shape, where)
    return Shown(np.ascontiguousarray(values), "; ".join(said) or "as stored")


def _squared(gray: np.ndarray, how: str, where: str) -> np.ndarray:
    height, width = gray.shape
    if how == "crop":
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        return gray[top : top + side, left : left + side]
    if how == "pad":
        side = max(height, width)
        if side * side > MOST_PIXELS:
            raise UserError(
                f"{where}: {width} x {height} pixels, too long to be made square; --shape=crop, or save it anew"
            )
        result = np.zeros((side, side), np.uint8)
        top, left = (side - height) // 2, (side - width) // 2
        result[top : top + height, left : left + width] = gray
        return result
    raise UserError(f"{where}: {width} x {height} pixels; --shape=pad or --shape=crop makes slices square")


def check_size(shape: tuple[int, ...], where: str) -> None:
    """Refuses what no file of slices holds, before it is unpacked. Raises UserError."""
    if np.prod([int(side) for side in shape], dtype=object) > MOST_VALUES:
        raise UserError(
            f"{where}: {' x '.join(map(str, shape))} values, more than any file of slices has; save it anew"
        )

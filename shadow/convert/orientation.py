"""How a slice of DICOM lies in the body: only axial ones are for a run, and all of those are seen the same way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from shadow.errors import UserError

_PLANES = ("sagittal", "coronal", "axial")  # by the axis of the body that the plane is across: left, back, head
_LOOSE = 0.05  # by how much a direction's length may be off 1, and two directions off a right angle


@dataclass(frozen=True)
class Plane:
    """`right`, `down`: directions of the body [left, back, head] in which columns and rows of the picture go on."""

    right: tuple[float, float, float]
    down: tuple[float, float, float]

    @property
    def name(self) -> str:
        """The plane of the body that is nearest: axial where it is tilted by less than 45 degrees."""
        return _PLANES[int(np.abs(np.cross(self.right, self.down)).argmax())]


def plane(numbers: Sequence[float], where: str) -> Plane:
    """The six numbers of ImageOrientationPatient. Raises UserError where they are no two directions at right angles."""
    values = np.array([float(number) for number in numbers])
    right, down = values[:3], values[3:]
    sound = values.shape == (6,) and bool(np.isfinite(values).all())
    if sound:
        lengths = np.array([np.linalg.norm(right), np.linalg.norm(down)])
        sound = bool((np.abs(lengths - 1) <= _LOOSE).all()) and abs(float(right @ down)) <= _LOOSE
    if not sound:
        given = ", ".join(f"{value:g}" for value in values)
        raise UserError(f"{where}: its ImageOrientationPatient ({given}) is no orientation; export it again")
    return Plane(tuple(right.tolist()), tuple(down.tolist()))


def standard(picture: np.ndarray, lies: Plane) -> np.ndarray:
    """An axial picture [height, width, ...] with the patient's right at the left and the front at the top."""
    right, down = lies.right, lies.down
    if abs(right[0]) < abs(right[1]):  # columns go from front to back
        picture, right, down = picture.swapaxes(0, 1), down, right
    if right[0] < 0:
        picture = picture[:, ::-1]
    return picture[::-1] if down[1] < 0 else picture

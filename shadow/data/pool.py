"""The real slices that a challenge of our own deals out: a folder of the user's, each picture once."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from absl import logging

from shadow.config import ChallengeConfig
from shadow.data import decoding, groups, listing
from shadow.errors import UserError


@dataclass(frozen=True)
class Pool:
    """Real (or phantom) slices, uint8 [image, height, width], with a group each."""

    images: np.ndarray
    groups: list[str]
    names: list[str]


def folder_pool(config: ChallengeConfig) -> Pool:
    """All PNGs below a folder, in natural order and each picture once; a csv of patients must name every file.

    Of files with the same picture the first is taken: dealt apart, one picture would be used and not used at once.
    What is left out, and files of other kinds, is logged as a warning. Raises UserError where there is no folder or no
    slice, on slices of several sizes, and as `listing.below`, `decoding.read_gray` and `groups.patients_from_csv`.
    """
    root = Path(config.pool)
    if not root.is_dir():
        raise UserError(f"challenge.pool = {root}: no such folder (or write 'phantom')")
    found, others = listing.below(root, ".png")
    ids = [groups.image_id(path.name) for path in found]
    patient: dict[str, str] = {}
    if config.patients:
        count = Counter(ids)
        twice = next((path for path, name in zip(found, ids, strict=True) if count[name] > 1), None)
        if twice:
            raise UserError(f"{twice}: challenge.patients goes by file name, and another folder has this one too")
        patient = groups.patients_from_csv(Path(config.patients), ids)
    if not found:
        raise UserError(f"challenge.pool = {root}: no PNG slices there that can be used")
    if others:
        logging.warning("%s is no .png file and is left out (%d files in all)", others[0], len(others))
    images = [decoding.read_gray(path)[0] for path in found]
    for path, image in zip(found, images, strict=True):
        if image.shape != images[0].shape:
            raise UserError(
                f"{path}: {image.shape[1]}x{image.shape[0]} pixels, its fellows {images[0].shape[1]}x"
                f"{images[0].shape[0]}; bring the pool to one size"
            )
    kept = _first_of_each(found, images)
    names = [path.relative_to(root).as_posix() for path in found]
    # without a csv every image is a group of its own: file names may repeat between folders
    return Pool(
        np.stack([images[i] for i in kept]), [patient.get(ids[i], names[i]) for i in kept], [names[i] for i in kept]
    )


def _first_of_each(paths: list[Path], images: list[np.ndarray]) -> list[int]:
    """Rows of the images, all of one size, without those that repeat an earlier one."""
    first: dict[bytes, int] = {}
    copies = []
    for row, image in enumerate(images):
        earlier = first.setdefault(hashlib.sha256(image.tobytes()).digest(), row)
        if earlier != row:
            copies.append((earlier, row))
    if copies:
        earlier, row = copies[0]
        logging.warning(
            "%s is the same picture as %s and is left out (%d files in all repeat an earlier one)",
            *(paths[row], paths[earlier], len(copies)),
        )
    return list(first.values())

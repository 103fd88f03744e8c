"""Embeddings from elsewhere: vectors of every image that is measured, made by an encoder of the user's own.

`write_images` writes those images as PNG files with a csv of their ids; `read` takes an NPZ of vectors by these ids. A
real image has its id of the manifest, image i of a pile `PILE/0000i`, with PILE as in `signals/names.json`.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NoReturn

import numpy as np
from PIL import Image

from attack.evidence.attack_data import AttackData
from shadow import files, tables
from shadow.errors import UserError

FIELD = "attack.embeddings_from"
_SAVE = "save `id` and `vector` again with numpy.savez"
_AGAIN = "write the images anew with `launch.py images` and embed those"
_FARTHEST = 1e6  # of a vector, in standard deviations of the dev images: squares of float32 bear it


@dataclass(frozen=True, eq=False)
class Supplied:
    """Vectors of a user's own encoder.

    real: float32 [image, feature], as `AttackData.images`; piles: float32 [image, feature] of each pile, by its name.

    The mean of the dev images is taken away and everything divided by one number, the root mean square distance of dev
    images from it. Neither changes a ratio of two distances; they serve rounding, and the floor under a distance.
    """

    real: np.ndarray
    piles: Mapping[str, np.ndarray]


def grey_levels(images: np.ndarray) -> np.ndarray:
    """uint8 of images in grey levels 0 to 255: what a PNG holds, and a shadow's pile."""
    return images if images.dtype == np.uint8 else np.rint(np.clip(images, 0, 255)).astype(np.uint8)


def _all_images(attack_data: AttackData) -> Iterator[tuple[list[str], np.ndarray]]:
    """(ids, uint8 [image, side, side]) of the real images and of each pile."""
    yield list(attack_data.ids), grey_levels(attack_data.images)
    for pile in attack_data.piles:
        yield _ids_of(pile.name, pile.seen), grey_levels(pile.whole())


def _ids_of(pile: str, count: int) -> list[str]:
    return [f"{pile}/{i:05d}" for i in range(count)]


def _digest(image: np.ndarray) -> str:
    return hashlib.sha256(image.tobytes()).hexdigest()


def write_images(attack_data: AttackData, folder: Path) -> int:
    """Writes ID.png of every image that is measured, 8 bits, and `images.csv` with id and the SHA-256 of the pixels;
    returns how many. The folder is whole or absent."""
    part, rows = folder.with_name(f".{folder.name}.part"), []
    if part.exists():
        shutil.rmtree(part)  # of a killed process
    for ids, images in _all_images(attack_data):
        for name, image in zip(ids, images, strict=True):
            path = part / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
            rows.append((name, _digest(image)))
    files.write_csv(part / "images.csv", ("id", "sha256"), rows)
    os.replace(part, folder)
    return len(rows)


def read(path: Path, attack_data: AttackData) -> Supplied:
    """The vectors of all images of the attack_data.

    Raises UserError where the file is no NPZ with `id` (str [image]) and `vector` (floats [image, feature]), holds an
    image's id twice, one that is no image here, or lacks one; where a number is not finite or a vector far from all
    others; where all dev images have one vector; and, if it has an array `sha256` too (str [image], as in images.csv),
    where that of an image is another.
    """
    arrays = _arrays(path)
    names, vectors = np.array([tables.normal(name) for name in arrays["id"].tolist()], np.str_), arrays["vector"]
    row = _rows(
        path, names.tolist(), [*attack_data.ids, *(i for p in attack_data.piles for i in _ids_of(p.name, p.seen))]
    )
    bad = np.flatnonzero(~np.isfinite(vectors).all(1))
    if len(bad):
        _refuse(
            path, f"the vector of {names[bad[0]]} is not finite ({len(bad)} in all); mend the encoder, and embed again"
        )
    if "sha256" in arrays:
        _check_pixels(path, attack_data, dict(zip(names.tolist(), arrays["sha256"].tolist(), strict=True)))
    known = vectors[[row[name] for name in attack_data.ids[: attack_data.dev]]].astype(np.float64)
    mean = known.mean(0)
    scale = np.sqrt(((known - mean) ** 2).sum(1).mean())
    if not scale > 1e-6 * np.abs(mean).max():  # no more than rounding
        _refuse(path, "all dev slices have the same vector, which tells nothing; use another encoder")

    def taken(ids: list[str]) -> np.ndarray:
        found = (vectors[[row[name] for name in ids]] - mean) / scale
        far = np.flatnonzero((np.abs(found) > _FARTHEST).any(1))
        if len(far):
            _refuse(
                path,
                f"the vector of {ids[far[0]]} lies more than {_FARTHEST:.0e} standard deviations away; embed it again",
            )
        return found.astype(np.float32)

    return Supplied(taken(list(attack_data.ids)), {p.name: taken(_ids_of(p.name, p.seen)) for p in attack_data.piles})


def _refuse(path: Path, why: str) -> NoReturn:
    raise UserError(f"{FIELD} = {path}: {why}")


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of the file, of the right types and shapes."""
    try:
        stream = path.open("rb")
    except OSError as error:
        _refuse(path, f"cannot read this file: {error.strerror or error}")
    with stream:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Python's, of what a damaged header looks like
                found = _loaded(path, stream)
        except UserError:
            raise
        except (NotImplementedError, RuntimeError) as error:  # of zipfile, on entries that NumPy did not write
            _refuse(path, f"was packed by another program ({error}); {_SAVE}")
        except Exception as error:  # a damaged file makes zipfile and NumPy raise nearly anything
            if "allow_pickle" in str(error):
                _refuse(path, "is or holds a pickle; save `id` as an array of str and `vector` as one of float32")
            _refuse(path, f"is no readable NPZ file ({error}); {_SAVE}")
    for name in ("id", "vector"):
        if name not in found:
            _refuse(path, f"has no array {name!r}; {_SAVE}")
    if extra := sorted(found.keys() - {"id", "vector", "sha256"}):
        _refuse(path, f"has an array {extra[0]!r}; known are id, vector and sha256; {_SAVE}")
    vectors = found["vector"]
    if vectors.ndim != 2 or not vectors.shape[1] or vectors.dtype.kind != "f":
        _refuse(path, f"vector is {vectors.dtype} {vectors.shape}, not float32 [image, feature]; {_SAVE}")
    for name in sorted(found.keys() & {"id", "sha256"}):
        if found[name].ndim != 1 or found[name].dtype.kind != "U":
            _refuse(path, f"{name} is {found[name].dtype} {found[name].shape}, not str [image]; {_SAVE}")
        if len(found[name]) != len(vectors):
            _refuse(path, f"has {len(found[name])} {name} and {len(vectors)} vectors; {_SAVE}")
    with np.errstate(over="ignore"):  # what float32 does not hold is not finite, and named
        found["vector"] = vectors.astype(np.float32)
    return found


def _loaded(path: Path, stream: IO[bytes]) -> dict[str, np.ndarray]:
    """All arrays of the file. Raises UserError, and whatever a damaged file makes NumPy raise."""
    archive = np.load(stream, allow_pickle=False)
    if isinstance(archive, np.ndarray):
        _refuse(path, f"holds one array; {_SAVE}")
    if len(set(archive.files)) < len(archive.files):
        _refuse(path, f"holds an array twice; {_SAVE}")
    found = {}
    for name in archive.files:
        try:
            array = archive[name]
        except MemoryError:  # of a header that is damaged, or of an attack
            _refuse(path, f"{name} says that it is larger than the memory; {_SAVE}")
        if not isinstance(array, np.ndarray):
            _refuse(path, f"{name} is no array; {_SAVE}")
        found[name] = array
    return found


def _rows(path: Path, given: list[str], wanted: list[str]) -> dict[str, int]:
    """The row of each id. Raises UserError where `given` are not `wanted`, in any order."""
    row = {name: i for i, name in enumerate(given)}
    twice = [name for i, name in enumerate(given) if row[name] != i]
    here = set(wanted)
    missing, foreign = [name for name in wanted if name not in row], [name for name in given if name not in here]
    for names, what in ((twice, "twice"), (missing, "not at all"), (foreign, "though there is no such image here")):
        if names:
            _refuse(path, f"holds {names[0]} {what} ({len(names)} such ids); {_AGAIN}")
    return row


def _check_pixels(path: Path, attack_data: AttackData, digests: Mapping[str, str]) -> None:
    for ids, images in _all_images(attack_data):
        for name, image in zip(ids, images, strict=True):
            if digests[name] != _digest(image):
                _refuse(path, f"{name} was another image when it was embedded; {_AGAIN}")

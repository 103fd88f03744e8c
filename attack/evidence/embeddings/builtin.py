"""Image -> vector, such that the Euclidean distance of two vectors is a root mean square over pixels.

Here are the embeddings that see one image alone; `spaces` has also the one that the user supplies.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from shadow.config import SUPPLIED, AttackConfig
from shadow.data.decoding import resize
from shadow.errors import UserError

_PIXELS = 2**23  # of images that are embedded at a time
_LOCAL = 5  # pixels a side of the local mean that `highpass` takes away


def standardised(images: np.ndarray) -> np.ndarray:
    """Each image with mean 0 and standard deviation 1 (a constant image becomes 0), divided by sqrt(pixels).

    images: [image, height, width] in any unit. Returns float32 [image, pixel]. The squared distance of two such
    vectors is 2 (1 - correlation), between 0 and 4.
    """
    flat = np.asarray(images, np.float64).reshape(len(images), -1)
    flat = flat - flat.mean(1, keepdims=True)
    norm = np.linalg.norm(flat, axis=1, keepdims=True)
    # rounding leaves a constant image some 1e-12 of norm: that is no structure
    return np.divide(flat, norm, out=np.zeros_like(flat), where=norm > 1e-6).astype(np.float32)


def reduced(images: np.ndarray, side: int) -> np.ndarray:
    """Standardised pixels of the images at side x side, by the mean of each box."""
    return standardised(resize(images, side))


def detail(images: np.ndarray) -> np.ndarray:
    """Each image minus its local mean over 5 x 5 pixels, float64 [image, height, width]."""
    images = np.asarray(images, np.float64)
    return images - ndimage.uniform_filter(images, (0, _LOCAL, _LOCAL), mode="nearest")


def highpass(images: np.ndarray) -> np.ndarray:
    """Standardised detail, where memorisation shows first."""
    return standardised(detail(images))


def laplacian(images: np.ndarray) -> np.ndarray:
    """Standardised second differences: each pixel against its four neighbours (an edge pixel is its own neighbour
    beyond the edge). Slices of one patient differ in them as much as slices of two, a copy does not."""
    images = np.asarray(images, np.float64)
    return standardised(sum(ndimage.correlate1d(images, (1, -2, 1), axis, mode="reflect") for axis in (1, 2)))


class Embedding(NamedTuple):
    """embed(images [image, side, side]) -> pictures, float32 [image, side * side]; None for vectors that are given.

    side: pixels that images must have at least.
    """

    embed: Callable[[np.ndarray], np.ndarray] | None
    side: int = 1


EMBEDDINGS: dict[str, Embedding] = {
    "pixels": Embedding(standardised),
    **{f"pixels{side}": Embedding(partial(reduced, side=side), side=side) for side in (16, 32, 64)},
    "highpass": Embedding(highpass),
    "laplacian": Embedding(laplacian),
    SUPPLIED: Embedding(None),
}


def names(attack: AttackConfig) -> tuple[str, ...]:
    """Embeddings of a run: those of attack.embeddings, and `supplied` where attack.embeddings_from is given."""
    return (*attack.embeddings, *((SUPPLIED,) if attack.embeddings_from else ()))


def check(name: str, resolution: int) -> None:
    """Raises UserError for an unknown name, and for one that needs larger images than resolution x resolution."""
    if name not in EMBEDDINGS:
        raise UserError(f"attack.embeddings: {name!r} is not known; choose from {', '.join(EMBEDDINGS)}")
    if EMBEDDINGS[name].side > resolution:
        raise UserError(f"attack.embeddings: {name!r} is larger than data.resolution = {resolution}; leave it out")


def embed(name: str, images: np.ndarray) -> np.ndarray:
    """float32 [image, feature] of images [image, height, width] in grey levels. Raises UserError as `check`, and
    ValueError for the embedding whose vectors are given."""
    check(name, images.shape[-1])
    found = EMBEDDINGS[name].embed
    if found is None:
        raise ValueError(f"{name} is not a function of an image alone")
    return found(images)


def in_parts(function: Callable[[np.ndarray], np.ndarray], images: np.ndarray) -> np.ndarray:
    """function(images [image, side, side]), [image, feature], of an image each, some images at a time: what it
    keeps in between, in float64, is several times the result."""
    step = max(1, _PIXELS // images[0].size)
    first = function(images[:step])
    if len(images) <= step:
        return first
    result = np.empty((len(images), first.shape[1]), first.dtype)
    result[:step] = first
    for start in range(step, len(images), step):
        result[start : start + step] = function(images[start : start + step])
    return result

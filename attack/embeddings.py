"""Image -> vector, such that the Euclidean distance of two vectors is a root mean square over pixels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import ndimage

from shadow.errors import UserError

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


def detail(images: np.ndarray) -> np.ndarray:
    """Each image minus its local mean, float64 [image, height, width]."""
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


EMBEDDINGS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "pixels": standardised,
    "highpass": highpass,
    "laplacian": laplacian,
}


def check(name: str) -> None:
    """Raises UserError for an unknown name."""
    if name not in EMBEDDINGS:
        raise UserError(f"attack.embeddings: {name!r} is not known; choose from {', '.join(EMBEDDINGS)}")


def embed(name: str, images: np.ndarray) -> np.ndarray:
    """float32 [image, feature] of images [image, height, width]. Raises UserError for an unknown name."""
    check(name)
    return EMBEDDINGS[name](images)


def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Euclidean distances float32 [len(a), len(b)].

    Row i is the same to the last bit whatever the other rows of `a` are: it is one product of the matrix b with one
    vector. In a product of two matrices a BLAS rounds by the matrices' shape and the row's place in them, and the
    score of a candidate would depend, in its last digits, on who else is scored.
    """
    norms_a, norms_b = (a**2).sum(1), (b**2).sum(1)
    result = np.empty((len(a), len(b)), np.float32)
    vector = np.empty(a.shape[1], np.float32)  # always the same memory, so the same alignment
    for i in range(len(a)):
        vector[:] = a[i]
        result[i] = np.sqrt(np.maximum(norms_a[i] + norms_b - 2 * (b @ vector), 0))
    return result

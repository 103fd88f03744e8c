"""Principal components of images, whitened."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh

from attack.evidence.embeddings.builtin import standardised
from attack.evidence.embeddings.distances import products

MOST = 32  # components
_ROUNDING = 1e-6  # of the largest variance: below, a component is noise of float32


@dataclass(frozen=True)
class Basis:
    """mean: float32 [pixel]; axes: float32 [component, pixel], each over the standard deviation of the images along it,
    0 where they have none."""

    mean: np.ndarray
    axes: np.ndarray

    def embed(self, images: np.ndarray) -> np.ndarray:
        """float32 [image, component] of images [image, side, side]; a row is of its image alone, to the last bit."""
        return products(standardised(images) - self.mean, self.axes)


def components(images: int) -> int:
    """Components that so many images can carry: their variances are estimated from two images each at least."""
    return max(1, min(MOST, images // 2))


def fit(images: np.ndarray, count: int) -> Basis:
    """The `count` largest components of the standardised pixels of images [image, side, side].

    More than the images span, or their rounding bears, are 0. ValueError without images.
    """
    if not len(images):
        raise ValueError("principal components of no image")
    vectors = standardised(images).astype(np.float64)
    mean = vectors.mean(0)
    vectors -= mean
    values, left = eigh(vectors @ vectors.T)
    values, left = values[::-1][:count], left[:, ::-1][:, :count]
    kept = values > max(1e-9, _ROUNDING * values[0])
    axes = np.zeros((count, vectors.shape[1]))
    scale = np.sqrt(max(len(images) - 1, 1)) / values[kept]
    axes[np.flatnonzero(kept)] = (vectors.T @ left[:, kept] * scale).T
    return Basis(mean.astype(np.float32), axes.astype(np.float32))

"""The images that baselines see, and what several of them measure on those, each once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from scipy.linalg import eigh

from attack.evidence.embeddings.builtin import embed
from attack.evidence.embeddings.distances import distances
from attack.evidence.embeddings.ssim import ssim_all

ALL_PAIRS = 10_000 * 64 * 64  # pixels of a pile up to which SSIM is computed of all pairs
SSIM_NEAREST = 200  # of a larger pile: with this many images that are nearest by "pixels"
_SAMPLE = 200  # generated images, evenly spaced, that stand for the pile where pairs of them are averaged
_FITTED = 500  # images of the pile, and of the reference, that principal components are fitted on
_COMPONENTS = 16
_CHUNK = 2**23  # pixels of a pile that are embedded at a time


def _spread(images: np.ndarray, most: int) -> np.ndarray:
    """At most so many of the images, evenly spaced."""
    return images[np.unique(np.linspace(0, len(images) - 1, min(most, len(images))).astype(int))]


def products(rows: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """rows @ matrix, row by row from the same memory: a BLAS would round by how many rows there are."""
    matrix = np.ascontiguousarray(matrix)
    vector, result = np.empty(rows.shape[1], rows.dtype), np.empty((len(rows), matrix.shape[1]), rows.dtype)
    for i, row in enumerate(rows):
        vector[:] = row
        result[i] = vector @ matrix
    return result


class Inputs:
    """The images of one attack, and what several baselines measure on them, each once.

    candidates, pile, reference: [image, height, width] in grey levels 0 to 255, of one size; a pile may be uint8.
    `reference` holds real images known not to be members, no candidate among them; None or empty if there are none.
    ValueError on other shapes, on an empty pile, without candidates, and later where a baseline needs a reference.
    """

    def __init__(self, candidates: np.ndarray, pile: np.ndarray, reference: np.ndarray | None = None) -> None:
        reference = pile[:0] if reference is None else reference
        self.images = {"candidates": candidates, "pile": pile, "reference": reference, "sample": pile[:0]}
        if pile.ndim != 3 or any(x.shape[1:] != pile.shape[1:] for x in self.images.values()):
            raise ValueError(f"images must be of one size: {[x.shape for x in (candidates, pile, reference)]}")
        if not len(pile) or not len(candidates):
            raise ValueError("an empty pile, or no candidates")
        self.images["sample"] = _spread(pile, _SAMPLE)
        self._known: dict[Any, np.ndarray] = {}

    def _once(self, key: Any, make: Callable[[], np.ndarray]) -> np.ndarray:
        if key not in self._known:
            self._known[key] = make()
        return self._known[key]

    def _some(self, name: str) -> np.ndarray:
        if not len(self.images[name]):
            raise ValueError(f"this baseline needs images: {name}")
        return self.images[name]

    def _axes(self) -> np.ndarray:
        """Mean of "pixels", and the largest components over their standard deviation, float32 [1 + component, pixel]"""
        chosen = [_spread(self.images[name], _FITTED) for name in ("pile", "reference") if len(self.images[name])]
        vectors = embed("pixels", np.concatenate(chosen)).astype(np.float64)
        mean, count = vectors.mean(0), len(vectors)
        vectors -= mean
        values, left = eigh(vectors @ vectors.T, subset_by_index=(max(count - _COMPONENTS, 0), count - 1))
        kept = values > max(1e-9, 1e-6 * values[-1])  # the rest is rounding
        axes = np.sqrt(count) * (vectors.T @ left[:, kept] / values[kept]).T
        return np.vstack([mean, axes if kept.any() else np.zeros_like(mean)]).astype(np.float32)

    def _parts(self, name: str, space: str) -> Iterator[np.ndarray]:
        """Vectors of some images after others: float32 [image, feature]. "raw": grey levels, so that a distance is
        their root mean square difference / 255; else an embedding of `attack.embeddings`."""
        images = self._some(name)
        pixels = images[0].size
        step = max(1, _CHUNK // pixels)
        for part in (images[i : i + step] for i in range(0, len(images), step)):
            if space == "raw":
                yield part.reshape(len(part), pixels).astype(np.float32) / np.float32(255 * np.sqrt(pixels))
            else:
                yield embed(space, part)

    def components(self, name: str) -> np.ndarray:
        """Whitened principal components of "pixels", of pile and reference together, float32 [image, component]."""

        def make() -> np.ndarray:
            axes = self._once("axes", self._axes)
            return np.concatenate([products(x - axes[0], axes[1:].T) for x in self._parts(name, "pixels")])

        return self._once(("components", name), make)

    def points(self) -> tuple[np.ndarray, ...]:
        """float64 [image, component] of candidates, pile and reference."""
        return tuple(self.components(name).astype(np.float64) for name in ("candidates", "pile", "reference"))

    def distances(self, space: str, name: str, to: str) -> np.ndarray:
        """float32 [image of name, image of to] by vectors, or by components for "pca". Vectors of a pile are never
        held all at once."""

        def make() -> np.ndarray:
            if space == "pca":
                return distances(self.components(name), self.components(to))
            rows = np.concatenate(list(self._parts(name, space)))
            return np.concatenate([distances(rows, columns) for columns in self._parts(to, space)], axis=1)

        return self._once((space, name, to), make)

    def similarity(self, space: str, name: str, to: str) -> np.ndarray:
        """float32 [image of name, image of to]: one minus the mean square difference, or SSIM for "ssim", which is
        -1 with images of a pile beyond ALL_PAIRS that are not among the nearest."""

        def make() -> np.ndarray:
            rows, columns = self._some(name), self._some(to)
            if to != "pile" or columns.size <= ALL_PAIRS:
                return ssim_all(rows, columns)
            result = np.full((len(rows), len(columns)), -1, np.float32)
            last = min(SSIM_NEAREST, len(columns)) - 1
            for i, row in enumerate(self.distances("pixels", name, to)):
                places = np.argpartition(row, last)[: last + 1]
                result[i, places] = ssim_all(rows[i : i + 1], columns[places])[0]
            return result

        return self._once(("ssim", name, to), make) if space == "ssim" else 1 - self.distances(space, name, to) ** 2


class Turn(Inputs):
    """Some real images as candidates and others as reference, of `whole`, whose candidates are all real images.

    candidates, reference: bool [real image]. As Inputs(real[candidates], pile, real[reference]), but what is measured
    on two images is measured in `whole`, once for all turns (of two real images it may differ in the last bit). What is
    fitted on pile and reference together is the turn's own.
    """

    def __init__(self, whole: Inputs, candidates: np.ndarray, reference: np.ndarray) -> None:
        real = whole.images["candidates"]
        super().__init__(real[candidates], whole.images["pile"], real[reference])
        self._whole = whole
        self._places = {"candidates": np.flatnonzero(candidates), "reference": np.flatnonzero(reference)}

    def _found(self, measured: Callable[[str, str, str], np.ndarray], space: str, *names: str) -> np.ndarray:
        """The rows and columns of this turn, [image of the first name, image of the second]."""
        for name in names:
            self._some(name)
        first, second = ("candidates" if name in self._places else name for name in names)
        matrix = measured(space, first, second)
        for axis, name in enumerate(names):
            if name in self._places:
                matrix = matrix.take(self._places[name], axis)
        return matrix

    def distances(self, space: str, name: str, to: str) -> np.ndarray:
        """As of `Inputs`."""
        if space == "pca":
            return super().distances(space, name, to)
        return self._once((space, name, to), lambda: self._found(self._whole.distances, space, name, to))

    def similarity(self, space: str, name: str, to: str) -> np.ndarray:
        """As of `Inputs`."""
        if space != "ssim":
            return super().similarity(space, name, to)
        return self._once(("ssim", name, to), lambda: self._found(self._whole.similarity, space, name, to))

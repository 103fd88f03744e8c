"""Two networks, parameter by parameter: how far apart, in which direction, with which spectrum.

Weights lie in a scratch file, flat, and are read layer by layer, so that two networks are never in memory together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from attack.results.checkpoints import Spectrum
from attack.results.compared import LayerDistance, ParameterPair
from shadow import files
from shadow.denoisers.build import Params


@dataclass(frozen=True)
class Stored:
    """The parameters of one network on disk: float32, layer after layer; names and shapes in their order."""

    path: Path
    shapes: Mapping[str, tuple[int, ...]]

    @property
    def count(self) -> int:
        """Number of all parameters."""
        return sum(math.prod(shape) for shape in self.shapes.values())

    def layer(self, name: str) -> np.ndarray:
        """One layer, read from the disk."""
        start = 0
        for other, shape in self.shapes.items():
            if other == name:
                break
            start += math.prod(shape)
        flat = np.load(self.path, mmap_mode="r", allow_pickle=False)
        return np.array(flat[start : start + math.prod(self.shapes[name])], np.float64).reshape(self.shapes[name])


def store(params: Params, path: Path) -> Stored:
    """Writes `params` to `path`."""
    leaves = {_name(place): np.asarray(leaf) for place, leaf in jax.tree_util.tree_leaves_with_path(params)}
    flat = np.concatenate([leaf.astype(np.float32).ravel() for leaf in leaves.values()])
    files.write_array(path, flat)
    return Stored(path, {name: leaf.shape for name, leaf in leaves.items()})


def _name(place: Any) -> str:
    """`blocks.0.qkv.kernel`."""
    return ".".join(str(getattr(step, "key", getattr(step, "idx", step))) for step in place)


def distance(a: np.ndarray, b: np.ndarray) -> LayerDistance:
    """Of two layers as vectors, by Euclidean norms; 0 where both are 0."""
    x, y = a.ravel(), b.ravel()
    first, second = float(np.linalg.norm(x)), float(np.linalg.norm(y))
    if np.array_equal(x, y):
        return LayerDistance(relative=0.0, cosine=1.0 if first else None)
    relative = 2 * float(np.linalg.norm(x - y)) / (first + second)
    cosine = float(np.clip(x @ y / (first * second), -1, 1)) if first and second else None
    return LayerDistance(relative=relative, cosine=cosine)


MOST_SINGULAR = 32  # of a layer's singular values that are kept


def spectrum(weight: np.ndarray) -> Spectrum | None:
    """Of a matrix or a convolution's kernel [..., in, out], as a matrix [all inputs, out]: its largest singular values,
    the stable rank |W|_F^2 / |W|_2^2, and the effective rank exp(H) of Roy and Vetterli 2007, H the entropy of the
    singular values' shares. None of a vector; ranks are 0 where all is 0."""
    if weight.ndim < 2:
        return None
    flat = weight.reshape(-1, weight.shape[-1])
    # of a convolution one side is far longer: the roots of the small product's eigenvalues cost a hundredth of an SVD
    product = flat.T @ flat if flat.shape[0] > flat.shape[1] else flat @ flat.T
    values = np.sqrt(np.maximum(np.linalg.eigvalsh(product)[::-1], 0))
    total = float(values.sum())
    largest = tuple(values[:MOST_SINGULAR].tolist())
    if not total:
        return Spectrum(largest=largest, stable_rank=0.0, effective_rank=0.0)
    share = values[values > 0] / total
    return Spectrum(
        largest=largest,
        stable_rank=float((values**2).sum() / values[0] ** 2),
        effective_rank=float(np.exp(-(share * np.log(share)).sum())),
    )


def spectra(stored: Stored) -> dict[str, Spectrum]:
    """`spectrum` of every layer that has one."""
    found = {name: spectrum(stored.layer(name)) for name in stored.shapes}
    return {name: value for name, value in found.items() if value is not None}


def why_not(a: Stored, b: Stored) -> str:
    """Why the two cannot be laid over each other, or ''."""
    if a.shapes == b.shapes:
        return ""
    alone = sorted(a.shapes.keys() ^ b.shapes.keys())
    if alone:
        return f"other architecture: {len(alone)} layers are in one of them alone, {alone[0]} first"
    name = next(name for name in a.shapes if a.shapes[name] != b.shapes[name])
    return f"other architecture: {name} is {list(a.shapes[name])} here and {list(b.shapes[name])} there"


def between(a: Stored, b: Stored) -> ParameterPair:
    """Of all parameters as one vector, and of each layer. ValueError as `why_not` says."""
    if why_not(a, b):
        raise ValueError(why_not(a, b))
    layers, squares = {}, np.zeros(4)
    for name in a.shapes:
        x, y = a.layer(name).ravel(), b.layer(name).ravel()
        layers[name] = distance(x, y)
        squares += ((x - y) @ (x - y), x @ x, y @ y, x @ y)
    gap, first, second, product = squares
    norms = math.sqrt(first) + math.sqrt(second)
    relative = 2 * math.sqrt(gap) / norms if norms else 0.0
    cosine = min(1.0, float(product / math.sqrt(first * second))) if first and second else None
    return ParameterPair(relative=relative, cosine=cosine if gap else (1.0 if first else None), layers=layers)

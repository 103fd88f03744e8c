"""Two-sample statistics of images under many assignments to two piles, with an adjusted p (Westfall and Young 1993)."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import threadpoolctl
from scipy import stats

from attack.evidence.embeddings import pca
from attack.evidence.embeddings.builtin import detail, highpass, standardised
from attack.evidence.embeddings.distances import distances

RIDGE = 0.05  # of the classifier, in units of a component's variance
_NEIGHBOURS = 10  # of an image; 3 and 5 had less power on shadows' piles
_RANKS = 32  # nearest images among which the nearest of the own pile is looked up
_NEAR = 0.5  # distance of standardised images below which two are near-duplicates, as in attack/evidence/pile_shift.py
_FOLDS = 5


@dataclass(frozen=True)
class StatisticTest:
    """One of the tests of two piles.

    value: its statistic; expected: the mean of the statistic over permutations, as if one generator made both piles;
    p: in (0, 1], adjusted for all the tests (Westfall and Young 1993), so the smallest is that of the whole.
    """

    value: float
    expected: float
    p: float


@dataclass(frozen=True)
class Statistic:
    """A statistic of the true assignment (first) and of permuted ones, float64 [assignment]; a larger `extreme` speaks
    against one generator."""

    shown: np.ndarray
    extreme: np.ndarray


def _two_sided(values: np.ndarray) -> Statistic:
    # the true assignment counts in the mean, so that all assignments are treated alike
    return Statistic(values, np.abs(values - values.mean()))


@functools.cache
def _threads() -> threadpoolctl.ThreadpoolController:
    """The threads of the matrix libraries. One is used: the matrices are small, and where the cores are busy, threads
    that wait for each other take many times as long."""
    return threadpoolctl.ThreadpoolController()


def statistics_of(images: np.ndarray, sides: np.ndarray) -> dict[str, Statistic]:
    """Every statistic of images [image, side, side] under assignments +1/-1 float32 [image, assignment]."""
    embedded = {"detail": highpass(images), "pixels": standardised(images)}
    apart = {name: distances(vectors, vectors) for name, vectors in embedded.items()}
    views = images, detail(images)
    with _threads().limit(limits=1, user_api="blas"):
        bases = [pca.fit(view, pca.components(len(view))) for view in views]
    features = np.concatenate([basis.embed(view) for basis, view in zip(bases, views, strict=True)], axis=1)
    with _threads().limit(limits=1, user_api="blas"):
        return _tests(images, apart, features, sides)


def _tests(
    images: np.ndarray, apart: dict[str, np.ndarray], features: np.ndarray, sides: np.ndarray
) -> dict[str, Statistic]:
    """As `statistics_of`, from distances [image, image] in each embedding, and features [image, component]."""
    half, count = len(images) // 2, min(_NEIGHBOURS, len(images) - 1)
    result: dict[str, Statistic] = {}
    ranked: dict[str, np.ndarray] = {}  # nearest images of each image, nearest first
    for name, found in apart.items():
        np.fill_diagonal(found, np.inf)
        order = ranked[name] = np.argsort(found, axis=1, kind="stable")[:, : min(_RANKS, len(images) - 1)]
        result[f"neighbours ({name})"] = _own(order[:, :count], sides)
        square = found**2
        kernel = np.exp(-square / max(float(np.median(square)), 1e-6))  # 0 for an image and itself
        closer = (sides * (kernel @ sides)).sum(0, dtype=np.float64) / half**2
        result[f"kernel ({name})"] = Statistic(closer, closer)
    result["nearest"] = _own(ranked["pixels"][:, :1], sides)
    ranks = stats.rankdata(held_out(features, sides), axis=0)
    area = ((ranks * (sides > 0)).sum(0) / half - (half + 1) / 2) / half
    result["classifier"] = Statistic(area, area)
    result["near-duplicates"] = _two_sided(_near_duplicates(apart["pixels"], sides))
    largest = _differences(images, apart["pixels"], ranked["pixels"], sides)
    result["statistics"] = Statistic(largest, largest)
    return result


def _own(neighbours: np.ndarray, sides: np.ndarray) -> Statistic:
    """Share of the neighbours [image, neighbour] of an image that are of its own pile."""
    near = np.zeros((len(sides), len(sides)), np.float32)
    np.put_along_axis(near, neighbours, 1.0, axis=1)
    return _two_sided((1 + (sides * (near @ sides)).sum(0, dtype=np.float64) / neighbours.size) / 2)


def adjusted(statistics: dict[str, Statistic]) -> dict[str, StatisticTest]:
    """Each test with its p of the true assignment, adjusted by the smallest p of every assignment."""
    p = {name: stats.rankdata(-found.extreme, method="max") / len(found.extreme) for name, found in statistics.items()}
    smallest = np.min(list(p.values()), axis=0)
    return {
        name: StatisticTest(float(found.shown[0]), float(found.shown.mean()), float((smallest <= p[name][0]).mean()))
        for name, found in statistics.items()
    }


def held_out(features: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """The classifier's output [image, assignment] for each image, fitted on the other folds. Folds know no pile: images
    come in random order."""
    x = np.asarray(features, np.float64)
    fold = np.arange(len(x)) % _FOLDS
    result = np.empty(sides.shape)
    for f in range(_FOLDS):
        fit, judged = x[fold != f], x[fold == f]
        inner = fit.T @ fit + RIDGE * len(fit) * np.eye(x.shape[1])
        result[fold == f] = judged @ np.linalg.solve(inner, fit.T @ sides[fold != f].astype(np.float64))
    # predictions that only rounding tells apart are ties
    return np.round(result, 9)


def _near_duplicates(apart: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """Share of images with a near-duplicate in their own pile, less that with one in the other [assignment]."""
    near = (apart < _NEAR).astype(np.float32)
    first, second = near @ (sides > 0).astype(np.float32) > 0, near @ (sides < 0).astype(np.float32) > 0
    more = first.astype(np.float32) - second
    return (more * sides).sum(0, dtype=np.float64) / len(apart)


def _differences(images: np.ndarray, apart: np.ndarray, order: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """The largest standardised difference of the piles' statistics [assignment]."""
    signs = sides.astype(np.float64)
    logs = np.log(np.maximum(apart, 1e-4).astype(np.float64))
    ranked = np.take_along_axis(logs, order, axis=1)
    nearest = np.empty((2, 2, sides.shape[1]))  # pile, [median log, share of near-duplicates], assignment
    for column, side in enumerate(sides.T):
        own = side[order] == side[:, None]
        # where none of the nearest is a fellow: the last of them, a lower bound
        place = np.where(own.any(1), own.argmax(1), order.shape[1] - 1)
        found = ranked[np.arange(len(images)), place]
        for i, mine in enumerate((found[side > 0], found[side < 0])):
            nearest[i, :, column] = np.median(mine), (mine < np.log(_NEAR)).mean()
    np.fill_diagonal(logs, 0.0)
    half = len(images) // 2
    spread = logs.sum(1) @ signs  # pairs across the piles cancel
    grey = np.asarray(images, np.float64)
    contrast = grey.std((1, 2))
    energy = (detail(images) ** 2).mean((1, 2)) / np.maximum(contrast**2, 1e-9)
    alone = np.stack([grey.mean((1, 2)), np.log(np.maximum(contrast, 1e-3)), np.log(np.maximum(energy, 1e-9))], axis=1)
    gaps = np.concatenate([nearest[0] - nearest[1], spread[None] / (half * (half - 1)), (signs.T @ alone).T / half])
    scale = np.sqrt((gaps**2).mean(1, keepdims=True))
    return np.abs(np.divide(gaps, scale, out=np.zeros_like(gaps), where=scale > 1e-9)).max(0)

"""Published attacks that see generated images alone, on the same inputs as ours, to compare with.

A baseline is a function of `Inputs` and a line in `BASELINES`. Scores are float64 [candidate]; higher = more likely a
member. The score of a candidate depends on its image, the pile and the reference only, to the last bit whoever else is
scored, but for baselines marked `set_dependent`. Where ours departs from the paper, its function says so.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from scipy.linalg import eigh, solve_triangular
from scipy.special import logsumexp
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier

from attack import vcmi
from attack.embeddings import distances, embed
from attack.ssim import ssim_all

FEATURES = ("pixels", "highpass")  # embeddings of ours that baselines are also tried on
ALL_PAIRS = 10_000 * 64 * 64  # pixels of a pile up to which SSIM is computed of all pairs
SSIM_NEAREST = 200  # of a larger pile: with this many images that are nearest by "pixels"
_SAMPLE = 200  # generated images, evenly spaced, that stand for the pile where pairs of them are averaged
_FITTED = 500  # images of the pile, and of the reference, that principal components are fitted on
_COMPONENTS = 16
_CHUNK = 2**23  # pixels of a pile that are embedded at a time
_FLOOR = 1e-4  # of a distance, before its logarithm


def _spread(images: np.ndarray, most: int) -> np.ndarray:
    """At most so many of the images, evenly spaced."""
    return images[np.unique(np.linspace(0, len(images) - 1, min(most, len(images))).astype(int))]


def _products(rows: np.ndarray, matrix: np.ndarray) -> np.ndarray:
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
            return np.concatenate([_products(x - axes[0], axes[1:].T) for x in self._parts(name, "pixels")])

        return self._once(("components", name), make)

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


def nearest(inputs: Inputs, space: str) -> np.ndarray:
    """-d_1, the distance to the nearest generated image; in "raw" this is the full black-box attack of GAN-Leaks."""
    return -inputs.distances(space, "candidates", "pile").min(1).astype(np.float64)


def calibrated(inputs: Inputs, space: str) -> np.ndarray:
    """Distance to the nearest reference image minus that to the nearest generated one.

    GAN-Leaks subtracts the distance to images of another generator; real images in their place are the variant that
    the code of DOMIAS compares with, whose sigmoid we leave out: it changes no order and rounds to 0 and 1.
    """
    return inputs.distances(space, "candidates", "reference").min(1).astype(np.float64) + nearest(inputs, space)


def ratio(inputs: Inputs, space: str) -> np.ndarray:
    """-log(d_1 / mean d_2..50): is one generated image closer than the neighbourhood has it? 0 for a pile of one.

    Carlini et al. compare a generated image with its neighbours among training images; here it is the other way round.
    """
    d = inputs.distances(space, "candidates", "pile").astype(np.float64)
    kept = min(50, d.shape[1])
    near = np.maximum(np.sort(np.partition(d, kept - 1, axis=1)[:, :kept], axis=1), _FLOOR)
    return np.log(near[:, min(1, kept - 1) :].mean(1)) - np.log(near[:, 0])


def monte_carlo(inputs: Inputs, space: str, weighted: bool = False) -> np.ndarray:
    """Share of generated images within a radius; weighted: each counts -log of its distance.

    The paper's median heuristic takes the median, over the candidates, of the distance to the nearest generated image,
    and so makes each score depend on the other candidates; ours takes it over the reference, or if there is none over
    generated images with the nearest other one (a pile of one: all is within).
    """
    d = inputs.distances(space, "candidates", "pile").astype(np.float64)
    if len(inputs.images["reference"]):
        typical = inputs.distances(space, "reference", "pile").min(1)
    else:
        among = inputs.distances(space, "sample", "pile")
        typical = np.partition(among, 1, axis=1)[:, 1] if among.shape[1] > 1 else np.array([np.inf])
    weights = -np.log(np.maximum(d, _FLOOR)) if weighted else np.ones_like(d)
    return np.where(d <= np.median(typical), weights, 0).mean(1)


def log_density(points: np.ndarray, data: np.ndarray) -> np.ndarray:
    """Logarithm of a Gaussian kernel density estimate of data [n, d] at points [m, d], float64 [m].

    Kernels have Scott's factor n^(-1/(d+4)) and the data's covariance, as scipy's gaussian_kde, but the covariance is
    drawn towards the identity as if d more images had it (a pile of one repeated image has none of its own).
    """
    n, d = data.shape
    centred = data - data.mean(0)
    root = np.linalg.cholesky((centred.T @ centred + d * np.eye(d)) / (n - 1 + d)) * n ** (-1 / (d + 4))
    whiten = solve_triangular(root, np.eye(d), lower=True).T
    points, data = _products(points, whiten), data @ whiten
    scale = np.log(n) + np.log(np.diag(root)).sum() + d / 2 * np.log(2 * np.pi)
    return np.array([logsumexp(-((data - point) ** 2).sum(1) / 2) for point in points]) - scale


def _components(inputs: Inputs) -> tuple[np.ndarray, ...]:
    """float64 [image, component] of candidates, pile and reference."""
    return tuple(inputs.components(name).astype(np.float64) for name in ("candidates", "pile", "reference"))


def domias(inputs: Inputs) -> np.ndarray:
    """log p_pile(x) - log p_reference(x), by kernel densities of principal components."""
    candidates, pile, reference = _components(inputs)
    return log_density(candidates, pile) - log_density(candidates, reference)


def logan(inputs: Inputs, network: bool) -> np.ndarray:
    """Log odds of a classifier that tells the pile from the reference, both weighing the same.

    The paper trains a convolutional discriminator; ours sees principal components, and is a perceptron with one hidden
    layer (network) or a logistic regression.
    """
    candidates, pile, reference = _components(inputs)
    if not network:
        labels = np.repeat([1, 0], [len(pile), len(reference)])
        model = LogisticRegression(class_weight="balanced", max_iter=1000).fit(np.vstack([pile, reference]), labels)
        return _products(candidates, model.coef_.T)[:, 0] + model.intercept_
    count = np.arange(max(len(pile), len(reference)))  # the smaller side is repeated
    features = np.vstack([pile[count % len(pile)], reference[count % len(reference)]])
    model = MLPClassifier((64,), alpha=1e-3, random_state=0)
    for _ in range(30):
        model.partial_fit(features, np.repeat([1, 0], len(count)), classes=[0, 1])
    (first, last), (bias, shift) = model.coefs_, model.intercepts_
    return (_products(np.maximum(_products(candidates, first) + bias, 0), last) + shift)[:, 0]


class Baseline(NamedTuple):
    """decides: the method itself says 1 where its score is above 0. set_dependent: scores depend on who else is scored,
    as published."""

    score: Callable[[Inputs], np.ndarray]
    paper: str
    needs_reference: bool = False
    set_dependent: bool = False
    decides: bool = False
    ssim: bool = False


_LEAKS, _CARLO = "Chen et al. 2020, arXiv 1909.03935", "Hilprecht et al. 2019, PoPETs 2019(4)"
_DOMIAS, _LOGAN = "van Breugel et al. 2023, arXiv 2302.12580", "Hayes et al. 2019, arXiv 1705.07663"


def _registry() -> dict[str, Baseline]:
    found = {
        "gan_leaks": Baseline(partial(nearest, space="raw"), _LEAKS),
        "gan_leaks_calibrated": Baseline(partial(calibrated, space="raw"), _LEAKS, needs_reference=True),
        "monte_carlo.pca": Baseline(partial(monte_carlo, space="pca"), _CARLO),
        "monte_carlo_log.raw": Baseline(partial(monte_carlo, space="raw", weighted=True), _CARLO),
        "domias": Baseline(domias, _DOMIAS, needs_reference=True),
        "logan_d1": Baseline(partial(logan, network=True), _LOGAN, needs_reference=True),
        "logan_d1_linear": Baseline(partial(logan, network=False), _LOGAN, needs_reference=True),
    }
    for space in ("raw", *FEATURES):
        found[f"ratio.{space}"] = Baseline(partial(ratio, space=space), "Carlini et al. 2023, arXiv 2301.13188")
        found[f"monte_carlo.{space}"] = Baseline(partial(monte_carlo, space=space), _CARLO)
    for space in FEATURES:
        found[f"nearest.{space}"] = Baseline(partial(nearest, space=space), _LEAKS)
        found[f"calibrated.{space}"] = Baseline(partial(calibrated, space=space), _LEAKS, needs_reference=True)
    for family, rivals in (("vcmi", "reference"), ("vcmi_set", "candidates")):
        for space, decider in itertools.product(("ssim", *FEATURES), vcmi.DECIDERS):
            found[f"{family}.{decider.__name__}.{space}"] = Baseline(
                partial(decider, space=space, rivals=rivals),
                "Montenegro et al. 2023, CEUR-WS Vol-3497",
                needs_reference=rivals == "reference",
                set_dependent=rivals == "candidates",
                decides=True,
                ssim=space == "ssim",
            )
    return found


BASELINES: dict[str, Baseline] = _registry()


def score_all(
    candidates: np.ndarray, pile: np.ndarray, reference: np.ndarray | None = None, ssim: bool = True
) -> dict[str, np.ndarray]:
    """Scores of every baseline that can be had: without a reference, of those that need none; ssim: of those by SSIM.

    Images as for `Inputs`, which says what is refused; SSIM also refuses images of fewer than 7 pixels a side
    (ValueError).
    """
    inputs = Inputs(candidates, pile, reference)
    known = len(inputs.images["reference"]) > 0
    wanted = {name: b for name, b in BASELINES.items() if (known or not b.needs_reference) and (ssim or not b.ssim)}
    return {name: baseline.score(inputs) for name, baseline in wanted.items()}


def decisions(scores: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """0/1 [candidate], 1 = used, of those among the scores of `score_all` whose method decides."""
    return {name: (values > 0).astype(np.int8) for name, values in scores.items() if BASELINES[name].decides}

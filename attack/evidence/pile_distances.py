"""How far apart two sets of images are, in the space of an embedding's principal axes: Frechet distance, kernel
distance, radial spectrum.

The axes are those of real slices, not of a network that has seen photographs, so these figures order checkpoints of
one data set; they cannot be compared with published FIDs and KIDs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from attack.evidence.embeddings import builtin
from attack.metrics.intervals import Interval
from shadow import keys

FLIPS = 999  # of the test that two piles are alike
_DEGREE = 3  # of KID's polynomial kernel


@dataclass(frozen=True)
class Space:
    """The principal axes of a set of images: `axes` [feature, axis], scaled such that the squared length of these
    images is the number of axes, on average. `centre` [feature]."""

    embedding: str
    centre: np.ndarray
    axes: np.ndarray

    def of(self, images: np.ndarray) -> np.ndarray:
        """float64 [image, axis] of images [image, side, side] in [0, 255]."""
        return (builtin.embed(self.embedding, images).astype(np.float64) - self.centre) @ self.axes


def fit_space(embedding: str, images: np.ndarray, most: int) -> Space:
    """The first `most` axes, fewer where the images have fewer. Raises UserError on an unknown embedding."""
    vectors = builtin.embed(embedding, images).astype(np.float64)
    centre = vectors.mean(0)
    _, values, axes = np.linalg.svd(vectors - centre, full_matrices=False)
    count = max(1, min(most, int((values > 1e-6 * max(values[0], 1e-12)).sum())))
    power = (values[:count] ** 2).sum() / len(vectors)
    scale = np.sqrt(count / power) if power else 1.0
    # a sign for each axis: SVD leaves it open
    signs = np.sign(axes[np.arange(count), np.abs(axes[:count]).argmax(1)])
    return Space(embedding, centre, (axes[:count] * signs[:, None]).T * scale)


def frechet(x: np.ndarray, y: np.ndarray) -> float:
    """Squared Frechet distance of the normal distributions with the means and covariances of x and y [image, axis]
    (Heusel et al. 2017, arXiv 1706.08500): >= 0, and biased upwards with few images."""
    if np.array_equal(x, y):
        return 0.0
    gap = ((x.mean(0) - y.mean(0)) ** 2).sum()
    first, second = (np.atleast_2d(np.cov(z, rowvar=False)) for z in (x, y))
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    shared = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ second @ root), 0)).sum()
    return max(0.0, float(gap + np.trace(first) + np.trace(second) - 2 * shared))


def frechet_interval(x: np.ndarray, y: np.ndarray) -> Interval:
    """The 95 % interval of `frechet` by the jackknife over images of both: each left out in turn. It is of the value
    that so many images give, bias included. Never below 0. ValueError with fewer than 3 images in one of them."""
    if min(len(x), len(y)) < 3:
        raise ValueError("at least 3 images of each are needed")
    without_x = np.array([frechet(np.delete(x, i, 0), y) for i in range(len(x))])
    without_y = np.array([frechet(x, np.delete(y, i, 0)) for i in range(len(y))])
    half = 1.96 * float(np.sqrt(sum((len(z) - 1) * z.var() for z in (without_x, without_y))))
    value = frechet(x, y)
    return max(0.0, value - half), value + half


def _kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    # a matrix product with itself is rounded otherwise than one with an equal matrix: never its own transpose
    return (x @ np.array(y).T / x.shape[1] + 1) ** _DEGREE


@dataclass(frozen=True)
class Kid:
    """The kernel distance, its 95 % interval, and the p of "the same distribution" (None where it is not tested)."""

    value: float
    interval: Interval
    p: float | None


def kid(x: np.ndarray, y: np.ndarray) -> Kid:
    """Kernel inception distance of independent x and y [image, axis] (Binkowski et al. 2018, arXiv 1801.01401): the
    unbiased squared MMD of the kernel (x . y / axes + 1)^3. It may be below 0.

    The interval is the jackknife's over images of both sets. ValueError with fewer than 3 images in one of them.
    """
    n, m = len(x), len(y)
    if min(n, m) < 3:
        raise ValueError("at least 3 images of each are needed")
    kx, ky, kxy = _kernel(x, x), _kernel(y, y), _kernel(x, y)
    np.fill_diagonal(kx, 0)
    np.fill_diagonal(ky, 0)
    sx, sy, sxy = kx.sum(), ky.sum(), kxy.sum()
    value = sx / (n * (n - 1)) + sy / (m * (m - 1)) - 2 * sxy / (n * m)
    without_x = (sx - 2 * kx.sum(1)) / ((n - 1) * (n - 2)) + sy / (m * (m - 1)) - 2 * (sxy - kxy.sum(1)) / ((n - 1) * m)
    without_y = (sy - 2 * ky.sum(1)) / ((m - 1) * (m - 2)) + sx / (n * (n - 1)) - 2 * (sxy - kxy.sum(0)) / (n * (m - 1))
    variance = sum((k - 1) * z.var() for k, z in ((n, without_x), (m, without_y)))
    half = 1.96 * float(np.sqrt(variance))
    return Kid(float(value), (float(value) - half, float(value) + half), None)


def kid_paired(x: np.ndarray, y: np.ndarray, seed: int) -> Kid:
    """As `kid`, of piles [image, axis] whose i-th images were drawn from the same noise and are alike: the mean over
    i != j of k(x_i, x_j) + k(y_i, y_j) - k(x_i, y_j) - k(x_j, y_i) (Gretton et al. 2012, JMLR 13, equation 4). That
    leaves out the pairs (x_i, y_i), which would pull the distance below 0. Of a pile and itself it is 0.

    The interval is the jackknife's over pairs. The test exchanges x_i and y_i by fair coins: exact where the two
    generators are alike. ValueError with fewer than 3 pairs.
    """
    n = len(x)
    if n != len(y) or n < 3:
        raise ValueError("at least 3 pairs are needed")
    xx, yy, xy = _kernel(x, x), _kernel(y, y), _kernel(x, y)
    h = ((xx + xx.T) + (yy + yy.T)) / 2 - (xy + xy.T)  # exactly 0 of equal piles, however a product is rounded
    np.fill_diagonal(h, 0)
    total = h.sum()
    value = float(total / (n * (n - 1)))
    without = (total - 2 * h.sum(1)) / ((n - 1) * (n - 2))
    half = 1.96 * float(np.sqrt((n - 1) * without.var()))
    coins = keys.generator(seed, "compare/flips").integers(0, 2, (FLIPS, n)) * 2.0 - 1
    flipped = ((coins @ h) * coins).sum(1)
    p = (1 + int((flipped >= total - 1e-9 * abs(total)).sum())) / (1 + FLIPS)
    return Kid(value, (value - half, value + half), p)


def radial_spectrum(images: np.ndarray) -> np.ndarray:
    """Log of the mean power by radial frequency, float64 [side // 2]: entry f holds frequencies of f + 1 cycles an
    image, rounded. images: [image, side, side] in [0, 255], each taken without its mean."""
    images = np.asarray(images, np.float64)
    side = images.shape[1]
    power = (np.abs(np.fft.fft2(images - images.mean((1, 2), keepdims=True))) ** 2).mean(0) / side**2
    axis = np.fft.fftfreq(side) * side
    radius = np.hypot(axis[:, None], axis[None]).round().astype(int)
    rings = range(1, side // 2 + 1)
    return np.log(np.maximum([power[radius == ring].mean() for ring in rings], 1e-9))


def spectrum_gap(a: np.ndarray, b: np.ndarray) -> float:
    """Root mean square difference of two radial spectra, in units of log power."""
    return float(np.sqrt(((a - b) ** 2).mean()))


def median_interval(values: np.ndarray) -> Interval:
    """The 95 % interval of the median of independent values, whatever their distribution: from the k-th smallest to the
    k-th largest, k the greatest that a fair coin thrown len(values) times falls below in 2.5 % at most (Thompson 1936).
    All values where they are too few for that."""
    ordered = np.sort(values)
    k = int(stats.binom.ppf(0.025, len(ordered), 0.5))  # P(B <= k - 1) < .025
    place = max(k - 1, 0)
    return float(ordered[place]), float(ordered[len(ordered) - 1 - place])


def corresponding(x: np.ndarray, y: np.ndarray) -> float:
    """Median distance of standardised pixels of x_i and y_i [image, side, side]: 0 the same picture, 1.41 unrelated."""
    a, b = (builtin.standardised(images).astype(np.float64) for images in (x, y))
    return float(np.median(np.linalg.norm(a - b, axis=1)))

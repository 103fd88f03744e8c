"""Log density of the pile at the candidate (DOMIAS, van Breugel et al. 2023, arXiv 2302.12580), with the piles of
shadows that have not seen it in the place of reference images.

A Gaussian kernel density estimate on whitened principal components: log p(x) = logsumexp(-|x - g|^2 / 2 h^2) - log n -
d/2 log(2 pi h^2). The bandwidth h is the one of a grid under which images of the pile, each left out in turn, are most
likely. Everything is in logarithms: no density underflows.
"""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp

from attack.signals.sight import Block, Sight
from attack.vectors.distances import squared_distances

COLUMNS = ("density",)
BANDWIDTHS = np.geomspace(0.05, 3.2, 13)  # in standard deviations of the known real images along a component
_JUDGED = 300  # images of the pile, evenly spaced, that are left out in turn


def log_density(squares: np.ndarray, bandwidth: float, features: int) -> np.ndarray:
    """float64 [point] of squared distances [point, image of the pile]; images at distance inf do not count."""
    images = np.isfinite(squares).sum(1)
    kernels = logsumexp(-squares.astype(np.float64) / (2 * bandwidth**2), axis=1)
    return kernels - np.log(images) - features / 2 * np.log(2 * np.pi * bandwidth**2)


def bandwidth(pile: np.ndarray) -> float:
    """Of BANDWIDTHS, by leave-one-out likelihood of pile [image, feature]; 1 for a pile of one image, which says
    nothing about it."""
    if len(pile) < 2:
        return 1.0
    judged = np.unique(np.linspace(0, len(pile) - 1, min(_JUDGED, len(pile))).astype(int))
    squares = squared_distances(pile[judged], pile)
    squares[np.arange(len(judged)), judged] = np.inf
    likelihood = [log_density(squares, float(h), pile.shape[1]).mean() for h in BANDWIDTHS]
    return float(BANDWIDTHS[int(np.argmax(likelihood))])


def measure(sight: Sight) -> np.ndarray:
    """Log density: [candidate, 1]."""
    squares = sight.to_asked.astype(np.float64) ** 2
    pile = sight.vectors
    return log_density(squares, bandwidth(pile), pile.shape[1])[:, None]


BLOCK = Block("density", ("density",), measure, "whitened")


def signal(numbers: np.ndarray) -> np.ndarray:
    """log p of the pile: [..., 1] of the block's numbers [..., 1]."""
    return numbers.astype(np.float64)

"""Does the target's pile look like the shadows' piles? Statistics of a pile alone: no label, no candidate."""

from __future__ import annotations

import numpy as np

from attack.evidence.embeddings.builtin import detail, in_parts, standardised
from attack.evidence.embeddings.distances import distances

STATISTICS = ("nearest-neighbour distance", "near-duplicates", "spread", "fine detail")
OUTSIDE = 3.0  # |z| of a statistic above which the target lies outside the shadows
_LOOKED_AT = 1000  # images of a pile, evenly spaced: all pairs of them are compared
_NEAR = 0.5  # distance of standardised images below which two are near-duplicates (config data.group_distance)


def pile_statistics(pile: np.ndarray) -> np.ndarray:
    """float64 [4] of a pile [image, height, width]: median log distance of a generated image to its nearest fellow,
    share of images with a fellow nearer than a near-duplicate, mean log distance of two images, and the log share of
    an image's energy that is in its detail. A pile of one image has no fellows, and 0 for the first three. Of a large
    pile _LOOKED_AT images stand for all: piles are compared at equal size."""
    pile = pile[np.unique(np.linspace(0, len(pile) - 1, min(_LOOKED_AT, len(pile))).astype(int))]
    vectors = in_parts(standardised, pile)
    d = distances(vectors, vectors).astype(np.float64)
    np.fill_diagonal(d, np.inf)
    nearest = np.maximum(d.min(1), 1e-4)
    pairs = d[np.triu_indices(len(d), 1)]
    if len(d) == 1:
        nearest = pairs = np.ones(1)  # whose logarithm is 0
    energy = in_parts(_fine, pile)[:, 0]
    return np.array(
        [
            np.median(np.log(nearest)),
            (nearest < _NEAR).mean(),
            np.log(np.maximum(pairs, 1e-4)).mean(),
            np.log(np.maximum(energy, 1e-9)).mean(),
        ]
    )


def _fine(images: np.ndarray) -> np.ndarray:
    """Share of each image's energy that is in its detail, float64 [image, 1]."""
    images = np.asarray(images, np.float64)
    centred = images - images.mean((1, 2), keepdims=True)
    return ((detail(images) ** 2).sum((1, 2)) / np.maximum((centred**2).sum((1, 2)), 1e-9))[:, None]


def likeness(target: np.ndarray, shadows: np.ndarray) -> tuple[float, np.ndarray]:
    """(distance, z [statistic]) of the target's statistics [statistic] from the shadows' [shadow, statistic].

    z is in units of the spread between shadows, floored at .05 (a shadow fleet trained alike has next to none); the
    distance is their root mean square.
    """
    z = (target - shadows.mean(0)) / np.sqrt(shadows.var(0, ddof=1) + 0.05**2)
    return float(np.sqrt((z**2).mean())), z


def excess(z: np.ndarray) -> float:
    """How far outside the target lies: the squared excess of its largest |z| [statistic] over `OUTSIDE`, 0 inside.

    The shadows say nothing of generators there. If the AUC changes with a statistic as steeply as it can among the
    shadows, by one standard deviation for one of the statistic, that of a target so far beyond them has moved by as
    many standard deviations: variance in proportion to the square (`estimate.mean_auc`). The largest and not the sum,
    since the statistics go together.
    """
    return float(max(0.0, np.abs(z).max() - OUTSIDE) ** 2)

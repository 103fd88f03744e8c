"""Generated images that are nearest to the candidate of all real images, each weighted by how far it stands out.

A generated image near to a candidate shows nothing if it is nearer to another real slice, of the same patient perhaps,
whose copy it may be. So all real slices of a run, dev slices and candidates, are rivals. A slice that was used takes
the images that show it from its neighbours. After the best similarity run of ImageCLEFmedical GANs 2023 (Montenegro et
al., CEUR-WS Vol-3497), which counted whole votes. The price: the number depends on which other slices are in the run.
"""

from __future__ import annotations

import numpy as np

from attack.evidence.embedded_pile import Block, EmbeddedPile
from attack.evidence.signals.nearest import FLOOR

_LEAST = 0.01  # of the weight below, before its logarithm: a hundredth of a slice's even share of distinct images


def measure(embedded: EmbeddedPile) -> np.ndarray:
    """log(.01 + the weight of the votes): [candidate, 1].

    Each image of the pile votes for its nearest real slice with log(d_2 / d_1), its distances to the second nearest and
    the nearest. The weight is a slice's sum of these, times real slices over images of the pile. 0 for a lone slice.
    """
    real, images = embedded.distances.shape
    weight = np.zeros(real)
    if real > 1:
        first, second = np.maximum(np.partition(embedded.distances, 1, axis=0)[:2], FLOOR).astype(np.float64)
        margin = np.log(second) - np.log(first)
        weight = np.bincount(embedded.distances.argmin(0), margin, minlength=real) * real / images
    return np.log(_LEAST + weight)[:, None]


BLOCK = Block("votes", ("votes",), measure, pictures=True)

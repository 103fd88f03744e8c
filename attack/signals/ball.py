"""Generated images in a ball around the candidate (Hilprecht et al. 2019, Monte Carlo attack).

The radius is the candidate's own: within it the piles of shadows that have not seen the candidate hold m images
(geometric mean over references of the distance to the m-th). So the count asks how much denser the pile is at this
very place than piles without it, and nothing is fitted on other candidates.
"""

from __future__ import annotations

import numpy as np

from attack.signals.evidence import Evidence

_RANKS = (1, 5)
COLUMNS = tuple(f"ball.{m}" for m in _RANKS)


def signal(own: Evidence, references: Evidence) -> np.ndarray:
    """[..., 2]: log(1 + number within the radius) - log(1 + m), among the 50 nearest."""
    columns = []
    for m in _RANKS:
        radius = references["closeness"][..., m - 1].astype(np.float64).mean(-1)  # in -log distance
        inside = (own["closeness"] >= radius[..., None]).sum(-1)
        columns.append(np.log1p(inside) - np.log1p(m))
    return np.stack(columns, axis=-1)

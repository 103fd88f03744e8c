"""Is one generated image closer than its neighbourhood would have it (cf. Carlini et al. 2023, arXiv 2301.13188)?

A slice of a common kind has many generated images near it, whether or not it was used; a copy stands out from them.
"""

from __future__ import annotations

import numpy as np


def signal(numbers: np.ndarray) -> np.ndarray:
    """-log(d_1 / mean of d_2 .. d_NEAREST): [..., 1] of the block's numbers [..., NEAREST]."""
    close = numbers.astype(np.float64)
    return close[..., :1] + np.log(np.exp(-close[..., 1:]).mean(-1, keepdims=True))

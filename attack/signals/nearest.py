"""Distance to the nearest generated image (GAN-Leaks full black-box attack, Chen et al. 2020, arXiv 1909.03935)."""

from __future__ import annotations

import numpy as np

from attack.signals import closeness

COLUMNS = ("nearest",)
BLOCK = closeness.BLOCK


def signal(numbers: np.ndarray) -> np.ndarray:
    """-log d_1: [..., 1] of the block's numbers [..., NEAREST]."""
    return numbers[..., :1].astype(np.float64)

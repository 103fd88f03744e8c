"""Distance to the nearest generated images (GAN-Leaks full black-box attack, Chen et al. 2020, arXiv 1909.03935).

-log d_1, -mean log d_1..k for k = 5, 10, 50, and the ratio -log(d_1 / mean d_2..50), which asks whether one generated
image is closer than its own neighbourhood would have it (cf. Carlini et al. 2023, arXiv 2301.13188). Each minus its
mean over the references: the difficulty of the candidate (calibrated GAN-Leaks).
"""

from __future__ import annotations

import numpy as np

from attack.signals.evidence import Evidence

COLUMNS = ("nearest.1", "nearest.5", "nearest.10", "nearest.50", "nearest.ratio")


def raw(evidence: Evidence) -> np.ndarray:
    """Uncalibrated columns [..., 5]."""
    close = evidence["closeness"].astype(np.float64)
    means = [close[..., :k].mean(-1) for k in (1, 5, 10, 50)]
    ratio = close[..., 0] + np.log(np.exp(-close[..., 1:]).mean(-1))
    return np.stack([*means, ratio], axis=-1)


def signal(own: Evidence, references: Evidence) -> np.ndarray:
    """[..., 5]: the raw columns minus their mean over the references."""
    return raw(own) - raw(references).mean(-2)

"""Distance to the nearest mosaic of generated images: each tile of the candidate may have a generated image of its own.

Diffusion models with local networks put new images together from patches of training images (Kamb and Ganguli 2024,
arXiv 2412.20292), so a member shows in pieces before any generated image is a copy of the whole. The squared distances
to the nearest tiles are summed: tiles with much structure weigh most, and a pile needs fewer images to come near.
Minus the mean over the references.
"""

from __future__ import annotations

import numpy as np

from attack.signals.evidence import Evidence

COLUMNS = ("mosaic",)


def signal(own: Evidence, references: Evidence) -> np.ndarray:
    """[..., 1]: -log distance to the nearest mosaic, minus its mean over the references."""
    return (own.mosaic - references.mosaic.mean(-1))[..., None].astype(np.float64)

"""Generated images that have the candidate as their nearest real image (retrieval, as in the best similarity run of
ImageCLEFmedical GANs 2023), among the candidate and a fixed set of known real images."""

from __future__ import annotations

import numpy as np

from attack.signals.evidence import Evidence

COLUMNS = ("votes",)


def signal(own: Evidence, references: Evidence) -> np.ndarray:
    """[..., 1]: log(1 + votes) minus its mean over the references."""
    return (own.votes - references.votes.mean(-1))[..., None].astype(np.float64)

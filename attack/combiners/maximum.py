"""The maximum of the scaled signals: one that speaks is enough, however many are silent.

Which column is largest depends on how columns are scaled against each other, so nothing that differs between members
and non-members may be in the scale: piles have the mean and spread of all their known images as units, not those of
their non-members (`calibration.Bank.whole`). With the usual units an outlier shrinks itself if it is no member, and on
pure noise the maximum finds members (docs/results.md, self-tests). Only the map to log odds is fitted.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from attack.combiners import mean

NAME = "maximum"


class Maximum(mean.Mean):
    """log odds = bias + slope . largest z, slope > 0."""

    @property
    def weights(self) -> np.ndarray | None:
        return None

    def logit(self, z: np.ndarray) -> np.ndarray:
        return self.bias + self.slope * z.max(-1)

    def to_json(self) -> dict[str, Any]:
        return {**super().to_json(), "model": NAME}


def fit(z: np.ndarray, label: np.ndarray, names: tuple[str, ...], weight: np.ndarray | None = None) -> Maximum:
    """Arguments as of the others; slope and offset as of `mean.line`."""
    return Maximum(names, *mean.line(z.max(-1), label, weight))

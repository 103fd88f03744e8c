"""The shadows' held-out pairs that the plots of a report draw."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shadow.errors import UserError


@dataclass(frozen=True)
class HeldOut:
    """Two-way held-out pairs: log odds, 1 = used, and number of the shadow, all [pair]."""

    score: np.ndarray
    label: np.ndarray
    shadow: np.ndarray


def read(path: Path) -> HeldOut | None:
    """None if one class is absent or a score is not finite. UserError where the file cannot be read."""
    try:
        with np.load(path, allow_pickle=False) as store:
            held = HeldOut(store["score"], store["label"], store["shadow"])
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: cannot be read ({error}); fit again") from error
    both = 0 < held.label.sum() < len(held.label)
    return held if both and np.isfinite(held.score).all() else None

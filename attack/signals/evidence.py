"""What is measured once for every (pile, candidate): the store that all signals are computed from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from attack.embeddings import distances

NEAREST = 50  # nearest generated images that are kept
_FLOOR = 1e-4  # of a distance, before its logarithm: below the rounding of 8-bit pixels


class Evidence(NamedTuple):
    """Evidence of piles about candidates in one embedding; leading axes are free.

    closeness: -log distance to the NEAREST nearest generated images, falling, float [..., NEAREST].
    votes: log(1 + generated images whose nearest known real image the candidate is), float [...].
    """

    closeness: np.ndarray
    votes: np.ndarray


def pack(evidence: Evidence) -> np.ndarray:
    """float32 [..., NEAREST + 1], as stored."""
    return np.concatenate([evidence.closeness, evidence.votes[..., None]], axis=-1).astype(np.float32)


def unpack(values: np.ndarray) -> Evidence:
    return Evidence(values[..., :-1], values[..., -1])


def measure(
    candidates: np.ndarray,
    groups: Sequence[str],
    pile: np.ndarray,
    reference: np.ndarray,
    reference_groups: Sequence[str],
) -> Evidence:
    """Evidence [candidate] of one pile, from embedded images [image, feature].

    `reference` are the known real images that compete for votes; those of the candidate's own group stand aside, so
    that a neighbour does not take its votes. A pile smaller than NEAREST repeats its farthest image. Depends on each
    candidate alone, never on the others. Raises ValueError on an empty pile.
    """
    if not len(pile):
        raise ValueError("an empty pile")
    d = distances(candidates, pile)
    kept = min(NEAREST, len(pile))
    near = np.sort(np.partition(d, kept - 1, axis=1)[:, :kept], axis=1)
    near = np.pad(near, ((0, 0), (0, NEAREST - kept)), mode="edge")
    to_reference = distances(reference, pile)
    rival_groups = np.asarray(reference_groups)
    nearest_rival = to_reference.min(0)
    counts = np.empty(len(candidates))
    for i, group in enumerate(groups):
        own = rival_groups == group
        rival = to_reference[~own].min(0, initial=np.inf) if own.any() else nearest_rival
        counts[i] = (d[i] < rival).sum()
    return Evidence(-np.log(np.maximum(near, _FLOOR)), np.log1p(counts))

"""Attacks by the distance to generated images: GAN-Leaks, distance ratio, Monte Carlo.

d_1 <= d_2 <= ... <= d_n: distances of the candidate x to the n images of the pile, in a space of `Inputs`.
"""

from __future__ import annotations

import numpy as np

from attack.baselines.inputs import Inputs

_FLOOR = 1e-4  # of a distance, before its logarithm


def nearest(inputs: Inputs, space: str) -> np.ndarray:
    """-d_1, the distance to the nearest generated image.

    In "raw" this is the full black-box attack of GAN-Leaks (Chen et al. 2020), whose L2 + LPIPS loses its LPIPS there.
    """
    return -inputs.distances(space, "candidates", "pile").min(1).astype(np.float64)


def calibrated(inputs: Inputs, space: str) -> np.ndarray:
    """min_r d(x, r) - d_1, over reference images r: nearer to the pile than to real images of its kind?

    GAN-Leaks subtracts the distance to images of another generator; real images in their place are the variant that
    the code of DOMIAS compares with, whose sigmoid we leave out: it changes no order and rounds to 0 and 1.
    """
    return inputs.distances(space, "candidates", "reference").min(1).astype(np.float64) + nearest(inputs, space)


def ratio(inputs: Inputs, space: str) -> np.ndarray:
    """-log(d_1 / mean(d_2 .. d_50)): is one generated image closer than the neighbourhood has it? 0 for a pile of one.

    Carlini et al. 2023 compare a generated image with its neighbours among training images; here it is the other way
    round.
    """
    d = inputs.distances(space, "candidates", "pile").astype(np.float64)
    kept = min(50, d.shape[1])
    near = np.maximum(np.sort(np.partition(d, kept - 1, axis=1)[:, :kept], axis=1), _FLOOR)
    return np.log(near[:, min(1, kept - 1) :].mean(1)) - np.log(near[:, 0])


def monte_carlo(inputs: Inputs, space: str, weighted: bool = False) -> np.ndarray:
    """(1/n) sum_j [d_j <= e], the share of the pile within a radius e (Hilprecht et al. 2019); weighted: their
    (1/n) sum_j [d_j <= e] (-log d_j).

    The paper's median heuristic takes the median, over the candidates, of the distance to the nearest generated image,
    and so makes each score depend on the other candidates; ours takes it over the reference, or if there is none over
    generated images with the nearest other one (a pile of one: all is within).
    """
    d = inputs.distances(space, "candidates", "pile").astype(np.float64)
    if len(inputs.images["reference"]):
        typical = inputs.distances(space, "reference", "pile").min(1)
    else:
        among = inputs.distances(space, "sample", "pile")
        typical = np.partition(among, 1, axis=1)[:, 1] if among.shape[1] > 1 else np.array([np.inf])
    weights = -np.log(np.maximum(d, _FLOOR)) if weighted else np.ones_like(d)
    return np.where(d <= np.median(typical), weights, 0).mean(1)

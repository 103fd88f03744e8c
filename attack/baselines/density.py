"""DOMIAS: the density of the pile against that of real images."""

from __future__ import annotations

import numpy as np
from scipy.linalg import solve_triangular
from scipy.special import logsumexp

from attack.baselines.inputs import Inputs, products


def log_density(points: np.ndarray, data: np.ndarray) -> np.ndarray:
    """log p(x), p(x) = (1/n) sum_i N(x; data_i, h^2 S): a Gaussian kernel density estimate, float64 [m].

    points [m, d], data [n, d]; h = n^(-1/(d+4)) is Scott's factor, S the data's covariance (see below).
    As scipy's gaussian_kde, but the covariance is drawn towards the identity as if d more images had it (a pile of one
    repeated image has none of its own).
    """
    n, d = data.shape
    centred = data - data.mean(0)
    root = np.linalg.cholesky((centred.T @ centred + d * np.eye(d)) / (n - 1 + d)) * n ** (-1 / (d + 4))
    whiten = solve_triangular(root, np.eye(d), lower=True).T
    points, data = products(points, whiten), data @ whiten
    scale = np.log(n) + np.log(np.diag(root)).sum() + d / 2 * np.log(2 * np.pi)
    return np.array([logsumexp(-((data - point) ** 2).sum(1) / 2) for point in points]) - scale


def domias(inputs: Inputs) -> np.ndarray:
    """log p_pile(x) - log p_reference(x) (van Breugel et al. 2023), by kernel densities of principal components."""
    candidates, pile, reference = inputs.points()
    return log_density(candidates, pile) - log_density(candidates, reference)

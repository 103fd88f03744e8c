"""Cluster-Medoid Leakage Attack: how near is the candidate to the middle of a dense region of the pile?"""

from __future__ import annotations

import numpy as np
from sklearn.cluster import HDBSCAN

from attack.baselines.inputs import Inputs
from attack.evidence.embeddings.distances import distances

SMALLEST = 5  # images of a cluster, at least


def medoids(points: np.ndarray) -> np.ndarray:
    """The medoids of the clusters of points [image, feature] by HDBSCAN (Campello et al. 2013), [cluster, feature].

    Where no region is dense, or with fewer than SMALLEST images, each image is a medoid of its own.
    """
    if len(points) < SMALLEST:
        return points
    found = HDBSCAN(min_cluster_size=SMALLEST, store_centers="medoid", copy=True).fit(points)
    return found.medoids_ if len(found.medoids_) else points


def cmla(inputs: Inputs) -> np.ndarray:
    """-min_c |x - c| over the medoids c of the pile's clusters (Mustaqim et al. 2025, arXiv 2512.06062).

    Images are whitened principal components. The paper's thresholds are quantiles of such distances and change no
    order.
    """
    centres = medoids(inputs.components("pile"))
    return -distances(inputs.components("candidates"), centres).min(1).astype(np.float64)

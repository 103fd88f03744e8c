"""VCMI at ImageCLEFmedical GANs 2023 (Montenegro et al. 2023, CEUR-WS Vol-3497): six deciders over similarities of a
pile and real images.

There the real images are the candidates themselves; `rivals` says who stands in for them: "reference", or "candidates"
as published. The paper's deciders say 0 or 1; ours give a score [candidate] that is above 0 where they say 1. `space`
is a space of `Inputs.similarity`: s is SSIM, or 1 - mean square difference of features. x is the candidate, g a
generated image of the pile G, r and q are real images (rivals), A = {s(r, q): r != q}.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # whose registry imports this file
    from attack.baselines.inputs import Inputs


def _best(inputs: Inputs, space: str) -> np.ndarray:
    return inputs.similarity(space, "candidates", "pile").max(1).astype(np.float64)


def _among(inputs: Inputs, space: str, rivals: str) -> np.ndarray:
    """Similarities of any two real images. Of fewer than two nothing is known, and only equality will do."""
    pairs = inputs.similarity(space, rivals, rivals).astype(np.float64)
    return pairs[~np.eye(len(pairs), dtype=bool)] if len(pairs) > 1 else np.ones(1)


def threshold_max(inputs: Inputs, space: str, rivals: str) -> np.ndarray:
    """max_g s(x, g) - max A: used where a generated image is more like x than any two real ones are alike."""
    return _best(inputs, space) - _among(inputs, space, rivals).max()


def threshold_3sd(inputs: Inputs, space: str, rivals: str) -> np.ndarray:
    """max_g s(x, g) - (mean A + 3 sd A): as threshold_max, with the usual limit of outliers for the maximum."""
    among = _among(inputs, space, rivals)
    return _best(inputs, space) - among.mean() - 3 * among.std()


def retrieval(inputs: Inputs, space: str, rivals: str) -> np.ndarray:
    """log(1 + |{g: s(x, g) > s(r, g) for all r}|) - log 1.5: used where a generated image finds x the most similar of
    all real images (ties: none of them).
    """
    own, others = (inputs.similarity(space, name, "pile") for name in ("candidates", rivals))
    bar = others.max(0)
    if rivals == "candidates" and len(own) > 1:  # whoever leads must beat the second
        bar = np.where(own == bar, np.partition(own, -2, axis=0)[-2], bar)
    return np.log1p((own > bar).sum(1)) - np.log(1.5)


def ranking(inputs: Inputs, space: str, rivals: str) -> np.ndarray:
    """1/2 - mean over g and r of [s(r, g) > s(x, g)], a tie counting half: used where the candidate's mean rank, as
    generated images rank real ones, is better than middling. (The published code takes argsort for ranks.)
    """
    own, others = (inputs.similarity(space, name, "pile") for name in ("candidates", rivals))
    ahead = sum(
        (np.count_nonzero(rival > own, axis=1) + np.count_nonzero(rival >= own, axis=1)) / 2 for rival in others
    )
    ahead = ahead / own.shape[1]
    if rivals == "candidates":
        return 0.5 - (ahead - 0.5) / max(len(others) - 1, 1)  # without the tie with itself
    return 0.5 - ahead / len(others)


def clustering(inputs: Inputs, space: str, rivals: str) -> np.ndarray:
    """max_{y in G or rivals} s(x, y) - (mean B + 3 sd B), B the similarities of all pairs of images, generated and real
    (there: or equals). Pairs with generated images are averaged over a sample of the pile."""
    beside = inputs.similarity(space, "candidates", rivals)
    if rivals == "candidates":
        beside = np.where(np.eye(len(beside), dtype=bool), -np.inf, beside)
    real, generated = len(inputs.images[rivals]), len(inputs.images["pile"])
    blocks = [
        (real * (real - 1), _among(inputs, space, rivals)),
        (2 * real * generated, inputs.similarity(space, rivals, "sample")),
        (generated * (generated - 1), _among(inputs, space, "sample")),
    ]
    pairs, means, squares = np.array([(n, x.mean(dtype=float), np.square(x, dtype=float).mean()) for n, x in blocks]).T
    mean, square = np.average([means, squares], axis=1, weights=pairs)
    return np.maximum(_best(inputs, space), beside.max(1)) - mean - 3 * np.sqrt(max(square - mean**2, 0))


def ensemble(inputs: Inputs, space: str, rivals: str) -> np.ndarray:
    """min(retrieval, max(ranking, threshold_max)): ranking, but used where threshold_max says so, and then not used
    where retrieval says so."""
    either = np.maximum(ranking(inputs, space, rivals), threshold_max(inputs, space, rivals))
    return np.minimum(retrieval(inputs, space, rivals), either)


DECIDERS = (threshold_max, threshold_3sd, retrieval, ranking, clustering, ensemble)

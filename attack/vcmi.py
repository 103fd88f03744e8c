"""VCMI at ImageCLEFmedical GANs 2023 (Montenegro et al. 2023, CEUR-WS Vol-3497): six deciders over similarities of a
pile and real images.

There the real images are the candidates themselves; `rivals` says who stands in for them: "reference", or "candidates"
as published. The paper's deciders say 0 or 1; ours give a score [candidate] that is above 0 where they say 1. `space`
is a space of `Inputs.similarity`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # whose registry imports this file
    from attack.baselines import Inputs


def _best(inputs: Inputs, space: str) -> np.ndarray:
    return inputs.similarity(space, "candidates", "pile").max(1).astype(np.float64)


def _among(inputs: Inputs, space: str, rivals: str) -> np.ndarray:
    """Similarities of any two real images. Of fewer than two nothing is known, and only equality will do."""
    pairs = inputs.similarity(space, rivals, rivals).astype(np.float64)
    return pairs[~np.eye(len(pairs), dtype=bool)] if len(pairs) > 1 else np.ones(1)


def threshold_max(inputs: Inputs, space: str, rivals: str) -> np.ndarray:
    """Used where the most similar generated image is more so than any two real ones are."""
    return _best(inputs, space) - _among(inputs, space, rivals).max()


def threshold_3sd(inputs: Inputs, space: str, rivals: str) -> np.ndarray:
    """As threshold_max, with the mean plus three standard deviations of the real images' similarities."""
    among = _among(inputs, space, rivals)
    return _best(inputs, space) - among.mean() - 3 * among.std()


def retrieval(inputs: Inputs, space: str, rivals: str) -> np.ndarray:
    """Used where a generated image finds the candidate most similar of all real images (ties: none of them).

    Score: log(1 + such images) - log 1.5.
    """
    own, others = (inputs.similarity(space, name, "pile") for name in ("candidates", rivals))
    bar = others.max(0)
    if rivals == "candidates" and len(own) > 1:  # whoever leads must beat the second
        bar = np.where(own == bar, np.partition(own, -2, axis=0)[-2], bar)
    return np.log1p((own > bar).sum(1)) - np.log(1.5)


def ranking(inputs: Inputs, space: str, rivals: str) -> np.ndarray:
    """Used where the candidate's mean rank, as generated images rank real ones by similarity, is better than middling.

    Score: 1/2 - mean share of rivals ahead, a tie counting half. (The published code takes argsort for ranks.)
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
    """Used where the largest similarity to any image, generated or real, exceeds the mean plus three standard
    deviations of the similarities of all pairs (there: or equals). Pairs with generated images are averaged over a
    sample of the pile."""
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
    """ranking, but used where threshold_max says so, and not used where retrieval says so: by minimum and maximum."""
    either = np.maximum(ranking(inputs, space, rivals), threshold_max(inputs, space, rivals))
    return np.minimum(retrieval(inputs, space, rivals), either)


DECIDERS = (threshold_max, threshold_3sd, retrieval, ranking, clustering, ensemble)

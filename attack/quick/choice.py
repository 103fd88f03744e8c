"""Which baseline labels the submission, and what the labelled dev slices say of choosing the best."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from attack import crossfit
from attack.baselines import BASELINES
from attack.statistics import ranking

# Where nothing measures which is best. The ratio of distances in high-pass pixels was the best single signal of the
# first trial (docs/decisions.md); it needs no reference, and depends on the candidate and the pile alone.
DEFAULT = "ratio.highpass"


def best(scores: Mapping[str, np.ndarray], label: np.ndarray) -> str:
    """The baseline with the highest AUC on scores [slice] and labels 0/1 [slice]; of several the first.

    Those whose scores depend on who else is scored are passed over.
    """
    areas = {name: ranking.auc(s, label) for name, s in scores.items() if not BASELINES[name].set_dependent}
    return max(areas, key=lambda name: areas[name])


def held_out(
    scores: Mapping[str, np.ndarray], label: np.ndarray, group: np.ndarray, folds: int, seed: int
) -> tuple[np.ndarray, list[str]]:
    """What picking the best is worth: scores [slice] by the baseline that was best on the other folds of groups, and
    the baseline picked for each fold. NaN where the other folds hold one class only.

    Baselines have different units, so a score is given as the share of the other folds' slices below it (ties half),
    which needs no label.
    """
    fold = crossfit.folds(group, folds, seed)[group]
    result, picked = np.full(len(label), np.nan), []
    for f in range(int(fold.max()) + 1):
        here, rest = fold == f, fold != f
        if not 0 < label[rest].sum() < rest.sum():
            continue
        name = best({key: s[rest] for key, s in scores.items()}, label[rest])
        own, others = scores[name][here], scores[name][rest]
        result[here] = ((others < own[:, None]).mean(1) + (others <= own[:, None]).mean(1)) / 2
        picked.append(name)
    return result, picked


def labels(name: str, score: np.ndarray, prior: float) -> np.ndarray:
    """0/1 [candidate] for a submission: what the method itself decides where it does (score above 0), else 1 for the
    share `prior` of the candidates with the highest scores (at least one; ties at the end of it are 1 too)."""
    if BASELINES[name].decides:
        return (score > 0).astype(np.int8)
    count = max(1, round(prior * len(score)))
    return (score >= np.sort(score)[-count]).astype(np.int8)

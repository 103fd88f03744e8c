"""Which baseline labels the submission, what dev slices say of choosing the best, and rules that need no label."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from attack.baselines import BASELINES
from attack.inference import crossfit
from attack.metrics import ranking

# Where nothing measures which is best. The ratio of distances in high-pass pixels was the best single signal of the
# first trial (docs/decisions.md); it needs no reference, and depends on the candidate and the pile alone.
DEFAULT = "ratio.highpass"


def best(scores: Mapping[str, np.ndarray], label: np.ndarray) -> str:
    """The baseline with the highest AUC on scores [slice] and labels 0/1 [slice]; of several the first.

    Those whose scores depend on who else is scored are passed over.
    """
    areas = {name: ranking.auc(s, label) for name, s in scores.items() if not BASELINES[name].set_dependent}
    return max(areas, key=lambda name: areas[name])


def turns(
    scores: Mapping[str, np.ndarray], label: np.ndarray, group: np.ndarray, folds: int, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray, str]]:
    """For each fold of groups: its slices and the others, both bool [slice], and the best baseline on the others.

    Folds whose others hold one class only are left out.
    """
    fold = crossfit.folds(group, folds, seed)[group]
    for f in range(int(fold.max()) + 1):
        here, rest = fold == f, fold != f
        if 0 < label[rest].sum() < rest.sum():
            yield here, rest, best({key: s[rest] for key, s in scores.items()}, label[rest])


def shares(score: np.ndarray, here: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """Share in [0, 1] of the scores of `rest` below each score of `here`, ties half; score [slice], masks [slice].

    Baselines have different units. A share has none, and needs no label.
    """
    own, others = score[here], score[rest]
    return np.asarray(((others < own[:, None]).mean(1) + (others <= own[:, None]).mean(1)) / 2)


def held_out(
    scores: Mapping[str, np.ndarray], label: np.ndarray, group: np.ndarray, folds: int, seed: int
) -> tuple[np.ndarray, list[str]]:
    """What picking the best is worth: scores [slice] by the baseline that was best on the other folds of groups, and
    the baseline picked for each fold. NaN where the other folds hold one class only.

    A score is given as the share of the other folds' slices below it (`shares`).
    """
    result, picked = np.full(len(label), np.nan), []
    for here, rest, name in turns(scores, label, group, folds, seed):
        result[here] = shares(scores[name], here, rest)
        picked.append(name)
    return result, picked


@dataclass(frozen=True)
class Worth:
    """AUC of picking the best baseline, judged on slices of groups that it was not picked on, with its 95 % interval
    over groups; None where the groups are too few. names: the baseline picked for each fold."""

    auc: float | None
    interval: tuple[float, float] | None
    names: tuple[str, ...]


def worth(scores: Mapping[str, np.ndarray], label: np.ndarray, group: np.ndarray, folds: int, seed: int) -> Worth:
    """Judges what picking the best is worth, by the scores of `held_out`: scores [slice] by baseline, label 0/1
    [slice], group int [slice]."""
    held, names = held_out(scores, label, group, folds, seed)
    kept = np.isfinite(held)
    if not 0 < label[kept].sum() < kept.sum():
        return Worth(None, None, tuple(names))
    interval = ranking.auc_interval_grouped(held[kept], label[kept], group[kept])
    return Worth(ranking.auc(held[kept], label[kept]), interval, tuple(names))


def labels(name: str, score: np.ndarray, prior: float) -> np.ndarray:
    """0/1 [candidate] for a submission: what the method itself decides where it does (score above 0), else 1 for the
    share `prior` of the candidates with the highest scores (at least one; ties at the end of it are 1 too)."""
    if BASELINES[name].decides:
        return (score > 0).astype(np.int8)
    return highest(score, prior)


def highest(score: np.ndarray, prior: float) -> np.ndarray:
    """0/1 [candidate]: 1 for the share `prior` of the highest scores (at least one; ties at the end of it are 1 too)"""
    count = max(1, round(prior * len(score)))
    return np.asarray(score >= np.sort(score)[-count], np.int8)


def follows_order(objective: str, prior: float) -> bool:
    """Whether `highest` reaches, with an order that says nothing, all that any labelling reaches then.

    Every labelling then has an expected kappa of 0, and at a prior of one half an expected accuracy of one half. So the
    order can only gain. F1 is different: all-ones has 2 prior / (1 + prior), the highest `prior` have `prior`.
    """
    return objective == "kappa" or (objective == "accuracy" and prior == 0.5)

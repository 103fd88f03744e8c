"""Leave one family out: how well an attack that has never seen a family of generators works on it.

Weights fitted on one architecture may not carry over to another, and the target may be of neither. So each family is
attacked as the target will be: fitted on the shadows of the other families, whose piles alone are references.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from attack import calibration
from attack.crossfit import (
    HeldOut,
    Labelled,
    Options,
    Recipe,
    by_fold,
    chosen_columns,
    fit_recipe,
    folds,
    pairs_of,
)
from attack.model import Combiner


def possible(data: Labelled) -> bool:
    """Are there two families or more, each of which leaves every pair of the others the references that it needs?"""
    found, member = np.unique(data.family), data.bank.member
    return len(found) > 1 and all(calibration.least_without(member[data.family != f]) > 1 for f in found)


def leave_one_out(data: Labelled, options: Options, draw: int, recipes: Sequence[Recipe]) -> list[HeldOut]:
    """Held-out scores of all pairs by each of `recipes`, for one draw of references.

    For every family and fold of groups the combiner is fitted on the shadows of the other families, with images
    outside the fold; references are shadows of the other families, too, as many for every pair. Raises
    ValueError where that is not `possible`.
    """
    if not possible(data):
        raise ValueError("leaving a family out needs two families that each leave every pair a reference")
    shadows, candidates = data.bank.member.shape
    order = calibration.priorities(data.ids, shadows, options.seed, draw)
    fold = folds(data.group, options.folds, options.seed)
    names = data.bank.names
    logit = np.zeros((len(recipes), shadows, candidates))
    z = np.zeros((shadows, candidates, len(names)))
    combiners: list[list[tuple[Combiner, ...]]] = [[()] * shadows for _ in recipes]
    for family in np.unique(data.family):
        others, asked = np.flatnonzero(data.family != family), np.flatnonzero(data.family == family)
        known, turns = data.only(others), order[:, others]
        count = calibration.reference_count(known.bank.member, options.references, aside=1)
        fitted_on = by_fold(calibration.shadow_residuals(known.bank, turns, count), known, fold)
        mine = data.only(asked)
        judged = by_fold(calibration.relative(known.bank, mine.bank.values, turns, count), mine, fold)
        for f, ((left, residuals, nulls), (_, own, own_nulls)) in enumerate(zip(fitted_on, judged, strict=True)):
            here = left[data.group]
            pairs = pairs_of(residuals, known, range(len(others)), left, nulls)
            for k, residual, outside in zip(asked, own, own_nulls, strict=True):
                z[k, here] = calibration.standardise(residual, outside, pairs.pooled)[here]
            for i, recipe in enumerate(recipes):
                fitted: dict[str, Combiner] = {}
                for k in asked:
                    model = recipe.at(int(k), f)
                    if model not in fitted:
                        fitted[model] = fit_recipe(pairs, names, options.ridge, model, recipe.columns)
                    logit[i, k, here] = fitted[model].logit(chosen_columns(z[k, here], recipe))
                    combiners[i][k] = (*combiners[i][k], fitted[model])
    return [HeldOut(logit[i], z, tuple(found), fold[data.group]) for i, found in enumerate(combiners)]

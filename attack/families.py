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
    chosen_columns,
    fit_recipe,
    folds,
    pairs_of,
    shadow_nulls,
)
from attack.model import Combiner


def possible(data: Labelled) -> bool:
    """Are there two families or more, each of which leaves every pair of the others a reference?"""
    found = np.unique(data.family)
    return len(found) > 1 and all((~data.bank.member[data.family != f]).sum(0).min() > 1 for f in found)


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
        count = max(1, min(options.references, int((~known.bank.member).sum(0).min()) - 1))  # a shadow stands aside
        residuals = calibration.shadow_residuals(known.bank, turns, count).value
        nulls = shadow_nulls(residuals, known)
        references = calibration.choose_references(known.bank, turns, count)
        own = {k: calibration.residuals(known.bank, data.bank.values[k], references) for k in asked}
        own_nulls = {k: calibration.null_sums(r, ~data.bank.member[k], data.group, data.groups) for k, r in own.items()}
        for f in range(fold.max() + 1):
            left, here = fold == f, (fold == f)[data.group]
            pairs = pairs_of(residuals, known, range(len(others)), left, nulls)
            for k in asked:
                z[k, here] = calibration.standardise(own[k], own_nulls[k], pairs.pooled)[here]
            for i, recipe in enumerate(recipes):
                fitted: dict[str, Combiner] = {}
                for k in asked:
                    model = recipe.at(int(k), f)
                    if model not in fitted:
                        fitted[model] = fit_recipe(pairs, names, options.ridge, model, recipe.columns)
                    logit[i, k, here] = fitted[model].logit(chosen_columns(z[k, here], recipe))
                    combiners[i][k] = (*combiners[i][k], fitted[model])
    return [HeldOut(logit[i], z, tuple(found), fold[data.group]) for i, found in enumerate(combiners)]

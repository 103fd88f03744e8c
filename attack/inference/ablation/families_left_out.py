"""Leave one family out: how well an attack that has never seen a family of generators works on it.

Weights fitted on one architecture may not carry over to another, and the target may be of neither. So each family is
attacked as the target will be: fitted on the shadows of the other families, whose piles alone are references.
"""

from __future__ import annotations

import numpy as np

from attack.inference import calibration, combiner, reference_choice
from attack.inference.crossfit import HeldOut, Labelled, Options, by_fold, folds, pairs_of


def possible(data: Labelled) -> bool:
    """Are there two families or more, each of which leaves every pair of the others the references that it needs?"""
    found, member = np.unique(data.family), data.shadow_signals.member
    return len(found) > 1 and all(reference_choice.least_without(member[data.family != f]) > 1 for f in found)


def leave_one_out(data: Labelled, options: Options, draw: int) -> HeldOut:
    """Held-out scores of all pairs for one draw of references.

    For every family and fold of groups the combiner is fitted on the shadows of the other families, with images
    outside the fold; references are shadows of the other families, too, as many for every pair. Raises
    ValueError where that is not `possible`.
    """
    if not possible(data):
        raise ValueError("leaving a family out needs two families that each leave every pair a reference")
    shadows, candidates = data.shadow_signals.member.shape
    order = reference_choice.priorities(data.ids, shadows, options.seed, draw)
    fold = folds(data.group, options.folds, options.seed)
    names = data.shadow_signals.names
    logit = np.zeros((shadows, candidates))
    z = np.zeros((shadows, candidates, len(names)))
    for family in np.unique(data.family):
        others, asked = np.flatnonzero(data.family != family), np.flatnonzero(data.family == family)
        known, turns = data.only(others), order[:, others]
        count = reference_choice.reference_count(known.shadow_signals.member, options.references, aside=1)
        fitted_on = by_fold(calibration.shadow_residuals(known.shadow_signals, turns, count), known, fold)
        mine = data.only(asked)
        judged = by_fold(
            calibration.relative(known.shadow_signals, mine.shadow_signals.values, turns, count), mine, fold
        )
        for (left, residuals, nulls), (_, own, own_nulls) in zip(fitted_on, judged, strict=True):
            here = left[data.group]
            pairs = pairs_of(residuals, known, range(len(others)), left, nulls)
            fitted = combiner.fit(pairs.z, pairs.label, names, options.ridge)
            for k, residual, outside in zip(asked, own, own_nulls, strict=True):
                z[k, here] = calibration.standardise(residual, outside, pairs.pooled)[here]
                logit[k, here] = fitted.logit(z[k, here])
    return HeldOut(logit, z)

"""Which combiner: the one that finds the members of shadows it was not fitted on.

Where there are two families or more, of a family it was not fitted on. The simplest combiner is kept unless another
gains more than the standard error of the gain. A choice made on all shadows flatters whatever is then reported of
them, so reported pairs (k, x) use one that was made as if k and the fold of x did not exist: see `nested`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import numpy as np

from attack import calibration, crossfit, estimate, families
from attack.combiners import AUTO, MODELS
from attack.crossfit import Labelled, Options, Recipe
from shadow import keys

BLOCKS = 4  # of shadows that share a nested choice
_FOLDS = 2  # of groups, within a choice


@dataclass(frozen=True)
class Choice:
    """`model` is the combiner chosen, `by` "given", "family" (leave one family out) or "two-way"; auc and
    gain by model: mean within-shadow AUC, and (gain over the model kept so far, its standard error)."""

    model: str
    by: str
    auc: dict[str, float] = field(default_factory=dict)
    gain: dict[str, tuple[float, float]] = field(default_factory=dict)


def choose(data: Labelled, options: Options) -> Choice:
    """The combiner for these shadows and images, by one draw of references. Raises ValueError where a shadow has only
    one class."""
    if options.model != AUTO:
        return Choice(options.model, "given")
    if families.possible(data):
        few = dataclasses.replace(options, folds=_FOLDS)
        held = families.leave_one_out(data, few, 0, [Recipe(model) for model in MODELS])
        return _best("family", {m: h.logit for m, h in zip(MODELS, held, strict=True)}, data)
    return _best("two-way", _halves(data, options), data)


def _best(by: str, scores: dict[str, np.ndarray], data: Labelled) -> Choice:
    member, group = data.bank.member, data.group
    auc = {model: estimate.mean_within(score, member) for model, score in scores.items()}
    kept, gains = MODELS[0], {}
    for model in MODELS[1:]:
        gain, error = estimate.paired_gain(scores[model], scores[kept], member, group)
        gains[model] = (gain, error)
        if gain > error:
            kept = model
    return Choice(kept, by, auc, gains)


def _halves(data: Labelled, options: Options) -> dict[str, np.ndarray]:
    """Log odds [shadow, candidate] by model: each half of the shadows and of the groups is scored by what was fitted on
    the other half of both. A shadow may be a reference of any other, unlike in `crossfit`: these figures choose and are
    never reported."""
    member = data.bank.member
    count = calibration.reference_count(member, options.references, aside=1)
    order = calibration.priorities(data.ids, len(member), options.seed, 0)
    found = calibration.shadow_residuals(data.bank, order, count)
    fold = crossfit.folds(data.group, _FOLDS, options.seed)
    turn = keys.generator(options.seed, "choice").permutation(len(member))
    halves = [np.sort(turn[: len(turn) // 2]), np.sort(turn[len(turn) // 2 :])]
    scores = {model: np.zeros(member.shape) for model in MODELS}
    for out, residuals, nulls in crossfit.by_fold(found, data, fold):
        for fitted_on, asked in (halves, halves[::-1]):
            pairs = crossfit.pairs_of(residuals, data, fitted_on.tolist(), out, nulls)
            here = out[data.group]
            z = {k: calibration.standardise(residuals[k], nulls[k], pairs.pooled)[here] for k in asked}
            for model, score in scores.items():
                combiner = crossfit.fit_recipe(pairs, data.bank.names, options.ridge, model, None)
                for k in asked:
                    score[k, here] = combiner.logit(z[k])
    return scores


def blocks(data: Labelled) -> list[np.ndarray]:
    """The shadows, dealt in turn into at most BLOCKS blocks, none so large that a pair of the others is left without
    the references that it needs."""
    shadows = len(data.bank.member)
    spare = max(1, calibration.least_without(data.bank.member) - 2)
    size = min(-(-shadows // BLOCKS), spare)
    return np.array_split(np.arange(shadows), -(-shadows // size))


def nested(data: Labelled, options: Options) -> list[list[str]]:
    """The combiner for the pairs of each shadow and fold, [shadow][fold], chosen without that fold and without the
    block of shadows that this one is in: as if they did not exist."""
    shadows = len(data.bank.member)
    fold = crossfit.folds(data.group, options.folds, options.seed)
    if options.model != AUTO:
        return [[options.model] * (int(fold.max()) + 1) for _ in range(shadows)]
    result: list[list[str]] = [[] for _ in range(shadows)]
    for block in blocks(data):
        left = data.only(np.setdiff1d(np.arange(shadows), block))
        for f in range(fold.max() + 1):
            found = choose(left.outside(fold == f), options).model
            for k in block:
                result[k].append(found)
    return result


def nested_families(data: Labelled, options: Options) -> list[list[str]]:
    """As `nested`, where a whole family stands aside with each of its shadows."""
    fold = crossfit.folds(data.group, options.folds, options.seed)
    result: list[list[str]] = [[] for _ in data.family]
    for family in np.unique(data.family):
        left = data.only(np.flatnonzero(data.family != family))
        for f in range(fold.max() + 1):
            found = choose(left.outside(fold == f), options).model
            for k in np.flatnonzero(data.family == family):
                result[k].append(found)
    return result

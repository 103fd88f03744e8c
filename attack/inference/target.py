"""The fitted attack applied to a pile of the target: what no shadow label was ever known for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from attack.inference import calibration, crossfit, reference_choice
from attack.inference.combiner import Combiner
from attack.inference.crossfit import Labelled, Options
from attack.inference.shadow_signals import ShadowSignals
from shadow import keys


@dataclass(frozen=True)
class Target:
    """One pile of the target and the candidates asked about.

    pile_pool, pile_candidates: its signals [image, column] of the shadows' pool and of the candidates; null: bool
    [image of the pool], known not to be in its training set, or where that is `presumed` images of which most are not;
    shadow_signals: the shadows' signals of the candidates; its members are the shadows that hold one, where they may.
    """

    pile_pool: np.ndarray
    pile_candidates: np.ndarray
    null: np.ndarray
    shadow_signals: ShadowSignals
    ids: tuple[str, ...]
    presumed: bool = False


def candidate_z(
    data: Labelled, target: Target, pooled: np.ndarray, options: Options, draw: int, out: np.ndarray | None = None
) -> np.ndarray:
    """z [candidate, column] for one draw of references; of each candidate alone. What is expected of a candidate
    (`expectation`) knows nothing of images of the groups `out`, bool [group], and of a slice of the pool nothing of its
    fold: it is as new to it as a candidate is."""
    shadows = len(data.shadow_signals.values)
    left = np.zeros(len(data.ids), bool) if out is None else out[data.group]
    # as many as every pair has
    count = options.count(data.shadow_signals)

    def relative(shadow_signals: ShadowSignals, ids: tuple[str, ...], own: np.ndarray) -> calibration.Relative:
        order = reference_choice.priorities(ids, shadows, options.seed, draw)
        return calibration.relative(shadow_signals, own[None], order, count)

    seen = relative(data.shadow_signals, data.ids, target.pile_pool)
    known = seen.held_out(crossfit.folds(data.group, options.folds, options.seed)[data.group], left)[0]
    if not target.null.any():
        raise ValueError("no slice stands for the non-members of the target's pile")
    if target.presumed:
        order = reference_choice.priorities(data.ids, shadows, options.seed, draw)
        residuals = calibration.shadow_residuals(data.shadow_signals, order, count).outside(left)
        nulls = calibration.presumed_nulls(known[target.null], residuals, ~data.shadow_signals.member, pooled)
    else:
        nulls = calibration.null_sums(known, target.null, data.group, data.groups)
    asked = relative(target.shadow_signals, target.ids, target.pile_candidates).residuals(seen.expected(left))[0]
    place = {name: i for i, name in enumerate(data.ids)}
    for i, name in enumerate(target.ids):
        if name in place:
            asked[i] = known[place[name]]
    return calibration.standardise(asked, nulls, pooled)


def fit_draws(
    data: Labelled,
    options: Options,
    draws: int,
    out: np.ndarray | None = None,
) -> list[tuple[Combiner, np.ndarray]]:
    """The attack fitted on all shadows, a (combiner, pooled variance) for each draw of references. Groups of `out`,
    bool [group], are in nothing."""
    shadows = len(data.shadow_signals.values)
    out = np.zeros(data.groups, bool) if out is None else out
    count = options.count(data.shadow_signals)
    fitted = []
    for draw in range(draws):
        order = reference_choice.priorities(data.ids, shadows, options.seed, draw)
        residuals = calibration.shadow_residuals(data.shadow_signals, order, count).outside(out[data.group])
        fitted.append(crossfit.fit_on(residuals, data, range(shadows), out, options.ridge))
    return fitted


def z_by_draw(
    data: Labelled,
    target: Target,
    fitted: Sequence[tuple[Combiner, np.ndarray]],
    options: Options,
    out: np.ndarray | None = None,
) -> list[np.ndarray]:
    """`candidate_z` for every draw of references, with the pooled variances of `fit_draws`."""
    return [candidate_z(data, target, pooled, options, draw, out) for draw, (_, pooled) in enumerate(fitted)]


def log_odds(fitted: Sequence[tuple[Combiner, np.ndarray]], z: Sequence[np.ndarray]) -> np.ndarray:
    """Log odds [candidate] of z [candidate, column] for each draw, averaged over draws."""
    return np.mean([combiner.logit(of_draw) for (combiner, _), of_draw in zip(fitted, z, strict=True)], axis=0)


def score(
    data: Labelled,
    target: Target,
    fitted: Sequence[tuple[Combiner, np.ndarray]],
    options: Options,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Log odds [candidate], averaged over draws of references; `out` as in `candidate_z`."""
    return log_odds(fitted, z_by_draw(data, target, fitted, options, out))


def score_pools(data: Labelled, targets: Sequence[Target], options: Options, draws: int) -> np.ndarray:
    """Log odds [target, image] of the pool's images themselves on piles of targets, each by an attack that was fitted
    without its group: the transfer from shadows to labelled targets. Each must have the `shadow_signals` of
    `data`."""
    fold = crossfit.folds(data.group, options.folds, options.seed)
    result = np.zeros((len(targets), len(data.group)))
    for f in range(fold.max() + 1):
        here = fold[data.group] == f
        fitted = fit_draws(data, options, draws, out=fold == f)
        for row, target in zip(result, targets, strict=True):
            row[here] = score(data, target, fitted, options, out=fold == f)[here]
    return result


def bootstrap_scores(
    data: Labelled,
    target: Target,
    options: Options,
    draws: int,
    resamples: int,
    moved: Callable[[Combiner, int, int], Combiner] | None = None,
) -> np.ndarray:
    """Log odds [resample, candidate] when shadows and groups of dev images are drawn anew with replacement: how far the
    fit decides them. Resample b uses draw b mod draws. moved(combiner, draw, resample): the combiner that scores in
    the place of the one fitted on the shadows; None leaves it."""
    shadows, groups = len(data.shadow_signals.values), data.groups
    count = options.count(data.shadow_signals)
    nobody = np.zeros(groups, bool)
    pairs = data.shadow_signals.member.astype(float)
    cache = {}
    for draw in range(min(draws, resamples)):
        order = reference_choice.priorities(data.ids, shadows, options.seed, draw)
        residuals = calibration.shadow_residuals(data.shadow_signals, order, count).value
        pooled = crossfit.pairs_of(
            residuals, data, range(shadows), nobody, crossfit.shadow_nulls(residuals, data)
        ).pooled
        cache[draw] = residuals, candidate_z(data, target, pooled, options, draw)
    result = np.zeros((resamples, len(target.ids)))
    for b in range(resamples):
        residuals, z = cache[b % draws]
        rng = keys.generator(options.seed, "bootstrap", b)
        drawn_shadows = np.bincount(rng.integers(0, shadows, shadows), minlength=shadows)
        drawn_groups = np.bincount(rng.integers(0, groups, groups), minlength=groups)
        weight = np.outer(drawn_shadows, drawn_groups).astype(float)
        per_pair = weight[:, data.group]
        if min((per_pair * pairs).sum(), (per_pair * (1 - pairs)).sum()) == 0:
            weight[:] = 1.0  # a resample without one of the classes says nothing: the plain fit stands in
        combiner, _ = crossfit.fit_on(residuals, data, range(shadows), nobody, options.ridge, weight)
        result[b] = (combiner if moved is None else moved(combiner, b % draws, b)).logit(z)
    return result

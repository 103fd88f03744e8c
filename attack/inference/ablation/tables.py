"""The figures of fit.json that take the fitted attack apart: family by family, part by part."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from attack.inference import estimate
from attack.inference.ablation import families_left_out as families
from attack.inference.ablation import importance, learning_curve
from attack.inference.crossfit import Labelled, Options
from attack.results import Families, LeftOut, Worth


def of_families(
    data: Labelled, options: Options, logit: np.ndarray, candidates: int, names: Sequence[str]
) -> Families | None:
    """How the attack does family by family; None where there is one.

    logit: two-way held-out scores [shadow, candidate].
    """
    numbers, counts = np.unique(data.family, return_counts=True)
    if len(numbers) < 2:
        return None
    mean = estimate.mean_auc(logit, data.shadow_signals.member, data.group, candidates)
    possible = families.possible(data)
    return Families(
        names=tuple(names[n] for n in numbers.tolist()),
        shadows=tuple(counts.tolist()),
        two_way=by_family(mean.within, data.family),
        left_out=families_left_out(data, options, candidates) if possible else None,
        why=None if possible else "without a family too few shadows are left as references",
    )


def worth(data: Labelled, options: Options, shadows: Sequence[int], block: int) -> Worth:
    """What each part is worth (`importance`), and what more shadows would bring (`learning_curve`)."""
    parts, whole = importance.figures(data, options)
    return Worth(parts=parts, curve=learning_curve.figures(data, options, whole, shadows, block))


def families_left_out(data: Labelled, options: Options, candidates: int) -> LeftOut:
    """AUC of the attack on families that it was not fitted on, for the first draw of references."""
    held = families.leave_one_out(data, options, 0)
    kinds = estimate.Kinds(data.family)
    mean = estimate.mean_auc(held.logit, data.shadow_signals.member, data.group, candidates, kinds=kinds)
    return LeftOut(
        auc=mean.auc,
        interval=mean.interval,
        prediction_interval=mean.prediction,
        by_family=by_family(mean.within, data.family),
    )


def by_family(within: np.ndarray, family: np.ndarray) -> tuple[float, ...]:
    """Mean of the within-shadow AUCs [shadow] of each family, in the order of their numbers."""
    return tuple(float(within[family == f].mean()) for f in np.unique(family))

"""The figures of fit.json that take the fitted attack apart: which model and why, family by family, part by part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from attack import choice, curve, estimate, families, importance
from attack.choice import Choice
from attack.combiners import AUTO, MODELS
from attack.crossfit import Labelled, Options, Recipe


def chosen(found: Choice, models: Sequence[Sequence[str]]) -> dict[str, Any]:
    """{"name", "by", "auc", "gain", "nested"}: the model of the target's attack and how it was chosen (see `Choice`);
    "nested": for how many of the held-out (shadow, fold) each model was chosen without them."""
    flat = [model for row in models for model in row]
    return {
        "name": found.model,
        "by": found.by,
        "auc": found.auc,
        "gain": {name: {"gain": gain, "error": error} for name, (gain, error) in found.gain.items()},
        "nested": {model: flat.count(model) for model in MODELS if model in flat},
    }


def of_families(
    data: Labelled, options: Options, logit: np.ndarray, candidates: int, names: Sequence[str]
) -> dict[str, Any] | None:
    """How the attack does family by family; None where there is one.

    {"names", "shadows", "two_way", "left_out", "why"}: families in their order, their shadows, their mean within-shadow
    AUC of the two-way held-out scores `logit` [shadow, candidate], and `families_left_out`, None with a reason where
    too few shadows are left for it.
    """
    numbers, counts = np.unique(data.family, return_counts=True)
    if len(numbers) < 2:
        return None
    mean = estimate.mean_auc(logit, data.bank.member, data.group, candidates)
    possible = families.possible(data)
    return {
        "names": [names[n] for n in numbers.tolist()],
        "shadows": counts.tolist(),
        "two_way": by_family(mean.within, data.family),
        "left_out": families_left_out(data, options, candidates) if possible else None,
        "why": None if possible else "without a family too few shadows are left as references",
    }


def worth(
    data: Labelled, options: Options, models: Sequence[Sequence[str]], shadows: Sequence[int], block: int
) -> dict[str, Any]:
    """{"models", "parts"} of `importance.figures` and {"curve"} of `curve.figures`."""
    found, whole = importance.figures(data, options, models)
    return {**found, "curve": curve.figures(data, options, models, whole, shadows, block)}


def families_left_out(data: Labelled, options: Options, candidates: int) -> list[dict[str, Any]]:
    """AUC of each model, and of the attack's own (nested), on families that it was not fitted on: rows {"name", "auc",
    "interval", "by_family"}, for the first draw of references."""
    recipes = [Recipe(choice.nested_families(data, options)), *(Recipe(model) for model in MODELS)]
    held = families.leave_one_out(data, options, 0, recipes)
    rows = []
    for name, found in zip(("chosen" if options.model == AUTO else "attack", *MODELS), held, strict=True):
        mean = estimate.mean_auc(found.logit, data.bank.member, data.group, candidates, family=data.family)
        rows.append(
            {
                "name": name,
                "auc": mean.auc,
                "interval": list(mean.interval),
                "prediction_interval": list(mean.prediction),
                "by_family": by_family(mean.within, data.family),
            }
        )
    return rows


def by_family(within: np.ndarray, family: np.ndarray) -> list[float]:
    """Mean of the within-shadow AUCs [shadow] of each family, in the order of their numbers."""
    return [float(within[family == f].mean()) for f in np.unique(family)]

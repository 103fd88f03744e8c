"""From the shadows to a labelled target: what the attack says of the dev slices, and what their labels mend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special

from attack import recalibration, store, target
from attack.crossfit import Options
from attack.model import Recalibration
from attack.recalibration import Labels, Pairs
from attack.statistics import metrics
from shadow.errors import UserError

# What stands for `measured` where the data have no dev pile with labelled slices (edition own).
UNLABELLED = {
    "auc": None,
    "interval": None,
    "why": "there are no labelled slices of a generator",
    "same_generator": False,
}
FIGURES = ("brier", "log_loss", "ece")


def probability_figures(logit: np.ndarray, label: np.ndarray, group: np.ndarray, seed: int) -> dict[str, Any]:
    """brier, log_loss and ece, each {value, low, high} with a bootstrap over groups (`metrics.calibration_figures`), of
    log odds [slice] at a prior of one half, which is moved to the share of used slices."""
    chance = special.expit(logit + special.logit(label.mean()))
    found = metrics.calibration_figures(chance, label, group, seed=seed)
    return {name: {key: found[name][key] for key in ("value", "low", "high")} for name in FIGURES}


def dev_labels(data: store.Store, step: int, pile: str, options: Options, draws: int) -> Labels:
    """The attack's log odds of the dev slices on a pile of the target ("generated_dev" or "generated_test"), each by an
    attack fitted without its group. UserError where there is one class only."""
    label = data.used.astype(int)
    if not 0 < label.sum() < len(label):
        raise UserError("the dev folder holds only one class: both used and not used slices are needed")
    known, dev = data.labelled(step, pile), len(data.dev)
    score = target.score_pools(known, [data.pool_target(step, pile)], options, draws)[0]
    return Labels(score[:dev], label, known.group[:dev])


def measured(dev: Labels, shadows: Recalibration, same_generator: bool, seed: int) -> dict[str, Any]:
    """AUC and quality of the probabilities of the dev slices with nothing fitted on their labels."""
    low, high = metrics.auc_interval_grouped(dev.score, dev.label, dev.group)
    return {
        "auc": metrics.auc(dev.score, dev.label),
        "interval": [low, high],
        "members": int(dev.label.sum()),
        "non_members": int((1 - dev.label).sum()),
        "same_generator": same_generator,
        **probability_figures(shadows.logit(dev.score), dev.label, dev.group, seed),
    }


@dataclass(frozen=True)
class OnDev:
    """What the labels of dev slices of the same generator set.

    labels: the slices' scores on the pile that the candidates are scored on; recalibration: the map of log odds;
    used, not_used: thresholds, None where the slices are too few for one; fpr_interval: limits of the chance that
    `used` flags an unused slice (`recalibration.fpr_interval`).
    """

    labels: Labels
    recalibration: Recalibration
    used: float | None
    not_used: float | None
    fpr_interval: tuple[float, float] | None


def on_dev(dev: Labels, shadows: Pairs, fpr: float) -> OnDev:
    below = recalibration.threshold(-dev.score[dev.label == 1], fpr)
    return OnDev(
        dev,
        recalibration.fit(dev, shadows),
        recalibration.threshold(dev.score[dev.label == 0], fpr),
        None if below is None else -below,
        recalibration.fpr_interval(int((dev.label == 0).sum()), fpr),
    )


def recalibrated(found: OnDev, shadows: Pairs, before: Recalibration, folds: int, seed: int) -> dict[str, Any]:
    """The recalibration for evaluation.json: the map, and its figures before and after, the latter cross-validated over
    groups."""
    dev = found.labels
    held = recalibration.cross_validated(dev, shadows, folds, seed)
    return {
        "slope": found.recalibration.slope,
        "offset": found.recalibration.offset,
        "before": {"slope": before.slope, "offset": before.offset}
        | probability_figures(before.logit(dev.score), dev.label, dev.group, seed),
        "cross_validated": probability_figures(held, dev.label, dev.group, seed),
        "slices": len(dev.label),
        "threshold_used_from": "shadows" if found.used is None else "dev",
        "threshold_not_used_from": "shadows" if found.not_used is None else "dev",
        "fpr_interval": found.fpr_interval,
    }


def thresholds(summary: dict[str, Any], found: OnDev) -> dict[str, Any]:
    """The thresholds, and what a flag is worth, where dev slices of the same generator set them; a threshold for which
    they are too few stays that of the shadows."""
    high = summary["threshold_used"] if found.used is None else found.used
    low = summary["threshold_not_used"] if found.not_used is None else found.not_used
    if high is not None and low is not None and low >= high:  # so well separated that the zones overlap
        low = float(np.nextafter(high, -np.inf))
    changed: dict[str, Any] = {"threshold_used": high, "threshold_not_used": low}
    if found.used is not None:
        dev = found.labels
        tpr, fpr = (float((dev.score[dev.label == kind] >= found.used).mean()) for kind in (1, 0))
        changed["priors"] = [
            {"prior": p, "tpr": tpr, "fpr": fpr, "ppv": metrics.ppv_at_prior(tpr, fpr, p)} for p in metrics.PRIORS
        ]
    return changed

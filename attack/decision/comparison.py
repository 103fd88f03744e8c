"""The candidates of a run against its slices known not to be used, and what such a comparison can see.

The comparison is fair where the two are of one kind. Two things are looked at: whether a classifier that sees no
generated image tells them apart, and who has a relative that is known to be used (`unlabelled.compared`).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from attack.decision import placebo, unlabelled, verdict
from attack.decision.placebo import Placebo
from attack.decision.platt import Labels
from attack.decision.unlabelled import Contrast, Inflation, Slices
from attack.inference import controls, target
from attack.inference.crossfit import Labelled
from attack.inference.fitting import options
from attack.inference.store import Store
from attack.results import Candidates
from shadow.config import Config
from shadow.data.manifest import Manifest

_PLACEBO_DRAWS = 1  # orders of references: with four an inflation was 1.65 instead of 1.69, at four times the cost
_UNFAIR = 0.01  # p of the classifier that tells candidates from slices known not to be used, by their pixels


@dataclass(frozen=True)
class Sides:
    """Whose scores are compared: candidates, slices known not to be used, and dev slices known to be; pool_group: of
    all images of the pool. Patients are numbered together."""

    asked: Slices
    null: Slices
    used: Slices
    pool_group: np.ndarray


def sides(data: Store, score: np.ndarray, pool: np.ndarray) -> Sides:
    """score: log odds [candidate]; pool: [image of the pool], dev slices first."""
    dev, count = len(data.dev), len(data.pool)
    asked_group, group = unlabelled.numbered(data.groups[dev:], data.groups[:count])
    used, known = np.flatnonzero(data.used), group[:dev][data.used]
    return Sides(
        Slices(score, asked_group, np.isin(asked_group, known)),
        Slices(pool[data.null], group[data.null], np.isin(group[data.null], known)),
        Slices(pool[used], group[used]),
        group,
    )


@dataclass(frozen=True)
class Against:
    """The candidates against slices known not to be used. contrast: None where there is no fair comparison, for the
    reason `why`; blind_p: one-sided p of a classifier that tells the two apart by their pixels, None without one."""

    contrast: Contrast | None
    why: str
    placebo: Placebo
    blind_p: float | None


def compare(
    data: Store, manifest: Manifest, config: Config, known: Labelled, asked: target.Target, both: Sides
) -> Against:
    """The comparison of a run, inflated by its placebos, unless it would not be fair."""
    found = placebo.placebo(known, asked, options(config), _PLACEBO_DRAWS, both.asked.group, both.pool_group)
    candidates, nulls = len(both.asked.score), len(both.null.score)
    if min(candidates, nulls) < unlabelled.LEAST:
        why = f"{candidates} candidates and {nulls} slices known not to be used are too few to compare"
        return Against(None, f"{why}: {unlabelled.LEAST} of each are needed", found, None)
    try:
        contrast = unlabelled.contrast(both.asked, both.null).inflated(found.inflation)
    except ValueError as error:
        return Against(None, str(error), found, None)
    ids = [*(name for name, null in zip(data.pool, data.null, strict=True) if null), *data.test]
    blind = controls.blind(
        manifest.images_at(ids, config.data.resolution),
        (np.arange(len(ids)) >= nulls).astype(int),
        np.concatenate([both.null.group, both.asked.group]),
        config.attack.seed,
    )
    p = blind.p
    if p is not None and p < _UNFAIR:
        why = (
            "the candidates are another kind of image than the slices known not to be used: a classifier that sees no "
            f"generated image tells them apart (AUC {blind.auc:.2f}), so that standing above them shows nothing"
        )
        return Against(None, why, found, p)
    return Against(contrast, "", found, p)


def figures(against: Against, prior: float, fpr: float) -> Candidates:
    """For evaluation.json: the comparison of the candidates with slices known not to be used."""
    placebos = against.placebo
    bare = Candidates(
        why=against.why,
        blind_p=against.blind_p,
        placebo=tuple(one.area for one in placebos.contrasts),
        inflation=placebos.inflation.factor,
        placebo_flagged=float(placebos.flagged(fpr).mean()) if len(placebos.above) else None,
    )
    if against.contrast is None:
        return bare
    return dataclasses.replace(
        bare,
        auc=against.contrast.auc(prior),
        interval=against.contrast.interval(prior),
        p=against.contrast.p,
        **vars(against.contrast),
    )


def labelled_p(labels: Labels) -> float | None:
    """One-sided p of "used dev slices score like unused ones", with patients as units; None with one patient."""
    used = labels.label == 1
    try:
        return unlabelled.contrast(
            Slices(labels.score[used], labels.group[used]), Slices(labels.score[~used], labels.group[~used])
        ).p
    except ValueError:
        return None


def smallest_auc(both: Sides, labelled: bool, inflation: Inflation, prior: float, seed: int) -> float | None:
    """The weakest leak that this verdict would call, see `verdict.smallest_auc`; None where there is no comparison."""
    if min(len(both.asked.score), len(both.null.score)) < unlabelled.LEAST:
        return None
    try:
        unlabelled.Comparison.of(both.asked, both.null)
    except ValueError:
        return None
    used = both.used if labelled else both.used.only(np.zeros(len(both.used.score), bool))
    alike = verdict.correlation(both.null.score, both.null.group)
    # simulated unused candidates stand at .5, and are held against it: real ones stand where the real centre is
    inflation = dataclasses.replace(inflation, centre=0.5)
    return verdict.smallest_auc((both.asked, both.null, used), alike, prior, seed, inflation)

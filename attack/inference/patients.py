"""Patients instead of slices: patients.csv, and how exposed single patients are on the shadows.

An attack can be sure of single patients while its average looks like chance (Knolle et al., Nature 2026,
doi:10.1038/s41586-026-10688-0). Only where patients are known: near-duplicate clusters are no patients.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from attack.inference import estimate
from attack.inference.controls import Redraw
from attack.metrics import pooling
from attack.results import PatientAuc, Patients
from shadow import files, keys
from shadow.config import Config
from shadow.data.manifest import PATIENTS, Manifest

HEADER = ("patient", "slices", "score_logmeanexp", "score_top3", "probability", "highest")
_SPLITS = 20  # of the shadows into halves, so that the figure does not hang on one of them
UNKNOWN = "patients are not known: near-duplicate clusters stand in for them"


def known(manifest: Manifest, config: Config) -> bool:
    """Are the manifest's groups patients, named by a csv of the user's?"""
    return bool(config.data.patients) or (manifest.root / PATIENTS).is_file()


def rows(
    ids: Sequence[str], patient: Sequence[str], score: np.ndarray, probability: np.ndarray
) -> list[tuple[Any, ...]]:
    """Lines of patients.csv (`HEADER`) by falling score_logmeanexp, from the log odds and probabilities [slice] of the
    candidates. A patient's line depends on its own candidates alone; `probability` is that of at least one used."""
    names = np.asarray(patient)
    found = []
    for name in np.unique(names):
        mine = np.flatnonzero(names == name)
        first = min(mine, key=lambda i: (-score[i], ids[int(i)]))
        scores = pooling.logmeanexp(score[mine]), pooling.top_mean(score[mine]), pooling.any_used(probability[mine])
        found.append((str(name), len(mine), *(f"{value:.6f}" for value in scores), ids[int(first)]))
    return sorted(found, key=lambda row: (-float(row[2]), row[0]))


def write(
    workdir: Path, ids: Sequence[str], patient: Sequence[str], score: np.ndarray, probability: np.ndarray
) -> None:
    """Writes patients.csv, a row a patient."""
    files.write_csv(workdir / "patients.csv", HEADER, rows(ids, patient, score, probability))


def on_shadows(
    score: np.ndarray,
    member: np.ndarray,
    group: np.ndarray,
    target_patients: int,
    seed: int,
    redrawn: Sequence[Redraw] = (),
) -> Patients:
    """Patient-level figures from two-way held-out log odds [shadow, slice] with the answer member bool [shadow, slice].

    A patient's label in a shadow is whether the shadow holds any slice of it. `auc`: for each pooled score the mean
    within-shadow AUC over patients with its intervals (`estimate.mean_auc`; the prediction interval for
    `target_patients` patients). `success` [patient], rising: see `success`. `worst_decile`: see `worst_tenth`;
    `worst_decile_redrawn` and `worst_decile_redrawn_range` [lowest, highest]: the mean and range of the same figure
    over `redrawn` memberships, which the piles know nothing of. Figures that cannot be had are None.
    """
    groups = int(group.max()) + 1
    inside = np.stack([np.bincount(group, row, groups) > 0 for row in member])
    areas = []
    for name, how in pooling.SCORES.items():
        pooled = np.stack([pooling.pool(row, group, groups, how) for row in score])
        try:
            area = estimate.mean_auc(pooled, inside, np.arange(groups), target_patients)
        except ValueError as error:
            areas.append(PatientAuc(score=name, why=str(error)))
        else:
            areas.append(
                PatientAuc(score=name, auc=area.auc, interval=area.interval, prediction_interval=area.prediction)
            )
    shares = success(score, member, group)
    mine = np.sort(shares[np.isfinite(shares)])
    of_redrawn = [worst_tenth(drawn.logit, drawn.member, group, seed) for drawn in redrawn]
    by_chance = [value for value in of_redrawn if value is not None]
    return Patients(
        patients=groups,
        auc=tuple(areas),
        judged=len(mine),
        success=tuple(mine.tolist()),
        above_all=int((mine == 1).sum()),
        worst_decile=worst_tenth(score, member, group, seed),
        worst_decile_patients=_tenth(len(mine)),
        worst_decile_redrawn=float(np.mean(by_chance)) if by_chance else None,
        worst_decile_redrawn_range=(min(by_chance), max(by_chance)) if by_chance else None,
        median=float(np.median(mine)),
    )


def worst_tenth(score: np.ndarray, member: np.ndarray, group: np.ndarray, seed: int) -> float | None:
    """Mean `success`, in [0, 1], of the most exposed tenth of patients on shadows that did not choose them.

    The highest tenth of many noisy figures is high by chance. So the shadows are split into halves at random: one half
    chooses the tenth with the highest success, the other half judges these patients, and the other way round. The mean
    over both ways of `_SPLITS` splits is returned: near .5 if nobody is exposed, 1 if the same tenth always stands out.
    Shapes as in `success`. Halves that have no patient in common count for nothing; None where all have none.
    """
    found = []
    for turn in range(_SPLITS):
        order = keys.generator(seed, "patients/halves", turn).permutation(len(score))
        first, second = (
            success(score[half], member[half], group) for half in (order[: len(score) // 2], order[len(score) // 2 :])
        )
        both = np.flatnonzero(np.isfinite(first) & np.isfinite(second))
        if len(both):
            for chooses, judges in ((first[both], second[both]), (second[both], first[both])):
                # Shuffled, so that equal patients do not stand in the order of their numbers.
                mixed = keys.generator(seed, "patients/ties", turn).permutation(len(both))
                top = mixed[np.argsort(-chooses[mixed], kind="stable")[: _tenth(len(both))]]
                found.append(float(judges[top].mean()))
    return float(np.mean(found)) if found else None


def _tenth(count: int) -> int:
    return max(1, count // 10)


def success(score: np.ndarray, member: np.ndarray, group: np.ndarray) -> np.ndarray:
    """How surely each patient's used slices are found, float [patient]: the mean over all pairs (shadow, slice of the
    patient that it holds) of the share of the shadow's non-members that score lower, ties counted one half. 1: every
    used slice of the patient stands above all non-members of every shadow; .5 is guessing. NaN for a patient that no
    shadow holds, or only shadows without non-members."""
    total, pairs = np.zeros((2, int(group.max()) + 1))
    for values, held in zip(score, member, strict=True):
        outside = np.sort(values[~held])
        if len(outside):
            below, upto = (np.searchsorted(outside, values[held], side) for side in ("left", "right"))
            np.add.at(total, group[held], (below + upto) / (2 * len(outside)))
            np.add.at(pairs, group[held], 1)
    return np.divide(total, pairs, out=np.full(len(total), np.nan), where=pairs > 0)

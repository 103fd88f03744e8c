"""Patients instead of slices: patients.csv, and how exposed single patients are on the shadows.

An attack can be sure of single patients while its average looks like chance (Knolle et al., Nature 2026,
doi:10.1038/s41586-026-10688-0). Only where patients are known: near-duplicate clusters are no patients.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from attack import estimate, pooling
from shadow import files
from shadow.config import Config
from shadow.data.manifest import PATIENTS, Manifest

HEADER = ("patient", "slices", "score_logmeanexp", "score_top3", "probability", "highest")
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
    files.write_csv(workdir / "patients.csv", HEADER, rows(ids, patient, score, probability))


def on_shadows(score: np.ndarray, member: np.ndarray, group: np.ndarray, target_patients: int) -> dict[str, Any]:
    """Patient-level figures from two-way held-out log odds [shadow, slice] with the answer member bool [shadow, slice].

    A patient's label in a shadow is whether the shadow holds any slice of it. `auc`: for each pooled score the mean
    within-shadow AUC over patients with its intervals (`estimate.mean_auc`; the prediction interval for
    `target_patients` patients). `success` [patient], rising: see `success`.
    """
    groups = int(group.max()) + 1
    inside = np.stack([np.bincount(group, row, groups) > 0 for row in member])
    found: dict[str, Any] = {"patients": groups, "auc": []}
    for name, how in pooling.SCORES.items():
        pooled = np.stack([pooling.pool(row, group, groups, how) for row in score])
        row: dict[str, Any] = {"score": name, "auc": None, "interval": None}
        try:
            area = estimate.mean_auc(pooled, inside, np.arange(groups), target_patients)
        except ValueError as error:
            row["why"] = str(error)
        else:
            row |= {
                "auc": area.auc,
                "interval": list(area.interval),
                "prediction_interval": list(area.prediction),
            }
        found["auc"].append(row)
    shares = success(score, member, group)
    mine = np.sort(shares[np.isfinite(shares)])
    decile = max(1, len(mine) // 10)
    return found | {
        "judged": len(mine),
        "success": mine.tolist(),
        "above_all": int((mine == 1).sum()),
        "worst_decile": float(mine[-decile:].mean()),
        "worst_decile_patients": decile,
        "median": float(np.median(mine)),
    }


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

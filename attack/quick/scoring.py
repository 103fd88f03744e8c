"""Every baseline on the candidates, and on the labelled dev slices where there are any."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from attack import crossfit, submission
from attack.baselines import BASELINES, Inputs, Turn, score_all, score_inputs
from attack.quick import choice
from attack.statistics import ranking
from shadow import files, fleet, keys
from shadow.config import Config
from shadow.data.manifest import Manifest


def pile(manifest: Manifest, config: Config, role: str) -> np.ndarray:
    """`attack.pile` images of a pile by chance, or all where it has no more: float32 [image, side, side] in [0, 255]"""
    rows = manifest.rows(role)
    count = min(config.attack.pile, len(rows))
    chosen = np.sort(keys.generator(config.attack.seed, "subsample", role).choice(len(rows), count, replace=False))
    return manifest.images_at(manifest.id[rows[chosen]].tolist(), config.data.resolution)


def predict(folder: Path, manifest: Manifest, config: Config) -> None:
    """Writes scores.csv (a column a baseline), predictions.csv and submission.csv of the chosen one, and
    attack/baselines.json with every figure of the report. Scores: higher = more likely used."""
    attack = config.attack
    ids = manifest.id[manifest.rows("unknown")].tolist()
    generated = pile(manifest, config, "generated_test")
    known = manifest.id[manifest.rows("not_used")].tolist()
    reference = manifest.images_at(known, config.data.resolution) if known else generated[:0]
    scores = score_all(manifest.images_at(ids, config.data.resolution), generated, reference)
    dev = on_dev(manifest, config)
    by_user, by_dev = attack.baseline, dev.get("best")
    chosen = by_user or by_dev or choice.DEFAULT
    said = choice.labels(chosen, scores[chosen], attack.prior)

    rows = zip(ids, *([f"{value:.9g}" for value in column] for column in scores.values()), strict=True)
    files.write_csv(folder / "scores.csv", ("id", *scores), rows)
    chosen_rows = zip(ids, (f"{value:.9g}" for value in scores[chosen]), strict=True)
    files.write_csv(folder / "predictions.csv", ("id", "score"), chosen_rows)
    submission.write(folder / "submission.csv", ids, said.tolist(), config.data.edition)
    content = {
        "candidates": len(ids),
        "pile": len(generated),
        "pile_there": len(manifest.rows("generated_test")),
        "reference": len(known),
        "dev": dev,
        "baselines": [
            {
                "name": name,
                "paper": BASELINES[name].paper,
                "set_dependent": BASELINES[name].set_dependent,
                "flagged": int((values > 0).sum()) if BASELINES[name].decides else None,
            }
            for name, values in scores.items()
        ],
        "chosen": {"name": chosen, "by": "user" if by_user else "dev" if by_dev else "default"},
        "submission": {"ones": int(said.sum()), "decides": BASELINES[chosen].decides, "prior": attack.prior},
    }
    files.write_json(folder / "attack" / "baselines.json", content)


def on_dev(manifest: Manifest, config: Config) -> dict[str, Any]:
    """AUC of every baseline on the labelled dev slices of the dev pile, and with `attack.same_generator` the best of
    them and what picking it is worth; {"why": ...} where that cannot be measured.

    A dev slice is scored with references of other folds of groups alone. Where folds leave no reference, baselines that
    need one have no figure.
    """
    used = len(manifest.rows("used"))
    names = fleet.dev_ids(manifest)
    if not used or used == len(names) or not len(manifest.rows("generated_dev")):
        return {"why": "there are no labelled used and not-used slices of a generator", "auc": {}}
    attack, label = config.attack, (np.arange(len(names)) < used).astype(int)  # dev_ids: the used come first
    row = {name: i for i, name in enumerate(manifest.id.tolist())}
    group = np.unique([manifest.group[row[name]] for name in names], return_inverse=True)[1]
    generated = pile(manifest, config, "generated_dev")
    scores = dev_scores(manifest.images_at(names, config.data.resolution), label, group, generated, config)
    areas = {}
    for name, values in scores.items():
        low, high = ranking.auc_interval_grouped(values, label, group)
        areas[name] = {"auc": ranking.auc(values, label), "interval": [low, high]}
    result: dict[str, Any] = {
        "same_generator": attack.same_generator,
        "members": used,
        "non_members": len(names) - used,
        "pile": len(generated),
        "auc": areas,
    }
    if attack.same_generator:
        result |= {"best": choice.best(scores, label), "picked": _picked(scores, label, group, config)}
    return result


def dev_scores(
    images: np.ndarray, label: np.ndarray, group: np.ndarray, generated: np.ndarray, config: Config
) -> dict[str, np.ndarray]:
    """float64 [slice] of every baseline that can be had, in the registry's order. images [slice, side, side], label
    0/1 [slice], group int [slice], generated [image, side, side]."""
    fold = crossfit.folds(group, config.attack.folds, config.attack.seed)[group]
    together = [name for name, baseline in BASELINES.items() if baseline.set_dependent]
    whole = Inputs(images, generated)
    found = score_inputs(whole, names=together)
    parts = []
    for f in range(int(fold.max()) + 1):
        reference = (label == 0) & (fold != f)
        apart = [n for n, b in BASELINES.items() if not b.set_dependent and (reference.any() or not b.needs_reference)]
        parts.append((fold == f, score_inputs(Turn(whole, fold == f, reference), names=apart)))
    for name in BASELINES:
        if all(name in scores for _, scores in parts):
            found[name] = np.empty(len(images))
            for here, scores in parts:
                found[name][here] = scores[name]
    return {name: found[name] for name in BASELINES if name in found}


def _picked(scores: dict[str, np.ndarray], label: np.ndarray, group: np.ndarray, config: Config) -> dict[str, Any]:
    """The cross-validated AUC of picking the best baseline: {"auc", "interval", "names"} or {"auc": None, "why"}."""
    held, names = choice.held_out(scores, label, group, config.attack.folds, config.attack.seed)
    kept = np.isfinite(held)
    if not 0 < label[kept].sum() < kept.sum():
        return {"auc": None, "why": "too few groups to pick on some and judge on others"}
    low, high = ranking.auc_interval_grouped(held[kept], label[kept], group[kept])
    return {"auc": ranking.auc(held[kept], label[kept]), "interval": [low, high], "names": names}

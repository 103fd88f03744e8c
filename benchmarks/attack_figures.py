"""What benchmarks/attack.py says of one finished case: every attack's score of every candidate, and figures of them."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, NamedTuple

import launching
import numpy as np

from attack import baselines, metrics
from attack.baselines.alone import choice
from attack.inference import crossfit, fitting, store, target
from attack.metrics import ranking
from shadow import fleet, piles
from shadow.config import Config
from shadow.data import manifest

RATES = (0.01, 0.1)


class Case(NamedTuple):
    """Scores [candidate] by attack, all on the same candidates; truth: 1 = used.

    `best`: the baseline, and `signal`: the calibrated signal, that are best on the shadows; `submitted`: labels that F1
    is of; on_shadows: mean AUC of each baseline on the shadows' own piles.
    """

    truth: np.ndarray
    group: list[str]
    scores: dict[str, np.ndarray]
    submitted: dict[str, np.ndarray]
    probability: np.ndarray
    flagged: np.ndarray
    best: str
    signal: str
    on_shadows: dict[str, float]
    evaluation: dict[str, Any]


def read(folder: Path, config: Config) -> Case:
    """Reads a finished run and scores every baseline whose scores depend on no other candidate."""
    size = config.data.resolution
    data = manifest.read(folder / "manifest.csv", folder / "challenge")
    kept = store.read(folder, data, config)
    evaluation = launching.evaluation(folder)
    step, limits = evaluation["regime"]["step"], evaluation["thresholds"]
    rows = {row["id"]: row for row in csv.DictReader((folder / "challenge" / "sealed" / "truth.csv").open())}
    predictions = list(csv.DictReader((folder / "predictions.csv").open()))
    said = dict(csv.reader((folder / "submission.csv").open()))
    ids, dev = [row["id"] for row in predictions], kept.dev
    truth = np.array([int(rows[name]["label"]) for name in ids])
    real = data.images_at([*dev, *ids], size)
    pool, candidates = real[: len(kept.pool)], real[len(dev) :]
    pile = data.images_at(data.id[data.rows("generated_test")].tolist(), size)
    found = _alone(baselines.score_all(candidates, pile, real[: len(dev)][kept.not_used]))
    on_shadows: dict[str, list[float]] = {name: [] for name in found}
    for place, k in enumerate(kept.shadows):
        member = kept.member[place]
        # half of its non-members are the reference, the others are asked about with the members
        outside = np.flatnonzero(~member)
        asked = np.concatenate([np.flatnonzero(member), outside[::2]])
        drawn = piles.open_pile(piles.pile_path(fleet.shadow_folder(folder, k), step))[: len(pile)]
        for name, score in _alone(baselines.score_all(pool[asked], np.asarray(drawn), pool[outside[1::2]])).items():
            on_shadows[name].append(ranking.auc(score, member[asked]))
    means = {name: float(np.mean(aucs)) for name, aucs in on_shadows.items()}
    signal, calibrated = _best_signal(kept, evaluation, config)
    scores = {"ours": np.array([float(row["score"]) for row in predictions]), f"signal {signal}": calibrated} | found
    submitted = {name: choice.labels(name, score, config.attack.prior) for name, score in found.items()}
    return Case(
        truth,
        [rows[name]["group"] for name in ids],
        scores,
        submitted | {"ours": np.array([int(said[name]) for name in ids])},
        np.array([float(row["probability"]) for row in predictions]),
        np.array([row["decision"] == "used" for row in predictions])
        if evaluation["verdict"]["level"] == "leak"
        else scores["ours"] >= (np.inf if limits["used"] is None else limits["used"]),
        max(means, key=lambda name: means[name]),
        signal,
        means,
        evaluation,
    )


def _alone(scores: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: score for name, score in scores.items() if not baselines.BASELINES[name].set_dependent}


def _best_signal(kept: store.Store, evaluation: dict[str, Any], config: Config) -> tuple[str, np.ndarray]:
    """The calibrated column that is best on the shadows, and its z [candidate] on the target's pile."""
    known: crossfit.Labelled = kept.labelled(evaluation["regime"]["step"], "generated_test")
    asked = kept.target("generated_test", evaluation["regime"]["step"])
    aucs = {row["name"]: row["auc"] or 0.0 for row in evaluation["signals"]}
    best, options = max(aucs, key=lambda name: aucs[name]), fitting.options(config)
    fitted = target.fit_draws(known, options, config.attack.draws)
    z = np.mean([target.candidate_z(known, asked, p, options, draw) for draw, (_, p) in enumerate(fitted)], axis=0)
    return best, z[:, known.shadow_signals.names.index(best)]


def row(case: Case, name: str) -> dict[str, Any]:
    """AUC with its interval, TPR with counts, F1 and, where `name` is "ours", Brier score and calibration error."""
    score, submitted = case.scores[name], case.submitted.get(name)
    low, high = ranking.auc_interval(score, case.truth)
    found: dict[str, Any] = {"attack": name, "auc": ranking.auc(score, case.truth), "low": low, "high": high}
    for rate in RATES:
        point = metrics.tpr_at_fpr(score, case.truth, rate)
        found[f"tpr {rate}"] = (
            f"{point.true_positives} of {point.members} at {point.false_positives} of {point.non_members}"
            if point.attainable
            else "-"
        )
    if submitted is not None:
        hits = int((submitted & case.truth).sum())
        found["f1"] = 2 * hits / max(int(submitted.sum() + case.truth.sum()), 1)
    if name == "ours":
        found |= {
            "brier": metrics.brier(case.probability, case.truth),
            "ece": metrics.ece(case.probability, case.truth),
        }
    return found

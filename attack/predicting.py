"""The stage `predict` on files: the fitted attack asks the target's piles about the test candidates."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
from scipy import special

from attack import confidence, estimate, fitting, model, patients, store, submission, target, transfer
from attack.crossfit import Labelled
from attack.fitting import options
from attack.recalibration import Pairs
from attack.statistics import metrics
from shadow import files
from shadow.config import Config
from shadow.data.manifest import Manifest


def predict(workdir: Path, manifest: Manifest, config: Config) -> None:
    """Scores the test candidates; writes predictions.csv, submission.csv and attack/evaluation.json."""
    folder, attack = workdir / "attack", config.attack
    summary = json.loads((folder / "fit.json").read_text())
    step = summary["regime"]["step"]
    data = store.read(workdir, manifest, config)
    known, asked = data.labelled(step, "generated_test"), data.target("generated_test", step)
    _, before = model.from_json(json.loads((folder / "model.json").read_text()))
    dev: dict[str, Any] = dict(transfer.UNLABELLED)
    if "generated_dev" in data.sizes:  # of the same generator: on the pile that the candidates are scored on
        pile = "generated_test" if attack.same_generator else "generated_dev"
        labels = transfer.dev_labels(data, step, pile, options(config), attack.draws)
        dev = transfer.measured(labels, before, attack.same_generator, attack.seed) | {"images": data.seen[pile]}
    on_dev = None
    if attack.recalibrate == "dev":
        pairs = held_pairs(folder)
        on_dev = transfer.on_dev(labels, pairs, attack.fpr)
        dev["recalibration"] = transfer.recalibrated(on_dev, pairs, before, attack.folds, attack.seed)
        summary |= transfer.thresholds(summary, on_dev)
    predictions = predict_candidates(folder, known, asked, config, on_dev)
    chosen = dataclasses.replace(options(config), model=summary["model"]["name"])
    foreseen = confidence.of_candidates(
        data,
        predictions["score"],
        step,
        chosen,
        attack.draws,
        before,
        fitting.nearness(data, manifest, config)[1].weight,
        summary["regime"]["excess"],
    )
    expected = expect(summary, dev, foreseen, len(asked.ids))
    leaks = expected["interval"] is not None and expected["interval"][0] > 0.5
    decisions = decide(predictions["score"], summary) if leaks else np.full(len(asked.ids), "undetermined")
    rows = zip(
        asked.ids,
        *(_rounded(predictions[c]) for c in ("score", "probability", "probability_low", "probability_high")),
        decisions.tolist(),
        strict=True,
    )
    files.write_csv(
        workdir / "predictions.csv",
        ("id", "score", "probability", "probability_low", "probability_high", "decision"),
        rows,
    )
    if patients.known(manifest, config):
        mine = store.groups_of(manifest, asked.ids)
        patients.write(workdir, asked.ids, mine, predictions["score"], predictions["probability"])
    else:
        (workdir / "patients.csv").unlink(missing_ok=True)  # of a time when they were known
    labelling = metrics.decide(predictions["probability"], attack.objective)
    submission.write(workdir / "submission.csv", asked.ids, labelling.labels, config.data.edition)
    half = max(len(asked.ids) // 2, 1)
    summary |= {
        "dev": dev,
        "confidence": foreseen,
        "expected": expected,
        "decisions": {name: int((decisions == name).sum()) for name in metrics.DECISIONS},
        "submission": {
            "objective": attack.objective,
            "expected": labelling.expected,
            "ones": int(np.sum(labelling.labels)),
            "candidates": len(asked.ids),
            "all_ones": bool(labelling.all_ones),
        },
        "verdict": {
            "level": "leak" if leaks else "cannot tell",
            "smallest_auc": metrics.smallest_detectable_auc(half, half),
        },
    }
    files.write_json(folder / "evaluation.json", summary)


def expect(summary: dict[str, Any], dev: dict[str, Any], foreseen: dict[str, Any], candidates: int) -> dict[str, Any]:
    """The AUC to expect on the test candidates, as {"auc", "interval", "from"}.

    Where the user says that the dev pile comes from the same generator, its labelled dev slices measure that very
    generator: their AUC, with the chance of judging on other candidates added, is what to expect ("dev"). But where
    they are so few that the whole interval without their labels fits into theirs, and always else, it is what the
    attack's confidence in these candidates foresees ("confidence"); where that is not known the shadows' two-way
    estimate with its prediction interval ("shadows").
    """
    two_way = summary["two_way"]
    unlabelled = {"auc": two_way["auc"], "interval": two_way.get("prediction_interval"), "from": "shadows"}
    if foreseen["auc"] is not None:
        unlabelled = {"auc": foreseen["auc"], "interval": foreseen["interval"], "from": "confidence"}
    if not dev["same_generator"]:
        return unlabelled
    held, half = float(np.clip(dev["auc"], 0.005, 0.995)), max(candidates // 2, 1)
    chance = 1.96 * np.sqrt(metrics.hanley_mcneil(held, half, half)) / (held * (1 - held))
    low, high = (float(special.logit(np.clip(end, 1e-6, 1 - 1e-6)) - special.logit(held)) for end in dev["interval"])
    ends = (
        float(special.expit(special.logit(held) - np.hypot(max(-low, 0.0), chance))),
        float(special.expit(special.logit(held) + np.hypot(max(high, 0.0), chance))),
    )
    limits, wide = estimate.attainable(ends, candidates), unlabelled["interval"]
    if wide and limits[0] <= wide[0] and wide[1] <= limits[1]:
        return unlabelled
    return {"auc": dev["auc"], "interval": list(limits), "from": "dev"}


def _rounded(values: np.ndarray) -> list[str]:
    return [f"{v:.6f}" for v in values]


def decide(score: np.ndarray, summary: dict[str, Any]) -> np.ndarray:
    """used | not used | undetermined by the thresholds that were frozen on the shadows."""
    high, low = summary["threshold_used"], summary["threshold_not_used"]
    used = np.zeros(len(score), bool) if high is None else score >= high
    not_used = np.zeros(len(score), bool) if low is None else score <= low
    return np.where(used, "used", np.where(not_used, "not used", "undetermined"))


def held_pairs(folder: Path) -> Pairs:
    """The shadows' held-out pairs."""
    with np.load(folder / "heldout.npz", allow_pickle=False) as found:
        return Pairs(found["score"], found["label"])


def predict_candidates(
    folder: Path, known: Labelled, asked: target.Target, config: Config, on_dev: transfer.OnDev | None = None
) -> dict[str, np.ndarray]:
    """score, probability, probability_low and probability_high [candidate], from the fitted attack in `folder`.

    Each is a function of the candidate, the piles and the shadows' pool alone, whoever else is asked about; of the
    labels of dev slices with `on_dev`.
    """
    attack = config.attack
    content = json.loads((folder / "model.json").read_text())
    combiners, recalibration = model.from_json(content)
    pooled = [np.array(p) for p in content["pooled_variance"]]
    score = target.score(known, asked, list(zip(combiners, pooled, strict=True)), options(config))
    if on_dev is not None:
        recalibration = on_dev.recalibration
    held_out = held_pairs(folder).score.reshape(known.bank.member.shape)
    labels = None if on_dev is None else on_dev.labels
    spread = target.bootstrap_logits(known, asked, held_out, options(config), attack.draws, attack.bootstrap, labels)
    probability = recalibration.probability(score, attack.prior)
    low, high = np.quantile(special.expit(spread + special.logit(attack.prior)), (0.025, 0.975), axis=0)
    return {
        "score": score,
        "probability": probability,
        "probability_low": np.minimum(low, probability),
        "probability_high": np.maximum(high, probability),
    }

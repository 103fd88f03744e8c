"""The report's truth section: the only part that opens `sealed/`, and only where that folder exists."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from attack.metrics import score
from attack.report import figures, formats, view, wording
from attack.report.provenance import read_json


@dataclass(frozen=True)
class TruthSection:
    """How right the attack was. `labels`: id -> used or not; `made`: its origin."""

    sentence: str
    decided: str
    rows: list[view.Row]
    track: view.Track
    plots: list[tuple[Markup, str]]
    labels: dict[str, bool]
    made: str


def read(
    data_root: Path, predictions: score.Predictions, evaluation: dict[str, Any], held: Any, scale: view.Scale
) -> TruthSection | None:
    """None without `sealed/truth.csv`. UserError where the truth does not fit the predictions."""
    path = data_root / "sealed" / "truth.csv"
    if not path.is_file():
        return None
    truth = score.read_truth(path)
    result = score.score(predictions, truth)
    predicted = wording.headline(evaluation)
    labels = dict(zip(truth.ids, (truth.label == 1).tolist(), strict=True))
    area = result["auc"]
    wide = predicted.get("prediction_interval")
    said = wording.against_truth(predicted.get("auc"), wide, area["value"], (area["low"], area["high"]))
    answer = np.array([labels[name] for name in predictions.ids], np.int8)
    decided = wording.right_decisions(result["decision"]["counts"]) if result["decision"] else ""
    return TruthSection(
        sentence=said,
        decided=decided,
        rows=_rows(result, evaluation),
        track=scale.track(area["value"], (area["low"], area["high"])),
        plots=_plots(result, predictions.score, answer, held, view.thresholds(evaluation)),
        labels=labels,
        made=_made(data_root / "sealed" / "challenge.json", result),
    )


def _figure(name: str, figure: dict[str, Any], predicted: str, note: str = "") -> view.Row:
    limits = (figure.get("low"), figure.get("high"))
    why = "" if figure.get("value") is not None else formats.not_measurable(figure.get("why"))
    value = formats.number(figure.get("value"))
    return view.Row(name, value, formats.interval(limits), note or why, cells=(predicted,))


def _rows(result: dict[str, Any], evaluation: dict[str, Any]) -> list[view.Row]:
    """Lines with `cells` = (what had been predicted,)."""
    two_way = evaluation.get("two_way") or {}

    def expected(value: float | None, limits: Any = None) -> str:
        return f"{formats.number(value)} {formats.interval(limits)}".strip()

    def on_shadows(value: float | None, limits: Any = None) -> str:
        return "–" if value is None else f"{expected(value, limits)} on the shadows"

    predicted = wording.headline(evaluation)
    wide = predicted.get("prediction_interval") or predicted.get("interval")
    rows = [_figure("AUC", result["auc"], expected(predicted.get("auc"), wide))]
    patients = {row["score"]: row for row in (evaluation.get("patients") or {}).get("auc") or []}
    if patients and result["per_group"]:
        mine, measured = patients["logmeanexp"], result["per_group"]
        note = f"{measured['member_groups']} of {measured['groups']} patients have a used slice"
        said = on_shadows(mine["auc"], mine.get("prediction_interval"))
        rows.append(_figure("AUC over patients", measured["logmeanexp"], said, note))
    points = {point["fpr"]: point for point in two_way.get("tpr_at_fpr") or []}
    for point in result["tpr_at_fpr"]:
        mine = points.get(point["wanted_fpr"], {})
        note = ""
        if point["attainable"]:
            note = (
                f"{point['true_positives']} of {point['members']} used, "
                f"{point['false_positives']} of {point['non_members']} unused flagged"
            )
        name = f"TPR at {formats.percent(point['wanted_fpr'])} FPR"
        rows.append(_figure(name, point, on_shadows(mine.get("tpr"), mine.get("interval")), note))
    if result["probability"]:
        for key, name in (("brier", "Brier score"), ("ece", "Calibration error")):
            rows.append(_figure(name, result["probability"][key], on_shadows(two_way.get(key))))
        aim = (evaluation.get("submission") or {}).get("objective", "f1")
        best = result["probability"]["best"].get(aim)
        if best:
            trivial = result["baselines"]["all_ones"][aim]
            name = {"f1": "F1", "kappa": "Cohen's kappa", "accuracy": "Accuracy"}[aim] + " of the submission"
            note = f"saying “used” to everything reaches {formats.number(trivial)}"
            rows.append(_figure(name, best["reached"], expected(best["expected"]), note))
    if result["decision"]:
        among = result["decision"]["undetermined_as_not_used"]
        for key, name in (("f1", "F1"), ("kappa", "Cohen's kappa"), ("precision", "Precision")):
            rows.append(_figure(f"{name} of the decisions", among[key], "–", "undetermined counted as not used"))
    return rows


def _plots(
    result: dict[str, Any], scores: np.ndarray, answer: np.ndarray, held: Any, thresholds: list[float]
) -> list[tuple[Markup, str]]:
    plots = []
    if held is not None:
        curve = figures.roc(held["score"], held["label"], None, [], (scores, answer))
        plots.append((curve, "The ROC on held-out shadows, and the one measured here."))
    drawn = figures.histogram(scores, answer, thresholds, "measured histogram")
    plots.append((drawn, "Scores of the candidates, by the truth."))
    if result["probability"]:
        rows = [
            {
                "mean_probability": row["probability"],
                "observed": row["share"],
                "count": row["items"],
                "interval": [row["share_low"], row["share_high"]],
            }
            for row in result["probability"]["reliability"]
        ]
        drawn = figures.reliability(rows, "measured reliability")
        plots.append((drawn, "Stated probabilities of the candidates against the truth."))
    return plots


def _made(path: Path, result: dict[str, Any]) -> str:
    """Where this truth comes from: numbers only, since the file may hold paths."""
    text = f"The truth of {result['members']} used and {result['non_members']} unused candidates was sealed"
    if not path.is_file():
        return text + " beside the data."
    told = read_json(path)
    steps = ((told.get("challenge") or {}).get("train") or {}).get("steps")
    trained = f" for {steps:,} steps" if steps else ""
    members = f" on {len(told['members']):,} slices" if told.get("members") else ""
    return f"{text} when this challenge was made; its generator was trained{trained}{members}."

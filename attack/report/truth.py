"""The report's truth section: the only part that opens `sealed/`, and only where that folder exists."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from markupsafe import Markup

from attack.metrics import score
from attack.report import figures, formats, view, wording
from attack.report.pairs import HeldOut
from attack.report.provenance import read_json
from attack.results import AgainstTruth, Estimate, Evaluation, Figure, Interval
from attack.results.against_truth import PerGroup, RatePoint
from attack.results.labellings import Decided


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
    data_root: Path,
    predictions: score.Predictions,
    evaluation: Evaluation,
    held: HeldOut | None,
    scale: view.Scale,
) -> TruthSection | None:
    """None without `sealed/truth.csv`. UserError where the truth does not fit the predictions."""
    path = data_root / "sealed" / "truth.csv"
    if not path.is_file():
        return None
    truth = score.read_truth(path)
    found = score.score(predictions, truth)
    labels = dict(zip(truth.ids, (truth.label == 1).tolist(), strict=True))
    answer = np.array([labels[name] for name in predictions.ids], np.int8)
    return TruthSection(
        sentence=wording.against_truth(evaluation.expected, found.auc),
        decided=wording.right_decisions(found.decision.counts) if found.decision else "",
        rows=_rows(found, evaluation),
        track=scale.track(found.auc.value, found.auc.interval),
        plots=_plots(found, predictions.score, answer, held, view.thresholds(evaluation)),
        labels=labels,
        made=_made(data_root / "sealed" / "challenge.json", found),
    )


def _row(name: str, figure: Figure | Estimate, predicted: str, note: str = "") -> view.Row:
    why = "" if figure.value is not None else formats.not_measurable(figure.why)
    value = formats.number(figure.value)
    return view.Row(name, value, formats.interval(figure.interval), note or why, cells=(predicted,))


def _rows(found: AgainstTruth, evaluation: Evaluation) -> list[view.Row]:
    """Lines with `cells` = (what had been predicted,)."""
    expected = evaluation.expected
    return [
        _row("AUC", found.auc, _said(expected.auc, expected.interval)),
        *_patient_rows(found.per_group, evaluation),
        *(_rate_row(point, evaluation) for point in found.tpr_at_fpr),
        *_probability_rows(found, evaluation),
        *_decision_rows(found.decision),
    ]


def _said(value: float | None, limits: Interval | None = None) -> str:
    return f"{formats.number(value)} {formats.interval(limits)}".strip()


def _on_shadows(value: float | None, limits: Interval | None = None) -> str:
    return "–" if value is None else f"{_said(value, limits)} on the shadows"


def _patient_rows(found: PerGroup | None, evaluation: Evaluation) -> list[view.Row]:
    mine = next((row for row in evaluation.patients.auc or () if row.score == "logmeanexp"), None)
    if found is None or mine is None:
        return []
    note = f"{found.member_groups} of {found.groups} patients have a used slice"
    return [_row("AUC over patients", found.logmeanexp, _on_shadows(mine.auc, mine.prediction_interval), note)]


def _rate_row(point: RatePoint, evaluation: Evaluation) -> view.Row:
    mine = next((rate for rate in evaluation.two_way.tpr_at_fpr if rate.fpr == point.wanted_fpr), None)
    predicted = "–" if mine is None else _on_shadows(mine.tpr, mine.interval)
    used = f"{point.true_positives} of {point.members} used"
    counts = f"{used}, {point.false_positives} of {point.non_members} unused flagged" if point.attainable else ""
    return _row(f"TPR at {formats.percent(point.wanted_fpr)} FPR", point, predicted, counts)


def _probability_rows(found: AgainstTruth, evaluation: Evaluation) -> list[view.Row]:
    if found.probability is None:
        return []
    rows = [
        _row("Brier score", found.probability.brier, _on_shadows(evaluation.two_way.brier)),
        _row("Calibration error", found.probability.ece, _on_shadows(evaluation.two_way.ece)),
    ]
    aim = evaluation.submission.objective
    if aim in found.probability.best:
        best = found.probability.best[aim]
        name = {"f1": "F1", "kappa": "Cohen's kappa", "accuracy": "Accuracy"}[aim] + " of the submission"
        note = f"saying “used” to everything reaches {formats.number(getattr(found.baselines.all_ones, aim))}"
        rows.append(_row(name, best.reached, _said(best.expected), note))
    return rows


def _decision_rows(found: Decided | None) -> list[view.Row]:
    if found is None:
        return []
    among = found.undetermined_as_not_used
    figures_of = ("F1", among.f1), ("Cohen's kappa", among.kappa), ("Precision", among.precision)
    note = "undetermined counted as not used"
    return [_row(f"{name} of the decisions", figure, "–", note) for name, figure in figures_of]


def _plots(
    found: AgainstTruth, scores: np.ndarray, answer: np.ndarray, held: HeldOut | None, thresholds: list[float]
) -> list[tuple[Markup, str]]:
    plots = []
    if held is not None:
        curve = figures.roc(held.score, held.label, None, [], (scores, answer))
        plots.append((curve, "The ROC on held-out shadows, and the one measured here."))
    drawn = figures.histogram(scores, answer, thresholds, "measured histogram")
    plots.append((drawn, "Scores of the candidates, by the truth."))
    if found.probability:
        drawn = figures.reliability([each.row for each in found.probability.reliability], "measured reliability")
        plots.append((drawn, "Stated probabilities of the candidates against the truth."))
    return plots


def _made(path: Path, found: AgainstTruth) -> str:
    """Where this truth comes from: numbers only, since the file may hold paths."""
    text = f"The truth of {found.members} used and {found.non_members} unused candidates was sealed"
    if not path.is_file():
        return text + " beside the data."
    told = read_json(path)
    steps = ((told.get("challenge") or {}).get("train") or {}).get("steps")
    trained = f" for {steps:,} steps" if steps else ""
    members = f" on {len(told['members']):,} slices" if told.get("members") else ""
    return f"{text} when this challenge was made; its generator was trained{trained}{members}."

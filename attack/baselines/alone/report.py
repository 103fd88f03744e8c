"""Assembles the report of a run without shadows: one self-contained file, led by what it cannot say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from attack.baselines.alone import statements
from attack.baselines.alone.baseline_figures import BaselineFigures, BaselineRow, DevArea
from attack.baselines.alone.choice import Worth
from attack.decision import submission
from attack.metrics import score
from attack.report import formats, provenance, view
from attack.report.pages import template
from attack.report.write import FOLD, shown_slices
from attack.results import Auc
from shadow import files
from shadow.config import Config
from shadow.data.manifest import Manifest

_HASHED = ("manifest.csv", "scores.csv", "submission.csv")


def write_report(workdir: Path, manifest: Manifest, config: Config) -> None:
    """Writes WORKDIR/report.html from the files of the run. Raises UserError naming one that is missing or damaged."""
    content = BaselineFigures.read(workdir / "attack" / "baselines.json")
    predictions = score.read_predictions(workdir / "predictions.csv")
    dev = content.dev
    scale = view.auc_axis([_area(found) for found in dev.areas])
    labels = submission.read_labels(workdir / "submission.csv", submission.of_config(config))
    candidates = _candidates(predictions, labels)
    page = template("quick.html").render(
        headline=statements.headline(content),
        warnings=statements.warnings(content),
        chosen=statements.chosen(content),
        standing=statements.standing(content),
        picked=statements.picked(content),
        scale=scale,
        rows=_rows(content, scale),
        why=dev.why or "",
        gallery=shown_slices(config, manifest, candidates),
        candidates=candidates,
        calibrated=predictions.probability is not None,
        name=content.chosen.name,
        fold=len(candidates) > FOLD,
        facts=_facts(config, content),
        versions=provenance.versions(),
        hashes=provenance.hashes(workdir, _HASHED),
        settings=provenance.settings(config),
    )
    files.write_text(workdir / "report.html", page)


def _area(found: DevArea | Worth) -> Auc:
    return Auc(auc=found.auc, interval=found.interval)


def _rows(content: BaselineFigures, scale: view.Scale) -> list[view.Row]:
    """A line a baseline, those with the best dev figure first."""
    areas = content.dev.auc

    def line(found: BaselineRow) -> view.Row:
        name = found.name
        marks = ["chosen"] if name == content.chosen.name else []
        marks += ["best on development slices"] if name == content.dev.best else []
        said = f"{found.flagged:,} of {content.candidates:,}" if found.flagged is not None else "–"
        note = statements.note(name)
        if name in areas:
            return view.auc_row(name, _area(areas[name]), scale, note, said, ", ".join(marks))
        return view.Row(name, "–", note=note, cells=(said, ", ".join(marks)))

    order = sorted(content.baselines, key=lambda row: -areas[row.name].auc if row.name in areas else 0.0)
    return [line(row) for row in order]


@dataclass(frozen=True)
class Candidate:
    """A row of the table and of the gallery, in words. chance: its probability, or empty; label: in submission.csv; the
    rest: what the gallery prints of a candidate, which has more in a report with a verdict."""

    id: str
    rank: int
    score: str
    chance: str
    label: str
    probability: str
    interval: str
    decision: str = ""
    truth: str = ""
    wrong: bool = False


def _candidates(predictions: score.Predictions, said: Sequence[int]) -> list[Candidate]:
    """Highest score first, with what the submission says: 0/1 [candidate]."""
    rows = []
    for rank, index in enumerate(np.argsort(-predictions.score, kind="stable").tolist(), start=1):
        value = formats.number(float(predictions.score[index]), 4)
        label = "used" if said[index] else "not used"
        known = predictions.probability
        chance = formats.number(float(known[index])) if known is not None else ""
        rows.append(Candidate(predictions.ids[index], rank, value, chance, label, value, f"rank {rank}"))
    return rows


def _facts(config: Config, content: BaselineFigures) -> list[tuple[str, str]]:
    generated = f"{content.pile:,} of {content.pile_there:,}, {config.data.resolution} pixels a side"
    known = f"{content.reference:,} slices known not to be used" if content.reference else "none"
    return [
        ("Shadows", "none"),
        ("Generated images compared", generated),
        ("Real images to compare with", known),
        ("Seed", str(config.attack.seed)),
    ]

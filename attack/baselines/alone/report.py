"""Assembles the report of a run without shadows: one self-contained file, led by what it cannot say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from attack.baselines.alone import statements
from attack.decision import submission
from attack.metrics import score
from attack.report import formats, gallery, provenance, view
from attack.report.pages import template
from attack.report.write import FOLD, LOWEST_SHOWN
from attack.results import Auc
from shadow import files
from shadow.config import Config
from shadow.data.manifest import Manifest

_HASHED = ("manifest.csv", "scores.csv", "submission.csv")


def write_report(workdir: Path, manifest: Manifest, config: Config) -> None:
    """Writes WORKDIR/report.html from the files of the run. Raises UserError naming one that is missing or damaged."""
    content = provenance.read_json(workdir / "attack" / "baselines.json")
    predictions = score.read_predictions(workdir / "predictions.csv")
    dev = content["dev"]
    scale = view.auc_axis([_area(found) for found in (*dev["auc"].values(), dev.get("picked") or {})])
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
        why=dev.get("why", ""),
        gallery=_gallery(config, manifest, candidates),
        candidates=candidates,
        calibrated=predictions.probability is not None,
        name=content["chosen"]["name"],
        fold=len(candidates) > FOLD,
        facts=_facts(config, content),
        versions=provenance.versions(),
        hashes=provenance.hashes(workdir, _HASHED),
        settings=provenance.settings(config),
    )
    files.write_text(workdir / "report.html", page)


def _area(found: dict[str, Any]) -> Auc:
    limits = found.get("interval")
    return Auc(auc=found.get("auc"), interval=None if limits is None else (limits[0], limits[1]))


def _rows(content: dict[str, Any], scale: view.Scale) -> list[view.Row]:
    """A line a baseline, those with the best dev figure first."""
    areas = content["dev"]["auc"]
    best = content["dev"].get("best")

    def line(found: dict[str, Any]) -> view.Row:
        name, flagged = found["name"], found["flagged"]
        marks = [mark for mark in ("chosen" if name == content["chosen"]["name"] else "",) if mark]
        marks += ["best on development slices"] if name == best else []
        said = f"{flagged:,} of {content['candidates']:,}" if flagged is not None else "–"
        note = statements.note(name)
        if name in areas:
            return view.auc_row(name, _area(areas[name]), scale, note, said, ", ".join(marks))
        return view.Row(name, "–", note=note, cells=(said, ", ".join(marks)))

    order = sorted(content["baselines"], key=lambda row: -areas.get(row["name"], {"auc": 0.0})["auc"])
    return [line(row) for row in order]


def _candidates(predictions: score.Predictions, said: Sequence[int]) -> list[dict[str, Any]]:
    """Rows of the table and of the gallery, highest score first, with what the submission says: 0/1 [candidate]."""
    rows = []
    for rank, index in enumerate(np.argsort(-predictions.score, kind="stable").tolist(), start=1):
        value = formats.number(float(predictions.score[index]), 4)
        label = "used" if said[index] else "not used"
        known = predictions.probability
        chance = formats.number(float(known[index])) if known is not None else ""
        rows.append(
            {"id": predictions.ids[index], "rank": rank, "score": value, "chance": chance, "label": label}
            # what the gallery prints where a real report has more
            | {"probability": value, "interval": f"rank {rank}", "decision": "", "truth": "", "wrong": False}
        )
    return rows


def _gallery(config: Config, manifest: Manifest, candidates: list[dict[str, Any]]) -> dict[str, Any] | None:
    if not gallery.is_shown(config):
        return None
    top = candidates[: config.report.gallery_rows]
    bottom = candidates[len(top) :][-LOWEST_SHOWN:]
    shown = gallery.build(manifest, [row["id"] for row in top + bottom], config.data.resolution)
    rows = list(zip(shown.rows, top + bottom, strict=True))
    return {"shown": shown, "top": rows[: len(top)], "bottom": rows[len(top) :]}


def _facts(config: Config, content: dict[str, Any]) -> list[tuple[str, str]]:
    generated = f"{content['pile']:,} of {content['pile_there']:,}, {config.data.resolution} pixels a side"
    known = f"{content['reference']:,} slices known not to be used" if content["reference"] else "none"
    return [
        ("Shadows", "none"),
        ("Generated images compared", generated),
        ("Real images to compare with", known),
        ("Seed", str(config.attack.seed)),
    ]

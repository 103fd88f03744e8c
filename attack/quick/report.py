"""Assembles the report of a run without shadows: one self-contained file, led by what it cannot say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from attack import score, submission
from attack.quick import words
from attack.report import gallery, made, sentence, view
from attack.report.pages import template
from attack.report.write import FOLD, LOWEST_SHOWN
from shadow import files
from shadow.config import Config
from shadow.data import manifest as manifests

_HASHED = ("manifest.csv", "scores.csv", "submission.csv")


def write_report(workdir: Path, config: Config, data_root: Path) -> None:
    """Writes WORKDIR/report.html from the files of the run. Raises UserError naming one that is missing or damaged."""
    content = made.read_json(workdir / "attack" / "baselines.json")
    manifest = manifests.read(workdir / "manifest.csv", data_root)
    predictions = score.read_predictions(workdir / "predictions.csv")
    dev = content["dev"]
    scale = view.auc_scale({"signals": [*dev["auc"].values(), dev.get("picked") or {}]})
    labels = submission.read_labels(workdir / "submission.csv", submission.of_config(config))
    candidates = _candidates(predictions, labels)
    page = template("quick.html").render(
        headline=words.headline(content),
        warnings=words.warnings(content),
        chosen=words.chosen(content),
        standing=words.standing(content),
        picked=words.picked(content),
        scale=scale,
        rows=_rows(content, scale),
        why=dev.get("why", ""),
        gallery=_gallery(config, manifest, candidates),
        candidates=candidates,
        calibrated=predictions.probability is not None,
        name=content["chosen"]["name"],
        fold=len(candidates) > FOLD,
        facts=_facts(config, content),
        versions=made.versions(),
        hashes=made.hashes(workdir, _HASHED),
        settings=made.settings(config),
    )
    files.write_text(workdir / "report.html", page)


def _rows(content: dict[str, Any], scale: view.Scale) -> list[view.Row]:
    """A line a baseline, those with the best dev figure first."""
    areas = content["dev"]["auc"]
    best = content["dev"].get("best")

    def line(found: dict[str, Any]) -> view.Row:
        name, flagged = found["name"], found["flagged"]
        marks = [mark for mark in ("chosen" if name == content["chosen"]["name"] else "",) if mark]
        marks += ["best on development slices"] if name == best else []
        said = f"{flagged:,} of {content['candidates']:,}" if flagged is not None else "–"
        note = words.note(name)
        if name in areas:
            return view.auc_row(name, areas[name], scale, note, said, ", ".join(marks))
        return view.Row(name, "–", note=note, cells=(said, ", ".join(marks)))

    order = sorted(content["baselines"], key=lambda row: -areas.get(row["name"], {"auc": 0.0})["auc"])
    return [line(row) for row in order]


def _candidates(predictions: score.Predictions, said: Sequence[int]) -> list[dict[str, Any]]:
    """Rows of the table and of the gallery, highest score first, with what the submission says: 0/1 [candidate]."""
    rows = []
    for rank, index in enumerate(np.argsort(-predictions.score, kind="stable").tolist(), start=1):
        value = sentence.number(float(predictions.score[index]), 4)
        label = "used" if said[index] else "not used"
        known = predictions.probability
        chance = sentence.number(float(known[index])) if known is not None else ""
        rows.append(
            {"id": predictions.ids[index], "rank": rank, "score": value, "chance": chance, "label": label}
            # what the gallery prints where a real report has more
            | {"probability": value, "interval": f"rank {rank}", "decision": "", "truth": "", "wrong": False}
        )
    return rows


def _gallery(config: Config, manifest: manifests.Manifest, candidates: list[dict[str, Any]]) -> dict[str, Any] | None:
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

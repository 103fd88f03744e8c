"""Assembles report.html: one self-contained file, the same bytes for the same run, no machine named."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from attack.metrics import score
from attack.report import ablation, cautions, figures, formats, gallery, pages, provenance, truth, view, wording
from shadow import files
from shadow.config import Config
from shadow.data.manifest import Manifest
from shadow.errors import UserError

LOWEST_SHOWN = 3  # candidates with the lowest score at the end of the gallery
FOLD = 40  # a longer table of candidates is folded


def write_report(workdir: Path, manifest: Manifest, config: Config) -> Path:
    """Writes WORKDIR/report.html from the files of a run and returns its path.

    The data are read for the gallery (`config.report.gallery`), and `sealed/` where it exists. Raises
    UserError naming a file that is missing or damaged.
    """
    evaluation = provenance.read_json(workdir / "attack" / "evaluation.json")
    predictions = score.read_predictions(workdir / "predictions.csv")
    stored = provenance.read_json(workdir / "config.json")
    held = _held_out(workdir / "attack" / "heldout.npz")
    scale = view.auc_scale(evaluation)
    known = truth.read(manifest.root, predictions, evaluation, held, scale)
    candidates = _candidates(predictions, known)
    two_way, headline = evaluation.get("two_way") or {}, wording.headline(evaluation)
    prior = evaluation.get("prior") or config.attack.prior
    page = pages.template("template.html").render(
        verdict=wording.verdict(evaluation, len(predictions.ids)),
        hero=scale.track(
            headline.get("auc"),
            headline.get("interval"),
            headline.get("prediction_interval"),
            [dot for dot in two_way.get("within_shadow") or [] if dot is not None],
        ),
        scale=scale,
        cards=view.cards(evaluation, scale),
        truth=known,
        gallery=_gallery(config, manifest, candidates),
        plots_of_attack=_plots(evaluation, held),
        tables=_tables(evaluation, scale),
        curve=ablation.curve_plot(evaluation),
        standing=_standing_plot(workdir, evaluation),
        provenance=wording.provenance(evaluation),
        shadow_plots=_shadow_plots(workdir, evaluation.get("shadows_missing") or []),
        candidates=candidates,
        fold=len(candidates) > FOLD,
        decided=wording.decided(evaluation),
        recalibrated=wording.recalibrated(evaluation),
        exposed=wording.patients(evaluation),
        prior=prior,
        regime=evaluation.get("regime") or {},
        flips=wording.flips(evaluation),
        online=config.membership.candidates,
        alarms=cautions.alarms(evaluation),
        cautions=cautions.cautions(evaluation, prior),
        facts=provenance.facts(workdir, config, evaluation),
        versions=provenance.versions(),
        hashes=provenance.hashes(workdir),
        stages=sorted((stored.get("stages") or {}).items()),
        settings=provenance.settings(config),
    )
    path = workdir / "report.html"
    files.write_text(path, page)
    return path


def _held_out(path: Path) -> dict[str, np.ndarray] | None:
    """The two-way held-out pairs; None if one class is absent or a score is not finite."""
    try:
        with np.load(path, allow_pickle=False) as store:
            held = {name: store[name] for name in ("score", "probability", "label", "shadow")}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: cannot be read ({error}); fit again") from error
    both = 0 < held["label"].sum() < len(held["label"])
    return held if both and np.isfinite(held["score"]).all() else None


def _candidates(predictions: score.Predictions, known: truth.TruthSection | None) -> list[dict[str, Any]]:
    """Rows of the table, highest score first."""
    order = np.argsort(-predictions.score, kind="stable")
    columns = (predictions.probability, predictions.probability_low, predictions.probability_high)
    rows = []
    for index in order.tolist():
        value, low, high = (None if column is None else float(column[index]) for column in columns)
        limits = None if low is None or high is None else (low, high)
        decision = "" if predictions.decision is None else predictions.decision[index]
        name = predictions.ids[index]
        used = None if known is None else known.labels[name]
        rows.append(
            {
                "id": name,
                "score": formats.number(float(predictions.score[index])),
                "probability": formats.number(value),
                "interval": formats.interval(limits),
                "track": view.UNIT.track(value, limits),
                "decision": decision,
                "truth": "" if used is None else "used" if used else "not used",
                "wrong": used is not None and decision == ("not used" if used else "used"),
            }
        )
    return rows


def _gallery(config: Config, manifest: Manifest, candidates: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    if not gallery.is_shown(config):
        return None
    top = list(candidates[: config.report.gallery_rows])
    bottom = list(candidates[len(top) :][-LOWEST_SHOWN:])
    chosen = [row["id"] for row in top + bottom]
    missing = sorted(set(chosen) - set(manifest.id.tolist()))
    if missing:
        raise UserError(f"predictions.csv: id {missing[0]!r} is not in manifest.csv; predict again")
    shown = gallery.build(manifest, chosen, config.data.resolution)
    rows = list(zip(shown.rows, top + bottom, strict=True))
    return {"shown": shown, "top": rows[: len(top)], "bottom": rows[len(top) :]}


def _plots(evaluation: dict[str, Any], held: dict[str, np.ndarray] | None) -> list[tuple[Markup, str, str]]:
    """(svg or why not, title, caption) of how well the attack works on held-out pairs."""
    two_way, thresholds = evaluation.get("two_way") or {}, view.thresholds(evaluation)
    points = [row for row in two_way.get("tpr_at_fpr") or [] if row.get("tpr") is not None and row.get("interval")]
    none = Markup('<p class="none">{}</p>').format(formats.not_measurable(two_way.get("why")))
    rows = [row for row in two_way.get("reliability") or [] if row.get("observed") is not None]
    return [
        (
            none if held is None else figures.roc(held["score"], held["label"], held["shadow"], points),
            "Finding members while accusing few others",
            "On the shadows: how many of the used slices are found at each rate of false alarms, both logarithmic. "
            "Thin lines: single shadows. Rings: with 95 % intervals. No point lies below one false alarm.",
        ),
        (
            none if held is None else figures.histogram(held["score"], held["label"], thresholds),
            "Scores of used and unused slices",
            "On the shadows: the further apart the two humps, the more their generated images give away."
            + (" Between the upright lines a candidate of the target is undetermined." if thresholds else ""),
        ),
        (
            figures.reliability(rows) if rows else none,
            "Can the probabilities be taken at their word?",
            "On the shadows: where a probability of 0.8 is stated, 80 % should turn out to be used. Bars: 95 % "
            "intervals.",
        ),
    ]


def _tables(evaluation: dict[str, Any], scale: view.Scale) -> dict[str, Any]:
    two_way = evaluation.get("two_way") or {}
    names = {"unrelated": "Against unrelated slices", "related": "Against related slices"}
    notes = {
        "unrelated": "unused slices of patients with no slice in training",
        "related": "unused slices of patients who have another slice in training",
    }
    strata = [
        view.auc_row(
            names.get(row["stratum"], row["stratum"]),
            row,
            scale,
            notes.get(row["stratum"], ""),
            view.counts(row),
        )
        for row in two_way.get("strata") or []
    ]
    weights = (evaluation.get("dev") or {}).get("weights") or {}

    def moved(name: str) -> tuple[str, ...]:
        return (formats.number(weights[name]),) if weights else ()

    note = "shadows and patients never seen in fitting, non-members weighted to lie as near to members as the target's"
    whole = view.auc_row("All pairs", two_way, scale, note, view.counts(two_way))
    signals = [
        view.auc_row(row["name"], row, scale, "", formats.number(row.get("weight")), *moved(row["name"]))
        for row in evaluation.get("signals") or []
    ]
    controls = [
        view.auc_row(row["name"], row, scale, row.get("what") or "", formats.p_value(row.get("p")))
        for row in evaluation.get("controls") or []
    ]
    dev, asked = evaluation.get("dev"), evaluation.get("candidates")
    note_of_candidates = "no label of theirs: by how far they stand above slices known not to be used"
    same = bool(dev and dev.get("same_generator"))
    note = "of the generator under test" if same else "of the development pile, maybe another generator"
    return {
        "auc": [whole, *strata],
        "rates": [view.rate_row(row) for row in two_way.get("tpr_at_fpr") or []],
        "signals": signals,
        "families": ablation.family_rows(evaluation),
        "parts": ablation.part_rows(evaluation),
        "controls": controls,
        "transfers": [
            view.auc_row(name, node, scale, said, view.counts(node))
            for name, node, said in (
                ("Labelled development slices", dev, note),
                ("These candidates", asked, note_of_candidates),
            )
            if node
        ],
        "transfer": view.transfer_rows(dev),
        "patients": view.patient_rows(evaluation.get("patients") or {}, scale),
        "success": view.success_row(evaluation.get("patients") or {}),
        "regime": view.regime_rows(evaluation),
        "priors": view.prior_rows(evaluation),
        "probability": view.probability_rows(two_way),
    }


def _standing_plot(workdir: Path, evaluation: dict[str, Any]) -> tuple[Markup, str, str] | None:
    try:
        with np.load(workdir / "attack" / "on_target.npz", allow_pickle=False) as store:
            asked, null = store["candidate"], store["null"]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"{workdir / 'attack' / 'on_target.npz'}: cannot be read ({error}); predict again") from error
    if not len(asked) or not len(null):
        return None
    caption = (
        "Scores on the target's own images. Where some candidates were used, a part of them stands to the right of the "
        "slices known not to be used."
    )
    drawn = figures.histogram(
        np.concatenate([asked, null]),
        np.repeat([1, 0], [len(asked), len(null)]),
        view.thresholds(evaluation),
        "standing",
        ("known not to be used", "candidates"),
    )
    return drawn, "Candidates and slices known not to be used", caption


def _shadow_plots(workdir: Path, missing: Sequence[int]) -> list[tuple[Markup, str, str]]:
    losses, gaps = provenance.curves(workdir, missing)
    plots = []
    if losses:
        caption = "Training loss of every shadow (thin) and their mean."
        plots.append((figures.learning(losses), "Learning curves of the shadows", caption))
    if gaps:
        caption = (
            "How much harder slices that a shadow has not seen are for it than its own, at three noise "
            "levels. Above zero: it memorises."
        )
        plots.append((figures.gaps(gaps), "When the shadows began to memorise", caption))
    return plots

"""Assembles report.html: one self-contained file, the same bytes for the same run, no machine named."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import numpy as np
from markupsafe import Markup

from attack.metrics import score
from attack.report import ablation, cautions, figures, formats, gallery, pages, pairs, provenance, truth, view, wording
from attack.report.pairs import HeldOut
from attack.report.view import Row
from attack.results import Evaluation, Signal, TwoWay
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
    evaluation = Evaluation.read(workdir / "attack" / "evaluation.json")
    predictions = score.read_predictions(workdir / "predictions.csv")
    stored = provenance.read_json(workdir / "config.json")
    held = pairs.read(workdir / "attack" / "heldout.npz")
    scale = view.auc_scale(evaluation)
    known = truth.read(manifest.root, predictions, evaluation, held, scale)
    candidates = _candidates(predictions, known)
    expected = evaluation.expected
    page = pages.template("template.html").render(
        verdict=wording.verdict(evaluation, len(predictions.ids)),
        hero=scale.track(expected.auc, None, expected.interval, evaluation.two_way.within_shadow or ()),
        scale=scale,
        cards=view.cards(evaluation, scale),
        truth=known,
        gallery=shown_slices(config, manifest, candidates),
        plots_of_attack=_plots(evaluation, held),
        tables=_tables(evaluation, scale),
        curve=ablation.curve_plot(evaluation),
        standing=_standing_plot(workdir, evaluation),
        provenance=wording.provenance(evaluation),
        shadow_plots=_shadow_plots(workdir, evaluation.shadows_missing),
        candidates=candidates,
        fold=len(candidates) > FOLD,
        decided=wording.decided(evaluation),
        recalibrated=wording.recalibrated(evaluation),
        exposed=wording.patients(evaluation),
        prior=evaluation.prior,
        regime=evaluation.regime.message,
        flips=wording.flips(evaluation),
        online=config.membership.candidates,
        alarms=cautions.alarms(evaluation),
        cautions=cautions.cautions(evaluation),
        facts=provenance.facts(workdir, config, evaluation),
        versions=provenance.versions(),
        hashes=provenance.hashes(workdir),
        stages=sorted((stored.get("stages") or {}).items()),
        settings=provenance.settings(config),
    )
    path = workdir / "report.html"
    files.write_text(path, page)
    return path


@dataclass(frozen=True)
class Candidate:
    """A row of the table of candidates, in words. truth: empty where it is not known; wrong: whether it contradicts."""

    id: str
    score: str
    probability: str
    interval: str
    track: view.Track
    decision: str
    truth: str
    wrong: bool


def _candidates(predictions: score.Predictions, known: truth.TruthSection | None) -> list[Candidate]:
    """Rows of the table, highest score first."""
    order = np.argsort(-predictions.score, kind="stable")
    return [_candidate(predictions, index, known) for index in order.tolist()]


def _candidate(predictions: score.Predictions, index: int, known: truth.TruthSection | None) -> Candidate:
    columns = (predictions.probability, predictions.probability_low, predictions.probability_high)
    value, low, high = (None if column is None else float(column[index]) for column in columns)
    limits = None if low is None or high is None else (low, high)
    decision = "" if predictions.decision is None else predictions.decision[index]
    name = predictions.ids[index]
    used = None if known is None else known.labels[name]
    return Candidate(
        id=name,
        score=formats.number(float(predictions.score[index])),
        probability=formats.number(value),
        interval=formats.interval(limits),
        track=view.UNIT.track(value, limits),
        decision=decision,
        truth="" if used is None else "used" if used else "not used",
        wrong=used is not None and decision == ("not used" if used else "used"),
    )


class Named(Protocol):
    """What is printed of a candidate."""

    @property
    def id(self) -> str: ...


C = TypeVar("C", bound=Named)


@dataclass(frozen=True)
class ShownSlices(Generic[C]):
    """The gallery with what is printed of each of its candidates: the highest and the lowest scores."""

    shown: gallery.Gallery
    top: list[tuple[gallery.GalleryRow, C]]
    bottom: list[tuple[gallery.GalleryRow, C]]


def shown_slices(config: Config, manifest: Manifest, candidates: Sequence[C]) -> ShownSlices[C] | None:
    """Candidates by falling score, in the gallery; None where it is switched off. UserError for one that the manifest
    lacks."""
    if not gallery.is_shown(config):
        return None
    top = list(candidates[: config.report.gallery_rows])
    bottom = list(candidates[len(top) :][-LOWEST_SHOWN:])
    chosen = [row.id for row in top + bottom]
    missing = sorted(set(chosen) - set(manifest.id.tolist()))
    if missing:
        raise UserError(f"predictions.csv: id {missing[0]!r} is not in manifest.csv; predict again")
    shown = gallery.build(manifest, chosen, config.data.resolution)
    rows = list(zip(shown.rows, top + bottom, strict=True))
    return ShownSlices(shown, rows[: len(top)], rows[len(top) :])


def _plots(evaluation: Evaluation, held: HeldOut | None) -> list[tuple[Markup, str, str]]:
    """(svg or why not, title, caption) of how well the attack works on held-out pairs."""
    two_way, thresholds = evaluation.two_way, view.thresholds(evaluation)
    none = Markup('<p class="none">{}</p>').format(formats.not_measurable(two_way.why))
    return [
        (
            none if held is None else figures.roc(held.score, held.label, held.shadow, two_way.tpr_at_fpr),
            "Finding members while accusing few others",
            "On the shadows: how many of the used slices are found at each rate of false alarms, both logarithmic. "
            "Thin lines: single shadows. Rings: with 95 % intervals. No point lies below one false alarm.",
        ),
        (
            none if held is None else figures.histogram(held.score, held.label, thresholds),
            "Scores of used and unused slices",
            "On the shadows: the further apart the two humps, the more their generated images give away."
            + (" Between the upright lines a candidate of the target is undetermined." if thresholds else ""),
        ),
        (
            figures.reliability(two_way.reliability) if two_way.reliability else none,
            "Can the probabilities be taken at their word?",
            "On the shadows: where a probability of 0.8 is stated, 80 % should turn out to be used. Bars: 95 % "
            "intervals.",
        ),
    ]


@dataclass(frozen=True)
class _Tables:
    """Rows of the tables of the report, by the names that the template gives them."""

    auc: list[Row]
    rates: list[Row]
    signals: list[Row]
    families: list[Row]
    parts: list[Row]
    controls: list[Row]
    transfers: list[Row]
    transfer: list[Row]
    patients: list[Row]
    success: Row | None
    regime: list[Row]
    priors: list[Row]
    probability: list[Row]


def _tables(evaluation: Evaluation, scale: view.Scale) -> _Tables:
    return _Tables(
        auc=_auc_rows(evaluation.two_way, scale),
        rates=[view.rate_row(row) for row in evaluation.two_way.tpr_at_fpr],
        signals=_signal_rows(evaluation, scale),
        families=ablation.family_rows(evaluation),
        parts=ablation.part_rows(evaluation),
        controls=[
            view.auc_row(row.name, row, scale, row.what or "", formats.p_value(row.p)) for row in evaluation.controls
        ],
        transfers=_transfers(evaluation, scale),
        transfer=view.transfer_rows(evaluation.dev),
        patients=view.patient_rows(evaluation.patients, scale),
        success=view.success_row(evaluation.patients),
        regime=view.regime_rows(evaluation),
        priors=view.prior_rows(evaluation),
        probability=view.probability_rows(evaluation.two_way),
    )


def _auc_rows(two_way: TwoWay, scale: view.Scale) -> list[Row]:
    names = {"unrelated": "Against unrelated slices", "related": "Against related slices"}
    notes = {
        "unrelated": "unused slices of patients with no slice in training",
        "related": "unused slices of patients who have another slice in training",
    }
    note = "shadows and patients never seen in fitting, non-members weighted to lie as near to members as the target's"
    whole = view.auc_row("All pairs", two_way, scale, note, view.counts(two_way.members, two_way.non_members))
    strata = [
        view.auc_row(names[row.stratum], row, scale, notes[row.stratum], view.counts(row.members, row.non_members))
        for row in two_way.strata
    ]
    return [whole, *strata]


def _signal_rows(evaluation: Evaluation, scale: view.Scale) -> list[Row]:
    """With the weights, and those that dev labels moved where they did."""
    moved = evaluation.dev.weights

    def cells(signal: Signal) -> tuple[str, ...]:
        weight = formats.number(signal.weight)
        return (weight, formats.number(moved[signal.name])) if moved else (weight,)

    return [view.auc_row(row.name, row, scale, "", *cells(row)) for row in evaluation.signals]


def _transfers(evaluation: Evaluation, scale: view.Scale) -> list[Row]:
    dev = evaluation.dev
    note = "of the generator under test" if dev.same_generator else "of the development pile, maybe another generator"
    said = "no label of theirs: by how far they stand above slices known not to be used"
    return [
        view.auc_row("Labelled development slices", dev, scale, note, view.counts(dev.members, dev.non_members)),
        view.auc_row("These candidates", evaluation.candidates, scale, said, ""),
    ]


def _standing_plot(workdir: Path, evaluation: Evaluation) -> tuple[Markup, str, str] | None:
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

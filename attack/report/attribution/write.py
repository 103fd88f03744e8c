"""Assembles the page of an attribution: one self-contained file, no machine named, no image shown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from attack.report import formats, provenance, view
from attack.report.attribution import sentences, truth
from attack.report.pages import template
from attack.report.view import Row
from attack.results import Figure
from attack.results.attributed import Attribution, Checked, PileAnswer
from shadow import files
from shadow.config import Config
from shadow.data.manifest import Manifest
from shadow.data.subsets import NONE

Table = list[list[str]]


def write_report(workdir: Path, manifest: Manifest, config: Config) -> None:
    """Writes WORKDIR/report.html from the files of a run. Raises UserError naming one that is missing or damaged."""
    found = Attribution.read(workdir / "attack" / "attribution.json")
    names = [one.name for one in found.subsets]
    known = truth.read(manifest.root, truth.answers_of(workdir / "predictions.csv"), (*names, NONE))
    page = template("attribution.html", Path(__file__).parent).render(
        headline=sentences.headline(found),
        cautions=sentences.cautions(found),
        cards=_cards(found),
        truth=known,
        truth_head=["made from", *(f"said {name}" for name in (*names, NONE))],
        truth_rows=[] if known is None else _confusion(names, known.confusion),
        piles=[(one, _pile_rows(one)) for one in found.piles],
        scale=view.UNIT,
        labelled=found.labelled,
        checks=[
            (title, note, _check_rows(check), sentences.stated(check), check) for title, note, check in _checks(found)
        ],
        confusion_head=["made from", *(f"said {name}" for name in names)],
        confusions=[_confusion(names, check.confusion) for _, _, check in _checks(found)],
        reliabilities=[_reliability_rows(check) for _, _, check in _checks(found)],
        subset_rows=[[one.name, f"{one.slices:,}", f"{one.groups:,}"] for one in found.subsets],
        shared_rows=[[one.first, one.second, f"{one.same:,}", f"{one.groups:,}"] for one in found.shared],
        weight_rows=[[name, formats.number(weight)] for name, weight in found.weights.items()],
        facts=_facts(found, config),
        versions=provenance.versions(),
        hashes=provenance.hashes(workdir),
        settings=provenance.settings(config),
        prior_none=found.none,
    )
    files.write_text(workdir / "report.html", page)


def _checks(found: Attribution) -> list[tuple[str, str, Checked]]:
    """(title, note, figures), those of labelled images first."""
    checks = []
    if found.labelled is not None:
        note = "Generated images whose folder names their subset. Nothing was fitted on them. Intervals are for more "
        checks.append(("Labelled generated images", f"{note}images of the same generators.", found.labelled))
    note = "Each by a model that was fitted without its shadow. Intervals are for another shadow."
    return [*checks, ("Shadows that were held out", note, found.held_out)]


def _figure_row(name: str, figure: Figure, note: str = "", digits: int = 3) -> Row:
    value = formats.number(figure.value, digits)
    limits = f"[{formats.number(figure.low, digits)}, {formats.number(figure.high, digits)}]"
    return Row(name, value, limits, note, track=view.UNIT.track(figure.value, figure.interval))


def _check_rows(check: Checked) -> list[Row]:
    said = "share of images whose most likely subset is right"
    gain = formats.number(check.gain.value, 3)
    limits = f"[{formats.number(check.gain.low, 3)}, {formats.number(check.gain.high, 3)}]"
    rows = [
        _figure_row("Accuracy", check.accuracy, said),
        _figure_row("The same of the nearest slice's subset", check.nearest, "no shadow is needed for that"),
        Row("Accuracy gained by shadows", gain, limits),
        Row("Chance", formats.number(check.chance, 3)),
        Row("Log loss", formats.number(check.log_loss, 3), note=f"even: {formats.number(check.log_loss_even, 3)}"),
        Row("Mean probability of “none of them”", formats.number(check.none, 3)),
    ]
    if check.hidden_none is not None:
        note = "where the true subset is off the list and all answers left are equally likely before looking"
        rows.append(Row("The same without the true subset", formats.number(check.hidden_none, 3), note=note))
    return rows


def _pile_rows(pile: PileAnswer) -> list[Row]:
    rows = []
    for one in pile.answers:
        name = "none of them" if one.answer == NONE else one.answer
        limits = formats.interval(one.probability.interval)
        row = _figure_row(name, one.share, digits=2)
        cells = (f"{formats.number(one.probability.value)} {limits}",)
        rows.append(Row(row.name, row.value, row.interval, track=row.track, cells=cells))
    return rows


def _confusion(names: Sequence[str], counts: Sequence[Sequence[int]]) -> Table:
    rows = [[name, *(f"{count:,}" for count in row)] for name, row in zip([*names, NONE], counts, strict=False)]
    return [row for row in rows if row[0] != NONE]


def _reliability_rows(check: Checked) -> Table:
    return [
        [
            formats.number(row.mean_probability),
            formats.number(row.observed),
            formats.interval(row.interval),
            f"{row.count:,}",
        ]
        for row in check.reliability
    ]


def _cards(found: Attribution) -> list[Row]:
    check = found.judged
    on = "labelled generated images" if found.labelled else "held-out shadows, not the target"
    return [
        _figure_row("Images put right", check.accuracy, f"of {check.images:,} {on}"),
        _figure_row("Without shadows", check.nearest, "the subset of the nearest slice"),
        Row("Chance", formats.number(check.chance, 3), note=f"of {len(found.subsets)} subsets"),
        Row("Piles asked about", f"{len(found.piles):,}", note=f"{sum(one.images for one in found.piles):,} images"),
    ]


def _facts(found: Attribution, config: Config) -> list[tuple[str, str]]:
    near = found.nearness
    return [
        ("Shadows", f"{found.shadows} of {config.fleet.shadows} asked for, each trained on one subset"),
        ("Training step of the shadows that teach", f"{near.step:,}"),
        (
            "Nearness to real slices",
            f"{formats.number(near.target)}; of the shadows {formats.number(near.low)} to {formats.number(near.high)}",
        ),
        ("Slices looked at flipped, too", ", ".join(found.flips) or "no"),
        ("“None of them” before looking", formats.number(found.none)),
        ("Share of a pile's evidence that counts", formats.number(found.temper, 3)),
        ("Pixels a side", str(config.data.resolution)),
        ("Seeds", f"{config.seed} (shadows), {config.attack.seed} (attack)"),
    ]

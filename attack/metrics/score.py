"""Predictions against the truth: two CSV files joined by id, every figure, and a table for the terminal."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from attack.metrics import DECISIONS, evaluate, pooling
from attack.results import AgainstTruth, Estimate, Figure, encode
from attack.results.against_truth import Probabilities
from attack.results.labellings import Decided, Labelling
from shadow import files, tables
from shadow.errors import UserError

COLUMNS = ("id", "score", "probability", "probability_low", "probability_high", "decision")


@dataclass(frozen=True)
class Predictions:
    """`score` float [n], higher = more likely used; the rest is None where the file lacks the column."""

    path: Path
    ids: list[str]
    lines: dict[str, int]  # the line of every id
    score: np.ndarray
    probability: np.ndarray | None = None
    probability_low: np.ndarray | None = None
    probability_high: np.ndarray | None = None
    decision: list[str] | None = None


@dataclass(frozen=True)
class Truth:
    """`label` int [n], 1 = used; `group` is None where the file lacks the column."""

    path: Path
    ids: list[str]
    lines: dict[str, int]
    label: np.ndarray
    group: list[str] | None = None


def _read(
    path: Path, needed: tuple[str, ...], allowed: tuple[str, ...]
) -> tuple[list[str], list[tuple[int, dict[str, str]]], dict[str, int]]:
    """(header, [(line, row by column)], line of every id). A byte order mark and CRLF are taken."""
    found = tables.read(path, strict=True)
    rows: list[tuple[int, dict[str, str]]] = []
    lines: dict[str, int] = {}
    header = next(found, tables.Line(1, [])).fields
    if (
        any(name not in header for name in needed)
        or any(name not in allowed for name in header)
        or len(set(header)) != len(header)
    ):
        optional = [name for name in allowed if name not in needed]
        raise UserError(
            f"{path} line 1: the header must be {','.join(needed)} and may have {', '.join(optional)};"
            f" it is {','.join(header)!r}{tables.separator_hint(header)}"
        )
    for row in found:
        line = row.number
        if len(row.fields) != len(header):
            raise UserError(f"{path} line {line}: {len(row.fields)} fields, the header has {len(header)}")
        fields = dict(zip(header, row.fields, strict=True))
        name = fields["id"]
        if not name:
            raise UserError(f"{path} line {line}: the id is empty")
        if name in lines:
            raise UserError(f"{path} line {line}: id {name!r} stands on line {lines[name]} already")
        lines[name] = line
        rows.append((line, fields))
    if not rows:
        raise UserError(f"{path}: there is a header but no candidate")
    return header, rows, lines


def _numbers(path: Path, rows: list[tuple[int, dict[str, str]]], column: str, unit: bool) -> np.ndarray:
    """A column of finite numbers, with `unit` within [0, 1]."""
    values = []
    for line, fields in rows:
        try:
            value = float(fields[column])
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise UserError(f"{path} line {line}: {column} {fields[column]!r} is not a finite number")
        if unit and not 0 <= value <= 1:
            raise UserError(f"{path} line {line}: {column} {fields[column]!r} is not between 0 and 1")
        values.append(value)
    return np.array(values)


def read_predictions(path: Path | str) -> Predictions:
    """`predictions.csv`: a header with `id` and `score` at least, any of the others; else UserError."""
    source = Path(path)
    header, rows, lines = _read(source, COLUMNS[:2], COLUMNS)
    optional = {name: _numbers(source, rows, name, True) for name in COLUMNS[2:5] if name in header}
    decision = None
    if "decision" in header:
        decision = [fields["decision"] for _, fields in rows]
        for (line, _), value in zip(rows, decision, strict=True):
            if value not in DECISIONS:
                raise UserError(f"{source} line {line}: decision {value!r} is none of {', '.join(DECISIONS)}")
    return Predictions(
        path=source,
        ids=list(lines),
        lines=lines,
        score=_numbers(source, rows, "score", False),
        decision=decision,
        **optional,
    )


def read_truth(path: Path | str) -> Truth:
    """`truth.csv`: header `id,label` or `id,label,group`; label 0 or 1; UserError for anything else."""
    source = Path(path)
    header, rows, lines = _read(source, ("id", "label"), ("id", "label", "group"))
    for line, fields in rows:
        if fields["label"] not in ("0", "1"):
            raise UserError(f"{source} line {line}: label {fields['label']!r} is neither 0 nor 1 (used)")
        if not fields.get("group", "known"):
            raise UserError(f"{source} line {line}: the group is empty (name all, or drop the column)")
    labels = np.array([int(fields["label"]) for _, fields in rows])
    groups = [fields["group"] for _, fields in rows] if "group" in header else None
    return Truth(source, list(lines), lines, labels, groups)


def score(predictions: Predictions, truth: Truth, seed: int = 0) -> AgainstTruth:
    """`attack.metrics.evaluation.evaluate` on the candidates joined by id. Both files must hold the same ids."""
    for name in predictions.ids:
        if name not in truth.lines:
            where = f"{predictions.path} line {predictions.lines[name]}"
            raise UserError(f"{where}: id {name!r} is not in {truth.path}")
    for name in truth.ids:
        if name not in predictions.lines:
            where = f"{truth.path} line {truth.lines[name]}"
            raise UserError(f"{where}: id {name!r} has no prediction in {predictions.path}")
    place = {name: number for number, name in enumerate(truth.ids)}
    order = [place[name] for name in predictions.ids]
    labels = truth.label[order]
    if labels.min() == labels.max():
        raise UserError(f"{truth.path}: every label is {labels[0]}; figures need members and non-members")
    return evaluate(
        predictions.score,
        labels,
        probability=predictions.probability,
        decision=predictions.decision,
        groups=None if truth.group is None else [truth.group[number] for number in order],
        seed=seed,
    )


def _number(value: float | None) -> str:
    # Adding zero turns -0.0 into 0.0, which would print a sign.
    return "-" if value is None else f"{round(value, 3) + 0.0:.3f}"


def _line(name: str, figure: Figure | Estimate, *notes: str) -> str:
    limits = figure.interval
    interval = f"[{_number(limits[0])}, {_number(limits[1])}]" if limits else ""
    remark = "; ".join([*notes, *([figure.why] if figure.why else [])])
    return f"  {name:<27}{_number(figure.value):>7}  {interval:<17}{remark}".rstrip()


def _percent(rate: float) -> str:
    return f"{100 * rate:g} %"


def _ranking_lines(result: AgainstTruth) -> list[str]:
    least = result.smallest_detectable_auc.value
    reach = "too few to show any" if least is None else f"from {least:.3f} on detectable"
    lines = [_line("AUC", result.auc, "chance 0.500", f"{reach} (80 % power)"), *_group_lines(result)]
    for point in result.tpr_at_fpr:
        notes = []
        if point.attainable:
            notes = [
                f"{point.true_positives} of {point.members} members"
                f" at {point.false_positives} of {point.non_members} non-members"
            ]
        lines.append(_line(f"TPR at {_percent(point.wanted_fpr)} FPR", point, *notes))
    first = result.tpr_at_fpr[0]
    if first.attainable:
        where = f"flagged at {_percent(first.wanted_fpr)} FPR"
        lines += [_line(f"PPV there, {_percent(row.prior)} used", row, where) for row in first.ppv]
    return lines


def _group_lines(result: AgainstTruth) -> list[str]:
    strata, by_group = result.strata, result.per_group
    if strata is None or by_group is None:
        return []
    lines = [_line("AUC, items independent", result.auc_items, "not allowing for groups")]
    for title, figure in (
        ("AUC against relatives", strata.other_item_of_a_member_group),
        ("AUC against strangers", strata.item_of_a_non_member_group),
    ):
        lines.append(_line(title, figure, f"{figure.non_members} non-members"))
    counts = f"{by_group.member_groups} of {by_group.groups} groups have a member"
    return [*lines, *(_line(f"AUC by group, {name}", getattr(by_group, name), counts) for name in pooling.SCORES)]


def _labelling_lines(figures: Labelling) -> list[str]:
    trivial = figures.baselines
    lines = []
    for name, title in (("f1", "F1"), ("kappa", "Cohen's kappa"), ("accuracy", "accuracy")):
        ones, most, coin = (getattr(of, name) for of in (trivial.all_ones, trivial.majority, trivial.coin))
        beside = (
            f"all-ones {ones:.3f}, majority {most:.3f},"
            f" coin {_number(coin.value)} [{_number(coin.low)}, {_number(coin.high)}]"
        )
        lines.append(_line(title, getattr(figures, name), beside))
    for name in ("precision", "recall", "specificity"):
        figure = getattr(figures, name)
        lines.append(_line(name, figure, f"{figure.count} of {figure.of}"))
    return lines


def format_table(result: AgainstTruth) -> str:
    """The figures of `score` as lines for a terminal: value, 95 % interval, counts, baselines."""
    groups = "" if result.groups is None else f" in {result.groups} groups"
    lines = [
        f"{result.items} candidates: {result.members} members,"
        f" {result.non_members} non-members{groups}; verdict: {result.verdict}",
        "",
        f"  {'ranking by score':<27}{'value':>7}  95 % interval",
        *_ranking_lines(result),
        *(_decision_lines(result.decision, result.items) if result.decision else []),
        *(_probability_lines(result.probability, result.items) if result.probability else []),
    ]
    return "\n".join(lines)


def _decision_lines(decision: Decided, items: int) -> list[str]:
    counts = ", ".join(f"{name} {row.members} + {row.non_members}" for name, row in decision.counts.items())
    lines = [
        "",
        f"decision, members + non-members: {counts}",
        "undetermined counted as not used",
        *_labelling_lines(decision.undetermined_as_not_used),
        *(_line(f"PPV, {_percent(row.prior)} used", row) for row in decision.ppv),
    ]
    if decision.settled < items:
        lines += ["", f"without the undetermined: {decision.settled} of {items} candidates"]
        only = decision.settled_only
        lines += _labelling_lines(only) if only else [f"  {decision.settled_only_why}"]
    return lines


def _probability_lines(found: Probabilities, items: int) -> list[str]:
    error, chance = found.ece, found.ece.by_chance
    by_chance = f"{chance.value:.3f} by chance alone (up to {chance.high:.3f}), p {error.p:.3f}"
    lines = ["", "probability"]
    lines += [
        _line(title, loss, f"constant {loss.constant:.3f}")
        for title, loss in (("Brier", found.brier), ("log loss", found.log_loss))
    ]
    lines.append(_line("ECE", error, by_chance))
    for objective, best in found.best.items():
        claimed = "all-ones" if best.all_ones else f"{best.claimed} of {items} labelled used"
        lines.append(_line(f"{objective} of best labelling", best.reached, f"expected {best.expected:.3f}", claimed))
    return lines


def score_files(predictions: str, truth: str, figures: str) -> str:
    """The table of every figure; they are also written to `figures` where that is named. Raises UserError where a
    file is not named, or not what it should be."""
    for name, value in (("--predictions", predictions), ("--truth", truth)):
        if not value:
            raise UserError(f"score: {name} is missing: name the csv")
    found = score(read_predictions(predictions), read_truth(truth))
    if figures:
        files.write_json(Path(figures), encode(found))
    return format_table(found)

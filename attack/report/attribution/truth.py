"""How right the answers were, where the run made its own challenge: the only part that opens `sealed/`."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from attack.metrics import intervals
from attack.report import formats
from shadow import tables
from shadow.errors import UserError


@dataclass(frozen=True)
class Truth:
    """What came out. sentence: for the head of the page; confusion: images [true subset][answer]."""

    sentence: str
    confusion: tuple[tuple[int, ...], ...]


def answers_of(path: Path) -> dict[str, str]:
    """The answer for each id in predictions.csv. Raises UserError where it cannot be read."""
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            return {row["id"]: row["subset"] for row in csv.DictReader(stream)}
    except (OSError, KeyError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read ({error}); predict again") from error


def read(root: Path, answers: Mapping[str, str], names: Sequence[str]) -> Truth | None:
    """The answers against `sealed/truth.csv` below `root`; None without that file. names: of the answers, in order.

    Raises UserError where the truth is not about the same images.
    """
    path = root / "sealed" / "truth.csv"
    if not path.is_file():
        return None
    lines = [line.fields for line in tables.read(path) if line.fields]
    truth = {row[0]: row[1] for row in lines[1:] if len(row) == 2}
    if not lines or lines[0] != ["id", "subset"] or truth.keys() != answers.keys():
        raise UserError(f"{path}: is not id,subset of the images in predictions.csv; predict again")
    right = sum(answers[name] == truth[name] for name in truth)
    low, high = intervals.clopper_pearson(right, len(truth))
    counts = {(one, answer): 0 for one in names for answer in names}
    for name, one in truth.items():
        counts[one, answers[name]] += 1
    said = (
        f"Of {len(truth):,} images {right:,} were put right, {round(100 * right / len(truth), 1):g} % "
        f"{formats.interval((low, high))} if images were independent."
    )
    return Truth(said, tuple(tuple(counts[one, answer] for answer in names) for one in names))

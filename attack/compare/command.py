"""`launch.py compare`: measures checkpoints one after the other, then each pair, and writes what differs."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from attack.compare import measure, pairs, piles, subjects, table, trajectory
from attack.compare.measure import Bench, Measured
from attack.evidence.embeddings import builtin
from attack.results.compared import Comparison
from shadow import files
from shadow.config import Config
from shadow.errors import UserError
from shadow.fleet.locks import patient_lock
from shadow.piles import open_pile
from shadow.validate import validate

OPTIONS = ("compare.", "data.root")  # of a config: all else is the checkpoints' own
VERSION = 1


def check_options(given: Mapping[str, Any]) -> None:
    """Raises UserError on fields of a config that would do nothing here."""
    for name in given:
        if not name.startswith(OPTIONS):
            raise UserError(
                f"--config.{name} is not for compare, which takes data.root and compare.*; all else is that of the "
                "checkpoints"
            )


def compare(names: Sequence[str], folder: Path, config: Config) -> str:
    """Writes FOLDER/compare.json and FOLDER/compare.html, and returns a table to print.

    Raises UserError on wrong options, as `subjects.resolve`, and on weights that cannot be read; then it leaves the
    files of the last comparison as they are.
    """
    validate(config)
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--workdir={folder} is a file: name a folder")
    found, source = subjects.resolve(names, folder, config)
    if config.compare.embedding in builtin.EMBEDDINGS and not builtin.EMBEDDINGS[config.compare.embedding].embed:
        raise UserError(f"compare.embedding = {config.compare.embedding!r}: is no function of an image alone")
    builtin.check(config.compare.embedding, min(subject.outline.size or 1 for subject in found))
    inner = folder / "compare"
    inner.mkdir(parents=True, exist_ok=True)
    scratch = inner / ".scratch"
    with patient_lock(inner / ".lock", f"{inner} is being worked on by another process"):
        shutil.rmtree(scratch, ignore_errors=True)  # of a killed process
        try:
            bench = Bench(config.compare, inner, scratch, source)
            measured, result = _compared(found, bench)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    from attack.compare import page  # matplotlib and jinja2 are needed here only

    result.write(folder / "compare.json")
    files.write_text(folder / "compare.html", page.render(result, sheets(measured, config.compare.sheet)))
    lines = [*table.lines(result), "", f"{folder / 'compare.json'}", f"{folder / 'compare.html'}"]
    return "\n".join(lines)


def _compared(found: Sequence[subjects.Subject], bench: Bench) -> tuple[list[Measured], Comparison]:
    measured = []
    with tqdm(total=len(found), desc="compare", unit="checkpoint", disable=None, leave=False) as bar:
        for number, subject in enumerate(found):

            def progress(done: int, total: int, rate: float, loss: float | None = None) -> None:
                bar.set_postfix_str(f"image {done} of {total}, {rate:.0f}/s")

            measured.append(measure.measure(subject, bench, number, progress))
            bar.update()
    size = next((open_pile(one.pile).shape[1] for one in measured if one.pile), found[0].outline.size)
    first = next((open_pile(one.pile) for one in measured if one.pile), None)
    source = bench.source if bench.source is not None and size <= bench.source.side else None
    yard = piles.yard(source, size, bench.config, first, found)
    for one in measured:
        measure.look(one, bench, yard)
    two = [pairs.between(a, b, yard, bench.config.seed) for a, b in itertools.combinations(measured, 2)]
    return measured, Comparison(
        version=VERSION,
        checkpoints=tuple(one.figures for one in measured),
        pairs=tuple(two),
        trajectories=trajectory.find(measured),
        space=None if yard is None else piles.space_used(yard),
    )


def sheets(measured: Sequence[Measured], count: int) -> list[np.ndarray | None]:
    """The first images of every pile, uint8 [image, side, side]; None where there is none. Image i of piles of one size
    grew from the same noise."""
    return [None if one.pile is None else np.array(open_pile(one.pile)[:count]) for one in measured]

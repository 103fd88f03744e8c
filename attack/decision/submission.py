"""Submission files of the ImageCLEFmedical GANs editions: written, and checked as the organizers check them."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Iterable
from pathlib import Path

from attack.decision.submission_formats import (
    DELIMITERS,
    FORMATS,
    HEADER_2025,
    LABELS,
    Format,
    check_formats,
    of_config,
    of_subsets,
    submission_format,
)
from shadow import files, tables
from shadow.data.editions import SUBSETS
from shadow.errors import UserError

__all__ = [
    "FORMATS",
    "Format",
    "check",
    "check_formats",
    "ids_of_piles",
    "of_config",
    "of_subsets",
    "read_labels",
    "submission_format",
    "validate",
    "write",
]


def _resolve(edition: str | Format) -> Format:
    return edition if isinstance(edition, Format) else submission_format(str(edition))


def _stem(name: str) -> str:
    return name[:-4] if name.lower().endswith(".png") else name


def read_labels(path: Path, layout: Format) -> list[int]:
    """Labels 0 and 1 of a file that `write` wrote, in its order."""
    rows = _rows(path, layout)[int(layout.header is not None) :]
    return [layout.labels.index(tables.normal(row[1])) for row in rows]


def write(path: Path | str, ids: Iterable[str], labels: Iterable[int], edition: str | Format) -> None:
    """Writes one line a candidate in the given order, whole or not at all.

    ids: distinct, with or without `.png` (the edition decides what is written); labels: one for each, 0 or 1 or
    another place in the edition's `labels`.
    What the edition could not hold is a ValueError: it is a defect of the caller's, not of the user's.
    """
    layout = _resolve(edition)
    stems, values = [_stem(name) for name in ids], [int(label) for label in labels]
    if len(stems) != len(values) or len(set(stems)) != len(stems):
        raise ValueError(f"need distinct ids and a label for each, got {len(stems)} and {len(values)}")
    if any(value not in range(len(layout.labels)) for value in values):
        raise ValueError("labels must be 0 or 1" if len(layout.labels) == 2 else "a label is none of the subsets")
    for stem in stems:
        unfit = ("\n", "\r") if layout.quoted else (layout.delimiter, '"', "\n", "\r")
        if not stem or stem != stem.strip() or any(mark in stem for mark in unfit):
            raise ValueError(f"id {stem!r} cannot stand in a submission file")
    text = io.StringIO(newline="")
    writer = csv.writer(
        text, delimiter=layout.delimiter, lineterminator="\n"
    )  # quotes nothing that is let through above
    if layout.header is not None:
        writer.writerow(layout.header)
    lines = zip(stems, values, strict=True)
    writer.writerows((f"{stem}{layout.extension}", layout.labels[value]) for stem, value in lines)
    files.write_text(Path(path), text.getvalue())


def _rows(path: Path, layout: Format) -> list[list[str]]:
    """Split as the official validator splits: universal newlines, no quoting, blank lines kept. `own`: as csv."""
    if layout.quoted:
        return [line.fields for line in tables.read(path, strict=True, delimiter=layout.delimiter)]
    text = tables.read_text(path, keep_mark=True)
    reader = csv.reader(io.StringIO(text, newline=None), delimiter=layout.delimiter, quoting=csv.QUOTE_NONE)
    try:
        return list(reader)
    except csv.Error as error:
        raise UserError(f"{path} line {reader.line_num}: {error}") from error


def _hint(name: str, known: Collection[str]) -> str:
    """Why an id may be none, as the end of a message; else ''."""
    if name.startswith("\ufeff"):
        return " (the file starts with a byte order mark: save it as UTF-8 without one)"
    if _stem(name) in known:
        return " (leave out the extension)"
    if '"' in name or "'" in name:
        return " (leave out the quotes)"
    if "/" in name or "\\" in name:
        return " (leave out the folder)"
    return ""


def ids_of_piles(names: Iterable[str]) -> list[str]:
    """Ids for a submission about generated images: without the folder of the pile, where there is one pile alone."""
    every = list(names)
    alone = len({name.partition("/")[0] for name in every}) == 1
    return [name.partition("/")[2] for name in every] if alone else every


def check(path: str, edition: str | Format, expected_ids: Collection[str] | None = None) -> str:
    """What to say about an acceptable file. Raises UserError as `validate`."""
    rows = validate(path, edition, expected_ids)
    layout = _resolve(edition)
    said = f"{path}: {rows} rows, valid for edition {layout.edition}"
    if expected_ids is None and not layout.official_ids:
        said += "; the ids were compared with no list, which --workdir=RUN would give"
    return said


def validate(path: Path | str, edition: str | Format, expected_ids: Collection[str] | None = None) -> int:
    """The number of candidates in an acceptable file; else a UserError with the first offending line and why.

    `expected_ids` replaces the edition's official ids (a challenge of one's own). 2023 accepts and rejects
    what the organizers' validator does: any order, CRLF, no final newline, blanks around the fields, `+1` and
    `01` pass; a header, a byte order mark, `.png`, `1.0`, blank lines, quotes, `;`, missing or double ids do
    not. Where no ids are known, those of 2025 must look like its own, and those of `own` may be any. Header, extension
    and labels of a format that is not lenient are compared to the letter.
    """
    layout, source = _resolve(edition), Path(path)
    wanted = [tables.normal(name) for name in (layout.official_ids if expected_ids is None else expected_ids)]
    if layout.lenient:
        wanted = [_stem(name) for name in wanted]
    known = frozenset(wanted) if wanted or expected_ids is not None else None
    rows = _rows(source, layout)
    if not rows:
        raise UserError(f"{source}: the file is empty")
    seen: dict[str, int] = {}
    for line, row in enumerate(rows, start=1):
        where = f"{source} line {line}"
        if len(row) != 2:
            raise UserError(f"{where}: {_wrong_fields(row, layout.delimiter)}")
        name, label = tables.normal(row[0]), row[1].strip()
        if line == 1 and layout.header is not None and not layout.lenient:
            if (name, label) == layout.header:
                continue
            wanted_line = _shown(layout.delimiter).join(layout.header)
            field = " (submission.header)" if layout.open else ""
            raise UserError(f"{where}: the header {wanted_line} is missing{field}")
        if line == 1 and label not in layout.labels and _is_header(label):
            if layout.lenient and (name, label) in (layout.header, HEADER_2025):
                continue
            if not name.startswith("\ufeff"):
                known_header = ",".join(layout.header or HEADER_2025)
                allowed = f"none, or {known_header}" if layout.lenient else "none: it must not have a header"
                raise UserError(f"{where}: {name},{label} is a header, and edition {layout.edition} wants {allowed}")
        if layout.lenient:
            name = _stem(name)
        elif layout.extension:
            name = _without(name, layout, where)
        _check_id(where, name, known, layout)
        if name in seen:
            raise UserError(f"{where}: id {name!r} stands on line {seen[name]} already")
        if not _is_label(label, layout):
            raise UserError(f"{where}: wrong label {label!r}, it must be {_allowed(layout)}")
        seen[name] = line
    missing = sorted((known or frozenset()) - seen.keys())
    if missing:
        counts = f"the file ends with {len(seen)} of {len(known or ())} ids"
        own = "; --workdir=RUN compares with a run's own" if expected_ids is None else ""
        raise UserError(f"{source} line {len(rows)}: {counts}, {missing[0]!r} is missing{own}")
    if not seen:
        raise UserError(f"{source}: there is a header but no candidate")
    return len(seen)


def _allowed(layout: Format) -> str:
    """The labels of a format, for messages."""
    if layout.edition == SUBSETS:
        return f"one of {', '.join(layout.labels)}"
    zero, one = layout.labels
    return f"{zero} (not used) or {one} (used)"


def _is_label(label: str, layout: Format) -> bool:
    """0 and 1 are read as numbers, as the official validator reads them; words as they are."""
    if layout.labels != LABELS:
        return tables.normal(label) in layout.labels
    try:
        return int(label) in (0, 1)
    except ValueError:
        return False


def _without(name: str, layout: Format, where: str) -> str:
    """The id without the extension that the format wants. Raises UserError where it has none."""
    if not name.endswith(layout.extension):
        field = " (submission.extension)" if layout.open else ""
        raise UserError(f"{where}: {name!r} lacks the extension {layout.extension}{field}")
    return name.removesuffix(layout.extension)


def _shown(delimiter: str) -> str:
    return "<tab>" if delimiter == "\t" else delimiter


def _is_header(label: str) -> bool:
    """Is this a column's name, and no label that somebody got wrong?"""
    return label.isidentifier() and label.casefold() not in ("used", "not_used", "true", "false", "nan")


def _wrong_fields(row: list[str], delimiter: str) -> str:
    """What is wrong with a line that has not two fields."""
    if not any(field.strip() for field in row):
        return "wrong format: blank line"
    reason = f"wrong format, a line must be ID{_shown(delimiter)}LABEL: {len(row)} fields"
    others = [mark for mark in DELIMITERS.values() if mark != delimiter]
    misused = len(row) == 1 and any(mark in row[0] for mark in others)
    return f"{reason} (separate them by {_shown(delimiter)!r})" if misused else reason


def _check_id(where: str, name: str, known: Collection[str] | None, layout: Format) -> None:
    """Refuses an id that is not in the list, or without one, that does not look like the edition's."""
    if known is not None and name not in known:
        raise UserError(f"{where}: id {name!r} is not in the test set{_hint(name, known)}")
    if known is None and not re.fullmatch(layout.pattern or ".+", name, re.DOTALL):
        like = f"; those of edition {layout.edition} are like {layout.example}" if layout.pattern else ""
        raise UserError(f"{where}: {name!r} is no id{like}{_hint(name, ())}")

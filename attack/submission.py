"""Submission files of the ImageCLEFmedical GANs editions: written, and checked as the organizers check them.

2023: the rules are those of the organizers' own validator. 2025: no official validator was found and the two
participants whose files could be read disagree on the header, so header and extension are options, and the
check accepts either.
"""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from shadow import files
from shadow.errors import UserError


@dataclass(frozen=True)
class Format:
    """How an edition wants its file: one line `id,label` a candidate, label 0 (not used) or 1 (used), LF."""

    edition: str
    header: tuple[str, str] | None = None
    extension: str = ""  # that follows the id
    delimiter: str = ","
    official_ids: tuple[str, ...] = ()  # empty: not known, so only an expected set can be compared
    lenient: bool = False  # a check accepts a header line and the extension whether or not they are written


FORMATS = {
    "2023": Format("2023", official_ids=tuple(f"real_unknown_{number:04d}" for number in range(1, 201))),
    "2025": Format("2025", extension=".png", lenient=True),
    "own": Format("own"),
}
HEADER_2025 = ("original_image", "label")  # of the participant who wrote one


def submission_format(edition: str, header: tuple[str, str] | None = None, extension: str | None = None) -> Format:
    """The format of an edition, with another header or extension where the edition leaves them open."""
    if edition not in FORMATS:
        raise UserError(f"edition {edition!r} has no submission format here: known are {', '.join(FORMATS)}")
    found = FORMATS[edition]
    if not found.lenient and (header is not None or extension is not None):
        raise UserError(f"edition {edition} fixes its format: no header and no extension can be chosen")
    if header is not None:
        found = dataclasses.replace(found, header=header)
    return found if extension is None else dataclasses.replace(found, extension=extension)


def _resolve(edition: str | Format) -> Format:
    return edition if isinstance(edition, Format) else submission_format(str(edition))


def _stem(name: str) -> str:
    return name[:-4] if name.lower().endswith(".png") else name


def write(path: Path | str, ids: Iterable[str], labels: Iterable[int], edition: str | Format) -> None:
    """Writes one line a candidate in the given order, whole or not at all.

    ids: distinct, with or without `.png` (the edition decides what is written); labels: 0 or 1, one for each.
    What the edition could not hold is a ValueError: it is a defect of the caller's, not of the user's.
    """
    layout = _resolve(edition)
    stems, values = [_stem(name) for name in ids], [int(label) for label in labels]
    if len(stems) != len(values) or len(set(stems)) != len(stems):
        raise ValueError(f"need distinct ids and a label for each, got {len(stems)} and {len(values)}")
    if any(value not in (0, 1) for value in values):
        raise ValueError("labels must be 0 or 1")
    for stem in stems:
        if not stem or stem != stem.strip() or any(mark in stem for mark in (layout.delimiter, '"', "\n", "\r")):
            raise ValueError(f"id {stem!r} cannot stand in a submission file")
    lines = [] if layout.header is None else [layout.delimiter.join(layout.header)]
    lines += [f"{stem}{layout.extension}{layout.delimiter}{value}" for stem, value in zip(stems, values, strict=True)]
    files.write_text(Path(path), "".join(f"{line}\n" for line in lines))


def _rows(path: Path, delimiter: str) -> list[list[str]]:
    """Split as the official validator splits: universal newlines, no quoting, blank lines kept."""
    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise UserError(f"{path} line {line}: not UTF-8 text") from error
    reader = csv.reader(io.StringIO(text, newline=None), delimiter=delimiter, quoting=csv.QUOTE_NONE)
    try:
        return list(reader)
    except csv.Error as error:
        raise UserError(f"{path} line {reader.line_num}: {error}") from error


def _hint(name: str, stem_known: bool) -> str:
    if name.startswith("\ufeff"):
        return " (the file starts with a byte order mark: save it as UTF-8 without one)"
    if stem_known:
        return " (leave out the extension)"
    if '"' in name or "'" in name:
        return " (leave out the quotes)"
    return ""


def validate(path: Path | str, edition: str | Format, expected_ids: Collection[str] | None = None) -> int:
    """The number of candidates in an acceptable file; else a UserError with the first offending line and why.

    `expected_ids` replaces the edition's official ids (a challenge of one's own). 2023 accepts and rejects
    what the organizers' validator does: any order, CRLF, no final newline, blanks around the fields, `+1` and
    `01` pass; a header, a byte order mark, `.png`, `1.0`, blank lines, quotes, `;`, missing or double ids do
    not.
    """
    layout, source = _resolve(edition), Path(path)
    wanted = layout.official_ids if expected_ids is None else expected_ids
    if layout.lenient:
        wanted = [_stem(name) for name in wanted]
    known = frozenset(wanted)
    rows = _rows(source, layout.delimiter)
    if not rows:
        raise UserError(f"{source}: the file is empty")
    seen: dict[str, int] = {}
    for line, row in enumerate(rows, start=1):
        if len(row) != 2:
            reason = f"wrong format, a line must be ID{layout.delimiter}LABEL: {len(row)} fields"
            if not any(field.strip() for field in row):
                reason = "wrong format: blank line"
            elif any(";" in field for field in row):
                reason += f" (separate them by {layout.delimiter!r})"
            raise UserError(f"{source} line {line}: {reason}")
        name, label = row[0].strip(), row[1].strip()
        if layout.lenient:
            if line == 1 and (name, label) in (layout.header, HEADER_2025):
                continue
            name = _stem(name)
        if (known or not layout.lenient) and name not in known:
            hint = _hint(name, _stem(name) in known)
            if line == 1 and not hint and not label.lstrip("+-").isdigit():
                hint = " (the file must not have a header)"
            raise UserError(f"{source} line {line}: id {name!r} is not in the test set{hint}")
        if name in seen:
            raise UserError(f"{source} line {line}: id {name!r} stands on line {seen[name]} already")
        try:
            value = int(label)
        except ValueError:
            value = -1
        if value not in (0, 1):
            reason = f"wrong label {label!r}, it must be 0 (not used) or 1 (used)"
            raise UserError(f"{source} line {line}: {reason}")
        seen[name] = line
    missing = sorted(known - seen.keys())
    if missing:
        counts = f"the file ends with {len(seen)} of {len(known)} ids"
        raise UserError(f"{source} line {len(rows)}: {counts}, {missing[0]!r} is missing")
    if not seen:
        raise UserError(f"{source}: there is a header but no candidate")
    return len(seen)

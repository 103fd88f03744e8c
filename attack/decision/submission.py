"""Submission files of the ImageCLEFmedical GANs editions: written, and checked as the organizers check them.

2023: the rules are those of the organizers' own validator. 2025: no official validator was found and the two
participants whose files could be read disagree on the header, so header and extension are options, and the
check accepts either. `own`: nobody's rules but the user's (`SubmissionConfig`); any name, quoted as csv does.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from shadow import files, tables
from shadow.config import Config, SubmissionConfig
from shadow.data.editions import EDITIONS, Edition
from shadow.errors import UserError

_LABELS = ("0", "1")
_LENIENT = ("header", "extension")  # what a lenient edition leaves open
_DELIMITERS = {",": ",", ";": ";", "|": "|", "tab": "\t"}  # by their names in `submission.delimiter`


@dataclass(frozen=True)
class Format:
    """How an edition wants its file: one line `id,label` a candidate, LF. labels: of not used, of used."""

    edition: str
    header: tuple[str, str] | None = None
    extension: str = ""  # that follows the id
    delimiter: str = ","
    official_ids: tuple[str, ...] = ()  # empty: not known, so only an expected set can be compared
    lenient: bool = False  # a check accepts a header line and the extension whether or not they are written
    pattern: str = ""  # regular expression of an id where no list of them is known; empty: any
    example: str = ""  # an id that fits the pattern, for messages
    quoted: bool = False  # ids are quoted where csv needs that
    labels: tuple[str, str] = _LABELS
    open: bool = False  # the user may choose all of it


FORMATS = {
    "2023": Format("2023", official_ids=tuple(f"real_unknown_{number:04d}" for number in range(1, 201))),
    "2025": Format("2025", extension=".png", lenient=True, pattern=r"real_unknown_\d+", example="real_unknown_1"),
    "own": Format("own", quoted=True, open=True),
}
HEADER_2025 = ("original_image", "label")  # of the participant who wrote one


def check_formats(known: Mapping[str, Edition] = EDITIONS) -> None:
    """Raises RuntimeError where an edition has no submission format, or lets ids pass that its format cannot hold."""
    for edition in known.values():
        if edition.name not in FORMATS:
            raise RuntimeError(f"edition {edition.name!r}: add its format to FORMATS in attack/decision/submission.py")
        layout = FORMATS[edition.name]
        marks = [mark for mark in (layout.delimiter, '"') if not layout.quoted and mark not in edition.unfit]
        if not re.fullmatch(layout.pattern, layout.example):
            raise RuntimeError(f"edition {edition.name!r}: give its format an `example` that fits its `pattern`")
        if marks:
            raise RuntimeError(f"edition {edition.name!r}: add {marks[0]} to its `unfit` in shadow/data/editions.py")


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


def of_config(config: Config) -> Format:
    """How the submission of a run is written: as its edition wants it, or as `submission` of the config says.

    Raises UserError naming the field where the edition fixes what it says, and where it makes no sense.
    """
    asked, edition = config.submission, config.data.edition
    if asked == SubmissionConfig():
        return submission_format(edition)
    _check_words(asked)
    header = (asked.header[0], asked.header[1]) if asked.header else None
    extension = {"": None, "none": ""}.get(asked.extension, asked.extension)
    found = submission_format(edition)
    if not (found.open or config.data.roles):
        chosen = [f.name for f in dataclasses.fields(asked) if getattr(asked, f.name) != f.default]
        for name in chosen:
            if not found.lenient or name not in _LENIENT:
                raise UserError(
                    f"submission.{name} = {getattr(asked, name)!r}: edition {edition} fixes its format; leave it out, "
                    "or use data.edition = 'own' or data.roles"
                )
        return submission_format(edition, header, extension)
    return Format(
        edition,
        header,
        found.extension if extension is None else extension,
        _DELIMITERS[asked.delimiter],
        labels=(asked.not_used, asked.used),
        quoted=True,
        open=True,
    )


def _check_words(asked: SubmissionConfig) -> None:
    """Refuses options that no file could have, or that could not be read back. Raises UserError."""
    if asked.delimiter not in _DELIMITERS:
        raise UserError(f"submission.delimiter = {asked.delimiter!r}: use {' or '.join(map(repr, _DELIMITERS))}")
    if len(asked.header) not in (0, 2):
        raise UserError(f"submission.header = {asked.header!r}: name two columns, ('image', 'label'), or none")
    if asked.extension not in ("", "none") and not re.fullmatch(r"(\.\w+)+", asked.extension):
        raise UserError(f"submission.extension = {asked.extension!r}: use '.png', say, or 'none'")
    words = {"used": asked.used, "not_used": asked.not_used}
    for name, word in (*words.items(), *(("header", word) for word in asked.header)):
        if not isinstance(word, str) or not word or word != tables.normal(word) or not word.isprintable():
            raise UserError(f"submission.{name}: {word!r} is no word of a csv; use letters, without blanks around them")
    if asked.used.casefold() == asked.not_used.casefold():
        raise UserError(f"submission.used = {asked.used!r}: is the label of slices not used, too; use two words")
    if len(asked.header) == 2 and asked.header[1] in words.values():
        raise UserError(f"submission.header: {asked.header[1]!r} is a label; name the column otherwise")


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
                allowed = f"none, or {','.join(HEADER_2025)}" if layout.lenient else "none: it must not have a header"
                raise UserError(f"{where}: {name},{label} is a header, and edition {layout.edition} wants {allowed}")
        if layout.lenient:
            name = _stem(name)
        elif layout.extension:
            name = _without(name, layout, where)
        _check_id(where, name, known, layout)
        if name in seen:
            raise UserError(f"{where}: id {name!r} stands on line {seen[name]} already")
        if not _is_label(label, layout):
            zero, one = layout.labels
            raise UserError(f"{where}: wrong label {label!r}, it must be {zero} (not used) or {one} (used)")
        seen[name] = line
    missing = sorted((known or frozenset()) - seen.keys())
    if missing:
        counts = f"the file ends with {len(seen)} of {len(known or ())} ids"
        own = "; --workdir=RUN compares with a run's own" if expected_ids is None else ""
        raise UserError(f"{source} line {len(rows)}: {counts}, {missing[0]!r} is missing{own}")
    if not seen:
        raise UserError(f"{source}: there is a header but no candidate")
    return len(seen)


def _is_label(label: str, layout: Format) -> bool:
    """0 and 1 are read as numbers, as the official validator reads them; words as they are."""
    if layout.labels != _LABELS:
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
    others = [mark for mark in _DELIMITERS.values() if mark != delimiter]
    misused = len(row) == 1 and any(mark in row[0] for mark in others)
    return f"{reason} (separate them by {_shown(delimiter)!r})" if misused else reason


def _check_id(where: str, name: str, known: Collection[str] | None, layout: Format) -> None:
    """Refuses an id that is not in the list, or without one, that does not look like the edition's."""
    if known is not None and name not in known:
        raise UserError(f"{where}: id {name!r} is not in the test set{_hint(name, known)}")
    if known is None and not re.fullmatch(layout.pattern or ".+", name, re.DOTALL):
        like = f"; those of edition {layout.edition} are like {layout.example}" if layout.pattern else ""
        raise UserError(f"{where}: {name!r} is no id{like}{_hint(name, ())}")

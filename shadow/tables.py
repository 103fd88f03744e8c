"""Csv files that users give: read as text of one form, with the usual accidents named.

One name can be written in two forms: macOS takes an umlaut apart, other systems do not. Everything is compared in the
composed form (NFC) and without blanks around it.
"""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from shadow.errors import UserError

_UTF16 = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True)
class Line:
    """Fields of one row in normal form, and the line of the file that it ends on."""

    number: int
    fields: list[str]


def normal(text: str) -> str:
    """The form in which names are compared: composed, and without blanks around it."""
    return unicodedata.normalize("NFC", text).strip()


def read_text(path: Path, keep_mark: bool = False) -> str:
    """The file as text, without a byte order mark unless `keep_mark`.

    Raises UserError where it cannot be read, or is no UTF-8.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    try:
        return content.decode("utf-8" if keep_mark else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        form = "UTF-16" if content.startswith(_UTF16) else "Latin-1, say"
        raise UserError(f"{path} line {line}: not UTF-8 text ({form}); save it as CSV UTF-8") from error


def read(path: Path, strict: bool = False, delimiter: str = ",") -> Iterator[Line]:
    """All rows, the header first. `strict` refuses what csv would put up with: a quote within a field.

    Raises UserError as `read_text`, and on text that is no csv.
    """
    text = io.StringIO(read_text(path), newline="")
    reader = csv.reader(text, strict=strict, skipinitialspace=True, delimiter=delimiter)
    try:
        for row in reader:
            yield Line(reader.line_num, [normal(field) for field in row])
    except csv.Error as error:
        raise UserError(f"{path} line {reader.line_num}: {error}") from error


def separator_hint(header: list[str]) -> str:
    """What to do about a header whose columns are not separated by commas, as the end of a message; else ''."""
    for mark, name in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        if len(header) == 1 and mark in header[0]:
            return f" (its columns are separated by {name}: save it with commas)"
    return ""

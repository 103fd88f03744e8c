"""How the editions of ImageCLEFmedical GANs want their submission files, and how a user may choose a format.

2023: the rules are those of the organizers' own validator. 2025: no official validator was found and the two
participants whose files could be read disagree on the header, so header and extension are options, and the
check accepts either; of its sub-task 2, "whose data?", one participant's file could be read. `own`: nobody's rules but
the user's (`SubmissionConfig`); any name, quoted as csv does.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shadow import tables
from shadow.config import Config, SubmissionConfig
from shadow.data.editions import EDITIONS, SUBSETS, Edition
from shadow.errors import UserError

LABELS = ("0", "1")
_LENIENT = ("header", "extension")  # what a lenient edition leaves open
DELIMITERS = {",": ",", ";": ";", "|": "|", "tab": "\t"}  # by their names in `submission.delimiter`


@dataclass(frozen=True)
class Format:
    """How an edition wants its file: one line `id,label` a candidate, LF. labels: of not used and of used, or the names
    of subsets."""

    edition: str
    header: tuple[str, str] | None = None
    extension: str = ""  # that follows the id
    delimiter: str = ","
    official_ids: tuple[str, ...] = ()  # empty: not known, so only an expected set can be compared
    lenient: bool = False  # a check accepts a header line and the extension whether or not they are written
    pattern: str = ""  # regular expression of an id where no list of them is known; empty: any
    example: str = ""  # an id that fits the pattern, for messages
    quoted: bool = False  # ids are quoted where csv needs that
    labels: tuple[str, ...] = LABELS
    open: bool = False  # the user may choose all of it


FORMATS = {
    "2023": Format("2023", official_ids=tuple(f"real_unknown_{number:04d}" for number in range(1, 201))),
    "2025": Format("2025", extension=".png", lenient=True, pattern=r"real_unknown_\d+", example="real_unknown_1"),
    "own": Format("own", quoted=True, open=True),
    SUBSETS: Format(
        SUBSETS,
        header=("image_path", "predicted_class"),  # of the participants whose file could be read
        extension=".png",
        lenient=True,
        labels=("t1", "t2", "t3", "t4", "t5"),
    ),
}
HEADER_2025 = ("original_image", "label")  # of the participant who wrote one


def check_formats(known: Mapping[str, Edition] = EDITIONS) -> None:
    """Raises RuntimeError where an edition has no submission format, or lets ids pass that its format cannot hold."""
    for edition in known.values():
        if edition.name not in FORMATS:
            raise RuntimeError(
                f"edition {edition.name!r}: add its format to FORMATS in attack/decision/submission_formats.py"
            )
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


def of_subsets(config: Config, names: Sequence[str]) -> Format:
    """The format of a run whose labels are the names of subsets. Raises UserError as `of_config`."""
    return dataclasses.replace(of_config(config), labels=tuple(names), quoted=False)


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
        DELIMITERS[asked.delimiter],
        labels=(asked.not_used, asked.used),
        quoted=True,
        open=True,
    )


def _check_words(asked: SubmissionConfig) -> None:
    """Refuses options that no file could have, or that could not be read back. Raises UserError."""
    if asked.delimiter not in DELIMITERS:
        raise UserError(f"submission.delimiter = {asked.delimiter!r}: use {' or '.join(map(repr, DELIMITERS))}")
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

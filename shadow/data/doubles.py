"""The same picture in several files, whatever their names and bytes: refused, or said, before anything is trained."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from absl import logging

from shadow.data import editions
from shadow.errors import UserError


@dataclass(frozen=True)
class Picture:
    """An image of a manifest: `label` as there, and `pixels` a hash of its decoded gray values."""

    path: Path
    role: str
    label: int
    pixels: str


def clusters(pictures: Sequence[Picture]) -> list[tuple[Picture, ...]]:
    """Files of one picture, for every picture that is there twice or more often, in the order of the first."""
    found: defaultdict[str, list[Picture]] = defaultdict(list)
    for picture in pictures:
        found[picture.pixels].append(picture)
    return [tuple(files) for files in found.values() if len(files) > 1]


def refusal(files: Sequence[Picture]) -> str:
    """Why a run does not take these files of one picture, in the order of `editions.ROLES`; empty where it does."""
    real = [picture for picture in files if picture.role in editions.REAL]
    return next((said for picture in real[1:] if (said := _contradiction(real[0], picture))), "")


def check(pictures: Sequence[Picture]) -> None:
    """Looks for pictures that are there twice, of all images in the order of `editions.ROLES`.

    Raises UserError where a picture is used and not used at once, or where shadows would be trained on a candidate or
    on a slice that is known elsewhere. Logs one warning each for candidates of known membership, for dev slices that
    are there twice, and for generated images that are real ones.
    """
    real = [picture for picture in pictures if picture.role in editions.REAL]
    first: dict[str, Picture] = {}
    twice: list[tuple[Picture, Picture]] = []
    for picture in real:  # labelled roles come first, `unknown` last
        other = first.setdefault(picture.pixels, picture)
        if other is not picture:
            if said := _contradiction(other, picture):
                raise UserError(said)
            twice.append((other, picture))
    _warn(
        "%s and %s are the same picture: its membership is known%s", [p for p in twice if p[0].label >= 0 > p[1].label]
    )
    _warn(
        "%s and %s are the same picture%s: shadows take them for two, and one may be held where the other is not; "
        "remove one of them",
        [pair for pair in twice if pair[0].role == pair[1].role in editions.DEV],
    )
    generated = [picture for picture in pictures if picture.role in editions.GENERATED]
    _warn(
        "%s, a real slice, and %s, a generated one, are the same to the last pixel%s: look whether real slices lie in "
        "the wrong folder",
        [(first[picture.pixels], picture) for picture in generated if picture.pixels in first],
    )


def _contradiction(other: Picture, picture: Picture) -> str:
    """What is wrong with two files of one picture whose roles contradict each other; empty where they do not."""
    pair = f"{other.path} and {picture.path} are the same picture"
    if picture.role == "reference" and other.label >= 0:
        return f"{pair}, once with its use known and once without; remove the latter"
    if (other.role, picture.role) == ("reference", "unknown"):
        return f"{pair}, and shadows must not be trained on a candidate; remove one"
    if other.label != picture.label and picture.label >= 0:
        return f"{pair}, used and not used at once; remove one of them"
    return ""


def _warn(text: str, pairs: Sequence[tuple[Picture, Picture]]) -> None:
    """One line for all pairs of a kind: the first, and how many there are."""
    if pairs:
        more = f" (and {len(pairs) - 1} more such pairs)" if len(pairs) > 1 else ""
        logging.warning(text, pairs[0][0].path, pairs[0][1].path, more)

"""Whole files or none: everything is written under a temporary name and then renamed."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

import numpy as np


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`, which becomes `path` on success and is removed on failure.

    The name is fixed (`.NAME.part`), so what a killed process left behind is overwritten by the next try.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a whole file or none."""
    with replacing(path) as part:
        part.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    """Writes a whole text file in UTF-8, or none."""
    write_bytes(path, content.encode())


def write_json(path: Path, value: Any) -> None:
    """Indented JSON with a final newline; NaN is refused, since JSON has none."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def write_csv(path: Path, header: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    """Writes a whole csv with LF line ends, or none."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_text(path, text.getvalue())


def write_array(path: Path, array: np.ndarray) -> None:
    """A plain `.npy` file, never pickled."""
    with replacing(path) as part, part.open("wb") as stream:
        save_array(stream, array)


def save_array(stream: BinaryIO, array: np.ndarray) -> None:
    """As `np.save`, which for a real file would say of a full disk no more than how many items it wrote."""
    np.save(SimpleNamespace(write=stream.write), array, allow_pickle=False)

"""The manifest: one row an image, with what the rest of a run needs and a hash to notice changes by."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from shadow import files, tables
from shadow.data import decoding, doubles, editions, groups, mapping
from shadow.errors import UserError

HEADER = ("id", "role", "path", "label", "group", "width", "height", "mode", "sha256")
PATIENTS = "patients.csv"  # beside the data: used where `data.patients` names no other file
_GROUP_SIDE = 64  # pixels a side at which near-duplicates are sought


@dataclass(frozen=True, eq=False)
class Manifest:
    """Columns [image] of all images below `root`, by role as in `editions.ROLES`, then in natural order.

    `id` is unique; `path` is relative to `root`, with slashes; `label` is 1 used, 0 not used, -1 unknown
    (empty in the csv); `group` is the patient or near-duplicate cluster, empty for generated images; `mode`
    is how Pillow calls the stored pixels; `sha256` is of the file's bytes.
    """

    root: Path
    id: np.ndarray
    role: np.ndarray
    path: np.ndarray
    label: np.ndarray
    group: np.ndarray
    width: np.ndarray
    height: np.ndarray
    mode: np.ndarray
    sha256: np.ndarray

    def __len__(self) -> int:
        return len(self.id)

    def rows(self, role: str) -> np.ndarray:
        """Row numbers int [image] of the images of `role`, to index the columns with."""
        if role not in editions.ROLES:
            raise ValueError(f"no role {role!r}")
        return np.flatnonzero(self.role == role)

    def groups_of(self, ids: Sequence[str]) -> list[str]:
        """The group of each of these images, in their order."""
        return self.group[self._rows_of(ids)].tolist()

    def images(self, which: str | Sequence[str]) -> np.ndarray:
        """uint8 [image, height, width] of a role, or of the given ids in their order; all of one size.

        Raises UserError if a file cannot be read any more or has another size than in the manifest.
        """
        rows = self._rows_of(which)
        sizes = {(int(self.height[row]), int(self.width[row])) for row in rows}
        if len(sizes) != 1:
            raise ValueError(f"images of one size wanted, not {sorted(sizes)}")
        result = np.empty((len(rows), *sizes.pop()), np.uint8)

        def load(index: int) -> None:
            result[index] = self._read(rows[index])

        _map(load, range(len(rows)), "reading")
        return result

    def images_at(self, which: str | Sequence[str], resolution: int) -> np.ndarray:
        """float32 [image, resolution, resolution] in [0, 255] of a role, or of the given ids in their order.

        Every file is reduced by `decoding.resize` as it is read, so the full-size images are never held
        together. Raises UserError as `images` and `decoding.resize` do.
        """
        rows = self._rows_of(which)
        result = np.empty((len(rows), resolution, resolution), np.float32)

        def load(index: int) -> None:
            result[index] = decoding.resize(self._read(rows[index])[None], resolution)[0]

        _map(load, range(len(rows)), "reading")
        return result

    def write(self, path: Path) -> None:
        """Writes the csv, whole or not at all."""
        label = ["" if label < 0 else int(label) for label in self.label]
        columns = [label if name == "label" else getattr(self, name) for name in HEADER]
        files.write_csv(path, HEADER, zip(*columns, strict=True))

    def _rows_of(self, which: str | Sequence[str]) -> np.ndarray:
        if isinstance(which, str):
            return self.rows(which)
        row = {name: index for index, name in enumerate(self.id.tolist())}
        return np.array([row[name] for name in which], int)

    def _read(self, row: int) -> np.ndarray:
        path = self.root / self.path[row]
        content = decoding.read_bytes(path)
        if hashlib.sha256(content).hexdigest() != self.sha256[row]:
            raise UserError(f"{path} has changed since the manifest was written; restore the file")
        return decoding.decode(content, path)[0]


def read(path: Path, root: Path | str) -> Manifest:
    """The manifest in the csv at `path`, of images below `root`; UserError with the line if it is none."""
    try:
        text = path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot read this manifest: {error}") from error
    reader = csv.reader(io.StringIO(text, newline=""))
    rows: list[dict[str, Any]] = []
    seen: set[str] = set()
    try:
        if tuple(next(reader, ())) != HEADER:
            raise UserError(f"{path}: the first line must be {','.join(HEADER)}")
        for values in reader:
            if len(values) != len(HEADER):
                raise ValueError(f"{len(values)} fields instead of {len(HEADER)}")
            row: dict[str, Any] = dict(zip(HEADER, values, strict=True))
            if row["role"] not in editions.ROLES:
                raise ValueError(f"no role {row['role']!r}")
            label = editions.LABELS.get(row["role"], -1)
            if row["label"] != ("" if label < 0 else str(label)):
                raise ValueError(f"label {row['label']!r} for the role {row['role']}")
            if row["id"] in seen:
                raise ValueError(f"{row['id']} is listed twice")
            seen.add(row["id"])
            rows.append(row | {"label": label, "width": int(row["width"]), "height": int(row["height"])})
    except (ValueError, csv.Error) as error:
        raise UserError(f"{path}, line {reader.line_num}: {error}; delete it and plan again") from error
    return _from_rows(Path(root), rows)


def build(
    root: Path | str,
    edition: str,
    patients: Path | str | None,
    group_distance: float,
    mapped: Sequence[str] = (),
    same: Callable[[Sequence[doubles.Picture]], None] = doubles.check,
) -> Manifest:
    """Finds, decodes, checks and groups all images of an edition below `root`.

    `mapped`: which folders stand for which role, as `mapping.find_folders` takes it; empty: those of the edition.
    `patients`: a csv `file,patient` for all real images; empty or None: `patients.csv` in `root` if there is
    one, else near-duplicate clusters at the distance `group_distance` (see `groups`). `same`: is shown all
    pictures, to refuse those that are there twice.

    Raises UserError for what `mapping.find_folders`, `decoding.read_gray` and `groups.patients_from_csv`
    refuse; for two files with one id; for a candidate whose name no submission could hold; for an image of another
    size than the others of its kind (a kind is all real images, or one generated pile) and for oblong ones; and for
    what `same` refuses.
    """
    root = Path(root)
    folders = mapping.find_folders(root, edition, mapped)
    known_roles = {role.name: role for role in editions.get(edition).roles}
    rows: list[dict[str, Any]] = []
    known: dict[str, Path] = {}
    for role in folders:
        for path in [path for folder in folders[role] for path in editions.images_in(folder)]:
            name = _checked_id(path, known_roles[role], edition)
            if name in known:
                raise UserError(f"{known[name]} and {path} have the same id {name}; rename one of them")
            known[name] = path
            rows.append({"id": name, "role": role, "path": path.relative_to(root).as_posix(), "group": ""})
    facts = _map(_inspect, list(known.values()), "checking")
    for row, fact in zip(rows, facts, strict=True):
        row |= {"label": editions.LABELS.get(row["role"], -1), "width": fact.width, "height": fact.height}
        row |= {"mode": fact.mode, "sha256": fact.sha256}
    _check_sizes(root, rows)
    same(
        [
            doubles.Picture(root / row["path"], row["role"], row["label"], fact.pixels)
            for row, fact in zip(rows, facts, strict=True)
        ]
    )
    return _grouped(_from_rows(root, rows), patients, group_distance)


def verify(manifest: Manifest) -> None:
    """Hashes all files again; UserError naming the first changed, missing or new one and how many more."""

    def problem(row: int) -> str:
        path = manifest.root / manifest.path[row]
        if not os.path.isfile(path):  # unlike Path.is_file, false where the folder is closed to us
            return f"{path} is missing"
        same = hashlib.sha256(decoding.read_bytes(path)).hexdigest() == manifest.sha256[row]
        return "" if same else f"{path} has changed"

    problems = [line for line in _map(problem, range(len(manifest)), "verifying") if line]
    listed = {manifest.root / path for path in manifest.path}
    for folder in sorted({path.parent for path in listed if os.path.isfile(path)}):
        problems += [f"{path} is new" for path in editions.images_in(folder) if path not in listed]
    if problems:
        more = f" (and {len(problems) - 1} more such files)" if len(problems) > 1 else ""
        raise UserError(f"{problems[0]} since the manifest was written{more}; restore the files or use a new --workdir")


def verify_patients(manifest: Manifest, patients: Path | str | None) -> None:
    """Reads the csv of patients again, where there is one; UserError where it does not give the manifest's groups."""
    table = Path(patients) if patients else manifest.root / PATIENTS
    if not patients and not table.is_file():
        return
    real = [row for role in editions.REAL for row in manifest.rows(role)]
    known = groups.patients_from_csv(table, manifest.id[real].tolist())
    moved = [
        str(manifest.id[row]) for row in real if known[str(manifest.id[row])] != tables.normal(str(manifest.group[row]))
    ]
    if moved:
        raise UserError(
            f"{table} gives another patient to {moved[0]} ({len(moved)} in all) than when the manifest was written; "
            "restore the csv or use a new --workdir"
        )


class _Facts(NamedTuple):
    width: int
    height: int
    mode: str
    sha256: str
    pixels: str  # hash of the decoded image: one picture may be stored in several ways


def _inspect(path: Path) -> _Facts:
    content = decoding.read_bytes(path)
    gray, mode = decoding.decode(content, path)
    pixels = hashlib.sha256(repr(gray.shape).encode() + gray.tobytes()).hexdigest()
    return _Facts(gray.shape[1], gray.shape[0], mode, hashlib.sha256(content).hexdigest(), pixels)


def _map(function: Callable[[Any], Any], items: Sequence[Any], what: str) -> list[Any]:
    """`function` of all items in order, by threads (decoding and hashing release the GIL)."""
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        results: Iterable[Any] = pool.map(function, items)
        return list(tqdm(results, what, len(items), leave=False, disable=None, unit="image"))


def _from_rows(root: Path, rows: list[dict[str, Any]]) -> Manifest:
    numbers = {"label": np.int8, "width": np.int32, "height": np.int32}
    columns = {name: np.array([row[name] for row in rows], numbers.get(name, np.str_)) for name in HEADER}
    for column in columns.values():
        column.setflags(write=False)
    return Manifest(root, **columns)


def _checked_id(path: Path, role: editions.Role, edition: str) -> str:
    """The id of an image. Raises UserError where its name leaves none, or one that no submission of it could hold."""
    prefix = role.prefix + (f"{tables.normal(path.parent.name)}/" if role.parts else "")
    name = groups.image_id(path.name)
    if not name:
        raise UserError(f"{path}: its name has nothing but blanks before the ending; rename it")
    mark = next((mark for mark in editions.get(edition).unfit if mark in name), None)
    asked = "generated_test" if edition == editions.SUBSETS else "unknown"  # what submissions have lines about
    if role.name == asked and mark:
        raise UserError(f"{path}: a submission of edition {edition} cannot hold the {mark} in its name; rename it")
    return prefix + name


def _check_sizes(root: Path, rows: list[dict[str, Any]]) -> None:
    for kind in (("generated_dev",), ("generated_test",), editions.REAL):
        members = [row for row in rows if row["role"] in kind]
        if not members:
            continue
        (width, height), _ = Counter((row["width"], row["height"]) for row in members).most_common(1)[0]
        for row in members:
            if (row["width"], row["height"]) != (width, height):
                raise UserError(
                    f"{root / row['path']}: {row['width']} x {row['height']} pixels, while the others are "
                    f"{width} x {height}; save all in one size"
                )
        if width != height:
            raise UserError(f"{root / members[0]['path']}: {width} x {height} pixels; slices must be square")


def _grouped(manifest: Manifest, patients: Path | str | None, group_distance: float) -> Manifest:
    """The manifest with its groups filled in."""
    dev = np.concatenate([manifest.rows(role) for role in editions.DEV])
    test = manifest.rows("unknown")
    real = np.concatenate([dev, test])
    names = manifest.id[real].tolist()
    table = Path(patients) if patients else manifest.root / PATIENTS
    if patients or table.is_file():
        known = groups.patients_from_csv(table, names)
        found = [known[name] for name in names]
    else:
        side = min(_GROUP_SIDE, int(manifest.width[real[0]]))
        images = manifest.images_at(names, side)
        known_groups, other_groups = groups.near_duplicates(images[: len(dev)], images[len(dev) :], group_distance)
        found = known_groups + other_groups
    group = manifest.group.astype(object)
    group[real] = found
    column = group.astype(np.str_)
    column.setflags(write=False)
    return dataclasses.replace(manifest, group=column)

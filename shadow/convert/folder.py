"""A folder or archive of anything that holds slices becomes a folder of 8-bit gray PNG files, whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from absl import logging
from PIL import Image
from tqdm import tqdm

from shadow import files, tables
from shadow.convert import archives, arrays, dicom, nifti, pictures, sources
from shadow.convert.values import LeftOut, Rule, Slice, show
from shadow.errors import UserError

_HEAD = 512  # bytes that tell a file's kind
_FORMATS = "PNG, JPEG, TIFF, BMP, NPY, NPZ, DICOM or NIfTI"
# Names by which a file holds images, of a format that is read here or of another: none is passed over in silence.
_NAMED = (
    *(".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".npy", ".npz", ".dcm", ".dicom", ".ima", ".nii", ".nii.gz"),
    *(".gif", ".webp", ".jp2", ".j2k", ".heic", ".mha", ".mhd", ".nrrd", ".nhdr", ".mgz", ".mgh", ".hdr", ".img"),
)


@dataclass(frozen=True)
class Written:
    """One PNG file: `name` below the new folder, its source and which slice of that, and who the patient is, hashed."""

    name: str
    source: str
    number: int
    patient: str
    said: str
    sha256: str


@dataclass(frozen=True)
class _Passed:
    """A file that is left out, in whole or in part, and why. Its content is let go."""

    path: Path
    source: str
    why: str


def convert(source: Path, folder: Path, rule: Rule) -> str:
    """Converts every slice below `source`; returns what to say about it.

    Folders that are named for a role of a run stay, with the one below where it is a subset or a pile of subsets, and
    others right below `source`. Deeper names are replaced by numbers, since they may name patients. An archive counts
    as a folder of its name. `patients.csv` is written where the patient of every slice outside of `generated` folders
    is known, and `left_out.csv` where slices are left out, with one warning a reason. Raises UserError naming the file
    that cannot be converted, where there is no slice, and where `folder` exists.
    """
    found = sources.listed(source)
    if folder.exists() or folder.is_symlink():
        raise UserError(f"{folder} is there already: name a new folder, or remove it")
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    salt = rule.salt or secrets.token_hex(16)
    written: list[Written] = []
    passed: list[_Passed] = []
    try:
        part.mkdir(mode=0o700, parents=True)
        for one in tqdm(found, "converting", disable=None, leave=False, unit="file"):
            with contextlib.closing(sources.files(one, part)) as inside:
                for file in inside:
                    pieces = list(_converted(file, part, rule, salt, len(written)))
                    written += [piece for piece in pieces if isinstance(piece, Written)]
                    reasons = dict.fromkeys(piece.why for piece in pieces if isinstance(piece, LeftOut))
                    passed += [
                        _Passed(file.path, file.source, why) for why in (reasons if pieces else ("holds no slice",))
                    ]
        _warn(passed)
        if not written:
            raise UserError(f"--source={source}: no slice there ({_FORMATS}){_first(passed)}; name another folder")
        rows = [(w.name, w.source, w.number, w.said, w.sha256) for w in written]
        files.write_csv(part / "conversions.csv", ("file", "source", "slice", "conversion", "sha256"), rows)
        if passed:
            files.write_csv(part / "left_out.csv", ("source", "why"), [(one.source, one.why) for one in passed])
        known = _write_patients(part, written)
        os.replace(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    who = f"{known} patients in patients.csv" if known else "no patients.csv, since not every slice names its patient"
    made = f"{folder}: {len(written)} slices of {len({piece.source for piece in written})} files"
    left = f"; {len(passed)} are left out: left_out.csv" if passed else ""
    return f"{made}, {who}; conversions.csv says what was done to each{left}"


def _first(passed: Sequence[_Passed]) -> str:
    """What was left out first, as a part of a sentence."""
    return f": {passed[0].path} {passed[0].why}" if passed else ""


def _warn(passed: Sequence[_Passed]) -> None:
    """One line a reason: the first file, and how many there are."""
    for why in dict.fromkeys(one.why for one in passed):
        of_it = [one.path for one in passed if one.why == why]
        more = f" (and {len(of_it) - 1} more such files)" if len(of_it) > 1 else ""
        logging.warning("%s %s: left out%s", of_it[0], why, more)


def _converted(file: sources.File, part: Path, rule: Rule, salt: str, first: int) -> Iterator[Written | LeftOut]:
    """Writes the slices of one file, numbered from `first` on."""
    sha, kept = hashlib.sha256(file.content).hexdigest(), _kept(file.folder)
    (part / kept).mkdir(exist_ok=True, parents=True)
    made = 0
    for number, piece in enumerate(_read(file.path, file.content, rule)):
        if isinstance(piece, LeftOut):
            yield piece
            continue
        shown = show(piece, rule, f"{file.path}, slice {number + 1}" if number else str(file.path))
        name = f"{kept.name or 'slice'}_{first + made + 1:06d}.png"
        made += 1
        Image.fromarray(shown.gray).save(part / kept / name)
        who = ""
        if piece.patient:
            who = hashlib.sha256(f"{salt}\0{tables.normal(piece.patient)}".encode()).hexdigest()[:16]
        yield Written((kept / name).as_posix(), file.source, number + 1, who, shown.said, sha)


def _kept(folder: Sequence[str]) -> Path:
    """The part of a folder's path, from the source on, that its slices keep: up to the last role's name, and one more
    where that role's folder holds folders (`sources.has_parts`); else the first."""
    end = max((i for i, name in enumerate(folder, 1) if sources.is_role(name)), default=0)
    if not end:
        return Path(*folder[:1])
    while end > 1 and folder[end - 2].casefold() == folder[end - 1].casefold():  # an archive in a folder of its name
        end -= 1
    return Path(*folder[: end + sources.has_parts(folder[end - 1])])


def _read(path: Path, content: bytes, rule: Rule) -> Iterator[Slice | LeftOut]:
    """The slices of a file, by its content and not by its name; none of a file of another kind.

    Raises UserError as its reader, and where the name says that it holds images and the content does not.
    """
    if dicom.is_dicom(content):
        return dicom.read(path, content)
    if pictures.kind(content[:_HEAD]):
        return pictures.read(path, content)
    if content.startswith(b"\x93NUMPY") or (content.startswith(b"PK\3\4") and path.suffix.casefold() == ".npz"):
        return arrays.read(path, content)
    if nifti.is_nifti(content):
        return nifti.read(path, content)
    named = path.name.casefold().endswith(_NAMED)
    if content.startswith((b"PK\3\4", b"\x1f\x8b", b"7z\xbc\xaf", b"Rar!")) and not named:
        raise UserError(f"{path}: an archive, read here only as {', '.join(archives.SUFFIXES)}; unpack it first")
    if not named:
        return iter(())
    if rule.unreadable == "leave_out":
        return iter((LeftOut("holds no slice that can be read, whatever its name says"),))
    if path.suffix.casefold() in (".hdr", ".img"):
        raise UserError(f"{path}: one of a pair .hdr and .img; save the volume as .nii, or move the pair elsewhere")
    raise UserError(
        f"{path}: its name says that it holds images, its content is no {_FORMATS}; "
        "copy or save it again, or leave such files out with --unreadable=leave_out"
    )


def _write_patients(part: Path, written: list[Written]) -> int:
    """Writes patients.csv where every real slice has a patient; returns how many, 0 where it is not written."""
    real = [piece for piece in written if not Path(piece.name).parent.name.casefold().startswith("generated")]
    if not real or any(not piece.patient for piece in real):
        return 0
    files.write_csv(part / "patients.csv", ("file", "patient"), [(Path(p.name).name, p.patient) for p in real])
    return len({piece.patient for piece in real})

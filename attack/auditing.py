"""Audits arrays from Python: the stages of `launch.py run`, on a folder that is written for them."""

from __future__ import annotations

import contextlib
import copy
import csv
import itertools
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from attack.decision import submission
from attack.metrics import score as predictions
from attack.pipeline import Run
from attack.report import wording
from attack.results import Evaluation
from attack.results.audited import Audit, Verdict
from shadow import files
from shadow.config import Config
from shadow.data import decoding, manifest
from shadow.errors import UserError

IMAGES = "images"  # the folder of the written images, below the workdir
_REAL = ("candidates", "used", "not_used")
# Where an argument is written: folders of an edition, so that `launch.py run` finds them, and the stem of the names.
_OWN = {"pile": ("generated",), "candidates": ("candidates",), "not_used": ("not_used",)}
_LABELLED = {
    "pile": ("test/generated_1", "dev/generated"),  # one pile in both places: labels of its generator count
    "candidates": ("test/real_unknown_1",),
    "used": ("dev/used",),
    "not_used": ("dev/not_used",),
}
_ROLES = (  # of _LABELLED, named so that no number of images is a surprise
    *("generated_dev=dev/generated", "generated_test=test/generated_1", "used=dev/used", "not_used=dev/not_used"),
    "unknown=test/real_unknown_1",
)
_STEMS = {"pile": "generated", "candidates": "candidate", "used": "used", "not_used": "not_used"}


def audit(
    pile: np.ndarray,
    candidates: np.ndarray,
    *,
    used: np.ndarray | None = None,
    not_used: np.ndarray | None = None,
    groups: Mapping[str, Sequence[Any]] | None = None,
    same_generator: str = "auto",
    config: Config | None = None,
    workdir: Path | str | None = None,
) -> Audit:
    """Tells whether a generator gives away which candidates it was trained on, as `launch.py run` does.

    All images are gray values uint8 [image, side, side]; real ones have one side, generated ones may have another.

    pile: images of the generator under test.
    candidates: the real slices in question.
    used: real slices that this generator was trained on. not_used: slices that it was not trained on. Shadows are
    trained on both. `used` may be left out, `not_used` may not.
    groups: the patient of each slice, as {"candidates": [...], "not_used": [...]}, for all roles that are given.
    Without it, near-duplicate slices are grouped.
    same_generator: whether `used` and `not_used` count as labels of this generator: "auto" (tested), "true" or "false".
    It takes the place of `config.attack.same_generator`.
    config: the recipe; None stands for `Config()`, which is as small as the demo. `configs.small.get_config()` sees
    fainter leaks, and takes longer.
    workdir: the folder of the run, which is gone on with where it was stopped; None: a private one, removed at the end.

    Progress is written to stdout and stderr. JAX of this process is set to the CPU. Raises UserError where an argument
    is wrong, before anything is written; and as the command line does.
    """
    given = {"pile": pile, "candidates": candidates, "used": used, "not_used": not_used}
    images = {name: _images(name, value) for name, value in given.items() if value is not None}
    settings = _settings(config, same_generator, labelled="used" in images)
    _check_roles(images, settings.data.resolution)
    patients = _patients(images, groups)
    if threading.current_thread() is not threading.main_thread():
        raise UserError("audit: call it from the main thread, which alone can catch signals")
    with _folder(workdir) as folder:
        settings.data.root = str(folder / IMAGES)
        run = Run(folder, settings)
        _place(folder, images, patients)
        for command in run.commands:
            getattr(run, command)()
        return _read(folder, _names("candidates", images), settings)


def _images(name: str, value: Any) -> np.ndarray:
    """uint8 [image, side, side]. Raises UserError where the argument is anything else."""
    try:
        found = np.asarray(value)
    except ValueError as error:  # lists of unequal lengths
        raise UserError(f"{name}: images of several sizes; give one array [image, side, side]") from error
    if not found.size:
        raise UserError(f"{name}: holds no image; give one or more, or leave the argument out")
    if found.dtype != np.uint8:
        odd = found.dtype.kind == "f" and not np.isfinite(found).all()
        nan = " and holds NaN or infinity" if odd else ""
        raise UserError(f"{name}: is {found.dtype}{nan}; give gray values from 0 to 255 as uint8")
    if found.ndim != 3 or found.shape[1] != found.shape[2]:
        raise UserError(f"{name}: has the shape {found.shape}; give square gray images [image, side, side]")
    return found


def _check_roles(images: Mapping[str, np.ndarray], resolution: int) -> None:
    """Raises UserError where roles are missing, do not fit each other, or share a picture."""
    if "not_used" not in images:
        raise UserError("not_used: is missing; give real slices that the generator was not trained on")
    real = [name for name in _REAL if name in images]
    side = images["candidates"].shape[1]
    for name in real:
        if images[name].shape[1] != side:
            raise UserError(
                f"{name}: {images[name].shape[1]} pixels a side, and candidates have {side}; bring them to one size"
            )
    for name in ("pile", "candidates"):
        if images[name].shape[1] < resolution:
            raise UserError(
                f"{name}: {images[name].shape[1]} pixels a side; lower config.data.resolution = {resolution}, or give "
                "larger images"
            )
    first: dict[bytes, tuple[str, int]] = {}
    for name in real:
        for row, image in enumerate(images[name]):
            other, place = first.setdefault(image.tobytes(), (name, row))
            if other != name:
                raise UserError(f"{other}[{place}] and {name}[{row}] are the same picture; leave one of them out")


def _patients(
    images: Mapping[str, np.ndarray], groups: Mapping[str, Sequence[Any]] | None
) -> dict[str, list[str]] | None:
    """The patient of each real slice by role. Raises UserError where groups do not fit the images."""
    if groups is None:
        return None
    real = [name for name in _REAL if name in images]
    if not isinstance(groups, Mapping) or sorted(groups) != sorted(real):
        raise UserError(f"groups: give a dict with a list of patients for each of {', '.join(real)}, and nothing else")
    found = {name: [str(patient) for patient in groups[name]] for name in real}
    for name, names in found.items():
        if len(names) != len(images[name]):
            raise UserError(f"groups[{name!r}]: {len(names)} patients for {len(images[name])} images; give one each")
        for row, patient in enumerate(names):
            if not patient.strip() or not patient.isprintable():
                raise UserError(f"groups[{name!r}][{row}]: {patient!r} is no name; give one that can be printed")
    return found


def _settings(config: Config | None, same_generator: str, labelled: bool) -> Config:
    """A copy of the config, for images in our folder. Raises UserError where it asks for what an audit cannot do."""
    if config is not None and not isinstance(config, Config):
        raise UserError(f"config: is {type(config).__name__}; give a Config, as get_config() of a recipe returns it")
    found = copy.deepcopy(config) if config is not None else Config()
    if not found.fleet.shadows:
        raise UserError("config.fleet.shadows = 0: without shadows there is no verdict; give 8 or more")
    for name in ("root", "roles", "patients"):
        if getattr(found.data, name):
            raise UserError(f"config.data.{name}: leave it empty, as an audit writes its images itself")
    if same_generator == "true" and not labelled:
        raise UserError("same_generator = 'true': there are no used slices; give some, or leave it 'auto'")
    found.attack.same_generator = same_generator
    found.data.edition = "2023" if labelled else "own"
    found.data.roles = _ROLES if labelled else ()
    return found


@contextlib.contextmanager
def _folder(workdir: Path | str | None) -> Iterator[Path]:
    """The folder of the run: the user's, or a private one that is removed."""
    if workdir is not None:
        yield Path(workdir).expanduser().absolute()
        return
    with tempfile.TemporaryDirectory(prefix="shadowprint-") as folder:
        yield Path(folder)


def _names(role: str, images: Mapping[str, np.ndarray]) -> list[str]:
    """Ids of the images of a role: `candidate_0003` is `candidates[3]`."""
    return [f"{_STEMS[role]}_{row:04d}" for row in range(len(images[role]))]


def _files(images: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Every file below the folder of images, and what is in it. No two names are the same."""
    layout = _LABELLED if "used" in images else _OWN
    found: dict[str, np.ndarray] = {}
    for role, folders in layout.items():
        for number, folder in enumerate(folders):
            again = "again_" if number else ""
            paths = (f"{folder}/{again}{name}.png" for name in _names(role, images))
            found |= dict(zip(paths, images[role], strict=True))
    return found


def _place(workdir: Path, images: Mapping[str, np.ndarray], patients: dict[str, list[str]] | None) -> None:
    """Writes the images, whole or not at all. Raises UserError where those of another audit are there."""
    folder, part = workdir / IMAGES, workdir / f".{IMAGES}.part"
    wanted, table = _files(images), _table(images, patients)
    if folder.is_dir():
        _check_there(folder, wanted, table)
        return
    if part.is_dir():  # of an audit that was killed
        shutil.rmtree(part)
    for path, image in wanted.items():
        (part / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(part / path)
    if table:
        files.write_csv(part / manifest.PATIENTS, ("file", "patient"), table)
    os.replace(part, folder)


def _table(images: Mapping[str, np.ndarray], patients: dict[str, list[str]] | None) -> list[tuple[str, str]]:
    """Rows of patients.csv; none where patients are not known."""
    named = ((f"{name}.png" for name in _names(role, images)) for role in patients or {})
    return list(zip(itertools.chain(*named), itertools.chain(*(patients or {}).values()), strict=True))


def _check_there(folder: Path, wanted: Mapping[str, np.ndarray], table: list[tuple[str, str]]) -> None:
    """Raises UserError where the folder holds other images or patients than these."""
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*.png")}
    known: list[tuple[str, str]] = []
    if (folder / manifest.PATIENTS).exists():
        with (folder / manifest.PATIENTS).open(newline="", encoding="utf-8") as stream:
            known = [(file, patient) for file, patient in csv.reader(stream)][1:]
    same = there == set(wanted) and known == table
    if not (same and all(_is(folder / path, image) for path, image in wanted.items())):
        raise UserError(f"workdir: {folder} holds other images or groups; name a new workdir")


def _is(path: Path, image: np.ndarray) -> bool:
    return np.array_equal(decoding.read_gray(path)[0], image)


def _read(folder: Path, ids: Sequence[str], config: Config) -> Audit:
    """The results of a run, its candidates in the order of `ids`."""
    evaluation = Evaluation.read(folder / "attack" / "evaluation.json")
    found = predictions.read_predictions(folder / "predictions.csv")
    order = [found.ids.index(name) for name in ids]
    labels = np.array(submission.read_labels(folder / "submission.csv", submission.of_config(config)))
    expected, said = evaluation.expected, evaluation.submission
    assert found.decision is not None
    return Audit(
        ids=tuple(ids),
        score=_fixed(found.score, order),
        probability=_fixed(found.probability, order),
        low=_fixed(found.probability_low, order),
        high=_fixed(found.probability_high, order),
        decision=tuple(found.decision[row] for row in order),
        labels=_fixed(labels, order),
        verdict=Verdict(evaluation.verdict.level, wording.verdict(evaluation, len(ids)).sentence),
        auc=expected.auc,
        auc_interval=expected.interval,
        auc_why=expected.why or "",
        promised_f1=said.expected if said.objective == "f1" else None,
        evaluation=evaluation,
        report=(folder / "report.html").read_text(),
    )


def _fixed(column: np.ndarray | None, order: Sequence[int]) -> np.ndarray:
    """A column of the results in this order, not to be written to."""
    assert column is not None
    found = column[list(order)]
    found.setflags(write=False)
    return found

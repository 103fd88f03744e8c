"""What differs between two checkpoints. Of their weights only what `measure` kept is read."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from attack.compare import features, paired, parameters, piles
from attack.compare.measure import Measured, not_comparable
from attack.compare.piles import Yard
from attack.compare.subjects import Subject
from shadow import hub, workdir
from shadow.piles import open_pile

_TRAINING = ("seed", "data.resolution", "data.edition", "membership.", "train.", "fleet.shadows")  # of a run's config
_OF_DIT = ("patch", "width", "depth", "heads")


def recipe(subject: Subject) -> dict[str, Any]:
    """The options that made a checkpoint, by their names on the command line; no path. A pipeline does not tell how it
    was trained."""
    outline = subject.outline
    found: dict[str, Any] = {"weights": "raw" if subject.place.raw else "average"}
    if subject.place.step is None:
        found["weights"] = "as stored"
    else:
        found["step"] = subject.place.step
    if subject.source is not None:
        config = workdir.flatten(dataclasses.asdict(hub.config_at(subject.place)))
        found |= {name: value for name, value in config.items() if name.startswith(_TRAINING)}
        found["shadow"] = subject.shadow
    found["data.resolution"] = outline.size
    for prefix, part in (("denoiser", outline.denoiser), ("diffusion", outline.diffusion), ("pile", outline.pile)):
        if part is not None:
            found |= workdir.flatten(dataclasses.asdict(part), f"{prefix}.")
    if outline.denoiser.kind == "dit":
        return {name: value for name, value in found.items() if not name.startswith("denoiser.unet.")}
    return {name: value for name, value in found.items() if name not in {f"denoiser.{leaf}" for leaf in _OF_DIT}}


def differences(a: Subject, b: Subject) -> list[dict[str, Any]]:
    """[{field, a, b}] of the options that differ; None where one of them does not tell, or has no such option."""
    mine, theirs = recipe(a), recipe(b)
    names = sorted(mine.keys() | theirs.keys())
    return [
        {"field": name, "a": mine.get(name), "b": theirs.get(name)}
        for name in names
        if mine.get(name) != theirs.get(name)
    ]


def between(a: Measured, b: Measured, yard: Yard | None, seed: int) -> dict[str, Any]:
    """Everything that can be said of the two; what cannot says why."""
    return {
        "a": a.label,
        "b": b.label,
        "config": differences(a.subject, b.subject),
        "parameters": _parameters(a, b),
        "features": _features(a, b),
        "loss": _loss(a, b),
        "whitebox": _whitebox(a, b),
        "pile": _piles(a, b, yard, seed),
        "blackbox": _blackbox(a, b),
    }


def _why(a: Measured, b: Measured, part: str) -> str:
    """Why one of the two has no figures of this kind, or ''."""
    for one in (a, b):
        why = one.figures[part].get("not_comparable")
        if why:
            return f"{one.label}: {why}"
    return ""


def _parameters(a: Measured, b: Measured) -> dict[str, Any]:
    wrong = parameters.why_not(a.stored, b.stored)
    return not_comparable(wrong) if wrong else parameters.between(a.stored, b.stored)


def _features(a: Measured, b: Measured) -> dict[str, Any]:
    """The CKA of every pair of blocks. `mean`: of blocks of the same name, where the architectures are one; else of
    each block of a with the block of b that is most like it (which is never lower)."""
    if a.grams is None or b.grams is None:
        return not_comparable(_why(a, b, "features"))
    matrix = features.cka_matrix(a.grams, b.grams)
    same = list(a.grams) == list(b.grams)
    if same:
        kept = [row[i] for i, row in enumerate(matrix)]
    else:
        kept = [max((v for v in row if v is not None), default=None) for row in matrix]
    known = [value for value in kept if value is not None]
    return {
        "rows": list(a.grams),
        "columns": list(b.grams),
        "cka": matrix,
        "matched": "by name" if same else "to the most similar block: other architecture",
        "by_block": kept,
        "mean": float(np.mean(known)) if known else None,
        "output": matrix[-1][-1],
    }


def _loss(a: Measured, b: Measured) -> dict[str, Any]:
    if a.losses is None or b.losses is None:
        return not_comparable(_why(a, b, "loss"))
    return paired.gap_difference(a.losses, b.losses)


def _whitebox(a: Measured, b: Measured) -> dict[str, Any]:
    if not a.scores or not b.scores:
        return not_comparable(_why(a, b, "whitebox"))
    both = [name for name in a.scores if name in b.scores]  # one may have no other shadows to be calibrated on
    return {name: paired.auc_difference(a.scores[name], b.scores[name]) for name in both}


def _piles(a: Measured, b: Measured, yard: Yard | None, seed: int) -> dict[str, Any]:
    wrong = _why(a, b, "pile")
    if wrong or yard is None or a.pile is None or b.pile is None:
        return not_comparable(wrong or "no pile")
    return piles.between(open_pile(a.pile), open_pile(b.pile), yard, seed)


def _blackbox(a: Measured, b: Measured) -> dict[str, Any]:
    wrong = _why(a, b, "blackbox")
    if wrong or a.black is None or b.black is None or a.leak is None or b.leak is None:
        return not_comparable(wrong or "no pile")
    found: dict[str, Any] = {"spearman": paired.spearman(a.black, b.black)}
    for one in (a, b):
        if not one.black or not one.black.both:
            return found | {"auc": not_comparable(f"{one.label}: {one.figures['blackbox']['why']}")}
    if a.leak.calibrated != b.leak.calibrated:
        uncalibrated = next(one for one in (a, b) if one.leak and not one.leak.calibrated)
        return found | {"auc": not_comparable(f"{uncalibrated.label} is {uncalibrated.figures['blackbox']['how']}")}
    return found | {"auc": paired.auc_difference(a.black, b.black)}

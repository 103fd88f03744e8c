"""What differs between two checkpoints. Of their weights only what `measure` kept is read."""

from __future__ import annotations

import dataclasses

import numpy as np

from attack.compare import features, paired, parameters, piles
from attack.compare.measure import Measured
from attack.compare.paired import Scored
from attack.compare.piles import Yard
from attack.compare.subjects import Subject
from attack.results.checkpoints import NotComparable, known
from attack.results.compared import (
    BY_NAME,
    BlackboxPair,
    Difference,
    FeaturePair,
    Option,
    OptionPair,
    PairFigures,
    ParameterPair,
    PilePair,
)
from shadow import hub, workdir
from shadow.piles import open_pile

_TRAINING = ("seed", "data.resolution", "data.edition", "membership.", "train.", "fleet.shadows")  # of a run's config
_OF_DIT = ("patch", "width", "depth", "heads")


def recipe(subject: Subject) -> dict[str, Option]:
    """The options that made a checkpoint, by their names on the command line; no path. A pipeline does not tell how it
    was trained."""
    outline = subject.outline
    found: dict[str, Option] = {"weights": "raw" if subject.place.raw else "average"}
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


def differences(a: Subject, b: Subject) -> tuple[OptionPair, ...]:
    """The options that differ, by name."""
    mine, theirs = recipe(a), recipe(b)
    pairs = ((name, mine.get(name), theirs.get(name)) for name in sorted(mine.keys() | theirs.keys()))
    return tuple(OptionPair(field=name, a=first, b=second) for name, first, second in pairs if first != second)


def between(a: Measured, b: Measured, yard: Yard | None, seed: int) -> PairFigures:
    """Everything that can be said of the two; what cannot says why."""
    return PairFigures(
        a=a.label,
        b=b.label,
        config=differences(a.subject, b.subject),
        parameters=_parameters(a, b),
        features=_features(a, b),
        loss=_loss(a, b),
        whitebox=_whitebox(a, b),
        pile=_piles(a, b, yard, seed),
        blackbox=_blackbox(a, b),
    )


def _why(a: Measured, b: Measured, part: str) -> str:
    """Why one of the two has no figures of this kind, or ''."""
    found = [(one.label, getattr(one.figures, part)) for one in (a, b)]
    return next((f"{name}: {of.not_comparable}" for name, of in found if isinstance(of, NotComparable)), "")


def _parameters(a: Measured, b: Measured) -> NotComparable | ParameterPair:
    wrong = parameters.why_not(a.stored, b.stored)
    return NotComparable(wrong) if wrong else parameters.between(a.stored, b.stored)


def _features(a: Measured, b: Measured) -> NotComparable | FeaturePair:
    """The CKA of every pair of blocks. `mean`: of blocks of the same name, where the architectures are one; else of
    each block of a with the block of b that is most like it (which is never lower)."""
    if a.grams is None or b.grams is None:
        return NotComparable(_why(a, b, "features"))
    matrix = features.cka_matrix(a.grams, b.grams)
    same = list(a.grams) == list(b.grams)
    if same:
        kept = [row[i] for i, row in enumerate(matrix)]
    else:
        kept = [max((v for v in row if v is not None), default=None) for row in matrix]
    there = [value for value in kept if value is not None]
    return FeaturePair(
        rows=tuple(a.grams),
        columns=tuple(b.grams),
        cka=matrix,
        matched=BY_NAME if same else "to the most similar block: other architecture",
        by_block=tuple(kept),
        mean=float(np.mean(there)) if there else None,
        output=matrix[-1][-1],
    )


def _loss(a: Measured, b: Measured) -> NotComparable | Difference:
    if a.losses is None or b.losses is None:
        return NotComparable(_why(a, b, "loss"))
    return paired.gap_difference(a.losses, b.losses)


def _whitebox(a: Measured, b: Measured) -> NotComparable | dict[str, Difference]:
    if not a.scores or not b.scores:
        return NotComparable(_why(a, b, "whitebox"))
    both = [name for name in a.scores if name in b.scores]  # one may have no other shadows to be calibrated on
    return {name: paired.auc_difference(a.scores[name], b.scores[name]) for name in both}


def _piles(a: Measured, b: Measured, yard: Yard | None, seed: int) -> NotComparable | PilePair:
    wrong = _why(a, b, "pile")
    if wrong or yard is None or a.pile is None or b.pile is None:
        return NotComparable(wrong or "no pile")
    return piles.between(open_pile(a.pile), open_pile(b.pile), yard, seed)


def _blackbox(a: Measured, b: Measured) -> NotComparable | BlackboxPair:
    if a.black is None or b.black is None:
        return NotComparable(_why(a, b, "blackbox") or "no pile")
    return BlackboxPair(spearman=paired.spearman(a.black, b.black), auc=_leaks_more(a, a.black, b, b.black))


def _leaks_more(a: Measured, mine: Scored, b: Measured, theirs: Scored) -> NotComparable | Difference:
    found = [(one.label, known(one.figures.blackbox)) for one in (a, b)]
    for name, black in found:
        if black and black.auc is None:
            return NotComparable(f"{name}: {black.why}")
    uncalibrated = [f"{name} is {black.how}" for name, black in found if black and not black.calibrated]
    return NotComparable(uncalibrated[0]) if len(uncalibrated) == 1 else paired.auc_difference(mine, theirs)

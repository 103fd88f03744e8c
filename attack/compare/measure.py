"""What is measured of one checkpoint: its weights are in memory once, and only small things of them stay."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from attack import metrics
from attack.compare import areas, features, paired, parameters, piles, whitebox
from attack.compare.blackbox import Banks, Leak
from attack.compare.difficulty import Difficulties, Difficulty
from attack.compare.paired import Losses, Scored
from attack.compare.piles import Yard
from attack.compare.subjects import Source, Subject
from shadow.config import CompareConfig
from shadow.data import decoding
from shadow.hub import Generator
from shadow.piles import open_pile
from shadow.training import train

CALIBRATED = "calibrated"  # the loss relative to that of other shadows
IMAGES = "images"  # the black-box attack among those of who holds the weights


def not_comparable(why: str) -> dict[str, Any]:
    """In the place of figures."""
    return {"not_comparable": why}


@dataclass
class Measured:
    """One checkpoint. `figures` go into compare.json; the rest is for what is measured between two."""

    subject: Subject
    figures: dict[str, Any]
    stored: parameters.Stored
    grams: dict[str, np.ndarray] | None = None
    losses: Losses | None = None
    scores: dict[str, Scored] = dataclasses.field(default_factory=dict)
    leak: Leak | None = None
    black: Scored | None = None
    pile: Path | None = None

    @property
    def label(self) -> str:
        """Name of the checkpoint, for people."""
        return self.subject.label


@dataclass
class Bench:
    """What all checkpoints are measured with."""

    config: CompareConfig
    folder: Path  # WORKDIR/compare
    scratch: Path
    source: Source | None
    banks: Banks = dataclasses.field(default_factory=Banks)

    @functools.cached_property
    def difficulties(self) -> Difficulties:
        """Difficulties of slices in the run that this one belongs to."""
        return Difficulties(self.config)

    def pictures(self, size: int) -> np.ndarray | None:
        """The fixed batch for features: all real slices of the run in turns, [image, size, size] in
        [-1, 1]."""
        if self.source is None:
            return None
        names = self.source.real
        chosen = np.linspace(0, len(names) - 1, min(self.config.images, len(names))).round().astype(int)
        return decoding.to_unit(self.source.manifest.images_at([names[i] for i in np.unique(chosen)], size))


def measure(subject: Subject, bench: Bench, number: int, progress: train.Progress = train.silent) -> Measured:
    """Opens the checkpoint, draws its pile and measures what its weights are needed for."""
    generator = subject.open()
    stored = parameters.store(generator.params, bench.scratch / f"{number}.npy")
    found = Measured(subject, _head(subject, generator, stored), stored)
    _features(found, generator, bench)
    _whitebox(found, generator, bench)
    wrong = piles.why_not(generator, bench.config)
    if wrong:
        found.figures["pile"] = not_comparable(wrong)
    else:
        found.pile = piles.draw(generator, bench.folder / "piles", bench.config, progress)
    return found


def _head(subject: Subject, generator: Generator, stored: parameters.Stored) -> dict[str, Any]:
    kind = generator.denoiser.kind
    return {
        "label": subject.label,
        "step": subject.place.step,
        "weights": "raw" if subject.place.raw else "average" if subject.place.step is not None else "as stored",
        "architecture": kind,
        "size": generator.size,
        "members": None if subject.member is None else int(subject.member.sum()),
        "notes": list(generator.notes),
        "parameters": {"count": stored.count, "layers": len(stored.shapes), "spectra": parameters.spectra(stored)},
    }


def _features(found: Measured, generator: Generator, bench: Bench) -> None:
    wrong = whitebox.why_not(generator) or ("" if generator.size else "no sample_size")
    if bench.source is not None and generator.size > bench.source.side:
        side = bench.source.side
        wrong = wrong or f"its images are {generator.size} pixels wide, the real slices {side}"
    pictures = None if wrong else bench.pictures(generator.size)
    if not wrong and (pictures is None or len(pictures) < features.LEAST_IMAGES):
        wrong = "no real slices: neither --workdir nor a checkpoint is of a run"
    if pictures is None or wrong:
        found.figures["features"] = not_comparable(wrong)
        return
    found.grams = features.grams(generator, pictures, bench.config.seed)
    found.figures["features"] = {"pictures": len(pictures), "level": features.LEVEL, "blocks": list(found.grams)}


def _whitebox(found: Measured, generator: Generator, bench: Bench) -> None:
    subject = found.subject
    source, member = subject.source, subject.member
    wrong = whitebox.why_not(generator)
    if not wrong and (source is None or member is None):
        wrong = f"its members are not known: {subject.unknown}"
    if not wrong and member is not None and (member.all() or not member.any()):
        wrong = "it has no members or no non-members among the slices of its run"
    if wrong or source is None or member is None:
        found.figures["loss"] = found.figures["whitebox"] = not_comparable(wrong)
        return
    images = decoding.to_unit(source.manifest.images_at(source.pool, generator.size))
    model = whitebox.opened(generator, generator.size)
    errors = whitebox.losses(model, images, bench.config.seed, bench.config.noises)
    found.losses = Losses(source.pictures, errors.mean(1), member)
    scores = whitebox.scores(model, images, errors)
    found.scores = {name: Scored(source.pictures, score, member, source.kin) for name, score in scores.items()}
    abar = model.abar
    found.figures["loss"] = {
        "levels": list(whitebox.LEVELS),
        "times": [model.time(level) for level in whitebox.LEVELS],
        "noise_power": [float(1 - abar[model.time(level)]) for level in whitebox.LEVELS],
        "in": [paired.mean_interval(row[member]) for row in found.losses.loss],
        "out": [paired.mean_interval(row[~member]) for row in found.losses.loss],
        "gap": paired.gap(found.losses),
    }
    found.figures["whitebox"] = {name: areas.auc_figures(scored) for name, scored in found.scores.items()} | {
        "loss_by_level": [metrics.auc(-row, member.astype(int)) for row in found.losses.loss]
    }


def calibrate(found: Measured, bench: Bench) -> None:
    """Adds the attack `calibrated`: the loss relative to that of the run's other shadows. It reads their weights, and
    so comes when those of the checkpoint itself are no longer in memory."""
    source = found.subject.source
    if source is None or "loss" not in found.scores:
        return  # why is said of all attacks on the weights
    hard, loss = bench.difficulties.of(found.subject), found.scores["loss"]
    if not isinstance(hard, Difficulty):
        found.figures["whitebox"][CALIBRATED] = not_comparable(hard)
        return
    found.scores[CALIBRATED] = scored = dataclasses.replace(loss, score=loss.score - hard.score)
    more = {"references": hard.count, "shadows": list(hard.shadows)}
    found.figures["whitebox"][CALIBRATED] = areas.auc_figures(scored) | more


def look(found: Measured, bench: Bench, yard: Yard | None) -> None:
    """What the pile alone shows: beside real slices, and to the black-box attack; then which attack is strongest."""
    _look_at_pile(found, bench, yard)
    attacks = with_weights(found)
    found.figures["strongest"] = areas.strongest(attacks) if attacks else dict(found.figures["whitebox"])


def with_weights(found: Measured) -> dict[str, Scored]:
    """All attacks of who holds the weights, who can draw images too; none where those on the weights are not known."""
    images = {IMAGES: found.black} if found.black is not None and found.black.both else {}
    return found.scores | images if found.scores else {}


def _look_at_pile(found: Measured, bench: Bench, yard: Yard | None) -> None:
    if found.pile is None:
        found.figures["blackbox"] = not_comparable("no pile")
        return
    pile = open_pile(found.pile)
    if yard is None:
        found.figures["pile"] = not_comparable("no run and no other pile")
    elif pile.shape[1] != yard.size:
        why = f"its images are {pile.shape[1]} x {pile.shape[1]}, those compared {yard.size} x {yard.size}"
        found.figures["pile"] = not_comparable(why)
    else:
        found.figures["pile"] = piles.alone(pile, yard) | {"slices": _slices(found, pile, bench)}
    _blackbox(found, pile, bench)


def _slices(found: Measured, pile: np.ndarray, bench: Bench) -> dict[str, Any]:
    subject = found.subject
    if subject.source is None or subject.member is None:
        return not_comparable(f"its members are not known: {subject.unknown}")
    real = bench.banks.of(subject.source).images
    near = subject.source.config.data.group_distance
    return piles.to_slices(pile, real, subject.member, bench.config.embedding, near)


def _blackbox(found: Measured, pile: np.ndarray, bench: Bench) -> None:
    subject = found.subject
    source = subject.source or bench.source
    if source is None:
        found.figures["blackbox"] = not_comparable("no real slices: neither --workdir nor a checkpoint is of a run")
        return
    if pile.shape[1] != source.config.data.resolution:
        why = f"its images are {pile.shape[1]} x {pile.shape[1]}, data.resolution is {source.config.data.resolution}"
        found.figures["blackbox"] = not_comparable(why)
        return
    shadow = None if subject.source is None else subject.shadow
    leak = found.leak = bench.banks.of(source).leak(pile, subject.place.step if subject.source else None, shadow)
    found.figures["blackbox"] = {
        "calibrated": leak.calibrated,
        "how": leak.how,
        "signals": list(leak.names),
        "left_out": {name: not_comparable(why) for name, why in leak.left_out.items()},
        "score": dict(zip(source.pool, leak.score.tolist(), strict=True)),
    }
    member = subject.member
    nobody = np.zeros(len(source.pool), bool)
    members = nobody if member is None else member
    found.black = Scored(source.pictures, leak.score, members, source.kin)
    if found.black.both:
        alone = [Scored(found.black.images, column, found.black.member) for column in leak.columns.T]
        found.figures["blackbox"] |= areas.auc_figures(found.black)
        found.figures["blackbox"]["auc_by_signal"] = [metrics.auc(one.score, one.member.astype(int)) for one in alone]
    else:
        why = f"its members are not known: {subject.unknown}" if member is None else "it has one class alone"
        found.figures["blackbox"]["auc"] = None
        found.figures["blackbox"]["why"] = why

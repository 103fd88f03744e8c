"""What is measured of one checkpoint: its weights are in memory once, and only small things of them stay."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from attack import metrics
from attack.compare import areas, features, paired, parameters, piles, whitebox
from attack.compare.blackbox import Leak, SourceSignals
from attack.compare.difficulty import Difficulties, Difficulty
from attack.compare.paired import Losses, Scored
from attack.compare.piles import Yard
from attack.compare.subjects import Source, Subject
from attack.results.checkpoints import (
    BlackboxFigures,
    CalibratedAttack,
    CheckpointFigures,
    FeatureBlocks,
    LossFigures,
    NotComparable,
    Parameters,
    PileFigures,
    ToSlices,
    WhiteboxFigures,
)
from shadow.config import CompareConfig
from shadow.data import decoding
from shadow.hub import Generator
from shadow.piles import open_pile
from shadow.training import train

CALIBRATED = "calibrated"  # the loss relative to that of other shadows
IMAGES = "images"  # the black-box attack among those of who holds the weights
_NO_REAL = "no real slices: neither --workdir nor a checkpoint is of a run"


@dataclass
class Measured:
    """One checkpoint: its `figures`, which `look` completes, and what is measured between two. scores: of the attacks
    on the weights, by name; pile: its file, None where images cannot be drawn."""

    subject: Subject
    stored: parameters.Stored
    features: NotComparable | FeatureBlocks = field(init=False)
    grams: dict[str, np.ndarray] | None = None
    loss: NotComparable | LossFigures = field(init=False)
    losses: Losses | None = None
    scores: dict[str, Scored] = field(default_factory=dict)
    calibrated: NotComparable | CalibratedAttack = field(init=False)
    leak: Leak | None = None
    black: Scored | None = None
    pile: Path | None = None
    figures: CheckpointFigures = field(init=False)

    @property
    def label(self) -> str:
        """Name of the checkpoint, for people."""
        return self.subject.label

    @property
    def with_weights(self) -> dict[str, Scored]:
        """All attacks of who holds the weights, who can draw images too; none where those on the weights are not
        known."""
        images = {IMAGES: self.black} if self.black is not None and self.black.both else {}
        return self.scores | images if self.scores else {}


@dataclass
class Bench:
    """What all checkpoints are measured with."""

    config: CompareConfig
    folder: Path  # WORKDIR/compare
    scratch: Path
    source: Source | None
    _signals: dict[Path, SourceSignals] = field(default_factory=dict)

    def signals(self, source: Source) -> SourceSignals:
        """Of a run, read when they are first asked for."""
        key = source.folder.absolute()
        if key not in self._signals:
            self._signals[key] = SourceSignals(source)
        return self._signals[key]

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
    """All but what `look` adds. Weights of other shadows are read when its own are no longer in memory."""
    found = _with_weights(subject, bench, number, progress)
    if found.scores:
        found.calibrated = _calibrate(found, bench)
    return found


def _with_weights(subject: Subject, bench: Bench, number: int, progress: train.Progress) -> Measured:
    """Opens the checkpoint, draws its pile and measures what its weights are needed for."""
    generator = subject.open()
    found = Measured(subject, parameters.store(generator.params, bench.scratch / f"{number}.npy"))
    found.features = _features(found, generator, bench)
    found.loss = _losses(found, generator, bench)
    if not piles.why_not(generator, bench.config):
        found.pile = piles.draw(generator, bench.folder / "piles", bench.config, progress)
    return found


def _features(found: Measured, generator: Generator, bench: Bench) -> NotComparable | FeatureBlocks:
    wrong = whitebox.why_not(generator) or ("" if generator.size else "no sample_size")
    if bench.source is not None and generator.size > bench.source.side:
        side = bench.source.side
        wrong = wrong or f"its images are {generator.size} pixels wide, the real slices {side}"
    pictures = None if wrong else bench.pictures(generator.size)
    if pictures is None or len(pictures) < features.LEAST_IMAGES:
        return NotComparable(wrong or _NO_REAL)
    found.grams = features.grams(generator, pictures, bench.config.seed)
    return FeatureBlocks(pictures=len(pictures), level=features.LEVEL, blocks=tuple(found.grams))


def _losses(found: Measured, generator: Generator, bench: Bench) -> NotComparable | LossFigures:
    """The denoising loss on slices of the run, and the scores of the attacks."""
    source, member = found.subject.source, found.subject.member
    wrong = whitebox.why_not(generator)
    if wrong or source is None or member is None:
        return NotComparable(wrong or _unknown(found))
    if member.all() or not member.any():
        return NotComparable("it has no members or no non-members among the slices of its run")
    images = decoding.to_unit(source.manifest.images_at(source.pool, generator.size))
    model = whitebox.opened(generator, generator.size)
    errors = whitebox.losses(model, images, bench.config.seed, bench.config.noises)
    scores = whitebox.scores(model, images, errors)
    found.scores = {name: Scored(source.pictures, score, member, source.kin) for name, score in scores.items()}
    found.losses = losses = Losses(source.pictures, errors.mean(1), member)
    times = [model.time(level) for level in whitebox.LEVELS]
    return LossFigures(
        levels=whitebox.LEVELS,
        times=tuple(times),
        noise_power=tuple(float(1 - model.abar[t]) for t in times),
        inside=tuple(paired.mean_interval(row[member]) for row in losses.loss),
        out=tuple(paired.mean_interval(row[~member]) for row in losses.loss),
        gap=paired.gap(losses),
    )


def _unknown(found: Measured) -> str:
    return f"its members are not known: {found.subject.unknown}"


def _calibrate(found: Measured, bench: Bench) -> NotComparable | CalibratedAttack:
    """The attack `calibrated`: the loss relative to that of the run's other shadows."""
    hard, loss = bench.difficulties.of(found.subject), found.scores["loss"]
    if not isinstance(hard, Difficulty):
        return NotComparable(hard)
    found.scores[CALIBRATED] = scored = dataclasses.replace(loss, score=loss.score - hard.score)
    return CalibratedAttack(**vars(areas.attack_figures(scored)), references=hard.count, shadows=hard.shadows)


def look(found: Measured, bench: Bench, yard: Yard | None) -> None:
    """Completes the figures: what the pile alone shows, beside real slices and to the black-box attack; and which
    attack is strongest."""
    subject, generator, stored = found.subject, found.subject.outline, found.stored
    pile = None if found.pile is None else open_pile(found.pile)
    blackbox = NotComparable("no pile") if pile is None else _blackbox(found, pile, bench)
    white, attacks = _whitebox(found), found.with_weights
    found.figures = CheckpointFigures(
        label=subject.label,
        step=subject.place.step,
        weights="raw" if subject.place.raw else "average" if subject.place.step is not None else "as stored",
        architecture=generator.denoiser.kind,
        size=generator.size,
        members=None if subject.member is None else int(subject.member.sum()),
        notes=tuple(generator.notes),
        parameters=Parameters(count=stored.count, layers=len(stored.shapes), spectra=parameters.spectra(stored)),
        features=found.features,
        loss=found.loss,
        whitebox=white,
        pile=_pile(found, pile, bench, yard),
        blackbox=blackbox,
        strongest=white if isinstance(white, NotComparable) else areas.strongest(attacks),
    )


def _whitebox(found: Measured) -> NotComparable | WhiteboxFigures:
    if isinstance(found.loss, NotComparable):
        return found.loss
    label, rows = found.scores["loss"].label, found.losses.loss if found.losses else ()
    return WhiteboxFigures(
        **{name: areas.attack_figures(found.scores[name]) for name in whitebox.ATTACKS},
        loss_by_level=tuple(metrics.auc(-row, label) for row in rows),
        calibrated=found.calibrated,
    )


def _pile(found: Measured, pile: np.ndarray | None, bench: Bench, yard: Yard | None) -> NotComparable | PileFigures:
    if pile is None:
        return NotComparable(piles.why_not(found.subject.outline, bench.config))
    if yard is None:
        return NotComparable("no run and no other pile")
    if pile.shape[1] != yard.size:
        return NotComparable(f"{_size(pile)}, those compared {yard.size} x {yard.size}")
    return dataclasses.replace(piles.alone(pile, yard), slices=_slices(found, pile, bench))


def _size(pile: np.ndarray) -> str:
    return f"its images are {pile.shape[1]} x {pile.shape[1]}"


def _slices(found: Measured, pile: np.ndarray, bench: Bench) -> NotComparable | ToSlices:
    source, member = found.subject.source, found.subject.member
    if source is None or member is None:
        return NotComparable(_unknown(found))
    near = source.config.data.group_distance
    return piles.to_slices(pile, bench.signals(source).images, member, bench.config.embedding, near)


def _blackbox(found: Measured, pile: np.ndarray, bench: Bench) -> NotComparable | BlackboxFigures:
    subject, member = found.subject, found.subject.member
    source = subject.source or bench.source
    if source is None:
        return NotComparable(_NO_REAL)
    if pile.shape[1] != source.config.data.resolution:
        return NotComparable(f"{_size(pile)}, data.resolution is {source.config.data.resolution}")
    own = subject.source is not None
    found.leak = leak = bench.signals(source).leak(
        pile, subject.place.step if own else None, subject.shadow if own else None
    )
    members = np.zeros(len(source.pool), bool) if member is None else member
    found.black = black = Scored(source.pictures, leak.score, members, source.kin)
    figures = BlackboxFigures(
        calibrated=leak.calibrated,
        how=leak.how,
        signals=leak.names,
        left_out={name: NotComparable(why) for name, why in leak.left_out.items()},
        score=dict(zip(source.pool, leak.score.tolist(), strict=True)),
        auc=None,
        why=_unknown(found) if member is None else "it has one class alone",
    )
    if not black.both:
        return figures
    by_signal = tuple(metrics.auc(column, black.label) for column in leak.columns.T)
    return dataclasses.replace(figures, **vars(areas.attack_figures(black)), auc_by_signal=by_signal, why=None)

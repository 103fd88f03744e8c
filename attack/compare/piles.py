"""Piles of the checkpoints, all drawn from the same noise, and what each shows beside real slices.

They are kept in WORKDIR/compare/piles, by a hash of weights and recipe, so a second comparison draws nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from attack.compare.subjects import Source, Subject
from attack.evidence import pile_distances, pile_shift
from attack.evidence.embeddings import builtin
from attack.evidence.embeddings.distances import distances as euclidean
from attack.evidence.pile_distances import Space
from attack.results.checkpoints import BesideReal, PileFigures, ToSlices
from attack.results.compared import KidPair, PilePair, SpaceUsed
from attack.results.figures import Figure, Interval
from shadow import imported, piles, workdir
from shadow.config import CompareConfig
from shadow.errors import UserError
from shadow.hub import Generator
from shadow.training import train

_LEAST_REAL = 3  # slices, of which there is a covariance


def why_not(generator: Generator, config: CompareConfig) -> str:
    """Why images of this generator cannot be drawn, or ''."""
    try:
        imported.pile_config(generator, _asked(config))
    except UserError as error:
        return str(error)
    return ""


def _asked(config: CompareConfig) -> imported.Wanted:
    return imported.Wanted(count=config.count, batch_size=min(config.batch_size, config.count), seed=config.seed)


def draw(generator: Generator, folder: Path, config: CompareConfig, progress: train.Progress) -> Path:
    """The pile of a generator with weights, drawn unless it is there; resumes in the middle. Raises UserError as
    `imported.make_draw`. Image i of every generator of one size starts from the same noise."""
    asked = _asked(config)
    recipe = imported.pile_config(generator, asked)
    description = imported.describe(generator, recipe, asked)
    for name in ("name", "notes"):
        del description[name]
    path = folder / f"{workdir.digest(description)}.npy"
    if not piles.are_whole([path]):
        piles.fill([path], generator.size, recipe, imported.make_draw(generator, recipe, asked), progress)
    return path


@dataclass(frozen=True)
class Yard:
    """What all piles are measured against, at one size.

    `real`: slices that none of the compared shadows was trained on (candidates of `source`), [image, size, size] in
    [0, 255]; None where there are too few, and then `why` says why. `space` is fitted on all real slices of the run, or
    on the first pile.
    """

    size: int
    source: Source | None
    space: Space
    real: np.ndarray | None
    why: str = ""


def yard(
    source: Source | None,
    size: int,
    config: CompareConfig,
    first_pile: np.ndarray | None,
    subjects: Sequence[Subject] = (),
) -> Yard | None:
    """None where there is neither a run nor a pile."""
    if source is not None:
        images = source.manifest.images_at(source.real, size)
        space = pile_distances.fit_space(config.embedding, images, config.axes)
        runs = [source, *(subject.source for subject in subjects if subject.source is not None)]
        trained_on = {run.sha256[name] for run in runs for name in run.pool}
        unseen = [i for i, name in enumerate(source.real) if source.sha256[name] not in trained_on]
        if len(unseen) < _LEAST_REAL:
            return Yard(size, source, space, None, "shadows that are compared were drawn from all real slices")
        return Yard(size, source, space, images[unseen])
    if first_pile is None:
        return None
    space = pile_distances.fit_space(config.embedding, np.asarray(first_pile, np.float32), config.axes)
    return Yard(size, None, space, None, "there is no run")


def space_used(yard: Yard) -> SpaceUsed:
    """What the page says of it."""
    return SpaceUsed(
        embedding=yard.space.embedding,
        axes=yard.space.axes.shape[1],
        fitted_on="real slices of the run" if yard.source else "the first pile",
        size=yard.size,
        no_real=yard.why,
    )


def alone(pile: np.ndarray, yard: Yard) -> PileFigures:
    """Figures of one pile [image, size, size], also beside real slices that no shadow was trained on."""
    images = np.asarray(pile, np.float32)
    statistics = pile_shift.pile_statistics(images)
    spectrum, real = pile_distances.radial_spectrum(images), None
    if yard.real is not None:
        made, known = yard.space.of(images), yard.space.of(yard.real)
        kid = pile_distances.kid(made, known)
        theirs = pile_distances.radial_spectrum(yard.real)
        real = BesideReal(
            images=len(yard.real),
            fd=pile_distances.frechet(made, known),
            fd_interval=pile_distances.frechet_interval(made, known),
            kid=Figure(value=kid.value, low=kid.interval[0], high=kid.interval[1]),
            spectrum=tuple(theirs.tolist()),
            spectrum_gap=pile_distances.spectrum_gap(spectrum, theirs),
        )
    return PileFigures(
        images=len(images),
        fellow_distance=float(np.exp(statistics[0])),
        near_duplicates=float(statistics[1]),
        spectrum=tuple(spectrum.tolist()),
        real=real,
    )


def to_slices(pile: np.ndarray, real: np.ndarray, member: np.ndarray, embedding: str, near: float) -> ToSlices:
    """Distances between a pile and the real slices [image, side, side] of its run, in an embedding."""
    d = euclidean(builtin.embed(embedding, real), builtin.embed(embedding, np.asarray(pile, np.float32)))

    def share(rows: np.ndarray) -> float | None:
        return float((d[rows].min(0) < near).mean()) if rows.any() else None

    def median(rows: np.ndarray) -> float | None:
        return float(np.median(d[rows].min(1))) if rows.any() else None

    def interval(rows: np.ndarray) -> Interval | None:
        return pile_distances.median_interval(d[rows].min(1)) if rows.any() else None

    return ToSlices(
        embedding=embedding,
        near=near,
        members=median(member),
        members_interval=interval(member),
        others=median(~member),
        others_interval=interval(~member),
        copies=share(member),
        copies_of_others=share(~member),
    )


def between(a: np.ndarray, b: np.ndarray, yard: Yard, seed: int) -> PilePair:
    """Two piles [image, size, size] drawn from the same noise."""
    first, second = np.asarray(a, np.float32), np.asarray(b, np.float32)
    x, y = yard.space.of(first), yard.space.of(second)
    kid = pile_distances.kid_paired(x, y, seed)
    spectra = (pile_distances.radial_spectrum(images) for images in (first, second))
    return PilePair(
        fd=pile_distances.frechet(x, y),
        kid=KidPair(value=kid.value, low=kid.interval[0], high=kid.interval[1], p=kid.p),
        spectrum_gap=pile_distances.spectrum_gap(*spectra),
        corresponding=pile_distances.corresponding(first, second),
    )

"""What a checkpoint's pile gives away, without its weights: the attack's signals about the slices of its run.

The references are the piles of the other shadows of that run, as in the attack; nothing is fitted, and the signals
count alike. So no shadow and no label decides about a score, and the AUC against the checkpoint's own members is
honest. Where a run has no signals, the distance to the nearest generated image stands in, uncalibrated.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from attack.compare.subjects import Source
from attack.evidence import layout
from attack.evidence.embedded_pile import EmbeddedPile
from attack.evidence.embeddings import builtin
from attack.evidence.embeddings.distances import distances
from attack.evidence.layout import Layout
from attack.inference import calibration, crossfit, reference_choice, store
from shadow import fleet, workdir
from shadow.errors import UserError


@dataclass(frozen=True)
class Leak:
    """Signals of one pile about the pool of a run, higher = more likely a member.

    `columns` [image, signal] by name; `score` [image], the mean of the columns in units of their own spread over
    images; `how`: calibrated or not, and why; `left_out`: what the run's attack has beside `columns`, and why this has
    not.
    """

    names: tuple[str, ...]
    columns: np.ndarray
    score: np.ndarray
    calibrated: bool
    how: str
    left_out: dict[str, str]


class _UncalibratedError(Exception):
    """Why a pile cannot be seen relative to those of other shadows."""


def nearest_step(steps: tuple[int, ...], step: int | None) -> int:
    """Of the steps at which piles were drawn: that nearest to `step` on a logarithmic scale; the last for None."""
    return max(steps) if step is None else min(steps, key=lambda s: (abs(np.log(s / step)), s))


class SourceSignals:
    """The signals of a run, read once for all its checkpoints; `why` says why there are none. UserError where they are
    damaged."""

    def __init__(self, source: Source) -> None:
        self.source, self.why = source, ""
        self._embedded: dict[str, np.ndarray] = {}
        self.store: store.Store | None = None
        folder = source.folder
        if not workdir.is_done(folder / "signals", "signals", source.config):
            self.why = "its run has no signals (`launch.py signals`)"
        else:
            try:
                self.store = store.read(folder, source.manifest, source.config)
            except (OSError, ValueError, KeyError) as error:
                raise UserError(f"{folder / 'signals'}: damaged ({error}); remove it and run again") from error

    @functools.cached_property
    def images(self) -> np.ndarray:
        """The pool's images at the size of the shadows, float32 [image, side, side] in [0, 255]."""
        return self.source.manifest.images_at(self.source.pool, self.source.config.data.resolution)

    def _real(self, name: str) -> np.ndarray:
        """The pool's images in an embedding, worked out once for all checkpoints."""
        if name not in self._embedded:
            self._embedded[name] = builtin.embed(name, self.images)
        return self._embedded[name]

    def leak(self, pile: np.ndarray, step: int | None, shadow: int | None) -> Leak:
        """Of a pile [image, side, side] of the checkpoint at `step` of `shadow` (None: of no shadow of this run)."""
        data = self.store
        if data is None:
            return self._uncalibrated(pile, self.why)
        size = data.sizes["generated_test"]
        if len(pile) < size:
            return self._uncalibrated(pile, f"compare.count = {len(pile)} is below the {size} of the run's signals")
        taken = nearest_step(fleet.pile_steps(self.source.config), step)
        try:
            return self._calibrated(data, pile[:size], taken, shadow)
        except _UncalibratedError as error:
            return self._uncalibrated(pile, str(error))

    def _calibrated(self, data: store.Store, pile: np.ndarray, step: int, shadow: int | None) -> Leak:
        config, known = self.source.config.attack, data.labelled(step, "generated_test")
        shadows = known.shadow_signals
        own, left_out = _of_one_pile(builtin.names(config), config.signals)
        if not own.columns:
            raise _UncalibratedError("; ".join(f"{name} is {why}" for name, why in left_out.items()))

        made = data.flips.of(np.asarray(pile, np.float32))
        mine = own.measure(lambda name: EmbeddedPile(self._real(name), builtin.embed(name, made)))
        aside = [data.shadows.index(shadow)] if shadow in data.shadows else []
        count = min(config.references, reference_choice.least_without(np.delete(shadows.member, aside, axis=0)))
        if count < 1:
            raise _UncalibratedError("some images are in all other shadows")
        found = []
        place = [shadows.names.index(name) for name in own.names]
        fold = crossfit.folds(known.group, config.folds, config.seed)[known.group]
        for draw in range(config.draws):
            order = reference_choice.priorities(known.ids, len(shadows.member), config.seed, draw)
            means = reference_choice.reference_means(
                shadows, reference_choice.choose_references(shadows, order, count, aside)
            )
            beside = calibration.Relative(own.signals(mine), means[..., place])
            found.append(beside.held_out(fold, np.zeros(len(fold), bool)))
        how = f"relative to {count} other shadows at step {step}, {len(pile)} images each"
        return _leak(own.names, np.mean(found, axis=0), True, how, left_out)

    def _uncalibrated(self, pile: np.ndarray, why: str) -> Leak:
        config = self.source.config.attack
        asked = builtin.names(config)
        names = [name for name in asked if not _why_not_in(name)] or ["pixels"]
        left_out = {name: _why_not_in(name) for name in asked if name not in names}
        columns = []
        for name in names:
            made = builtin.embed(name, np.asarray(pile, np.float32))
            columns.append(-np.log(np.maximum(distances(self._real(name), made).min(1).astype(np.float64), 1e-4)))
        how = f"uncalibrated: {why}"
        return _leak(tuple(f"nearest@{name}" for name in names), np.stack(columns, axis=1), False, how, left_out)


def _of_one_pile(names: Sequence[str], signals: Sequence[str]) -> tuple[Layout, dict[str, str]]:
    """The layout of the signals that one more pile can be measured by, and why the others cannot, by their names."""
    left_out = {name: why for name in names if (why := _why_not_in(name))}
    kept = [name for name in names if name not in left_out]
    own = layout.plan(kept, signals)
    measured = {signal for signal, _ in own.columns}
    left_out |= {
        name: f"measured in none of the embeddings left ({', '.join(kept) or 'none'})"
        for name in signals
        if name not in measured
    }
    return own, left_out


def _why_not_in(embedding: str) -> str:
    """Why one more pile cannot be seen in an embedding, or ''."""
    return "" if builtin.EMBEDDINGS[embedding].embed else "there are vectors of the run's own piles alone"


def _leak(names: tuple[str, ...], columns: np.ndarray, calibrated: bool, how: str, left_out: dict[str, str]) -> Leak:
    spread = np.maximum(columns.std(0), 1e-9)
    score = ((columns - columns.mean(0)) / spread).mean(1)
    return Leak(names, columns, score, calibrated, how, left_out)

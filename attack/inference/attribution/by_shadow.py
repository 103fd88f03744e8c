"""The model of subsets, fitted on shadows, and what it makes of shadows that it was not fitted on.

A shadow that is held out is in nothing: neither in the standardisation nor in the weights. A fold holds out one shadow
of every subset, so that all subsets are taught alike.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from attack.evidence import layout
from attack.evidence.by_subset import PileFacts, SubsetEvidence
from attack.inference.attribution import choice
from attack.inference.attribution.choice import Choice
from shadow import keys
from shadow.config import AttackConfig
from shadow.errors import UserError

_NEAREST = "nearest"  # the signal by which a training step is chosen


@dataclass(frozen=True, eq=False)
class Lessons:
    """Images of shadows. values: signals [image, subset, column]; made_from, shadow, slice: int [image], the subset,
    the number of the shadow and the nearest real slice; fold: int [shadow], which are held out together."""

    values: np.ndarray
    made_from: np.ndarray
    shadow: np.ndarray
    slice: np.ndarray
    fold: np.ndarray


@dataclass(frozen=True)
class Regime:
    """The training step that teaches. target: how near the images asked about lie to their nearest real slice, -log
    distance in the median, higher = nearer; low, high: the same of the single shadows at that step."""

    step: int
    target: float
    low: float
    high: float

    @property
    def outside(self) -> bool:
        """Do the images asked about lie farther from every real slice than those of any shadow?"""
        return self.target < self.low


def regime(evidence: SubsetEvidence) -> Regime:
    """The step at which shadows' images lie as near to real slices as those that are asked about. No label enters."""
    columns = [i for i, name in enumerate(evidence.columns) if layout.signal_of(name) == _NEAREST]
    near = evidence.values[:, :, columns].max(1).mean(1)
    of_pile = {i: float(np.median(near[evidence.pile == i])) for i in range(len(evidence.piles))}
    asked = [i for i, pile in enumerate(evidence.piles) if pile.shadow < 0 and pile.subset < 0]
    target = float(np.median(near[np.isin(evidence.pile, asked)]))
    found = []
    for step in sorted({pile.step for pile in evidence.piles if pile.shadow >= 0}):
        own = [of_pile[i] for i, pile in enumerate(evidence.piles) if pile.step == step]
        found.append((abs(float(np.mean(own)) - target), Regime(step, target, min(own), max(own))))
    return min(found, key=lambda one: one[0])[1]


def lessons(evidence: SubsetEvidence, step: int, folds: int) -> Lessons:
    """The shadows' images of one training step. Raises UserError where a subset has fewer than two shadows."""
    chosen = [i for i, pile in enumerate(evidence.piles) if pile.shadow >= 0 and pile.step == step]
    own = [evidence.piles[i] for i in chosen]
    turn = _turns(own)
    counts = Counter(pile.subset for pile in own)
    fewest = min(counts.get(s, 0) for s in range(len(evidence.names)))
    if fewest < 2:
        lacking = next(name for s, name in enumerate(evidence.names) if counts.get(s, 0) == fewest)
        raise UserError(f"subset {lacking} has {fewest} shadows, and two are needed: run `launch.py sample`")
    here = np.isin(evidence.pile, chosen)
    number = np.searchsorted(chosen, evidence.pile[here])
    return Lessons(
        evidence.values[here].astype(np.float64),
        np.array([pile.subset for pile in own])[number],
        number,
        evidence.slice[here],
        np.array(turn) % min(folds, fewest),
    )


def _turns(piles: list[PileFacts]) -> list[int]:
    """How many shadows of the same subset come before each."""
    seen: Counter[int] = Counter()
    turns = []
    for pile in piles:
        turns.append(seen[pile.subset])
        seen[pile.subset] += 1
    return turns


def fit(known: Lessons, config: AttackConfig) -> Choice:
    """The model of all shadows."""
    return choice.fit(known.values, known.made_from, config.ridge)


def held_out(known: Lessons, config: AttackConfig) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities float64 [image, subset + 1] of the shadows' images, by models that were fitted without the shadow:
    (as they are asked for, with the own subset of each image off the list and all that is left equally likely)."""
    fold, even = known.fold[known.shadow], 1 / known.values.shape[1]
    listed, hidden = (np.zeros((len(fold), known.values.shape[1] + 1)) for _ in range(2))
    for number in range(known.fold.max() + 1):
        here = fold == number
        model = choice.fit(known.values[~here], known.made_from[~here], config.ridge)
        listed[here] = model.probabilities(known.values[here], config.none)
        hidden[here] = model.probabilities(known.values[here], even, known.made_from[here])
    return listed, hidden


def resampled(known: Lessons, config: AttackConfig) -> list[Choice]:
    """Models fitted on shadows that are drawn anew with replacement, among those of each subset: how far the choice of
    shadows decides them."""
    subset = np.array([known.made_from[known.shadow == k][0] for k in range(len(known.fold))])
    found = []
    for number in range(config.bootstrap):
        rng = keys.generator(config.seed, "attribution/shadows", number)
        counts = np.zeros(len(subset))
        for s in range(known.values.shape[1]):
            own = np.flatnonzero(subset == s)
            counts += np.bincount(rng.choice(own, len(own)), minlength=len(subset))
        weight = counts[known.shadow]
        kept = weight > 0
        found.append(choice.fit(known.values[kept], known.made_from[kept], config.ridge, weight[kept]))
    return found

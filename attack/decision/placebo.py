"""Shadows in the place of the target: what the comparison of the candidates says where none of them can have been used.

A placebo differs from the real comparison in one thing, whose images are asked: they are of a generator that never saw
the candidates. How far the candidates stand above or below its non-members is due to who they are, and to chance.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from attack.decision.unlabelled import LEAST, Contrast, Inflation, Slices, compared, contrast
from attack.inference import target
from attack.inference.crossfit import Labelled, Options


@dataclass(frozen=True)
class Placebo:
    """The same comparison on every shadow's pile, whose shadow holds none of the candidates asked about.

    contrasts: of each shadow, against its own non-members; above: for each shadow, float [candidate] in (0, 1], the
    share of the shadow's non-members, the candidate counted in, that score as high or higher.
    """

    contrasts: tuple[Contrast, ...]
    above: tuple[np.ndarray, ...]

    @property
    def inflation(self) -> Inflation:
        """By how much the comparison varies more than its own variance says.

        It is the mean square of the standardised areas, in units of that of Student's t, f / (f - 2): 1 where nothing
        is to be seen and patients are all that varies. Genomic control does so for tests of association (Devlin and
        Roeder 1999).
        """
        squares = [
            (found.area - 0.5) ** 2 / found.variance * (found.freedom - 2) / found.freedom
            for found in self.contrasts
            if found.freedom > 2
        ]
        if not squares:
            return Inflation()
        return Inflation(max(1.0, float(np.mean(squares))), len(squares), self._centre)

    @property
    def _centre(self) -> float:
        """The mean area, or where it is below .5 half of the way to it.

        Shadows that hold relatives of a candidate may be among its references, and make it look less used than it is.
        On a target that copies less than the shadows the shift is smaller, down to none. The factor counts the whole
        shift as if it could have either sign. So a target without it is called hardly more often than the level says:
        with areas that are normal, at most in .0116 instead of .01, and in .029 instead of .025. A shift upwards would
        accuse, and is allowed for in full.
        """
        shift = float(np.mean([found.area for found in self.contrasts])) - 0.5
        return 0.5 + (shift if shift > 0 else shift / 2)

    def flagged(self, share: float) -> np.ndarray:
        """The share of the candidates that is flagged on each shadow's pile, [shadow], if `share` of its non-members
        and a new one may be."""
        return np.array([(above <= share).mean() for above in self.above])

    def share(self, fpr: float) -> float:
        """The share of the nulls that a threshold may flag: `fpr`, or where clearly more of the candidates than that
        are flagged on these piles (by two standard errors over shadows), the largest that flags `fpr` of them."""
        rates = self.flagged(fpr)
        if len(rates) < 2 or rates.mean() - fpr <= 2 * rates.std(ddof=1) / np.sqrt(len(rates)):
            return fpr
        every = np.sort(np.concatenate(self.above))
        return float(min(fpr, every[max(int(np.floor(fpr * len(every))) - 1, 0)]))


def placebo(
    known: Labelled, asked: target.Target, options: Options, draws: int, group: np.ndarray, pool_group: np.ndarray
) -> Placebo:
    """Every shadow in turn stands for a target that never saw the candidates: the attack is fitted on the others and
    compares them with the shadow's non-members. One fit scores both, since fits on fewer slices have another scale.
    Relatives are those of what the shadow holds.

    group [candidate] and pool_group [image of the pool]: patient numbers from one numbering. Where shadows hold
    candidates too, those are no non-members to compare with, as they are none of the target. Shadows without ten of
    both, or with one patient on a side, are left out.
    """
    alone, candidate = dataclasses.replace(options, aside=1), np.isin(known.ids, asked.ids)
    contrasts: list[Contrast] = []
    above: list[np.ndarray] = []
    for k, member in enumerate(known.shadow_signals.member):
        free, outside = ~asked.shadow_signals.member[k], ~member & ~candidate
        if min(free.sum(), outside.sum()) < LEAST:
            continue
        rest = known.only([j for j in range(len(known.shadow_signals.member)) if j != k])
        stands = stand_in(rest, known.shadow_signals.values[k], asked, k, outside)
        own = dataclasses.replace(
            stands, pile_candidates=stands.pile_pool, shadow_signals=rest.shadow_signals, ids=rest.ids
        )
        fitted = target.fit_draws(rest, alone, draws)
        score, null = target.score(rest, stands, fitted, alone)[free], target.score(rest, own, fitted, alone)[outside]
        asking = Slices(score, group[free], asked.shadow_signals.holds_relative[k][free])
        others = Slices(null, pool_group[outside], known.shadow_signals.holds_relative[k][outside])
        pairs = compared(asking, others)
        if min(len(np.unique(asking.group[pairs.any(1)])), len(np.unique(others.group[pairs.any(0)]))) > 1:
            contrasts.append(contrast(asking, others))
        above.append((1 + len(null) - np.searchsorted(np.sort(null), score, "left")) / (1 + len(null)))
    return Placebo(tuple(contrasts), tuple(above))


def stand_in(rest: Labelled, pile: np.ndarray, asked: target.Target, shadow: int, outside: np.ndarray) -> target.Target:
    """Shadow number `shadow` in the place of the target: its pile's evidence about the pool, `pile` [image, number],
    and about the candidates, with the shadows of `rest` as references."""
    shadow_signals = asked.shadow_signals.only([j for j in range(len(asked.shadow_signals.member)) if j != shadow])
    return target.Target(pile, np.asarray(asked.shadow_signals.values[shadow]), outside, shadow_signals, asked.ids)

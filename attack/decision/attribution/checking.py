"""What the answers are worth: figures of images whose subset is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from attack.metrics import intervals
from attack.results import Figure, ReliabilityRow
from attack.results.attributed import Checked
from shadow import keys

_DRAWS = 1000
_BINS = 5
_SMALLEST = 1e-12  # probabilities are held this far from 0 in the log loss


@dataclass(frozen=True, eq=False)
class Answered:
    """Images whose subset is known. probability: float64 [image, subset + 1], the last "none of them"; truth, nearest:
    int [image], the subset, and that of the nearest slice; unit: int [image]; generator: int [image]; fixed: are these
    the generators that are asked about, so that none is drawn anew?"""

    probability: np.ndarray
    truth: np.ndarray
    nearest: np.ndarray
    unit: np.ndarray
    generator: np.ndarray
    fixed: bool

    @property
    def listed(self) -> np.ndarray:
        """float64 [image, subset]: the probabilities if one of the subsets was used; even where they are all 0."""
        inside = self.probability[:, :-1]
        total = inside.sum(1, keepdims=True)
        return np.divide(inside, total, out=np.full_like(inside, 1 / inside.shape[1]), where=total > 0)


def figures(known: Answered, hidden: np.ndarray | None = None) -> Checked:
    """All figures. hidden: probabilities [image, subset + 1] with the true subset off the list."""
    listed, rows = known.listed, np.arange(len(known.truth))
    chosen = listed.argmax(1)
    right, near = chosen == known.truth, known.nearest == known.truth
    subsets, top = listed.shape[1], listed.max(1)
    confusion = np.zeros((subsets, subsets), int)
    np.add.at(confusion, (known.truth, chosen), 1)
    return Checked(
        images=len(right),
        units=len(np.unique(_units(known))),
        generators=len(np.unique(known.generator)),
        accuracy=_share(right, known),
        nearest=_share(near, known),
        gain=_difference(right, near, known),
        chance=1 / subsets,
        log_loss=float(-np.log(np.maximum(listed[rows, known.truth], _SMALLEST)).mean()),
        log_loss_even=float(np.log(subsets)),
        stated=float(top.mean()),
        reliability=_reliability(top, right, known),
        confusion=tuple(tuple(row) for row in confusion.tolist()),
        none=float(known.probability[:, -1].mean()),
        hidden_none=None if hidden is None else float(hidden[:, -1].mean()),
    )


def _units(known: Answered) -> np.ndarray:
    """Units of one generator: images of two generators near one slice do not depend on each other."""
    return known.generator * (known.unit.max() + 1) + known.unit


def _interval(hits: np.ndarray, known: Answered, chosen: np.ndarray | slice = slice(None)) -> tuple[float, float]:
    """Of a share, by its effective number of units; of generators too, where they stand for others."""
    units = _units(known)[chosen]
    return intervals.proportion_interval(hits, units, across=None if known.fixed else known.generator[chosen])


def _share(hits: np.ndarray, known: Answered) -> Figure:
    low, high = _interval(hits, known)
    return Figure(value=float(hits.mean()), low=low, high=high)


def _difference(mine: np.ndarray, other: np.ndarray, known: Answered) -> Figure:
    """Mean of mine - other, with the percentile interval of units, or of generators, that are drawn anew."""
    units = np.unique(_units(known) if known.fixed else known.generator, return_inverse=True)[1]
    gain = mine.astype(float) - other
    sums, sizes = np.bincount(units, gain), np.bincount(units)
    counts = intervals.resample_counts(len(sums), _DRAWS, keys.generator(0, "attribution/gain"))
    low, high = intervals.percentile_interval((counts @ sums) / (counts @ sizes))
    return Figure(value=float(gain.mean()), low=min(low, float(gain.mean())), high=max(high, float(gain.mean())))


def _reliability(top: np.ndarray, right: np.ndarray, known: Answered) -> tuple[ReliabilityRow, ...]:
    """How often the most likely subset is right, by its probability."""
    rows = []
    for part in np.array_split(np.argsort(top, kind="stable"), min(_BINS, len(top))):
        rows.append(
            ReliabilityRow(
                mean_probability=float(top[part].mean()),
                observed=float(right[part].mean()),
                count=len(part),
                interval=_interval(right[part], known, part),
            )
        )
    return tuple(rows)

"""What each part of the attack is worth: signals and embeddings disturbed, left out, and alone.

All figures are of held-out pairs, mean within-shadow AUCs without weights, for the first draw of references.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from attack.evidence import layout
from attack.inference import estimate
from attack.inference.crossfit import HeldOut, Labelled, Options, two_way_each
from attack.results import CurvePoint, Part
from shadow import keys

_SHUFFLES = 5


@dataclass(frozen=True)
class Ablated:
    """Columns that belong together: those of one signal, or of one embedding."""

    kind: str
    name: str
    columns: tuple[int, ...]


def parts(names: Sequence[str]) -> list[Ablated]:
    """Signals and embeddings among columns called `signal@embedding`, where there are two or more of them."""
    found = []
    for kind, of in (("signal", layout.signal_of), ("embedding", layout.embedding_of)):
        values = [of(name) for name in names]
        kinds = list(dict.fromkeys(values))
        if len(kinds) > 1:
            found += [Ablated(kind, k, tuple(j for j, v in enumerate(values) if v == k)) for k in kinds]
    return found


def permuted(held: HeldOut, member: np.ndarray, columns: Sequence[int], seed: int) -> tuple[float, float | None]:
    """(drop, standard error) of the mean within-shadow AUC when these columns of z are dealt anew among the pairs of
    each shadow, whatever their class (permutation importance, Breiman 2001, Machine Learning 45), over five deals;
    the error over shadows, None where there is one. Nothing is fitted anew."""
    assert held.fold is not None
    shadows, candidates = member.shape
    ones, drops = np.ones(candidates), np.zeros(shadows)
    for k in range(shadows):
        before, _ = estimate.weighted_placements(held.logit[k], member[k], ones)
        after = []
        for shuffle in range(_SHUFFLES):
            z, logit = held.z[k].copy(), np.zeros(candidates)
            deal = keys.generator(seed, "importance", k, shuffle).permutation(candidates)
            z[:, list(columns)] = held.z[k][deal][:, list(columns)]
            for f, combiner in enumerate(held.combiners[k]):
                here = held.fold == f
                logit[here] = combiner.logit(z[here])
            after.append(estimate.weighted_placements(logit, member[k], ones)[0])
        drops[k] = before - np.mean(after)
    error = float(drops.std(ddof=1) / np.sqrt(shadows)) if shadows > 1 else None
    return float(drops.mean()), error


def figures(data: Labelled, options: Options) -> tuple[tuple[Part, ...], HeldOut]:
    """What every signal and embedding is worth, and the held-out scores of the attack's first draw."""
    every = parts(data.shadow_signals.names)
    columns = range(len(data.shadow_signals.names))
    asked: list[Sequence[int]] = [columns]
    for part in every:
        asked += [[j for j in columns if j not in part.columns], part.columns]
    held = two_way_each(data, options, 0, asked)
    whole, member = held[0], data.shadow_signals.member
    rows = []
    for i, part in enumerate(every):
        without, alone = held[1 + 2 * i : 3 + 2 * i]
        drop, error = permuted(whole, member, part.columns, options.seed)
        lost, lost_error = estimate.paired_gain(whole.logit, without.logit, member, data.group)
        rows.append(
            Part(
                kind=part.kind,
                name=part.name,
                drop=drop,
                error=error,
                left_out=lost,
                left_out_error=lost_error,
                alone=estimate.mean_within(alone.logit, member),
            )
        )
    return tuple(rows), whole


def point(data: Labelled, score: np.ndarray) -> CurvePoint:
    """The AUC of held-out scores [shadow, candidate], without weights."""
    found = estimate.mean_auc(score, data.shadow_signals.member, data.group, len(data.ids))
    return CurvePoint(shadows=len(score), auc=found.auc, interval=found.interval, each=(found.auc,))

"""Was leakage shown? The rule, and how weak a leak it would overlook.

"Leakage found" is said of the candidates, and rests on the target's own images alone: the candidates stand above slices
known not to be used, in a one-sided test at `LEVEL` with patients as units. Where labelled dev slices of the same
generator are there, they have to stand apart as well, at `LABELLED_LEVEL`: dev labels that contradict overrule, and dev
labels that agree allow the candidates' test the larger `LEVEL_WITH_LABELS`. Candidates of another kind than the slices
known not to be used cannot be compared with them, and show nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import special, stats

from attack.decision import unlabelled
from attack.decision.unlabelled import Comparison, Inflation, Slices
from attack.results import CANNOT_TELL, LABELLED_ONLY, LEAK
from shadow import keys

LEVEL = 0.01  # of the candidates' test where no label of the target is known
LEVEL_WITH_LABELS = 0.025
LABELLED_LEVEL = 0.025  # of the test of labelled dev slices, one-sided
POWER = 0.8
_TRIALS = 400  # simulated candidates for each AUC: the power is known within .04
_COMPLETE = 8.0  # sd by which members stand above: an AUC of 1


@dataclass(frozen=True)
class Verdict:
    """level: "leak", "labelled only" (labelled dev slices of the generator stand apart, the candidates do not) or
    "cannot tell"; why: what decided, in one sentence; p and p_labelled: of the two tests, None where there was none;
    limit: the level that p was held against."""

    level: str
    why: str
    p: float | None
    p_labelled: float | None
    limit: float


def decide(found: unlabelled.Contrast | None, why_not: str, p_labelled: float | None) -> Verdict:
    """The verdict from the candidates' comparison and the labelled dev slices' one-sided p.

    found: None where there was no fair comparison, for the reason `why_not`; p_labelled: None where no labels of this
    generator count.
    """
    limit = LEVEL if p_labelled is None else LEVEL_WITH_LABELS
    labelled = p_labelled is not None and p_labelled < LABELLED_LEVEL
    rest = LABELLED_ONLY if labelled else CANNOT_TELL
    if found is None:
        return Verdict(rest, why_not, None, p_labelled, limit)
    if not found.p < limit:
        why = f"the candidates do not stand above slices known not to be used (one-sided p {found.p:.2g})"
        return Verdict(rest, why, found.p, p_labelled, limit)
    if p_labelled is not None and not labelled:
        why = (
            f"the candidates stand above slices known not to be used (one-sided p {found.p:.2g}), but the labelled dev "
            f"slices of this generator do not stand apart (p {p_labelled:.2g})"
        )
        return Verdict(CANNOT_TELL, why, found.p, p_labelled, limit)
    why = f"the candidates stand above slices known not to be used (one-sided p {found.p:.2g})"
    return Verdict(LEAK, why, found.p, p_labelled, limit)


def unless_held(said: Verdict, low: float) -> Verdict:
    """No leak where the interval of the stated AUC, which begins at `low`, holds one half."""
    if said.level != LEAK or low > 0.5:
        return said
    labelled = said.p_labelled is not None and said.p_labelled < LABELLED_LEVEL
    why = f"{said.why}, but the interval of the AUC holds one half"
    return replace(said, level=LABELLED_ONLY if labelled else CANNOT_TELL, why=why)


def correlation(score: np.ndarray, group: np.ndarray) -> float:
    """How alike normal scores [slice] of one patient are, in [0, .9]: the intraclass correlation by one-way analysis of
    variance (Fisher 1925); 0 where no patient has two slices."""
    numbers = np.unique(group, return_inverse=True)[1]
    size = np.bincount(numbers)
    count, patients = len(score), len(size)
    if count == patients or patients < 2:
        return 0.0
    values = stats.norm.ppf((stats.rankdata(score) - 0.5) / count)
    means = np.bincount(numbers, values) / size
    within = float(((values - means[numbers]) ** 2).sum()) / (count - patients)
    among = float((size * (means - values.mean()) ** 2).sum()) / (patients - 1)
    typical = (count - float((size**2).sum()) / count) / (patients - 1)
    part = (among - within) / typical
    return float(np.clip(part / max(part + within, 1e-12), 0.0, 0.9))


def smallest_auc(
    sides: tuple[Slices, Slices, Slices], alike: float, prior: float, seed: int, inflation: Inflation
) -> float | None:
    """The AUC, to .01, of a leak that `decide` calls in `POWER` of simulated runs; None where it misses a complete one.

    sides: who is asked about, known not to be used, and a labelled used slice of the same generator (none where no
    labels count), as in the run; scores are simulated. They are normal, a share `alike` of their variance is the
    patient's; a share `prior` of the candidates, by chance, lies higher; their comparison is inflated
    (`placebo.Placebo`), as in the run. All AUCs share the same draws, so that the power rises with the AUC.
    """
    rng = keys.generator(seed, "smallest auc")
    asked, null, used = sides
    patients = int(max(part.group.max() for part in sides if len(part.group))) + 1
    shared = np.sqrt(alike) * rng.standard_normal((_TRIALS, patients))
    ours, others, known = (
        shared[:, part.group] + np.sqrt(1 - alike) * rng.standard_normal((_TRIALS, len(part.group))) for part in sides
    )
    member = rng.random((_TRIALS, len(asked.group))) < prior
    candidates = Comparison.of(asked, null)
    labels = Comparison.of(used, null) if len(used.group) else None

    def power(shift: float) -> float:
        found = candidates.contrasts(ours + shift * member, others)
        p = [one.p for one in labels.contrasts(known + shift, others)] if labels else [None] * _TRIALS
        called = [
            decide(one.inflated(inflation), "", of_labels).level == LEAK
            for one, of_labels in zip(found, p, strict=True)
        ]
        return float(np.mean(called))

    if power(_COMPLETE) < POWER:
        return None
    low, high = 50, 100  # hundredths of an AUC: not called, called
    while high - low > 1:
        middle = (low + high) // 2
        enough = power(float(np.sqrt(2) * special.ndtri(middle / 100))) >= POWER
        low, high = (low, middle) if enough else (middle, high)
    return high / 100

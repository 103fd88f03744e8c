"""Do dev labels separate as well on the test pile as on the dev pile?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from attack.decision.same_generator.piles import ENOUGH, LEVEL
from attack.metrics.intervals import Interval, group_numbers
from attack.metrics.ranking import auc, auc_difference_grouped, check_labels, check_scores
from shadow import keys

FEWEST_GROUPS = 6  # patients with a used slice, and with one that was not used; a bootstrap of fewer has no level
MATTERS = 0.05  # difference of two AUCs; a smaller one is not held against labels, and near 1 its p is too small
_NULLS = 100  # made-up scores of a generator without the dev slices, for the power of the labels
_DRAWS = 500  # of the bootstrap of each


@dataclass(frozen=True)
class LabelTest:
    """Whether the dev labels separate as well on the test pile as on the dev pile.

    auc_dev, auc_test: AUC of the dev slices on either pile; interval: 95 % of auc_dev - auc_test; p: one-sided, small
    where the test pile's is lower, None where the patients are too few; power: chance that they differ if the AUC on
    the test pile were .5; groups: patients, the smaller of those with a used slice and those with one that was not
    used; why: the reason where p is None, else empty.
    """

    auc_dev: float
    auc_test: float
    interval: Interval
    p: float | None
    power: float
    groups: int
    level: float
    why: str = ""

    @property
    def differ(self) -> bool:
        """The labels separate worse on the test pile: at the level, and by `MATTERS` at least."""
        return self.p is not None and _lower(self.auc_dev - self.auc_test, self.p, self.level)

    @property
    def enough(self) -> bool:
        """The power is `ENOUGH` at least."""
        return self.p is not None and self.power >= ENOUGH


def label_consistency(
    score_on_dev_pile: np.ndarray,
    score_on_test_pile: np.ndarray,
    label: np.ndarray,
    group: np.ndarray,
    seed: int = 0,
    level: float = LEVEL,
) -> LabelTest:
    """Tests whether labels of dev slices (1 = used) separate their scores worse on the test pile than on the dev pile.

    Both scores [slice] are of one attack, higher for "used", on piles of equal numbers of images: a smaller pile alone
    lowers the AUC. The test is the paired bootstrap over groups (patients) of `auc_difference_grouped`, one-sided. A
    generator that never saw the used slices has an AUC of .5 there. The power is the share of 100 made-up generators of
    that kind which the test sees. Their scores are normal scores of those on the test pile, less the mean of their
    class, with a random sign for each group (a wild bootstrap, Cameron, Gelbach and Miller 2008). The scores on the dev
    pile stay as they are. ValueError for labels of one class and scores that are not finite.
    """
    target = check_labels(label)
    first, second = (check_scores(s, len(target)) for s in (score_on_dev_pile, score_on_test_pile))
    areas = auc(first, target), auc(second, target)
    names, numbers = group_numbers(group, len(target))
    groups = min(len(np.unique(numbers[target == kind])) for kind in (0, 1))
    if groups < FEWEST_GROUPS:
        kinds = "with a used slice, and with one that was not used"
        why = f"{FEWEST_GROUPS} patients {kinds}, are needed to compare the labels; there are {groups}"
        return LabelTest(*areas, (-1.0, 1.0), None, 0.0, groups, level, why)
    found = auc_difference_grouped(first, second, target, group, seed=seed)
    noise = stats.norm.ppf((stats.rankdata(second) - 0.5) / len(second))
    for kind in (0, 1):
        noise[target == kind] -= noise[target == kind].mean()
    rng, seen = keys.generator(seed, "same_generator/labels"), 0
    for _ in range(_NULLS):
        made = noise * rng.choice((-1.0, 1.0), len(names))[numbers]
        other = auc_difference_grouped(first, made, target, group, seed=seed, draws=_DRAWS)
        seen += _lower(other.difference, _one_sided(other.difference, other.p), level)
    p = _one_sided(found.difference, found.p)
    return LabelTest(*areas, found.interval, p, seen / _NULLS, groups, level)


def _one_sided(difference: float, p: float) -> float:
    """p of "not above zero", from the two-sided one."""
    return p / 2 if difference > 0 else 1 - p / 2


def _lower(difference: float, p: float, level: float) -> bool:
    """An AUC is lower than another, with one-sided p, and by enough."""
    return p <= level and difference >= MATTERS

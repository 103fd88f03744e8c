"""Do the labels of the dev slices speak of the generator under test? Without shadows only the labels can tell."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from attack.baselines.alone import choice
from attack.decision import same_generator
from shadow.config import AttackConfig


@dataclass(frozen=True)
class Standing:
    """count: whether the labels count as labels of the generator under test; by: "user" or "test"; why: sentences for
    the report; p: of "one generator made both piles", and power: of the test of the labels, both in [0, 1], None where
    nothing was tested."""

    count: bool
    by: str
    why: str
    p: float | None = None
    power: float | None = None


def said(asked: str) -> Standing | None:
    """What `attack.same_generator` says itself; None for "auto", which asks for tests."""
    if asked == "true":
        return Standing(True, "user", "attack.same_generator says that one generator made both piles.")
    if asked == "false":
        return Standing(False, "user", "attack.same_generator says that another generator may have made their pile.")
    return None


def tested(
    dev: np.ndarray,
    test: np.ndarray,
    label: np.ndarray,
    group: np.ndarray,
    scored: Callable[[str, int], Mapping[str, np.ndarray]],
    attack: AttackConfig,
) -> Standing:
    """Tests by `same_generator.decide` whether one generator made the dev pile and the test pile, [image, side, side].

    label: 0/1 and group: int, of the dev slices; scored: their scores [slice] by baseline, on so many images of the
    pile of a role. There are no shadows to show the power of the test of the piles. So the labels count only where the
    test of the labels would have seen a generator without the used slices, or where one pile is a part of the other.
    The labels are tested where the piles leave it open.
    """
    piles = same_generator.compare_piles(dev, test, attack.seed)
    labels = None
    if piles.p is not None and not piles.identical and not piles.differ:
        labels = _labels(min(len(dev), len(test)), label, group, scored, attack)
    found = same_generator.decide(piles, None, labels)
    return Standing(found.same, "test", found.reason, piles.p, found.power)


def _labels(
    count: int,
    label: np.ndarray,
    group: np.ndarray,
    scored: Callable[[str, int], Mapping[str, np.ndarray]],
    attack: AttackConfig,
) -> same_generator.LabelTest | None:
    """Whether the labels are seen as well in `count` images of the test pile as in as many of the dev pile; None where
    groups are too few to pick a baseline on some and judge on others.

    Each slice has the baseline that is best for the other folds' slices on the dev pile. If the best were picked on the
    same slices, its AUC on the dev pile would be too high, and the test pile would look worse.
    """
    on_dev = scored("generated_dev", count)
    turns = list(choice.turns(on_dev, label, group, attack.folds, attack.seed))
    kept = np.zeros(len(label), bool)
    for here, _, _ in turns:
        kept |= here
    if not 0 < label[kept].sum() < kept.sum():
        return None
    found = []
    for scores in (on_dev, scored("generated_test", count)):
        held = np.full(len(label), np.nan)
        for here, rest, name in turns:
            held[here] = choice.shares(scores[name], here, rest)
        found.append(held[kept])
    return same_generator.label_consistency(found[0], found[1], label[kept], group[kept], attack.seed)

"""Did one generator make the dev pile and the test pile? Only then do dev labels count as labels of the target.

Three pieces of evidence are joined in `decide`:

- `compare_piles`: a two-sample test of the images of both piles, with an exact level;
- `power_on_shadows`: how often that test tells two shadows apart, which are two runs of one recipe;
- `label_consistency`: whether the dev labels separate as well on the test pile as on the dev pile, and with what power.

The labels count where neither test rejects and at least one of them would have seen another run of the recipe. Two
errors are possible. A wrong "different" loses the labels. Its chance is about the sum of both levels, .10 by default.
A wrong "same" takes labels of another generator for those of the target, and the figures of the report are then
wrong. This costs more, so no labels count without power. A test without power cannot reject, whatever the truth is.
"""

from __future__ import annotations

from dataclasses import dataclass

from attack.decision.same_generator.labels import LabelTest, label_consistency
from attack.decision.same_generator.piles import PileTest, Power, compare_piles, power_on_shadows

__all__ = [
    "KINDS",
    "LabelTest",
    "PileTest",
    "Power",
    "SameGenerator",
    "compare_piles",
    "decide",
    "label_consistency",
    "power_on_shadows",
]

KINDS = ("same", "identical", "piles differ", "labels differ", "no power", "too few")


@dataclass(frozen=True)
class SameGenerator:
    """Whether dev labels count as labels of the target.

    same: they do; kind: why, one of KINDS; reason: the same as a sentence for a report; power: the largest of those
    that count, in [0, 1]; piles, shadows, labels: the evidence, None where it was not given.
    """

    same: bool
    kind: str
    reason: str
    power: float
    piles: PileTest
    shadows: Power | None
    labels: LabelTest | None


def decide(piles: PileTest, shadows: Power | None, labels: LabelTest | None, outside: bool = False) -> SameGenerator:
    """Joins the evidence: dev labels count where both tests could have seen another generator, and did not.

    1. Piles that are too small to compare, or told apart, never count.
    2. Labels that separate worse on the test pile never count.
    3. Else one of the two tests must have power against another run of the recipe: the test of the piles, measured on
       shadows (`Power.enough`), or that of the labels (`LabelTest.enough`).

    `outside`: the target's pile lies outside the shadows' range (`pile_shift.excess` above 0). Shadows then say nothing
    of the power. Where one pile is a part of the other, no power is needed.
    """

    def result(same: bool, kind: str, reason: str, power: float) -> SameGenerator:
        return SameGenerator(same, kind, reason, power, piles, shadows, labels)

    on_shadows = 0.0 if shadows is None or outside else shadows.value
    power = max(on_shadows, 0.0 if labels is None else labels.power)
    if piles.p is None:
        return result(False, "too few", f"The dev pile and the test pile are not compared: {piles.why}.", 0.0)
    if piles.identical:
        share = f"{piles.shared:.0%}"
        return result(True, "identical", f"{share} of the smaller pile's images lie in the other pile too.", 1.0)
    if piles.differ:
        return result(
            False,
            "piles differ",
            f"The dev pile and the test pile are not of one generator: {_words(piles)}.",
            power,
        )
    if labels is not None and labels.differ:
        return result(
            False,
            "labels differ",
            f"The dev labels separate worse on the test pile (AUC {labels.auc_test:.2f}) than on the dev pile "
            f"({labels.auc_dev:.2f}; p = {labels.p:.3f}).",
            power,
        )
    apart = f"The dev pile and the test pile cannot be told apart (p = {piles.p:.2f})"
    by_piles = shadows is not None and not outside and shadows.enough
    by_labels = labels is not None and labels.enough
    if not (by_piles or by_labels):
        return result(False, "no power", f"{apart}, but another run of the recipe would not be either.", power)
    ways = []
    if by_piles and shadows is not None:
        ways.append(f"{shadows.told_apart} of {shadows.pairs} pairs of shadows, runs of one recipe, are told apart")
    if by_labels and labels is not None:
        ways.append(
            f"the dev labels separate as well on the test pile (AUC {labels.auc_test:.2f}) as on the dev pile "
            f"({labels.auc_dev:.2f}), and an AUC of .50 would be seen with a power of {labels.power:.2f}"
        )
    return result(True, "same", f"{apart}; {'; '.join(ways)}.", power)


def _words(piles: PileTest) -> str:
    """The test that tells them apart, for a reader."""
    part = piles.parts[piles.strongest]
    more = "more" if part.value > part.expected else "less"
    said = {
        "neighbours (pixels)": f"{part.value:.0%} of an image's nearest neighbours are of its own pile",
        "neighbours (detail)": f"{part.value:.0%} of an image's nearest neighbours in detail are of its own pile",
        "classifier": f"a classifier tells their images apart with an AUC of {part.value:.2f}",
        "kernel (pixels)": "their images are more alike within a pile than across the piles",
        "kernel (detail)": "their images are more alike in detail within a pile than across the piles",
        "nearest": f"the nearest neighbour of {part.value:.0%} of the images is of their own pile",
        "near-duplicates": f"images have near-duplicates {more} often in their own pile than in the other",
        "statistics": "statistics of the piles differ",
    }[piles.strongest]
    return f"{said} (p = {part.p:.3f})"

"""What the page and the terminal say about an attribution, in words."""

from __future__ import annotations

from attack.report import formats
from attack.results import Figure
from attack.results.attributed import Attribution, Checked, PileAnswer
from shadow.data.subsets import NONE

_SURE = 0.9  # probability of a whole pile from which on one subset is named for all of it


def headline(found: Attribution) -> str:
    """One sentence a pile, and what the answers are worth."""
    return " ".join([*(pile(one) for one in found.piles), worth(found)])


def pile(one: PileAnswer) -> str:
    """What a pile was made from: one subset, or a mixture, or none."""
    best = one.best
    made = "from none of these subsets" if best.answer == NONE else f"from subset {best.answer}"
    share = f"{formats.of_100(best.share.value)} in 100 images ({formats.range_of_100(best.share.interval)})"
    if best.share.low > 0.5 and best.probability.value >= _SURE:
        sure = f"if one generator made all of it, {formats.of_100(best.probability.value)} in 100 for that"
        return f"Pile {one.name} was made {made}: {share}; {sure}."
    if best.share.low > 0.5:
        return f"Most of pile {one.name} looks made {made}: {share}."
    answers = sorted(one.answers, key=lambda answer: -answer.share.value)[:3]
    said = ", ".join(f"{answer.answer} {round(100 * answer.share.value)} %" for answer in answers)
    return f"No subset explains most of pile {one.name}; the largest shares are {said}."


def worth(found: Attribution) -> str:
    """How often single images are put right, on what, and against what."""
    check = found.judged
    on = (
        "labelled generated images"
        if found.labelled
        else "images of shadows that were held out, and not of the target,"
    )
    better = "more" if check.gain.value >= 0 else "less"
    return (
        f"Of {on} {_of(check.accuracy)} are put to the right one of {len(found.subsets)} subsets. "
        f"Chance is {formats.percent(round(check.chance, 3))}, and the subset of the nearest slice is right for "
        f"{_of(check.nearest)} ({better} by {formats.number(abs(check.gain.value), 3)} "
        f"[{formats.number(check.gain.low, 3)}, {formats.number(check.gain.high, 3)}])."
    )


def _of(figure: Figure) -> str:
    return f"{round(100 * figure.value, 1):g} % {formats.interval(figure.interval)}"


def stated(check: Checked) -> str:
    """Whether the probabilities promise more than comes true."""
    promise, truth = formats.number(check.stated), formats.number(check.accuracy.value)
    if check.stated > check.accuracy.high:
        return f"The probabilities promise too much: {promise} in the mean, and {truth} are right."
    if check.stated < check.accuracy.low:
        return f"The probabilities promise less than comes true: {promise} in the mean, and {truth} are right."
    return f"The probabilities promise {promise} in the mean, and {truth} are right."


def cautions(found: Attribution) -> list[str]:
    """What a reader should know first; a sentence each."""
    said = []
    near = found.nearness
    if near.outside:
        said.append(
            "The images that are asked about lie farther from all real slices than those of any shadow. Their "
            "generator copied less than the shadows, or was trained on something else. The probabilities may be too "
            "sure."
        )
    for one in found.shared:
        said.append(
            f"Subsets {one.first} and {one.second} have {one.same} files and {one.groups} patients or near-duplicates "
            "in common. What they share cannot tell them apart."
        )
    if not found.labelled:
        said.append(
            "No generated image of known origin was given. All figures are of shadows, which were trained on these "
            "very subsets; other generators may leave less of a trace."
        )
    elif found.labelled.stated > found.labelled.accuracy.high:
        said.append(stated(found.labelled))
    if not found.none:
        said.append("attack.none is 0: every image is given to some subset, also one that none of them explains.")
    if found.shadows_missing:
        said.append(f"Shadows are missing: {formats.listed(found.shadows_missing)}.")
    return said

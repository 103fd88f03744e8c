"""What a reader must know before a result is believed: alarms of this run, and limits of every run."""

from __future__ import annotations

from collections.abc import Sequence

from attack.report import wording
from attack.report.formats import interval, number, p_value, percent
from attack.results import Control, Evaluation

ALARM = 0.05  # of all controls together (Bonferroni)


def alarms(evaluation: Evaluation) -> list[str]:
    """To be read before the result is believed: missing shadows, a target unlike the shadows, a control that shows."""
    found = []
    if wording.missing(evaluation):
        found.append(
            f"Only {wording.missing(evaluation)}. The run was told to go on without the others: every figure rests on "
            "fewer generators than were asked for."
        )
    null = evaluation.null
    if null.presumed:
        few = f", and only {null.known} others are known not to be used" if null.known else ""
        found.append(
            f"Nothing is known about the {null.unknown} reference slices{few}: it is presumed that most of them "
            "were not used to train the generator under test. If many were, or if they are of another kind than the "
            "candidates, the scores are shifted and the probabilities wrong."
        )
    if not evaluation.regime.inside:
        found.append(evaluation.regime.message)
    asked = evaluation.candidates
    if asked.blind_p is not None and asked.auc is None:
        found.append(f"No fair comparison: {asked.why}.")
    if asked.aside:
        found.append(
            f"{asked.aside} of {asked.aside + (asked.candidates or 0)} candidates are left out of the comparison: "
            "another slice of their patient is known to be used, and of too few slices known not to be used is that "
            "so. Relatives of a used slice stand above others whether or not they were used. The verdict and the "
            "stated AUC rest on the other candidates."
        )
    return [*found, *_weaker(evaluation), *_shown(evaluation.controls)]


def _weaker(evaluation: Evaluation) -> list[str]:
    """What of the target leaks less than the shadows do."""
    found = []
    wide = evaluation.two_way.prediction_interval
    nodes = ("the labelled development slices", evaluation.dev), ("these candidates", evaluation.candidates)
    for what, node in nodes:
        if node.interval and wide and node.interval[1] < wide[0]:
            found.append(
                f"The attack is weaker on {what} (AUC {number(node.auc)} {interval(node.interval)}) than on the "
                f"shadows (prediction interval {interval(wide)}): the target leaks less than they do. No figure of the "
                "shadows holds for it."
            )
    return found


def _shown(controls: Sequence[Control]) -> list[str]:
    """Controls that show something."""
    found = []
    for row in controls:
        if row.p is not None and row.p < ALARM / len(controls):
            figure = f"AUC {number(row.auc)} {interval(row.interval)}".rstrip()
            found.append(
                f"The control “{row.name}” should show nothing, but does ({figure}, p {p_value(row.p)}): part of "
                "the result may come from how the slices were chosen, not from what the generator leaks."
            )
    return found


def cautions(evaluation: Evaluation) -> list[tuple[str, str]]:
    """(heading, text) of what the result cannot tell."""
    two_way = evaluation.two_way
    mean, wide = interval(two_way.interval), interval(two_way.prediction_interval)
    gone = f" Only {wording.missing(evaluation)}." if wording.missing(evaluation) else ""
    size, seen = evaluation.pile_size, evaluation.target_pile
    more = (
        f" Of the target {seen:,} images were compared and of each shadow {size:,}: more images show more, so the AUC "
        "of the shadows is rather a floor, and the interval for a single generator is open above."
        if seen > size
        else ""
    )
    return [
        (
            "“No leakage found” is not proof of privacy",
            "This is one attack that sees generated images only. A stronger attack, more generated images or "
            "access to the generator itself may find what this one misses, and single patients can be "
            "exposed while the average looks like chance.",
        ),
        (
            "Probabilities rest on a prior",
            f"Every probability here assumes that {percent(evaluation.prior)} of the candidates had been used. "
            "If far fewer were, most slices flagged “used” are false alarms: see the table of priors.",
        ),
        (
            "Shadows are stand-ins",
            "The attack was fitted and measured on shadow generators, trained for that, not on the target. "
            f"It holds for the target as far as the target resembles them. {evaluation.regime.message}{more}{gone}",
        ),
        (
            "Two intervals, two questions",
            (f"The mean over generators like the shadows lies in {mean}. " if mean else "")
            + (f"A single generator like them lies in the wider {wide}. " if wide else "")
            + _foreseen(evaluation)
            + "A slice's own interval says how well its probability is known, not how likely membership is.",
        ),
        ("“Used” includes false alarms", _false_alarms(evaluation)),
        (
            "A slice is not a patient",
            "“Not used” is said of a slice. Another slice of the same patient may have been used, and such "
            "slices are the hardest to tell apart.",
        ),
    ]


def _foreseen(evaluation: Evaluation) -> str:
    found = evaluation.candidates
    if found.auc is None:
        return ""
    return (
        "How far these candidates stand above slices known not to be used speaks for an AUC of "
        f"{number(found.auc)} {interval(found.interval)} on them. "
    )


def _false_alarms(evaluation: Evaluation) -> str:
    """The false positive rate that was wanted, and what is known of the one that is to be expected."""
    limits = evaluation.thresholds.fpr_interval
    start = f"The decision aims at flagging {percent(evaluation.fpr)} of the unused slices. "
    if limits is None:
        return (
            f"{start}Too few slices are known not to be used to set its threshold, so the probabilities set it; how "
            "many it flags cannot be checked here."
        )
    low, high = (percent(round(limit, 3)) for limit in limits)
    return (
        f"{start}Its threshold was set on the scores of {evaluation.thresholds.nulls} slices known not to be "
        "used, on the target's own images. If these are like the other unused slices and independent, it flags "
        f"{low} to {high} of those (95 % limits); several slices of one patient make that range wider."
    )

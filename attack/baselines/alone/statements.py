"""The quick report's plain sentences."""

from __future__ import annotations

from attack.baselines import BASELINES
from attack.baselines.alone.baseline_figures import BaselineFigures
from attack.report import formats

OBJECTIVES = {"f1": "F1", "kappa": "kappa", "accuracy": "accuracy"}
TOO_FEW = "too few groups to pick on some and judge on others"


def headline(content: BaselineFigures) -> str:
    """What was done, for the terminal and the head of the report."""
    dev = content.dev
    if content.calibrated:
        slices = dev.slices
        end = f"the probabilities rest on {slices} labelled development slices alone."
    else:
        end = "nobody can say from it how likely a slice was used."
    return (
        f"{len(content.baselines)} published attacks ranked {content.candidates} candidates by "
        f"{content.pile:,} generated images. Without shadow generators this is no verdict: {end}"
    )


def warnings(content: BaselineFigures) -> list[tuple[str, str]]:
    """(heading, text) of what this mode cannot say, first of all."""
    dev = content.dev
    found = [
        _probability(content),
        (
            "No error rate",
            "How many unused slices lie above a score is not known. The labels in submission.csv follow a rule, not a "
            "measured rate of false alarms.",
        ),
        (
            "Difficult slices are not controlled for",
            "A slice of common anatomy lies near to any generator's images, used or not; a rare one lies far off, "
            "used or not. Only generators that have not seen a slice show what is near for it.",
        ),
        (
            "Nothing found is no proof",
            "That no baseline stands out does not show privacy, and that one does is no proof of use.",
        ),
    ]
    if dev.auc and dev.standing and not dev.standing.count:
        found.append(
            (
                "Figures of the development slices are about the development pile",
                f"They were measured on {dev.members} used and {dev.non_members} not-used slices against its "
                f"{dev.pile:,} images, which may be of another generator than the one under test. The candidates "
                f"were compared with {content.pile:,} images.",
            )
        )
    return found


def _probability(content: BaselineFigures) -> tuple[str, str]:
    found, dev = content.calibrated, content.dev
    if not found:
        return (
            "No probability",
            "No shadow generator was trained, so no score is calibrated: a score puts slices in an order, and its size "
            "says nothing about how likely membership is.",
        )
    if not found.strength:
        return (
            "Every probability is the prior",
            "On development slices that it was not fitted on, the attack was not better than chance, or that could not "
            "be judged. So nothing is claimed of any candidate.",
        )
    return (
        "Probabilities rest on development slices alone",
        f"They come from the labels of {dev.members} used and {dev.non_members} not-used slices. They hold for "
        "candidates like these slices, which share patients with the training data as often.",
    )


def standing(content: BaselineFigures) -> str:
    """Whether the labels of the dev slices count, and why; empty where there are none."""
    found = content.dev.standing
    if not found:
        return ""
    start = "The labels of the development slices count" if found.count else "Their labels do not count"
    return f"{start}: {found.why}"


def chosen(content: BaselineFigures) -> str:
    """Which baseline the table follows and why, and by which rule the submission is labelled."""
    name, by = content.chosen.name, content.chosen.by
    why = {
        "user": "as attack.baseline says",
        "dev": "since it was best on the labelled development slices",
        "default": "by default, since nothing here measures which is best",
    }[by]
    said = content.submission
    objective, prior = OBJECTIVES[said.objective], formats.percent(said.prior)
    value = formats.number(said.expected)
    rule = {
        "expected": f"submission.csv has the labels with the highest expected {objective} under the probabilities of "
        f"predictions.csv: {value}, if a share of {prior} of the candidates was used (attack.prior).",
        "prior": "Nothing shows that its order says anything, so submission.csv does not follow it. It has the labels "
        f"with the highest expected {objective} if every candidate was used with a probability of {prior} "
        f"(attack.prior): {value}.",
        "own": "submission.csv follows its own rule; what that reaches is not known.",
        "share": f"submission.csv follows the rule “the {prior} with the highest scores” (attack.prior); what that "
        "reaches is not known.",
    }[said.rule]
    return f"The table follows {name}, {why}. {rule} It says “used” to {_of(said.ones, content.candidates)}."


def _of(ones: int, candidates: int) -> str:
    if ones == candidates > 1:
        return f"all {candidates} candidates, which singles nobody out"
    return f"{ones} of {candidates}"


def picked(content: BaselineFigures) -> str:
    """What picking the best baseline on the dev slices is worth; empty where none was picked."""
    found = content.dev.picked
    if not found:
        return ""
    if found.auc is None:
        return f"What picking the best one is worth is {formats.not_measurable(TOO_FEW)}."
    names = sorted(set(found.names))
    return (
        f"The best of {len(content.dev.auc)} looks better than it is. Picked on some of the patients and "
        f"judged on the others, the pick reached an AUC of {formats.number(found.auc)} "
        f"{formats.interval(found.interval)}; picked were {', '.join(names)}."
    )


def note(name: str) -> str:
    """The paper of a baseline, and a mark where its scores depend on who else is scored."""
    apart = "; a score depends on the other candidates" if BASELINES[name].set_dependent else ""
    return BASELINES[name].paper + apart

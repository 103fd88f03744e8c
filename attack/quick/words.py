"""The quick report's plain sentences."""

from __future__ import annotations

from typing import Any

from attack.baselines import BASELINES
from attack.report import sentence


def headline(content: dict[str, Any]) -> str:
    """What was done, for the terminal and the head of the report."""
    return (
        f"{len(content['baselines'])} published attacks ranked {content['candidates']} candidates by "
        f"{content['pile']:,} generated images. Without shadow generators this is no verdict: nobody can say from it "
        "how likely a slice was used."
    )


def warnings(content: dict[str, Any]) -> list[tuple[str, str]]:
    """(heading, text) of what this mode cannot say, first of all."""
    dev = content["dev"]
    found = [
        (
            "No probability",
            "No shadow generator was trained, so no score is calibrated: a score puts slices in an order, and its size "
            "says nothing about how likely membership is.",
        ),
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
    if dev["auc"]:
        other = "" if dev["same_generator"] else ", which may be of another generator than the one under test"
        found.append(
            (
                "Figures of the development slices are about the development pile",
                f"They were measured on {dev['members']} used and {dev['non_members']} not-used slices against its "
                f"{dev['pile']:,} images{other}. The candidates were compared with {content['pile']:,} images.",
            )
        )
    return found


def chosen(content: dict[str, Any]) -> str:
    """Which baseline labels the submission, why, and by which rule."""
    name, by = content["chosen"]["name"], content["chosen"]["by"]
    why = {
        "user": "as attack.baseline says",
        "dev": "since it was best on the labelled development slices, which attack.same_generator says are this "
        "generator's",
        "default": "by default, since nothing here measures which is best",
    }[by]
    said = content["submission"]
    rule = (
        "its own rule"
        if said["decides"]
        else f"the rule “the {sentence.percent(said['prior'])} with the highest scores” (attack.prior)"
    )
    return (
        f"The table and submission.csv follow {name}, {why}. By {rule} it says “used” to {said['ones']} of "
        f"{content['candidates']}."
    )


def picked(content: dict[str, Any]) -> str:
    """What picking the best baseline on the dev slices is worth; empty where none was picked."""
    found = content["dev"].get("picked")
    if not found:
        return ""
    if found["auc"] is None:
        return f"What picking the best one is worth is {sentence.not_measurable(found['why'])}."
    names = sorted(set(found["names"]))
    return (
        f"The best of {len(content['dev']['auc'])} looks better than it is. Picked on some of the patients and "
        f"judged on the others, the pick reached an AUC of {sentence.number(found['auc'])} "
        f"{sentence.interval(found['interval'])}; picked were {', '.join(names)}."
    )


def note(name: str) -> str:
    """The paper of a baseline, and a mark where its scores depend on who else is scored."""
    apart = "; a score depends on the other candidates" if BASELINES[name].set_dependent else ""
    return BASELINES[name].paper + apart

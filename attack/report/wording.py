"""The plain sentences of a report. All wording that carries the verdict is here, and tested."""

from __future__ import annotations

from dataclasses import dataclass

from attack import results
from attack.report.formats import interval, listed, not_measurable, number, of_100, percent, range_of_100
from attack.results import Auc, Dev, Estimate, Evaluation, Expected, Figure, Patients
from attack.results.labellings import Counts


def shadows(evaluation: Evaluation) -> str:
    """`16`, or `14 of 16` where some are missing."""
    used, asked = evaluation.shadows_used, evaluation.shadows_asked
    return f"{used}" if used == asked else f"{used} of {asked}"


def flips(evaluation: Evaluation) -> str:
    """What training flipped, as seen in the target's pile; empty where it flipped nothing."""
    names, share = evaluation.flips.names, evaluation.flips.share
    said = " and ".join({"left_right": "left to right", "up_down": "upside down"}[name] for name in names)
    if not names:
        return ""
    if share is None:
        return f"All piles were also looked at flipped {said}, as attack.flips says."
    shares = " and ".join(percent(share[name]) for name in names)
    return (
        f"The training of the target flipped its images {said}: {shares} of the labelled slices lie nearer to its pile "
        "than to the flipped pile, and half would by chance. So all piles were also looked at flipped."
    )


def missing(evaluation: Evaluation) -> str:
    """`14 of 16 shadows were there (missing: 3, 7)`; empty where all were."""
    if evaluation.shadows_used == evaluation.shadows_asked:
        return ""
    return f"{shadows(evaluation)} shadows were there (missing: {listed(evaluation.shadows_missing)})"


@dataclass(frozen=True)
class VerdictText:
    """`leak`: whether leakage was shown; `badge`: two or three words; `sentence`: for a data steward."""

    leak: bool
    badge: str
    sentence: str


def verdict(evaluation: Evaluation, candidates: int) -> VerdictText:
    """The result in one sentence, with its uncertainty. ValueError on a level that has no sentence."""
    said, dev = evaluation.verdict, evaluation.dev
    if said.level == results.LEAK:
        return VerdictText(True, "Leakage found", _leak(evaluation.expected))
    if said.level == results.LABELLED_ONLY:
        return VerdictText(
            False,
            "Only labelled slices leak",
            "The generator gives its labelled training slices away (AUC of the dev slices "
            f"{number(dev.auc)} {interval(dev.interval)}), but nothing shows that any of these {candidates} "
            f"candidates was used: {said.why}.",
        )
    if said.level != results.CANNOT_TELL:
        raise ValueError(f"no sentence for the verdict {said.level!r}")
    start = f"With {candidates} candidates and {shadows(evaluation)} shadow generators no leakage could be shown: "
    least = said.smallest_auc
    if least is None:
        end = " With so few slices even a complete leak could go unnoticed."
    else:
        end = (
            f" A leak below an AUC of about {number(least)} ({round(100 * least)} right picks in 100, where guessing "
            "gets 50) would often go unnoticed."
        )
    return VerdictText(False, "Cannot tell", f"{start}{said.why}.{end}")


def _leak(found: Expected) -> str:
    start = "The generator leaks its training slices"
    if found.auc is None:
        return f"{start}, but how strongly is {not_measurable(found.why)}."
    limits = found.interval
    sure = f" (95 % interval {range_of_100(limits)})" if limits else " (with an unknown uncertainty)"
    return (
        f"{start}: shown one slice that was used and one that was not, this attack picks the used one in "
        f"{of_100(found.auc)} of 100 cases{sure}; guessing would get 50."
    )


def against_truth(predicted: Auc, measured: Figure | Estimate) -> str:
    """Was the predicted AUC right?"""
    found, limits = f"measured {number(measured.value)} {interval(measured.interval)}".strip(), predicted.interval
    if predicted.auc is None or measured.value is None:
        return f"No AUC was predicted; {found}."
    start = f"Predicted {number(predicted.auc)} {interval(limits)}".rstrip() + f", {found}: "
    if limits is None:
        return start + "there is no interval to hold it against."
    if limits[0] <= measured.value <= limits[1]:
        return start + "inside the interval."
    side = "below" if measured.value < limits[0] else "above"
    return start + f"{side} the interval, so the attack misjudged itself on this generator."


def right_decisions(counts: dict[str, Counts]) -> str:
    """Of the decisions taken, how many were right."""
    used, unused, open_ = counts["used"], counts["not used"], counts["undetermined"]
    return (
        f"{used.members} of the {used.total} slices called “used” had been used, "
        f"{unused.non_members} of the {unused.total} called “not used” had not, "
        f"and {open_.total} were left undetermined."
    )


def patients(evaluation: Evaluation) -> str:
    """How exposed single patients are on the shadows."""
    found = evaluation.patients
    if not found.success or found.median is None:
        return not_measurable(found.why)
    return (
        f"{found.above_all} of {found.judged} patients stand above every unused slice with all their used "
        f"slices, in every shadow. {_most_exposed(found)} The middle patient of the shadows is found in "
        f"{of_100(found.median)} of 100 comparisons: single patients can be exposed while the average looks "
        "harmless."
    )


def _most_exposed(found: Patients) -> str:
    """The most exposed tenth of patients, beside what chance alone would show."""
    tenth = f"The most exposed tenth of patients ({found.worst_decile_patients})"
    if found.worst_decile is None:
        return f"{tenth} cannot be judged: no patient is in shadows of both halves."
    said = (
        f"{tenth}, chosen on one half of the shadows, is found in {of_100(found.worst_decile)} of 100 comparisons "
        "on the other half"
    )
    mean, limits = found.worst_decile_redrawn, found.worst_decile_redrawn_range
    if mean is None or limits is None:
        return f"{said}; what chance alone would show was not measured."
    return f"{said}; with memberships that no shadow was trained on it is {of_100(mean)} ({range_of_100(limits)})."


def recalibrated(evaluation: Evaluation) -> str:
    """What the dev labels set; empty where nothing."""
    found = evaluation.dev.recalibration
    if found is None:
        return ""
    if evaluation.verdict.leak:
        start = f"The probabilities were set on the labels of these {found.slices} slices"
    else:
        start = f"Were leakage found, the labels of these {found.slices} slices would set the probabilities"
    return (
        f"{start}, so they are no longer an independent check of them: the figures on the right are cross-validated "
        f"over patients, those on the left use no dev label.{_moved(evaluation.dev)}"
    )


def _moved(dev: Dev) -> str:
    if dev.by_shadows is None:
        return ""
    return (
        f" They moved the weights of the signals too: the AUC of these slices is {number(dev.auc)} by weights that "
        f"were fitted without the slice's patient, and {number(dev.by_shadows.auc)} by the weights of the shadows."
    )


def provenance(evaluation: Evaluation) -> str:
    """Whether dev labels count as labels of the target, and why."""
    found = evaluation.same_generator
    start = "Dev labels count as labels of this generator" if found.counts else "Dev labels do not count"
    return f"{start}: {found.why.rstrip('.')}."


def decided(evaluation: Evaluation) -> str:
    """The rule of the decisions, and what submission.csv says."""
    if not evaluation.verdict.leak:
        rule = (
            "Since no leakage of these candidates could be shown, every candidate is left undetermined and every "
            "probability next to the prior. "
        )
    else:
        by = "slices known not to be used" if evaluation.thresholds.fpr_interval else "the probabilities"
        rule = (
            f"“Used” is decided where, by {by}, about {percent(evaluation.fpr)} of unused slices would be flagged; "
            "what is neither clearly used nor clearly unused is undetermined. "
        )
    return rule + _submission(evaluation.submission)


def _submission(said: results.Submission) -> str:
    name = {"f1": "F1", "kappa": "Cohen's kappa"}.get(said.objective, said.objective)
    if said.all_ones:
        return (
            f"The submission says “used” to everything: no labelling has a higher expected {name}, "
            "so it singles nobody out."
        )
    return (
        f"The submission, which must label everything, says “used” to {said.ones} of {said.candidates}: "
        f"the labelling with the highest expected {name} ({number(said.expected)})."
    )

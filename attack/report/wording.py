"""The plain sentences of a report. All wording that carries the verdict is here, and tested."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from attack.report.formats import interval, listed, not_measurable, number, of_100, percent, range_of_100


def shadows(evaluation: dict[str, Any]) -> str:
    """`16`, or `14 of 16` where some are missing."""
    used, asked = evaluation.get("shadows_used"), evaluation.get("shadows_asked")
    return f"{used}" if used == asked else f"{used} of {asked}"


def flips(evaluation: dict[str, Any]) -> str:
    """What training flipped, as seen in the target's pile; empty where it flipped nothing."""
    found = evaluation.get("flips") or {}
    names, share = found.get("names") or [], found.get("share")
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


def missing(evaluation: dict[str, Any]) -> str:
    """`14 of 16 shadows were there (missing: 3, 7)`; empty where all were."""
    if evaluation.get("shadows_used") == evaluation.get("shadows_asked"):
        return ""
    return f"{shadows(evaluation)} shadows were there (missing: {listed(evaluation.get('shadows_missing') or [])})"


@dataclass(frozen=True)
class VerdictText:
    """`leak`: whether leakage was shown; `badge`: two or three words; `sentence`: for a data steward."""

    leak: bool
    badge: str
    sentence: str


def verdict(evaluation: dict[str, Any], candidates: int) -> VerdictText:
    """The result in one sentence, with its uncertainty. ValueError on a level that has no sentence."""
    said = evaluation.get("verdict") or {}
    level = said.get("level")
    if level == "leak":
        return VerdictText(True, "Leakage found", _leak(headline(evaluation)))
    if level == "labelled only":
        dev = evaluation["dev"]
        return VerdictText(
            False,
            "Only labelled slices leak",
            "The generator gives its labelled training slices away (AUC of the dev slices "
            f"{number(dev['auc'])} {interval(dev['interval'])}), but nothing shows that any of these {candidates} "
            f"candidates was used: {said['why']}.",
        )
    if level != "cannot tell":
        raise ValueError(f"no sentence for the verdict {level!r}")
    start = f"With {candidates} candidates and {shadows(evaluation)} shadow generators no leakage could be shown: "
    least, why = said.get("smallest_auc"), said.get("why") or "nothing was measured"
    if least is None:
        end = " With so few slices even a complete leak could go unnoticed."
    else:
        end = (
            f" A leak below an AUC of about {number(least)} ({round(100 * least)} right picks in 100, where guessing "
            "gets 50) would often go unnoticed."
        )
    return VerdictText(False, "Cannot tell", f"{start}{why}.{end}")


def headline(evaluation: dict[str, Any]) -> dict[str, Any]:
    """The AUC to expect of the target, with its interval, as {"auc", "prediction_interval", "from", "why"}.

    It comes from the target's own labelled dev slices where these count, else from how far the candidates stand above
    slices known not to be used.
    """
    expected = evaluation.get("expected") or {}
    return {
        "auc": expected.get("auc"),
        "prediction_interval": expected.get("interval"),
        "from": expected.get("from"),
        "why": expected.get("why"),
    }


def _leak(found: dict[str, Any]) -> str:
    start = "The generator leaks its training slices"
    area = found.get("auc")
    if area is None:
        return f"{start}, but how strongly is {not_measurable(found.get('why'))}."
    limits = found.get("prediction_interval")
    sure = (
        f" (95 % interval {range_of_100(limits)})" if limits and interval(limits) else " (with an unknown uncertainty)"
    )
    return (
        f"{start}: shown one slice that was used and one that was not, this attack picks the used one in "
        f"{of_100(area)} of 100 cases{sure}; guessing would get 50."
    )


def against_truth(
    predicted: float | None, limits: Sequence[float] | None, measured: float, measured_limits: Sequence[float]
) -> str:
    """Was the predicted AUC right?"""
    found = f"measured {number(measured)} {interval(measured_limits)}".strip()
    if predicted is None:
        return f"No AUC was predicted; {found}."
    start = f"Predicted {number(predicted)} {interval(limits)}".rstrip() + f", {found}: "
    if not limits or not interval(limits):
        return start + "there is no interval to hold it against."
    if limits[0] <= measured <= limits[1]:
        return start + "inside the interval."
    side = "below" if measured < limits[0] else "above"
    return start + f"{side} the interval, so the attack misjudged itself on this generator."


def right_decisions(counts: dict[str, dict[str, int]]) -> str:
    """Of the decisions taken, how many were right."""
    used, unused, open_ = counts["used"], counts["not used"], counts["undetermined"]
    called, cleared = sum(used.values()), sum(unused.values())
    return (
        f"{used['members']} of the {called} slices called “used” had been used, "
        f"{unused['non_members']} of the {cleared} called “not used” had not, "
        f"and {sum(open_.values())} were left undetermined."
    )


def patients(evaluation: dict[str, Any]) -> str:
    """How exposed single patients are on the shadows."""
    found = evaluation.get("patients") or {}
    if not found.get("success"):
        return not_measurable(found.get("why"))
    return (
        f"{found['above_all']} of {found['judged']} patients stand above every unused slice with all their used "
        f"slices, in every shadow. {_most_exposed(found)} The middle patient of the shadows is found in "
        f"{of_100(found['median'])} of 100 comparisons: single patients can be exposed while the average looks "
        "harmless."
    )


def _most_exposed(found: dict[str, Any]) -> str:
    """The most exposed tenth of patients, beside what chance alone would show."""
    tenth = f"The most exposed tenth of patients ({found['worst_decile_patients']})"
    if found.get("worst_decile") is None:
        return f"{tenth} cannot be judged: no patient is in shadows of both halves."
    said = (
        f"{tenth}, chosen on one half of the shadows, is found in {of_100(found['worst_decile'])} of 100 comparisons "
        "on the other half"
    )
    limits = found.get("worst_decile_redrawn_range")
    if not limits:
        return f"{said}; what chance alone would show was not measured."
    return (
        f"{said}; with memberships that no shadow was trained on it is {of_100(found['worst_decile_redrawn'])} "
        f"({range_of_100(limits)})."
    )


def recalibrated(evaluation: dict[str, Any]) -> str:
    """What the dev labels set; empty where nothing."""
    found = (evaluation.get("dev") or {}).get("recalibration")
    if not found:
        return ""
    if (evaluation.get("verdict") or {}).get("level") == "leak":
        start = f"The probabilities were set on the labels of these {found['slices']} slices"
    else:
        start = f"Were leakage found, the labels of these {found['slices']} slices would set the probabilities"
    return (
        f"{start}, so they are no longer an independent check of them: the figures on the right are cross-validated "
        f"over patients, those on the left use no dev label.{_moved(evaluation['dev'])}"
    )


def _moved(dev: dict[str, Any]) -> str:
    before = dev.get("by_shadows")
    if not before:
        return ""
    return (
        f" They moved the weights of the signals too: the AUC of these slices is {number(dev['auc'])} by weights that "
        f"were fitted without the slice's patient, and {number(before['auc'])} by the weights of the shadows."
    )


def provenance(evaluation: dict[str, Any]) -> str:
    """Whether dev labels count as labels of the target, and why."""
    found = evaluation.get("same_generator") or {}
    if not found:
        return ""
    start = "Dev labels count as labels of this generator" if found["counts"] else "Dev labels do not count"
    return f"{start}: {found['why'].rstrip('.')}."


def decided(evaluation: dict[str, Any]) -> str:
    """The rule of the decisions, and what submission.csv says."""
    rule = ""
    if (evaluation.get("verdict") or {}).get("level") != "leak":
        rule = (
            "Since no leakage of these candidates could be shown, every candidate is left undetermined and every "
            "probability next to the prior. "
        )
    elif evaluation.get("fpr"):
        by = "slices known not to be used" if fpr_limits(evaluation) else "the probabilities"
        rule = (
            f"“Used” is decided where, by {by}, about {percent(evaluation['fpr'])} of unused slices would be flagged; "
            "what is neither clearly used nor clearly unused is undetermined. "
        )
    return (rule + _submission(evaluation)).rstrip()


def _submission(evaluation: dict[str, Any]) -> str:
    said = evaluation.get("submission")
    if not said:
        return ""
    name = {"f1": "F1", "kappa": "Cohen's kappa"}.get(said["objective"], said["objective"])
    if said.get("all_ones"):
        return (
            f"The submission says “used” to everything: no labelling has a higher expected {name}, "
            "so it singles nobody out."
        )
    expected = f" ({number(said['expected'])})" if said.get("expected") is not None else ""
    return (
        f"The submission, which must label everything, says “used” to {said['ones']} of {said['candidates']}: "
        f"the labelling with the highest expected {name}{expected}."
    )


def fpr_limits(evaluation: dict[str, Any]) -> tuple[float, float] | None:
    """Of the false positive rate of `used`, where slices known not to be used set its threshold."""
    return (evaluation.get("thresholds") or {}).get("fpr_interval")

"""Numbers and the report's plain sentences. All wording that carries the verdict is here, and tested."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

NO_FIGURE = "not measurable"
ALARM = 0.05  # of all controls together (Bonferroni)


def number(value: float | None, digits: int = 2) -> str:
    """`0.86`; never `-0.00`; a dash where there is no number."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{round(float(value), digits) + 0.0:.{digits}f}"


def interval(limits: Sequence[float | None] | None) -> str:
    """`[0.70, 0.95]`; empty where there is none."""
    if not limits or any(limit is None or not math.isfinite(limit) for limit in limits):
        return ""
    return f"[{number(limits[0])}, {number(limits[1])}]"


def p_value(value: float | None) -> str:
    return "< 0.01" if value is not None and value < 0.01 else number(value)


def percent(rate: float) -> str:
    """`10 %`, `0.1 %`."""
    return f"{round(100 * rate, 6):g} %"


def not_measurable(why: str | None) -> str:
    return f"{NO_FIGURE}: {why}" if why else NO_FIGURE


def of_100(value: float) -> str:
    """`about 86`; the ends stay apart from certainty."""
    if value >= 0.995:
        return "more than 99"
    return "fewer than 1" if value < 0.005 else f"about {round(100 * value)}"


def range_of_100(limits: Sequence[float]) -> str:
    """`70 to 95`, rounded outwards."""
    return f"{math.floor(round(100 * limits[0], 6))} to {math.ceil(round(100 * limits[1], 6))}"


def listed(numbers: Sequence[int], most: int = 4) -> str:
    """`3, 7`; of a long row the first and how many more."""
    left = len(numbers) - most
    return ", ".join(map(str, numbers[:most])) + (f" and {left} more" if left > 0 else "")


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


def alarms(evaluation: dict[str, Any]) -> list[str]:
    """To be read before the result is believed: missing shadows, a target unlike the shadows, a control that shows."""
    found = []
    if missing(evaluation):
        found.append(
            f"Only {missing(evaluation)}. The run was told to go on without the others: every figure rests on fewer "
            "generators than were asked for."
        )
    null = evaluation.get("null") or {}
    if null.get("presumed"):
        few = f", and only {null['known']} others are known not to be used" if null["known"] else ""
        found.append(
            f"Nothing is known about the {null['unknown']} reference slices{few}: it is presumed that most of them "
            "were not used to train the generator under test. If many were, or if they are of another kind than the "
            "candidates, the scores are shifted and the probabilities wrong."
        )
    regime = evaluation.get("regime") or {}
    if regime.get("inside") is False:
        found.append(regime.get("message") or "The target behaves unlike the shadows.")
    asked = evaluation.get("candidates") or {}
    if asked.get("blind_p") is not None and asked.get("auc") is None:
        found.append(f"No fair comparison: {asked['why']}.")
    if asked.get("aside"):
        found.append(
            f"{asked['aside']} of {asked['aside'] + asked['candidates']} candidates are left out of the comparison: "
            "another slice of their patient is known to be used, and of too few slices known not to be used is that "
            "so. Relatives of a used slice stand above others whether or not they were used. The verdict and the "
            "stated AUC rest on the other candidates."
        )
    dev, two_way = evaluation.get("dev") or {}, evaluation.get("two_way") or {}
    wide = two_way.get("prediction_interval")
    for what, node in (("the labelled development slices", dev), ("these candidates", asked)):
        if node.get("interval") and wide and interval(wide) and node["interval"][1] < wide[0]:
            found.append(
                f"The attack is weaker on {what} (AUC {number(node['auc'])} {interval(node['interval'])}) than on the "
                f"shadows (prediction interval {interval(wide)}): the target leaks less than they do. No figure of the "
                "shadows holds for it."
            )
    controls = evaluation.get("controls") or []
    for row in controls:
        if row.get("p") is not None and row["p"] < ALARM / len(controls):
            figure = f"AUC {number(row.get('auc'))} {interval(row.get('interval'))}".rstrip()
            found.append(
                f"The control “{row['name']}” should show nothing, but does ({figure}, p {p_value(row['p'])}): part of "
                "the result may come from how the slices were chosen, not from what the generator leaks."
            )
    return found


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
        by = "slices known not to be used" if _fpr_limits(evaluation) else "the probabilities"
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


def cautions(evaluation: dict[str, Any], prior: float) -> list[tuple[str, str]]:
    """(heading, text) of what the result cannot tell."""
    two_way = evaluation.get("two_way") or {}
    mean, wide = interval(two_way.get("interval")), interval(two_way.get("prediction_interval"))
    gone = f" Only {missing(evaluation)}." if missing(evaluation) else ""
    regime = (evaluation.get("regime") or {}).get("message") or "Where the target lies was not measured."
    size, seen = evaluation.get("pile_size") or 0, evaluation.get("target_pile") or 0
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
            f"Every probability here assumes that {percent(prior)} of the candidates had been used. "
            "If far fewer were, most slices flagged “used” are false alarms: see the table of priors.",
        ),
        (
            "Shadows are stand-ins",
            "The attack was fitted and measured on shadow generators, trained for that, not on the target. "
            f"It holds for the target as far as the target resembles them. {regime}{more}{gone}",
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


def _foreseen(evaluation: dict[str, Any]) -> str:
    found = evaluation.get("candidates") or {}
    if found.get("auc") is None:
        return ""
    return (
        "How far these candidates stand above slices known not to be used speaks for an AUC of "
        f"{number(found['auc'])} {interval(found['interval'])} on them. "
    )


def _fpr_limits(evaluation: dict[str, Any]) -> tuple[float, float] | None:
    """Of the false positive rate of `used`, where slices known not to be used set its threshold."""
    return (evaluation.get("thresholds") or {}).get("fpr_interval")


def _false_alarms(evaluation: dict[str, Any]) -> str:
    """The false positive rate that was wanted, and what is known of the one that is to be expected."""
    wanted = evaluation.get("fpr")
    limits = _fpr_limits(evaluation)
    if not wanted:
        return "How many false alarms there are is not known."
    start = f"The decision aims at flagging {percent(wanted)} of the unused slices. "
    if limits is None:
        return (
            f"{start}Too few slices are known not to be used to set its threshold, so the probabilities set it; how "
            "many it flags cannot be checked here."
        )
    low, high = (percent(round(limit, 3)) for limit in limits)
    return (
        f"{start}Its threshold was set on the scores of {evaluation['thresholds']['nulls']} slices known not to be "
        "used, on the target's own images. If these are like the other unused slices and independent, it flags "
        f"{low} to {high} of those (95 % limits); several slices of one patient make that range wider."
    )

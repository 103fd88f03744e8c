"""Which plots the page shows of checkpoints, each with its title and what it says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from attack.compare import drawings, table

_MOST_PLOTS = 4  # pairs with the first that get plots of their own

Plot = tuple[Markup, str, str]  # the drawing, its title, its caption


def trajectory(rows: Sequence[dict[str, Any]], advice: dict[str, Any] | None) -> list[Plot]:
    """Leakage, quality, distances and what one costs of the other, by training step; rows and advice as
    `trajectory.curves` gives them."""
    marks: dict[int, Any] = {}
    note = ""
    if advice:
        marks[advice["quality"]["step"]] = (0, (1, 2))
        note = " Dotted upright: the best images"
        quiet = advice.get("blackbox", {}).get("quiet")
        if quiet is not None and quiet not in marks:
            marks[quiet] = (0, (5, 3))
            note += "; dashed: the last step before a leak from the images shows"
        note += "."
    plots: list[Plot] = []
    if any(row["whitebox"] or row["blackbox"] for row in rows):
        text = "How well members are told from others. Weights: the strongest known attack. 95 % intervals." + note
        plots.append((drawings.leakage(rows, marks), "What leaks", text))
    if any(row["fd"] is not None for row in rows):
        text = "Frechet distance of the images to real slices that no shadow was trained on: lower is better."
        plots.append((drawings.quality(rows, marks), "How good the images are", text))
    if any(row["members"] is not None for row in rows):
        text = "Median distance of real slices to the nearest generated image: where the two lines part, it copies."
        plots.append((drawings.nearness(rows, marks), "How near they come to slices", text))
    if advice and any(name in advice for name in ("blackbox", "whitebox")):
        text = (
            "Every step by its FD and the upper end of the AUC's interval, in the order of training. Filled: no other "
            "step is better in both."
        )
        plots.append((drawings.trade(rows, advice), "Quality against leakage", text))
    return plots


def leaks(shown: Sequence[dict[str, Any]], first: Sequence[dict[str, Any]], letters: dict[str, str]) -> list[Plot]:
    """Loss on seen and unseen slices, and scores of pairs with the first. `shown`: checkpoints with their letters;
    `first`: their pairs with the first."""
    plots: list[Plot] = []
    known = [(one["letter"], one["loss"]) for one in shown if "gap" in one["loss"]]
    if known:
        text = "How much harder slices are that it has not seen, by the power of the noise. Above zero: it memorises."
        plots.append((drawings.losses(known), "Loss on unseen and on seen slices", text))
    base = shown[0]["blackbox"].get("score")
    for pair in first[: _MOST_PLOTS if base else 0]:
        other = next(one for one in shown if one["label"] == pair["b"])["blackbox"].get("score")
        if base is None or other is None:
            continue
        names = [name for name in base if name in other]
        if len(names) < 2:
            continue
        x, y = (np.array([scores[name] for name in names]) for scores in (base, other))
        mine, theirs = letters[pair["a"]], letters[pair["b"]]
        rank = pair["blackbox"].get("spearman")
        text = "" if rank is None else f"Rank correlation {table.digits(rank, 2)}."
        plots.append(
            (
                drawings.scatter((mine, x), (theirs, y), None, f"scatter {mine} {theirs}"),
                f"Scores: {mine} and {theirs}",
                text,
            )
        )
    return plots


def piles(shown: Sequence[dict[str, Any]]) -> list[Plot]:
    """The spectra of the piles."""
    known = [(one["letter"], one["pile"]["spectrum"]) for one in shown if "spectrum" in one["pile"]]
    if not known:
        return []
    real = next((one["pile"]["real"] for one in shown if one["pile"].get("real")), None)
    text = (
        "Mean power by spatial frequency. Below zero at the right: too smooth." if real else "Mean power by frequency."
    )
    return [(drawings.spectra(known, real and real["spectrum"]), "Spectrum of the images", text)]


def networks(shown: Sequence[dict[str, Any]], first: Sequence[dict[str, Any]], letters: dict[str, str]) -> list[Plot]:
    """Parameters, spectra and features, layer by layer. Arguments as of `leaks`."""
    plots: list[Plot] = []
    a = shown[0]["letter"]
    same = [(letters[pair["b"]], pair) for pair in first if "layers" in pair["parameters"]]
    if same:
        far = [(name, [one["relative"] for one in pair["parameters"]["layers"].values()]) for name, pair in same]
        text = f"Distance of each layer to that of {a}, relative to their size: 0 the same, 1.41 unrelated."
        plots.append((drawings.layers(far, "relative distance", "distance", None), "Parameters, layer by layer", text))
        turned = [(name, [one["cosine"] for one in pair["parameters"]["layers"].values()]) for name, pair in same]
        text = f"Cosine of each layer with that of {a}: 1 the same direction, 0 unrelated."
        plots.append((drawings.layers(turned, "cosine", "cosine", 1.03), "Their direction", text))
    ranks = [
        (one["letter"], [layer["effective_rank"] for layer in one["parameters"]["spectra"].values()]) for one in shown
    ]
    text = "Effective rank of each matrix: how many directions it uses."
    plots.append((drawings.layers(ranks, "effective rank", "rank", None), "Spectra", text))
    alike = [
        (letters[pair["b"]], pair["features"]["by_block"])
        for pair in first
        if pair["features"].get("matched") == "by name"
    ]
    if alike:
        text = f"Alignment (CKA) of each block's features with those of {a}, on the same slices. 1: alike."
        plots.append((drawings.layers(alike, f"CKA with {a}", "blocks", 1.03), "Features, block by block", text))
    others = [pair for pair in first if "cka" in pair["features"] and pair["features"]["matched"] != "by name"]
    for pair in others[:_MOST_PLOTS]:
        b = letters[pair["b"]]
        text = "Alignment (CKA) of every block with every block: the darker, the more alike."
        plots.append((drawings.heat(pair["features"]["cka"], a, b, f"heat {a} {b}"), f"Features of {a} and {b}", text))
    return plots

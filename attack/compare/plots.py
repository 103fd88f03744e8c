"""Which plots the page shows of checkpoints, each with its title and what it says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from markupsafe import Markup

from attack.compare import drawings, table
from attack.results.checkpoints import known
from attack.results.compared import BY_NAME, Comparison, PairFigures, Trajectory

_MOST_PLOTS = 4  # pairs with the first that get plots of their own

Plot = tuple[Markup, str, str]  # the drawing, its title, its caption


def trajectory(found: Trajectory) -> list[Plot]:
    """Leakage, quality, distances and what one costs of the other, by training step."""
    rows, advice, note = found.rows, found.advice, ""
    marks: dict[int, Any] = {}
    if advice:
        marks[advice.quality.step] = (0, (1, 2))
        note = " Dotted upright: the best images"
        quiet = advice.blackbox.quiet if advice.blackbox else None
        if quiet is not None and quiet not in marks:
            marks[quiet] = (0, (5, 3))
            note += "; dashed: the last step before a leak from the images shows"
        note += "."
    plots: list[Plot] = []
    if any(row.whitebox or row.blackbox for row in rows):
        text = "How well members are told from others. Weights: the strongest known attack. 95 % intervals." + note
        plots.append((drawings.leakage(rows, marks), "What leaks", text))
    if any(row.fd is not None for row in rows):
        text = "Frechet distance of the images to real slices that no shadow was trained on: lower is better."
        plots.append((drawings.quality(rows, marks), "How good the images are", text))
    if any(row.members is not None for row in rows):
        text = "Median distance of real slices to the nearest generated image: where the two lines part, it copies."
        plots.append((drawings.nearness(rows, marks), "How near they come to slices", text))
    if advice and advice.sides:
        text = (
            "Every step by its FD and the upper end of the AUC's interval, in the order of training. Filled: no other "
            "step is better in both."
        )
        plots.append((drawings.trade(rows, advice), "Quality against leakage", text))
    return plots


def scored(
    result: Comparison, most: int | None = None
) -> Iterator[tuple[PairFigures, dict[str, float], dict[str, float]]]:
    """Pairs with the first, at most so many, and the scores of both by slice, where they are known."""
    black = {one.label: known(one.blackbox) for one in result.checkpoints}
    for pair in result.beside_first[:most]:
        base, other = black[pair.a], black[pair.b]
        if base and other:
            yield pair, base.score, other.score


def leaks(result: Comparison, letters: dict[str, str]) -> list[Plot]:
    """Loss on seen and unseen slices, and scores of pairs with the first; letters: by label."""
    plots: list[Plot] = []
    losses = [(letters[one.label], loss) for one in result.checkpoints if (loss := known(one.loss))]
    if losses:
        text = "How much harder slices are that it has not seen, by the power of the noise. Above zero: it memorises."
        plots.append((drawings.losses(losses), "Loss on unseen and on seen slices", text))
    for pair, base, other in scored(result, _MOST_PLOTS):
        names = [name for name in base if name in other]
        if len(names) < 2:
            continue
        x, y = (np.array([scores[name] for name in names]) for scores in (base, other))
        mine, theirs = letters[pair.a], letters[pair.b]
        black = known(pair.blackbox)
        rank = black.spearman if black else None
        text = "" if rank is None else f"Rank correlation {table.digits(rank, 2)}."
        drawn = drawings.scatter((mine, x), (theirs, y), f"scatter {mine} {theirs}")
        plots.append((drawn, f"Scores: {mine} and {theirs}", text))
    return plots


def piles(result: Comparison, letters: dict[str, str]) -> list[Plot]:
    """The spectra of the piles."""
    found = [(letters[one.label], pile) for one in result.checkpoints if (pile := known(one.pile))]
    if not found:
        return []
    real = next((pile.real for _, pile in found if pile.real), None)
    text = (
        "Mean power by spatial frequency. Below zero at the right: too smooth." if real else "Mean power by frequency."
    )
    drawn = drawings.spectra([(name, pile.spectrum) for name, pile in found], real.spectrum if real else None)
    return [(drawn, "Spectrum of the images", text)]


def networks(result: Comparison, letters: dict[str, str]) -> list[Plot]:
    """Parameters, spectra and features, layer by layer."""
    plots: list[Plot] = []
    first = result.beside_first
    a = letters[result.checkpoints[0].label]
    same = [(letters[pair.b], found.layers.values()) for pair in first if (found := known(pair.parameters))]
    if same:
        far = [(name, [one.relative for one in layers]) for name, layers in same]
        text = f"Distance of each layer to that of {a}, relative to their size: 0 the same, 1.41 unrelated."
        plots.append((drawings.layers(far, "relative distance", "distance", None), "Parameters, layer by layer", text))
        turned = [(name, [one.cosine for one in layers]) for name, layers in same]
        text = f"Cosine of each layer with that of {a}: 1 the same direction, 0 unrelated."
        plots.append((drawings.layers(turned, "cosine", "cosine", 1.03), "Their direction", text))
    ranks = [
        (letters[one.label], [layer.effective_rank for layer in one.parameters.spectra.values()])
        for one in result.checkpoints
    ]
    text = "Effective rank of each matrix: how many directions it uses."
    plots.append((drawings.layers(ranks, "effective rank", "rank", None), "Spectra", text))
    features = [(letters[pair.b], cka) for pair in first if (cka := known(pair.features))]
    alike = [(b, cka.by_block) for b, cka in features if cka.matched == BY_NAME]
    if alike:
        text = f"Alignment (CKA) of each block's features with those of {a}, on the same slices. 1: alike."
        plots.append((drawings.layers(alike, f"CKA with {a}", "blocks", 1.03), "Features, block by block", text))
    for b, other in [each for each in features if each[1].matched != BY_NAME][:_MOST_PLOTS]:
        text = "Alignment (CKA) of every block with every block: the darker, the more alike."
        plots.append((drawings.heat(other.cka, a, b, f"heat {a} {b}"), f"Features of {a} and {b}", text))
    return plots

"""The comparison as text for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import is_dataclass

from attack.results.checkpoints import (
    AttackFigures,
    BlackboxFigures,
    CheckpointFigures,
    NotComparable,
    Strongest,
    known,
)
from attack.results.compared import Comparison, PairFigures, Side, Trajectory
from attack.results.figures import Interval

_MOST_NAME = 44  # characters of a checkpoint's name; of a longer one its end


def short(label: str) -> str:
    """A name of at most 44 characters: of a longer one its end."""
    return label if len(label) <= _MOST_NAME else "…" + label[1 - _MOST_NAME :]


def digits(value: float | None, places: int = 3) -> str:
    """A number, or a dash where there is none."""
    if value is None:
        return "–"
    if value and abs(value) < 0.5 * 10**-places:
        return f"{value:.0e}"
    return f"{value:.{places}f}"


def area(figures: AttackFigures | BlackboxFigures | Side | Strongest | None) -> str:
    """`.912 [.80, .97]`"""
    if figures is None or figures.auc is None:
        return "–"
    return f"{digits(figures.auc)} [{digits(figures.low, 2)}, {digits(figures.high, 2)}]"


def with_interval(value: float | None, limits: Interval | None, places: int) -> str:
    """`.91 [.80, .97]`"""
    if value is None or limits is None:
        return "–"
    return f"{digits(value, places)} [{', '.join(digits(limit, places) for limit in limits)}]"


def probability(p: float | None) -> str:
    """A p value, or a dash where there is none."""
    return "–" if p is None else "< .001" if p < 0.001 else f"{p:.3f}"


def checkpoint_row(figures: CheckpointFigures) -> list[str]:
    """What the table says of one checkpoint."""
    loss, strong, pile = known(figures.loss), known(figures.strongest), known(figures.pile)
    real, slices = (pile.real, known(pile.slices)) if pile else (None, None)
    return [
        short(figures.label),
        f"{figures.parameters.count:,}",
        f"{100 * loss.mean_gap:+.0f} %" if loss else "–",
        f"{area(strong)} {strong.attack}" if strong else "–",
        area(known(figures.blackbox)) + (" *" if figures.uncalibrated else ""),
        digits(real.fd if real else None, 2),
        digits(real.kid.value if real else None),
        digits(slices.members if slices else None, 2),
        digits(slices.others if slices else None, 2),
        digits(pile.near_duplicates if pile else None, 2),
    ]


CHECKPOINTS = (
    *("checkpoint", "parameters", "loss gap", "AUC with the weights", "from the images"),
    *("FD", "KID", "to members", "to others", "doubles"),
)
PAIRS = (
    *("against the first", "options", "distance", "cosine", "CKA", "FD", "KID", "p", "same noise"),
    *("loss p", "AUC, images", "p"),
)


def pair_row(pair: PairFigures) -> list[str]:
    """What the table says of a checkpoint beside the first."""
    weights, features, pile = known(pair.parameters), known(pair.features), known(pair.pile)
    # the attack on the loss: which attack is strongest differs between checkpoints
    loss, images = (known(pair.whitebox) or {}).get("loss"), pair.leak
    return [
        short(pair.b),
        str(len(pair.config)),
        digits(weights.relative if weights else None),
        digits(weights.cosine if weights else None),
        digits(features.mean if features else None),
        digits(pile.fd if pile else None, 2),
        digits(pile.kid.value if pile else None),
        probability(pile.kid.p if pile else None),
        digits(pile.corresponding if pile else None, 2),
        probability(loss.p if loss else None),
        # how much more b leaks than the first
        f"{0.0 - images.difference:+.3f}" if images else "–",
        probability(images.p if images else None),
    ]


def grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns in line: the first to the left, the others to the right."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]

    def line(row: Sequence[str]) -> str:
        cells = [
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        return "  ".join(cells).rstrip()

    return [line(head), *(line(row) for row in rows)]


def reasons(result: Comparison) -> list[str]:
    """Every "not comparable: why" once, with what it is about and whom it concerns."""
    found: dict[str, list[str]] = {}

    def note(who: str, what: str, part: object) -> None:
        if isinstance(part, NotComparable):
            found.setdefault(f"{what}: not comparable: {part.not_comparable}", []).append(who)
        elif is_dataclass(part) or isinstance(part, dict):
            for name, inner in (part if isinstance(part, dict) else vars(part)).items():
                note(who, f"{what}, {name.replace('_', ' ')}", inner)

    for one in result.checkpoints:
        for name in ("features", "loss", "whitebox", "pile", "blackbox"):
            note(short(one.label), name, getattr(one, name))
    for pair in result.beside_first:
        who = f"{short(pair.b)} against the first"
        note(who, "parameters", pair.parameters)
        if (black := known(pair.blackbox)) is not None:
            note(who, "blackbox", black.auc)
    return [
        f"{'every checkpoint' if len(who) == len(result.checkpoints) else ', '.join(who)}: {what}"
        for what, who in found.items()
    ]


def lines(result: Comparison) -> list[str]:
    """Everything, line by line."""
    text = grid(CHECKPOINTS, [checkpoint_row(one) for one in result.checkpoints])
    text += ["", *grid(PAIRS, [pair_row(pair) for pair in result.beside_first])]
    for one in result.checkpoints:
        if one.uncalibrated:
            text += ["", f"* {short(one.label)}: {one.uncalibrated}"]
    for found in result.trajectories:
        text += ["", *_trajectory(found)]
    why = reasons(result)
    return [*text, "", *why] if why else text


def _trajectory(found: Trajectory) -> list[str]:
    said = []
    for step, title in ((found.onset.blackbox, "its images"), (found.onset.whitebox, "its weights")):
        said.append(f"{title} " + (f"give members away from step {step} on" if step else "cannot be shown to leak"))
    text = [f"{found.of}: {', '.join(said)}."]
    if found.advice is None:
        return [*text, "Where to stop is not known: FD could not be measured at every step."]
    return [*text, *(side.said for side in found.advice.sides)]

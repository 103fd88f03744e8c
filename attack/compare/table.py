"""The comparison as text for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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


def area(figures: dict[str, Any] | None) -> str:
    """`.912 [.80, .97]`"""
    if not figures or figures.get("auc") is None:
        return "–"
    return f"{digits(figures['auc'])} [{digits(figures['low'], 2)}, {digits(figures['high'], 2)}]"


def probability(p: float | None) -> str:
    """A p value, or a dash where there is none."""
    return "–" if p is None else "< .001" if p < 0.001 else f"{p:.3f}"


def checkpoint_row(figures: dict[str, Any]) -> list[str]:
    """What the table says of one checkpoint."""
    strong, pile, black = figures["strongest"], figures["pile"], figures["blackbox"]
    real, slices = pile.get("real") or {}, pile.get("slices") or {}
    gaps = [gap["value"] for gap in figures["loss"].get("gap", [])]
    marked = "" if black.get("auc") is None or black["calibrated"] else " *"
    return [
        short(figures["label"]),
        f"{figures['parameters']['count']:,}",
        "–" if not gaps else f"{100 * sum(gaps) / len(gaps):+.0f} %",
        "–" if "attack" not in strong else f"{area(strong)} {strong['attack']}",
        area(black) + marked,
        digits(real.get("fd"), 2),
        digits((real.get("kid") or {}).get("value")),
        digits(slices.get("members"), 2),
        digits(slices.get("others"), 2),
        digits(pile.get("near_duplicates"), 2),
    ]


CHECKPOINTS = (
    *("checkpoint", "parameters", "loss gap", "AUC with the weights", "from the images"),
    *("FD", "KID", "to members", "to others", "doubles"),
)
PAIRS = (
    *("against the first", "options", "distance", "cosine", "CKA", "FD", "KID", "p", "same noise"),
    *("loss p", "AUC, images", "p"),
)


def pair_row(pair: dict[str, Any]) -> list[str]:
    """What the table says of a checkpoint beside the first."""
    pile, black = pair["pile"], pair["blackbox"].get("auc") or {}
    kid = pile.get("kid") or {}
    # the attack on the loss: which attack is strongest differs between checkpoints
    white = pair["whitebox"].get("loss") or {}
    difference = black.get("difference")
    return [
        short(pair["b"]),
        str(len(pair["config"])),
        digits(pair["parameters"].get("relative")),
        digits(pair["parameters"].get("cosine")),
        digits(pair["features"].get("mean")),
        digits(pile.get("fd"), 2),
        digits(kid.get("value")),
        probability(kid.get("p")),
        digits(pile.get("corresponding"), 2),
        probability(white.get("p")),
        # how much more b leaks than the first
        "–" if difference is None else f"{0.0 - difference:+.3f}",
        probability(black.get("p")),
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


def reasons(result: dict[str, Any]) -> list[str]:
    """Every "not comparable: why" once, with what it is about and whom it concerns."""
    checkpoints, found = result["checkpoints"], dict[str, list[str]]()

    def note(who: str, what: str, node: Any) -> None:
        if isinstance(node, dict) and "not_comparable" in node:
            found.setdefault(f"{what}: not comparable: {node['not_comparable']}", []).append(who)
        elif isinstance(node, dict):
            for name, inner in node.items():
                note(who, f"{what}, {name.replace('_', ' ')}", inner)

    for one in checkpoints:
        for part in ("features", "loss", "whitebox", "pile", "blackbox"):
            note(short(one["label"]), part, one[part])
    for pair in result["pairs"]:
        if pair["a"] == checkpoints[0]["label"]:
            who = f"{short(pair['b'])} against the first"
            note(who, "parameters", pair["parameters"])
            if "auc" in pair["blackbox"]:
                note(who, "blackbox", pair["blackbox"]["auc"])
    return [
        f"{'every checkpoint' if len(who) == len(checkpoints) else ', '.join(who)}: {what}"
        for what, who in found.items()
    ]


def lines(result: dict[str, Any]) -> list[str]:
    """Everything, line by line."""
    first = result["checkpoints"][0]["label"]
    text = grid(CHECKPOINTS, [checkpoint_row(one) for one in result["checkpoints"]])
    text += ["", *grid(PAIRS, [pair_row(pair) for pair in result["pairs"] if pair["a"] == first])]
    for one in result["checkpoints"]:
        if one["blackbox"].get("auc") is not None and not one["blackbox"]["calibrated"]:
            text += ["", f"* {short(one['label'])}: {one['blackbox']['how']}"]
    for found in result["trajectories"]:
        text += ["", *_trajectory(found)]
    why = reasons(result)
    return [*text, "", *why] if why else text


def _trajectory(found: dict[str, Any]) -> list[str]:
    said = []
    for name, title in (("blackbox", "its images"), ("whitebox", "its weights")):
        step = found["onset"][name]
        said.append(f"{title} " + (f"give members away from step {step} on" if step else "cannot be shown to leak"))
    text = [f"{found['of']}: {', '.join(said)}."]
    advice = found["advice"]
    if advice is None:
        return [*text, "Where to stop is not known: FD could not be measured at every step."]
    return [*text, *(advice[name]["said"] for name in ("blackbox", "whitebox") if name in advice)]

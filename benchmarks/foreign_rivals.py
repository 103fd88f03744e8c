"""Ours beside the published baselines on leaking cases of the bench of strangers: the same candidates, paired.

The baselines are run as users run them, by configs/baselines.py. "Chosen" is the one with the highest AUC on labelled
dev slices, among those whose scores depend on no other candidate: what one can pick without the truth, whether or not
those labels count for the test pile. "Told" is the best of all, told by the truth: no one can pick it.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import launching
import numpy as np

from attack.baselines import BASELINES
from attack.baselines.alone import choice
from attack.metrics import intervals, ranking, roc_curve
from shadow import keys

FOLDER = "baselines"  # of a case, beside its modes
FEW = 200  # non-members, below which nothing is said of a false positive rate of 1 %
_DRAWS = 2000


@dataclass(frozen=True)
class Beside:
    """One leaking case in one mode. truth: 1 = used; group: numbers of patients; ours and baselines: scores
    [candidate], higher = more likely used; chosen: the name of a baseline; f1: of our submission and of its."""

    world: str
    case: str
    mode: str
    truth: np.ndarray
    group: np.ndarray
    ours: np.ndarray
    baselines: dict[str, np.ndarray]
    chosen: str
    f1: tuple[float, float]

    @property
    def told(self) -> str:
        """The best of all baselines, told by the truth."""
        return max(self.baselines, key=lambda name: ranking.auc(self.baselines[name], self.truth))


def run(folder: Path, data: Path) -> None:
    """Runs every baseline on a case by the command line, unless that was done."""
    if (folder / FOLDER / "report.html").exists():
        return
    launching.launch(
        *("run", "--config=configs/baselines.py", f"--workdir={folder / FOLDER}", f"--config.data.root={data}")
    )


def read(world: str, case: str, mode: str, folder: Path, prior: float) -> Beside:
    """A finished case of ours, in FOLDER/MODE, and its baselines, beside the sealed truth."""
    rows = {row["id"]: row for row in csv.DictReader((folder / "data" / "sealed" / "truth.csv").open(encoding="utf-8"))}
    predictions = list(csv.DictReader((folder / mode / "predictions.csv").open(encoding="utf-8")))
    said = dict(csv.reader((folder / mode / "submission.csv").open(encoding="utf-8")))
    scores = {row["id"]: row for row in csv.DictReader((folder / FOLDER / "scores.csv").open(encoding="utf-8"))}
    figures: dict[str, Any] = json.loads((folder / FOLDER / "attack" / "baselines.json").read_text())
    ids = [row["id"] for row in predictions]
    truth = np.array([int(rows[name]["label"]) for name in ids])
    found = {name: np.array([float(scores[i][name]) for i in ids]) for name in BASELINES}
    dev = {name: row["auc"] for name, row in figures["dev"]["auc"].items() if not BASELINES[name].set_dependent}
    chosen = max(dev, key=lambda name: dev[name])
    labels = np.array([int(said[name]) for name in ids]), choice.labels(chosen, found[chosen], prior)
    return Beside(
        world,
        case,
        mode,
        truth,
        np.unique([rows[name]["group"] for name in ids], return_inverse=True)[1],
        np.array([float(row["score"]) for row in predictions]),
        found,
        chosen,
        (f1(labels[0], truth), f1(labels[1], truth)),
    )


def f1(labels: np.ndarray, truth: np.ndarray) -> float:
    """F1 of labels 0/1 [candidate], against the truth 0/1 [candidate]."""
    return 2 * float((labels & truth).sum()) / max(int(labels.sum() + truth.sum()), 1)


def worse_than(case: Beside) -> list[str]:
    """The baselines than which ours is significantly worse (paired DeLong, .05, two-sided), each on its own."""
    found = {name: ranking.delong_paired(case.ours, score, case.truth) for name, score in case.baselines.items()}
    return [name for name, paired in found.items() if paired.difference < 0 and paired.p < 0.05]


def cut(cases: Sequence[Beside], seed: int = 0) -> tuple[float, float, float]:
    """By what share 1 - AUC of the chosen baselines is cut, summed over cases, with its 95 % interval.

    The interval is a bootstrap over worlds and, within each case, over patients.
    """
    rng = keys.generator(seed, "foreign/cut")
    worlds = sorted({case.world for case in cases})
    drawn = [_areas(case, rng) for case in cases]
    times = rng.multinomial(len(worlds), np.full(len(worlds), 1 / len(worlds)), _DRAWS)
    weight = np.stack([times[:, worlds.index(case.world)] for case in cases])  # [case, draw]
    lost = 1 - np.stack(drawn)  # [case, ours or its, draw]
    sums = (weight[:, None] * lost).sum(0)
    low, high = intervals.percentile_interval(1 - sums[0] / np.maximum(sums[1], 1e-12))
    ours, its = (
        sum(1 - ranking.auc(score, case.truth) for case, score in pairs)
        for pairs in ([(c, c.ours) for c in cases], [(c, c.baselines[c.chosen]) for c in cases])
    )
    return 1 - ours / its, low, high


def _areas(case: Beside, rng: np.random.Generator) -> np.ndarray:
    """AUC of ours and of the chosen baseline with patients drawn again, float64 [2, draw]."""
    weights = np.concatenate(list(intervals.bootstrap_weights(case.truth, case.group, _DRAWS, rng)))
    ones, zeros = weights[:, case.truth == 1].astype(float), weights[:, case.truth == 0].astype(float)
    areas = []
    for score in (case.ours, case.baselines[case.chosen]):
        above, below = score[case.truth == 1][:, None], score[case.truth == 0][None]
        wins = (above > below) + (above == below) / 2
        areas.append(((ones @ wins) * zeros).sum(1) / (ones.sum(1) * zeros.sum(1)))
    return np.stack(areas)


def table(cases: Sequence[Beside]) -> None:
    """A line for each case, and the sums of each mode, of all and of each kind."""
    print("\n| world | case | mode | ours | chosen baseline | difference | told best | worse than | F1: ours / its |")
    print("|" + "---|" * 9)
    for case in cases:
        score, worse = case.baselines[case.chosen], ", ".join(worse_than(case)) or "none"
        paired = ranking.auc_difference_grouped(case.ours, score, case.truth, case.group)
        told = f"{ranking.auc(case.baselines[case.told], case.truth):.3f} {case.told}"
        low, high = paired.interval
        print(
            f"| {case.world} | {case.case} | {case.mode} | {ranking.auc(case.ours, case.truth):.3f} | "
            f"{ranking.auc(score, case.truth):.3f} {case.chosen} | "
            f"{paired.difference:+.3f} [{low:+.3f}, {high:+.3f}] | {told} | {worse} | "
            f"{case.f1[0]:.3f} / {case.f1[1]:.3f} |"
        )
    for mode in dict.fromkeys(case.mode for case in cases):
        mine = [case for case in cases if case.mode == mode]
        kinds = sorted({_kind(case) for case in mine})
        for name, some in [("all", mine), *((kind, [c for c in mine if _kind(c) == kind]) for kind in kinds)]:
            share, low, high = cut(some)
            print(
                f"{mode}, {name}: 1 - AUC of the chosen baseline cut by {share:.3f} [{low:.3f}, {high:.3f}], ", end=""
            )
            print(f"F1 {np.mean([c.f1[0] for c in some]):.3f}, its {np.mean([c.f1[1] for c in some]):.3f}")
        bad = sum(bool(worse_than(case)) for case in mine)
        print(
            f"{mode}: significantly worse than a single one of {len(BASELINES)} baselines in {bad} of {len(mine)} cases"
        )
        for case in mine:
            if (case.truth == 0).sum() >= FEW:
                rates = [
                    roc_curve.tpr_at_fpr(s, case.truth, 0.01).tpr for s in (case.ours, case.baselines[case.chosen])
                ]
                print(f"{mode}, {case.world} {case.case}: TPR at 1 % FPR {rates[0]:.3f}, its {rates[1]:.3f}")


def _kind(case: Beside) -> str:
    return case.world.split("-", 1)[1]

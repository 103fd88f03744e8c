"""The attack on strangers: generators that other people's code trained, leaking ones and nulls, with a sealed truth.

python benchmarks/foreign.py --root=DIR --role=tuning [--pool=DIR --patients=CSV] [--worlds=a,b] [--config=RECIPE]

Worlds, cases and seeds are those of foreign_worlds.py and foreign_cases.py, whose targets are made where they are
missing. The cases of a world share its fleet. Every case is a whole `launch.py run`, once as users run it
(`attack.same_generator=auto`, "labels") and once with `attack.same_generator=false` ("blind"). Nothing may be chosen on
the judging worlds, which are run once. A killed bench goes on where it was.

Printed: a line for each run; for nulls how often leakage was called, by kind, with replicates on halves of the
candidates; how often the stated AUC's interval held the truth; what the submission's F1 was told to be and was;
calibration error; flags; what `auto` said of the piles, beside the truth; and, for leaking cases, ours beside every
published baseline.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from absl import app, flags, logging

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import foreign_cases  # noqa: E402
import foreign_rivals  # noqa: E402
import foreign_worlds  # noqa: E402
import launching  # noqa: E402

from attack import metrics  # noqa: E402
from attack.decision import unlabelled, verdict  # noqa: E402
from attack.metrics import intervals, ranking  # noqa: E402
from shadow import files, keys  # noqa: E402
from shadow.config import Config  # noqa: E402
from shadow.errors import UserError, exits  # noqa: E402

_ROLE = flags.DEFINE_enum("role", "tuning", ["tuning", "judging", "judged"], "Which worlds; judging ones are run once.")
_CONFIG = flags.DEFINE_string("config", "configs/small.py", "Recipe of the shadows.")
_SET = flags.DEFINE_multi_string("set", [], "Further overrides, e.g. --set=fleet.shadows=8 (repeatable).")
_READ = flags.DEFINE_bool("read", False, "Only read the runs that are there.")

MODES = {"labels": "auto", "blind": "false"}
SECOND_DEV = "foreign-dev"  # the case whose dev set, and so fleet, is another one
_HALVES = 8  # replicates of a null: halves of its candidates
KEPT = ("predictions.csv", "submission.csv", "attack/evaluation.json", "attack/on_target.npz")


@dataclass(frozen=True)
class Run:
    """One case attacked in one mode, beside its truth. auc: of the score, one half where nobody left a trace; flagged:
    share of unused candidates called used, 0 where nothing is called; called: of the replicates, where leakage was
    called."""

    case: foreign_cases.Case
    mode: str
    level: str
    auc: float
    stated: float | None
    low: float
    high: float
    expected_f1: float
    f1: float
    all_ones: float
    flagged: float
    highest_low: float
    probability: np.ndarray
    truth: np.ndarray
    called: np.ndarray
    counts: bool
    why: str

    @property
    def held(self) -> bool:
        return self.low <= (0.5 if self.case.null else self.auc) <= self.high


def attack(folder: Path, data: Path, mode: str, reuse: Path | None) -> None:
    """Runs the command line on a case in one mode and keeps what it said below FOLDER/MODE."""
    kept = folder / mode
    if (kept / "attack" / "evaluation.json").exists():
        return
    options = [f"--config={_CONFIG.value}", f"--workdir={folder / 'run'}", f"--config.data.root={data}"]
    options += [f"--config.{override}" for override in _SET.value]
    options.append(f"--config.attack.same_generator={MODES[mode]}")
    if reuse is not None:  # cases of a world share its fleet, and so its unit
        unit = json.loads((reuse / "plan.json").read_text())["unit"]["unit"]
        options.append(f"--config.membership.unit={unit}")
    if reuse is not None and not (folder / "run" / "shadows").exists():
        launching.launch("plan", *options)
        launching.launch("sample", *options, f"--reuse={reuse}")
    launching.launch("run", *options)
    for name in KEPT:
        (kept / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / "run" / name, kept / name)


def read(case: foreign_cases.Case, mode: str, kept: Path) -> Run:
    """What a kept run said, beside the sealed truth."""
    rows = {row["id"]: row for row in csv.DictReader((case.folder / "sealed" / "truth.csv").open(encoding="utf-8"))}
    said = dict(csv.reader((kept / "submission.csv").open(encoding="utf-8")))
    predictions = list(csv.DictReader((kept / "predictions.csv").open(encoding="utf-8")))
    evaluation: dict[str, Any] = json.loads((kept / "attack" / "evaluation.json").read_text())
    ids = [row["id"] for row in predictions]
    truth = np.array([int(rows[name]["label"]) for name in ids])
    groups = np.array([rows[name]["group"] for name in ids])
    labels = np.array([int(said[name]) for name in ids])
    score, chance, low = (
        np.array([float(row[column]) for row in predictions]) for column in ("score", "probability", "probability_low")
    )
    used = np.array([row["decision"] == "used" for row in predictions])
    limits = evaluation["expected"]["interval"] or (0.0, 1.0)
    return Run(
        case,
        mode,
        evaluation["verdict"]["level"],
        float(ranking.auc(score, truth)),
        evaluation["expected"]["auc"],
        limits[0],
        limits[1],
        evaluation["submission"]["expected"],
        foreign_rivals.f1(labels, truth),
        foreign_rivals.f1(np.ones_like(truth), truth),
        float(used[truth == 0].mean()),
        float(low.max()),
        chance,
        truth,
        replicates(kept, groups, evaluation) if case.null else np.zeros(0, bool),
        bool(evaluation["same_generator"]["counts"]),
        evaluation["same_generator"].get("kind") or "",
    )


def replicates(kept: Path, groups: np.ndarray, evaluation: dict[str, Any]) -> np.ndarray:
    """Whether leakage would be called of halves of a null's candidates, by patient, bool [half]; two halves of a split
    share no patient. What is not of the candidates (dev labels, fairness) is as in the whole."""
    with np.load(kept / "attack" / "on_target.npz", allow_pickle=False) as kept_scores:
        names = ("candidate", "null", "null_group", "related", "null_related")
        score, null, null_group, related, null_related = (kept_scores[name] for name in names)
    compared = evaluation["candidates"]
    if compared["auc"] is None:
        return np.zeros(_HALVES, bool)
    inflation = unlabelled.Inflation(compared["inflation"], len(compared["placebo"]), compared["centre"])
    names, numbers = np.unique(groups, return_inverse=True)
    called = []
    for i in range(_HALVES // 2):
        side = keys.generator(i, "foreign/halves").permutation(len(names)) < len(names) // 2
        for half in (side, ~side):
            mine = half[numbers]
            group, others = unlabelled.numbered(groups[mine].tolist(), null_group.tolist())
            asked = unlabelled.Slices(score[mine], group, related[mine])
            found = unlabelled.contrast(asked, unlabelled.Slices(null, others, null_related)).inflated(inflation)
            said = verdict.decide(found, "", evaluation["verdict"]["p_labelled"])
            called.append(said.level == verdict.LEAK)
    return np.array(called)


def line(run: Run) -> str:
    stated = "-" if run.stated is None else f"{run.stated:.2f}"
    return (
        f"| {run.case.world} | {run.case.name} | {run.mode} | {run.level} | {run.auc:.3f} | {stated} "
        f"[{run.low:.2f}, {run.high:.2f}] | {'yes' if run.held else 'NO'} | {run.expected_f1:.2f} | {run.f1:.2f} | "
        f"{run.all_ones:.2f} | {metrics.ece(run.probability, run.truth):.2f} | {run.flagged:.2f} | "
        f"{run.highest_low:.2f} | {'yes' if run.counts else 'no'} {run.why} | "
        f"{int(run.called.sum())} of {len(run.called)} |"
    )


HEAD = (
    "| world | case | mode | verdict | AUC | stated | held | F1 told | F1 | all-ones | ECE | flagged | highest low | "
    "labels count | halves called |\n|" + "---|" * 15
)


def _share(hits: Sequence[bool] | np.ndarray) -> str:
    mask = np.asarray(hits, bool)
    if not len(mask):
        return "0 of 0"
    low, high = intervals.clopper_pearson(int(mask.sum()), len(mask))
    return f"{int(mask.sum())} of {len(mask)} = {mask.mean():.3f} [{low:.3f}, {high:.3f}]"


def summary(runs: Sequence[Run]) -> None:
    """The lines that must hold."""
    for mode in MODES:
        mine = [run for run in runs if run.mode == mode]
        nulls, leaks = ([run for run in mine if run.case.null is null] for null in (True, False))
        if not mine:
            continue
        print(f"\n{mode}\n")
        print(f"nulls called a leak: {_share([run.level == verdict.LEAK for run in nulls])}")
        halves = [run.called for run in nulls]
        if halves:
            print(f"  with halves: {_share(np.concatenate([*halves, [r.level == verdict.LEAK for r in nulls]]))}")
        for kind in sorted({run.case.name for run in nulls}):
            some = [run for run in nulls if run.case.name == kind]
            every = np.concatenate([*(run.called for run in some), [run.level == verdict.LEAK for run in some]])
            print(f"  {kind}: {_share(every)}")
        print(f"null runs without a probability_low above .7: {_share([run.highest_low <= 0.7 for run in nulls])}")
        print(f"interval of the stated AUC held: {_share([run.held for run in mine])}", end="")
        print(f", median width {np.median([run.high - run.low for run in mine]):.2f}")
        for name, of in (("kind", lambda r: r.case.world.split("-", 1)[1]), ("case", lambda r: r.case.name)):
            for value in sorted({of(run) for run in mine}):
                print(f"  {name} {value}: {_share([run.held for run in mine if of(run) == value])}")
        strong = [run for run in leaks if run.auc > 0.8]
        print(f"leaking, sealed AUC above .80, called: {_share([run.level == verdict.LEAK for run in strong])}")
        told = np.array([run.expected_f1 - run.f1 for run in leaks])
        if len(told):
            print(f"F1 of the submission on leaking cases: told minus realised {told.mean():+.3f}", end="")
            print(f" (sd {told.std():.3f}), mean {np.mean([run.f1 for run in leaks]):.3f}", end="")
            print(f", all-ones minus F1 at most {max(run.all_ones - run.f1 for run in leaks):.3f}")
        for name, some in (("all", mine), ("leaking", leaks), ("nulls", nulls)):
            if some:
                chance, truth = (np.concatenate([getattr(r, what) for r in some]) for what in ("probability", "truth"))
                print(f"ECE of {name}: {metrics.ece(chance, truth):.3f}")
        flagged = [run.flagged for run in mine if run.level == verdict.LEAK]
        if flagged:
            print(f"flagged among unused candidates where leakage is called: mean {np.mean(flagged):.3f}")
        judged = [run for run in mine if run.mode == "labels"]
        for same in (True, False):
            some = [run for run in judged if run.case.same_generator is same]
            if some:
                print(f"labels count, {'one generator' if same else 'two'}: {_share([run.counts for run in some])}")


def main(_: list[str]) -> None:
    logging.set_verbosity(logging.WARNING)
    given, runs, beside = flags.FLAGS, [], []
    root = Path(given.root)
    wanted = given.worlds or [name for name, world in foreign_worlds.WORLDS.items() if world.role == _ROLE.value]
    print(HEAD, flush=True)
    for name in wanted:
        if foreign_worlds.find(name).role != _ROLE.value:
            raise UserError(f"--worlds: {name!r} is not a {_ROLE.value} world; give --role or leave it out")
        cases = foreign_cases.make(root, name, given.pool, given.patients)
        fleets: dict[bool, Path] = {}
        for case in cases:
            folder, dev = case.folder.parent, case.name == SECOND_DEV
            for mode in MODES:
                kept = folder / mode
                if not _READ.value:
                    attack(folder, case.folder, mode, fleets.get(dev))
                if (kept / "attack" / "evaluation.json").exists():
                    runs.append(read(case, mode, kept))
                    print(line(runs[-1]), flush=True)
            if not case.null and not _READ.value:
                foreign_rivals.run(folder, case.folder)
            if not case.null and (folder / foreign_rivals.FOLDER / "scores.csv").exists():
                prior = Config().attack.prior
                beside += [foreign_rivals.read(name, case.name, mode, folder, prior) for mode in MODES]
            fleets.setdefault(dev, folder / "run")
    summary(runs)
    if beside:
        foreign_rivals.table(beside)
    files.write_json(
        root / f"{_ROLE.value}.json",
        [
            {
                name: value.tolist() if isinstance(value, np.ndarray) else value
                for name, value in dataclasses.asdict(run).items()
                if name != "case"
            }
            | {"world": run.case.world, "case": run.case.name, "null": run.case.null}
            for run in runs
        ],
    )


if __name__ == "__main__":
    with exits(lambda: flags.FLAGS.root):
        app.run(main)

"""How often is leakage called where there is none? Cheap nulls by the hundred, from evidence to verdict, no generator.

python benchmarks/nulls.py --seeds=25

A pile is made of images and of slightly disturbed copies of slices; what it is compared with is the attack's own path
from images to verdict (placebos, dev labels that move weights, both levels). Shadows' piles hold 10, 30 or 100 % copies
of their members, or all three as three training steps. The target's pile knows no candidate: it is of nobody (`noise`),
of copies of the used dev slices (`dev`), whose labels then count and agree, or of slices that are in no folder
(`copies`). As a control, a pile that copies the used dev slices and half of the candidates has to be called (`leak`).
Patients have two slices each: both in one folder (`apart`), or one in each (`shared`).

Printed: how often leakage was called, with dev labels and without, and how often p lay below some levels, for each way.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import sys
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

# before NumPy is imported: on busy cores threads that spin take six times as long
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from absl import app, flags

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from attack.decision import adaptation, placebo, unlabelled, verdict
from attack.decision.unlabelled import Slices
from attack.evidence import layout
from attack.evidence.embedded_pile import EmbeddedPile
from attack.evidence.embeddings import builtin
from attack.inference import crossfit, target
from attack.inference.crossfit import Labelled, Options
from attack.inference.shadow_signals import ShadowSignals, excluded_as_in_pool
from attack.metrics import intervals
from shadow import keys
from shadow.config import AttackConfig, MembershipConfig
from shadow.errors import exits
from shadow.training import membership

_SEEDS = flags.DEFINE_integer("seeds", 25, "Runs of every way.", lower_bound=1)
_FIRST = flags.DEFINE_integer("first", 0, "The first seed.", lower_bound=0)

SHADOWS, DEV, TEST, PILE, SIDE, FOLDS = 8, 80, 80, 100, 8, 5
SHARES = (0.1, 0.3, 1.0)  # of a shadow's pile that are copies
REGIMES = {"10 %": (0.1,), "30 %": (0.3,), "100 %": (1.0,), "three steps": SHARES}
PLAN = layout.plan(AttackConfig().embeddings, AttackConfig().signals)
TARGETS = ("noise", "dev", "copies")
LEAK = "leak"  # no null: the control
SHARING = ("apart", "shared")
LEVELS = (0.01, 0.025, 0.1)


@dataclass(frozen=True)
class Dealt:
    """Dev slices and candidates [slice, side, side], and numbers of their patients; used: bool [dev slice]."""

    dev: np.ndarray
    test: np.ndarray
    dev_group: np.ndarray
    test_group: np.ndarray
    used: np.ndarray


@dataclass(frozen=True)
class Shadows:
    """What shadows hold, bool [shadow, dev slice], and what their piles show of dev slices and candidates, float64
    [share of copies, shadow, slice, column]."""

    held: np.ndarray
    seen: np.ndarray


@dataclass(frozen=True)
class Evidence:
    """What the attack knows of one null: the shadows' pool, and the target's pile about it and about the candidates."""

    known: Labelled
    asked: target.Target
    slices: Dealt


def smooth(count: int, rng: np.random.Generator) -> np.ndarray:
    """Patients' images, float64 [patient, slice, side, side] around 128: two slices that are alike."""
    coarse = rng.normal(size=(count, 1, SIDE // 2, SIDE // 2)) + 0.5 * rng.normal(size=(count, 2, SIDE // 2, SIDE // 2))
    return 128 + 30 * coarse.repeat(2, 2).repeat(2, 3) + 10 * rng.normal(size=(count, 2, SIDE, SIDE))


def pile_of(members: np.ndarray, copies: float, rng: np.random.Generator) -> np.ndarray:
    """A pile [image, side, side], a share `copies` of it slightly disturbed members, the rest of nobody."""
    pile = smooth(PILE // 2, rng).reshape(-1, SIDE, SIDE)
    chosen = rng.permutation(np.resize(np.arange(len(members)), round(copies * PILE)))
    pile[: len(chosen)] = members[chosen] + rng.normal(size=(len(chosen), SIDE, SIDE))
    return pile


def deal(sharing: str, rng: np.random.Generator) -> Dealt:
    """Slices of (DEV + TEST) / 2 patients."""
    slices = smooth((DEV + TEST) // 2, rng)
    patient = np.arange(len(slices)).repeat(2).reshape(-1, 2)
    if sharing == "shared":
        parts = (slices[:, 0], slices[:, 1], patient[:, 0], patient[:, 1])
    else:
        ends = slice(0, DEV // 2), slice(DEV // 2, None)
        parts = (*(slices[e].reshape(-1, SIDE, SIDE) for e in ends), *(patient[e].ravel() for e in ends))
    return Dealt(*parts, rng.permutation(DEV) < DEV // 2)


def measured(slices: Dealt, pile: np.ndarray) -> np.ndarray:
    """The default signals of a pile of all slices, float64 [slice, column]: dev slices, then candidates."""
    every = np.concatenate([slices.dev, slices.test])
    return PLAN.signals(PLAN.measure(lambda e: EmbeddedPile(builtin.embed(e, every), builtin.embed(e, pile))))


def train(slices: Dealt, seed: int, rng: np.random.Generator) -> Shadows:
    """Stands for a fleet: shadows that hold half of the dev slices, at every share of copies, by the unit that fits."""
    names, others = (tuple(str(group) for group in groups) for groups in (slices.dev_group, slices.test_group))
    unit = membership.choose_unit(names, others, slices.used.astype(int), seed=seed).unit
    held = membership.draw(names, SHADOWS, MembershipConfig(unit=unit, block=SHADOWS), seed)
    seen = [[measured(slices, pile_of(slices.dev[row], share, rng)) for row in held] for share in SHARES]
    return Shadows(held, np.array(seen))


def copied(slices: Dealt, made_of: str, rng: np.random.Generator) -> np.ndarray:
    """The target's pile [image, side, side], which knows no candidate, or half of them (`LEAK`)."""
    if made_of == LEAK:
        half = slices.test[rng.permutation(TEST) < TEST // 2]
        return pile_of(np.concatenate([slices.dev[slices.used], half]), 1.0, rng)
    if made_of == "copies":
        return pile_of(smooth(DEV // 4, rng).reshape(-1, SIDE, SIDE), 1.0, rng)
    return pile_of(slices.dev[slices.used], 0.5 if made_of == "dev" else 0.0, rng)


def evidence(slices: Dealt, shadows: Shadows, own: np.ndarray, regime: tuple[float, ...]) -> Evidence:
    """What is known where shadows copy so much, and the target's pile shows `own` [slice, column]."""
    steps, held = shadows.seen[[SHARES.index(share) for share in regime]], shadows.held
    groups = np.concatenate([slices.dev_group, slices.test_group])
    relatives = np.array([np.isin(groups, slices.dev_group[row]) for row in held])
    shadow_signals = ShadowSignals(
        steps[-1], steps, np.hstack([held, np.zeros((SHADOWS, TEST), bool)]), relatives, PLAN.names
    )
    pool, other = shadow_signals.about(np.arange(DEV)), shadow_signals.about(DEV + np.arange(TEST))
    numbers = np.unique(groups, return_inverse=True)[1].reshape(-1)
    excluded = excluded_as_in_pool(held, pool.holds_relative, numbers[:DEV], other.holds_relative, numbers[DEV:])
    other = dataclasses.replace(other, excluded=excluded)
    known = Labelled(pool, tuple(f"dev{i}" for i in range(DEV)), np.unique(slices.dev_group, return_inverse=True)[1])
    asked = target.Target(own[:DEV], own[DEV:], ~slices.used, other, tuple(f"test{i}" for i in range(TEST)))
    return Evidence(known, asked, slices)


def verdicts(found: Evidence, seed: int) -> dict[str, verdict.Verdict]:
    """The verdict without dev labels and with them ("blind", "labels"), as the stage `predict` comes to it."""
    known, asked, null = found.known, found.asked, found.asked.null
    options = Options(references=8, folds=FOLDS, ridge=1.0, seed=seed)
    fitted = target.fit_draws(known, options, 1)
    pool = target.Target(asked.pile_pool, asked.pile_pool, null, known.shadow_signals, known.ids)
    z, z_pool = (target.z_by_draw(known, each, fitted, options) for each in (asked, pool))
    who = found.slices
    placebos = placebo.placebo(known, asked, options, 1, who.test_group, who.dev_group)
    fold = crossfit.folds(known.group, FOLDS, seed)[known.group]
    moved = adaptation.fit([combiner for combiner, _ in fitted], z_pool, (~null).astype(int), fold)
    said = {}
    for mode, score, of_pool in (
        ("blind", target.log_odds(fitted, z), target.log_odds(fitted, z_pool)),
        ("labels", moved.of_new(z), moved.of_pool(z_pool)),
    ):
        related = [np.isin(group, who.dev_group[who.used]) for group in (who.test_group, who.dev_group)]
        nulls = Slices(of_pool[null], who.dev_group[null], related[1][null])
        of_labels = None
        if mode == "labels":
            of_labels = unlabelled.contrast(Slices(of_pool[~null], who.dev_group[~null]), nulls).p
        try:
            against = unlabelled.contrast(Slices(score, who.test_group, related[0]), nulls)
        except ValueError as error:
            said[mode] = verdict.decide(None, str(error), of_labels)
        else:
            said[mode] = verdict.decide(against.inflated(placebos.inflation), "", of_labels)
    return said


def main(_: list[str]) -> None:
    found: dict[tuple[str, str, str], list[dict[str, verdict.Verdict]]] = defaultdict(list)
    start = time.process_time()
    for i in range(_FIRST.value, _FIRST.value + _SEEDS.value):
        for sharing in SHARING:
            rng = keys.generator(i, "nulls", sharing)
            slices = deal(sharing, rng)
            shadows = train(slices, i, rng)
            own = {made_of: measured(slices, copied(slices, made_of, rng)) for made_of in (*TARGETS, LEAK)}
            for regime, made_of in itertools.product(REGIMES, own):
                seen = evidence(slices, shadows, own[made_of], REGIMES[regime])
                found[regime, made_of, sharing].append(verdicts(seen, i))
        print(f"seed {i}: {time.process_time() - start:.0f} s of processor time", flush=True)
    print("\n| shadows | target | patients | runs | called without labels | with | p below .01, .025, .1 without |")
    print("|" + "---|" * 7)
    for key, runs in found.items():
        print(f"| {' | '.join(key)} | {len(runs)} | {' | '.join(str(n) for n in _called(runs))} | {_below(runs)} |")
    nulls, leaks = (
        [run for key, runs in found.items() if (key[1] == LEAK) is leak for run in runs] for leak in (False, True)
    )
    for name, some in (("nulls", nulls), ("leaks", leaks)):
        for mode, count in zip(("without labels", "with labels"), _called(some), strict=True):
            low, high = intervals.clopper_pearson(count, len(some))
            print(f"{name} {mode}: called {count} of {len(some)} = {count / len(some):.4f} [{low:.4f}, {high:.4f}]")
    print(f"nulls without labels: p below {LEVELS} in {_below(nulls)}")


def _called(runs: list[dict[str, verdict.Verdict]]) -> list[int]:
    return [sum(run[mode].level == verdict.LEAK for run in runs) for mode in ("blind", "labels")]


def _below(runs: list[dict[str, verdict.Verdict]]) -> str:
    p = np.array([1.0 if run["blind"].p is None else run["blind"].p for run in runs])
    return ", ".join(str(int((p < level).sum())) for level in LEVELS)


if __name__ == "__main__":
    with exits(lambda: "."):
        app.run(main)

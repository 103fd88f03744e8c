"""Every baseline on the candidates, and on the labelled dev slices where there are any."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from attack import metrics
from attack.baselines import BASELINES, Inputs, Turn, score_all, score_inputs
from attack.baselines.alone import calibrating, choice, standing
from attack.baselines.alone.baseline_figures import (
    BaselineFigures,
    BaselineRow,
    Chosen,
    DevArea,
    DevFigures,
    Strength,
    Submitted,
)
from attack.baselines.alone.calibrating import Calibrated
from attack.baselines.alone.standing import Standing
from attack.decision import submission
from attack.inference import crossfit
from attack.metrics import ranking
from shadow import files, fleet, keys
from shadow.config import Config
from shadow.data.manifest import Manifest
from shadow.errors import UserError


def pile(manifest: Manifest, config: Config, role: str) -> np.ndarray:
    """`attack.pile` images of a pile by chance, or all where it has no more: float32 [image, side, side] in [0, 255]"""
    rows = manifest.rows(role)
    count = min(config.attack.pile, len(rows))
    chosen = np.sort(keys.generator(config.attack.seed, "subsample", role).choice(len(rows), count, replace=False))
    return manifest.images_at(manifest.id[rows[chosen]].tolist(), config.data.resolution)


@dataclass(frozen=True)
class LabelledScores:
    """Labelled dev slices: images [slice, side, side], label 0/1 [slice], group int [slice]. standing: whether their
    labels count; scores: [slice] by baseline, on `generated` images of the test pile where they do, else of the dev
    pile."""

    images: np.ndarray
    label: np.ndarray
    group: np.ndarray
    standing: Standing
    scores: dict[str, np.ndarray]
    generated: int


@dataclass(frozen=True)
class Labelling:
    """What is said of the candidates, all [candidate]: scores, probabilities (None where nothing is calibrated), and
    0/1 labels.

    rule: where the labels come from. "expected": the highest expected objective under the probabilities; "prior": the
    same with every probability at the prior; "own": what the method itself decides; "share": the share `attack.prior`
    of the highest scores. expected: of the objective, for the first two rules, else None.
    """

    score: np.ndarray
    probability: np.ndarray | None
    labels: np.ndarray
    rule: str
    expected: float | None


def predict(workdir: Path, manifest: Manifest, config: Config) -> None:
    """Writes scores.csv (a column a baseline), predictions.csv and submission.csv of the chosen one, and
    attack/baselines.json with every figure of the report. Scores: higher = more likely used."""
    attack = config.attack
    ids = manifest.id[manifest.rows("unknown")].tolist()
    candidates = manifest.images_at(ids, config.data.resolution)
    generated = pile(manifest, config, "generated_test")
    known = manifest.id[manifest.rows("not_used")].tolist()
    reference = manifest.images_at(known, config.data.resolution) if known else generated[:0]
    if attack.baseline and BASELINES[attack.baseline].needs_reference and not known:
        raise UserError(
            f"attack.baseline = {attack.baseline!r} needs slices known not to be used, and there is no folder "
            "not_used; name another one"
        )
    scores = score_all(candidates, generated, reference)
    dev = on_dev(manifest, generated, config)
    calibrated = calibrate(dev, config)
    chosen, by = choice.DEFAULT, "default"
    if attack.baseline:
        chosen, by = attack.baseline, "user"
    elif dev and dev.standing.count:
        chosen, by = choice.best(dev.scores, dev.label), "dev"
    score = scores[chosen]
    if calibrated and dev and BASELINES[chosen].needs_reference:
        score = as_dev(candidates, dev, generated, chosen, config)
    found = label(chosen, score, calibrated, config)

    rows = zip(ids, *(_written(column) for column in scores.values()), strict=True)
    files.write_csv(workdir / "scores.csv", ("id", *scores), rows)
    columns = {"id": ids, "score": _written(found.score)}
    if found.probability is not None:
        columns["probability"] = [f"{value:.6f}" for value in found.probability]
    files.write_csv(workdir / "predictions.csv", columns, zip(*columns.values(), strict=True))
    submission.write(workdir / "submission.csv", ids, found.labels.tolist(), submission.of_config(config))
    content = BaselineFigures(
        candidates=len(ids),
        pile=len(generated),
        pile_there=len(manifest.rows("generated_test")),
        reference=len(known),
        dev=_figures(dev, config),
        calibrated=Strength(strength=calibrated.strength) if calibrated else None,
        baselines=tuple(_row(name, values) for name, values in scores.items()),
        chosen=Chosen(name=chosen, by=by),
        submission=Submitted(
            ones=int(found.labels.sum()),
            rule=found.rule,
            expected=found.expected,
            objective=attack.objective,
            prior=attack.prior,
        ),
    )
    content.write(workdir / "attack" / "baselines.json")


def _row(name: str, score: np.ndarray) -> BaselineRow:
    baseline = BASELINES[name]
    flagged = int((score > 0).sum()) if baseline.decides else None
    return BaselineRow(name=name, paper=baseline.paper, set_dependent=baseline.set_dependent, flagged=flagged)


def _written(values: np.ndarray) -> list[str]:
    return [f"{value:.9g}" for value in values]


def label(name: str, score: np.ndarray, calibrated: Calibrated | None, config: Config) -> Labelling:
    """Labels the candidates by `score` [candidate] of the baseline `name`, higher = more likely used.

    A baseline that the user named keeps its own rule, or the share of the prior where nothing is calibrated.
    """
    attack = config.attack
    if attack.baseline and (BASELINES[name].decides or calibrated is None):
        rule = "own" if BASELINES[name].decides else "share"
        return Labelling(score, None, choice.labels(name, score, attack.prior), rule, None)
    probability = None if calibrated is None else calibrated.probability(score, attack.prior)
    known = calibrated is not None and calibrated.strength > 0
    if not known and choice.follows_order(attack.objective, attack.prior):
        return Labelling(score, probability, choice.highest(score, attack.prior), "share", None)
    decided = metrics.decide(
        np.full(len(score), attack.prior) if probability is None else probability, attack.objective
    )
    return Labelling(score, probability, decided.labels, "expected" if known else "prior", decided.expected)


def on_dev(manifest: Manifest, generated: np.ndarray, config: Config) -> LabelledScores | None:
    """Scores the labelled dev slices on the pile that their labels speak of; None where there are none.

    generated [image, side, side]: of the test pile. Where the labels count (`standing`) the slices are scored on it,
    as the candidates are; else on the dev pile.

    A dev slice is scored with references of other folds of groups alone. Where folds leave no reference, baselines that
    need one have no score.
    """
    used = len(manifest.rows("used"))
    names = fleet.dev_ids(manifest)
    if not used or used == len(names) or not len(manifest.rows("generated_dev")):
        return None
    label = (np.arange(len(names)) < used).astype(int)  # dev_ids: the used come first
    row = {name: i for i, name in enumerate(manifest.id.tolist())}
    group = np.unique([manifest.group[row[name]] for name in names], return_inverse=True)[1]
    images = manifest.images_at(names, config.data.resolution)
    piles = {"generated_test": generated}
    known = standing.said(config.attack.same_generator)
    if known is None or not known.count:
        piles["generated_dev"] = pile(manifest, config, "generated_dev")

    @functools.cache
    def scored(role: str, count: int) -> dict[str, np.ndarray]:
        """Scores on so many images of a pile."""
        chosen = np.arange(len(piles[role]))
        if count < len(chosen):
            rng = keys.generator(config.attack.seed, "quick/equal", role)
            chosen = np.sort(rng.choice(len(chosen), count, replace=False))
        return dev_scores(images, label, group, piles[role][chosen], config)

    if known is None:
        known = standing.tested(piles["generated_dev"], generated, label, group, scored, config.attack)
    role = "generated_test" if known.count else "generated_dev"
    return LabelledScores(images, label, group, known, scored(role, len(piles[role])), len(piles[role]))


def dev_scores(
    images: np.ndarray, label: np.ndarray, group: np.ndarray, generated: np.ndarray, config: Config
) -> dict[str, np.ndarray]:
    """float64 [slice] of every baseline that can be had, in the registry's order. images [slice, side, side], label
    0/1 [slice], group int [slice], generated [image, side, side]."""
    fold = crossfit.folds(group, config.attack.folds, config.attack.seed)[group]
    together = [name for name, baseline in BASELINES.items() if baseline.set_dependent]
    whole = Inputs(images, generated)
    found = score_inputs(whole, names=together)
    parts = []
    for f in range(int(fold.max()) + 1):
        reference = (label == 0) & (fold != f)
        apart = [n for n, b in BASELINES.items() if not b.set_dependent and (reference.any() or not b.needs_reference)]
        parts.append((fold == f, score_inputs(Turn(whole, fold == f, reference), names=apart)))
    for name in BASELINES:
        if all(name in scores for _, scores in parts):
            found[name] = np.empty(len(images))
            for here, scores in parts:
                found[name][here] = scores[name]
    return {name: found[name] for name in BASELINES if name in found}


def as_dev(candidates: np.ndarray, dev: LabelledScores, generated: np.ndarray, name: str, config: Config) -> np.ndarray:
    """Scores candidates [candidate, side, side] by a baseline that needs a reference, as dev slices are: float64
    [candidate].

    A dev slice has the reference of the other folds, which is smaller than the whole, and scores depend on its size. So
    each candidate is scored with the reference of each fold in turn, and the mean is taken.
    """
    fold = crossfit.folds(dev.group, config.attack.folds, config.attack.seed)[dev.group]
    whole = Inputs(np.concatenate([candidates, dev.images]), generated)
    asked = np.arange(len(whole.images["candidates"])) < len(candidates)
    nowhere = np.zeros(len(candidates), bool)
    turns = [
        Turn(whole, asked, np.concatenate([nowhere, (dev.label == 0) & (fold != f)])) for f in range(fold.max() + 1)
    ]
    return np.asarray(np.mean([score_inputs(turn, names=[name])[name] for turn in turns], axis=0))


def calibrate(dev: LabelledScores | None, config: Config) -> Calibrated | None:
    """The map of scores to probabilities, of the user's baseline where one is named, else of the best.

    None where the labels do not count, with `attack.recalibrate=none`, and where the user's baseline decides itself or
    has no score of dev slices.
    """
    attack, named = config.attack, config.attack.baseline
    if dev is None or not dev.standing.count or attack.recalibrate == "none":
        return None
    if named and (BASELINES[named].decides or named not in dev.scores):
        return None
    scores = {named: dev.scores[named]} if named else dev.scores
    return calibrating.calibrate(scores, dev.label, dev.group, attack.folds, attack.seed)


def _figures(dev: LabelledScores | None, config: Config) -> DevFigures:
    """AUC of every baseline on the labelled dev slices, and where their labels count the best and what picking it is
    worth."""
    if dev is None:
        return DevFigures(why="there are no labelled used and not-used slices of a generator", auc={})
    known = dev.scores, dev.label
    count, attack = dev.standing.count, config.attack
    return DevFigures(
        standing=dev.standing,
        members=int(dev.label.sum()),
        non_members=int((dev.label == 0).sum()),
        pile=dev.generated,
        auc={
            name: DevArea(
                auc=ranking.auc(values, dev.label),
                interval=ranking.auc_interval_grouped(values, dev.label, dev.group),
            )
            for name, values in dev.scores.items()
        },
        best=choice.best(*known) if count else None,
        picked=choice.worth(*known, dev.group, attack.folds, attack.seed) if count else None,
    )

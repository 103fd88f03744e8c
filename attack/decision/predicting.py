"""The stage `predict` on files: the fitted attack asks the target's piles about the test candidates."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from attack import metrics, results
from attack.decision import adaptation, claims, comparison, dev_evaluation, submission, unlabelled, verdict
from attack.decision.platt import Labels, ShadowPairs
from attack.inference import crossfit, model, patients, store, target
from attack.inference.combiner import Combiner
from attack.inference.crossfit import Labelled
from attack.inference.fitting import options
from attack.results import Auc, Evaluation, FitSummary
from shadow import files, keys
from shadow.config import Config
from shadow.data.manifest import Manifest

_TEST = "generated_test"


def predict(workdir: Path, manifest: Manifest, config: Config) -> None:
    """Scores the test candidates; writes predictions.csv, submission.csv and attack/evaluation.json."""
    folder, attack = workdir / "attack", config.attack
    summary = FitSummary.read(folder / "fit.json")
    step = summary.regime.step
    data = store.read(workdir, manifest, config)
    known, asked = data.labelled(step, _TEST), data.target(_TEST, step)
    before = model.from_json(json.loads((folder / "model.json").read_text()))[1]
    found = dev_evaluation.of_dev(workdir, data, manifest, step, before)
    moving = found.labels if attack.recalibrate != "none" else None  # what may set weights and probabilities
    scored = _scored(folder, data, known, asked, step, moving)
    labels, dev = _by_moved_weights(found, moving, scored, known.shadow_signals.names)

    sides = comparison.sides(data, scored.candidate, scored.pool)
    against = comparison.compare(data, manifest, config, known, asked, sides)
    said, expected = _verdict(against, sides, labels, dev, config, len(asked.ids))
    leak = said.level == verdict.LEAK
    claim = claims.Claim(expected, leak, attack.prior)
    resampled = target.bootstrap_scores(
        known, asked, options(config), attack.draws, attack.bootstrap, scored.moved(moving, attack.seed)
    )
    if moving is not None and labels is not None:
        pairs = held_pairs(folder)
        stated = claims.labelled_probabilities(scored.candidate, resampled, labels, pairs, claim, attack.seed)
        mended = dev_evaluation.recalibrated(labels, moving, pairs, before, attack.folds, attack.seed)
        dev = dataclasses.replace(dev, recalibration=mended)
    else:
        stated = claims.probabilities(scored.candidate, resampled, claim, attack.seed)
    limits = claims.thresholds(
        scored.candidate,
        stated.probability,
        np.zeros(0) if data.presumed else scored.pool[data.null],
        np.zeros(0) if labels is None else scored.pool[: len(data.dev)][data.used],
        against.placebo,
        attack.fpr,
    )
    decisions = decide(scored.candidate, limits) if leak else np.full(len(asked.ids), "undetermined")
    labelling = metrics.decide(stated.probability, attack.objective)
    smallest = comparison.smallest_auc(sides, labels is not None, against.placebo.inflation, attack.prior, attack.seed)

    patient = manifest.groups_of(asked.ids) if patients.known(manifest, config) else None
    _write_predictions(workdir, asked.ids, patient, scored.candidate, stated, decisions)
    submission.write(workdir / "submission.csv", asked.ids, labelling.labels, submission.of_config(config))
    _write_on_target(folder, data, scored, sides)
    Evaluation(
        **vars(summary),
        dev=dev,
        same_generator=found.same,
        candidates=comparison.figures(against, attack.prior, attack.fpr),
        expected=results.Expected(**vars(expected)),
        implied_auc=stated.implied,
        thresholds=limits,
        decisions=_counted(decisions),
        submission=_submitted(labelling, attack.objective),
        verdict=results.VerdictReached(**vars(said), smallest_auc=smallest),
    ).write(folder / "evaluation.json")


def _by_moved_weights(
    found: dev_evaluation.DevEvaluation, moving: Labels | None, scored: _Scored, names: Sequence[str]
) -> tuple[Labels | None, results.Dev]:
    """Dev labels and figures as the weights have them that the labels moved; as they were where none moved any."""
    if moving is None or scored.adapted is None:
        return found.labels, found.figures
    labels = dataclasses.replace(moving, score=scored.pool[: len(moving.score)])
    dev = dataclasses.replace(
        found.figures,
        **vars(dev_evaluation.auc_of(labels)),
        by_shadows=Auc(auc=found.figures.auc, interval=found.figures.interval),
        weights=dict(zip(names, scored.adapted.weights.tolist(), strict=True)),
    )
    return labels, dev


def _verdict(
    against: comparison.Against,
    sides: comparison.Sides,
    labels: Labels | None,
    dev: results.Dev,
    config: Config,
    candidates: int,
) -> tuple[verdict.Verdict, claims.Expected]:
    """The verdict and the AUC to expect. A leak whose interval holds one half is taken back, and stated anew."""
    prior = config.attack.prior
    said = verdict.decide(against.contrast, against.why, None if labels is None else comparison.labelled_p(labels))
    held = None if labels is None or dev.auc is None or dev.interval is None else (dev.auc, dev.interval)
    both = None
    if held is not None and said.level == verdict.LEAK:
        reach = held[0] - held[1][0]
        both = unlabelled.pooled(sides.asked, sides.null, sides.used, reach, prior, against.placebo.inflation)

    by_labels = claims.ByLabels(held, both)

    def stated_auc(said: verdict.Verdict) -> claims.Expected:
        return claims.expect(against.contrast, against.why, said, by_labels, candidates, prior)

    expected = stated_auc(said)
    if expected.interval is not None:
        said = verdict.unless_held(said, expected.interval[0])
        expected = stated_auc(said)
    return said, expected


def _write_predictions(
    workdir: Path,
    ids: Sequence[str],
    patient: Sequence[str] | None,
    score: np.ndarray,
    stated: claims.Probabilities,
    decisions: np.ndarray,
) -> None:
    """Writes predictions.csv, and patients.csv where the patient of each candidate is known."""
    columns = (score, stated.probability, stated.low, stated.high)
    files.write_csv(
        workdir / "predictions.csv",
        ("id", "score", "probability", "probability_low", "probability_high", "decision"),
        zip(ids, *map(_rounded, columns), decisions.tolist(), strict=True),
    )
    if patient is not None:
        patients.write(workdir, ids, patient, score, stated.probability)
    else:
        (workdir / "patients.csv").unlink(missing_ok=True)  # of a time when they were known


def _write_on_target(folder: Path, data: store.Store, scored: _Scored, sides: comparison.Sides) -> None:
    """Writes on_target.npz: log odds of the candidates and of the slices known not to be used, for the report."""
    with files.replacing(folder / "on_target.npz") as part, part.open("wb") as stream:
        np.savez(
            stream,
            candidate=scored.candidate,
            null=scored.pool[data.null],
            null_group=np.array(data.groups[: len(data.pool)])[data.null],
            related=sides.asked.related,
            null_related=sides.null.related,
        )


def _submitted(labelling: metrics.Decision, objective: str) -> results.Submission:
    return results.Submission(
        objective=objective,
        expected=labelling.expected,
        ones=int(np.sum(labelling.labels)),
        candidates=len(labelling.labels),
        all_ones=bool(labelling.all_ones),
    )


def _counted(decisions: np.ndarray) -> results.Decisions:
    used, not_used, undetermined = (int((decisions == name).sum()) for name in metrics.DECISIONS)
    return results.Decisions(used=used, not_used=not_used, undetermined=undetermined)


@dataclasses.dataclass(frozen=True)
class _Scored:
    """Log odds on the target's test pile: candidate [candidate], pool [image of the pool], dev slices first; adapted:
    the weights that gave them where dev labels moved them, and z [draw][image of the pool, column] what they saw."""

    candidate: np.ndarray
    pool: np.ndarray
    adapted: adaptation.Adapted | None
    z: list[np.ndarray]

    def moved(self, labels: Labels | None, seed: int) -> Callable[[Combiner, int, int], Combiner] | None:
        """For `target.bootstrap_scores`: weights moved by dev slices whose groups are drawn anew; None where no label
        moves any."""
        if self.adapted is None or labels is None:
            return None
        count = len(labels.label)

        def move(combiner: Combiner, draw: int, resample: int) -> Combiner:
            groups = int(labels.group.max()) + 1
            drawn = keys.generator(seed, "adapted", resample).integers(0, groups, groups)
            counts = np.bincount(drawn, minlength=groups)[labels.group].astype(float)
            return adaptation.adapt(combiner, self.z[draw][:count], labels.label, counts)

        return move


def _scored(
    folder: Path, data: store.Store, known: Labelled, asked: target.Target, step: int, labels: Labels | None
) -> _Scored:
    """By one fit for all: fits on fewer slices have another scale. labels: dev slices that may move the weights."""
    config, fitted = data.config, read_fitted(folder)
    z, z_pool = (
        target.z_by_draw(known, each, fitted, options(config)) for each in (asked, data.pool_target(step, _TEST))
    )
    if labels is None:
        return _Scored(target.log_odds(fitted, z), target.log_odds(fitted, z_pool), None, z_pool)
    fold = crossfit.folds(known.group, config.attack.folds, config.attack.seed)[labels.group]
    found = adaptation.fit([combiner for combiner, _ in fitted], z_pool, labels.label, fold)
    return _Scored(found.of_new(z), found.of_pool(z_pool), found, z_pool)


def _rounded(values: np.ndarray) -> list[str]:
    return [f"{v:.6f}" for v in values]


def decide(score: np.ndarray, limits: claims.Thresholds) -> np.ndarray:
    """used | not used | undetermined by the thresholds."""
    used = np.zeros(len(score), bool) if limits.used is None else score >= limits.used
    not_used = np.zeros(len(score), bool) if limits.not_used is None else score <= limits.not_used
    return np.where(used, "used", np.where(not_used, "not used", "undetermined"))


def held_pairs(folder: Path) -> ShadowPairs:
    """The shadows' held-out pairs."""
    with np.load(folder / "heldout.npz", allow_pickle=False) as found:
        return ShadowPairs(found["score"], found["label"])


def read_fitted(folder: Path) -> list[tuple[Combiner, np.ndarray]]:
    """The attack in `folder` as `target.fit_draws` returned it."""
    content = json.loads((folder / "model.json").read_text())
    combiners, _ = model.from_json(content)
    return list(zip(combiners, (np.array(p) for p in content["pooled_variance"]), strict=True))


def fitted_score(folder: Path, known: Labelled, asked: target.Target, config: Config) -> np.ndarray:
    """Log odds [image] by the fitted attack in `folder`: a function of the image, the piles and the shadows' pool
    alone, whoever else is asked about."""
    return target.score(known, asked, read_fitted(folder), options(config))

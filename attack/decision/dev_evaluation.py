"""From the shadows to a labelled target: what the attack says of the dev slices, and what their labels mend."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import special

from attack import metrics
from attack.decision import platt, same_generator
from attack.decision.platt import Labels, ShadowPairs
from attack.evidence import layout, measuring, pile_shift
from attack.inference import store, target
from attack.inference.fitting import options as fitting_options
from attack.inference.model import Recalibration
from attack.results import Auc, Dev, MappedQuality, Provenance, Quality, Recalibrated
from shadow import fleet
from shadow import piles as opened
from shadow.data.manifest import Manifest
from shadow.errors import UserError

_UNLABELLED = "there are no labelled slices of a generator"  # no dev pile with labelled slices (edition own)
_TEST = "generated_test"


def probability_figures(logit: np.ndarray, label: np.ndarray, group: np.ndarray, seed: int) -> Quality:
    """Of log odds [slice] at a prior of one half, which is moved to the share of used slices; intervals by a bootstrap
    over groups (`metrics.calibration_figures`)."""
    chance = special.expit(logit + special.logit(label.mean()))
    found = metrics.calibration_figures(chance, label, group, seed=seed)
    return Quality(brier=found.brier.plain, log_loss=found.log_loss.plain, ece=found.ece.plain)


@dataclass(frozen=True)
class DevEvaluation:
    """What labelled dev slices say. figures: for evaluation.json; labels: their scores on the target's test pile where
    one generator made both piles, else None; same: why the labels count or do not, for evaluation.json."""

    figures: Dev
    labels: Labels | None
    same: Provenance


def of_dev(workdir: Path, data: store.Store, manifest: Manifest, step: int, before: Recalibration) -> DevEvaluation:
    """The labelled dev slices, and whether their labels are labels of the target (`attack.same_generator`).

    Each slice is scored by an attack fitted without its group. Where the labels do not count, the figures are those of
    the dev pile, whose generator they are of. UserError where there is one class only.
    """
    attack, label = data.config.attack, data.used.astype(int)
    if "generated_dev" not in data.sizes:
        return DevEvaluation(
            Dev(why=_UNLABELLED, same_generator=False), None, Provenance(counts=False, why=_UNLABELLED)
        )
    if not 0 < label.sum() < len(label):
        raise UserError("the dev folder holds only one class: both used and not used slices are needed")

    def scored(pile: str) -> Labels:
        known, dev = data.labelled(step, pile), len(data.dev)
        score = target.score_pools(known, [data.pool_target(step, pile)], fitting_options(data.config), attack.draws)[0]
        return Labels(score[:dev], label, known.group[:dev])

    if attack.same_generator == "auto":
        own, test = scored("generated_dev"), scored(_TEST)
        same = provenance(workdir, data, manifest, step, own, test)
        labels = test if same.counts else own
    else:
        said = f"attack.same_generator = {attack.same_generator!r} says so"
        same = Provenance(counts=attack.same_generator == "true", why=said)
        labels = scored(_TEST if same.counts else "generated_dev")
    images = data.seen[_TEST if same.counts else "generated_dev"]
    figures = dataclasses.replace(measured(labels, before, same.counts, attack.seed), images=images)
    return DevEvaluation(figures, labels if same.counts else None, same)


def measured(dev: Labels, shadows: Recalibration, same_generator: bool, seed: int) -> Dev:
    """AUC and quality of the probabilities of the dev slices with nothing fitted on their labels."""
    return Dev(
        **vars(auc_of(dev)),
        members=int(dev.label.sum()),
        non_members=int((1 - dev.label).sum()),
        same_generator=same_generator,
        **vars(probability_figures(shadows.logit(dev.score), dev.label, dev.group, seed)),
    )


def auc_of(dev: Labels) -> Auc:
    """Of scored dev slices, with patients as units."""
    limits = metrics.auc_interval_grouped(dev.score, dev.label, dev.group)
    return Auc(auc=metrics.auc(dev.score, dev.label), interval=limits)


def recalibrated(
    dev: Labels, plain: Labels, shadows: ShadowPairs, before: Recalibration, folds: int, seed: int
) -> Recalibrated:
    """The recalibration on dev slices for evaluation.json: the map, and its figures before and after, the latter
    cross-validated over groups. plain: the slices with scores by the shadows alone, for the figures before."""
    held = platt.cross_validated(dev, shadows, folds, seed)
    found = platt.fit(dev, shadows)
    of_before = probability_figures(before.logit(plain.score), dev.label, dev.group, seed)
    return Recalibrated(
        slope=found.slope,
        offset=found.offset,
        before=MappedQuality(slope=before.slope, offset=before.offset, **vars(of_before)),
        cross_validated=probability_figures(held, dev.label, dev.group, seed),
        slices=len(dev.label),
    )


def provenance(
    workdir: Path, data: store.Store, manifest: Manifest, step: int, own: Labels, test: Labels
) -> Provenance:
    """Did one generator make the dev and the test pile?

    own, test: the dev slices' scores on the dev and on the test pile. The shadows' piles are those of training step
    `step`. See `same_generator`.
    """
    config, seed = data.config, data.config.attack.seed
    dev_pile, test_pile = (
        measuring.pile_of_target(manifest, config, role, len(manifest.rows(role))) for role in ("generated_dev", _TEST)
    )
    piles = same_generator.compare_piles(dev_pile, test_pile, seed)
    shadows, excess = None, pile_shift.excess(pile_shift.likeness(*_statistics(data, step))[1])
    if not piles.differ:
        drawn = [opened.open_pile(opened.pile_path(fleet.shadow_folder(workdir, k), step)) for k in data.shadows]
        shadows = same_generator.power_on_shadows(drawn, seed, images=piles.images)
    labels = same_generator.label_consistency(own.score, test.score, own.label, own.group, seed)
    found = same_generator.decide(piles, shadows, labels, outside=excess > 0)
    return Provenance(
        counts=found.same,
        why=found.reason,
        kind=found.kind,
        power=found.power,
        p=piles.p,
        images=piles.images,
        shadows_told_apart=None if shadows is None else (shadows.told_apart, shadows.pairs),
        auc_on_piles=(labels.auc_dev, labels.auc_test),
        labels_p=labels.p,
        labels_power=labels.power,
    )


def _statistics(data: store.Store, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Of the target's test pile [statistic] and of the shadows' piles [shadow, statistic]."""
    names = [layout.pile_name(k, step, data.sizes[_TEST]) for k in data.shadows]
    return np.array(data.statistics[_TEST]), np.array([data.statistics[name] for name in names])

"""The stage `fit` on files: the attack is cross-fitted and fitted on the shadows alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from attack import results
from attack.evidence import layout, pile_shift
from attack.evidence.embeddings import builtin
from attack.evidence.embeddings.distances import distances
from attack.inference import controls, crossfit, estimate, heldout, model, patients, shadow_figures, store, target
from attack.inference.ablation import tables
from attack.inference.controls import Redraw
from attack.inference.crossfit import Labelled, Options
from attack.results import Control, FitSummary, Patients, Regime
from shadow import files, fleet
from shadow.config import Config
from shadow.data.manifest import Manifest
from shadow.fleet.plan import membership_in_force


def options(config: Config) -> Options:
    attack = config.attack
    return Options(attack.references, attack.folds, attack.ridge, attack.seed)


def choose_step(data: store.Store, config: Config) -> Regime:
    """How like the target's test pile the shadows' piles are, of the training step whose piles are most like it.

    Only statistics of piles are compared: no label, no candidate.
    """
    wanted = np.array(data.statistics["generated_test"])
    found = {}
    for step in fleet.pile_steps(config):
        names = [layout.pile_name(k, step, data.sizes["generated_test"]) for k in data.shadows]
        shadows = np.array([data.statistics[name] for name in names])
        found[step] = (*pile_shift.likeness(wanted, shadows), shadows)
    step = min(found, key=lambda s: found[s][0])
    distance, z, shadows = found[step]
    outside = [name for name, value in zip(pile_shift.STATISTICS, z, strict=True) if abs(value) > pile_shift.OUTSIDE]
    message = (
        f"The target's pile lies outside the shadows' in {', '.join(outside)}: its generator was trained or works "
        "differently, and the figures of the shadows may not hold for it. Intervals for it are widened."
        if outside
        else "The target's pile looks like the shadows' piles in all statistics."
    )
    return Regime(
        step=step,
        distance=round(distance, 4),
        statistic=tuple(
            results.Statistic(name=name, target=float(t), shadows=tuple(float(v) for v in s))
            for name, t, s in zip(pile_shift.STATISTICS, wanted, shadows.T, strict=True)
        ),
        inside=not outside,
        excess=pile_shift.excess(z),
        message=message,
    )


def nearness(data: store.Store, manifest: Manifest, config: Config) -> tuple[np.ndarray, estimate.Mix]:
    """The slices [real, height, width], dev and then test, and how near to members non-members lie among them."""
    images = manifest.images_at([*data.dev, *data.test], config.data.resolution)
    real, attack = builtin.standardised(images), config.attack
    apart = distances(real, real)
    return images, estimate.match_nearness(apart, data.groups, data.used, data.member, attack.prior, attack.seed)


def fit(workdir: Path, manifest: Manifest, config: Config) -> None:
    """Cross-fits and fits the attack on the shadows; writes attack/model.json, heldout.npz and fit.json."""
    data = store.read(workdir, manifest, config)
    regime = choose_step(data, config)
    known, attack = data.labelled(regime.step, "generated_test"), config.attack
    held = crossfit.two_way_mean(known, options(config), attack.draws)
    logit, z = held.logit, held.z
    images, mix = nearness(data, manifest, config)
    # not weighted: a probability, like a score, must not depend on who else is asked about
    recalibration = model.fit_recalibration(logit.ravel(), known.shadow_signals.member.ravel().astype(float))
    fitted = target.fit_draws(known, options(config), attack.draws)
    parts = heldout.split(len(logit), known.group, attack.folds, attack.seed)
    probability = heldout.probability(logit, known.shadow_signals.member, parts, attack.prior)

    folder = workdir / "attack"
    _write_held_out(folder, logit, probability, known.shadow_signals.member, data.shadows)
    content = model.to_json([combiner for combiner, _ in fitted], recalibration)
    content["pooled_variance"] = [pooled.tolist() for _, pooled in fitted]
    files.write_json(folder / "model.json", content)
    asked = shadow_figures.Expecting(len(data.test), attack.prior, mix, regime.excess)
    two_way = shadow_figures.two_way(known, logit, probability, parts, asked)
    size, seen = (of["generated_test"] for of in (data.sizes, data.seen))
    redraws = controls.redraw(
        known,
        data.groups[: len(data.pool)],
        membership_in_force(workdir, config),
        options(config),
        attack.redraws,
        data.shadows,
    )
    limits = shadow_figures.thresholds(logit, known, parts, attack.fpr)
    FitSummary(
        shadows_asked=len(data.shadows) + len(data.missing),
        shadows_used=len(data.shadows),
        shadows_missing=tuple(data.missing),
        pile_size=size,
        target_pile=seen,
        two_way=shadow_figures.open_above(two_way) if seen > size else two_way,
        patients=_patient_figures(data, known, logit, redraws, patients.known(manifest, config)),
        null=results.Null(
            known=int(data.not_used.sum()),
            unknown=int((~data.used & ~data.not_used).sum()),
            presumed=data.presumed,
        ),
        controls=_controls(data, known, logit, redraws, images[: len(data.dev)]),
        families=tables.of_families(known, options(config), logit, len(data.test), fleet.family_names(config)),
        worth=tables.worth(known, options(config), data.shadows, config.membership.block) if attack.ablation else None,
        signals=shadow_figures.signals(known, z, [combiner for combiner, _ in fitted], len(data.test), mix.weight),
        regime=regime,
        flips=results.FlipsFound(names=data.flips.names, share=data.flips.share),
        prior=attack.prior,
        fpr=attack.fpr,
        threshold_used=limits.used,
        threshold_not_used=limits.not_used,
        priors=limits.priors,
    ).write(folder / "fit.json")


def _write_held_out(
    folder: Path, logit: np.ndarray, probability: np.ndarray, member: np.ndarray, shadows: Sequence[int]
) -> None:
    """Writes heldout.npz, the held-out pairs, flat. logit, probability, member: [shadow, slice]."""
    with files.replacing(folder / "heldout.npz") as part, part.open("wb") as stream:
        shadow, candidate = np.indices(logit.shape)
        np.savez(
            stream,
            score=logit.ravel(),
            probability=probability.ravel(),
            label=member.ravel().astype(np.int8),
            shadow=np.array(shadows, np.int32)[shadow.ravel()],
            candidate=candidate.ravel().astype(np.int32),
        )


def _controls(
    data: store.Store, known: Labelled, logit: np.ndarray, redraws: Sequence[Redraw], images: np.ndarray
) -> tuple[Control, ...]:
    """images: dev slices [slice, height, width]."""
    dev = len(data.dev)
    return (
        controls.redrawn(redraws, estimate.mean_within(logit, known.shadow_signals.member)),  # not weighted, as theirs
        controls.blind(images, data.used.astype(int), known.group[:dev], data.config.attack.seed),
    )


def _patient_figures(
    data: store.Store, known: Labelled, logit: np.ndarray, redraws: Sequence[Redraw], named: bool
) -> Patients:
    if not named:
        return Patients(why=patients.UNKNOWN)
    asked = len(set(data.groups[len(data.dev) :]))
    return patients.on_shadows(logit, known.shadow_signals.member, known.group, asked, data.config.attack.seed, redraws)

"""The stage `fit` on files: the attack is cross-fitted and fitted on the shadows alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from attack import metrics, results
from attack.evidence import layout, pile_shift
from attack.evidence.embeddings import builtin
from attack.evidence.embeddings.distances import distances
from attack.inference import controls, crossfit, estimate, heldout, model, patients, store, target
from attack.inference.ablation import tables
from attack.inference.combiner import Combiner
from attack.inference.controls import Redraw
from attack.inference.crossfit import Labelled, Options
from attack.results import (
    Control,
    FitSummary,
    Interval,
    Patients,
    PriorRow,
    Rate,
    Regime,
    ShadowsAuc,
    Signal,
    Stratum,
    TwoWay,
)
from shadow import files, fleet
from shadow.config import Config
from shadow.data.manifest import Manifest
from shadow.fleet.plan import membership_in_force

FPRS = (0.1, 0.01, 0.001)
PRIORS = (0.5, 0.1, 0.01)
STRATA = ("unrelated", "related")


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
    with files.replacing(folder / "heldout.npz") as part, part.open("wb") as stream:
        shadow, candidate = np.indices(logit.shape)
        np.savez(
            stream,
            score=logit.ravel(),
            probability=probability.ravel(),
            label=known.shadow_signals.member.ravel().astype(np.int8),
            shadow=np.array(data.shadows, np.int32)[shadow.ravel()],
            candidate=candidate.ravel().astype(np.int32),
        )
    content = model.to_json([combiner for combiner, _ in fitted], recalibration)
    content["pooled_variance"] = [pooled.tolist() for _, pooled in fitted]
    files.write_json(folder / "model.json", content)
    two_way = _two_way_figures(known, logit, probability, parts, len(data.test), attack.prior, mix, regime.excess)
    size, seen = (of["generated_test"] for of in (data.sizes, data.seen))
    redraws = controls.redraw(
        known,
        data.groups[: len(data.pool)],
        membership_in_force(workdir, config),
        options(config),
        attack.redraws,
        data.shadows,
    )
    limits = _thresholds(logit, known, parts, attack.fpr)
    FitSummary(
        shadows_asked=len(data.shadows) + len(data.missing),
        shadows_used=len(data.shadows),
        shadows_missing=tuple(data.missing),
        pile_size=size,
        target_pile=seen,
        two_way=_open_above(two_way) if seen > size else two_way,
        patients=_patient_figures(data, known, logit, redraws, patients.known(manifest, config)),
        null=results.Null(
            known=int(data.not_used.sum()),
            unknown=int((~data.used & ~data.not_used).sum()),
            presumed=data.presumed,
        ),
        controls=_controls(data, known, logit, redraws, images[: len(data.dev)]),
        families=tables.of_families(known, options(config), logit, len(data.test), fleet.family_names(config)),
        worth=tables.worth(known, options(config), data.shadows, config.membership.block) if attack.ablation else None,
        signals=_signal_figures(known, z, [combiner for combiner, _ in fitted], len(data.test), mix.weight),
        regime=regime,
        flips=results.FlipsFound(names=data.flips.names, share=data.flips.share),
        prior=attack.prior,
        fpr=attack.fpr,
        threshold_used=limits.used,
        threshold_not_used=limits.not_used,
        priors=limits.priors,
    ).write(folder / "fit.json")


def _controls(
    data: store.Store, known: Labelled, logit: np.ndarray, redraws: Sequence[Redraw], images: np.ndarray
) -> tuple[Control, ...]:
    """images: dev slices [slice, height, width]."""
    dev = len(data.dev)
    return (
        controls.redrawn(redraws, estimate.mean_within(logit, known.shadow_signals.member)),  # not weighted, as theirs
        controls.blind(images, data.used.astype(int), known.group[:dev], data.config.attack.seed),
    )


def _open_above(two_way: TwoWay) -> TwoWay:
    """More images of the target than of a shadow show more of it, and how much more the shadows do not tell: the
    prediction intervals end at certainty."""

    def opened(limits: Interval | None) -> Interval | None:
        return None if limits is None else (limits[0], 1.0)

    return dataclasses.replace(
        two_way,
        prediction_interval=opened(two_way.prediction_interval),
        strata=tuple(
            dataclasses.replace(one, prediction_interval=opened(one.prediction_interval)) for one in two_way.strata
        ),
    )


def _patient_figures(
    data: store.Store, known: Labelled, logit: np.ndarray, redraws: Sequence[Redraw], named: bool
) -> Patients:
    if not named:
        return Patients(why=patients.UNKNOWN)
    asked = len(set(data.groups[len(data.dev) :]))
    return patients.on_shadows(logit, known.shadow_signals.member, known.group, asked, data.config.attack.seed, redraws)


def _auc_figures(
    known: Labelled, score: np.ndarray, candidates: int, weight: np.ndarray, excess: float = 0.0
) -> ShadowsAuc:
    try:
        found = estimate.mean_auc(
            score, known.shadow_signals.member, known.group, candidates, weight, excess, known.family
        )
    except ValueError as error:
        return ShadowsAuc(why=str(error))
    return ShadowsAuc(
        auc=found.auc,
        interval=found.interval,
        prediction_interval=found.prediction,
        within_shadow=tuple(found.within.tolist()),
    )


def _two_way_figures(
    known: Labelled,
    logit: np.ndarray,
    probability: np.ndarray,
    parts: heldout.Split,
    candidates: int,
    prior: float,
    mix: estimate.Mix,
    excess: float,
) -> TwoWay:
    """AUC for non-members as near to members as the target's are expected to be; rates, calibration and strata as they
    are among the shadows' pairs.

    Rates and calibration are those of thresholds and of a map (`probability`, [shadow, candidate]) that were set
    without a pair's shadow and group, see `heldout`. Their intervals allow for pairs that share a shadow or a patient.
    """
    member = known.shadow_signals.member
    label, chance = member.ravel().astype(int), probability.ravel()
    at_half = metrics.shift_prior(chance, prior, 0.5)  # pairs are half members, whatever prior the user set
    return TwoWay(
        **vars(_auc_figures(known, logit, candidates, mix.weight, excess)),
        pairs=member.size,
        members=int(member.sum()),
        non_members=int((~member).sum()),
        tpr_at_fpr=tuple(_rate(heldout.operating_point(logit, member, parts, fpr), fpr) for fpr in FPRS),
        strata=tuple(_stratum(name, known, logit, candidates, excess) for name in STRATA),
        brier=metrics.brier(at_half, label),
        log_loss=metrics.log_loss(at_half, label),
        ece=metrics.ece(at_half, label),
        reliability=_reliability(at_half, label, parts),
        nearness=results.Nearness(edges=mix.edges[:-1], target=mix.target, shadows=mix.shadows, thin=mix.thin),
    )


def _rate(point: metrics.OperatingPoint, fpr: float) -> Rate:
    if not point.attainable:
        return Rate(fpr=fpr, why=point.why)
    return Rate(
        fpr=fpr,
        tpr=point.tpr,
        interval=point.interval,
        true_positives=point.true_positives,
        members=point.members,
        false_positives=point.false_positives,
        non_members=point.non_members,
        fpr_interval=point.fpr_interval,
    )


def _stratum(name: str, known: Labelled, logit: np.ndarray, candidates: int, excess: float) -> Stratum:
    """Members against non-members of one kind, a name of STRATA."""
    member, related = known.shadow_signals.member, known.shadow_signals.holds_relative
    others = ~member & (related if name == "related" else ~related)
    return Stratum(
        **vars(_auc_figures(known, logit, candidates, others.astype(float), excess)),
        stratum=name,
        members=int(member.sum()),
        non_members=int(others.sum()),
    )


def _reliability(at_half: np.ndarray, label: np.ndarray, parts: heldout.Split) -> tuple[results.ReliabilityRow, ...]:
    """at_half, label [pair]: probabilities at a prior of one half, and the answers."""
    rows = metrics.reliability(at_half, label, groups=parts.groups.ravel(), across=parts.shadows.ravel())
    return tuple(
        results.ReliabilityRow(
            mean_probability=row["probability"],
            observed=row["share"],
            count=row["items"],
            interval=(row["share_low"], row["share_high"]),
        )
        for row in rows
    )


def _signal_figures(
    known: Labelled, z: np.ndarray, combiners: list[Combiner], candidates: int, weight: np.ndarray
) -> tuple[Signal, ...]:
    """Each calibrated signal alone, and its mean weight in the attack."""

    def figures(column: int, name: str) -> Signal:
        found = _auc_figures(known, z[..., column], candidates, weight)
        mean = float(np.mean([combiner.weights[column] for combiner in combiners]))
        return Signal(name=name, auc=found.auc, interval=found.interval, why=found.why, weight=mean)

    return tuple(figures(j, name) for j, name in enumerate(known.shadow_signals.names))


@dataclass(frozen=True)
class _Limits:
    """used: scores at or above are called used; not_used: at or below, not used; priors: what the first means at other
    priors."""

    used: float | None
    not_used: float | None
    priors: tuple[PriorRow, ...]


def _thresholds(logit: np.ndarray, known: Labelled, parts: heldout.Split, fpr: float) -> _Limits:
    """Frozen on the shadows: `used` at or above the first (false positive rate `fpr`), `not used` at or below the
    second (share `fpr` of members missed), and what the first means at other priors. What it means is measured with
    thresholds that were set on other pairs (`heldout`)."""
    member = known.shadow_signals.member
    label = member.ravel().astype(int)
    used = metrics.tpr_at_fpr(logit.ravel(), label, fpr)
    missed = metrics.tpr_at_fpr(-logit.ravel(), 1 - label, fpr)
    high = used.threshold
    low = None if missed.threshold is None else -missed.threshold
    if high is not None and low is not None and low >= high:  # so well separated that the zones overlap
        low = float(np.nextafter(high, -np.inf))
    held = heldout.operating_point(logit, member, parts, fpr)
    return _Limits(high, low, tuple(_prior_row(held, prior) for prior in PRIORS))


def _prior_row(held: metrics.OperatingPoint, prior: float) -> PriorRow:
    ppv = None if held.tpr is None or held.fpr is None else metrics.ppv_at_prior(held.tpr, held.fpr, prior)
    return PriorRow(prior=prior, tpr=held.tpr, fpr=held.fpr, ppv=ppv)

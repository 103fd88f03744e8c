"""The stage `predict` of the question "whose data?": the model is fitted, checked, and asked about unlabelled piles."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from attack.decision import submission
from attack.decision.attribution import checking, pile_answers
from attack.decision.attribution.pile_answers import Votes
from attack.evidence import by_subset
from attack.evidence.by_subset import SubsetEvidence
from attack.inference.attribution import by_shadow
from attack.inference.attribution.choice import Choice
from attack.metrics import intervals
from attack.results import Figure
from attack.results.attributed import (
    Attribution,
    Checked,
    Nearness,
    PileAnswer,
    PileShare,
    SharedSlices,
    SubsetCounts,
)
from shadow import files, fleet, keys
from shadow.config import Config
from shadow.data import subsets
from shadow.data.manifest import Manifest

RESULT = "attribution.json"  # below `attack`
PREDICTIONS, PILES = "predictions.csv", "piles.csv"


@dataclasses.dataclass(frozen=True, eq=False)
class _Asker:
    """What is asked with. resampled: models of shadows drawn anew; prior: float64 [answer]; group: int [slice], the
    patient or cluster of each real slice; temper: see `pile_answers.fit`."""

    evidence: SubsetEvidence
    model: Choice
    resampled: Sequence[Choice]
    prior: np.ndarray
    group: np.ndarray
    temper: float
    config: Config


def predict(workdir: Path, manifest: Manifest, config: Config) -> None:
    """Writes predictions.csv, piles.csv, submission.csv and attack/attribution.json.

    Raises UserError where a subset has too few shadows.
    """
    attack, evidence, real = config.attack, by_subset.read(workdir), subsets.read(manifest)
    group = pile_answers.numbered(manifest.group[manifest.rows("reference")])
    near = by_shadow.regime(evidence)
    known = by_shadow.lessons(evidence, near.step, attack.folds)
    listed, hidden = by_shadow.held_out(known, attack)
    temper = pile_answers.fit(known, listed, hidden, group[known.slice], attack.none)
    prior = pile_answers.prior_of(len(real.names), attack.none)
    asker = _Asker(
        evidence,
        by_shadow.fit(known, attack),
        by_shadow.resampled(known, attack),
        prior,
        group,
        temper,
        config,
    )
    of_shadows = checking.Answered(
        listed, known.made_from, real.of[known.slice], group[known.slice], known.shadow, fixed=False
    )
    asked = [i for i, pile in enumerate(evidence.piles) if pile.shadow < 0 and pile.subset < 0]
    piles = tuple(_pile_answer(asker, number) for number in asked)
    _write_predictions(workdir, asker, asked)
    _write_piles(workdir, piles)
    present = fleet.present(workdir, config)
    Attribution(
        subsets=tuple(
            SubsetCounts(name=name, slices=int((real.of == s).sum()), groups=len(np.unique(group[real.of == s])))
            for s, name in enumerate(real.names)
        ),
        shared=tuple(SharedSlices(**vars(one)) for one in subsets.shared(manifest, real)),
        shadows=len(known.fold),
        shadows_missing=tuple(sorted(set(range(config.fleet.shadows)) - set(present))),
        nearness=Nearness(**vars(near), outside=near.outside),
        flips=evidence.flips,
        none=attack.none,
        weights=dict(zip(evidence.columns, asker.model.weights.tolist(), strict=True)),
        temper=temper,
        held_out=checking.figures(of_shadows, hidden),
        labelled=_labelled(asker, real.of),
        piles=piles,
    ).write(workdir / "attack" / RESULT)


def _labelled(asker: _Asker, subset: np.ndarray) -> Checked | None:
    """Figures of the generated images whose subset is known; subset: int [slice]."""
    evidence = asker.evidence
    own = [i for i, pile in enumerate(evidence.piles) if pile.shadow < 0 <= pile.subset]
    if not own:
        return None
    here = np.isin(evidence.pile, own)
    values, nearest, pile = evidence.values[here].astype(np.float64), evidence.slice[here], evidence.pile[here]
    truth = np.array([one.subset for one in evidence.piles])[pile]
    none = asker.config.attack.none
    even = 1 / len(evidence.names)
    return checking.figures(
        checking.Answered(
            asker.model.probabilities(values, none), truth, subset[nearest], asker.group[nearest], pile, fixed=True
        ),
        asker.model.probabilities(values, even, truth),
    )


def _write_predictions(workdir: Path, asker: _Asker, asked: Sequence[int]) -> None:
    """Writes predictions.csv with a row for each image of the piles `asked`, and submission.csv."""
    evidence, rows = asker.evidence, []
    ids: list[str] = []
    labels: list[int] = []
    names = (*evidence.names, subsets.NONE)
    for number in asked:
        pile = evidence.piles[number]
        values = evidence.values[evidence.pile == number].astype(np.float64)
        stated = asker.model.probabilities(values, asker.config.attack.none)
        for name, row in zip(pile.ids, stated, strict=True):
            rows.append((name, pile.name, names[int(row.argmax())], *(f"{value:.6f}" for value in row)))
        ids += pile.ids
        labels += asker.model.log_odds(values).argmax(1).tolist()
    header = ("id", "pile", "subset", *(f"probability_{name}" for name in names))
    files.write_csv(workdir / PREDICTIONS, header, rows)
    layout = submission.of_subsets(asker.config, evidence.names)
    submission.write(workdir / "submission.csv", submission.ids_of_piles(ids), labels, layout)


def _write_piles(workdir: Path, piles: Sequence[PileAnswer]) -> None:
    """Writes piles.csv with a row for each pile and answer."""
    table = []
    for pile in piles:
        for one in pile.answers:
            values = [*vars(one.share).values(), *vars(one.probability).values()]
            table.append((pile.name, pile.images, pile.units, one.answer, *(f"{value:.6f}" for value in values)))
    columns = [f"{name}{end}" for name in ("share", "probability") for end in ("", "_low", "_high")]
    files.write_csv(workdir / PILES, ("pile", "images", "units", "subset", *columns), table)


def _pile_answer(asker: _Asker, number: int) -> PileAnswer:
    """Shares and probabilities of one pile, with intervals over units and shadows that are drawn anew."""
    evidence, prior, temper, none = asker.evidence, asker.prior, asker.temper, asker.config.attack.none
    here = evidence.pile == number
    values, unit = evidence.values[here].astype(np.float64), pile_answers.numbered(asker.group[evidence.slice[here]])

    def answered(model: Choice, counts: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        votes = Votes(model.probabilities(values, none), unit)
        found = pile_answers.evidence(votes, prior, counts)
        return pile_answers.shares(votes, prior, counts), pile_answers.whole(found, prior, temper)

    best = answered(asker.model, None)
    units = int(unit.max()) + 1
    rng = keys.generator(asker.config.attack.seed, "attribution/units", number)
    counts = intervals.resample_counts(units, len(asker.resampled), rng)
    drawn = [answered(model, each) for model, each in zip(asker.resampled, counts, strict=True)]
    answers = tuple(
        PileShare(
            answer=name,
            share=_figure(best[0][i], [one[i] for one, _ in drawn]),
            probability=_figure(best[1][i], [one[i] for _, one in drawn]),
        )
        for i, name in enumerate((*evidence.names, subsets.NONE))
    )
    return PileAnswer(name=evidence.piles[number].name, images=int(here.sum()), units=units, answers=answers)


def _figure(value: float, drawn: Sequence[float]) -> Figure:
    low, high = intervals.percentile_interval(drawn)
    return Figure(value=float(value), low=min(low, float(value)), high=max(high, float(value)))

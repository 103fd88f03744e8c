"""Shadows in the place of the target, and by how much they say that the comparison varies."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from attack.decision import placebo, unlabelled
from attack.decision.placebo import Placebo
from attack.decision.unlabelled import Inflation
from attack.inference import controls, target
from attack.inference.crossfit import Options
from shadow import keys

OPTIONS = Options(references=8, folds=2, ridge=1.0, seed=0)
SIZE = controls.Size()
RUNS = 6_000
ASKED, POOL = 1000 + np.arange(SIZE.test), np.arange(SIZE.dev)  # every slice is a patient


@pytest.mark.parametrize("true", [1.0, 4.0, 40.0])
def test_an_inflation_that_is_estimated_from_few_placebos_keeps_the_level(true):
    """The area varies `true` times as much as its own variance says; sixteen placebos tell by how much."""
    rng, free, below, plain = np.random.default_rng(0), 60.0, 0, 0
    for _ in range(RUNS):
        z = np.sqrt(true) * rng.normal(size=17)
        far = [unlabelled.Contrast(0.5 + 0.01 * x, 1e-4, free, 100, 50, 50, 30) for x in z]
        by = Placebo(tuple(far[1:]), ()).inflation
        below += far[0].inflated(by).p < 0.01
        plain += stats.t.sf(z[0] / np.sqrt(by.factor), free) < 0.01
    print(f"\nbelow .01: {below / RUNS:.4f}, with the comparison's own degrees of freedom {plain / RUNS:.4f}")
    assert below / RUNS < 0.013
    assert true == 1.0 or plain / RUNS > 0.015


@pytest.mark.parametrize("share", [0.0, 1.0])
@pytest.mark.parametrize("shift", [0.25, 1.0, 3.0])
def test_candidates_that_placebos_see_too_low_are_held_against_half_of_that(share, shift):
    """On the shadows unused candidates stand `shift` standard errors too low, on the target a share of that."""
    rng, below, plain, runs = np.random.default_rng(0), 0, 0, 2_500
    for _ in range(runs):
        z = rng.normal(size=17) - shift
        z[0] += (1 - share) * shift
        far = [unlabelled.Contrast(0.5 + 0.01 * x, 1e-4, 1e9, 100, 50, 50, 30) for x in z]
        by = Placebo(tuple(far[1:]), ()).inflation
        below += far[0].inflated(by).p < 0.01
        plain += far[0].inflated(dataclasses.replace(by, centre=0.5)).p < 0.01
    assert below / runs < 0.018
    assert plain <= below


def test_where_placebos_see_candidates_too_high_the_whole_shift_is_allowed_for():
    """With a factor of 1 too: it is what accuses."""
    far = [unlabelled.Contrast(0.5 + z * 0.1, 0.01, 10.0, 50, 50, 10, 10) for z in (1.0, 2.0, 2.0)]
    assert Placebo(tuple(far), ()).inflation.centre == pytest.approx(0.5 + 0.5 / 3)
    high = unlabelled.Contrast(0.56, 1e-4, 100.0, 50, 50, 10, 10)
    calm = [dataclasses.replace(high, area=0.502, variance=1e-2, freedom=10.0)] * 4
    by = Placebo(tuple(calm), ()).inflation
    assert by.factor == 1
    assert high.inflated(by).centre == pytest.approx(0.502)
    assert high.inflated(by).p > high.p
    low = dataclasses.replace(by, centre=0.498)
    assert high.inflated(low) == high


def test_the_inflation_is_the_mean_square_of_standardised_areas():
    far = [unlabelled.Contrast(0.5 + z * 0.1, 0.01, 10.0, 50, 50, 10, 10) for z in (1.0, -2.0, 2.0)]
    assert Placebo(tuple(far), ()).inflation.factor == pytest.approx(3.0 * 0.8)
    t = stats.t.rvs(10, size=20_000, random_state=0)  # where patients are all that varies there is none
    calm = [unlabelled.Contrast(0.5 + z * 0.1, 0.01, 10.0, 50, 50, 10, 10) for z in t]
    assert Placebo(tuple(calm), ()).inflation.factor == pytest.approx(1.0, abs=0.05)
    low = Placebo(tuple(far[1:2]), ()).inflation
    assert (low.placebos, low.centre) == (1, pytest.approx(0.5 + (0.3 - 0.5) / 2))
    assert Placebo(tuple(far[:1]), ()).inflation == Inflation(1.0, 1, 0.6)
    assert Placebo((), ()).inflation == Inflation(1.0, 0)


@pytest.fixture(scope="module")
def null():
    return controls.evidence_of(0.0, 3, SIZE)


def test_a_placebo_compares_the_candidates_with_each_shadows_non_members(null):
    found = placebo.placebo(null.data, null.asked, OPTIONS, 1, ASKED, POOL)
    assert len(found.contrasts) == SIZE.shadows
    assert [above.shape for above in found.above] == [(SIZE.test,)] * SIZE.shadows
    assert 0 < np.min(found.above) <= np.max(found.above) <= 1
    # shadow 2 by hand: it stands for the target, and is a reference of nobody
    k, others = 2, [j for j in range(SIZE.shadows) if j != 2]
    rest, alone = null.data.only(others), dataclasses.replace(OPTIONS, aside=1)
    outside = ~null.data.shadow_signals.member[k]
    shadow_signals = dataclasses.replace(
        null.asked.shadow_signals,
        values=null.asked.shadow_signals.values[others],
        references=null.asked.shadow_signals.references[:, others],
        member=null.asked.shadow_signals.member[others],
        holds_relative=null.asked.shadow_signals.holds_relative[others],
    )
    own = null.data.shadow_signals.values[k]
    asked = target.Target(own, null.asked.shadow_signals.values[k], outside, shadow_signals, null.asked.ids)
    fitted = target.fit_draws(rest, alone, 1)
    score = target.score(rest, asked, fitted, alone)
    pool = target.Target(own, own, outside, rest.shadow_signals, rest.ids)
    nulls = target.score(rest, pool, fitted, alone)[outside]
    area = np.mean(score[:, None] > nulls[None]) + np.mean(score[:, None] == nulls) / 2
    assert found.contrasts[k].area == pytest.approx(area)
    assert (found.contrasts[k].candidates, found.contrasts[k].nulls) == (SIZE.test, outside.sum())
    above = np.array([(1 + (nulls >= s).sum()) / (1 + len(nulls)) for s in score])
    np.testing.assert_allclose(found.above[k], above)


def test_candidates_that_shadows_hold_are_no_non_members_of_a_placebo(null, monkeypatch):
    """The last twelve images of the pool are asked about, and half of the shadows hold each."""
    monkeypatch.setattr(placebo, "LEAST", 2)
    data, asked = null.data, np.arange(len(null.data.ids)) >= len(null.data.ids) - 12
    shadow_signals = data.shadow_signals.about(np.flatnonzero(asked))
    ids = tuple(np.array(data.ids)[asked].tolist())
    among = dataclasses.replace(
        null.asked, shadow_signals=shadow_signals, ids=ids, pile_candidates=null.asked.pile_pool[asked]
    )
    found = placebo.placebo(data, among, OPTIONS, 1, POOL[asked], POOL)
    free = ~data.shadow_signals.member
    assert [one.candidates for one in found.contrasts] == free[:, asked].sum(1).tolist()
    assert [one.nulls for one in found.contrasts] == free[:, ~asked].sum(1).tolist()


def test_a_placebo_of_candidates_like_the_others_shows_nothing(null):
    found = placebo.placebo(null.data, null.asked, OPTIONS, 1, ASKED, POOL)
    assert abs(np.mean([one.area for one in found.contrasts]) - 0.5) < 0.1
    assert 1.0 <= found.inflation.factor < 3.0
    assert found.inflation.placebos == SIZE.shadows
    assert found.flagged(0.1).shape == (SIZE.shadows,)
    assert 0.0 < found.share(0.1) <= 0.1


def test_candidates_that_shadows_would_flag_too_often_get_a_smaller_share():
    rng = keys.generator(0, "test")
    odd = Placebo((), tuple(rng.random((4, 1000)) ** 2))  # .32 of them in the highest tenth
    assert odd.flagged(0.1).mean() == pytest.approx(np.sqrt(0.1), abs=0.02)
    assert odd.share(0.1) == pytest.approx(0.01, abs=0.004)
    assert odd.flagged(odd.share(0.1)).mean() <= 0.1
    fair = Placebo((), tuple(rng.integers(1, 22, (4, 60)) / 21))  # with 20 non-members
    assert fair.share(0.1) == 0.1  # what is not clearly more is chance
    assert Placebo((), ()).share(0.1) == 0.1

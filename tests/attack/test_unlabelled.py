import dataclasses

import numpy as np
import pytest
from scipy import stats

from attack import controls, target, unlabelled
from attack.crossfit import Options
from attack.unlabelled import Inflation
from shadow import keys

OPTIONS = Options(references=8, folds=2, ridge=1.0, seed=0)
SIZE = controls.Size()
ASKED, POOL = 1000 + np.arange(SIZE.test), np.arange(SIZE.dev)  # every slice is a patient


def by_hand(score, null, group, null_group):
    """Area, variance and degrees of freedom by naive loops: influences summed by patient, each side with its own."""
    area = np.mean([[(a > b) + 0.5 * (a == b) for b in null] for a in score])
    mine, theirs = {}, {}
    for a, g in zip(score, group, strict=True):
        mine[g] = mine.get(g, 0.0) + (np.mean([(a > b) + 0.5 * (a == b) for b in null]) - area) / len(score)
    for b, g in zip(null, null_group, strict=True):
        theirs[g] = theirs.get(g, 0.0) + (np.mean([(a > b) + 0.5 * (a == b) for a in score]) - area) / len(null)
    parts = [sum(v**2 for v in side.values()) * len(side) / (len(side) - 1) for side in (mine, theirs)]
    both = 2 * sum(mine[g] * theirs[g] for g in mine.keys() & theirs.keys())
    freedom = sum(parts) ** 2 / sum(p**2 / (len(s) - 1) for p, s in zip(parts, (mine, theirs), strict=True))
    return area, sum(parts) + both, freedom


def made(rng, patients=20, slices=4, null_patients=15, alike=0.5, shift=0.0, share=0.5):
    """(score, null, group, null_group) with patient effects; a share of the candidates stands `shift` higher."""
    group, null_group = np.repeat(np.arange(patients), slices), patients + np.repeat(np.arange(null_patients), slices)
    shared = np.sqrt(alike) * rng.normal(size=patients + null_patients)
    score, null = (shared[g] + np.sqrt(1 - alike) * rng.normal(size=len(g)) for g in (group, null_group))
    return score + shift * (rng.random(len(score)) < share), null, group, null_group


def test_the_area_and_its_variance_are_those_of_a_naive_loop():
    rng = np.random.default_rng(0)
    score, null = rng.integers(0, 6, 17).astype(float), rng.integers(0, 6, 12).astype(float)  # with ties
    group, null_group = rng.integers(0, 6, 17), rng.integers(4, 9, 12)  # some patients are on both sides
    found = unlabelled.contrast(score, null, group, null_group)
    area, variance, freedom = by_hand(score, null, group, null_group)
    assert found.freedom == pytest.approx(freedom)
    assert found.area == pytest.approx(area)
    assert found.variance == pytest.approx(variance)
    assert found.p == pytest.approx(stats.t.sf((area - 0.5) / np.sqrt(variance), found.freedom))
    assert (found.candidates, found.nulls) == (17, 12)


def test_the_level_holds_with_patients_as_units():
    p = []
    for seed in range(800):
        p.append(unlabelled.contrast(*made(np.random.default_rng(seed))).p)
    p = np.array(p)
    for level in (0.01, 0.025, 0.1):  # upper limits of 99.9 % of so many runs
        assert (p < level).mean() <= stats.binom.ppf(0.999, len(p), level) / len(p)
    assert (p < 0.1).mean() > 0.05  # and it is no test that never rejects


def test_the_auc_of_used_against_unused_candidates_is_found_without_a_label():
    truth, found, held = stats.norm.cdf(1.2 / np.sqrt(2)), [], 0
    for seed in range(200):
        contrast = unlabelled.contrast(*made(np.random.default_rng(seed), 60, 2, 40, 0.2, 1.2))
        found.append(contrast.auc(0.5))
        low, high = contrast.interval(0.5)
        held += low <= truth <= high
    assert np.mean(found) == pytest.approx(truth, abs=0.02)
    assert held >= 0.9 * 200


def test_labels_and_candidates_together_find_the_auc_with_the_right_spread():
    shift, held, found, variance = 1.2, 0, [], []
    truth = stats.norm.cdf(shift / np.sqrt(2))
    for seed in range(300):
        rng = np.random.default_rng(seed)
        score, null, group, null_group = made(rng, 50, 2, 20, 0.3, shift)
        labelled = made(rng, 20, 2, 2, 0.3, shift, 1.0)[0]  # all of them used
        used = unlabelled.Slices(labelled, 10_000 + np.repeat(np.arange(20), 2))
        sides = unlabelled.Slices(score, group), unlabelled.Slices(null, null_group), used
        both = unlabelled.pooled(*sides, 0.0, 0.5, Inflation())
        low, high = both.interval()
        held += low <= truth <= high
        found.append(both.auc)
        variance.append(both.variance)
    assert np.mean(found) == pytest.approx(truth, abs=0.01)
    assert held >= 0.92 * 300
    # the chance of judging on other slices is in the variance, and not in this spread
    assert 1.0 < np.mean(variance) / np.var(found) < 2.0
    assert unlabelled.pooled(*sides, 0.0, 0.5, Inflation(4.0, 16)).variance > both.variance


def test_labels_that_stand_apart_perfectly_are_no_certainty():
    """Of 20 and 20 slices next to none of their own spread is left; an interval for them reaches down to .83."""
    rng = np.random.default_rng(0)
    null, used = rng.normal(size=20), rng.normal(size=20) + 50
    score = np.concatenate([rng.normal(size=30), rng.normal(size=30) + 50])
    sides = [
        unlabelled.Slices(values, 100 * i + np.arange(len(values))) for i, values in enumerate((score, null, used))
    ]
    both = unlabelled.pooled(*sides, 1 - 0.8316, 0.5, Inflation())
    low, high = both.interval()
    assert both.auc > 0.97
    assert 0.8 < low < 0.93
    assert high == 1.0


def test_another_prior_means_another_auc():
    found = unlabelled.contrast(*made(np.random.default_rng(0), shift=1.0))
    assert found.auc(0.25) - 0.5 == pytest.approx(2 * (found.auc(0.5) - 0.5))
    low, high = found.interval(0.01)
    assert (low, high) == (0.0, 1.0) or 0 <= low <= high <= 1


def test_an_auc_that_is_stated_only_where_it_is_significant_is_not_flattered():
    """Of runs of a faint leak that pass the limit, half state more and half less, as far as their interval allows."""
    error, truth, limit = 0.04, 0.66, 0.01
    plain, stated = [], []
    for z in np.random.default_rng(0).normal((truth - 0.5) * 0.5 / error, 1, 20_000):
        found = unlabelled.Contrast(0.5 + z * error, error**2, 1e9, 100, 100, 100, 100)
        if found.p < limit:
            plain.append(found.auc(0.5))
            stated.append(found.auc_after(limit, 0.5))
            low, high = found.interval(0.5)
            assert low <= stated[-1] <= min(found.auc(0.5), 1.0) <= high
    assert np.mean(np.array(plain) > truth) > 0.9
    assert np.mean(np.array(stated) > truth) == pytest.approx(0.5, abs=0.03)
    far = unlabelled.Contrast(0.74, 0.03**2, 1e9, 100, 100, 100, 100)
    assert far.auc_after(limit, 0.5) == pytest.approx(far.auc(0.5), abs=1e-3)
    with pytest.raises(ValueError, match="not below"):
        unlabelled.Contrast(0.5, 0.03**2, 1e9, 100, 100, 100, 100).auc_after(limit, 0.5)


def test_complete_separation_is_no_certainty():
    found = unlabelled.contrast(np.arange(10) + 100.0, np.arange(10.0), np.arange(10), 50 + np.arange(10))
    assert found.area == 1
    assert 0 < found.p < 1e-6
    same = unlabelled.contrast(np.zeros(10), np.zeros(10), np.arange(10), 50 + np.arange(10))
    assert same.p == pytest.approx(0.5)
    low, high = same.interval(0.5)
    assert low < 0.5 < high


def test_one_patient_is_no_comparison():
    with pytest.raises(ValueError, match="one patient"):
        unlabelled.contrast(np.zeros(5), np.zeros(5), np.zeros(5, int), np.arange(5))


def test_the_variance_is_widened_and_never_narrowed():
    found = unlabelled.contrast(*made(np.random.default_rng(0)))
    assert found.inflated(Inflation(0.5, 16)) == found.inflated(Inflation()) == found
    wide = found.inflated(Inflation(4.0, 16))
    assert wide.variance == found.variance * 4
    assert wide.freedom == pytest.approx(1 / (1 / found.freedom + 1 / 16))


@pytest.mark.parametrize("true", [1.0, 4.0, 40.0])
def test_an_inflation_that_is_estimated_from_few_placebos_keeps_the_level(true):
    """The area varies `true` times as much as its own variance says; sixteen placebos tell by how much."""
    rng, free, below, plain = np.random.default_rng(0), 60.0, 0, 0
    for _ in range(20_000):
        z = np.sqrt(true) * rng.normal(size=17)
        far = [unlabelled.Contrast(0.5 + 0.01 * x, 1e-4, free, 100, 50, 50, 30) for x in z]
        by = unlabelled.Placebo(tuple(far[1:]), ()).inflation
        below += far[0].inflated(by).p < 0.01
        plain += stats.t.sf(z[0] / np.sqrt(by.factor), free) < 0.01
    print(f"\nbelow .01: {below / 20_000:.4f}, with the comparison's own degrees of freedom {plain / 20_000:.4f}")
    assert below / 20_000 < 0.013
    assert true == 1.0 or plain / 20_000 > 0.015


def test_the_inflation_is_the_mean_square_of_standardised_areas():
    far = [unlabelled.Contrast(0.5 + z * 0.1, 0.01, 10.0, 50, 50, 10, 10) for z in (1.0, -2.0, 2.0)]
    assert unlabelled.Placebo(tuple(far), ()).inflation.factor == pytest.approx(3.0 * 0.8)
    t = stats.t.rvs(10, size=20_000, random_state=0)  # where patients are all that varies there is none
    calm = [unlabelled.Contrast(0.5 + z * 0.1, 0.01, 10.0, 50, 50, 10, 10) for z in t]
    assert unlabelled.Placebo(tuple(calm), ()).inflation.factor == pytest.approx(1.0, abs=0.05)
    assert unlabelled.Placebo(tuple(far[:1]), ()).inflation == Inflation(1.0, 1)
    assert unlabelled.Placebo((), ()).inflation == Inflation(1.0, 0)


def test_names_of_patients_are_numbered_together():
    first, second = unlabelled.numbered(["b", "a", "b"], ["c", "a"])
    assert first[0] == first[2] != first[1] == second[1]
    assert second[0] not in first


@pytest.fixture(scope="module")
def null():
    return controls.evidence_of(0.0, 3, SIZE)


def test_a_placebo_compares_the_candidates_with_each_shadows_non_members(null):
    found = unlabelled.placebo(null.data, null.asked, OPTIONS, 1, ASKED, POOL)
    assert len(found.contrasts) == SIZE.shadows
    assert [above.shape for above in found.above] == [(SIZE.test,)] * SIZE.shadows
    assert 0 < np.min(found.above) <= np.max(found.above) <= 1
    # shadow 2 by hand: it stands for the target, and is a reference of nobody
    k, others = 2, [j for j in range(SIZE.shadows) if j != 2]
    rest, alone = null.data.only(others), dataclasses.replace(OPTIONS, aside=1)
    outside = ~null.data.bank.member[k]
    bank = dataclasses.replace(
        null.asked.bank,
        values=null.asked.bank.values[others],
        references=null.asked.bank.references[:, others],
        member=null.asked.bank.member[others],
        touched=null.asked.bank.touched[others],
    )
    own = null.data.bank.values[k]
    asked = target.Target(own, null.asked.bank.values[k], outside, bank, null.asked.ids)
    fitted = target.fit_draws(rest, alone, 1)
    score = target.score(rest, asked, fitted, alone)
    pool = target.Target(own, own, outside, rest.bank, rest.ids)
    nulls = target.score(rest, pool, fitted, alone)[outside]
    area = np.mean(score[:, None] > nulls[None]) + np.mean(score[:, None] == nulls) / 2
    assert found.contrasts[k].area == pytest.approx(area)
    assert (found.contrasts[k].candidates, found.contrasts[k].nulls) == (SIZE.test, outside.sum())
    above = np.array([(1 + (nulls >= s).sum()) / (1 + len(nulls)) for s in score])
    np.testing.assert_allclose(found.above[k], above)


def test_candidates_that_shadows_hold_are_no_non_members_of_a_placebo(null, monkeypatch):
    """The last twelve images of the pool are asked about, and half of the shadows hold each."""
    monkeypatch.setattr(unlabelled, "LEAST", 2)
    data, asked = null.data, np.arange(len(null.data.ids)) >= len(null.data.ids) - 12
    bank = data.bank.about(np.flatnonzero(asked))
    ids = tuple(np.array(data.ids)[asked].tolist())
    among = dataclasses.replace(null.asked, bank=bank, ids=ids, pile_candidates=null.asked.pile_pool[asked])
    found = unlabelled.placebo(data, among, OPTIONS, 1, POOL[asked], POOL)
    free = ~data.bank.member
    assert [one.candidates for one in found.contrasts] == free[:, asked].sum(1).tolist()
    assert [one.nulls for one in found.contrasts] == free[:, ~asked].sum(1).tolist()


def test_a_placebo_of_candidates_like_the_others_shows_nothing(null):
    found = unlabelled.placebo(null.data, null.asked, OPTIONS, 1, ASKED, POOL)
    assert abs(np.mean([one.area for one in found.contrasts]) - 0.5) < 0.1
    assert 1.0 <= found.inflation.factor < 3.0
    assert found.inflation.placebos == SIZE.shadows
    assert found.flagged(0.1).shape == (SIZE.shadows,)
    assert 0.0 < found.share(0.1) <= 0.1


def test_candidates_that_shadows_would_flag_too_often_get_a_smaller_share():
    rng = keys.generator(0, "test")
    odd = unlabelled.Placebo((), tuple(rng.random((4, 1000)) ** 2))  # .32 of them in the highest tenth
    assert odd.flagged(0.1).mean() == pytest.approx(np.sqrt(0.1), abs=0.02)
    assert odd.share(0.1) == pytest.approx(0.01, abs=0.004)
    assert odd.flagged(odd.share(0.1)).mean() <= 0.1
    fair = unlabelled.Placebo((), tuple(rng.integers(1, 22, (4, 60)) / 21))  # with 20 non-members
    assert fair.share(0.1) == 0.1  # what is not clearly more is chance
    assert unlabelled.Placebo((), ()).share(0.1) == 0.1

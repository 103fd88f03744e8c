"""The candidates' comparison: by naive loops, at its level, and between slices of one kind."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from attack.decision import unlabelled
from attack.decision.unlabelled import Inflation, Slices


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
    """Candidates and others with patient effects; a share of the candidates stands `shift` higher."""
    group, null_group = np.repeat(np.arange(patients), slices), patients + np.repeat(np.arange(null_patients), slices)
    shared = np.sqrt(alike) * rng.normal(size=patients + null_patients)
    score, null = (shared[g] + np.sqrt(1 - alike) * rng.normal(size=len(g)) for g in (group, null_group))
    return Slices(score + shift * (rng.random(len(score)) < share), group), Slices(null, null_group)


def test_the_area_and_its_variance_are_those_of_a_naive_loop():
    rng = np.random.default_rng(0)
    score, null = rng.integers(0, 6, 17).astype(float), rng.integers(0, 6, 12).astype(float)  # with ties
    group, null_group = rng.integers(0, 6, 17), rng.integers(4, 9, 12)  # some patients are on both sides
    found = unlabelled.contrast(Slices(score, group), Slices(null, null_group))
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
        labelled = made(rng, 20, 2, 2, 0.3, shift, 1.0)[0].score  # all of them used
        sides = *made(rng, 50, 2, 20, 0.3, shift), Slices(labelled, 10_000 + np.repeat(np.arange(20), 2))
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
    sides = [Slices(values, 100 * i + np.arange(len(values))) for i, values in enumerate((score, null, used))]
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


@pytest.mark.parametrize("error", [0.03, 0.06, 0.09])
def test_an_auc_that_is_stated_only_where_it_is_significant_is_not_flattered(error):
    """Over generators of which half leak, by any AUC alike, what is stated of those that are called is right on
    average; the plain estimate is too high."""
    rng = np.random.default_rng(0)
    truth = np.where(rng.random(4_000) < 0.5, 0.5, rng.uniform(0.5, 1, 4_000))
    missed: list[tuple[float, float]] = []
    for auc, chance in zip(truth, rng.normal(0, error, len(truth)), strict=True):
        found = unlabelled.Contrast(0.5 + (auc - 0.5) / 2 + chance, error**2, 1e9, 100, 100, 100, 100)
        if found.p < 0.01:
            stated, (low, high) = found.auc_weighed(0.5), found.interval(0.5)
            assert low <= stated <= min(found.auc(0.5), high)
            missed.append((found.auc(0.5) - auc, stated - auc))
    plain, stated = np.mean(missed, 0)
    assert plain > stated + 0.01
    assert abs(stated) < 3 * np.std([m[1] for m in missed]) / np.sqrt(len(missed))


def test_an_auc_far_past_the_limit_is_the_plain_estimate():
    found = unlabelled.Contrast(0.7, 0.01**2, 1e9, 100, 100, 100, 100)
    assert found.auc_weighed(0.5) == pytest.approx(found.auc(0.5), abs=1e-3)


def test_the_mean_of_the_auc_is_that_of_bayes():
    """By numbers: a grid of AUCs, half of the weight on none."""
    found = unlabelled.Contrast(0.64, 0.05**2, 12.0, 100, 100, 100, 100)
    top = bottom = 0.0
    for auc in np.linspace(0.5, 1, 2001):
        weight = stats.t(12.0).pdf((0.64 - 0.5 - (auc - 0.5) * 0.4) / 0.05) * (2000 if auc == 0.5 else 1)
        top, bottom = top + weight * auc, bottom + weight
    assert found.auc_weighed(0.4) == pytest.approx(top / bottom, abs=1e-3)


def test_complete_separation_is_no_certainty():
    others = 50 + np.arange(10)
    found = unlabelled.contrast(Slices(np.arange(10) + 100.0, np.arange(10)), Slices(np.arange(10.0), others))
    assert found.area == 1
    assert 0 < found.p < 1e-6
    same = unlabelled.contrast(Slices(np.zeros(10), np.arange(10)), Slices(np.zeros(10), others))
    assert same.p == pytest.approx(0.5)
    low, high = same.interval(0.5)
    assert low < 0.5 < high


def test_one_patient_is_no_comparison():
    with pytest.raises(ValueError, match="one patient"):
        unlabelled.contrast(Slices(np.zeros(5), np.zeros(5, int)), Slices(np.zeros(5), np.arange(5)))


def test_the_variance_is_widened_and_never_narrowed():
    found = unlabelled.contrast(*made(np.random.default_rng(0)))
    assert found.inflated(Inflation(0.5, 16)) == found.inflated(Inflation()) == found
    wide = found.inflated(Inflation(4.0, 16))
    assert wide.variance == found.variance * 4
    assert wide.freedom == pytest.approx(1 / (1 / found.freedom + 1 / 16))
    lower = found.inflated(Inflation(4.0, 16, 0.45))
    assert lower.p == pytest.approx(stats.t.sf((found.area - 0.45) / np.sqrt(wide.variance), wide.freedom))
    assert lower.interval(0.5) == wide.interval(0.5)  # what is stated does not move


def test_names_of_patients_are_numbered_together():
    first, second = unlabelled.numbered(["b", "a", "b"], ["c", "a"])
    assert first[0] == first[2] != first[1] == second[1]
    assert second[0] not in first


# --- relatives of slices that are known to be used


def related(rng, count, nulls, share, null_share, lift):
    """Candidates and others of a patient each; shares of both have a relative that is known to be used, and stand
    `lift` higher for it."""
    kind, null_kind = rng.random(count) < share, rng.random(nulls) < null_share
    return (
        Slices(rng.normal(size=count) + lift * kind, np.arange(count), kind),
        Slices(rng.normal(size=nulls) + lift * null_kind, count + np.arange(nulls), null_kind),
    )


def test_each_candidate_is_compared_with_slices_of_its_kind_by_a_naive_loop():
    rng = np.random.default_rng(2)
    asked, null = related(rng, 31, 44, 0.4, 0.5, 1.0)
    found = unlabelled.contrast(asked, null)
    shares = [
        [(a > b) + 0.5 * (a == b) for b, theirs in zip(null.score, null.related, strict=True) if theirs == kind]
        for a, kind in zip(asked.score, asked.related, strict=True)
    ]
    assert found.area == pytest.approx(np.mean([np.mean(share) for share in shares]))
    # the variance of an area is that of the sum of what each patient, left out, takes from it (a jackknife)
    areas = [
        unlabelled.contrast(*(side.only(side.group != patient) for side in (asked, null))).area
        for patient in range(31 + 44)
    ]
    ours, others = np.split(np.array(areas) - found.area, [31])
    jackknife = sum((len(side) - 1) / len(side) * (side**2).sum() for side in (ours, others))
    assert found.variance == pytest.approx(jackknife, rel=0.1)
    assert (found.candidates, found.nulls, found.aside) == (31, 44, 0)


def test_relatives_of_used_slices_are_no_evidence():
    """Half of the candidates, and few other slices, have a used relative: without their kind nearly all runs are
    called; nobody is used."""
    p, blind = [], []
    for seed in range(300):
        asked, null = related(np.random.default_rng(seed), 80, 80, 0.5, 0.2, 1.5)
        p.append(unlabelled.contrast(asked, null).p)
        blind.append(unlabelled.contrast(*(Slices(side.score, side.group) for side in (asked, null))).p)
    assert (np.array(blind) < 0.01).mean() > 0.3
    assert (np.array(p) < 0.01).sum() <= stats.binom.ppf(0.999, 300, 0.01)
    assert (np.array(p) < 0.1).mean() > 0.04


def test_the_level_holds_where_most_candidates_are_compared_with_few_patients():
    """Of 80 candidates 60 have a used relative; so have ten slices known not to be used, of five patients."""
    p = []
    for seed in range(800):
        rng = np.random.default_rng(seed)
        null_group = np.concatenate([np.arange(10) // 2, 10 + np.arange(60)])
        shared = np.sqrt(0.5) * rng.normal(size=70)
        null = Slices(shared[null_group] + np.sqrt(0.5) * rng.normal(size=70), null_group, np.arange(70) < 10)
        asked = Slices(rng.normal(size=80), 100 + np.arange(80), np.arange(80) < 60)
        p.append(unlabelled.contrast(asked, null).p)
    assert (np.array(p) < 0.01).sum() <= stats.binom.ppf(0.999, 800, 0.01)
    assert (np.array(p) < 0.1).mean() > 0.04


def test_candidates_without_their_kind_stand_aside():
    rng = np.random.default_rng(0)
    asked, null = related(rng, 60, 40, 0.5, 0.0, 9.0)
    found, count = unlabelled.contrast(asked, null), int(asked.related.sum())
    assert (found.candidates, found.aside) == (60 - count, count)
    alone = unlabelled.contrast(asked.only(~asked.related), null)
    assert dataclasses.astuple(found) == pytest.approx(dataclasses.astuple(dataclasses.replace(alone, aside=count)))
    asked, null = related(rng, 30, 40, 1.0, 0.0, 9.0)
    with pytest.raises(ValueError, match="relatives of a used slice"):
        unlabelled.contrast(asked, null)


def test_candidates_without_a_used_relative_are_compared_with_all_where_others_are_too_few():
    asked, null = related(np.random.default_rng(0), 60, 40, 0.0, 1.0, 2.0)
    found = unlabelled.contrast(asked, null)
    assert (found.candidates, found.nulls, found.aside) == (60, 40, 0)
    assert found.area < 0.3  # it errs towards "not used"


def test_labels_and_candidates_together_know_relatives_too():
    rng = np.random.default_rng(1)
    asked, null = related(rng, 80, 80, 0.5, 0.2, 1.5)
    used = Slices(rng.normal(size=30), 1000 + np.arange(30))
    both = unlabelled.pooled(asked, null, used, 0.1, 0.5, Inflation())
    blind = unlabelled.pooled(*(Slices(s.score, s.group) for s in (asked, null, used)), 0.1, 0.5, Inflation())
    assert both.auc < blind.auc

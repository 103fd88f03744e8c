"""Patients against plain loops, and that a patient's line is its own."""

import csv

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from attack import metrics
from attack.inference import patients
from attack.inference.controls import Redraw
from attack.metrics import pooling
from shadow import keys
from shadow.config import Config
from shadow.data.manifest import Manifest

FLOATS = st.lists(st.floats(-20, 20), min_size=1, max_size=8)


@settings(deadline=None)  # a busy machine is no fault
@given(FLOATS)
def test_scores_against_their_formulas(values):
    score, chance = np.array(values), 1 / (1 + np.exp(-np.array(values)))
    assert pooling.logmeanexp(score) == pytest.approx(np.log(sum(np.exp(v) for v in values) / len(values)))
    best = sorted(values)[::-1][:3]
    assert pooling.top_mean(score) == pytest.approx(sum(best) / len(best))
    none = 1.0
    for p in chance:
        none *= 1 - p
    assert pooling.any_used(chance) == pytest.approx(1 - none, abs=1e-12)


@settings(deadline=None)  # a busy machine is no fault
@given(FLOATS, st.randoms())
def test_scores_do_not_depend_on_the_order_of_slices(values, random):
    mixed = random.sample(values, len(values))
    for how in pooling.SCORES.values():
        assert how(np.array(values)) == how(np.array(mixed))


def test_any_used_at_the_ends():
    assert pooling.any_used(np.array([0.0, 0.0])) == 0
    assert pooling.any_used(np.array([1.0, 0.3])) == 1
    assert pooling.any_used(np.array([1e-12])) == pytest.approx(1e-12, rel=1e-9)


def case(seed=0, slices=40, people=12):
    rng = np.random.default_rng(seed)
    ids = [f"slice{i}" for i in range(slices)]
    return ids, [f"p{g}" for g in rng.integers(0, people, slices)], rng.normal(size=slices), rng.random(slices)


def test_lines_of_patients_csv_against_a_loop():
    ids, patient, score, chance = case()
    lines = {row[0]: row for row in patients.rows(ids, patient, score, chance)}
    assert sorted(lines) == sorted(set(patient))
    for name, (_, count, mean, top, any_, first) in lines.items():
        mine = [i for i, p in enumerate(patient) if p == name]
        assert count == len(mine)
        assert float(mean) == pytest.approx(np.log(np.mean([np.exp(score[i]) for i in mine])), abs=1e-6)
        assert float(top) == pytest.approx(np.mean(sorted((score[i] for i in mine), reverse=True)[:3]), abs=1e-6)
        assert float(any_) == pytest.approx(1 - np.prod([1 - chance[i] for i in mine]), abs=1e-6)
        assert first == ids[max(mine, key=lambda i: score[i])]
    order = [float(row[2]) for row in patients.rows(ids, patient, score, chance)]
    assert order == sorted(order, reverse=True)


def test_a_patient_does_not_depend_on_who_else_is_asked_about():
    ids, patient, score, chance = case()
    whole = set(patients.rows(ids, patient, score, chance))
    for kept in ({"p1"}, {"p2", "p5", "p7"}, set(patient) - {"p3"}):
        rows = [i for i in range(len(ids)) if patient[i] in kept][::-1]
        part = patients.rows([ids[i] for i in rows], [patient[i] for i in rows], score[rows], chance[rows])
        assert {row[0] for row in part} == kept
        assert set(part) <= whole


def held_out(seed=0, shadows=6, people=10, size=3, leak=1.0):
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(people), size)
    member = np.array([rng.permutation(people) < people // 2 for _ in range(shadows)])[:, group]
    member[:, 0] = ~member[:, 0]  # a patient that is split
    return rng.normal(size=member.shape) + leak * member, member, group


def test_success_of_a_patient_against_a_loop():
    score, member, group = held_out()
    score[2, :6] = np.round(score[2, :6])  # ties
    found = patients.success(score, member, group)
    for g in range(10):
        shares = []
        for k in range(6):
            others = score[k, ~member[k]]
            for x in np.flatnonzero((group == g) & member[k]):
                shares.append(np.mean((others < score[k, x]) + 0.5 * (others == score[k, x])))
        assert found[g] == pytest.approx(np.mean(shares))


def test_patients_that_no_shadow_holds_have_no_success():
    found = patients.success(np.ones((1, 4)), np.array([[True, False, False, False]]), np.array([0, 0, 1, 1]))
    assert found[0] == 0.5
    assert np.isnan(found[1])


def test_figures_on_the_shadows():
    score, member, group = held_out(leak=1.5)
    score[:, group == 4] += 100.0 * member[:, group == 4]  # a patient that is always found
    found = patients.on_shadows(score, member, group, 30, 0)
    assert (found.patients, found.judged, found.above_all) == (10, 10, 1)
    assert list(found.success) == sorted(found.success)
    assert found.success[-1] == 1
    assert found.worst_decile == patients.worst_tenth(score, member, group, 0) > 0.9
    assert found.worst_decile_redrawn is found.worst_decile_redrawn_range is None
    assert found.worst_decile_patients == 1
    by_name = {row.score: row for row in found.auc}
    assert set(by_name) == set(pooling.SCORES)
    areas = []
    for k in range(6):
        label = np.array([member[k, group == g].any() for g in range(10)])
        pooled = [np.log(np.mean(np.exp(score[k, group == g]))) for g in range(10)]
        rank = stats.mannwhitneyu(np.array(pooled)[label], np.array(pooled)[~label]).statistic
        areas.append(rank / label.sum() / (~label).sum())
    row = by_name["logmeanexp"]
    assert row.auc == pytest.approx(np.mean(areas))
    assert row.prediction_interval[0] < row.interval[0] < row.auc < row.interval[1]


def test_where_every_patient_has_a_member_it_says_so():
    member = np.tile([True, False], (4, 6))
    found = patients.on_shadows(np.zeros((4, 12)), member, np.arange(12) // 2, 6, 0)
    assert all(row.auc is None and "members and non-members" in row.why for row in found.auc)


def test_score_gives_patients_a_table_and_a_calibration():
    _, patient, score, chance = case(slices=60, people=30)
    label = (score + np.random.default_rng(1).normal(size=60) > 0).astype(int)
    label[[i for i, name in enumerate(patient) if name in ("p1", "p2", "p3", "p4")]] = 0
    found = metrics.evaluate(score, label, chance, groups=patient).per_group
    for name in pooling.SCORES:
        figure = getattr(found, name)
        assert figure.low <= figure.value <= figure.high
    wrong = []
    for name in set(patient):
        mine = [i for i, p in enumerate(patient) if p == name]
        wrong.append((1 - np.prod(1 - chance[mine]) - label[mine].any()) ** 2)
    assert found.any_used.brier.value == pytest.approx(np.mean(wrong))


def test_clusters_are_no_patients(tmp_path):
    config, empty = Config(), np.zeros(0, np.str_)
    manifest = Manifest(tmp_path, *[empty] * 9)
    assert not patients.known(manifest, config)
    (tmp_path / "patients.csv").write_text("file,patient\n")
    assert patients.known(manifest, config)
    (tmp_path / "patients.csv").unlink()
    config.data.patients = "elsewhere.csv"
    assert patients.known(manifest, config)


def test_the_file_is_read_back(tmp_path):
    ids, patient, score, chance = case()
    patients.write(tmp_path, ids, patient, score, chance)
    with (tmp_path / "patients.csv").open(newline="") as stream:
        read = list(csv.reader(stream))
    assert tuple(read[0]) == patients.HEADER
    assert [tuple(map(str, row)) for row in patients.rows(ids, patient, score, chance)] == [tuple(r) for r in read[1:]]


def test_the_worst_tenth_of_pure_noise_is_found_by_chance_alone():
    """Chosen and judged on the same shadows it would be found in some 70 of 100 comparisons."""
    chosen, same = [], []
    for seed in range(12):
        score, member, group = held_out(seed, shadows=8, people=30, size=2, leak=0.0)
        chosen.append(patients.on_shadows(score, member, group, 30, seed).worst_decile)
        shares = patients.success(score, member, group)
        same.append(np.sort(shares[np.isfinite(shares)])[-3:].mean())
    assert np.mean(same) > 0.65
    assert abs(np.mean(chosen) - 0.5) < 0.04


def test_an_exposed_tenth_is_found_though_the_average_looks_harmless():
    score, member, group = held_out(0, shadows=8, people=30, size=2, leak=0.0)
    score += 4.0 * (member & (group < 3))
    assert patients.worst_tenth(score, member, group, 0) > 0.9
    assert np.nanmedian(patients.success(score, member, group)) < 0.6


def test_the_worst_tenth_against_a_loop():
    score, member, group = held_out(3, shadows=7, people=20, leak=0.5)
    found = []
    for turn in range(20):
        order = keys.generator(5, "patients/halves", turn).permutation(7)
        one, two = (patients.success(score[rows], member[rows], group) for rows in (order[:3], order[3:]))
        both = [g for g in range(20) if np.isfinite(one[g]) and np.isfinite(two[g])]
        mixed = keys.generator(5, "patients/ties", turn).permutation(len(both)).tolist()
        for chooses, judges in ((one, two), (two, one)):
            top = sorted(both, key=lambda g: (-chooses[g], mixed.index(both.index(g))))[: max(1, len(both) // 10)]
            found.append(np.mean([judges[g] for g in top]))
    assert patients.worst_tenth(score, member, group, 5) == pytest.approx(np.mean(found))


def test_patients_of_one_half_of_the_shadows_cannot_be_judged():
    member = np.array([[True, False, True, False], [False, True, False, True]])
    assert patients.worst_tenth(np.zeros((2, 4)), member, np.array([0, 1, 0, 1]), 0) is None


def test_the_worst_tenth_stands_beside_redrawn_memberships():
    score, member, group = held_out(0, shadows=8, people=20, leak=2.0)
    redrawn = [Redraw(held, logit) for logit, held, _ in (held_out(s, 8, 20, leak=0.0) for s in (5, 6, 7))]
    found = patients.on_shadows(score, member, group, 20, 0, redrawn)
    each = [patients.worst_tenth(r.logit, r.member, group, 0) for r in redrawn]
    assert found.worst_decile_redrawn == pytest.approx(np.mean(each))
    assert found.worst_decile_redrawn_range == (min(each), max(each))
    assert found.worst_decile > max(each)

"""The controls on cases with a known answer: what must show nothing shows nothing, as often as it says."""

import numpy as np
import pytest
from scipy import stats

from attack.inference import controls, crossfit, estimate
from attack.inference.controls import Redraw, blind_attack
from attack.inference.crossfit import HeldOut, Options
from shadow import keys
from shadow.config import MembershipConfig


def split(seed, by, patients=30, size=2):
    """Slices of patients that look alike, with roles dealt at random: by patient or by slice."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(patients), size)
    looks = rng.normal(size=(patients, 3))[group] @ np.random.default_rng(9).normal(size=(3, 16))
    images = 100 + 10 * looks + rng.normal(size=(len(group), 16))
    label = np.arange(patients if by == "patient" else len(group)) % 2
    label = rng.permutation(label)
    return images.reshape(-1, 4, 4), label[group] if by == "patient" else label, group


@pytest.mark.parametrize("by", ["patient", "slice"])
def test_a_random_split_is_no_finding(by, monkeypatch):
    """Slices taken for independent: 16 % false alarms at .025 by patient. Scores pooled over folds: AUC below .5."""
    monkeypatch.setattr(blind_attack, "_DEALS", 199)
    found = [controls.blind(*split(seed, by), seed) for seed in range(120)]
    area, p = (np.array([getattr(row, key) for row in found]) for key in ("auc", "p"))
    assert (p <= 0.025).sum() <= stats.binom.ppf(0.99, 120, 0.025)
    assert stats.kstest(p, "uniform").pvalue > 0.01
    assert abs(area.mean() - 0.5) < 3 * area.std(ddof=1) / np.sqrt(120)
    covered = [row.interval[0] <= 0.5 <= row.interval[1] for row in found]
    assert np.mean(covered) > 0.9


def test_a_split_by_looks_is_a_finding():
    images, label, group = split(0, "patient")
    found = controls.blind(images + 20 * label[:, None, None], label, group, 0)
    assert found.auc > 0.95
    assert found.p == 0.001  # not one of 999 deals looks like it
    assert found.interval[0] > 0.7


def test_blind_against_a_loop():
    images, label, group = split(3, "slice", patients=12, size=3)
    found = controls.blind(images, label, group, 7)
    fold = blind_attack._blind_folds(label, group, 7)
    vectors = images.reshape(len(label), -1)
    _, size, base = np.linalg.svd(vectors - vectors.mean(0), full_matrices=False)
    parts = (vectors - vectors.mean(0)) @ base[:9].T / (size[:9] / np.sqrt(len(label)))
    right = pairs = 0.0
    for f in set(fold):
        fit = fold != f
        design = np.column_stack([parts[fit], np.ones(fit.sum())])
        penalty = np.diag([1.0] * 9 + [0.0])
        weights = np.linalg.solve(design.T @ design + penalty, design.T @ label[fit])
        score = np.column_stack([parts, np.ones(len(label))]) @ weights
        for i in np.flatnonzero((fold == f) & (label == 1)):
            for j in np.flatnonzero((fold == f) & (label == 0)):
                right += (score[i] > score[j]) + 0.5 * (score[i] == score[j])
                pairs += 1
    assert found.auc == pytest.approx(right / pairs)


def test_folds_of_the_blind_control_keep_patients_whole_and_have_every_role():
    label, group = np.array([1, 1, 0, 0] * 15), np.repeat(np.arange(30), 2)
    fold = blind_attack._blind_folds(label, group, 0)
    assert set(fold) == set(range(5))
    for f in range(5):
        assert set(label[fold == f]) == {0, 1}
    assert all(len(set(fold[group == g])) == 1 for g in range(30))
    two = blind_attack._blind_folds(np.array([1, 0, 1, 0]), np.arange(4), 0)
    assert sorted(two) == [0, 0, 1, 1]


def test_roles_are_dealt_anew_between_patients_and_within_them():
    label = np.array([1, 1, 0, 0, 1, 1, 0, 0, 1, 0, 1, 0])
    group = np.array([0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 4, 4])
    fold = np.array([0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0])
    dealt = blind_attack._dealt(label, group, fold, keys.generator(0, "test"))
    np.testing.assert_array_equal(dealt[:, 0], label)
    for g in range(4):
        assert (dealt[group == g] == dealt[group == g][0]).all()  # whole patients
    for part in (fold == 0) & (group < 4), fold == 1, group == 4:
        assert (dealt[part].sum(0) == label[part].sum()).all()
    for row in dealt:
        assert 0.4 < row.mean() < 0.6  # each slice has either role as often


def noise(auc, shadows=6, slices=200):
    """A redraw whose within-shadow AUCs are about `auc`."""
    rng = np.random.default_rng(int(1e6 * auc))
    member = np.arange(slices)[None] % 2 == np.arange(shadows)[:, None] % 2
    return Redraw(member, rng.normal(size=member.shape) + np.sqrt(2) * stats.norm.ppf(auc) * member)


def test_the_mean_of_the_redraws_is_tested():
    """Each lies within the scatter of .5, but all on one side: the chance of a single one would hide that."""
    found = [noise(auc) for auc in np.linspace(0.49, 0.57, 19)]
    aucs = [estimate.mean_within(drawn.logit, drawn.member) for drawn in found]
    row = controls.redrawn(found, 0.9)
    assert row.p == pytest.approx(stats.ttest_1samp(aucs, 0.5, alternative="greater").pvalue)
    assert row.p < 0.001
    assert stats.norm.sf((np.mean(aucs) - 0.5) / np.std(aucs, ddof=1)) > 0.05
    assert row.auc == pytest.approx(np.mean(aucs))
    assert row.interval == (min(aucs), max(aucs))
    assert row.result_p == 1 / 20
    assert controls.redrawn(found[:1], 0.4).p is None
    assert controls.redrawn(found[:1], 0.4).result_p == 1


def test_every_redraw_has_an_order_of_references_of_its_own(monkeypatch):
    case, asked = controls.evidence_of(0.0, 0, controls.Size(dev=12, test=4, pile=10)), []

    def two_way(data, options, draw):
        asked.append(draw)
        return HeldOut(np.full(data.shadow_signals.member.shape, draw), np.zeros(0))

    monkeypatch.setattr(crossfit, "two_way", two_way)
    ids = tuple(case.data.ids)
    found = controls.redraw(case.data, ids, MembershipConfig(unit="image"), Options(8, 2, 1.0, 0), 3)
    assert len(set(asked)) == len(found) == 3
    assert [drawn.logit[0, 0] for drawn in found] == asked
    assert not (found[0].member == found[1].member).all()

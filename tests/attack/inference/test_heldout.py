"""Thresholds and probabilities of held-out pairs against loops, and that they no longer confirm themselves."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from measured_fleet import ASKED, make_fleet, recipe

from attack import metrics
from attack.inference import fitting, heldout, model, shadow_figures


def pairs(seed=0, shadows=6, people=12, size=2, leak=0.0):
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(people), size)
    member = np.array([rng.permutation(people) < people // 2 for _ in range(shadows)])[:, group]
    return rng.normal(size=member.shape) + leak * member, member, group


def known_of(member, group):
    """What the figures ask of the shadows' pool."""
    shadow_signals = SimpleNamespace(member=member, holds_relative=member)
    return SimpleNamespace(shadow_signals=shadow_signals, group=group, family=np.zeros(len(member), int))


def test_every_pair_is_judged_once_by_pairs_of_other_shadows_and_patients():
    _, member, group = pairs()
    parts = heldout.split(6, group, 3, 0)
    judged = np.zeros(member.shape, int)
    for fit, judge in parts.each():
        judged += judge
        assert fit.any()
        assert not (fit.any(1) & judge.any(1)).any()
        assert not set(group[fit.any(0)]) & set(group[judge.any(0)])
    assert (judged == 1).all()
    assert sorted(parts.lot) == list(range(6))
    many = heldout.split(40, group, 3, 0)
    assert np.bincount(many.lot).tolist() == [3] * 8 + [2] * 8
    np.testing.assert_array_equal(parts.groups[3], group)
    np.testing.assert_array_equal(parts.shadows[:, 5], np.arange(6))


@pytest.mark.parametrize("fpr", [0.1, 0.02])
def test_operating_point_against_a_loop(fpr):
    logit, member, group = pairs(1, leak=1.0)
    parts = heldout.split(6, group, 3, 0)
    flagged = np.zeros(member.shape, bool)
    for k in range(6):
        for x in range(len(group)):
            others = [
                (j, y)
                for j in range(6)
                for y in range(len(group))
                if parts.lot[j] != parts.lot[k] and parts.fold[y] != parts.fold[x]
            ]
            unused = [logit[p] for p in others if not member[p]]
            fits = [t for t in (logit[p] for p in others) if sum(u >= t for u in unused) <= fpr * len(unused) + 1e-9]
            flagged[k, x] = logit[k, x] >= min(fits, default=np.inf)
    point = heldout.operating_point(logit, member, parts, fpr)
    assert (point.true_positives, point.members) == ((flagged & member).sum(), member.sum())
    assert (point.false_positives, point.non_members) == ((flagged & ~member).sum(), (~member).sum())
    assert (point.tpr, point.fpr) == (flagged[member].mean(), flagged[~member].mean())
    assert point.threshold is None
    shadow, patient = np.indices(member.shape)[0], np.broadcast_to(group, member.shape)
    for kind, limits in ((member, point.interval), (~member, point.fpr_interval)):
        assert limits == metrics.proportion_interval(flagged[kind], patient[kind], across=shadow[kind])


def test_false_alarms_of_the_threshold_are_those_of_shadows_that_did_not_set_it():
    logit, member, group = pairs(2, leak=1.0)
    logit[4] += 10.0  # a shadow whose scores all lie higher
    parts = heldout.split(6, group, 3, 0)
    label = member.ravel().astype(int)
    assert metrics.tpr_at_fpr(logit.ravel(), label, 0.1).fpr <= 0.1  # it was set on them
    point = heldout.operating_point(logit, member, parts, 0.1)
    assert point.fpr > 0.15
    assert point.false_positives >= (~member[4]).sum()
    found = shadow_figures.thresholds(logit, known_of(member, group), parts, 0.1)
    assert {(row.tpr, row.fpr) for row in found.priors} == {(point.tpr, point.fpr)}
    assert found.priors[0].ppv == pytest.approx(point.tpr / (point.tpr + point.fpr))
    assert found.used == metrics.tpr_at_fpr(logit.ravel(), label, 0.1).threshold


def test_a_rate_that_no_pair_can_show_has_no_figure():
    logit, member, group = pairs()
    parts = heldout.split(6, group, 3, 0)
    assert not heldout.operating_point(logit, member, parts, 0.001).attainable
    assert shadow_figures.thresholds(logit, known_of(member, group), parts, 0.001).priors[0].ppv is None


def test_probabilities_against_a_loop():
    logit, member, group = pairs(3, leak=1.0)
    parts = heldout.split(6, group, 3, 0)
    found = heldout.probability(logit, member, parts, 0.2)
    for k in range(6):
        for f in range(3):
            others = (parts.lot != parts.lot[k])[:, None] & (parts.fold != f)[None]
            mapped = model.fit_recalibration(logit[others], member[others].astype(float))
            here = parts.fold == f
            np.testing.assert_allclose(found[k, here], mapped.probability(logit[k, here], 0.2))


def test_the_map_does_not_confirm_itself_on_noise():
    inside, outside = [], []
    for seed in range(16):
        logit, member, group = pairs(seed)
        label = member.ravel().astype(int)
        own = model.fit_recalibration(logit.ravel(), label.astype(float)).probability(logit, 0.5)
        parts = heldout.split(6, group, 3, seed)
        inside.append(metrics.log_loss(own.ravel(), label))
        outside.append(metrics.log_loss(heldout.probability(logit, member, parts, 0.5).ravel(), label))
    assert np.mean(inside) < np.log(2) - 1e-4  # better than saying one half, which cannot be
    assert np.mean(outside) > np.log(2)


def test_tpr_interval_covers_where_shadows_differ():
    """With patients as the only clusters it covers less than nine times in ten."""
    level = np.random.default_rng(0)
    covered, alone = 0, 0
    for _ in range(200):
        shadow, patient = level.normal(size=(2, 24, 1))
        hits = (0.7 * shadow[:16] + 0.4 * patient.T + level.normal(size=(16, 24)) > 0).ravel()
        row, column = (place.ravel() for place in np.indices((16, 24)))
        limits = metrics.proportion_interval(hits, column, across=row)
        covered += limits[0] <= 0.5 <= limits[1]
        limits = metrics.proportion_interval(hits, column)
        alone += limits[0] <= 0.5 <= limits[1]
    assert covered / 200 > 0.91
    assert alone / 200 < 0.8


def test_figures_of_a_fleet_are_those_of_held_out_maps(images, tmp_path):
    config = recipe(pile=24, fpr=0.1)
    found = make_fleet(tmp_path, images, list(range(ASKED)), config)
    fitting.fit(tmp_path, found, config)
    summary = json.loads((tmp_path / "attack/fit.json").read_text())
    with np.load(tmp_path / "attack/heldout.npz") as held:
        logit, chance, label = held["score"], held["probability"], held["label"]
    content = json.loads((tmp_path / "attack/model.json").read_text())["recalibration"]
    own = model.Recalibration(**content).probability(logit, 0.5)
    assert not np.allclose(chance, own)
    two_way = summary["two_way"]
    assert two_way["brier"] == pytest.approx(np.mean((chance - label) ** 2))
    assert two_way["log_loss"] == pytest.approx(metrics.log_loss(chance, label))
    point = two_way["tpr_at_fpr"][0]
    low, high = point["fpr_interval"]
    assert low <= point["false_positives"] / point["non_members"] <= high
    assert [row["fpr"] for row in summary["priors"]] == [point["false_positives"] / point["non_members"]] * 3

"""The rules of calibration and of two-way cross-fitting, each against a loop or an attack that would break it."""

import dataclasses

import numpy as np
import pytest

from attack import calibration, crossfit, estimate, layout
from attack.signals import SIGNALS
from attack.statistics import ranking
from shadow import keys, membership
from shadow.config import MembershipConfig
from shadow.errors import UserError

SHADOWS, IMAGES = 8, 24
SIGNALS_HERE = ("nearest", "ball", "mosaic", "votes")
PLAN = layout.plan(("pixels",), SIGNALS_HERE)


def calibrated(own, references):
    """All columns of one pair: own [number] against references [R, number]."""
    row = []
    for name in SIGNALS_HERE:
        mine, theirs = (PLAN.evidence(values, (name, "pixels")) for values in (own, references))
        row += SIGNALS[name].calibrated(mine, theirs).tolist()
    return row


def make(seed=0, leak=0.0, groups=None):
    rng = np.random.default_rng(seed)
    names = groups or [f"g{i}" for i in range(IMAGES)]
    member = membership.draw(names, SHADOWS, MembershipConfig(unit="image", block=SHADOWS), seed)
    values = np.sort(rng.normal(size=(SHADOWS, IMAGES, PLAN.size)).astype(np.float32), axis=-1)[..., ::-1].copy()
    values[..., 0] += leak * member
    values[..., -1] = rng.poisson(2, values.shape[:-1])
    touched = membership.touched(member, names, names)
    numbers = np.unique(names, return_inverse=True)[1]
    bank = calibration.Bank(values, member, touched, PLAN)
    return crossfit.Labelled(bank, tuple(f"x{i}" for i in range(IMAGES)), numbers)


def test_references_hold_neither_the_candidate_nor_are_banned():
    data = make()
    order = calibration.priorities(data.ids, SHADOWS, 0, 0)
    for k in range(SHADOWS):
        banned = (k, (k + 1) % SHADOWS)
        chosen = calibration.choose_references(data.bank, order, 2, banned)
        for x in range(IMAGES):
            assert len(set(chosen[x])) == 2
            assert not data.bank.member[chosen[x], x].any()
            assert not set(banned) & set(chosen[x].tolist())


def test_shadows_that_hold_a_relative_are_references_as_often_as_others():
    """Else every relative of a member would look like a member: docs/results.md."""
    data = make(groups=[f"g{i // 2}" for i in range(IMAGES)])
    free = ~data.bank.member
    expected = (data.bank.touched & free).sum(0) / free.sum(0)
    found = np.zeros(IMAGES)
    for draw in range(200):
        order = calibration.priorities(data.ids, SHADOWS, 0, draw)
        chosen = calibration.choose_references(data.bank, order, 1)[:, 0]
        found += data.bank.touched[chosen, np.arange(IMAGES)] / 200
    assert 0.1 < expected.mean() < 0.9
    np.testing.assert_allclose(found, expected, atol=4 * 0.5 / np.sqrt(200))


def test_too_few_references_are_an_error():
    data = make()
    order = calibration.priorities(data.ids, SHADOWS, 0, 0)
    with pytest.raises(ValueError, match="too few"):
        calibration.choose_references(data.bank, order, SHADOWS // 2 + 1)
    with pytest.raises(ValueError, match="too few"):
        calibration.choose_references(data.bank, order, SHADOWS // 2, np.flatnonzero(~data.bank.member[:, 3])[:1])


def test_priorities_are_of_the_id_alone():
    ids = ("a", "b", "c")
    whole = calibration.priorities(ids, 8, 3, 1)
    np.testing.assert_array_equal(whole[[2, 0]], calibration.priorities(("c", "a"), 8, 3, 1))
    assert (whole != calibration.priorities(ids, 8, 3, 2)).all()


def test_residuals_against_a_loop():
    data = make()
    order = calibration.priorities(data.ids, SHADOWS, 0, 0)
    chosen = calibration.choose_references(data.bank, order, 2)
    found = calibration.residuals(data.bank, data.bank.values[3], chosen)
    for x in range(IMAGES):
        row = calibrated(data.bank.values[3, x], data.bank.values[chosen[x], x])
        np.testing.assert_allclose(found[x], row, rtol=1e-12)


@pytest.mark.parametrize("held_out", [None, 0, 5])
def test_residuals_of_shadows_against_a_loop(held_out):
    """References are the first of the order that hold no image of it and are neither the pile nor held out."""
    data = make(groups=[f"g{i // 2}" for i in range(IMAGES)])
    order = calibration.priorities(data.ids, SHADOWS, 0, 0)
    found = calibration.shadow_residuals(data.bank, order, 2)
    value = found.value if held_out is None else found.without(held_out).value
    for k in range(SHADOWS):
        for x in range(IMAGES):
            free = [m for m in range(SHADOWS) if not data.bank.member[m, x] and m not in (k, held_out)]
            first = sorted(free, key=lambda m: order[x, m])[:2]
            wanted = calibrated(data.bank.values[k, x], data.bank.values[first, x])
            np.testing.assert_array_equal(value[k, x], wanted)


@pytest.mark.parametrize(("shadows", "block"), [(6, 6), (8, 8), (8, 2), (16, 8), (24, 8), (32, 16)])
def test_a_complete_fleet_has_the_references_it_always_had(shadows, block):
    names = [f"g{i // 2}" for i in range(IMAGES)]
    member = membership.draw(names, shadows, MembershipConfig("mixed", block), 0)
    for most in (1, 4, 8):
        assert calibration.reference_count(member, most) == max(1, min(most, shadows // 2 - 2))
    calibration.check_enough(member, names)


@pytest.mark.parametrize("gone", [(3,), (3, 7), (0, 1, 2, 12), (8, 9, 10, 11, 12, 13, 14, 15)])
def test_every_pair_of_an_incomplete_fleet_has_as_many_references(gone):
    names = [f"g{i}" for i in range(IMAGES)]
    member = membership.draw(names, 16, MembershipConfig(unit="image", block=8), 0)
    member = member[[k for k in range(16) if k not in gone]]
    count = calibration.reference_count(member, 99)
    left = [
        sum(not member[m, x] for m in range(len(member)) if m not in (k, held))
        for x in range(IMAGES)
        for k in range(len(member))
        for held in range(len(member))
        if held != k
    ]
    assert count == min(left)  # none has fewer, and one has no more
    values = np.random.default_rng(0).normal(size=(len(member), IMAGES, PLAN.size)).astype(np.float32)
    bank = calibration.Bank(values, member, member, PLAN)
    data = crossfit.Labelled(bank, tuple(names), np.arange(IMAGES))
    assert np.isfinite(score(data, references=99).logit).all()
    order = calibration.priorities(tuple(names), len(member), 0, 0)
    with pytest.raises(ValueError, match="too few"):
        [calibration.shadow_residuals(bank, order, count + 1).without(k) for k in range(len(member))]


def test_too_few_shadows_are_named():
    member = np.zeros((6, 4), bool)
    member[::2] = True
    calibration.check_enough(member, "abcd")
    with pytest.raises(UserError, match="5 shadows are too few, at least 6"):
        calibration.check_enough(member[:5], "abcd")
    member[1, 2] = True
    with pytest.raises(UserError, match="2 of these 6 shadows were trained without c, and at least 3"):
        calibration.check_enough(member, "abcd")
    member[:, 2] = False
    with pytest.raises(UserError, match="none of these 6 shadows was trained on c"):
        calibration.check_enough(member, "abcd")


def test_standardise_against_a_loop():
    rng = np.random.default_rng(0)
    residual, null = rng.normal(3, 2, (30, 2)), rng.random(30) < 0.5
    group = np.arange(30) // 3
    out = np.zeros(10, bool)
    out[[1, 4]] = True
    sums = calibration.null_sums(residual, null, group, 10).without(out)
    pooled = np.array([2.0, 3.0])
    used = null & ~np.isin(group, [1, 4])
    n = used.sum()
    for j in range(2):
        mean = residual[used, j].mean()
        variance = (n * residual[used, j].var() + 10 * pooled[j]) / (n + 10)
        wanted = np.clip((residual[:, j] - mean) / np.sqrt(variance), -8, 8)
        np.testing.assert_allclose(calibration.standardise(residual, sums, pooled)[:, j], wanted, atol=1e-9)


def test_pooled_variance_is_within_piles():
    rng = np.random.default_rng(0)
    parts = [rng.normal(shift, 2, (40, 1)) for shift in (0, 50)]
    nulls = [calibration.null_sums(p, np.ones(40, bool), np.arange(40), 40) for p in parts]
    wanted = np.mean([p.var(ddof=1) for p in parts])
    assert calibration.pooled_variance(nulls)[0] == pytest.approx(wanted)


def score(data, **options):
    given = {"references": 8, "folds": 4, "ridge": 1.0, "seed": 0} | options
    return crossfit.two_way(data, crossfit.Options(**given), 0)


def test_a_held_out_shadow_changes_nothing_it_may_not():
    """Garbage in shadow 5's pile moves only scores of shadow 5 itself where 5 is held out of everything fitted."""
    data = make(leak=2.0)
    values = data.bank.values.copy()
    values[5] = np.random.default_rng(9).normal(size=values[5].shape) * 50
    other = dataclasses.replace(data, bank=dataclasses.replace(data.bank, values=values))
    order = calibration.priorities(data.ids, SHADOWS, 0, 0)
    a, b = (calibration.shadow_residuals(d.bank, order, 2).without(5).value for d in (data, other))
    others = [k for k in range(SHADOWS) if k != 5]
    np.testing.assert_array_equal(a[others], b[others])
    out = crossfit.folds(data.group, 4, 0) == 0
    one, _ = crossfit.fit_on(a, data, others, out, 1.0)
    two, _ = crossfit.fit_on(b, other, others, out, 1.0)
    np.testing.assert_array_equal(one.weights, two.weights)


def test_a_held_out_group_changes_nothing_that_is_fitted():
    data = make(leak=2.0)
    order = calibration.priorities(data.ids, SHADOWS, 0, 0)
    out = crossfit.folds(data.group, 4, 0) == 1
    hidden = out[data.group]
    values, member = data.bank.values.copy(), data.bank.member.copy()
    values[:, hidden] = 99.0
    bank = dataclasses.replace(data.bank, values=values, member=member)
    residuals = [calibration.shadow_residuals(b, order, 2).without(2).value for b in (data.bank, bank)]
    others = [k for k in range(SHADOWS) if k != 2]
    one, _ = crossfit.fit_on(residuals[0], data, others, out, 1.0)
    two, _ = crossfit.fit_on(residuals[1], dataclasses.replace(data, bank=bank), others, out, 1.0)
    np.testing.assert_array_equal(one.weights, two.weights)
    assert one.bias == two.bias


def test_an_attack_that_memorises_pairs_scores_one_half(monkeypatch):
    """A model that remembers the answers of every pair it was fitted on must gain nothing under two-way fitting."""

    class Memory:
        def __init__(self, z, label):
            self.known = {row.tobytes(): value for row, value in zip(z, label, strict=True)}
            self.weights, self.bias, self.names = np.zeros(z.shape[1]), 0.0, ()

        def logit(self, z):
            return np.array([10 * self.known.get(row.tobytes(), 0.5) for row in z])

    monkeypatch.setattr(crossfit, "fit_combiner", lambda z, label, *_: Memory(z, label))
    data = make(leak=0.0)
    held = score(data)
    assert np.ptp(held.logit) == 0  # no pair was recognised
    found = estimate.mean_auc(held.logit, data.bank.member, data.group, 20)
    assert found.auc == 0.5


def test_a_leak_is_found_and_noise_is_not():
    strong, none = score(make(leak=4.0)), score(make(leak=0.0))
    assert estimate.mean_auc(strong.logit, make(leak=4.0).bank.member, make().group, 20).auc > 0.9
    assert 0.35 < estimate.mean_auc(none.logit, make().bank.member, make().group, 20).auc < 0.65


def test_scores_are_averaged_over_draws():
    data, options = make(leak=1.0), crossfit.Options(8, 2, 1.0, 0)
    each = [crossfit.two_way(data, options, draw) for draw in range(3)]
    found = crossfit.two_way_mean(data, options, 3)
    np.testing.assert_array_equal(found.logit, np.mean([h.logit for h in each], axis=0))
    np.testing.assert_array_equal(found.z, np.mean([h.z for h in each], axis=0))


def test_folds_keep_groups_whole_and_even():
    group = np.repeat(np.arange(10), [1, 2, 3, 1, 2, 3, 1, 2, 3, 2])
    fold = crossfit.folds(group, 4, 0)
    sizes = np.bincount(fold[group], minlength=4)
    assert len(fold) == 10
    assert sizes.max() - sizes.min() <= 3


def test_mean_auc_is_the_mean_of_the_shadows_own():
    rng = np.random.default_rng(0)
    member = rng.random((6, 30)) < 0.5
    scores = rng.normal(size=(6, 30)) + member
    found = estimate.mean_auc(scores, member, np.arange(30), 50)
    each = [ranking.auc(scores[k], member[k].astype(int)) for k in range(6)]
    np.testing.assert_allclose(found.within, each)
    assert found.auc == pytest.approx(np.mean(each))
    assert found.prediction[0] < found.interval[0] < found.auc < found.interval[1] < found.prediction[1]


def test_weighted_placements_against_a_loop():
    rng = np.random.default_rng(0)
    scores, member, weight = rng.integers(0, 5, 20).astype(float), np.arange(20) % 3 == 0, rng.random(20)
    auc, influence = estimate.weighted_placements(scores, member, weight)
    top = bottom = 0.0
    for i in np.flatnonzero(member):
        for o in np.flatnonzero(~member):
            top += weight[o] * ((scores[i] > scores[o]) + 0.5 * (scores[i] == scores[o]))
            bottom += weight[o]
    assert auc == pytest.approx(top / bottom)
    assert influence.sum() == pytest.approx(0, abs=1e-12)
    # with equal weights the squared influences are DeLong's variance, up to n / (n - 1)
    _, plain = estimate.weighted_placements(scores, member, np.ones(20))
    assert (plain**2).sum() == pytest.approx(ranking.delong(scores, member.astype(int))[1], rel=0.2)


def test_perfect_ranking_does_not_claim_certainty():
    member = np.tile(np.arange(20) % 2 == 0, (4, 1))
    found = estimate.mean_auc(member.astype(float), member, np.arange(20), 20)
    assert found.auc == 1.0
    assert found.interval[1] == 1.0
    assert found.interval[0] < 0.9


def test_weights_zero_leave_a_stratum_out():
    rng = np.random.default_rng(0)
    member, scores = np.tile(np.arange(20) < 10, (4, 1)), rng.normal(size=(4, 20))
    weight = np.tile(np.arange(20) < 15, (4, 1)).astype(float)
    found = estimate.mean_auc(scores, member, np.arange(20), 20, weight)
    wanted = [ranking.auc(scores[k][:15], (np.arange(15) < 10).astype(int)) for k in range(4)]
    assert found.auc == pytest.approx(np.mean(wanted))
    with pytest.raises(ValueError, match="fewer than two shadows"):
        estimate.mean_auc(scores, member, np.arange(20), 20, np.zeros((4, 20)))


def test_mixing_tells_the_split():
    groups = ["a", "a", "b", "b", "c", "c"]
    by_group, by_slice = np.array([1, 1, 0, 0, 1, 1], bool), np.array([1, 0, 1, 0, 0, 1], bool)
    assert estimate.mixing(groups, by_group) == 0.0
    assert estimate.mixing(groups, by_slice) == 1.0
    assert estimate.mixing(["a", "b"], np.array([True, False])) is None


def nearness_case(seed=0, dev=12, test=10):
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(dev + test, 2))
    distance = np.linalg.norm(points[:, None] - points[None], axis=-1)
    groups = [f"g{i // 3}" for i in range(dev + test)]
    return distance, groups, np.arange(dev) % 2 == 0


def test_expected_nearness_against_a_loop():
    distance, groups, used = nearness_case()
    found, weight = estimate.expected_nearness(distance, groups, used, 0.5, 7)
    chance = estimate.mixing(groups[:12], used)
    for guess in (0, 3):
        coin = keys.generator(7, "nearness", guess).random(10)
        for i in range(10):
            near = [distance[12 + i, j] for j in range(12) if used[j]]
            for j in range(10):
                same = groups[12 + i] == groups[12 + j]
                if j != i and coin[j] < (chance if same else 0.5):
                    near.append(distance[12 + i, 12 + j])
            assert found[guess, i] == min(near)
    assert ((weight > 0) & (weight < 1)).all()


def test_matched_non_members_lie_as_near_as_the_targets():
    rng = np.random.default_rng(3)
    distance, groups, used = nearness_case(3, 40, 40)
    used = np.arange(40) % 2 == 0
    member = rng.random((8, 40)) < 0.5
    mix = estimate.match_nearness(distance, groups, used, member, 0.5, 0)
    own = np.stack([np.where(m[None], distance[:40, :40], np.inf).min(1) for m in member])
    bins = np.digitize(own, mix.edges[1:-1])
    for b, share in enumerate(mix.target):
        weighted = mix.weight[~member & (bins == b)].sum() / mix.weight[~member].sum()
        reachable = sum(t for t, s in zip(mix.target, mix.shadows, strict=True) if s > 0)
        if mix.shadows[b] > 0:
            assert weighted == pytest.approx(share / reachable)
    assert sum(mix.target) == pytest.approx(1) == sum(mix.shadows)
    assert (mix.weight[member] == 1).all()


def _skewed(rng, shift, scale, count=400):
    """Residuals [candidate, column] of non-members: a skewed column, and a count with many ties."""
    return np.column_stack([shift + scale * rng.lognormal(0, 0.6, count), rng.poisson(0.3, count).astype(float)])


def _presumed(share, seed=0):
    """(mean, sd) [column] by presumed_nulls of a target of which a share of the slices are members, and the truth."""
    rng = np.random.default_rng(seed)
    shadows = np.stack([_skewed(rng, 0.2 * k, 1 + 0.1 * k) for k in range(8)])
    null = rng.random(shadows.shape[:2]) < 0.5
    shadows[~null] += 3  # members of the shadows, which must not count
    target = _skewed(rng, 5.0, 2.0)
    truth = target.mean(0), target.std(0)
    members = rng.random(len(target)) < share
    target[members] += 6.0
    pooled = np.array([2.0, 0.3])
    found = calibration.presumed_nulls(target, shadows, null, pooled)
    mean = found.total.sum(0) / found.count.sum()
    return mean, np.sqrt(found.square.sum(0) / found.count.sum() - mean**2), *truth, target


def test_presumed_non_members_give_the_mean_and_sd_of_known_ones():
    mean, spread, true_mean, true_spread, _ = _presumed(0.0)
    assert mean[0] == pytest.approx(true_mean[0], abs=0.2 * true_spread[0])
    assert spread[0] == pytest.approx(true_spread[0], rel=0.25)
    assert spread[1] == pytest.approx(np.sqrt(0.3))  # the deviation of a count of mostly 0 is 0: the pooled one
    assert np.isfinite(mean).all()


def test_presumed_non_members_may_hold_some_members():
    mean, spread, true_mean, true_spread, target = _presumed(0.15)
    assert abs(mean[0] - true_mean[0]) < 0.5 * abs(target[:, 0].mean() - true_mean[0])
    assert abs(spread[0] - true_spread[0]) < abs(target[:, 0].std() - true_spread[0])
    assert mean[0] > true_mean[0]  # towards fewer flags

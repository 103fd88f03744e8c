"""The rules of calibration and of two-way cross-fitting, each against a loop or an attack that would break it."""

import dataclasses

import numpy as np
import pytest
from naive_expectation import means, residuals

from attack.inference import calibration, crossfit, estimate, reference_choice
from attack.inference.shadow_signals import ShadowSignals, excluded_as_in_pool
from attack.metrics import ranking
from shadow import keys
from shadow.config import MembershipConfig
from shadow.errors import UserError
from shadow.training import membership

SHADOWS, IMAGES = 8, 24
COLUMNS = ("nearest@pixels", "ratio@pixels", "votes@pixels")


def make(seed=0, leak=0.0, groups=None, steps=3):
    """Signals of piles at some training steps, the last of which is attacked with: every image has a level of its own,
    members show from step to step more, and a column is a count with ties."""
    rng = np.random.default_rng(seed)
    names = groups or [f"g{i}" for i in range(IMAGES)]
    member = membership.draw(names, SHADOWS, MembershipConfig(unit="image", block=SHADOWS), seed)
    values = rng.normal(size=(steps, SHADOWS, IMAGES, len(COLUMNS))) + rng.normal(size=(IMAGES, len(COLUMNS)))
    values += leak * member[:, :, None] * np.linspace(0, 1, steps)[:, None, None, None] * [1, 1, 0]
    values[..., 2] = np.log1p(rng.poisson(2, values.shape[:-1]))
    holds_relative = membership.holds_relative(member, names, names)
    numbers = np.unique(names, return_inverse=True)[1]
    shadow_signals = ShadowSignals(values[-1].copy(), values, member, holds_relative, COLUMNS)
    return crossfit.Labelled(shadow_signals, tuple(f"x{i}" for i in range(IMAGES)), numbers)


def with_values(data, change):
    """Other signals: `change(array [..., shadow, image, column])` of both those that are attacked with and those of all
    steps, in place."""
    values, references = data.shadow_signals.values.copy(), data.shadow_signals.references.copy()
    change(values)
    change(references)
    return dataclasses.replace(
        data, shadow_signals=dataclasses.replace(data.shadow_signals, values=values, references=references)
    )


def test_references_hold_neither_the_candidate_nor_are_banned():
    data = make()
    order = reference_choice.priorities(data.ids, SHADOWS, 0, 0)
    for k in range(SHADOWS):
        banned = (k, (k + 1) % SHADOWS)
        chosen = reference_choice.choose_references(data.shadow_signals, order, 2, banned)
        for x in range(IMAGES):
            assert len(set(chosen[x])) == 2
            assert not data.shadow_signals.member[chosen[x], x].any()
            assert not set(banned) & set(chosen[x].tolist())


def test_shadows_that_hold_a_relative_are_references_as_often_as_others():
    """Else every relative of a member would look like a member: docs/results.md."""
    data = make(groups=[f"g{i // 2}" for i in range(IMAGES)])
    free = ~data.shadow_signals.member
    expected = (data.shadow_signals.holds_relative & free).sum(0) / free.sum(0)
    found = np.zeros(IMAGES)
    for draw in range(200):
        order = reference_choice.priorities(data.ids, SHADOWS, 0, draw)
        chosen = reference_choice.choose_references(data.shadow_signals, order, 1)[:, 0]
        found += data.shadow_signals.holds_relative[chosen, np.arange(IMAGES)] / 200
    assert 0.1 < expected.mean() < 0.9
    np.testing.assert_allclose(found, expected, atol=4 * 0.5 / np.sqrt(200))


@pytest.mark.parametrize("unit", ["image", "group", "mixed"])
def test_candidates_are_calibrated_as_the_dev_images_of_their_group_are(unit):
    """Against a loop over shadows: none that holds a relative is a reference of a candidate whose group's dev images
    have no such reference either."""
    dev, test = [f"g{i // 2}" for i in range(IMAGES)] + ["alone"], [f"g{i}" for i in range(8)] + ["alone", "stranger"]
    member = membership.draw(dev, SHADOWS, MembershipConfig(unit=unit, block=SHADOWS), 3)
    holds_relative = [membership.holds_relative(member, dev, names) for names in (dev, test)]
    numbers = np.unique([*dev, *test], return_inverse=True)[1]
    found = excluded_as_in_pool(member, holds_relative[0], numbers[: len(dev)], holds_relative[1], numbers[len(dev) :])
    no_reference, every = 0, True  # every: is every group of several images split?
    for group in set(dev[:-1]):
        mine = [i for i, name in enumerate(dev) if name == group]
        every &= any(row[mine].any() and not row[mine].all() for row in member)
    for c, group in enumerate(test):
        mine = [i for i, name in enumerate(dev) if name == group]
        splits = any(row[mine].any() and not row[mine].all() for row in member)
        for k, row in enumerate(member):
            assert found[k, c] == (bool(row[mine].any()) and not splits and not every)
            no_reference += found[k, c]
    assert not found[:, test.index("stranger")].any()
    assert found[:, test.index("alone")].sum() == (0 if unit == "image" else SHADOWS // 2)
    assert (no_reference > 0) == (unit != "image") == (not every)


def test_excluded_shadows_are_no_references_and_hold_nobody_for_it():
    data = make()
    excluded = np.zeros_like(data.shadow_signals.member)
    excluded[0] = True
    shadow_signals = dataclasses.replace(data.shadow_signals, excluded=excluded)
    no_reference = data.shadow_signals.member | excluded
    order = reference_choice.priorities(data.ids, SHADOWS, 0, 0)
    assert not (reference_choice.choose_references(shadow_signals, order, 3) == 0).any()
    assert (reference_choice.choose_references(data.shadow_signals, order, 3) == 0).any()
    np.testing.assert_array_equal(shadow_signals.only([0, 2]).no_reference, no_reference[[0, 2]])
    np.testing.assert_array_equal(shadow_signals.about(np.array([1, 3])).no_reference, no_reference[:, [1, 3]])
    np.testing.assert_array_equal(data.shadow_signals.no_reference, data.shadow_signals.member)


def test_too_few_references_are_an_error():
    data = make()
    order = reference_choice.priorities(data.ids, SHADOWS, 0, 0)
    with pytest.raises(ValueError, match="too few"):
        reference_choice.choose_references(data.shadow_signals, order, SHADOWS // 2 + 1)
    with pytest.raises(ValueError, match="too few"):
        reference_choice.choose_references(
            data.shadow_signals, order, SHADOWS // 2, np.flatnonzero(~data.shadow_signals.member[:, 3])[:1]
        )


def test_priorities_are_of_the_id_alone():
    ids = ("a", "b", "c")
    whole = reference_choice.priorities(ids, 8, 3, 1)
    np.testing.assert_array_equal(whole[[2, 0]], reference_choice.priorities(("c", "a"), 8, 3, 1))
    assert (whole != reference_choice.priorities(ids, 8, 3, 2)).all()


def test_means_of_references_against_a_loop():
    data = make()
    order = reference_choice.priorities(data.ids, SHADOWS, 0, 0)
    chosen = reference_choice.choose_references(data.shadow_signals, order, 2)
    found = reference_choice.reference_means(data.shadow_signals, chosen)
    assert found.shape == (3, IMAGES, len(COLUMNS))
    for s in range(3):
        for x in range(IMAGES):
            one, two = chosen[x]
            wanted = (data.shadow_signals.references[s, one, x] + data.shadow_signals.references[s, two, x]) / 2
            np.testing.assert_array_equal(found[s, x], wanted)
    some = np.array([4, 20, 7])
    np.testing.assert_array_equal(
        reference_choice.reference_means(data.shadow_signals, chosen[some], some), found[:, some]
    )


def test_a_part_of_the_signals_is_as_if_the_rest_had_never_been():
    data = make()
    rows, images = [1, 4, 6], np.array([20, 3])
    some = data.shadow_signals.only(rows).about(images)
    np.testing.assert_array_equal(some.values, data.shadow_signals.values[rows][:, images])
    np.testing.assert_array_equal(some.references, data.shadow_signals.references[:, rows][:, :, images])
    np.testing.assert_array_equal(some.member, data.shadow_signals.member[rows][:, images])
    np.testing.assert_array_equal(some.holds_relative, data.shadow_signals.holds_relative[rows][:, images])
    assert some.names == data.shadow_signals.names == COLUMNS


def naive_residuals(data, k, held_out, known, most=2):
    """Of shadow k, by a loop: references are the first of the order that do not hold the image and are neither the pile
    nor held out; what is expected is fitted on the images `known`."""
    order, chosen = reference_choice.priorities(data.ids, SHADOWS, 0, 0), []
    for x in range(IMAGES):
        free = [m for m in range(SHADOWS) if not data.shadow_signals.member[m, x] and m not in (k, held_out)]
        chosen.append(sorted(free, key=lambda m: order[x, m])[:most])
    return residuals(data.shadow_signals.values[k], means(data.shadow_signals, chosen), known)


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("held_out", [None, 0, 5])
def test_residuals_of_shadows_against_a_loop(held_out, steps):
    data = make(groups=[f"g{i // 2}" for i in range(IMAGES)], steps=steps)
    order = reference_choice.priorities(data.ids, SHADOWS, 0, 0)
    found = calibration.shadow_residuals(data.shadow_signals, order, 2)
    found = found if held_out is None else found.without(held_out)
    left = np.arange(IMAGES) % 5 == 0
    for k in range(SHADOWS):
        every, some = (naive_residuals(data, k, held_out, known) for known in (np.ones(IMAGES, bool), ~left))
        np.testing.assert_allclose(found.value[k], every, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(found.outside(left)[k], some, rtol=1e-9, atol=1e-9)


def test_two_way_against_a_loop():
    """Pair by pair, with nothing shared: z of each by what knows neither its shadow nor its fold, but its shadow's own
    non-members of other images."""
    data = make(leak=1.0, groups=[f"g{i // 2}" for i in range(IMAGES)])
    found = score(data).z
    fold = crossfit.folds(data.group, 4, 0)[data.group]
    for held in (0, 5):
        for f in range(4):
            each = [naive_residuals(data, k, held, fold != f) for k in range(SHADOWS)]
            inside, count = np.zeros(len(COLUMNS)), 0
            for k in range(SHADOWS):
                known = ~data.shadow_signals.member[k] & (fold != f)
                if k != held:
                    inside += ((each[k][known] - each[k][known].mean(0)) ** 2).sum(0)
                    count += known.sum() - 1
            own = each[held]
            null = own[~data.shadow_signals.member[held]]
            n = len(null)
            variance = (((null - null.mean(0)) ** 2).sum(0) + 10 * inside / count) / (n + 10)
            wanted = np.clip((own - null.mean(0)) / np.sqrt(variance), -8, 8)[fold == f]
            np.testing.assert_allclose(found[held, fold == f], wanted, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("held", [0, 5])
def test_a_held_out_shadow_might_never_have_been_there(held):
    data = make(leak=2.0)
    order, left = reference_choice.priorities(data.ids, SHADOWS, 0, 0), np.arange(IMAGES) % 5 == 0
    found = calibration.shadow_residuals(data.shadow_signals, order, 2).without(held).outside(left)
    others = [k for k in range(SHADOWS) if k != held]
    less = data.only(others)
    wanted = calibration.shadow_residuals(less.shadow_signals, order[:, others], 2).outside(left)
    np.testing.assert_allclose(found[others], wanted, rtol=1e-12, atol=1e-13)
    alone = calibration.relative(less.shadow_signals, data.shadow_signals.values[held][None], order[:, others], 2)
    np.testing.assert_allclose(found[held], alone.outside(left)[0], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(("shadows", "block"), [(6, 6), (8, 8), (8, 2), (16, 8), (24, 8), (32, 16)])
def test_a_complete_fleet_has_the_references_it_always_had(shadows, block):
    names = [f"g{i // 2}" for i in range(IMAGES)]
    member = membership.draw(names, shadows, MembershipConfig("mixed", block), 0)
    for most in (1, 4, 8):
        assert reference_choice.reference_count(member, most) == max(1, min(most, shadows // 2 - 2))
    reference_choice.check_enough(member, names)


@pytest.mark.parametrize("gone", [(3,), (3, 7), (0, 1, 2, 12), (8, 9, 10, 11, 12, 13, 14, 15)])
def test_every_pair_of_an_incomplete_fleet_has_as_many_references(gone):
    names = [f"g{i}" for i in range(IMAGES)]
    member = membership.draw(names, 16, MembershipConfig(unit="image", block=8), 0)
    member = member[[k for k in range(16) if k not in gone]]
    count = reference_choice.reference_count(member, 99)
    left = [
        sum(not member[m, x] for m in range(len(member)) if m not in (k, held))
        for x in range(IMAGES)
        for k in range(len(member))
        for held in range(len(member))
        if held != k
    ]
    assert count == min(left)  # none has fewer, and one has no more
    values = np.random.default_rng(0).normal(size=(2, len(member), IMAGES, len(COLUMNS)))
    shadow_signals = ShadowSignals(values[1], values, member, member, COLUMNS)
    assert reference_choice.enough(member) == (min(left) > 0)
    data = crossfit.Labelled(shadow_signals, tuple(names), np.arange(IMAGES))
    assert np.isfinite(score(data, references=99).logit).all()
    order = reference_choice.priorities(tuple(names), len(member), 0, 0)
    with pytest.raises(ValueError, match="too few"):
        [calibration.shadow_residuals(shadow_signals, order, count + 1).without(k) for k in range(len(member))]


def test_too_few_shadows_are_named():
    member = np.zeros((6, 4), bool)
    member[::2] = True
    reference_choice.check_enough(member, "abcd")
    with pytest.raises(UserError, match="5 shadows are too few, at least 6"):
        reference_choice.check_enough(member[:5], "abcd")
    member[1, 2] = True
    with pytest.raises(UserError, match="2 of these 6 shadows were trained without c, and at least 3"):
        reference_choice.check_enough(member, "abcd")
    member[:, 2] = False
    with pytest.raises(UserError, match="none of these 6 shadows was trained on c"):
        reference_choice.check_enough(member, "abcd")


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

    def garble(values):
        values[..., 5, :, :] = np.random.default_rng(9).normal(size=values[..., 5, :, :].shape) * 50

    other = with_values(data, garble)
    order = reference_choice.priorities(data.ids, SHADOWS, 0, 0)
    a, b = (calibration.shadow_residuals(d.shadow_signals, order, 2).without(5).value for d in (data, other))
    others = [k for k in range(SHADOWS) if k != 5]
    np.testing.assert_array_equal(a[others], b[others])
    out = crossfit.folds(data.group, 4, 0) == 0
    one, _ = crossfit.fit_on(a, data, others, out, 1.0)
    two, _ = crossfit.fit_on(b, other, others, out, 1.0)
    np.testing.assert_array_equal(one.weights, two.weights)
    found = [score(d).combiners for d in (data, other)]
    for a, b in zip(found[0][5], found[1][5], strict=True):
        np.testing.assert_array_equal(a.weights, b.weights)
    assert (found[0][4][0].weights != found[1][4][0].weights).any()


def test_a_held_out_group_changes_nothing_that_is_fitted():
    data = make(leak=2.0)
    order = reference_choice.priorities(data.ids, SHADOWS, 0, 0)
    out = crossfit.folds(data.group, 4, 0) == 1
    hidden = out[data.group]

    def garble(values):
        values[..., hidden, :] = np.random.default_rng(0).normal(0, 9, values[..., hidden, :].shape)

    other = with_values(data, garble)
    found = [calibration.shadow_residuals(d.shadow_signals, order, 2).without(2).outside(hidden) for d in (data, other)]
    np.testing.assert_array_equal(found[0][:, ~hidden], found[1][:, ~hidden])
    others = [k for k in range(SHADOWS) if k != 2]
    one, _ = crossfit.fit_on(found[0], data, others, out, 1.0)
    two, _ = crossfit.fit_on(found[1], other, others, out, 1.0)
    np.testing.assert_array_equal(one.weights, two.weights)
    assert one.bias == two.bias
    for a, b in zip(score(data).combiners, score(other).combiners, strict=True):
        np.testing.assert_array_equal(a[1].weights, b[1].weights)
        assert (a[0].weights != b[0].weights).any()


def test_ties_everywhere_stay_finite():
    data = make()

    def flatten(values):
        values[:] = 1.0

    held = score(with_values(data, flatten))
    assert np.isfinite(held.logit).all()
    np.testing.assert_allclose(held.logit, 0, atol=1e-9)


def test_an_attack_that_memorises_pairs_scores_one_half(monkeypatch):
    """A model that remembers the answers of every pair it was fitted on must gain nothing under two-way fitting."""

    class Memory:
        def __init__(self, z, label):
            self.known = {row.tobytes(): value for row, value in zip(z, label, strict=True)}
            self.weights, self.bias, self.names = np.zeros(z.shape[1]), 0.0, ()

        def logit(self, z):
            return np.array([10 * self.known.get(row.tobytes(), 0.5) for row in z])

    monkeypatch.setattr(crossfit.combiner, "fit", lambda z, label, *_: Memory(z, label))
    data = make(leak=0.0)
    held = score(data)
    assert np.ptp(held.logit) == 0  # no pair was recognised
    found = estimate.mean_auc(held.logit, data.shadow_signals.member, data.group, 20)
    assert found.auc == 0.5


def test_a_leak_is_found_and_noise_is_not():
    strong, none = score(make(leak=4.0)), score(make(leak=0.0))
    assert estimate.mean_auc(strong.logit, make(leak=4.0).shadow_signals.member, make().group, 20).auc > 0.9
    assert 0.35 < estimate.mean_auc(none.logit, make().shadow_signals.member, make().group, 20).auc < 0.65


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

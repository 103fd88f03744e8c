"""Two-sample tests of piles against loops and other libraries; the verdict on clear, odd and tiny piles."""

import dataclasses
import json

import numpy as np
import pytest
from scipy import stats
from sklearn import linear_model, metrics

from attack.decision import same_generator
from attack.decision.same_generator import (
    LabelTest,
    PileTest,
    Power,
    compare_piles,
    decide,
    label_consistency,
    two_samples,
)
from attack.decision.same_generator import piles as two_piles
from attack.decision.same_generator.two_samples import StatisticTest
from attack.evidence import pile_shift
from attack.evidence.embeddings.builtin import highpass, standardised
from attack.metrics import ranking

SIDE = 8


def smooth(count, rng):
    """Smooth random images, grey levels around 128."""
    return (
        128 + 30 * rng.normal(size=(count, 4, 4)).repeat(2, 1).repeat(2, 2) + 8 * rng.normal(size=(count, SIDE, SIDE))
    )


def copies(members, count, rng, noise=8):
    """A pile of disturbed members."""
    return members[rng.integers(0, len(members), count)] + noise * rng.normal(size=(count, SIDE, SIDE))


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def sides(rng):
    """Three assignments of 40 images to two piles."""
    return np.stack([rng.permutation(np.repeat([1.0, -1.0], 20)) for _ in range(3)], axis=1).astype(np.float32)


@pytest.fixture
def images(rng):
    return copies(smooth(15, rng), 40, rng)


@pytest.fixture
def found(images, sides):
    return two_samples.statistics_of(images, sides)


def apart(vectors):
    d = np.array([[np.linalg.norm(a - b) for b in vectors.astype(float)] for a in vectors.astype(float)])
    np.fill_diagonal(d, np.inf)
    return d


def test_nearest_against_a_loop(images, sides, found):
    nearest = apart(standardised(images)).argmin(1)
    for column, side in enumerate(sides.T):
        assert found["nearest"].shown[column] == pytest.approx(
            np.mean([side[j] == side[i] for i, j in enumerate(nearest)])
        )


@pytest.mark.parametrize(("name", "embed"), [("pixels", standardised), ("detail", highpass)])
def test_neighbours_and_kernel_against_a_loop(images, sides, found, name, embed):
    d = apart(embed(images))
    width = np.median(d**2)
    for column, side in enumerate(sides.T):
        same = [np.mean([side[j] == side[i] for j in np.argsort(d[i])[:10]]) for i in range(40)]
        assert found[f"neighbours ({name})"].shown[column] == pytest.approx(np.mean(same))
        pairs = [side[i] * side[j] * np.exp(-(d[i, j] ** 2) / width) for i in range(40) for j in range(40) if i != j]
        assert found[f"kernel ({name})"].shown[column] == pytest.approx(sum(pairs) / 20**2, abs=1e-5)


def test_near_duplicates_against_a_loop(images, sides, found):
    near = apart(standardised(images)) < 0.5
    assert near.any()
    for column, side in enumerate(sides.T):
        own = np.mean([any(near[i, j] and side[j] == side[i] for j in range(40)) for i in range(40)])
        other = np.mean([any(near[i, j] and side[j] != side[i] for j in range(40)) for i in range(40)])
        assert found["near-duplicates"].shown[column] == pytest.approx(own - other)


def test_statistics_are_those_of_the_regime_and_brightness_and_contrast(images, sides, found):
    def of(pile):
        return [*pile_shift.pile_statistics(pile), pile.mean(), np.log(pile.std((1, 2))).mean()]

    gaps = np.array([np.subtract(of(images[side > 0]), of(images[side < 0])) for side in sides.T])
    wanted = np.abs(gaps / np.sqrt((gaps**2).mean(0))).max(1)
    np.testing.assert_allclose(found["statistics"].shown, wanted, rtol=1e-3)


def test_classifier_is_ridge_regression_on_other_folds(sides, rng):
    features = rng.normal(size=(40, 3))
    for column, side in enumerate(sides.T):
        score = np.zeros(40)
        for fold in range(5):
            out = np.arange(40) % 5 == fold
            ridge = linear_model.Ridge(two_samples.RIDGE * 32, fit_intercept=False)
            score[out] = ridge.fit(features[~out], side[~out]).predict(features[out])
        np.testing.assert_allclose(two_samples.held_out(features, sides)[:, column], score, atol=1e-6)


def test_classifier_auc_is_that_of_scikit_learn(images, sides, found, monkeypatch):
    seen = []
    held_out = two_samples.held_out
    monkeypatch.setattr(two_samples, "held_out", lambda *a: seen.append(held_out(*a)) or seen[0])
    again = two_samples.statistics_of(images, sides)
    wanted = [metrics.roc_auc_score(side > 0, score) for side, score in zip(sides.T, seen[0].T, strict=True)]
    np.testing.assert_allclose(again["classifier"].shown, wanted)
    np.testing.assert_array_equal(again["classifier"].shown, found["classifier"].shown)


def test_p_is_adjusted_by_the_smallest_of_every_permutation(rng):
    values = {name: rng.normal(size=30).round(1) for name in "abc"}
    p = {name: [np.mean(v >= x) for x in v] for name, v in values.items()}
    smallest = [min(p[name][b] for name in "abc") for b in range(30)]
    parts = two_samples.adjusted({name: two_samples.Statistic(v, v) for name, v in values.items()})
    for name in "abc":
        assert parts[name].p == pytest.approx(np.mean([s <= p[name][0] for s in smallest]))
        assert parts[name].p >= p[name][0]


def test_the_level_is_exact_whichever_assignment_is_the_true_one(rng):
    """Each of 60 assignments in turn is taken for the true one: p <= level in a share `level` of them at most."""
    images = np.concatenate([copies(smooth(6, rng), 30, rng), np.full((10, SIDE, SIDE), 50.0)])
    sides = np.stack([rng.permutation(np.repeat([1.0, -1.0], 20)) for _ in range(60)], axis=1).astype(np.float32)
    found = two_samples.statistics_of(images, sides)
    p = []
    for first in range(60):
        turned = {
            k: two_samples.Statistic(np.roll(v.shown, -first), np.roll(v.extreme, -first)) for k, v in found.items()
        }
        p.append(min(part.p for part in two_samples.adjusted(turned).values()))
    for level in (0.05, 0.1, 0.2, 0.5):
        assert np.mean(np.array(p) <= level + 1e-9) <= level + 1e-9
    assert np.mean(np.array(p) <= 0.5) >= 0.4  # and not merely never


@pytest.mark.parametrize("distinct", [3, 1000])
def test_one_generator_is_seldom_told_apart(monkeypatch, distinct):
    """With 3 distinct images nearly every distance is a tie, which must not favour the own pile."""
    monkeypatch.setattr(two_piles, "_PERMUTATIONS", 99)
    told = 0
    for seed in range(25):
        rng = np.random.default_rng(seed)
        members = smooth(distinct, rng)
        told += compare_piles(*(members[rng.integers(0, distinct, 24)] for _ in range(2)), seed).differ
    assert told <= stats.binom.ppf(0.999, 25, 0.05)


def test_generators_of_other_members_are_told_apart(rng):
    members = smooth(20, rng)
    found = compare_piles(copies(members[:10], 60, rng, 3), copies(members[10:], 80, rng, 3), 0)
    assert found.differ
    assert found.images == 60
    assert found.p == min(part.p for part in found.parts.values()) == found.parts[found.strongest].p
    for name in ("neighbours (pixels)", "neighbours (detail)", "kernel (pixels)", "near-duplicates"):
        assert found.parts[name].p <= 0.05
        assert found.parts[name].value > found.parts[name].expected


def test_a_few_members_that_are_not_shared_are_seen(rng):
    """Two generators share two members of three."""
    members = smooth(28, rng)
    assert compare_piles(copies(members[:21], 150, rng, 3), copies(members[7:], 150, rng, 3), 0).differ


@pytest.mark.parametrize(
    "change",
    [lambda x: x + 30, lambda x: (x - 128) * 1.7 + 128, lambda x: (x + np.roll(x, 1, 2) + np.roll(x, 1, 1)) / 3],
)
def test_other_brightness_contrast_and_sharpness_are_seen(rng, change):
    found = compare_piles(smooth(80, rng), change(smooth(80, rng)), 0)
    assert found.differ


@pytest.mark.parametrize("noise", [2, 12])
def test_paired_images_are_told_apart_though_they_are_more_alike_across_the_piles(rng, noise):
    """Two generators of like slices that start from the same noise."""
    pile = smooth(60, rng)
    found = compare_piles(pile, pile + noise * rng.normal(size=pile.shape), 0)
    assert found.differ
    for name in ("nearest", *(["near-duplicates"] if noise == 2 else [])):
        assert found.parts[name].p <= 0.05
        assert found.parts[name].value < found.parts[name].expected


def test_neither_order_nor_side_nor_type_matters(rng):
    members = smooth(60, rng)
    dev, test = (copies(members[i : i + 55], n, rng).clip(0, 255).astype(np.uint8) for i, n in ((0, 50), (5, 40)))
    first = compare_piles(dev, test, 3)
    assert first == compare_piles(dev, test, 3)
    assert first == compare_piles(dev[rng.permutation(50)], test[::-1], 3)
    other = compare_piles(test, dev, 3)
    assert other.p == first.p
    assert other.parts["neighbours (pixels)"] == first.parts["neighbours (pixels)"]
    assert compare_piles(dev, test.astype(np.float64), 3).images == 40
    assert first != compare_piles(dev, test, 4)


def test_equal_numbers_are_compared_and_no_more_than_the_most(rng, monkeypatch):
    monkeypatch.setattr(two_piles, "_MOST", 30)
    assert compare_piles(smooth(35, rng), smooth(90, rng), 0).images == 30
    assert compare_piles(smooth(25, rng), smooth(90, rng), 0).images == 25


def test_large_images_are_reduced(rng):
    large = rng.integers(0, 256, (20, 128, 128)).astype(np.uint8)
    assert two_piles.reduced(large).shape == (20, 64, 64)
    assert two_piles.reduced(large[:, :100]).shape == (20, 100, 128)  # oblong: as they are
    assert compare_piles(large, large[::-1, ::-1], 0).p is not None


@pytest.mark.parametrize(("dev", "test", "said"), [(19, 40, "19 images"), (40, 1, "1 image is"), (0, 0, "0 images")])
def test_tiny_piles_are_not_compared(rng, dev, test, said):
    found = compare_piles(smooth(dev, rng), smooth(test, rng), 0)
    assert found.p is None
    assert found.strongest == ""
    assert not found.differ
    assert not found.identical
    assert said in found.why
    assert "20 are needed" in found.why
    verdict = decide(found, Power(12, 12, (0.7, 1.0), 20, 0.05, 6, 0), None)
    assert (verdict.same, verdict.kind) == (False, "too few")
    assert found.why in verdict.reason


def test_constant_images(rng):
    black = np.zeros((30, SIDE, SIDE), np.uint8)
    assert not compare_piles(black, black, 0).differ
    assert not compare_piles(black, black, 0).identical  # two collapsed generators may both make black
    found = compare_piles(black, black + np.uint8(9), 0)
    assert found.differ
    assert found.strongest == "statistics"
    assert compare_piles(black, smooth(30, rng), 0).differ


def test_collapsed_piles(rng):
    one, two = smooth(2, rng)
    assert not compare_piles(np.stack([one] * 30), np.stack([one] * 30), 0).differ
    assert compare_piles(np.stack([one] * 30), np.stack([two] * 30), 0).differ


def test_the_same_images_are_of_one_generator(rng):
    pile = smooth(60, rng)
    for part in (pile, pile[rng.permutation(60)[:30]], np.concatenate([pile[:39], smooth(1, rng)])):
        found = compare_piles(part, pile, 0)
        assert found.identical
        assert not found.differ
        verdict = decide(found, None, None)
        assert (verdict.same, verdict.kind, verdict.power) == (True, "identical", 1.0)
    assert not compare_piles(np.concatenate([pile[:30], smooth(30, rng)]), pile, 0).identical


def test_bad_arguments(rng):
    with pytest.raises(ValueError, match="one size"):
        compare_piles(np.zeros((30, 8, 8)), np.zeros((30, 9, 9)), 0)
    with pytest.raises(ValueError, match="one size"):
        compare_piles(np.zeros((30, 8)), np.zeros((30, 8)), 0)
    for level in (0.0, 1.0, np.nan):
        with pytest.raises(ValueError, match="level"):
            compare_piles(smooth(30, rng), smooth(30, rng), 0, level)


def test_power_on_shadows_of_other_members(rng):
    members = smooth(20, rng)
    piles = [copies(members[rng.permutation(20)[:10]], 60, rng, 3) for _ in range(6)]
    found = same_generator.power_on_shadows(piles, 0, images=40)
    assert (found.told_apart, found.pairs, found.value) == (12, 12, 1.0)
    assert (found.images, found.halves) == (40, 6)
    assert found.interval[0] == pytest.approx(0.025 ** (1 / 12))
    assert found.enough
    assert found == same_generator.power_on_shadows(piles, 0, images=40)


def test_no_power_where_shadows_copy_nothing(rng):
    found = same_generator.power_on_shadows([smooth(40, rng) for _ in range(5)], 0)
    assert found.pairs == 10
    assert found.told_apart <= 4
    assert not found.enough


def test_halves_that_differ_are_false_alarms(rng):
    """The pile's images are not independent: its second half is of another kind."""
    piles = [np.concatenate([smooth(25, rng), smooth(25, rng) + 20]) for _ in range(2)]
    found = same_generator.power_on_shadows(piles, 0)
    assert (found.pairs, found.halves, found.false_alarms) == (1, 2, 2)


@pytest.mark.parametrize(("shadows", "pairs"), [(2, 1), (3, 3), (4, 6), (8, 12), (16, 12)])
def test_pairs_are_distinct_and_spread_over_the_shadows(monkeypatch, rng, shadows, pairs):
    asked = []

    def note(dev, test, seed, level):
        asked.append((int(dev[0, 0, 0]), int(test[0, 0, 0])))
        return PileTest(0.5, level, len(dev), 0.0, {})

    monkeypatch.setattr(two_piles, "compare_piles", note)
    found = same_generator.power_on_shadows([np.full((30, 2, 2), k) for k in range(shadows)], 0)
    across = [pair for pair in asked if pair[0] != pair[1]]
    assert len(set(across)) == len(across) == found.pairs == pairs
    count = np.bincount(np.ravel(across), minlength=shadows)
    assert np.ptp(count) <= 2


def test_shadows_without_pairs():
    for piles, said in (
        ([], "no two shadows"),
        ([np.zeros((30, 8, 8))], "no two"),
        ([np.zeros((5, 8, 8))] * 3, "too small"),
    ):
        found = same_generator.power_on_shadows(piles, 0)
        assert (found.pairs, found.value, found.enough) == (0, 0.0, False)
        assert said in found.why


@pytest.mark.parametrize(
    ("told", "pairs", "enough"),
    [(12, 12, True), (11, 12, False), (8, 8, True), (7, 8, False), (7, 7, False), (0, 0, False)],
)
def test_enough_power_is_a_lower_limit(told, pairs, enough):
    assert Power(told, pairs, (0.0, 1.0), 50, 0.05, 0, 0).enough is enough
    if pairs and told == pairs:
        assert (0.2 ** (1 / pairs) >= 0.8) is enough


def scores(auc_dev, auc_test, rng, count=40, patient=1):
    label = np.repeat([1, 0], count)
    shift = [np.sqrt(2) * stats.norm.ppf(a) for a in (auc_dev, auc_test)]
    dev, test = (rng.normal(size=2 * count) + s * label for s in shift)
    return dev, test, label, np.arange(2 * count) // patient


def test_labels_of_another_generator_separate_worse(rng):
    dev, test, label, group = scores(0.9, 0.5, rng)
    found = label_consistency(dev, test, label, group)
    assert found.differ
    assert found.enough
    assert found.groups == 40
    assert (found.auc_dev, found.auc_test) == (ranking.auc(dev, label), ranking.auc(test, label))
    two_sided = ranking.auc_difference_grouped(dev, test, label, group)
    assert found.p == pytest.approx(two_sided.p / 2)
    assert found.interval == two_sided.interval
    turned = label_consistency(test, dev, label, group)  # better on the test pile is no contradiction
    assert turned.p == pytest.approx(1 - two_sided.p / 2)
    assert not turned.differ


def test_labels_of_the_same_generator_do_not(rng):
    found = label_consistency(*scores(0.9, 0.9, rng))
    assert not found.differ
    assert found.enough
    assert found == label_consistency(*scores(0.9, 0.9, np.random.default_rng(0)))


def test_labels_have_no_power_where_they_separate_nothing(rng):
    found = label_consistency(*scores(0.5, 0.5, rng))
    assert found.power < 0.4
    assert not found.enough


def test_equal_scores_are_consistent(rng):
    dev, _, label, group = scores(0.9, 0.5, rng)
    found = label_consistency(dev, dev, label, group)
    assert found.p == 0.5
    assert not found.differ


def test_a_small_difference_between_nearly_perfect_areas_is_not_held_against_labels():
    label = np.repeat([1, 0], 40)
    dev = label.astype(float) + np.linspace(0, 0.5, 80)
    test = dev.copy()
    test[[0, 1, 2, 3]] -= 1.05  # members among the lowest
    found = label_consistency(dev, test, label, np.arange(80))
    assert found.auc_dev == 1
    assert found.p <= 0.05
    assert found.differ == (1 - found.auc_test >= 0.05)
    near = dataclasses.replace(found, auc_test=0.97)
    assert not near.differ


@pytest.mark.parametrize(("auc_dev", "auc_test", "patient"), [(0.72, 0.72, 2), (0.74, 0.99, 4)])
def test_power_of_labels_against_a_simulation(auc_dev, auc_test, patient):
    """The stated power for one set of dev scores is the share of fresh noise that is seen as lower, however well the
    labels separate on the test pile."""
    rng = np.random.default_rng(5)
    dev, test, label, group = scores(auc_dev, auc_test, rng, 32, patient)
    stated = label_consistency(dev, test, label, group).power
    seen = 0
    for _ in range(80):
        other = ranking.auc_difference_grouped(dev, rng.normal(size=64), label, group, draws=500)
        seen += other.difference > 0.05 and other.p / 2 <= 0.05
    assert 0.3 < seen / 80 < 0.97
    assert stated == pytest.approx(seen / 80, abs=0.15)


def test_slices_of_few_patients_are_not_compared(rng):
    dev, test, label, _ = scores(0.9, 0.5, rng)
    found = label_consistency(dev, test, label, np.repeat(np.arange(10), 8))
    assert (found.p, found.power, found.groups) == (None, 0.0, 5)
    assert not found.differ
    assert not found.enough
    assert "6 patients" in found.why


def test_labels_of_one_class(rng):
    dev, test, label, group = scores(0.9, 0.5, rng)
    with pytest.raises(ValueError, match="at least one member"):
        label_consistency(dev, test, np.zeros_like(label), group)


ALIKE = PileTest(0.4, 0.05, 200, 0.0, {"classifier": StatisticTest(0.51, 0.5, 0.4)})
UNLIKE = PileTest(
    0.004, 0.05, 200, 0.0, {"classifier": StatisticTest(0.83, 0.5, 0.004), "statistics": StatisticTest(1.2, 1.6, 0.9)}
)
STRONG, WEAK = (Power(told, 12, (0.0, 1.0), 200, 0.05, 6, 0) for told in (12, 9))
CLEAR = LabelTest(0.86, 0.84, (-0.05, 0.1), 0.3, 0.99, 40, 0.05)
FAINT = LabelTest(0.58, 0.6, (-0.1, 0.1), 0.6, 0.3, 40, 0.05)
LOWER = LabelTest(0.86, 0.55, (0.1, 0.5), 0.001, 0.99, 40, 0.05)
NONE = LabelTest(0.86, 0.55, (-1.0, 1.0), None, 0.0, 3, 0.05, "few patients")


@pytest.mark.parametrize(
    ("piles", "shadows", "labels", "outside", "kind", "power", "said"),
    [
        (
            ALIKE,
            STRONG,
            CLEAR,
            False,
            "same",
            1.0,
            "12 of 12 pairs of shadows, runs of one recipe, are told apart; the dev",
        ),
        (
            ALIKE,
            WEAK,
            CLEAR,
            False,
            "same",
            0.99,
            "(AUC 0.84) as on the dev pile (0.86), and an AUC of .50 would be seen",
        ),
        (ALIKE, None, CLEAR, False, "same", 0.99, "with a power of 0.99"),
        (ALIKE, STRONG, CLEAR, True, "same", 0.99, "cannot be told apart (p = 0.40); the dev labels separate"),
        (ALIKE, STRONG, FAINT, False, "same", 1.0, "told apart."),
        (ALIKE, STRONG, None, False, "same", 1.0, "told apart."),
        (ALIKE, STRONG, NONE, False, "same", 1.0, "told apart."),
        (ALIKE, STRONG, FAINT, True, "no power", 0.3, "but another run of the recipe would not be either"),
        (ALIKE, WEAK, FAINT, False, "no power", 0.75, "but another run of the recipe would not be either"),
        (ALIKE, None, None, False, "no power", 0.0, "but another run of the recipe would not be either"),
        (ALIKE, STRONG, LOWER, False, "labels differ", 1.0, "(AUC 0.55) than on the dev pile (0.86; p = 0.001)"),
        (UNLIKE, STRONG, CLEAR, False, "piles differ", 1.0, "tells their images apart with an AUC of 0.83 (p = 0.004)"),
        (UNLIKE, STRONG, LOWER, False, "piles differ", 1.0, "not of one generator"),
    ],
)
def test_verdict(piles, shadows, labels, outside, kind, power, said):
    found = decide(piles, shadows, labels, outside)
    assert found.kind == kind
    assert found.kind in same_generator.KINDS
    assert found.same == (kind == "same")
    assert found.power == pytest.approx(power)
    assert said in found.reason
    assert found.reason.endswith(".")
    assert "\n" not in found.reason
    assert (found.piles, found.shadows, found.labels) == (piles, shadows, labels)


def test_every_test_of_piles_has_words(found):
    for name in found:
        piles = PileTest(0.01, 0.05, 50, 0.0, {name: StatisticTest(0.7, 0.5, 0.01)})
        assert "(p = 0.010)" in decide(piles, None, None).reason


def test_the_evidence_can_be_written_as_json(rng):
    piles = compare_piles(smooth(30, rng), smooth(30, rng), 0)
    shadows = same_generator.power_on_shadows([smooth(40, rng) for _ in range(2)], 0)
    written = json.loads(
        json.dumps(dataclasses.asdict(decide(piles, shadows, label_consistency(*scores(0.8, 0.8, rng)))))
    )
    assert written["piles"]["parts"]["classifier"]["p"] == piles.parts["classifier"].p
    assert written["shadows"]["pairs"] == 1

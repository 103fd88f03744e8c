"""Tests of a difference between two checkpoints."""

import numpy as np
import pytest

from attack import metrics
from attack.compare import paired
from attack.compare.paired import Losses, Scored

RNG = np.random.default_rng(0)
NAMES = tuple(f"image {i}" for i in range(40))
HALF = np.arange(40) % 2 == 0


def scored(shift, member=HALF, names=NAMES, seed=0):
    noise = np.random.default_rng(seed).standard_normal(len(names))
    return Scored(names, noise + shift * member, member)


def test_the_same_twice():
    one = scored(1.0)
    found = paired.auc_difference(one, one)
    assert (found.difference, found.low, found.high, found.p) == (0, 0, 0, 1)
    assert paired.spearman(one, one) == pytest.approx(1)


def test_with_the_same_members_it_is_delong():
    a, b = scored(1.5), scored(0.2, seed=1)
    found, wanted = paired.auc_difference(a, b), metrics.delong_paired(a.score, b.score, HALF.astype(int))
    assert (found.difference, found.p) == (wanted.difference, wanted.p)
    assert found.difference > 0
    assert paired.auc_difference(b, a).difference == -found.difference


def test_the_general_formula_is_delong_where_both_apply():
    """The order of the images is all that keeps DeLong's own code from being used."""
    a, b = scored(1.0), scored(0.3, seed=1)
    turned = Scored(b.images[::-1], b.score[::-1], b.member[::-1])
    found, wanted = paired.auc_difference(a, turned), paired.auc_difference(a, b)
    assert found.method != wanted.method
    for name in ("difference", "low", "high", "p"):
        assert getattr(found, name) == pytest.approx(getattr(wanted, name))


def test_without_shared_images_variances_add():
    a = scored(1.0)
    b = scored(0.5, names=tuple(f"other {name}" for name in NAMES), seed=2)
    found = paired.auc_difference(a, b)
    variance = sum(metrics.delong(x.score, x.member.astype(int))[1] for x in (a, b))
    assert found.method == "unpaired"
    assert found.high - found.low == pytest.approx(2 * 1.959964 * np.sqrt(variance), rel=1e-5)


def test_images_of_one_group_count_once():
    """Each image twice under another name says no more than once, where they are known to be of one group."""
    a, b = scored(1.0), scored(0.2, seed=1)
    groups = tuple(f"patient {name}" for name in NAMES)

    def twice(x):
        names = (*x.images, *(f"copy of {name}" for name in x.images))
        return Scored(names, np.tile(x.score, 2), np.tile(x.member, 2), groups * 2)

    once, found = paired.auc_difference(a, b), paired.auc_difference(twice(a), twice(b))
    assert found.difference == pytest.approx(once.difference)
    assert "by group" in found.method
    width, wanted = (x.high - x.low for x in (found, once))
    assert width == pytest.approx(wanted, rel=0.03)  # n - 1 of the variance is 2 n - 1 here
    alone = [Scored(x.images, x.score, x.member) for x in (twice(a), twice(b))]
    naive = paired.auc_difference(*alone)
    assert naive.high - naive.low < 0.75 * width
    singles = [Scored(x.images, x.score, x.member, groups) for x in (a, b)]
    assert paired.auc_difference(*singles) == once


def test_the_level_holds_where_members_differ():
    """Two shadows of one fleet: half of the images each, scores of an image alike."""
    small = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        easy = rng.standard_normal(40)
        two = []
        for _ in range(2):
            member = rng.permutation(HALF)
            two.append(Scored(NAMES, easy + 0.7 * rng.standard_normal(40) + 0.8 * member, member))
        small += paired.auc_difference(*two).p < 0.05
    assert 4 <= small <= 30  # 15 expected


def test_gaps_of_losses():
    member = HALF
    loss = np.stack([np.where(member, 1.0, 1.5) * RNG.uniform(0.9, 1.1, 40) for _ in range(3)])
    a = Losses(NAMES, loss, member)
    for row, found in zip(loss, paired.gap(a), strict=True):
        assert found.value == pytest.approx(row[~member].mean() / row[member].mean() - 1)
        assert found.low < 0.5 < found.high
    same = paired.gap_difference(a, a)
    assert (same.difference, same.p) == (0, 1)
    flat = Losses(NAMES, np.ones((3, 40)) * RNG.uniform(0.9, 1.1, 40), member)
    more = paired.gap_difference(a, flat)
    assert more.difference > 0.3
    assert more.p < 1e-6
    with pytest.raises(ValueError, match="one class"):
        paired.gap(Losses(NAMES, loss, np.ones(40, bool)))


def test_the_interval_of_a_gap_covers():
    inside = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        loss = rng.gamma(4, 1, (1, 40)) * np.where(HALF, 1, 1.3)
        found = paired.gap(Losses(NAMES, loss, HALF))[0]
        inside += found.low < 0.3 < found.high
    assert inside > 270


def test_mean_interval_is_that_of_t():
    values = RNG.standard_normal(12)
    found = paired.mean_interval(values)
    assert found.value == pytest.approx(values.mean())
    assert found.high - found.value == pytest.approx(2.200985 * values.std(ddof=1) / np.sqrt(12), rel=1e-5)


def test_rank_correlation_of_what_is_shared():
    a = scored(0)
    b = Scored(NAMES[:10], np.exp(a.score[:10]), HALF[:10])
    assert paired.spearman(a, b) == pytest.approx(1)
    assert paired.spearman(a, Scored(NAMES[:2], a.score[:2], HALF[:2])) is None
    assert paired.spearman(a, Scored(NAMES, np.zeros(40), HALF)) is None

"""The membership matrix: balance, growth by blocks, and nothing left of the order in which it was filled."""

import itertools
import re

import numpy as np
import pytest
from absl import logging
from hypothesis import given, settings
from hypothesis import strategies as st

from attack.inference import estimate
from shadow.config import MembershipConfig
from shadow.errors import UserError
from shadow.training import membership

KINDS = st.sampled_from(["image", "group", "mixed"])
BLOCKS = st.sampled_from([2, 4, 8])
SIZES = st.lists(st.integers(1, 9), min_size=4, max_size=20)


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setattr(logging, "warning", lambda *_: None)


def names(sizes):
    """A group name an image, scattered over the images."""
    groups = [f"g{i}" for i, size in enumerate(sizes) for _ in range(size)]
    return [groups[i] for i in np.random.default_rng(len(groups)).permutation(len(groups))]


def draw(groups, shadows, seed, unit="mixed", block=8):
    return membership.draw(groups, shadows, MembershipConfig(unit, block), seed)


@settings(max_examples=60, deadline=None)
@given(SIZES, KINDS, st.integers(0, 2**32 - 1))
def test_units_part_the_images_and_keep_to_their_groups(sizes, kind, seed):
    groups = np.array(names(sizes))
    parts = membership.units(groups, kind, seed)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(groups)))
    for part in parts:
        assert len(part) > 0
        assert len(set(groups[part])) == 1
    for name in set(groups):
        mine = [len(part) for part in parts if groups[part[0]] == name]
        size = (groups == name).sum()
        if kind == "image":
            assert mine == [1] * size
        elif kind == "group":
            assert mine == [size]
        else:
            assert mine == [size] or sorted(mine) == [size // 2, size - size // 2]
            assert size == 1 or size <= len(groups) / 10 or len(mine) == 2
    assert all(np.array_equal(a, b) for a, b in zip(parts, membership.units(groups, kind, seed), strict=True))


def test_mixed_has_whole_and_split_groups():
    groups = np.array([f"g{i // 4}" for i in range(400)])
    lengths = [len(part) for part in membership.units(groups, "mixed", 0)]
    whole, halves = lengths.count(4), lengths.count(2)
    assert whole + halves / 2 == 100
    assert 30 <= whole <= 70
    # whether a group is split depends on its name alone, not on its neighbours
    fewer = groups[200:]
    split = {groups[part[0]] for part in membership.units(groups, "mixed", 0) if len(part) == 2}
    assert {fewer[part[0]] for part in membership.units(fewer, "mixed", 0) if len(part) == 2} == split & set(fewer)


@settings(max_examples=60, deadline=None)
@given(SIZES, KINDS, BLOCKS, st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_every_unit_is_in_half_of_each_block_and_sizes_are_balanced(sizes, kind, block, blocks, seed):
    groups = names(sizes)
    rows = draw(groups, block * blocks, seed, kind, block)
    parts = membership.units(groups, kind, seed)
    assert rows.dtype == bool
    assert rows.shape == (block * blocks, len(groups))
    for part in parts:
        assert (rows[:, part] == rows[:, part[:1]]).all()  # together or not at all
    largest = max(len(part) for part in parts)
    for one in rows.reshape(blocks, block, -1):
        assert (one.sum(0) == block // 2).all()
        assert np.ptp(one.sum(1)) <= largest


@settings(max_examples=20, deadline=None)
@given(SIZES, KINDS, BLOCKS, st.integers(0, 2**32 - 1))
def test_growth_keeps_earlier_rows(sizes, kind, block, seed):
    groups = names(sizes)
    one, three = draw(groups, block, seed, kind, block), draw(groups, 3 * block, seed, kind, block)
    assert np.array_equal(three[:block], one)


def test_blocks_and_seeds_differ():
    groups = names([1] * 40)
    rows = draw(groups, 16, 0)
    assert not np.array_equal(rows[:8], rows[8:])
    assert not np.array_equal(rows, draw(groups, 16, 1))


def test_no_two_shadows_are_complements():
    """Complements would say the same thing twice: what is out of one is in the other."""
    for seed in range(20):
        rows = draw(names([1, 1, 2, 3] * 8), 16, seed)
        for a, b in itertools.combinations(rows, 2):
            assert (a != b).mean() < 1
            assert (a != b).any()


@pytest.mark.slow
def test_equal_units_every_balanced_matrix_is_equally_likely():
    """All 90 matrices of 4 shadows x 4 units with two ones in every row and column."""
    halves = [np.array(r) for r in itertools.product((0, 1), repeat=4) if sum(r) == 2]
    allowed = [m for m in itertools.product(halves, repeat=4) if (np.sum(m, 0) == 2).all()]
    assert len(allowed) == 90
    counts = dict.fromkeys((np.stack(m).astype(bool).tobytes() for m in allowed), 0)
    for seed in range(540):
        counts[membership._block(np.ones(4, int), 4, np.random.default_rng(seed)).tobytes()] += 1
    expected = 540 / 90
    chi2 = sum((count - expected) ** 2 / expected for count in counts.values())
    assert chi2 < 89 + 4.5 * np.sqrt(2 * 89)


@pytest.mark.parametrize("sizes", [[2, 2, 1, 1, 1, 1], [3, 3, 1, 1, 1, 1, 1], [4, 3, 2, 2, 1, 1]])
def test_unequal_units_meet_as_often_as_in_all_allowed_matrices(sizes):
    """Against the list of all matrices of 4 shadows that keep the conditions."""
    sizes = np.array(sizes)
    halves = np.array([c for c in itertools.product((0, 1), repeat=4) if sum(c) == 2])  # [column, shadow]
    columns = halves[np.indices((6,) * len(sizes)).reshape(len(sizes), -1)]  # [unit, matrix, shadow]
    loads = np.einsum("ums,u->ms", columns, sizes)
    allowed = columns[:, np.ptp(loads, axis=1) <= sizes.max()].astype(bool)
    draws = np.stack([membership._block(sizes, 4, np.random.default_rng(seed)) for seed in range(250)])
    for u, v in itertools.combinations(range(len(sizes)), 2):
        exact = (allowed[u] & allowed[v]).sum(1)
        drawn = (draws[:, :, u] & draws[:, :, v]).sum(1)
        assert abs(drawn.mean() - exact.mean()) < 4.5 * exact.std() / np.sqrt(len(draws))


@pytest.mark.slow
@pytest.mark.parametrize(("sizes", "pairs"), [([1] * 20, [(0, 1), (0, 19), (7, 8)]), ([8, 8] + [1] * 60, [(0, 1)])])
def test_two_units_meet_as_often_as_any_two(sizes, pairs):
    """No pattern of the greedy start: a pair shares (B/2) (N/2 - 1) / (N - 1) shadows where rows are equal."""
    sizes = np.array(sizes)
    draws = np.stack([membership._block(sizes, 8, np.random.default_rng(seed)) for seed in range(100)])
    for u, v in pairs:
        together = (draws[:, :, u] & draws[:, :, v]).sum(1)
        if (sizes == 1).all():
            expected = 4 * (len(sizes) / 2 - 1) / (len(sizes) - 1)
            assert abs(together.mean() - expected) < 4.5 * together.std() / np.sqrt(len(draws))
        else:  # two that fill an eighth of a shadow each are kept apart more often, but not always
            assert 0.6 < together.mean() < 2
            assert together.max() >= 2
    marginals = draws.mean(0)
    assert np.abs(marginals - 0.5).max() < 4.5 * 0.5 / np.sqrt(len(draws))


@pytest.mark.parametrize(
    ("block", "shadows", "field"),
    [
        (0, 8, "membership.block"),
        (3, 6, "membership.block"),
        (-2, 8, "membership.block"),
        (8, 0, "fleet.shadows"),
        (8, 4, "fleet.shadows"),
        (8, 12, "fleet.shadows"),
    ],
)
def test_blocks_that_do_not_fit_are_refused(block, shadows, field):
    with pytest.raises(UserError, match=field):
        draw(names([1] * 10), shadows, 0, block=block)


def test_too_few_units_and_unknown_kinds_are_refused():
    with pytest.raises(UserError, match="at least 4"):
        draw(names([3, 3, 3]), 8, 0, unit="group")
    with pytest.raises(UserError, match=r"membership\.unit = 'patient'"):
        draw(names([3] * 9), 8, 0, unit="patient")
    with pytest.raises(UserError, match=r"membership\.unit = 'auto'"):  # which only a plan can resolve
        draw(names([3] * 9), 8, 0, unit="auto")


def test_a_large_unit_gives_a_warning(monkeypatch):
    said = []
    monkeypatch.setattr(logging, "warning", lambda text, *values: said.append(text % values))
    membership.warn_of_large_units(names([1] * 30), MembershipConfig(unit="group"), 0)
    assert said == []
    membership.warn_of_large_units(names([5] + [1] * 25), MembershipConfig(unit="group"), 0)
    assert len(said) == 1
    assert "5 of 30" in said[0]


def test_one_group_alone_is_refused():
    """As images they are units enough; but no fold over groups holds one out."""
    with pytest.raises(UserError, match=r"all 9 dev images are of one patient or cluster .*\(g0\).*other patients"):
        draw(names([9]), 8, 0, unit="image")
    assert draw(names([8, 1]), 8, 0, unit="image").shape == (8, 9)


def patients(count, size, first=0):
    return [f"p{first + i // size}" for i in range(count * size)]


def choose(dev, test, label=None, asked="auto", candidates=False):
    label = np.full(len(dev), -1) if label is None else np.asarray(label)
    return membership.choose_unit(dev, test, label, asked, candidates, 0)


DEV = patients(10, 4)
SPLIT, WHOLE, PARTLY = [1, 0, 1, 0] * 10, [1] * 20 + [0] * 20, [1, 1, 0, 0] * 2 + [1] * 16 + [0] * 16
SAME, OTHER = DEV[::2], patients(5, 4, 50)
FEW, SOME, MOST = ([*DEV[:known], *patients(20 - known, 1, 50)] for known in (3, 10, 17))


@pytest.mark.parametrize(
    ("dev", "test", "label", "candidates", "unit", "warned"),
    [
        (patients(40, 1), patients(20, 1, 99), SPLIT, False, "image", ""),
        (patients(40, 1), patients(20, 1), None, False, "image", ""),
        (DEV, SAME, SPLIT, False, "image", ""),
        (DEV, SAME, None, False, "image", ""),
        (DEV, SAME, WHOLE, False, "group", ""),
        ([*patients(9, 2), *patients(40, 1, 50)], patients(9, 2), None, False, "image", "look less used than .*=true"),
        (DEV, SAME, PARTLY, False, "mixed", None),
        (DEV, OTHER, SPLIT, False, "group", ""),
        (DEV, OTHER, WHOLE, False, "group", ""),
        (DEV, OTHER, None, False, "group", ""),
        (DEV, FEW, SPLIT, False, "group", ""),
        (DEV, SOME, SPLIT, False, "group", "50% of the candidates and 100% of the dev slices .* no unit fits both"),
        (DEV, SOME, WHOLE, False, "group", "no unit fits both"),
        (DEV, MOST, SPLIT, False, "mixed", None),
        ([*patients(36, 1), *patients(2, 2, 90)], ["p90", *patients(19, 1, 50)], None, False, "image", ""),
        (DEV, MOST, None, False, "mixed", None),
        (DEV, OTHER, SPLIT, True, "image", ""),
        (DEV, OTHER, WHOLE, True, "group", ""),
        (DEV, patients(20, 1, 50), SPLIT, True, "group", ""),
        (DEV, SOME, SPLIT, True, "group", "no unit fits both"),
        (patients(3, 8), patients(3, 8, 50), SPLIT[:24], False, "mixed", "too many are flagged"),
        (patients(1, 8), patients(3, 8, 50), SPLIT[:8], False, "image", "too many are flagged"),
    ],
)
def test_the_unit_that_fits(dev, test, label, candidates, unit, warned):
    found = choose(dev, test, label, candidates=candidates)
    assert found.unit == unit
    if warned is not None:
        assert bool(found.warning) == bool(warned)
        assert re.search(warned, found.warning)
    assert found.why
    assert "\n" not in found.why + found.warning


@pytest.mark.parametrize(
    ("asked", "test", "candidates", "warned"),
    [
        (
            "image",
            OTHER,
            False,
            "^membership.unit = 'image' .*: 0% of the candidates and 100% .* too many .*'group' fits",
        ),
        ("mixed", OTHER, False, "too many are flagged; membership.unit = 'group' fits better"),
        ("image", MOST, False, "too many are flagged; membership.unit = 'mixed' fits better"),
        ("group", OTHER, False, ""),
        ("image", SAME, False, ""),
        ("group", SAME, False, ""),
        ("image", OTHER, True, ""),
        ("group", SAME, True, ""),
        ("image", patients(20, 1, 50), True, "too many are flagged; membership.unit = 'group' fits better$"),
    ],
)
def test_a_unit_that_is_given_stays_and_is_judged(asked, test, candidates, warned):
    found = choose(DEV, test, SPLIT, asked, candidates)
    assert found.unit == asked
    assert found.why.startswith("as given; ")
    assert bool(found.warning) == bool(warned)
    assert re.search(warned, found.warning)


GROUPS = st.lists(st.sampled_from("abcdefgh"), min_size=8, max_size=40)


@settings(max_examples=150, deadline=None)
@given(GROUPS, GROUPS, st.integers(0, 99), st.booleans())
def test_the_chosen_unit_accuses_nobody_unless_it_says_so(dev, test, seed, candidates):
    """References of candidates hold relatives about as often as those of dev images, or more often."""
    label = np.random.default_rng(seed).integers(-1, 2, len(dev))
    found = membership.choose_unit(dev, test, label, "auto", candidates, seed)
    theirs, own = membership.relatives(dev, test, found.unit, candidates, seed)
    assert ("too many are flagged" in found.warning) == (own - theirs > 0.08)
    if found.unit != "mixed" and len(set(dev)) >= 4:
        assert own - theirs <= 0.08
    assert len(membership.units(dev, found.unit, seed)) >= 4


@settings(max_examples=60, deadline=None)
@given(GROUPS, GROUPS, KINDS, st.booleans())
def test_relatives_against_drawn_shadows(dev, test, unit, candidates):
    """In many shadows every relative that may be held without the image is held once."""
    pool = [*dev, *test] if candidates else dev
    if len(set(dev)) < 2 or len(membership.units(pool, unit, 5)) < 4:
        return
    rows = np.zeros((512, len(pool)), bool)
    rng = np.random.default_rng(0)
    for part in membership.units(pool, unit, 5):
        rows[:, part] = (rng.random(512) < 0.5)[:, None]

    def ever(group, place):
        others = [i for i, other in enumerate(pool) if other == group and i != place]
        without = rows if place is None else rows[~rows[:, place]]
        return bool(others) and bool(without[:, others].any())

    offset = len(dev) if candidates else None
    wanted_dev = np.mean([ever(group, i) for i, group in enumerate(dev)])
    wanted = np.mean([ever(group, None if offset is None else offset + i) for i, group in enumerate(test)])
    assert membership.relatives(dev, test, unit, candidates, 5) == pytest.approx((wanted, wanted_dev))


@settings(max_examples=100, deadline=None)
@given(GROUPS, st.integers(0, 999))
def test_label_split_against_the_attack_s_own_measure(groups, seed):
    label = np.random.default_rng(seed).integers(0, 2, len(groups))
    found = membership.label_split(groups, label)
    unused = [i for i, used in enumerate(label) if not used]
    kin = [i for i in unused if sum(group == groups[i] for group in groups) > 1]
    if label.all() or not label.any() or len(kin) < 5:
        assert found is None
        return
    chance = estimate.mixing(groups, label == 1)
    assert found == pytest.approx(chance / (label.sum() / (len(label) - 1)))
    mute = np.append(label, [-1, -1])  # images without a label say nothing
    assert membership.label_split([*groups, "a", "z"], mute) == pytest.approx(found)


def test_label_split_of_whole_and_of_random_groups():
    assert membership.label_split(DEV, np.array(WHOLE)) == 0
    rng, found = np.random.default_rng(1), []
    for _ in range(400):
        found.append(membership.label_split(DEV, rng.permutation(SPLIT)))
    assert abs(np.mean(found) - 1) < 4 * np.std(found) / 20
    assert membership.label_split(DEV, np.ones(40, int)) is None
    assert membership.label_split(DEV, np.full(40, -1)) is None


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from("abcde"), min_size=1, max_size=12),
    st.lists(st.sampled_from("abcdexy"), max_size=6),
    st.integers(0, 2**32 - 1),
)
def test_touched_against_a_loop(groups, candidates, seed):
    rows = np.random.default_rng(seed).random((5, len(groups))) < 0.3
    result = membership.holds_relative(rows, groups, candidates)
    assert result.shape == (5, len(candidates))
    for k, row in enumerate(rows):
        for c, candidate in enumerate(candidates):
            assert result[k, c] == any(row[i] and groups[i] == candidate for i in range(len(groups)))


def test_touched_counts_past_a_byte():
    """256 images of one group must not wrap round to none."""
    assert membership.holds_relative(np.ones((1, 256), bool), ["a"] * 256, ["a"]).all()

"""The membership matrix: balance, growth by blocks, and nothing left of the order in which it was filled."""

import itertools

import numpy as np
import pytest
from absl import logging
from hypothesis import given, settings
from hypothesis import strategies as st

from shadow import membership
from shadow.config import MembershipConfig
from shadow.errors import UserError

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


def test_a_large_unit_gives_a_warning(monkeypatch):
    said = []
    monkeypatch.setattr(logging, "warning", lambda text, *values: said.append(text % values))
    membership.warn_of_large_units(names([1] * 30), MembershipConfig(unit="group"), 0)
    assert said == []
    membership.warn_of_large_units(names([5] + [1] * 25), MembershipConfig(unit="group"), 0)
    assert len(said) == 1
    assert "5 of 30" in said[0]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from("abcde"), min_size=1, max_size=12),
    st.lists(st.sampled_from("abcdexy"), max_size=6),
    st.integers(0, 2**32 - 1),
)
def test_touched_against_a_loop(groups, candidates, seed):
    rows = np.random.default_rng(seed).random((5, len(groups))) < 0.3
    result = membership.touched(rows, groups, candidates)
    assert result.shape == (5, len(candidates))
    for k, row in enumerate(rows):
        for c, candidate in enumerate(candidates):
            assert result[k, c] == any(row[i] and groups[i] == candidate for i in range(len(groups)))


def test_touched_counts_past_a_byte():
    """256 images of one group must not wrap round to none."""
    assert membership.touched(np.ones((1, 256), bool), ["a"] * 256, ["a"]).all()

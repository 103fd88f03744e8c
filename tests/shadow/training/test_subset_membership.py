"""Every shadow holds one subset, whole, and a fleet grows by rounds of them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadow.errors import UserError
from shadow.training import subset_membership


@given(st.lists(st.integers(1, 4), min_size=2, max_size=5), st.integers(1, 3), st.integers(2, 3))
def test_every_family_has_as_many_shadows_of_each_subset(sizes, families, rounds):
    subset = np.random.default_rng(len(sizes)).permutation(np.repeat(np.arange(len(sizes)), sizes))
    block = len(sizes)
    family = [k // block % families for k in range(block * families * rounds)]
    drawn = subset_membership.draw(subset, family)
    for row in drawn:
        (own,) = set(subset[row].tolist())
        assert row.sum() == sizes[own]
    for one in range(families):
        held = [subset[row][0] for row, name in zip(drawn, family, strict=True) if name == one]
        assert np.bincount(held).tolist() == [rounds] * len(sizes)
    more = subset_membership.draw(subset, [*family, *family])
    assert np.array_equal(more[: len(drawn)], drawn)


@pytest.mark.parametrize(("shadows", "why"), [(7, "a multiple of 3"), (3, "use 6 or more")])
def test_fleets_that_do_not_fit_are_named(shadows, why):
    with pytest.raises(UserError, match=why):
        subset_membership.draw(np.array([0, 1, 2, 2]), [0] * shadows)

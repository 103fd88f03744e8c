"""The loss relative to that of shadows without the slice."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attack.compare import difficulty


@given(st.integers(1, 9), st.integers(1, 12), st.integers(0, 1000))
def test_references_do_not_hold_the_image_and_all_images_have_as_many(shadows, images, seed):
    rng = np.random.default_rng(seed)
    member, order = rng.random((shadows, images)) < 0.5, rng.random((images, shadows))
    least = min(sum(not member[k, i] for k in range(shadows)) for i in range(images))
    if not least:
        with pytest.raises(ValueError, match="all of them"):
            difficulty.chosen(member, order)
        return
    found = difficulty.chosen(member, order)
    assert found.shape == (images, least)
    for i, row in enumerate(found):
        outside = sorted((k for k in range(shadows) if not member[k, i]), key=lambda k: order[i, k])
        assert row.tolist() == outside[:least]


def test_without_other_shadows_there_are_no_references():
    with pytest.raises(ValueError, match="all of them"):
        difficulty.chosen(np.zeros((0, 3), bool), np.zeros((3, 0)))

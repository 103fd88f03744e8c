"""The bench of cheap nulls: what its piles are made of, and that its verdict can be a leak."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))

import nulls

from shadow import keys


@pytest.mark.parametrize("sharing", nulls.SHARING)
def test_patients_have_both_slices_in_one_folder_or_one_in_each(sharing):
    slices = nulls.deal(sharing, keys.generator(0, "test"))
    assert slices.dev.shape == slices.test.shape == (nulls.DEV, nulls.SIDE, nulls.SIDE)
    shared = np.isin(slices.test_group, slices.dev_group)
    assert shared.all() if sharing == "shared" else not shared.any()
    assert slices.used.sum() == nulls.DEV // 2


def test_a_null_pile_holds_no_candidate_and_the_control_holds_half():
    slices = nulls.deal("apart", keys.generator(0, "test"))

    def near(made_of):
        pile = nulls.copied(slices, made_of, keys.generator(1, "test")).reshape(nulls.PILE, -1)
        gaps = np.linalg.norm(slices.test.reshape(nulls.TEST, 1, -1) - pile, axis=2).min(1)
        return (gaps < 2 * nulls.SIDE).mean()  # a copy is disturbed by 1 in each of its pixels

    assert [near(made_of) for made_of in nulls.TARGETS] == [0.0] * len(nulls.TARGETS)
    assert near(nulls.LEAK) == 0.5


def test_the_control_is_called_and_a_null_is_not():
    rng = keys.generator(0, "test")
    slices = nulls.deal("apart", rng)
    shadows = nulls.train(slices, 0, rng)
    for made_of, level in ((nulls.LEAK, "leak"), ("noise", "cannot tell")):
        own = nulls.measured(slices, nulls.copied(slices, made_of, rng))
        said = nulls.verdicts(nulls.evidence(slices, shadows, own, nulls.REGIMES["30 %"]), 0)
        assert said["blind"].level == level

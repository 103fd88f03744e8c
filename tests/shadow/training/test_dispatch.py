"""Several steps at one dispatch train the same generators as one step at a time."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from tiny_training import folders, make, rows, saved, timeless

from shadow.training import train


def test_several_steps_at_once_are_those_of_one_at_a_time(tmp_path):
    found = []
    for dispatch in (1, 16):
        spec, where = make()._replace(dispatch=dispatch), folders(tmp_path / str(dispatch))
        train.train_pack(spec, where, (4,))
        found.append((where, saved(where), timeless(rows(where[0]))))
    (_, state, said), *others = found
    for _, other, also_said in others:
        for one, two in zip(jax.tree.leaves(state), jax.tree.leaves(other), strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)
        assert [row["step"] for row in also_said] == [row["step"] for row in said] == [2, 3, 4, 6]


def test_a_stop_between_two_dispatches_is_saved(tmp_path):
    spec, where = make(log_every=6, checkpoint_every=6)._replace(dispatch=2), folders(tmp_path)
    asked = []

    def stop():
        asked.append(1)
        return len(asked) == 2

    with pytest.raises(train.Stopped, match="step 4 of 6"):
        train.train_pack(spec, where, (), stop=stop)
    train.train_pack(spec, where, ())
    assert [row["step"] for row in rows(where[0])] == [6]

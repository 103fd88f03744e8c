"""Training that comes to nothing says so, and keeps what was good."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_training import IMAGES, folders, make

from shadow.denoisers.build import build
from shadow.errors import UserError
from shadow.training import checkpoint, train


def test_a_nan_loss_stops_the_pack(tmp_path):
    images = IMAGES.copy()
    images[5] = np.nan  # a member of generator 0 only
    where = folders(tmp_path)
    with pytest.raises(UserError, match=r"shadow 0: the loss is not finite at step \d; lower train\.learning_rate"):
        train.train_pack(make(images=images), where, ())
    assert checkpoint.latest_common(where) == 0


def test_weights_ruined_after_the_last_good_checkpoint_are_not_saved(tmp_path, monkeypatch):
    """Step 6 has a finite loss, but its update does not: the checkpoint of step 3 must stay the newest."""
    where = folders(tmp_path)
    real = train.make_step

    def ruin(spec, network):
        step_fn = real(spec, network)

        def step(state, images):
            state, loss, norm = step_fn(state, images)
            if int(state.step[0]) == 6:
                spoilt = jax.tree.map(lambda leaf: leaf.at[1].set(jnp.nan), (state.params, state.ema))
                state = state._replace(params=spoilt[0], ema=spoilt[1])
            return state, loss, norm

        return step

    monkeypatch.setattr(train, "make_step", ruin)
    with pytest.raises(UserError, match=r"shadow 1: .* step 6; .*step 3, is kept"):
        train.train_pack(make(), where, ())
    assert checkpoint.steps(where[0]) == checkpoint.steps(where[1]) == [3]
    assert "NaN" not in (where[1] / "metrics.jsonl").read_text()


def test_a_learning_rate_far_too_high(tmp_path):
    where = folders(tmp_path)
    with pytest.raises(UserError, match=r"train\.learning_rate"):
        train.train_pack(make(learning_rate=1e30, warmup_steps=0), where, ())
    for step in checkpoint.steps(where[0]):
        like = jax.eval_shape(lambda: train.init_states(make(), build(make().denoiser, 8)))
        saved = checkpoint.restore_pack(where, step, like)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(saved))


def test_a_generator_without_members_is_refused(tmp_path):
    with pytest.raises(UserError, match="generator 1 has no members"):
        train.train_pack(make(members=(np.array([0]), np.array([], int))), folders(tmp_path), ())

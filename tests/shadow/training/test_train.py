"""Training: a pack is its generators one by one, and its steps are what they are written out."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny_training import IMAGES, MEMBERS, equal, folders, make, rows

from shadow import keys
from shadow.config import DenoiserConfig, TrainConfig, UNet2DConfig
from shadow.denoisers.build import build
from shadow.diffusion import process
from shadow.training import checkpoint, train


def test_a_pack_is_its_generators_one_by_one(straight):
    _, pack = straight
    for i in range(2):
        spec = make(ids=(i,))
        network = build(spec.denoiser, 8)
        alone, step_fn = train.init_states(spec, network), train.make_step(spec, network)
        for _ in range(6):
            alone, *_ = step_fn(alone, jnp.asarray(IMAGES))
        jax.tree.map(
            lambda a, b, i=i: np.testing.assert_allclose(a[i], b[0], rtol=2e-3, atol=2e-5), pack.params, alone.params
        )
    assert pack.step.tolist() == [6, 6]
    kernels = pack.params["embed"]["kernel"]
    assert np.abs(kernels[0] - kernels[1]).max() > 1e-2  # two generators, not one twice


def test_metrics(straight):
    where, _ = straight
    for folder in where:
        found = rows(folder)
        assert [row["step"] for row in found] == [2, 3, 4, 6]  # log_every, and wherever a checkpoint is written
        assert [row["images"] for row in found] == [8, 12, 16, 24]
        assert all(np.isfinite([row["loss"], row["gradient_norm"], row["images_per_second"]]).all() for row in found)
        assert [("loss_in" in row, "loss_out" in row) for row in found] == [(s % 3 == 0,) * 2 for s in (2, 3, 4, 6)]
        assert len(found[1]["loss_in"]) == len(found[1]["loss_out"]) == len(train.EVALUATION_TIMES)
    assert checkpoint.steps(where[0]) == checkpoint.steps(where[1]) == [3, 6]


def test_progress_is_told(tmp_path):
    seen = []
    train.train_pack(make(), folders(tmp_path), (), lambda *told: seen.append(told))
    assert [told[:2] for told in seen] == [(2, 6), (3, 6), (4, 6), (6, 6)]
    assert all(rate > 0 for _, _, rate, _ in seen)
    losses = [[row["loss"] for row in rows(tmp_path / str(i))] for i in range(2)]
    np.testing.assert_allclose([loss for *_, loss in seen], np.mean(losses, axis=0), rtol=1e-4)


def test_the_stream_and_the_seed_count(straight):
    one = train.init_states(make(), build(make().denoiser, 8))
    other = train.init_states(make(stream="target"), build(make().denoiser, 8))
    assert not np.array_equal(one.params["embed"]["kernel"], other.params["embed"]["kernel"])
    assert equal(one.params, one.ema)


@pytest.mark.parametrize("halflife", [7, 2000])
def test_ema_decay(halflife):
    config = TrainConfig(batch_size=4, ema_halflife_images=halflife)
    for step in range(30):
        seen = 4 * (step + 1)
        expected = 0.5 ** (4 / min(halflife, 0.1 * seen))
        np.testing.assert_allclose(train.ema_decay(config, jnp.int32(step)), expected, rtol=1e-5)


def test_three_steps_written_out():
    """The step of one generator again, with plain optax calls and the loss spelt out."""
    spec = make(ids=(1,))
    network = build(spec.denoiser, 8)
    abar = jnp.asarray(process.alpha_bar(spec.diffusion), jnp.float32)
    state = train.init_states(spec, network)
    params = jax.tree.map(lambda leaf: leaf[0], jax.device_get(state.params))
    ema, adam = params, optax.adam(1.0, b2=0.99)
    opt = adam.init(params)

    @jax.jit
    def written_out(params, ema, opt, x0, eps, t, rate, decay):
        def mean_loss(params):
            signal, noise = jnp.sqrt(abar)[t][:, None, None, None], jnp.sqrt(1 - abar)[t][:, None, None, None]
            clean = network.apply(params, signal * x0 + noise * eps, t)
            weight = jnp.minimum(1 / (1 - abar[t]), 4.0)  # 1 + SNR = 1 / (1 - abar)
            return (weight * ((clean - x0) ** 2).mean((1, 2, 3))).mean()

        value, grads = jax.value_and_grad(mean_loss)(params)
        norm = jnp.sqrt(sum((g**2).sum() for g in jax.tree.leaves(grads)))
        updates, opt = adam.update(jax.tree.map(lambda g: g / jnp.maximum(norm, 1.0), grads), opt)
        params = jax.tree.map(lambda p, u: p + rate * u, params, updates)
        ema = jax.tree.map(lambda e, p: decay * e + (1 - decay) * p, ema, params)
        return params, ema, opt, value, norm

    step_fn = train.make_step(spec, network)
    for step in range(3):
        draw, when, noise = jax.random.split(keys.key(0, "shadow/train", 1, step), 3)
        x0 = IMAGES[MEMBERS[1][np.asarray(jax.random.randint(draw, (4,), 0, 5))]][..., None]
        t = np.floor((np.arange(4) + np.asarray(jax.random.uniform(when, (4,)))) / 4 * 20).astype(np.int32)
        assert (t // 5).tolist() == [0, 1, 2, 3]  # one time a stratum
        eps = jax.random.normal(noise, x0.shape)
        # linear warm-up from 0 over 2 steps, then a cosine to a tenth of the peak at step 6
        rate = 4e-3 * (step / 2 if step < 2 else 0.1 + 0.9 * 0.5 * (1 + np.cos(np.pi * (step - 2) / 4)))
        decay = 0.5 ** (4 / min(2000, 0.4 * (step + 1)))
        params, ema, opt, value, norm = written_out(params, ema, opt, x0, eps, t, rate, decay)
        state, loss, length = step_fn(state, jnp.asarray(IMAGES))
        np.testing.assert_allclose(loss[0], value, rtol=1e-4)
        np.testing.assert_allclose(length[0], norm, rtol=1e-3)
    for mine, theirs in ((params, state.params), (ema, state.ema)):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b[0], rtol=1e-3, atol=2e-5), mine, theirs)


@pytest.mark.slow
def test_dropout_acts_in_training_alone(tmp_path):
    """The loss of a step has noise of its own; the evaluation beside it, and so the piles, have none."""
    settings = UNet2DConfig(block_out_channels=(8,), norm_num_groups=4)
    losses = {}
    for rate in (0.0, 0.5):
        spec = make(steps=1)._replace(denoiser=DenoiserConfig("unet2d", unet=replace(settings, dropout=rate)))
        network = build(spec.denoiser, 8)
        state = train.init_states(spec, network)
        outside = train.make_evaluation(spec, network)(state.params, jnp.asarray(IMAGES))
        _, loss, _ = train.make_step(spec, network)(state, jnp.asarray(IMAGES))
        losses[rate] = (np.asarray(loss), outside)
    assert (losses[0.0][0] != losses[0.5][0]).all()
    np.testing.assert_array_equal(losses[0.0][1], losses[0.5][1])


def test_batches_hold_members_only():
    """Images outside the members are NaN: one of them in a batch would ruin the loss."""
    images = IMAGES.copy()
    images[[1, 3, 4, 6]] = np.nan
    spec = make(ids=(0,), images=images)
    network = build(spec.denoiser, 8)
    state, step_fn = train.init_states(spec, network), train.make_step(spec, network)
    for _ in range(6):
        state, loss, _ = step_fn(state, jnp.asarray(images))
        assert np.isfinite(np.asarray(loss)).all()


def test_packs_share_one_compilation():
    """Which generators and which members a pack has is no part of its program."""
    packs = [make(), make(ids=(1, 0)), make(ids=(7, 9), members=(np.arange(2), np.arange(6)))]
    network = build(packs[0].denoiser, 8)
    train._compiled_step.cache_clear()
    drawn = []
    for spec in packs:
        state, step_fn = train.init_states(spec, network), train.make_step(spec, network)
        for _ in range(2):
            state, loss, _ = step_fn(state, jnp.asarray(IMAGES))
        drawn.append(np.asarray(loss).tolist())
    assert train._compiled_step.cache_info().misses == 1
    (spec, *_) = packs
    compiled = train._compiled_step(spec.seed, spec.stream, spec.train, spec.diffusion, network, 1)
    assert train._compiled_step.cache_info().misses == 1
    assert compiled._cache_size() == 1
    assert drawn[0] == drawn[1][::-1]  # the same two generators in another order
    assert not {*drawn[0]} & {*drawn[2]}


def test_members_beyond_their_number_are_never_drawn():
    """The table of members is padded with image 0, which is NaN here."""
    images = IMAGES.copy()
    images[0] = np.nan
    spec = make(images=images, members=(np.array([3]), np.array([1, 2, 4, 5, 6])))
    network = build(spec.denoiser, 8)
    state, step_fn = train.init_states(spec, network), train.make_step(spec, network)
    for _ in range(6):
        state, loss, _ = step_fn(state, jnp.asarray(images))
        assert np.isfinite(np.asarray(loss)).all()


def trained(size, dtype, steps=50):
    """Four generators in packs of `size`: their parameters, averages and losses, by generator."""
    rng = np.random.default_rng(0)
    images = rng.uniform(-1, 1, (12, 8, 8)).astype(dtype)
    members = [np.sort(rng.permutation(12)[:6]) for _ in range(4)]
    found = []
    for first in range(0, 4, size):
        ids = tuple(range(first, first + size))
        spec = make(ids, images, members=tuple(members[i] for i in ids), steps=60)
        network = build(spec.denoiser, 8)
        state = train.init_states(spec, network)
        state = jax.tree.map(lambda leaf: leaf.astype(dtype) if leaf.dtype == np.float32 else leaf, state)
        step_fn, losses = train.make_step(spec, network), []
        for _ in range(steps):
            state, loss, _ = step_fn(state, jnp.asarray(images))
            losses.append(np.asarray(loss))
        assert all(leaf.dtype in (dtype, np.int32) for leaf in jax.tree.leaves(state))
        weights = [np.asarray(leaf).reshape(size, -1) for leaf in jax.tree.leaves((state.params, state.ema))]
        found.append((np.concatenate(weights, axis=1), np.stack(losses, axis=1)))
    return [np.concatenate(part) for part in zip(*found, strict=True)]


def apart(a, b):
    return np.linalg.norm(a - b) / np.linalg.norm(b)


@pytest.mark.slow
def test_packs_of_four_are_packs_of_one_in_float64():
    """In float64 rounding is all that is left between them."""
    with jax.enable_x64(True):
        four, losses = trained(4, np.float64)
        one, losses_alone = trained(1, np.float64)
    assert apart(four, one) <= 1e-9
    assert apart(losses, losses_alone) <= 1e-9
    assert apart(one[0], one[1]) > 0.1  # four generators, not one four times


@pytest.mark.slow
def test_loss_curves_of_packs_of_four_are_those_of_packs_of_one():
    _, losses = trained(4, np.float32)
    _, losses_alone = trained(1, np.float32)
    np.testing.assert_allclose(losses, losses_alone, rtol=1e-3)
    assert losses[:, -10:].mean() < losses[:, :10].mean()

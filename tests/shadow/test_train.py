"""Training: a pack is its generators one by one, and a killed run ends with the bits of one that was not."""

import json
import struct
import time
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tensorboardX.proto import event_pb2

from shadow import checkpoint, keys, train
from shadow.config import DenoiserConfig, DiffusionConfig, TrainConfig, UNet2DConfig
from shadow.denoisers.build import build
from shadow.diffusion import process
from shadow.errors import Stopped, UserError

IMAGES = np.random.default_rng(0).uniform(-1, 1, (7, 8, 8)).astype(np.float32)
MEMBERS = (np.array([0, 2, 5]), np.array([1, 3, 4, 6, 0]), np.arange(7))


def make(ids=(0, 1), images=IMAGES, stream="shadow", members=None, **fields):
    settings = {"steps": 6, "batch_size": 4, "checkpoint_every": 3, "log_every": 2, "warmup_steps": 2} | fields
    return train.Spec(
        0,
        stream,
        tuple(ids),
        images,
        tuple(MEMBERS[i] for i in ids) if members is None else members,
        DenoiserConfig(patch=4, width=8, depth=1, heads=2),
        DiffusionConfig(timesteps=20),
        TrainConfig(**settings),
    )


def folders(root, count=2):
    made = [root / str(i) for i in range(count)]
    for folder in made:
        folder.mkdir(parents=True)
    return made


def equal(a, b):
    return jax.tree.structure(a) == jax.tree.structure(b) and jax.tree.all(
        jax.tree.map(lambda x, y: x.dtype == y.dtype and np.array_equal(x, y), a, b)
    )


def rows(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def timeless(found):
    """Rows without the one figure that depends on the clock."""
    return [{k: v for k, v in row.items() if k != "images_per_second"} for row in found]


class Killed(Exception):
    pass


def kill_at(step):
    def progress(done, total, rate, loss=None):
        assert total == 6
        assert loss > 0
        if done == step:
            raise Killed

    return progress


def saved(where, step=6, spec=None):
    """The state of a pack in its checkpoints."""
    spec = spec or make()
    return checkpoint.restore_pack(where, step, train.init_states(spec, build(spec.denoiser, 8)))


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """A pack of two, six steps without a break."""
    where = folders(tmp_path_factory.mktemp("straight"))
    train.train_pack(make(), where, ())
    return where, saved(where)


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


@pytest.mark.parametrize("kills", [(3,), (4,), (2, 4, 6)])
def test_a_killed_run_ends_with_the_same_bits(straight, tmp_path, kills):
    where = folders(tmp_path)
    for step in kills:
        with pytest.raises(Killed):
            train.train_pack(make(), where, (), kill_at(step))
    if kills == (4,):
        assert checkpoint.latest_common(where) == 3
        for folder in where:  # a kill within a write
            with (folder / "metrics.jsonl").open("a") as stream:
                stream.write('{"step": 5, "los')
    train.train_pack(make(), where, ())
    reference, whole = straight
    assert equal(jax.device_get(saved(where)), jax.device_get(whole))
    for a, b in zip(where, reference, strict=True):
        assert timeless(rows(a)) == timeless(rows(b))


@pytest.mark.parametrize("stops", [(1,), (3,), (4,), (1, 2, 4, 5)])
def test_a_stopped_run_saves_its_step_and_goes_on_to_the_same_bits(straight, tmp_path, stops):
    """Asked to stop at a step that is saved anyway, it stops at the next one."""
    where = folders(tmp_path)
    for stop in stops:
        began, asked = checkpoint.latest_common(where), []

        def wish(began=began, asked=asked, stop=stop):
            asked.append(1)
            steps = [step for step in range(began + 1, 6) if step != 3]  # those at which it is asked
            return steps[len(asked) - 1] >= stop

        with pytest.raises(Stopped, match=r"stopped at step \d of 6, which is saved"):
            train.train_pack(make(), where, (), stop=wish)
    at = checkpoint.latest_common(where)
    assert at == (4 if stops == (3,) else stops[-1])
    assert [row["step"] for row in rows(where[0])] == [step for step in (2, 3, 4) if step <= at]
    train.train_pack(make(), where, ())
    reference, whole = straight
    assert equal(jax.device_get(saved(where)), jax.device_get(whole))
    for a, b in zip(where, reference, strict=True):
        assert timeless(rows(a)) == timeless(rows(b))


def test_a_half_written_line_before_the_restored_step_is_cut(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"st')
    train._Log(tmp_path, 2, False).close()
    assert path.read_text() == '{"step": 1}\n{"step": 2}\n'
    path.write_text('{"step": 1}\n{"st')
    log = train._Log(tmp_path, 2, False)
    log.write({"step": 3})
    log.close()
    assert path.read_text() == '{"step": 1}\n{"step": 3}\n'


def test_a_pack_of_which_one_lost_its_newest_checkpoint_goes_back(straight, tmp_path):
    """Killed between the checkpoints of two generators: the pack resumes from the newest that both have."""
    where = folders(tmp_path)
    with pytest.raises(Killed):
        train.train_pack(make(), where, (3,), kill_at(6))
    checkpoint.shutil.rmtree(where[1] / "checkpoints" / "6")
    assert checkpoint.latest_common(where) == 3
    train.train_pack(make(), where, (3,))
    assert equal(jax.device_get(saved(where)), jax.device_get(straight[1]))
    assert checkpoint.steps(where[0]) == checkpoint.steps(where[1]) == [3, 6]  # 3 is kept for piles


def test_a_finished_run_is_left_alone(straight, monkeypatch):
    where, _ = straight
    before = [(folder / "metrics.jsonl").stat().st_mtime_ns for folder in where]
    monkeypatch.setattr(train, "build", None)  # not even the network is made
    assert train.train_pack(make(), where, ()) is None
    assert [(folder / "metrics.jsonl").stat().st_mtime_ns for folder in where] == before


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


def test_no_augmentation_unless_asked_for():
    key = jax.random.key(0)
    np.testing.assert_array_equal(train.augment(jnp.asarray(IMAGES), TrainConfig(), key), IMAGES)


def test_half_of_the_images_are_mirrored():
    images = np.repeat(IMAGES[:1], 400, axis=0)
    found = np.asarray(train.augment(jnp.asarray(images), TrainConfig(flip=True), jax.random.key(0)))
    same, mirrored = ((found == as_is).all((1, 2)) for as_is in (images, images[:, :, ::-1]))
    assert (same | mirrored).all()
    assert abs(mirrored.mean() - 0.5) < 4 * 0.5 / 20  # four standard errors


def test_images_are_moved_and_their_edges_repeated():
    size, shift = 8, 2
    images = np.repeat(IMAGES[:1], 600, axis=0)
    found = np.asarray(train.augment(jnp.asarray(images), TrainConfig(shift=shift), jax.random.key(1)))
    padded = np.pad(IMAGES[0], shift, mode="edge")
    moved = {padded[i : i + size, j : j + size].tobytes() for i in range(2 * shift + 1) for j in range(2 * shift + 1)}
    assert {image.tobytes() for image in found} == moved  # each of the 25, and nothing else


@pytest.mark.parametrize("fields", [{"flip": True}, {"shift": 1}])
def test_augmented_training_is_other_training_and_repeats_itself(tmp_path, fields):
    metrics = []
    for name, extra in (("plain", {}), ("once", fields), ("again", fields)):
        made = folders(tmp_path / name)
        train.train_pack(make(**extra), made, ())
        metrics.append([row["loss"] for row in rows(made[0])])
    assert metrics[0] != metrics[1] == metrics[2]


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


def test_evaluation_tells_in_from_out():
    losses = np.arange(12.0).reshape(3, 4)
    assert train._gaps(losses, np.array([0, 1])) == {"loss_in": [0.5, 4.5, 8.5], "loss_out": [2.5, 6.5, 10.5]}
    assert train._gaps(losses, np.arange(4))["loss_out"] is None


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


@pytest.mark.parametrize("chunk", [1, 3, 7])
def test_evaluation_in_chunks_is_that_of_the_whole(straight, monkeypatch, chunk):
    spec, (_, state) = make(), straight
    network = build(spec.denoiser, 8)
    whole = train.make_evaluation(spec, network)(state.ema, jnp.asarray(IMAGES))
    assert whole.shape == (2, 3, 7)
    monkeypatch.setattr(train, "_EVALUATION_BATCH", chunk)
    parts = train.make_evaluation(spec, network)(state.ema, jnp.asarray(IMAGES))
    np.testing.assert_allclose(parts, whole, rtol=1e-5)
    assert len(np.unique(whole)) == 2 * 3 * 7


def test_evaluation_written_out(straight):
    """The loss of one image at one time, spelt out."""
    spec, (_, state) = make(), straight
    network = build(spec.denoiser, 8)
    losses = train.make_evaluation(spec, network)(state.ema, jnp.asarray(IMAGES))
    eps = jax.random.normal(keys.key(0, "evaluation"), (7, 8, 8, 1))[4]
    abar = process.alpha_bar(spec.diffusion)[4]  # a fifth of 20
    xt = np.sqrt(abar) * IMAGES[4][..., None] + np.sqrt(1 - abar) * eps
    params = jax.tree.map(lambda leaf: leaf[1], state.ema)
    clean = network.apply(params, xt[None].astype(np.float32), jnp.array([4]))[0]
    wanted = min(1 / (1 - abar), 4.0) * ((clean - IMAGES[4][..., None]) ** 2).mean()
    np.testing.assert_allclose(losses[1, 1, 4], wanted, rtol=1e-4)


def events(folder):
    """{step: {name: value}} of all event files of a generator, without what was purged, and how often each came."""
    found, seen = {}, []
    for path in sorted((folder / "tensorboard").iterdir()):
        content = path.read_bytes()
        while content:  # length, its checksum, an Event, its checksum
            (length,) = struct.unpack("<Q", content[:8])
            event = event_pb2.Event.FromString(content[12 : 12 + length])
            content = content[16 + length :]
            if event.session_log.status == event_pb2.SessionLog.START:
                found = {step: values for step, values in found.items() if step < event.step}
            for value in event.summary.value:
                seen.append((event.step, value.tag))
                assert value.tag not in found.setdefault(event.step, {}), "twice, and not purged"
                found[event.step][value.tag] = value.simple_value
    return found, seen


def as_scalars(row):
    """A row of metrics.jsonl as TensorBoard is to show it."""
    flat = {}
    for name, value in row.items():
        if isinstance(value, list):
            flat |= {f"{name}/t_{share}": at for share, at in zip((0.05, 0.2, 0.5), value, strict=True)}
        elif name != "step" and value is not None:
            flat[name] = value
    return flat


def agree(folder):
    found, seen = events(folder)
    assert [*found] == [row["step"] for row in rows(folder)]
    for row in rows(folder):
        assert found[row["step"]] == pytest.approx(as_scalars(row), rel=1e-6)
    return found, seen


def test_tensorboard_shows_the_metrics(tmp_path):
    where = folders(tmp_path)
    train.train_pack(make(), where, (), tensorboard=True)
    for folder in where:
        found, seen = agree(folder)
        assert len(seen) == len(set(seen))
        assert {"loss", "gradient_norm", "images", "images_per_second"} == {*found[2]}
        assert {"loss_in/t_0.05", "loss_out/t_0.5"} <= {*found[3]}


def test_tensorboard_after_a_kill(tmp_path):
    """Rows after the restored step are purged and written again."""
    where = folders(tmp_path)
    with pytest.raises(Killed):
        train.train_pack(make(), where, (), kill_at(4), tensorboard=True)
    time.sleep(1.1)  # event files are named by the second
    train.train_pack(make(), where, (), tensorboard=True)
    for folder in where:
        _, seen = agree(folder)
        assert {step for step, _ in seen if seen.count((step, "loss")) > 1} == {4}


def test_no_event_files_unless_asked_for(straight):
    assert sorted(path.name for path in straight[0][0].iterdir()) == ["checkpoints", "metrics.jsonl"]


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


def test_packs_of_four_are_packs_of_one_in_float64():
    """In float64 rounding is all that is left between them."""
    with jax.enable_x64(True):
        four, losses = trained(4, np.float64)
        one, losses_alone = trained(1, np.float64)
    assert apart(four, one) <= 1e-9
    assert apart(losses, losses_alone) <= 1e-9
    assert apart(one[0], one[1]) > 0.1  # four generators, not one four times


def test_loss_curves_of_packs_of_four_are_those_of_packs_of_one():
    _, losses = trained(4, np.float32)
    _, losses_alone = trained(1, np.float32)
    np.testing.assert_allclose(losses, losses_alone, rtol=1e-3)
    assert losses[:, -10:].mean() < losses[:, :10].mean()

"""Training of one pack: K generators of one shape, together in one jitted, vmapped step.

The loop's order is fixed: log, save, step. A step is a pure function of (seed, shadow, step, state), and the state is
restored whole, so a killed run ends with the same bits as one that was never killed (on CPU, given the plan's pack
size and threads).
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from shadow import files, keys
from shadow.config import DenoiserConfig, DiffusionConfig, TrainConfig
from shadow.denoisers.build import Network, Params, build
from shadow.diffusion import process
from shadow.errors import Stopped, UserError
from shadow.training import checkpoint
from shadow.training.team import ALONE, Team

EVALUATION_TIMES = (0.05, 0.2, 0.5)  # shares of the diffusion's length at which IN and OUT losses are logged
_EVALUATION_BATCH = 256  # images evaluated together: memory does not grow with the data set


class Progress(Protocol):
    """Hears how far a pack is."""

    def __call__(self, done: int, total: int, rate: float, loss: float | None = None) -> None:
        """`done` of `total` steps or images, at `rate` images a second; `loss` while training."""


def silent(done: int, total: int, rate: float, loss: float | None = None) -> None:
    """A `Progress` that shows nothing."""


def never() -> bool:
    """A `stop` that lets the work go on."""
    return False


class State(NamedTuple):
    """Everything training carries. Leaves have a leading axis [shadow] while a pack trains."""

    step: jax.Array  # int32
    params: Params
    ema: Params  # running average of params: what piles are drawn from
    opt: Any


class Spec(NamedTuple):
    """What a pack is trained on. `members[i]` holds indices into `images` for generator `ids[i]`."""

    seed: int
    stream: str  # root of the random streams: "shadow" or "target"
    ids: tuple[int, ...]
    images: np.ndarray  # float32 [image, size, size] in [-1, 1]
    members: tuple[np.ndarray, ...]
    denoiser: DenoiserConfig
    diffusion: DiffusionConfig
    train: TrainConfig
    devices: int = 1  # over which each batch is spread
    dispatch: int = 1  # steps handed to the device at once: on an accelerator Python is slower than a small step


def optimizer(config: TrainConfig) -> optax.GradientTransformation:
    """AdamW with clipped gradients, linear warm-up and a cosine decay to a tenth of the peak."""
    rate = optax.schedules.warmup_cosine_decay_schedule(
        0.0,
        config.learning_rate,
        warmup_steps=min(config.warmup_steps, config.steps // 2),
        decay_steps=config.steps,
        end_value=config.learning_rate / 10,
    )
    return optax.chain(
        optax.clip_by_global_norm(config.clip_norm),
        optax.adamw(rate, b2=0.99, weight_decay=config.weight_decay),
    )


def augment(images: jax.Array, config: TrainConfig, key: jax.Array) -> jax.Array:
    """Images [batch, size, size], half of them mirrored (`flip`), each moved by up to `shift` pixels down and across.

    A generator trained on disturbed images memorises later, and its output holds every version of a member.
    """
    batch, size, _ = images.shape
    sides, places = jax.random.split(key)
    if config.flip:
        mirrored = jax.random.bernoulli(sides, 0.5, (batch, 1, 1))
        images = jnp.where(mirrored, images[:, :, ::-1], images)
    if config.shift:
        rows, columns = jax.random.randint(places, (2, batch), -config.shift, config.shift + 1)
        line = jnp.arange(size)
        rows, columns = (jnp.clip(line + moved[:, None], 0, size - 1) for moved in (rows, columns))
        images = images[jnp.arange(batch)[:, None, None], rows[:, :, None], columns[:, None, :]]
    return images


def ema_decay(config: TrainConfig, step: jax.Array) -> jax.Array:
    """Weight of the old average. The half-life is in images and never more than a tenth of those seen so far, so
    that the average forgets its start (as in Karras et al. 2022, arXiv 2206.00364)."""
    seen = (step + 1) * config.batch_size
    halflife = jnp.minimum(float(config.ema_halflife_images), seen / 10)
    return 0.5 ** (config.batch_size / jnp.maximum(halflife, 1e-8))


def fresh_states(network: Network, config: TrainConfig, init_keys: jax.Array) -> State:
    """Untrained states of a pack, a key each: leading axis [shadow]."""

    def fresh(key: jax.Array) -> State:
        params = network.init(key)
        return State(jnp.int32(0), params, params, optimizer(config).init(params))

    return jax.vmap(fresh)(init_keys)


def init_states(spec: Spec, network: Network) -> State:
    """Fresh states of the pack, leading axis [shadow]."""

    def fresh(shadows: jax.Array) -> State:
        init_keys = jax.vmap(lambda shadow: keys.key(spec.seed, f"{spec.stream}/init", shadow))(shadows)
        return fresh_states(network, spec.train, init_keys)

    return jax.jit(fresh)(jnp.asarray(spec.ids, jnp.int32))


# (state, shadow ids [shadow], members [shadow, image], their numbers [shadow], images) -> state, loss, gradient norm
_Step = Callable[[State, jax.Array, jax.Array, jax.Array, jax.Array], tuple[State, jax.Array, jax.Array]]


@functools.lru_cache(maxsize=8)
def _compiled_step(
    seed: int, stream: str, config: TrainConfig, diffusion: DiffusionConfig, network: Network, devices: int
) -> _Step:
    """The jitted step. Which shadows and members are its arguments: all packs of a fleet share one compilation."""
    config, diffusion = dataclasses.replace(config), dataclasses.replace(diffusion)  # the caller's may change
    abar, kind, weights = process.alpha_bar(diffusion), diffusion.prediction, process.weights(diffusion)
    tx = optimizer(config)
    batch = NamedSharding(mesh(devices), PartitionSpec("data")) if devices > 1 else None

    def spread(x: jax.Array) -> jax.Array:
        return x if batch is None else jax.lax.with_sharding_constraint(x, batch)

    def one(state: State, shadow: jax.Array, members: jax.Array, size: jax.Array, images: jax.Array) -> Any:
        draw, when, noise = jax.random.split(keys.key(seed, f"{stream}/train", shadow, state.step), 3)
        x0 = images[members[jax.random.randint(draw, (config.batch_size,), 0, size)]]
        x0 = augment(x0, config, jax.random.fold_in(draw, 1))[..., None]
        # one time in each of batch_size equal strata: less noise in the loss than independent times
        offsets = jnp.arange(config.batch_size) + jax.random.uniform(when, (config.batch_size,))
        t = jnp.floor(offsets / config.batch_size * diffusion.timesteps).astype(jnp.int32)
        eps = jax.random.normal(noise, x0.shape)
        x0, t, eps = spread(x0), spread(t), spread(eps)

        def mean_loss(params: Params) -> jax.Array:
            denoiser = partial(network.apply, params, key=jax.random.fold_in(noise, 1))  # the key is for dropout
            return process.loss(abar, kind, weights, denoiser, x0, eps, t).mean()

        value, grads = jax.value_and_grad(mean_loss)(state.params)
        updates, opt = tx.update(grads, state.opt, state.params)
        params = optax.apply_updates(state.params, updates)
        ema = optax.incremental_update(params, state.ema, 1 - ema_decay(config, state.step))
        return State(state.step + 1, params, ema, opt), value, optax.tree.norm(grads)

    return jax.jit(jax.vmap(one, in_axes=(0, 0, 0, 0, None)), donate_argnums=0)


def mesh(devices: int) -> jax.sharding.Mesh:
    """The first `devices` devices in a line. Raises UserError where there are fewer."""
    there = len(jax.devices())
    if there < devices:
        raise UserError(f"fleet.devices = {devices}: this process sees {there} ({jax.default_backend()})")
    return jax.make_mesh((devices,), ("data",), (AxisType.Auto,), devices=jax.devices()[:devices])


def placed(spec: Spec, tree: Any) -> Any:
    """A tree of arrays, copied to each of the devices that share the batch."""
    if spec.devices == 1:
        return tree
    everywhere = NamedSharding(mesh(spec.devices), PartitionSpec())
    if jax.process_count() == 1:
        return jax.device_put(tree, everywhere)

    def spread(leaf: Any) -> jax.Array:
        host = np.asarray(leaf)  # each process has all of it, and puts it on its own devices
        return jax.make_array_from_callback(host.shape, everywhere, lambda index: host[index])

    return jax.tree.map(spread, tree)


def local(tree: Any) -> Any:
    """What this process has of arrays that lie on devices of several: all of them, as `placed` copied them."""
    if jax.process_count() == 1:
        return tree
    return jax.tree.map(lambda leaf: leaf.addressable_data(0) if isinstance(leaf, jax.Array) else leaf, tree)


@functools.lru_cache(maxsize=8)
def _repeated(step: _Step) -> Callable[..., tuple[State, jax.Array, jax.Array]]:
    """The jitted (count, arguments of `step`) -> what the last of `count` steps gives, without a word to Python
    between."""

    def steps(count: jax.Array, state: State, *rest: jax.Array) -> tuple[State, jax.Array, jax.Array]:
        def next_one(_: jax.Array, before: tuple[State, jax.Array, jax.Array]) -> Any:
            return step(before[0], *rest)

        shapes = jax.eval_shape(step, state, *rest)
        nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes[1:])
        return jax.lax.fori_loop(0, count, next_one, (state, *nothing))

    return jax.jit(steps, donate_argnums=1)


def make_steps(spec: Spec, network: Network) -> Callable[[State, jax.Array, int], tuple[State, jax.Array, jax.Array]]:
    """(state, images, count) -> (state, loss [shadow], gradient norm [shadow]) of the last of `count` steps: one
    dispatch for up to `spec.dispatch` of them."""
    one = make_step(spec, network)
    if spec.dispatch == 1:
        return lambda state, images, count: _in_turn(one, state, images, count)
    compiled = _repeated(_compiled_step(spec.seed, spec.stream, spec.train, spec.diffusion, network, spec.devices))
    shadows, members, lengths = _arguments(spec)

    def some(state: State, images: jax.Array, count: int) -> tuple[State, jax.Array, jax.Array]:
        for done in range(0, count, spec.dispatch):
            few = jnp.int32(min(spec.dispatch, count - done))
            state, loss, norm = compiled(few, state, shadows, members, lengths, images)
        return state, loss, norm

    return some


def _in_turn(step: Callable[..., Any], state: State, images: jax.Array, count: int) -> Any:
    for _ in range(count):
        state, loss, norm = step(state, images)
    return state, loss, norm


def make_step(spec: Spec, network: Network) -> Callable[[State, jax.Array], tuple[State, jax.Array, jax.Array]]:
    """The jitted step of the pack: (state, images) -> (state, loss [shadow], gradient norm [shadow])."""
    step = _compiled_step(spec.seed, spec.stream, spec.train, spec.diffusion, network, spec.devices)
    shadows, members, lengths = _arguments(spec)
    return lambda state, images: step(state, shadows, members, lengths, images)


def _arguments(spec: Spec) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Of the jitted step, besides state and images: shadow ids, members and their numbers."""
    sizes = np.array([len(m) for m in spec.members], np.int32)
    if not sizes.all():
        raise UserError(f"generator {spec.ids[int(np.argmin(sizes))]} has no members: enlarge the set of dev images")
    table = np.stack([np.pad(m, (0, len(spec.images) - len(m))) for m in spec.members]).astype(np.int32)
    found = jnp.asarray(spec.ids, jnp.int32), jnp.asarray(table), jnp.asarray(sizes)
    return placed(spec, found) if jax.process_count() > 1 else found


@functools.lru_cache(maxsize=8)
def _compiled_evaluation(diffusion: DiffusionConfig, network: Network) -> Callable[..., jax.Array]:
    diffusion = dataclasses.replace(diffusion)
    abar, kind, weights = process.alpha_bar(diffusion), diffusion.prediction, process.weights(diffusion)

    def one(params: Params, images: jax.Array, eps: jax.Array) -> jax.Array:
        def at(share: float) -> jax.Array:
            t = jnp.full((len(images),), int(share * diffusion.timesteps), jnp.int32)
            return process.loss(abar, kind, weights, partial(network.apply, params), images[..., None], eps, t)

        return jnp.stack([at(share) for share in EVALUATION_TIMES])

    return jax.jit(jax.vmap(one, in_axes=(0, None, None)))


def make_evaluation(spec: Spec, network: Network) -> Callable[[Params, jax.Array], np.ndarray]:
    """(params of the pack, images) -> loss [shadow, time, image] at EVALUATION_TIMES, one fixed noise an image."""
    evaluate = _compiled_evaluation(spec.diffusion, network)
    eps = jax.random.normal(keys.key(spec.seed, "evaluation"), (*spec.images.shape, 1))

    def evaluation(params: Params, images: jax.Array) -> np.ndarray:
        parts = [slice(a, a + _EVALUATION_BATCH) for a in range(0, len(images), _EVALUATION_BATCH)]
        return np.concatenate([np.asarray(evaluate(params, images[part], eps[part])) for part in parts], axis=2)

    return evaluation


def _gaps(losses: np.ndarray, members: np.ndarray) -> dict[str, list[float] | None]:
    """Mean loss on IN and OUT images at each evaluation time (None where there are no OUT images)."""
    inside = np.zeros(losses.shape[1], bool)
    inside[members] = True
    return {
        "loss_in": [round(float(v), 6) for v in losses[:, inside].mean(1)],
        "loss_out": None if inside.all() else [round(float(v), 6) for v in losses[:, ~inside].mean(1)],
    }


class _Log:
    """metrics.jsonl of one generator, cut back to the restored step, and TensorBoard's event files where asked for."""

    def __init__(self, folder: Path, restored: int, tensorboard: bool) -> None:
        path, kept = folder / "metrics.jsonl", []
        if path.exists():
            for line in path.read_text(errors="replace").splitlines():
                try:
                    if json.loads(line)["step"] > restored:
                        break
                except (ValueError, KeyError, TypeError):  # the last line of a killed run may be half written
                    break
                kept.append(line + "\n")
        files.write_text(path, "".join(kept))
        self._stream = path.open("a")
        self._events = None
        if tensorboard:
            from tensorboardX import SummaryWriter

            self._events = SummaryWriter(
                str(folder / "tensorboard"), purge_step=restored + 1, filename_suffix=f".from{restored}"
            )

    def write(self, row: dict[str, Any]) -> None:
        self._stream.write(json.dumps(row) + "\n")
        self._stream.flush()
        if self._events is None:
            return
        for name, value in row.items():
            if isinstance(value, list):  # a curve for each noise level
                for share, at in zip(EVALUATION_TIMES, value, strict=True):
                    self._events.add_scalar(f"{name}/t_{share}", at, row["step"])
            elif name != "step" and value is not None:
                self._events.add_scalar(name, value, row["step"])
        self._events.flush()

    def close(self) -> None:
        self._stream.close()
        if self._events is not None:
            self._events.close()


def train_pack(
    spec: Spec,
    folders: Sequence[Path],
    keep: Sequence[int],
    progress: Progress = silent,
    stop: Callable[[], bool] = never,
    tensorboard: bool = False,
    team: Team = ALONE,
) -> None:
    """Trains the generators of `spec` to `spec.train.steps`, resuming from the newest good checkpoint they share.

    Generator i writes `folders[i]/checkpoints/STEP/` and `folders[i]/metrics.jsonl`. Checkpoints of the steps in
    `keep` (those from which piles are drawn) stay; of the others the two newest do. Raises UserError when the loss is
    no longer finite, DamagedError when no checkpoint can be read, and Stopped, with the state saved, when `stop()`
    says so. `team`: who takes the same steps; they are stopped at a row of metrics.jsonl alone.
    """
    config = spec.train
    for folder in folders:
        checkpoint.sweep(folder)
    if checkpoint.resume_step(folders, (*keep, config.steps)) >= config.steps:
        return
    network = build(spec.denoiser, spec.images.shape[-1])
    state = init_states(spec, network)
    restored, found = checkpoint.restore_newest(folders, keep, state)
    if restored >= config.steps:
        return
    state = found if restored else state
    team.begin(restored)
    state, images = placed(spec, (state, jnp.asarray(spec.images)))
    here = local(images)
    take, evaluate = make_steps(spec, network), make_evaluation(spec, network)
    saves = {*range(config.checkpoint_every, config.steps, config.checkpoint_every), *keep, config.steps}
    with contextlib.ExitStack() as closing:
        closing.callback(team.steps, 0)
        logs = [_Log(folder, restored, tensorboard) for folder in folders]
        for log in logs:
            closing.callback(log.close)
        since, started = restored, time.monotonic()
        step, told = restored, restored  # a row or a save comes next at `told`
        while step < config.steps:
            if step == told:
                told = next(s for s in range(step + 1, config.steps + 1) if not s % config.log_every or s in saves)
                team.steps(told - step)
            count = min(spec.dispatch, told - step)
            state, loss, norm = take(state, images, count)
            step += count
            stopping = step not in saves and (team.alone or step == told) and stop()
            if step % config.log_every and step not in saves and not stopping:
                continue
            values, norms = np.asarray(loss), np.asarray(norm)
            saving = step in saves or stopping
            gaps = evaluate(local(state.ema), here) if saving else None
            finite = np.isfinite(values) & np.isfinite(norms)
            if gaps is not None:  # of the new weights: a step that ruins them must not be saved
                finite &= np.isfinite(gaps).all(axis=(1, 2))
            if not finite.all():
                bad = spec.ids[int(np.argmin(finite))]
                raise UserError(
                    f"{spec.stream} {bad}: the loss is not finite at step {step}; lower train.learning_rate "
                    f"(the last good checkpoint, step {checkpoint.latest_common(folders)}, is kept)"
                )
            now = time.monotonic()
            rate = (step - since) * config.batch_size * len(spec.ids) / max(now - started, 1e-9)
            since, started = step, now
            for i, log in enumerate(logs):
                if step % config.log_every and step not in saves:
                    break  # a row here would not be in a run that nobody stopped
                row: dict[str, Any] = {
                    "step": step,
                    "images": step * config.batch_size,
                    "loss": round(float(values[i]), 6),
                    "gradient_norm": round(float(norms[i]), 6),
                    "images_per_second": round(rate, 1),
                }
                if step in saves and gaps is not None:
                    row |= _gaps(gaps[i], spec.members[i])
                log.write(row)
            if saving:
                checkpoint.save_pack(folders, step, local(state), keep)
            progress(step, config.steps, rate, float(values.mean()))
            if stopping:
                raise Stopped(f"stopped at step {step} of {config.steps}, which is saved")


def follow_pack(spec: Spec, folders: Sequence[Path], step: int) -> Callable[[int], None]:
    """Takes part in `train_pack`, which another process leads, from the state at `step`: gives what takes a number of
    steps."""
    network = build(spec.denoiser, spec.images.shape[-1])
    state = init_states(spec, network)
    if step:
        state = checkpoint.restore_pack(folders, step, state)
    state, images = placed(spec, (state, jnp.asarray(spec.images)))
    some = make_steps(spec, network)

    def take(count: int) -> None:
        nonlocal state
        state, loss, _ = some(state, images, count)
        jax.block_until_ready(loss)

    return take

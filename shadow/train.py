"""Training of one pack: K generators of one shape, together in one jitted, vmapped step.

The loop's order is fixed: log, save, step. A step is a pure function of (seed, shadow, step, state), and the state is
restored whole, so a killed run ends with the same bits as one that was never killed (on CPU, given the plan's pack
size and threads).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax

from shadow import checkpoint, files, keys
from shadow.config import DenoiserConfig, DiffusionConfig, TrainConfig
from shadow.denoisers.build import Network, Params, build
from shadow.diffusion import process
from shadow.errors import UserError

# Called with (step, steps in all, images a second).
Progress: TypeAlias = Callable[[int, int, float], None]

EVALUATION_TIMES = (0.05, 0.2, 0.5)  # shares of the diffusion's length at which IN and OUT losses are logged


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


def ema_decay(config: TrainConfig, step: jax.Array) -> jax.Array:
    """Weight of the old average. The half-life is in images and never more than a tenth of those seen so far, so
    that the average forgets its start (as in Karras et al. 2022, arXiv 2206.00364)."""
    seen = (step + 1) * config.batch_size
    halflife = jnp.minimum(float(config.ema_halflife_images), seen / 10)
    return 0.5 ** (config.batch_size / jnp.maximum(halflife, 1e-8))


def init_states(spec: Spec, network: Network) -> State:
    """Fresh states of the pack, leading axis [shadow]."""

    def fresh(shadow: jax.Array) -> State:
        params = network.init(keys.key(spec.seed, f"{spec.stream}/init", shadow))
        return State(jnp.int32(0), params, params, optimizer(spec.train).init(params))

    return jax.jit(jax.vmap(fresh))(jnp.asarray(spec.ids, jnp.int32))


def make_step(spec: Spec, network: Network) -> Callable[[State, jax.Array], tuple[State, jax.Array, jax.Array]]:
    """The jitted step of the pack: (state, images) -> (state, loss [shadow], gradient norm [shadow])."""
    config, abar = spec.train, process.alpha_bar(spec.diffusion)
    kind, cap = spec.diffusion.prediction, spec.diffusion.max_weight
    sizes = np.array([len(m) for m in spec.members], np.int32)
    if not sizes.all():
        raise UserError(f"generator {spec.ids[int(np.argmin(sizes))]} has no members: enlarge the set of dev images")
    table = np.stack([np.pad(m, (0, sizes.max() - len(m))) for m in spec.members]).astype(np.int32)
    tx = optimizer(config)

    def one(state: State, shadow: jax.Array, members: jax.Array, size: jax.Array, images: jax.Array) -> Any:
        draw, when, noise = jax.random.split(keys.key(spec.seed, f"{spec.stream}/train", shadow, state.step), 3)
        x0 = images[members[jax.random.randint(draw, (config.batch_size,), 0, size)]][..., None]
        # one time in each of batch_size equal strata: less noise in the loss than independent times
        offsets = jnp.arange(config.batch_size) + jax.random.uniform(when, (config.batch_size,))
        t = jnp.floor(offsets / config.batch_size * spec.diffusion.timesteps).astype(jnp.int32)
        eps = jax.random.normal(noise, x0.shape)

        def mean_loss(params: Params) -> jax.Array:
            return process.loss(abar, kind, cap, partial(network.apply, params), x0, eps, t).mean()

        value, grads = jax.value_and_grad(mean_loss)(state.params)
        updates, opt = tx.update(grads, state.opt, state.params)
        params = optax.apply_updates(state.params, updates)
        ema = optax.incremental_update(params, state.ema, 1 - ema_decay(config, state.step))
        return State(state.step + 1, params, ema, opt), value, optax.tree.norm(grads)

    pack = jax.vmap(one, in_axes=(0, 0, 0, 0, None))
    shadows, members, lengths = jnp.asarray(spec.ids, jnp.int32), jnp.asarray(table), jnp.asarray(sizes)
    return jax.jit(lambda state, images: pack(state, shadows, members, lengths, images), donate_argnums=0)


def make_evaluation(spec: Spec, network: Network) -> Callable[[Params, jax.Array], jax.Array]:
    """(params of the pack, images) -> loss [shadow, time, image] at EVALUATION_TIMES, one fixed noise an image."""
    abar = process.alpha_bar(spec.diffusion)
    kind, cap = spec.diffusion.prediction, spec.diffusion.max_weight
    eps = jax.random.normal(keys.key(spec.seed, "evaluation"), (*spec.images.shape, 1))

    def one(params: Params, images: jax.Array) -> jax.Array:
        def at(share: float) -> jax.Array:
            t = jnp.full((len(images),), int(share * spec.diffusion.timesteps), jnp.int32)
            return process.loss(abar, kind, cap, partial(network.apply, params), images[..., None], eps, t)

        return jnp.stack([at(share) for share in EVALUATION_TIMES])

    return jax.jit(jax.vmap(one, in_axes=(0, None)))


def _gaps(losses: np.ndarray, members: np.ndarray) -> dict[str, list[float] | None]:
    """Mean loss on IN and OUT images at each evaluation time (None where there are no OUT images)."""
    inside = np.zeros(losses.shape[1], bool)
    inside[members] = True
    return {
        "loss_in": [round(float(v), 6) for v in losses[:, inside].mean(1)],
        "loss_out": None if inside.all() else [round(float(v), 6) for v in losses[:, ~inside].mean(1)],
    }


class _Log:
    """metrics.jsonl of one generator, cut back to the restored step."""

    def __init__(self, path: Path, restored: int) -> None:
        kept = []
        if path.exists():
            for line in path.read_text().splitlines():
                try:
                    row = json.loads(line)
                except json.JSONDecodeError:  # the last line of a killed run may be half written
                    break
                if row["step"] > restored:
                    break
                kept.append(line + "\n")
        files.write_text(path, "".join(kept))
        self._stream = path.open("a")

    def write(self, row: dict[str, Any]) -> None:
        self._stream.write(json.dumps(row) + "\n")
        self._stream.flush()

    def close(self) -> None:
        self._stream.close()


def train_pack(
    spec: Spec, folders: Sequence[Path], keep: Sequence[int], progress: Progress | None = None
) -> tuple[Network, State]:
    """Trains the generators of `spec` to `spec.train.steps`, resuming from the newest common checkpoint.

    Generator i writes `folders[i]/checkpoints/STEP/` and `folders[i]/metrics.jsonl`. Checkpoints of the steps in
    `keep` (those from which piles are drawn) stay; of the others only the newest does. Returns the network and the
    final states, leading axis [shadow]. Raises UserError when the loss is no longer finite.
    """
    config = spec.train
    network = build(spec.denoiser, spec.images.shape[-1])
    state = init_states(spec, network)
    restored = checkpoint.latest_common(folders)
    if restored:
        state = checkpoint.restore_pack(folders, restored, state)
    if restored >= config.steps:
        return network, state
    step_fn, evaluate = make_step(spec, network), make_evaluation(spec, network)
    images = jnp.asarray(spec.images)
    logs = [_Log(folder / "metrics.jsonl", restored) for folder in folders]
    saves = {*range(config.checkpoint_every, config.steps, config.checkpoint_every), *keep, config.steps}
    try:
        started, since = time.monotonic(), restored
        for step in range(restored + 1, config.steps + 1):
            state, loss, norm = step_fn(state, images)
            if step % config.log_every and step not in saves:
                continue
            values, norms = np.asarray(loss), np.asarray(norm)
            gaps = np.asarray(evaluate(state.ema, images)) if step in saves else None
            finite = np.isfinite(values) & np.isfinite(norms)
            if gaps is not None:  # of the new weights: a step that ruins them must not be saved
                finite &= np.isfinite(gaps).all(axis=(1, 2))
            if not finite.all():
                bad = spec.ids[int(np.argmin(finite))]
                raise UserError(
                    f"{spec.stream} {bad}: the loss is not finite at step {step}; lower train.learning_rate "
                    f"(the last good checkpoint, step {checkpoint.latest_common(folders)}, is kept)"
                )
            rate = (step - since) * config.batch_size * len(spec.ids) / max(time.monotonic() - started, 1e-9)
            for i, log in enumerate(logs):
                row: dict[str, Any] = {
                    "step": step,
                    "images": step * config.batch_size,
                    "loss": round(float(values[i]), 6),
                    "gradient_norm": round(float(norms[i]), 6),
                    "images_per_second": round(rate, 1),
                }
                if gaps is not None:
                    row |= _gaps(gaps[i], spec.members[i])
                log.write(row)
            if step in saves:
                checkpoint.save_pack(folders, step, state, keep)
            if progress:
                progress(step, config.steps, rate)
    finally:
        for log in logs:
            log.close()
    return network, state

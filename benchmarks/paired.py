"""Sides of a paired benchmark: each lives in a process of its own, compiled once, and they take turns, so that other
work on the machine meets them all; and what our side's steps are, for every benchmark against PyTorch."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from shadow.config import DenoiserConfig


class Process:
    """A side: the script itself with `flags` that make it serve."""

    def __init__(self, script: str, *flags: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, script, *flags], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, step: str = "") -> None:
        """Starts a timing, so that several sides may run at once."""
        print(step, file=self._process.stdin, flush=True)

    def answer(self) -> float:
        """What `serve` printed for the last `ask`. Exits where the side has ended."""
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            sys.exit(f"{' '.join(map(str, self._process.args))} ended without an answer")
        return float(line)

    def rate(self, step: str = "") -> float:
        self.ask(step)
        return self.answer()

    def close(self) -> None:
        self._process.communicate()


def serve(steps: Mapping[str, Callable[[], None]], images: int, seconds: float, least: int) -> None:
    """Answers every line on stdin, the name of a step of so many images, with images a second."""
    for step in steps.values():  # compiles
        step()
    for line in sys.stdin:
        step = steps[line.strip()]
        step()  # not timed: after a pause it pays for memory that the host took back
        done, started = 0, time.perf_counter()
        while time.perf_counter() - started < seconds or done < least:
            step()
            done += 1
        print(done * images / (time.perf_counter() - started), flush=True)


def turns(sides: Sequence[Process], step: str, runs: int) -> np.ndarray:
    """Rates [run, side]; a first turn of each is thrown away."""
    for side in sides:
        side.rate(step)
    return np.array([[side.rate(step) for side in sides] for _ in range(runs)])


def spread(values: np.ndarray) -> str:
    return f"{np.median(values):.2f} ({values.min():.2f} to {values.max():.2f})"


def our_steps(config: DenoiserConfig, side: int, batch: int, pack: int, repeat: int) -> dict[str, Callable[[], None]]:
    """A `training` step (forward, backward, AdamW) and a `sampling` step (forward) for images `side` x `side` and a
    pack of networks, one of which is not vmapped. Each is taken `repeat` times before its end is waited for: 1 on CPU;
    on a GPU more, so that its queue is never empty."""
    import jax
    import jax.numpy as jnp
    import optax

    from shadow.denoisers.build import Params, build

    network, tx = build(config, side), optax.adamw(1e-4)
    keys = jax.random.split(jax.random.key(0), 2)
    x, noise = (jax.random.normal(key, (batch, side, side, 1)) for key in keys)
    t = jnp.arange(batch) * 1000 // batch

    def step(params: Params, state: optax.OptState) -> tuple[Params, optax.OptState, jax.Array]:
        loss, grads = jax.value_and_grad(lambda p: jnp.square(network.apply(p, x, t) - noise).mean())(params)
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state, loss

    def forward(params: Params) -> jax.Array:
        return network.apply(params, x, t)

    def packed(function: Callable[..., object]) -> Callable[..., object]:
        return function if pack == 1 else jax.vmap(function)

    def init(key: jax.Array) -> tuple[Params, optax.OptState]:
        params = network.init(key)
        return params, tx.init(params)

    train, sample = jax.jit(packed(step), donate_argnums=(0, 1)), jax.jit(packed(forward))
    state = jax.jit(packed(init))(jax.random.key(0) if pack == 1 else jax.random.split(jax.random.key(0), pack))

    def training() -> None:
        nonlocal state
        for _ in range(repeat):
            *state, loss = train(*state)
        jax.block_until_ready(loss)

    def sampling() -> None:
        for _ in range(repeat):
            out = sample(state[0])
        jax.block_until_ready(out)

    return {"training": training, "sampling": sampling}

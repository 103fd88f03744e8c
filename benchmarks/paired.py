"""The sides of a paired benchmark.

Each lives in a process of its own and is compiled once, before the next one starts; then they take turns, so that other
work on the machine meets them all. Rates are in images/s.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from shadow.errors import UserError

if TYPE_CHECKING:
    from shadow.config import DenoiserConfig

_READY = "ready"


class Process:
    """A side: the script itself with `flags` that make it `serve`. UserError where it ends before its work is done,
    after what it said itself."""

    def __init__(self, script: str, *flags: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, script, *flags], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        if self._line() != _READY:
            self._ended()

    def _line(self) -> str:
        return self._process.stdout.readline().strip() if self._process.stdout else ""

    def _ended(self) -> None:
        code = self._process.wait()
        raise UserError(f"{' '.join(map(str, self._process.args))} ended with {code} and without an answer")

    def ask(self, step: str) -> None:
        """Starts a timing of a step: several sides may run at once."""
        try:
            print(step, file=self._process.stdin, flush=True)
        except BrokenPipeError:
            self._ended()

    def answer(self) -> float:
        """The rate that was last asked for, images/s."""
        line = self._line()
        if not line:
            self._ended()
        return float(line)

    def close(self) -> None:
        self._process.communicate()


def serve(
    steps: Mapping[str, Callable[[], object]],
    images: int,
    seconds: float,
    calls: int,
    figures: Mapping[str, float] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> None:
    """Answers every line on stdin, the name of a step, with its rate over `seconds` and `calls` at least; `images` are
    those of one call. The name of a figure is answered with the figure. By `time.process_time` as the clock
    a rate is one of processor time, which other work on the machine hardly changes."""
    for step in steps.values():  # compiles
        step()
    print(_READY, flush=True)
    for line in sys.stdin:
        name = line.strip()
        if figures and name in figures:
            print(figures[name], flush=True)
            continue
        step = steps[name]
        # not timed: during a pause a virtual machine's host takes freed pages back, and the next step pays for them
        step()
        done, started = 0, clock()
        while clock() - started < seconds or done < calls:
            step()
            done += 1
        print(done * images / (clock() - started), flush=True)


def turns(sides: Sequence[Sequence[Process]], step: str, runs: int) -> np.ndarray:
    """Rates [run, side], images/s, summed over the processes of a side, which run at once; a first turn of each is
    thrown away."""

    def rate(side: Sequence[Process]) -> float:
        for process in side:
            process.ask(step)
        return sum(process.answer() for process in side)

    return np.array([[rate(side) for side in sides] for _ in range(runs + 1)])[1:]


def spread(values: np.ndarray) -> str:
    """Median and range."""
    return f"{np.median(values):.2f} ({values.min():.2f} to {values.max():.2f})"


def need_torch() -> None:
    """UserError without PyTorch and its diffusers."""
    for package in ("torch", "diffusers"):
        if importlib.util.find_spec(package) is None:
            raise UserError(f"this benchmark compares with PyTorch and finds no {package}: pip install -e '.[parity]'")


def our_steps(config: DenoiserConfig, side: int, batch: int, pack: int, repeat: int) -> dict[str, Callable[[], None]]:
    """A `training` step (forward, backward, AdamW) and a `sampling` step (forward) of a pack of networks for images
    `side` x `side`; a pack of 1 is not vmapped. Each is taken `repeat` times before its end is waited for: 1 on CPU; on
    a GPU more, so that its queue is never empty."""
    import jax
    import jax.numpy as jnp
    import optax

    from shadow.denoisers.build import Params, build

    network, tx = build(config, side), optax.adamw(1e-4)
    keys = jax.random.split(jax.random.key(0), 2)
    x, noise = (jax.random.normal(key, (batch, side, side, 1)) for key in keys)
    t = jnp.arange(batch) * 1000 // batch
    inputs = x, noise, t  # handed over, as PyTorch's are: what is closed over is a constant, and folded

    def step(params: Params, state: optax.OptState, x: Any, noise: Any, t: Any) -> tuple[Params, Any, jax.Array]:
        loss, grads = jax.value_and_grad(lambda p: jnp.square(network.apply(p, x, t) - noise).mean())(params)
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state, loss

    def forward(params: Params, x: Any, noise: Any, t: Any) -> jax.Array:
        return network.apply(params, x, t)

    def init(key: jax.Array) -> tuple[Params, optax.OptState]:
        params = network.init(key)
        return params, tx.init(params)

    def packed(function: Callable[..., object], each: int) -> Callable[..., object]:
        """Over its first `each` arguments."""
        return function if pack == 1 else jax.vmap(function, in_axes=(0,) * each + (None,) * 3)

    key = jax.random.key(0)
    state = jax.jit(init)(key) if pack == 1 else jax.jit(jax.vmap(init))(jax.random.split(key, pack))
    train, sample = jax.jit(packed(step, 2), donate_argnums=(0, 1)), jax.jit(packed(forward, 1))

    def training() -> None:
        nonlocal state
        for _ in range(repeat):
            *state, loss = train(*state, *inputs)
        jax.block_until_ready(loss)

    def sampling() -> None:
        for _ in range(repeat):
            out = sample(state[0], *inputs)
        jax.block_until_ready(out)

    return {"training": training, "sampling": sampling}

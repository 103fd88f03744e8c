"""Images/s of shadows trained together in a pack against one alone, paired in one run.

python benchmarks/throughput.py [--runs=5] [--packs=4,8] [--models=demo --models=large] [--threads=2]

Every pack lives in a process of its own, as a worker's does, and is compiled once; each run then times a pack of 1 and
every other size in turn, so that other work on the machine meets them all. Printed are the medians of the rates and of
the ratios pack / alone, with their range. Then two worker processes of one thread against one of two threads, on the
demo's model.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from absl import app, flags, logging

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from paired import Process, spread  # noqa: E402

from shadow.fleet import local  # noqa: E402

# width, depth, patch and batch size of each; the images are 32x32
MODELS = {
    "demo": (96, 4, 8, 8),
    "wide": (128, 4, 8, 8),
    "wide, batch 32": (128, 4, 8, 32),
    "large": (128, 6, 4, 32),
}
_RUNS = flags.DEFINE_integer("runs", 5, "Paired runs.")
_PACKS = flags.DEFINE_list("packs", ["4", "8"], "Pack sizes compared with 1.")
_MODELS = flags.DEFINE_multi_enum("models", list(MODELS), list(MODELS), "Models; repeat the flag for several.")
_ONLY = flags.DEFINE_integer("only", 0, "Internal: a pack of this size, timed at each line on stdin.")
_THREADS = flags.DEFINE_integer("threads", 2, "CPU threads.")
SECONDS, STEPS = 2.0, 3  # of one timing, at least


def pack_of(size: int, model: str) -> Callable[[], float]:
    """Each call trains a pack for SECONDS and STEPS at least, and returns images a second, summed over it."""
    import jax
    import jax.numpy as jnp

    from shadow import train
    from shadow.config import Config
    from shadow.denoisers.build import build

    config = Config()
    config.denoiser.width, config.denoiser.depth, config.denoiser.patch, config.train.batch_size = MODELS[model]
    images = np.random.default_rng(0).uniform(-1, 1, (40, 32, 32)).astype(np.float32)
    members = tuple(np.arange(20) for _ in range(size))
    spec = train.Spec(0, "shadow", tuple(range(size)), images, members, config.denoiser, config.diffusion, config.train)
    network = build(spec.denoiser, 32)
    state, step = train.init_states(spec, network), train.make_step(spec, network)
    data = jnp.asarray(images)

    def rate() -> float:
        nonlocal state
        # Not timed: while the other packs have their turn, a virtual machine's host takes freed pages back, and the
        # step after that pays for a gigabyte of them (1.3 s for a large pack of 4). Training never pauses.
        state, loss, _ = step(state, data)
        loss.block_until_ready()
        steps, started = 0, time.perf_counter()
        while time.perf_counter() - started < SECONDS or steps < STEPS:
            state, loss, _ = step(state, data)
            loss.block_until_ready()
            steps += 1
        jax.block_until_ready(state)
        return steps * size * config.train.batch_size / (time.perf_counter() - started)

    return rate


def side(pack: int, threads: int, model: str) -> Process:
    """A pack in a process of its own."""
    return Process(__file__, f"--only={pack}", f"--threads={threads}", f"--models={model}")


def rate(processes: list[Process]) -> float:
    """Summed rate of packs that are trained at once."""
    for process in processes:
        process.ask()
    return sum(process.answer() for process in processes)


def paired(sides: list[list[Process]], runs: int) -> np.ndarray:
    """Rates [run, side], all sides in turn in every run; a first one, which compiles, is thrown away."""
    for side in sides:
        rate(side)
    rates = np.array([[rate(side) for side in sides] for _ in range(runs)])
    for side in sides:
        for process in side:
            process.close()
    return rates


def main(_: list[str]) -> None:
    logging.set_verbosity(logging.WARNING)
    threads = _THREADS.value
    if _ONLY.value:
        local.fix_threads(threads)
        timed = pack_of(_ONLY.value, _MODELS.value[0])
        for _ in sys.stdin:
            print(timed(), flush=True)
        return
    sizes = [1, *(int(size) for size in _PACKS.value)]
    for model in _MODELS.value:
        width, depth, patch, batch = MODELS[model]
        print(f"{model}: width {width}, {depth} blocks, patch {patch}, batch {batch}, {threads} threads", flush=True)
        rates = paired([[side(size, threads, model)] for size in sizes], _RUNS.value)
        for size, column in zip(sizes, rates.T, strict=True):
            ratio = spread(column / rates[:, 0])
            print(f"  pack of {size}: {np.median(column):7.0f} images/s; ratio to one alone {ratio}", flush=True)
    rates = paired([[side(4, 1, "demo"), side(4, 1, "demo")], [side(8, 2, "demo")]], _RUNS.value)
    print(f"two workers of one thread, packs of 4: {np.median(rates[:, 0]):.0f} images/s")
    print(f"one worker of two threads, pack of 8:  {np.median(rates[:, 1]):.0f} images/s")
    print(f"ratio {spread(rates[:, 0] / rates[:, 1])}")


if __name__ == "__main__":
    if local.MEMORY.keys() - os.environ.keys():  # read when a process starts
        os.execve(sys.executable, [sys.executable, *sys.argv], local.MEMORY | os.environ)
    app.run(main)

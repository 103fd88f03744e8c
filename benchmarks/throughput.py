"""Images/s of shadows trained together in a pack against one alone, paired in one run.

python benchmarks/throughput.py [--runs=5] [--packs=4,8] [--models=demo --models=large] [--threads=2]

Each model's packs are compiled once; each run then times a pack of 1 and every other size in turn, so that other work
on the machine meets them all. Printed are the medians of the rates and of the ratios pack / alone, with their range.
Then two worker processes of one thread against one of two threads, on the demo's model.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from absl import app, flags, logging

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

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
_ONLY = flags.DEFINE_integer("only", 0, "Internal: time one pack of the demo's model here and print the rate.")
_THREADS = flags.DEFINE_integer("threads", 2, "CPU threads.")
SECONDS = 1.0


def pack_of(size: int, model: str) -> Callable[[], float]:
    """A compiled and warm pack; each call trains it for SECONDS and returns images a second, summed over it."""
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
        done, started = 0, time.perf_counter()
        while time.perf_counter() - started < SECONDS:
            state, loss, _ = step(state, data)
            loss.block_until_ready()
            done += size * config.train.batch_size
        jax.block_until_ready(state)
        return done / (time.perf_counter() - started)

    rate()  # compiles; the rate itself is thrown away
    return rate


def spread(values: np.ndarray) -> str:
    return f"{np.median(values):.2f} ({values.min():.2f} to {values.max():.2f})"


def workers(pack: int, threads: int, count: int) -> float:
    """Summed rate of `count` processes at once."""
    command = [sys.executable, __file__, f"--only={pack}", f"--threads={threads}"]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(count)]
    return sum(float(process.communicate()[0].split()[-1]) for process in running)


def main(_: list[str]) -> None:
    logging.set_verbosity(logging.WARNING)
    local.fix_threads(_THREADS.value)
    if _ONLY.value:
        rate = pack_of(_ONLY.value, "demo")
        print(np.mean([rate() for _ in range(4)]))  # long enough that both workers are at it for most of the time
        return
    sizes = [1, *(int(size) for size in _PACKS.value)]
    for model in _MODELS.value:
        width, depth, patch, batch = MODELS[model]
        packs = [pack_of(size, model) for size in sizes]
        rates = np.array([[rate() for rate in packs] for _ in range(_RUNS.value)])
        print(f"{model}: width {width}, {depth} blocks, patch {patch}, batch {batch}, {_THREADS.value} threads")
        for size, column in zip(sizes, rates.T, strict=True):
            ratio = spread(column / rates[:, 0])
            print(f"  pack of {size}: {np.median(column):7.0f} images/s; ratio to one alone {ratio}", flush=True)
    paired = np.array([[workers(4, 1, 2), workers(8, 2, 1)] for _ in range(_RUNS.value)])
    print(f"two workers of one thread, packs of 4: {np.median(paired[:, 0]):.0f} images/s")
    print(f"one worker of two threads, pack of 8:  {np.median(paired[:, 1]):.0f} images/s")
    print(f"ratio {spread(paired[:, 0] / paired[:, 1])}")


if __name__ == "__main__":
    if local.MEMORY.keys() - os.environ.keys():  # read when a process starts
        os.execve(sys.executable, [sys.executable, *sys.argv], local.MEMORY | os.environ)
    app.run(main)

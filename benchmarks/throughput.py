"""Images/s of shadows trained together in a pack against one alone, paired in one run.

python benchmarks/throughput.py [--runs=5] [--packs=4,8]

Each run times STEPS steps of a pack of 1 and of every other size, in turn; printed are the medians of the rates and
of the ratios pack / alone, with their range. Then two worker processes of one thread against one of two threads.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from absl import app, flags, logging

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from shadow import fleet  # noqa: E402

_RUNS = flags.DEFINE_integer("runs", 5, "Paired runs.")
_PACKS = flags.DEFINE_list("packs", ["4", "8"], "Pack sizes compared with 1.")
_ONLY = flags.DEFINE_integer("only", 0, "Internal: time one pack size in this process and print the rate.")
_THREADS = flags.DEFINE_integer("threads", 2, "CPU threads.")
STEPS = 60


def rate(pack: int) -> float:
    """Images a second, summed over the pack, of the demo's model on random 32x32 images."""
    import jax.numpy as jnp

    from shadow import train
    from shadow.config import Config
    from shadow.denoisers.build import build

    config = Config()
    images = np.random.default_rng(0).uniform(-1, 1, (40, 32, 32)).astype(np.float32)
    members = tuple(np.arange(20) for _ in range(pack))
    spec = train.Spec(0, "shadow", tuple(range(pack)), images, members, config.denoiser, config.diffusion, config.train)
    network = build(spec.denoiser, 32)
    state, step = train.init_states(spec, network), train.make_step(spec, network)
    data = jnp.asarray(images)
    state, loss, _ = step(state, data)
    loss.block_until_ready()
    started = time.perf_counter()
    for _ in range(STEPS):
        state, loss, _ = step(state, data)
    loss.block_until_ready()
    return STEPS * pack * config.train.batch_size / (time.perf_counter() - started)


def spread(values: np.ndarray) -> str:
    return f"{np.median(values):.2f} ({values.min():.2f} to {values.max():.2f})"


def workers(pack: int, threads: int, count: int) -> float:
    """Summed rate of `count` processes at once."""
    command = [sys.executable, __file__, f"--only={pack}", f"--threads={threads}"]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(count)]
    return sum(float(process.communicate()[0].split()[-1]) for process in running)


def main(_: list[str]) -> None:
    logging.set_verbosity(logging.WARNING)
    fleet.fix_threads(_THREADS.value)
    if _ONLY.value:
        print(rate(_ONLY.value))
        return
    sizes = [1, *(int(size) for size in _PACKS.value)]
    rates = np.array([[rate(size) for size in sizes] for _ in range(_RUNS.value)])
    for size, column in zip(sizes, rates.T, strict=True):
        print(f"pack of {size}: {np.median(column):7.0f} images/s; ratio to one alone {spread(column / rates[:, 0])}")
    paired = np.array([[workers(4, 1, 2), workers(8, 2, 1)] for _ in range(_RUNS.value)])
    print(f"two workers of one thread, packs of 4: {np.median(paired[:, 0]):.0f} images/s")
    print(f"one worker of two threads, pack of 8:  {np.median(paired[:, 1]):.0f} images/s")
    print(f"ratio {spread(paired[:, 0] / paired[:, 1])}")


if __name__ == "__main__":
    app.run(main)

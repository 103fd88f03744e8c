"""Images/s of shadows trained together in a pack against one alone, paired in one run.

python benchmarks/throughput.py [--runs=5] [--packs=4,8] [--models=demo --models=large] [--threads=2]

Every pack lives in a process of its own, as a worker's does, and is compiled once; each run then times a pack of 1 and
every other size in turn, so that other work on the machine meets them all. Printed are the medians of the rates and of
the ratios pack / alone, with their range. Then two worker processes of one thread against one of two threads, on the
demo's model.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from absl import app, flags, logging

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from paired import Process, serve, spread, turns  # noqa: E402

from shadow.errors import exits  # noqa: E402
from shadow.fleet import local  # noqa: E402

# width, depth, patch and batch size of each; the images are 32x32
MODELS = {
    "demo": (96, 4, 8, 8),
    "wide": (128, 4, 8, 8),
    "wide, batch 32": (128, 4, 8, 32),
    "large": (128, 6, 4, 32),
}
_RUNS = flags.DEFINE_integer("runs", 5, "Paired runs.", lower_bound=1)
_PACKS = flags.DEFINE_list("packs", ["4", "8"], "Pack sizes compared with 1.")
_MODELS = flags.DEFINE_multi_enum("models", list(MODELS), list(MODELS), "Models; repeat the flag for several.")
_ONLY = flags.DEFINE_integer("only", 0, "Internal: a pack of this size, timed at each line on stdin.")
_THREADS = flags.DEFINE_integer("threads", 2, "CPU threads.")
SECONDS, CALLS = 2.0, 3  # of one timing, at least


def pack_of(size: int, model: str) -> Callable[[], None]:
    """Each call is a training step of a pack."""
    import jax
    import jax.numpy as jnp

    from shadow.config import Config
    from shadow.denoisers.build import build
    from shadow.training import train

    config = Config()
    config.denoiser.width, config.denoiser.depth, config.denoiser.patch, config.train.batch_size = MODELS[model]
    images = np.random.default_rng(0).uniform(-1, 1, (40, 32, 32)).astype(np.float32)
    members = tuple(np.arange(20) for _ in range(size))
    spec = train.Spec(0, "shadow", tuple(range(size)), images, members, config.denoiser, config.diffusion, config.train)
    network = build(spec.denoiser, 32)
    state, step = train.init_states(spec, network), train.make_step(spec, network)
    data = jnp.asarray(images)

    def training() -> None:
        nonlocal state
        state, loss, _ = step(state, data)
        jax.block_until_ready((state, loss))

    return training


def side(pack: int, threads: int, model: str) -> Process:
    """A pack in a process of its own."""
    return Process(__file__, f"--only={pack}", f"--threads={threads}", f"--models={model}")


def paired(sides: list[list[Process]]) -> np.ndarray:
    """Rates [run, side], images/s."""
    rates = turns(sides, "training", _RUNS.value)
    for process in itertools.chain(*sides):
        process.close()
    return rates


def main(_: list[str]) -> None:
    logging.set_verbosity(logging.WARNING)
    threads = _THREADS.value
    if _ONLY.value:
        local.fix_threads(threads)
        model = _MODELS.value[0]
        serve({"training": pack_of(_ONLY.value, model)}, _ONLY.value * MODELS[model][3], SECONDS, CALLS)
        return
    sizes = [1, *(int(size) for size in _PACKS.value)]
    for model in _MODELS.value:
        width, depth, patch, batch = MODELS[model]
        print(f"{model}: width {width}, {depth} blocks, patch {patch}, batch {batch}, {threads} threads", flush=True)
        rates = paired([[side(size, threads, model)] for size in sizes])
        for size, column in zip(sizes, rates.T, strict=True):
            ratio = spread(column / rates[:, 0])
            print(f"  pack of {size}: {np.median(column):7.0f} images/s; ratio to one alone {ratio}", flush=True)
    rates = paired([[side(4, 1, "demo"), side(4, 1, "demo")], [side(8, 2, "demo")]])
    print(f"two workers of one thread, packs of 4: {np.median(rates[:, 0]):.0f} images/s")
    print(f"one worker of two threads, pack of 8:  {np.median(rates[:, 1]):.0f} images/s")
    print(f"ratio {spread(rates[:, 0] / rates[:, 1])}")


if __name__ == "__main__":
    if local.MEMORY.keys() - os.environ.keys():  # read when a process starts
        os.execve(sys.executable, [sys.executable, *sys.argv], local.MEMORY | os.environ)
    with exits(lambda: __file__):
        app.run(main)

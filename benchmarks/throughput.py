"""Images/s of shadows trained together in a pack against one alone, paired in one run; and what an image costs by size.

python benchmarks/throughput.py [--runs=5] [--packs=4,8] [--models=demo --models=large] [--threads=2]
python benchmarks/throughput.py --sizes=32,64,128,256 [--runs=5] [--threads=2]

Every pack lives in a process of its own, as a worker's does, and is compiled once; each run then times a pack of 1 and
every other size in turn, so that other work on the machine meets them all. Printed are the medians of the rates and of
the ratios pack / alone, with their range. Then two worker processes of one thread against one of two threads, on the
demo's model.

With --sizes it is instead a table of the recipes for slices of these sizes: a network on 32 x 32 blocks of pixels
(`unet2d`, `denoiser.block`), and a transformer of 16 x 16 overlapping patches (`dit`, `denoiser.overlap`). Columns are
the processor time of an image in a training step, the memory of that step by the compiler's account, both for each
image of a batch of 16, and the processor time of drawing an image in 25 steps.
"""

from __future__ import annotations

import itertools
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from absl import app, flags, logging

if TYPE_CHECKING:
    from shadow.config import Config

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from paired import Process, serve, spread, turns  # noqa: E402

from shadow.errors import exits  # noqa: E402
from shadow.fleet import local  # noqa: E402


class Model(NamedTuple):
    """A transformer for images of `side` x `side`, or a UNet2D on blocks where that is given."""

    width: int
    depth: int
    patch: int
    batch: int
    side: int = 32
    overlap: bool = False
    block: int = 0


MODELS = {
    "demo": Model(96, 4, 8, 8),
    "wide": Model(128, 4, 8, 8),
    "wide, batch 32": Model(128, 4, 8, 32),
    "large": Model(128, 6, 4, 32),
}
KINDS = ("unet2d", "dit")


def sized(kind: str, side: int) -> Model:
    """The recipe for slices of this size."""
    return Model(128, 4, side // 16, 16, side, kind == "dit", side // 32 if kind == "unet2d" else 0)


_RUNS = flags.DEFINE_integer("runs", 5, "Paired runs.", lower_bound=1)
_PACKS = flags.DEFINE_list("packs", ["4", "8"], "Pack sizes compared with 1.")
_MODELS = flags.DEFINE_multi_enum("models", list(MODELS), list(MODELS), "Models; repeat the flag for several.")
_SIZES = flags.DEFINE_list("sizes", [], "Only a table of costs for slices of these sizes, multiples of 32.")
_KIND = flags.DEFINE_enum("kind", "", ["", *KINDS], "Internal: the recipe of --sizes that is timed.")
_ONLY = flags.DEFINE_integer("only", 0, "Internal: a pack of this size, timed at each line on stdin.")
_THREADS = flags.DEFINE_integer("threads", 2, "CPU threads.")
SECONDS, CALLS = 2.0, 3  # of one timing, at least


def config_of(model: Model) -> Config:
    """What a run of the model has."""
    from shadow.config import Config, UNet2DConfig

    config = Config()
    denoiser = config.denoiser
    denoiser.width, denoiser.depth, denoiser.patch, config.train.batch_size = model[:4]
    config.data.resolution, denoiser.overlap = model.side, model.overlap
    if model.block:
        denoiser.kind, denoiser.block = "unet2d", model.block
        down, up = ("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"), ("AttnUpBlock2D", "UpBlock2D", "UpBlock2D")
        denoiser.unet = UNet2DConfig(
            block_out_channels=(40, 64, 80), down_block_types=down, up_block_types=up, add_attention=True
        )
    return config


def pack_of(size: int, model: Model) -> tuple[dict[str, Callable[[], object]], dict[str, float]]:
    """{"training": a step of a pack, "sampling": a batch of images of it}, and the memory of the former, bytes."""
    import jax
    import jax.numpy as jnp

    from shadow import keys, piles
    from shadow.denoisers.build import build
    from shadow.training import train

    config = config_of(model)
    images = np.random.default_rng(0).uniform(-1, 1, (40, model.side, model.side)).astype(np.float32)
    members = tuple(np.arange(20) for _ in range(size))
    spec = train.Spec(0, "shadow", tuple(range(size)), images, members, config.denoiser, config.diffusion, config.train)
    network = build(spec.denoiser, model.side)
    data, state = jnp.asarray(images), train.init_states(spec, network)
    step = jax.jit(train.make_step(spec, network), donate_argnums=0).lower(state, data).compile()
    config.pile.batch_size = model.batch
    sample = piles.make_sampler(network, config.pile, config.diffusion, model.side)
    shadows = jnp.stack([keys.key(0, "pile", shadow) for shadow in range(size)])

    def training() -> None:
        nonlocal state
        state, loss, _ = step(state, data)
        jax.block_until_ready((state, loss))

    def sampling() -> np.ndarray:
        return np.asarray(sample(state.ema, shadows))

    account = step.memory_analysis()
    memory = 0.0 if account is None else float(account.temp_size_in_bytes)
    return {"training": training, "sampling": sampling}, {"memory": memory}


def side(pack: int, threads: int, model: str) -> Process:
    """A pack in a process of its own."""
    return Process(__file__, f"--only={pack}", f"--threads={threads}", f"--models={model}")


def paired(sides: list[list[Process]]) -> np.ndarray:
    """Rates [run, side], images/s."""
    rates = turns(sides, "training", _RUNS.value)
    for process in itertools.chain(*sides):
        process.close()
    return rates


def table(threads: int) -> None:
    """Prints the costs by size, medians of the runs."""
    print(f"Of an image, with {threads} threads:\n")
    print("| recipe | size | training step | its memory | drawn in 25 steps |")
    print("|---|---|---|---|---|")
    for kind, size in itertools.product(KINDS, _SIZES.value):
        process = Process(__file__, "--only=1", f"--threads={threads}", f"--kind={kind}", f"--sizes={size}")
        took = {step: 1 / np.median(turns([[process]], step, _RUNS.value)) for step in ("training", "sampling")}
        process.ask("memory")
        memory = process.answer() / sized(kind, int(size)).batch
        process.close()
        print(
            f"| {kind} | {size} | {1e3 * took['training']:.1f} ms | {memory / 2**20:.1f} MiB | "
            f"{took['sampling']:.3f} s |",
            flush=True,
        )


def main(_: list[str]) -> None:
    logging.set_verbosity(logging.WARNING)
    threads = _THREADS.value
    if _ONLY.value:
        local.fix_threads(threads)
        model = sized(_KIND.value, int(_SIZES.value[0])) if _KIND.value else MODELS[_MODELS.value[0]]
        steps, figures = pack_of(_ONLY.value, model)
        taken = steps if _KIND.value else {"training": steps["training"]}
        clock = time.process_time if _KIND.value else time.perf_counter
        serve(taken, _ONLY.value * model.batch, SECONDS, CALLS, figures, clock)
        return
    if _SIZES.value:
        table(threads)
        return
    sizes = [1, *(int(size) for size in _PACKS.value)]
    for model in _MODELS.value:
        width, depth, patch, batch = MODELS[model][:4]
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

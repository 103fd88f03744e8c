"""Training and sampling steps of our UNet2D against those of PyTorch diffusers' UNet2DModel, paired in one run.

python benchmarks/unet2d.py [--runs=5] [--models=a --models=native] [--threads=2] [--packs=4]

Needs torch and diffusers (pip install -e '.[parity]'). Both sides have float32, the same sizes, AdamW and the same
number of threads, and each lives in a process of its own, compiled once; the turns alternate, so that other work on the
machine meets both, and the first turn of each is not timed. A training step is forward, backward and AdamW; a sampling
step is forward. Printed are medians of images/s and of the ratio to PyTorch, with its range. With --packs, packs of
several of our networks trained in one vmapped step are compared too (images/s summed over the pack). With --processor
rates are of processor time, for a machine that others use too: with --threads=1, since threads that wait count.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl import app, flags

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from paired import Process, need_torch, our_steps, serve, spread, turns  # noqa: E402

from shadow.errors import exits  # noqa: E402
from shadow.fleet import local  # noqa: E402


class Model(NamedTuple):
    """attention: at the lowest resolution and in the middle; block: pixels a side of the blocks that are channels."""

    channels: tuple[int, ...]
    side: int
    batch: int
    attention: bool = False
    block: int = 1


MODELS = {
    "a": Model((32, 64, 64), 32, 32),
    "b": Model((32, 64, 128), 64, 16),
    "c": Model((32, 64, 64), 32, 32, attention=True),
    "native": Model((40, 64, 80), 256, 16, attention=True, block=8),
}
STEPS = ("training", "sampling")
_RUNS = flags.DEFINE_integer("runs", 5, "Paired runs.", lower_bound=1)
_MODELS = flags.DEFINE_multi_enum("models", list(MODELS), list(MODELS), "Models; repeat the flag for several.")
_PACKS = flags.DEFINE_list("packs", [], "Also packs of these sizes.")
_THREADS = flags.DEFINE_integer("threads", 2, "CPU threads.")
_ONLY = flags.DEFINE_string("only", "", "Internal: one side (torch or a pack size), timed at each line on stdin.")
_PROCESSOR = flags.DEFINE_bool("processor", False, "Rates by processor time instead of the clock.")
SECONDS, CALLS = 2.0, 3  # of one timing, at least


def fields(model: str) -> dict[str, object]:
    """Of diffusers' config, by its names."""
    channels = MODELS[model].channels
    down, up = ["DownBlock2D"] * len(channels), ["UpBlock2D"] * len(channels)
    if MODELS[model].attention:
        down[-1], up[0] = "AttnDownBlock2D", "AttnUpBlock2D"
    return {
        "in_channels": 1,
        "out_channels": 1,
        "block_out_channels": channels,
        "down_block_types": tuple(down),
        "up_block_types": tuple(up),
        "layers_per_block": 1,
        "norm_num_groups": 8,
        "add_attention": MODELS[model].attention,
        "attention_head_dim": 8,
    }


def torch_side(model: str, threads: int) -> dict[str, Callable[[], None]]:
    """A step of each kind. Blocks are made of the pixels, and pixels of the blocks, in every step."""
    import diffusers
    import torch
    from torch.nn.functional import pixel_shuffle, pixel_unshuffle

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    _, side, batch, _, block = MODELS[model]
    wide = {"in_channels": block**2, "out_channels": block**2}
    network = diffusers.UNet2DModel(sample_size=side // block, **fields(model) | wide)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
    x, noise = torch.randn(batch, 1, side, side), torch.randn(batch, 1, side, side)
    t = torch.arange(batch) * 1000 // batch

    def predict() -> torch.Tensor:
        if block == 1:
            return network(x, t).sample
        return pixel_shuffle(network(pixel_unshuffle(x, block), t).sample, block)

    def training() -> None:
        optimizer.zero_grad()
        loss = (predict() - noise).square().mean()
        loss.backward()
        optimizer.step()
        loss.item()

    def sampling() -> None:
        with torch.no_grad():
            predict()

    return {"training": training, "sampling": sampling}


def our_side(model: str, pack: int) -> dict[str, Callable[[], None]]:
    """A step of each kind for a pack of networks."""
    from shadow.config import DenoiserConfig
    from shadow.denoisers.unet2d_config import UNet2DConfig

    _, side, batch, _, block = MODELS[model]
    config = DenoiserConfig(kind="unet2d", block=block, unet=UNet2DConfig(**fields(model)))
    return our_steps(config, side, batch, pack, repeat=1)


def main(_: list[str]) -> None:
    threads = _THREADS.value
    if _ONLY.value:
        local.fix_threads(threads)
        model, batch = _MODELS.value[0], MODELS[_MODELS.value[0]].batch
        clock = time.process_time if _PROCESSOR.value else time.perf_counter
        if _ONLY.value == "torch":
            serve(torch_side(model, threads), batch, SECONDS, CALLS, clock=clock)
        else:
            serve(our_side(model, int(_ONLY.value)), int(_ONLY.value) * batch, SECONDS, CALLS, clock=clock)
        return
    need_torch()
    sides = ["torch", "1", *_PACKS.value]
    for model in _MODELS.value:
        channels, side, batch, attention, block = MODELS[model]
        attended = (", attention" if attention else "") + (f", blocks of {block}x{block}" if block > 1 else "")
        print(f"{model}: channels {channels}, {side}x{side}, batch {batch}{attended}, {threads} threads", flush=True)
        common = f"--threads={threads}", f"--models={model}", f"--processor={_PROCESSOR.value}"
        processes = [Process(__file__, f"--only={name}", *common) for name in sides]
        for step in STEPS:
            rates = turns([[process] for process in processes], step, _RUNS.value)
            for name, column in zip(sides, rates.T, strict=True):
                label = "PyTorch" if name == "torch" else "ours" if name == "1" else f"our pack of {name}"
                ratio = spread(column / rates[:, 0])
                print(f"  {step}, {label}: {np.median(column):7.1f} images/s; ratio to PyTorch {ratio}", flush=True)
        for process in processes:
            process.close()


if __name__ == "__main__":
    if local.MEMORY.keys() - os.environ.keys():  # read when a process starts; both sides have it
        os.execve(sys.executable, [sys.executable, *sys.argv], local.MEMORY | os.environ)
    with exits(lambda: __file__):
        app.run(main)

"""A fleet small enough to be trained in seconds."""

from __future__ import annotations

import contextlib
import gc
import json
import shutil
import subprocess
import sys

import numpy as np
from orbax.checkpoint import v1 as ocp

from shadow import workdir as workdirs
from shadow.config import Config
from shadow.fleet import Fleet, orchestrate

STEPS, KEEP = 8, (2, 4, 8)


def make_config(**fields):
    """Six shadows in packs of two; `train__steps=3` sets a field."""
    config = Config()
    config.data.resolution = 8
    config.denoiser.patch, config.denoiser.width, config.denoiser.depth, config.denoiser.heads = 4, 8, 1, 2
    config.diffusion.timesteps = 20
    config.train.steps, config.train.batch_size, config.train.checkpoint_every = STEPS, 2, 2
    config.train.log_every, config.train.warmup_steps = 2, 2
    config.pile.count, config.pile.batch_size, config.pile.sampler_steps, config.pile.steps = 6, 4, 2, KEEP
    config.attack.pile = 6
    config.fleet.shadows, config.fleet.pack, config.membership.block = 6, 2, 2
    for name, value in fields.items():
        part, _, leaf = name.rpartition("__")
        inner = getattr(config, part) if part else config
        assert hasattr(inner, leaf)
        setattr(inner, leaf, value)
    return config


def planned(workdir, data, config=None):
    """The fleet in a settled and planned workdir."""
    config = config or make_config()
    workdir.mkdir(parents=True, exist_ok=True)
    workdirs.settle(workdir, config)
    orchestrate.plan(workdir, data, config)
    return Fleet(workdir, data, config)


def _leaves(path):
    """(name, bits) of every array in a checkpoint, read without our code."""
    flat, queue = [], [("", ocp.load(path)["state"])]
    while queue:
        name, value = queue.pop()
        if isinstance(value, dict | list | tuple):
            keys = value.items() if isinstance(value, dict) else enumerate(value)
            queue += [(f"{name}/{k}", inner) for k, inner in keys]
        else:
            flat.append((name, np.asarray(value).tobytes()))
    return sorted(flat)


def numbers(folder):
    """{step: bits} of every checkpoint of a shadow."""
    return {int(path.name): _leaves(path) for path in sorted((folder / "checkpoints").iterdir()) if path.name.isdigit()}


def piles_of(folder):
    return {path.name: path.read_bytes() for path in sorted((folder / "piles").iterdir()) if path.is_file()}


def rows(folder):
    """metrics.jsonl without the one figure that depends on the clock."""
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k != "images_per_second"} for row in found]


def times(folder):
    return {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file() and p.suffix != ".lock"}


def flip(path):
    """Changes the last bit of one number in a checkpoint, in a way orbax reads without a word."""
    found = ocp.load(path)
    before = np.array(found["state"]["params"]["embed"]["bias"])
    after = np.nextafter(before, np.float32(9))
    assert not np.array_equal(after, before)
    found["state"]["params"]["embed"]["bias"] = after
    shutil.rmtree(path)
    ocp.save(path.absolute(), found)


@contextlib.contextmanager
def held(path):
    """Another process holds this lock; yields it."""
    code = "import filelock, sys; l = filelock.FileLock(sys.argv[1]); l.acquire(); print(1, flush=True); input()"
    command = [sys.executable, "-c", code, path]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, text=True, **pipes) as process:
        assert process.stdout.readline() == "1\n"
        try:
            yield process
        finally:
            process.kill()


def collect():
    """Lets go of the coroutines that orbax leaves behind where a load fails, now and not in some later test."""
    gc.collect()
    gc.collect()

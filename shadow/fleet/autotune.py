"""Which pack size, how many workers and threads train the fleet soonest: measured on this machine, not guessed.

Every candidate is timed as it would run: all workers at once, in processes of their own.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from shadow.config import Config
from shadow.denoisers.build import build
from shadow.errors import UserError
from shadow.fleet import families, local
from shadow.fleet.progress import duration
from shadow.training import train

_SECONDS = 2.0  # of timed steps a candidate, after its compilation
_LARGEST = 64


@dataclass(frozen=True)
class Timing:
    """One candidate. rate: images a second of all workers together, on average over the training of the whole fleet;
    seconds: that training takes."""

    pack: int
    workers: int
    threads: int
    rate: float
    seconds: float


def fleet_seconds(config: Config, pack: int, workers: int, rate: float) -> float:
    """Time to train a fleet of one family when `workers` take pack after pack, at `rate` images/s in sum: the last
    round may not keep all of them busy."""
    rounds = -(-config.fleet.shadows // (pack * workers))
    images = config.train.steps * config.train.batch_size * min(pack, config.fleet.shadows)
    return rounds * images * workers / rate


def candidates(config: Config) -> list[int]:
    """Pack sizes worth a try: powers of two up to the fleet, or up to a block where packs may not cross families; 1
    alone where all networks are convolutional."""
    fleet, own = config.fleet, _of_families(config)
    largest = min(config.membership.block if fleet.families else fleet.shadows, _LARGEST)
    sizes = [2**i for i in range(7) if 2**i <= largest]
    return [size for size in sizes if size <= max(families.pack_size(each, size) for each in own)]


def _of_families(config: Config) -> list[Config]:
    """The config of each family, with the shadows that it has."""
    count = len(families.family_names(config))
    own = [families.config_of(config, family) for family in range(count)]
    fleets = [dataclasses.replace(each.fleet, shadows=config.fleet.shadows // count) for each in own]
    return [dataclasses.replace(each, fleet=fleet) for each, fleet in zip(own, fleets, strict=True)]


def timing(config: Config, pack: int, workers: int, threads: int, rates: Sequence[float]) -> Timing:
    """Of one candidate, from the images a second of all workers at the packs of each family: one family after the
    other, so a little too long where their packs could fill each other's last rounds."""
    seconds = images = 0.0
    for own, speed in zip(_of_families(config), rates, strict=True):
        took = fleet_seconds(own, families.pack_size(own, pack), workers, speed)
        seconds += took
        images += took * speed
    return Timing(pack, workers, threads, images / seconds, seconds)


def measure(workdir: Path, config: Config, images: int) -> list[Timing]:
    """All candidates, the best first. `images`: of the dev set. A pack that does not fit into memory is left out.

    Every family is timed; the choice is one for all of them (a convolutional network has packs of one whatever it is).
    """
    devices = local.accelerators()
    if devices:
        layouts = [(len(local.environments(1, config.fleet.devices)), config.fleet.threads)]
    else:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        layouts = [(cores // 2**i, 2**i) for i in range(cores.bit_length()) if 2**i <= cores]
    found = []
    for workers, threads in layouts:
        own, rates = _of_families(config), []
        for family, each in enumerate(own):
            sizes = sorted({families.pack_size(each, pack) for pack in candidates(config)})
            question = json.dumps([str(workdir), threads, images, sizes, _SECONDS, family])
            rates.append(_rates(question, local.environments(workers, config.fleet.devices)))
        for pack in candidates(config):
            sizes = [families.pack_size(each, pack) for each in own]
            if all(size in known for size, known in zip(sizes, rates, strict=True)):
                speeds = [known[size] for size, known in zip(sizes, rates, strict=True)]
                found.append(timing(config, pack, workers, threads, speeds))
    if not found:
        raise UserError("fleet.pack = auto: not even one shadow can be trained here; see the lines above")
    return sorted(found, key=lambda timing: timing.seconds)


def _rates(question: str, environments: Sequence[dict[str, str]]) -> dict[int, float]:
    """{pack: images a second} of a process for each environment together, of the packs that all of them managed."""
    with contextlib.ExitStack() as closing:
        running = []
        for environment in environments:
            running.append(closing.enter_context(_start(question, environment)))
            closing.callback(running[-1].kill)  # none outlives this, whatever happens
        answers = [_answer(process) for process in running]
    shared = set.intersection(*({*answer} for answer in answers))
    return {int(pack): sum(answer[pack] for answer in answers) for pack in shared}


def describe(timings: Sequence[Timing]) -> str:
    """The table, the choice first."""
    rows = [f"{'pack':>6}{'workers':>9}{'threads':>9}{'images/s':>10}{'fleet':>14}"]
    for i, t in enumerate(timings):
        chosen = "  <- chosen" if i == 0 else ""
        rows.append(f"{t.pack:6}{t.workers:9}{t.threads:9}{t.rate:10,.0f}{duration(t.seconds):>14}{chosen}")
    return "\n".join(rows)


def _start(question: str, environment: dict[str, str]) -> subprocess.Popen[str]:
    root = str(Path(__file__).resolve().parents[2])
    code = f"import sys; sys.path.insert(0, {root!r}); from shadow.fleet import autotune; autotune.answer(sys.argv[1])"
    command = [sys.executable, "-c", code, question]
    return subprocess.Popen(command, env=local.MEMORY | os.environ | environment, stdout=subprocess.PIPE, text=True)


def _answer(process: subprocess.Popen[str]) -> dict[str, float]:
    out, _ = process.communicate()
    if process.returncode > 0:
        raise UserError("fleet.pack = auto: the measurement failed (see above); give a number")
    rates: dict[str, float] = {}
    for line in out.splitlines():  # those before the one that had the process killed, where memory ran out, count
        if line.startswith("{"):
            rates |= json.loads(line)
    return rates


def answer(question: str) -> None:
    """In a process of its own: prints {pack: images a second} as JSON, a line a candidate."""
    from shadow import workdir as workdirs
    from shadow.config import from_dict

    folder, threads, images, packs, seconds, family = json.loads(question)
    local.fix_threads(threads)
    config = families.config_of(from_dict(workdirs.read_config(Path(folder))), family)
    for pack in packs:
        try:
            print(json.dumps({pack: rate(config, pack, images, seconds)}), flush=True)
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            print(f"a pack of {pack} does not fit into memory", file=sys.stderr)
            break


def noise_spec(config: Config, pack: int, images: int) -> train.Spec:
    """A pack that trains on noise as real ones do on slices, by the config of a family; images: of the dev set, half of
    them members."""
    size = config.data.resolution
    data = np.random.default_rng(0).uniform(-1, 1, (images, size, size)).astype(np.float32)
    members = tuple(np.arange(max(1, images // 2)) for _ in range(pack))
    return train.Spec(
        config.seed,
        "shadow",
        tuple(range(pack)),
        data,
        members,
        config.denoiser,
        config.diffusion,
        config.train,
        config.fleet.devices,
    )


def rate(config: Config, pack: int, images: int, seconds: float) -> float:
    """Images a second in training, summed over a pack, on noise, by the config of a family."""
    spec = noise_spec(config, pack, images)
    network = build(spec.denoiser, config.data.resolution)
    state, step = train.placed(spec, train.init_states(spec, network)), train.make_step(spec, network)
    placed = train.placed(spec, jnp.asarray(spec.images))
    state, loss, _ = step(state, placed)
    jax.block_until_ready(loss)
    steps, started = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - started) < seconds or steps < 3:
        state, loss, _ = step(state, placed)
        jax.block_until_ready(loss)
        steps += 1
    return steps * pack * config.train.batch_size / elapsed

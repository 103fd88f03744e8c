"""What a pack costs on this machine: a few steps, a save and a batch of images are timed, as workers do them."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from attack.pipeline.costs.asking import Stopwatch, ask, peak_memory, since_start
from attack.pipeline.costs.model import Batch, PackRates, PackWork, Stored, Took
from shadow.config import Config, from_dict
from shadow.fleet import families, local
from shadow.fleet.plan import pile_steps

_SECONDS = 3.0  # of timed training steps, at least
_LEAST = 3  # timed steps, at least
_SAMPLER_STEPS = 4  # of a batch that is timed
_SPARE = 2  # checkpoints that stay beside those of piles
_GAIN = 1.05  # of images a second, for which a batch of twice the size is worth its memory
_LARGEST = 8192  # images of a batch
_ROW = 512  # bytes of a row of metrics.jsonl at most
_SMALL = 4096  # bytes that result.json and key.json take


def rates(config: Config, pack: int, workers: int, threads: int, images: int) -> PackRates:
    """Of a pack of `pack` shadows by the config of one family, where `workers` processes with `threads` CPU threads
    each work at once. images: of the membership matrix. The slowest of them counts."""
    question = {
        "fields": dataclasses.asdict(config),
        "pack": pack,
        "threads": threads,
        "images": images,
    }
    answers = ask("packs:measure", question, local.environments(workers, config.fleet.devices))
    took = {name: _slowest([answer[name] for answer in answers]) for name in _TIMED}
    memory = max(answer["memory"] for answer in answers)
    batches = tuple(Batch(*one) for one in answers[0]["batches"])
    return PackRates(pack, **took, memory=memory, checkpoint=Stored(*answers[0]["checkpoint"]), batches=batches)


_TIMED = ("start", "step", "save", "compile", "batch")


def _slowest(found: Sequence[Sequence[float]]) -> Took:
    return Took(max(wall for wall, _ in found), sum(cpu for _, cpu in found) / len(found))


def work(config: Config, rates: PackRates) -> PackWork:
    """What a pack has to do, by the config of its family."""
    training, steps, side = config.train, pile_steps(config), config.data.resolution
    saves = {*range(training.checkpoint_every, training.steps, training.checkpoint_every), *steps, training.steps}
    there = {*steps, *sorted(saves)[-_SPARE:]}
    rows = training.steps // training.log_every + len(saves)
    png = Stored(config.pile.count * max(2 * side**2, _SMALL), config.pile.count + 1) if config.pile.png else Stored()
    pile = Stored(config.pile.count * side**2 + _SMALL, 1) + png
    # the shadow's folder, those of checkpoints and piles, and its three small files
    beside = Stored(rows * _ROW + 2 * _SMALL, 6)
    kept = rates.checkpoint * len(there) + pile * len(steps) + beside
    batches = len(steps) * -(-config.pile.count // config.pile.batch_size)
    return PackWork(rates, training.steps, len(saves), batches, kept)


def measure(began: float, fields: dict[str, Any], pack: int, threads: int, images: int) -> dict[str, Any]:
    """In a process of its own: the timings of one pack on noise, as {name: [wall, processor]}; and memory, bytes, and
    checkpoint, [bytes, files] of a shadow."""
    local.fix_threads(threads)
    import jax

    from shadow import piles
    from shadow.denoisers.build import build
    from shadow.fleet import autotune
    from shadow.training import checkpoint, train

    config = from_dict(fields)
    spec = autotune.noise_spec(config, pack, images)
    network = build(spec.denoiser, config.data.resolution)
    state, on_device = train.placed(spec, (train.init_states(spec, network), spec.images))
    step, evaluate = train.make_step(spec, network), train.make_evaluation(spec, network)
    state, loss, _ = step(state, on_device)
    jax.block_until_ready(loss)
    start = since_start(began)

    def train_for(count: int) -> None:
        nonlocal state, loss
        for _ in range(count):
            state, loss, _ = step(state, on_device)
        jax.block_until_ready(loss)

    of_step = _repeated(train_for)
    with tempfile.TemporaryDirectory() as name:
        folders = [Path(name) / str(k) for k in range(pack)]

        def save(number: int) -> None:
            evaluate(state.ema, on_device)
            checkpoint.save_pack(folders, number, state, ())

        of_first = _timed(lambda: save(1))  # with compilation and imports
        of_save = _timed(lambda: save(2))
        stored = _stored(folders[0] / "checkpoints" / "2")
    few = min(config.pile.sampler_steps, _SAMPLER_STEPS)
    drawing = dataclasses.replace(config.pile, sampler_steps=few)
    sample = piles.make_sampler(network, drawing, spec.diffusion, config.data.resolution)
    keys = jax.random.split(jax.random.key(0), pack)
    of_compile = _timed(lambda: np.asarray(sample(state.ema, keys)))
    of_few = _timed(lambda: np.asarray(sample(state.ema, keys)))

    def seconds(batch: int) -> float:
        asked = dataclasses.replace(drawing, batch_size=batch)
        draw = piles.make_sampler(network, asked, spec.diffusion, config.data.resolution)
        np.asarray(draw(state.ema, keys))  # compiles
        return _timed(lambda: np.asarray(draw(state.ema, keys))).wall * config.pile.sampler_steps / few / pack

    on_cpu = jax.default_backend() == "cpu"  # where cores are soon full, and memory is the machine's
    batches = [] if on_cpu else doubled(seconds, config.pile.batch_size)
    return {
        "start": _pair(start + (of_first - of_save)),
        "step": _pair(of_step),
        "save": _pair(of_save),
        "compile": _pair(of_compile - of_few),
        "batch": _pair(of_few * (config.pile.sampler_steps / few)),
        "memory": peak_memory(),
        "checkpoint": [stored.bytes, stored.files],
        "batches": [[batch.images, batch.rate] for batch in batches],
    }


def doubled(seconds: Callable[[int], float], first: int) -> list[Batch]:
    """Sizes of a sampling batch from `first` on, each twice the one before, until one does not fit into memory or draws
    hardly more images a second. seconds(images): of one batch of every shadow of a pack, a shadow."""
    import jax

    found: list[Batch] = []
    images = first
    while images <= _LARGEST:
        try:
            found.append(Batch(images, images / seconds(images)))
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            break
        if len(found) > 1 and found[-1].rate < _GAIN * found[-2].rate:
            break
        images *= 2
    return found


def _timed(work: Callable[[], object]) -> Took:
    watch = Stopwatch()
    work()
    return watch.took()


def _repeated(steps: Callable[[int], None]) -> Took:
    """Seconds of one step: `steps(n)` does n of them."""
    watch, done, count = Stopwatch(), 0, _LEAST
    while True:
        steps(count)
        done += count
        took = watch.took()
        if took.wall >= _SECONDS:
            return took * (1 / done)
        count = done  # twice as many in all, so that a device is not waited for at every step


def _stored(folder: Path) -> Stored:
    """What a folder takes, itself counted in."""
    found = [folder, *folder.rglob("*")]
    return Stored(sum(os.stat(path).st_size for path in found if path.is_file()), len(found))


def _pair(took: Took) -> list[float]:
    return [took.wall, took.processor]


def pack_work(config: Config, asked: int, workers: int, threads: int, images: int) -> tuple[PackWork, ...]:
    """What each pack of the fleet has to do, in order; packs of one family are measured once. asked: shadows of a
    pack. A pack at a family's end may be smaller: it is charged as a whole one."""
    known: dict[int, PackWork] = {}
    found = []
    for shadows in families.packs(config, 0, config.fleet.shadows, asked):
        family = families.family_of(config, shadows[0])
        if family not in known:
            own = families.config_of(config, family)
            size = len(shadows)
            known[family] = work(own, rates(own, size, workers, threads, images))
        found.append(known[family])
    return tuple(found)

"""`launch.py plan --dry_run`: what a run will cost, without a file in its folder."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from attack.decision import submission
from attack.evidence import layout
from attack.evidence.embeddings import builtin
from attack.pipeline.costs import miniature, model, packs
from attack.pipeline.costs.model import AttackRates, Cost, PackWork, Stored, Took
from shadow.config import Config
from shadow.data import challenge, decoding
from shadow.errors import UserError
from shadow.fleet import autotune, families, progress
from shadow.fleet.orchestrate import size
from shadow.validate import validate

SHADOWS, DEVICES = (16, 64, 256, 1024), (1, 8, 64)  # of the second table
_PNG = 4096  # bytes that a small file takes


@dataclass(frozen=True)
class Estimate:
    """What a run costs. costs: by stage, in order; packs: what each pack of the fleet has to do; attack: rates of the
    stages after it; workers: that do packs at once."""

    costs: tuple[Cost, ...]
    packs: tuple[PackWork, ...]
    attack: AttackRates
    workers: int


def dry_run(workdir: Path, config: Config) -> str:
    """The tables that are printed. `workdir` is read where it holds the run's own challenge, and never written to.

    Raises UserError as `plan` does, and where nothing is to be trained.
    """
    validate(config)
    submission.of_config(config)
    layout.check(builtin.names(config.attack), config.attack.signals, config.data.resolution)
    if not config.fleet.shadows:
        raise UserError("plan --dry_run: fleet.shadows = 0 trains nothing: leave --dry_run out")
    found = estimate(workdir, config)
    said = [by_stage(found.costs), "", by_size(config, found), *by_batch(config, found)]
    return "\n".join(said)


def estimate(workdir: Path, config: Config) -> Estimate:
    """Measures, and works out the cost of each stage."""
    with tempfile.TemporaryDirectory(prefix="shadowprint-") as name:
        place = Path(name)
        made: tuple[Cost, ...] = ()
        root = Path(config.data.root) if config.data.root else workdir / "challenge"
        if not config.data.root and not root.is_dir():
            root, made = place / "challenge", (_challenge(place, config),)
        rates = miniature.rates(place / "run", root, config)
        asked, workers, threads = _layout(place / "run", config, rates.pool)
    work = packs.pack_work(config, asked, workers, threads, rates.pool)
    start = Cost("plan", rates.start + rates.plan, 0, Stored())
    costs = (*made, start, *model.fleet_costs(work, workers), *model.attack_costs(rates, config.fleet.shadows))
    return Estimate(costs, work, rates, workers)


def _layout(place: Path, config: Config, images: int) -> tuple[int, int, int]:
    """(shadows a pack, workers, threads a worker) of the fleet."""
    own = config.fleet
    if isinstance(own.pack, int):
        return own.pack, own.workers, own.threads
    best = autotune.measure(place, config, images)[0]
    return best.pack, best.workers, best.threads


def _challenge(place: Path, config: Config) -> Cost:
    """The stage `challenge`, whose folder is made with stand-ins for the generated images."""
    asked, own = config.challenge, config.pile
    watch = packs.Stopwatch()
    dealt = challenge.deal(asked)
    small = decoding.resize(dealt.pool.images, config.data.resolution)[dealt.members]
    count = asked.dev_generated + asked.test_generated
    made = np.clip(small[np.arange(count) % len(small)], 0, 255).astype(np.uint8)
    challenge.write(place / "challenge", dealt, made, config, asked.train.steps)
    around = watch.took()
    target = dataclasses.replace(
        config,
        denoiser=asked.denoiser,
        train=asked.train,
        fleet=dataclasses.replace(config.fleet, families=(), devices=1),
        pile=dataclasses.replace(own, count=count, steps=(), png=False),
    )
    work = packs.work(target, packs.rates(target, 1, 1, asked.threads, len(dealt.members)))
    files = sum(1 for path in (place / "challenge").rglob("*"))
    took = work.rates.start + work.train + work.rates.compile + work.sample + around
    return Cost("challenge", took, work.rates.memory, work.kept + Stored(files * _PNG, files))


def by_stage(costs: Sequence[Cost]) -> str:
    """A row a stage."""
    rows = [f"{'stage':12}{'time':>14}{'processor':>14}{'memory':>12}{'disk':>12}{'files':>10}"]
    for cost in (*costs, model.total(costs)):
        memory = size(cost.memory) if cost.memory else ""
        stored = (size(cost.stored.bytes), f"{cost.stored.files:,}") if cost.stored.files else ("", "")
        took = (progress.duration(cost.took.wall), progress.duration(cost.took.processor))
        rows.append(f"{cost.stage:12}{took[0]:>14}{took[1]:>14}{memory:>12}{stored[0]:>12}{stored[1]:>10}")
    return "\n".join(rows)


def by_size(config: Config, found: Estimate) -> str:
    """A row for each number of shadows: the fleet on so many devices, and the attack after it on one."""
    head = "".join(f"{f'on {devices}':>14}" for devices in DEVICES)
    rows = [
        "A device is one worker as it was timed here: that many processor threads, or that many accelerators.",
        f"{'shadows':>8}{head}{'attack':>14}{'memory':>12}{'disk':>12}{'files':>12}",
    ]
    for shadows in SHADOWS:
        work = of_fleet(config, found.packs, shadows)
        walls = [_wall(model.fleet_costs(work, devices)) for devices in DEVICES]
        attack = model.attack_costs(found.attack, shadows)
        whole = model.total((*model.fleet_costs(work, 1), *attack))
        columns = [*walls, _wall(attack)]
        times = "".join(f"{progress.duration(wall):>14}" for wall in columns)
        rows.append(
            f"{shadows:8,}{times}{size(attack[-1].memory):>12}{size(whole.stored.bytes):>12}{whole.stored.files:>12,}"
        )
    return "\n".join(rows)


def by_batch(config: Config, found: Estimate) -> list[str]:
    """A line that names the sampling batch that draws most images a second, where sizes were tried and it is another
    than the config's for every family."""
    tried = list(dict.fromkeys(work.rates.batches for work in found.packs if work.rates.batches))
    best = [max(batches, key=lambda batch: batch.rate) for batches in tried]
    if not best or any(batch.images == config.pile.batch_size for batch in best):
        return []
    images = min(batch.images for batch in best)
    now = tried[0][0]
    return [
        "",
        f"sampling: a batch of {now.images} draws {now.rate:,.0f} images/s, one of {best[0].images} draws "
        f"{best[0].rate:,.0f}: --config.pile.batch_size={images} before the first command (it draws other images)",
    ]


def _wall(costs: Sequence[Cost]) -> float:
    return sum((cost.took for cost in costs), Took()).wall


def of_fleet(config: Config, measured: Sequence[PackWork], shadows: int) -> tuple[PackWork, ...]:
    """The packs of a fleet of another size, charged as those that were measured."""
    names = len(families.family_names(config))
    asked = max(work.rates.shadows for work in measured)
    own = families.packs(config, 0, config.fleet.shadows, asked)
    known = {families.family_of(config, pack[0]): work for pack, work in zip(own, measured, strict=True)}
    if len(known) < names:
        raise ValueError("a family has no pack that was measured")
    return tuple(known[families.family_of(config, pack[0])] for pack in families.packs(config, 0, shadows, asked))

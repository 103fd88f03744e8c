"""The fleet of a run, seen from outside: planned, grown, estimated, carried out by one executor or another."""

from __future__ import annotations

import contextlib
import importlib.util
import math
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import jax
import numpy as np

from shadow import files
from shadow.config import Config, DenoiserConfig
from shadow.data import manifest as manifests
from shadow.denoisers.build import build
from shadow.errors import UserError
from shadow.fleet import autotune, compile_cache, families, local, members, progress, reuse, slurm, worker
from shadow.fleet import plan as plans
from shadow.fleet.packs import Fleet, read_membership
from shadow.fleet.plan import Plan, dev_ids, pile_steps, pool_ids
from shadow.training import checkpoint

EXECUTORS = ("local", "slurm")
_COPIES = 4  # of the parameters in a checkpoint: themselves, their average, and two moments of Adam
_ARRAY, _ROW, _BLOCK = 1024, 512, 4096  # bytes: orbax's own of an array, of metrics.jsonl, the least a file takes


def plan(workdir: Path, data_root: Path, config: Config) -> None:
    """Checks the data and writes manifest, membership and plan, or checks those that are there and lets them grow.

    Raises UserError on data that are wrong or have changed. The plan is written last.
    """
    path = workdir / "plan.json"
    found = manifests.read(workdir / "manifest.csv", data_root) if path.exists() else None
    if found is not None:
        manifests.verify(found)
        manifests.verify_patients(found, config.data.patients)
        old = plans.read_plan(path)
        Fleet(workdir, data_root, config).check_members()
        if old.shadows >= config.fleet.shadows:
            return
        drawn = members.draw(found, config, plans.with_unit(old.unit, config))
        before = read_membership(workdir / "membership.npy", old.shadows, len(pool_ids(found, config)))
        if not np.array_equal(drawn[: old.shadows], before):
            raise UserError(f"{workdir / 'membership.npy'} is not what its seed draws; use a new workdir")
        grown = plans.grow(old, config, found, drawn)
    else:
        data = config.data
        found = manifests.build(data_root, data.edition, data.patients, data.group_distance, data.roles)
        if not dev_ids(found):
            raise UserError(
                f"{data_root}: no real slices but candidates: add a folder 'not_used' or 'reference', or do without "
                "shadows (--config.fleet.shadows=0)"
            )
        choice, settled = members.settled_unit(found, config)
        drawn = members.draw(found, config, settled)
        found.write(workdir / "manifest.csv")
        layout = _layout(workdir, config, len(pool_ids(found, config)))
        grown = plans.make_plan(config, found, drawn, *layout, choice)
    files.write_array(workdir / "membership.npy", drawn)
    grown.write(path)


def _layout(workdir: Path, config: Config, images: int) -> tuple[int, int, int]:
    """(shadows a pack, workers, threads a worker), as the config says or as measured here."""
    fleet = config.fleet
    if isinstance(fleet.pack, int):
        return fleet.pack, fleet.workers, fleet.threads
    print("fleet.pack = auto: timing packs on this machine", flush=True)
    timings = autotune.measure(workdir, config, images)
    print(autotune.describe(timings), flush=True)
    return timings[0].pack, timings[0].workers, timings[0].threads


def parameters(denoiser: DenoiserConfig, size: int) -> tuple[int, int]:
    """Numbers in one network, and the arrays that hold them."""
    shapes = jax.tree.leaves(jax.eval_shape(lambda: build(denoiser, size).init(jax.random.key(0))))
    return sum(math.prod(leaf.shape) for leaf in shapes), len(shapes)


def disk_bytes(config: Config, shadows: Sequence[int]) -> int:
    """What these shadows take at most: checkpoints kept and the newest two, piles, and their PNG files."""
    counts = Counter(families.family_of(config, k) for k in shadows)
    return sum(count * _shadow_bytes(families.config_of(config, family)) for family, count in counts.items())


def _shadow_bytes(config: Config) -> int:
    """What a shadow takes, by the config of its family."""
    steps, size = pile_steps(config), config.data.resolution
    checkpoints = len({*steps, config.train.steps}) + 2
    numbers, arrays = parameters(config.denoiser, size)
    checkpoint_bytes = _COPIES * (4 * numbers + _ARRAY * arrays) + _BLOCK
    pile = config.pile.count * (size**2 + (max(2 * size**2, _BLOCK) if config.pile.png else 0)) + _BLOCK
    rows = config.train.steps // config.train.log_every + config.train.steps // config.train.checkpoint_every + 2
    return checkpoints * checkpoint_bytes + len(steps) * pile + _ROW * rows


def carry_out(
    workdir: Path, data_root: Path, config: Config, command: str, executor: str, others: Sequence[Path]
) -> None:
    """Has all missing packs trained (`command` "train") and their piles drawn ("sample"), after those that the runs
    in `others` have are taken over.

    Raises UserError where packs have failed, naming the first and its reason, or where they do not fit on the disk.
    """
    if config.fleet.tensorboard and importlib.util.find_spec("tensorboardX") is None:
        raise UserError("fleet.tensorboard needs a package: pip install 'shadowprint[tensorboard]'")
    fleet = Fleet(workdir, data_root, config)
    if not data_root.is_dir():
        raise UserError(f"{data_root}: no such folder; say with --config.data.root where the data are")
    if fleet.plan.shadows != config.fleet.shadows:
        raise UserError(
            f"{workdir / 'plan.json'} has {fleet.plan.shadows} shadows, fleet.shadows = {config.fleet.shadows}: run "
            "`launch.py plan`"
        )
    for other in others:
        whole, trained = reuse.adopt(fleet, other)
        print(f"reuse: {len(whole)} packs taken from {other}, of {len(trained)} more their checkpoints", flush=True)
    missing = fleet.missing(command)
    if missing:
        began = time.time()
        _check_disk(fleet, missing)
        with progress.Board(command, lambda: fleet.states(command)) as board, stoppable():
            if executor == "slurm":
                slurm.run(workdir, command, missing, config.fleet.sbatch, board.show)
            else:
                _locally(fleet, command, len(missing), board, began)
        _check_all_done(fleet, command, began, executor)
    if config.pile.png and command == "sample":
        fleet.export()
    fleet.sweep()


def _locally(fleet: Fleet, command: str, packs: int, board: progress.Board, began: float) -> None:
    measured = fleet.config.fleet.pack == "auto"
    workers = min(fleet.plan.workers if measured else fleet.config.fleet.workers, packs)
    added = local.environments(workers, fleet.plan.devices)[:packs]
    arguments = [command, f"--workdir={fleet.workdir}"]
    try:
        local.run(arguments, added, board.show, lambda: _marks(fleet), worker.stopping, began)
    finally:
        compile_cache.sweep(fleet.workdir)  # of workers that were killed


def _marks(fleet: Fleet) -> list[object]:
    """What changes whenever work is done that is not lost when a worker dies."""
    folders = [folder for pack in range(len(fleet.plan.packs)) for folder in fleet.folders(pack)]
    drawn = _read_all((fleet.workdir / "shadows").glob("*/piles/.*.part.json"))
    return [*(checkpoint.steps(folder) for folder in folders), drawn, fleet.missing()]


def _read_all(paths: Iterable[Path]) -> list[bytes]:
    """Contents of the files; of those that others remove meanwhile, nothing."""
    found = []
    for path in sorted(paths):
        with contextlib.suppress(FileNotFoundError):
            found.append(path.read_bytes())
    return found


def _check_disk(fleet: Fleet, missing: Sequence[int]) -> None:
    """Prints what the missing packs will take, and refuses to begin where that is not free."""
    shadows = [k for pack in missing for k in fleet.plan.packs[pack].shadows]
    wanted = disk_bytes(fleet.config, shadows)
    there = sum(f.stat().st_size for p in missing for d in fleet.folders(p) for f in d.rglob("*") if f.is_file())
    free = shutil.disk_usage(fleet.workdir).free
    said = f"disk: {len(shadows)} shadows take at most {size(wanted)}; {size(free)} are free"
    if wanted - there > free:
        raise UserError(f"{said}: make room in {fleet.workdir} or name a --workdir on another disk")
    print(said, file=sys.stderr, flush=True)


def size(count: float) -> str:
    """Bytes for people: '1.2 GiB'."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def _check_all_done(fleet: Fleet, command: str, began: float, executor: str) -> None:
    missing = fleet.missing(command)
    failed = {pack: reason for pack in missing if (reason := fleet.failed_since(pack, began))}
    if failed:
        first = next(iter(failed))
        more = f" (and {len(failed) - 1} more: `launch.py status` lists them)" if len(failed) > 1 else ""
        raise UserError(f"{len(failed)} of {len(fleet.plan.packs)} packs failed: pack {first}: {failed[first]}{more}")
    if missing:
        where = f"; what they said is in {fleet.workdir / 'slurm' / 'logs'}" if executor == "slurm" else ""
        raise UserError(f"{len(missing)} packs are not done (the first is {missing[0]}): run the same again{where}")


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """SIGTERM is caught within: see `worker.stopping`."""
    before = signal.getsignal(signal.SIGTERM)
    worker.catch_sigterm()
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def make_challenge(workdir: Path, config: Config) -> None:
    """WORKDIR/challenge, made by one worker."""
    path, name = workdir / ".challenge.json", "challenge"

    def states() -> list[progress.WorkState]:
        row = progress.read(path)
        if row is None:
            return [progress.WorkState(name, "running")]
        share = row["done"] / row["total"] if row["total"] else 0.0
        fields = {key: row[key] for key in ("stage", "done", "total", "rate", "loss")}
        return [progress.WorkState(name, "running", share, where=f"{row['host']}:{row['pid']}", **fields)]

    def marks() -> list[object]:
        target = workdir / ".challenge.part" / "sealed" / "target"
        return [checkpoint.steps(target), *_read_all(target.glob("piles/.*.part.json"))]

    added = local.environments(1, 1)[:1]
    with progress.Board(name, states, "challenges") as board, stoppable():
        try:
            local.run([name, f"--workdir={workdir}"], added, board.show, marks, worker.stopping, time.time())
        finally:
            path.unlink(missing_ok=True)
            compile_cache.sweep(workdir)


def describe(workdir: Path, data_root: Path, config: Config) -> list[str]:
    """Lines of `launch.py status` about the fleet: a count, and every pack that is not done."""
    if not (workdir / "plan.json").exists():
        return ["plan       not yet"]
    fleet = Fleet(workdir, data_root, config)
    states = fleet.states(probe=True)
    queued = slurm.states(workdir)
    lines = [
        f"plan       done ({_shape(fleet.plan)})",
        f"unit       {members.unit_line(fleet.plan.unit, config)}",
        f"packs      {progress.counts(states, 'packs')}",
    ]
    for pack, state in enumerate(states):
        if state.state != "done":
            in_queue = f"; SLURM: {queued[pack]}" if pack in queued else ""
            lines.append(f"  {state.name}: {state.line}{in_queue}")
    return lines


def _shape(plan: Plan) -> str:
    return f"{plan.shadows} shadows in {len(plan.packs)} packs, {plan.threads} threads a worker"

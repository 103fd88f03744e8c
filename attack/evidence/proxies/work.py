"""All proxies of a run: which packs there are, what is missing, and the processes that train it.

WORKDIR/signals/proxies/KEY.npy holds the losses of one pack, under a hash of everything they depend on: a second run
trains what is new, and a change of an option leaves what others may come back to.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import filelock
import numpy as np

from attack.evidence.attack_data import AttackData, Pile
from attack.evidence.proxies import packs
from shadow.errors import Stopped
from shadow.fleet import compile_cache, local, orchestrate, progress, worker
from shadow.fleet import plan as plans
from shadow.fleet.locks import Lock
from shadow.training import checkpoint


@dataclass(frozen=True)
class Pack:
    """Piles whose proxies are trained together."""

    piles: tuple[Pile, ...]
    key: str


def grouped(piles: Sequence[Pile], size: int) -> list[tuple[Pile, ...]]:
    """Piles that share a pack: those of `size` shadows in a row, of one training step and one number of images; a
    target's pile alone. A shadow that comes later changes its own pack only."""
    groups: dict[object, list[Pile]] = {}
    for pile in piles:
        of = (pile.step, pile.count, pile.shadow // size) if pile.shadow >= 0 else pile.name
        groups.setdefault(of, []).append(pile)
    return [tuple(group) for group in groups.values()]


def _levels(pile: Pile) -> np.ndarray:
    """float32 [image, side, side], which the key of a pack is of."""
    return np.asarray(pile.read(), np.float32)


class Proxies:
    """The proxies of all piles of a attack_data, asked about all its images."""

    def __init__(self, attack_data: AttackData) -> None:
        self.attack_data, self.config = attack_data, attack_data.config.attack.proxy
        self.root = attack_data.workdir / "signals" / "proxies"
        self.plan = plans.read_plan(attack_data.workdir / "plan.json")
        seed, threads = attack_data.config.attack.seed, self.plan.threads
        self.packs = [
            Pack(group, packs.key([_levels(pile) for pile in group], attack_data.images, self.config, seed, threads))
            for group in grouped(attack_data.piles, self.config.pack)
        ]

    def values(self) -> np.ndarray:
        """-log loss of every pile's proxy about every image, float32 [pile, image, time], in their order.
        All must have been trained."""
        found: dict[str, np.ndarray] = {}
        for pack in self.packs:
            losses = self._result(pack)
            assert losses is not None, f"{pack.key} is not trained"
            found |= {pile.name: own for pile, own in zip(pack.piles, losses, strict=True)}
        return np.stack([found[pile.name] for pile in self.attack_data.piles])

    def missing(self) -> list[Pack]:
        return [pack for pack in self.packs if self._result(pack) is None]

    def work(self, stop: Callable[[], bool]) -> None:
        """In a worker: does packs until all are done, and waits for those that others hold, should these die. Raises
        Stopped, with the work saved, when `stop()` says so."""
        self.root.mkdir(parents=True, exist_ok=True)
        left = self.missing()
        while left:
            worked = False
            for pack in left:
                if stop():
                    raise Stopped("stopped between two packs of proxies")
                worked |= self._try(pack, stop)
            left = self.missing()
            if left and not worked:
                time.sleep(0.5)

    def _try(self, pack: Pack, stop: Callable[[], bool]) -> bool:
        """False where another process holds the pack."""
        try:
            with Lock(self._lock(pack), timeout=0).acquire():
                if self._result(pack) is None:
                    self._do(pack, stop)
        except filelock.Timeout:
            return False
        return True

    def _do(self, pack: Pack, stop: Callable[[], bool]) -> None:
        report = progress.Reporter(self._report(pack))
        report.begin()
        try:
            piles, seed = np.stack([_levels(pile) for pile in pack.piles]), self.attack_data.config.attack.seed
            folder, show = self.root / pack.key, report.stage("train")
            values = packs.measure(folder, piles, self.attack_data.images, self.config, seed, show, stop)
            packs.write(self.root, pack.key, values)
        finally:
            report.end()

    def states(self) -> list[progress.WorkState]:
        """What each pack is doing."""
        return [self._state(pack) for pack in self.packs]

    def _state(self, pack: Pack) -> progress.WorkState:
        name = f"proxies of {pack.piles[0].name}" + (f" to {pack.piles[-1].name}" if len(pack.piles) > 1 else "")
        weight = float(len(pack.piles))
        if packs.result_path(self.root, pack.key).exists():
            return progress.WorkState(name, "done", 1.0, weight=weight)
        row = progress.read(self._report(pack))
        if row is None:
            return progress.WorkState(name, "waiting", weight=weight)
        share = row["done"] / row["total"] if row["total"] else 0.0
        fields = {field: row[field] for field in ("stage", "done", "total", "rate", "loss")}
        where = f"{row['host']}:{row['pid']}"
        return progress.WorkState(name, "running", share, where=where, weight=weight, **fields)

    def marks(self) -> list[object]:
        """What changes whenever work is done that is not lost when a worker dies."""
        saved = [checkpoint.steps(self.root / pack.key / "0") for pack in self.packs]
        return [*saved, [packs.result_path(self.root, pack.key).exists() for pack in self.packs]]

    def sweep(self) -> None:
        """Removes locks and reports of packs that are done."""
        for pack in self.packs:
            if packs.result_path(self.root, pack.key).exists():
                self._lock(pack).unlink(missing_ok=True)
                self._report(pack).unlink(missing_ok=True)

    def _result(self, pack: Pack) -> np.ndarray | None:
        shape = (len(pack.piles), len(self.attack_data.images), len(self.config.times))
        return packs.read(self.root, pack.key, shape)

    def _lock(self, pack: Pack) -> Path:
        return self.root / f".{pack.key}.lock"

    def _report(self, pack: Pack) -> Path:
        return self.root / f".{pack.key}.json"


def train(proxies: Proxies) -> None:
    """Has the missing packs trained by workers on this machine, with a line about the cost before and a board of rate
    and time left meanwhile. Raises Stopped, and UserError with the line of a worker that fails."""
    missing = proxies.missing()
    if not missing:
        return
    print(cost(proxies, missing), flush=True)
    proxies.root.mkdir(parents=True, exist_ok=True)
    for pack in missing:  # a file that cannot be used has been named
        packs.result_path(proxies.root, pack.key).unlink(missing_ok=True)
    fleet, workdir, began = proxies.attack_data.config.fleet, proxies.attack_data.workdir, time.time()
    workers = min(proxies.plan.workers if fleet.pack == "auto" else fleet.workers, len(missing))
    added = local.environments(workers, 1)[: len(missing)]
    with progress.Board("proxies", proxies.states) as board, orchestrate.stoppable():
        try:
            arguments = ["proxies", f"--workdir={workdir}"]
            local.run(arguments, added, board.show, proxies.marks, worker.stopping, began)
        finally:
            compile_cache.sweep(workdir)  # of workers that were killed
    proxies.sweep()


def cost(proxies: Proxies, missing: Sequence[Pack]) -> str:
    """What is to be trained, in one line."""
    config, size = proxies.config, proxies.attack_data.images.shape[-1]
    count = sum(len(pack.piles) for pack in missing)
    return (
        f"proxies: {count} diffusion models of {orchestrate.parameters(config.denoiser, size)[0]:,} parameters are to "
        f"be trained, one on each pile, in {config.steps:,} steps of {config.batch_size} images: the costly part of "
        "the signal `proxy`"
    )

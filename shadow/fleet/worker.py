"""What a worker process does: the same commands as `launch.py`'s, in this process, without the floor above."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

from shadow import workdir
from shadow.config import Config
from shadow.data import challenge, editions, subset_challenge
from shadow.errors import UserError
from shadow.fleet import compile_cache, local, progress
from shadow.fleet.local import is_worker
from shadow.fleet.locks import patient_lock
from shadow.fleet.packs import Fleet
from shadow.training import team

_stopping = False


def catch_sigterm() -> None:
    """From now on SIGTERM is no end but a wish: `stopping` says so, and the work is saved and ended when it suits."""

    def note(number: int, frame: object) -> None:
        global _stopping
        _stopping = True

    signal.signal(signal.SIGTERM, note)


def stopping() -> bool:
    """Was this process asked to end?"""
    return _stopping


class Worker:
    """One process of a run, started by the run or by whoever gives the packs out.

    `pack` None: whatever pack is free, until all are done. hosts: how processes find each other that spread the batch
    of every pack over all their devices (`team.join`); empty: this one works alone.
    """

    def __init__(self, folder: Path, config: Config, pack: int | None, hosts: str = "") -> None:
        self.folder, self.config, self.pack, self.hosts = folder, config, pack, hosts
        if is_worker():  # its parent has settled the config
            local.die_with_parent()
        elif not workdir.is_settled(folder, config):
            asked = "--multihost" if hosts else f"--pack={pack}"
            raise UserError(f"{asked}: {folder} is no run with this config: run `launch.py plan` with it first")
        catch_sigterm()

    @property
    def data_root(self) -> Path:
        """The folder of the data: the user's, or the run's own challenge."""
        return Path(self.config.data.root) if self.config.data.root else self.folder / "challenge"

    def train(self) -> None:
        """Trains missing packs."""
        self._packs("train")

    def sample(self) -> None:
        """Trains missing packs and draws their piles."""
        self._packs("sample")

    def _packs(self, command: str) -> None:
        fleet = Fleet(self.folder, self.data_root, self.config)
        local.fix_threads(fleet.plan.threads)
        with compile_cache.cache(self.folder) as share:

            def stop() -> bool:  # asked at every step: time to share, too
                share()
                return stopping()

            if self.hosts:
                self._together(fleet, command, stop)
            elif self.pack is None:
                fleet.work(command, local.since(), stop)
            elif not fleet.run(self.pack, command, stop, echo=True):
                raise UserError(f"pack {self.pack} is being done by another process: run again when it has ended")

    def _together(self, fleet: Fleet, command: str, stop: Callable[[], bool]) -> None:
        """This process leads, or follows the one that does."""
        team.join(self.hosts)
        team.check_devices(fleet.plan.devices)
        if not team.leads():
            fleet.follow()
            return
        fleet.hosts, failure = True, None
        try:
            for pack in fleet.missing(command) if self.pack is None else [self.pack]:
                if not fleet.run(pack, command, stop, echo=True):
                    raise UserError(f"pack {pack} is being done by another process: run again when it has ended")
        except BaseException as error:
            failure = error
            raise
        finally:
            team.end(failure)

    def challenge(self) -> None:
        """Makes the run's own challenge."""
        local.fix_threads(self.config.challenge.threads)
        report = progress.Reporter(self.folder / ".challenge.json")
        busy = f"{self.folder} is being worked on by another process"
        with patient_lock(self.folder / ".challenge.lock", busy), compile_cache.cache(self.folder):
            whose = self.config.data.edition == editions.SUBSETS
            make = subset_challenge.make if whose else challenge.make
            make(self.folder, self.config, report.stage, stopping)
            report.end()

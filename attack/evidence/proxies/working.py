"""What a worker process does that `work.train` has started (or that has joined it, on the same folder)."""

from __future__ import annotations

from pathlib import Path

from absl import logging

from attack.evidence import measuring
from attack.evidence.proxies.work import Proxies
from shadow import fleet
from shadow.config import Config
from shadow.data import manifest
from shadow.fleet import compile_cache, local, worker


def work(workdir: Path, config: Config, data_root: Path) -> None:
    """Trains packs of proxies until none is missing. Raises Stopped, with the work saved, on SIGTERM."""
    found = manifest.read(workdir / "manifest.csv", data_root)
    logging.set_verbosity(logging.ERROR)  # what there is to say about the piles, the run has said
    attack_data = measuring.attack_data_of(workdir, found, config, fleet.present(workdir, config))
    logging.set_verbosity(logging.WARNING)
    proxies = Proxies(attack_data)
    local.fix_threads(proxies.plan.threads)
    with compile_cache.cache(workdir) as share:

        def stop() -> bool:  # asked at every step: time to share, too
            share()
            return worker.stopping()

        proxies.work(stop)

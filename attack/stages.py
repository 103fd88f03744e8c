"""The tables of stages, one for each question: what each reads, what it makes, and which function does it.

The fleet comes before (`shadow.fleet`): it makes `membership.npy` and the piles of the shadows.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path

import threadpoolctl

from attack import results
from shadow.config import Config
from shadow.data.manifest import Manifest

DOCUMENTS = ("fit.json", "evaluation.json", "attribution.json")  # typed results, see `attack.results`


@dataclass(frozen=True)
class Stage:
    """A stage of a run: a function of files below the workdir to others.

    stamp: the folder of its stamp. reads: what it rests on, beside the manifest and the config. makes: the files
    without which it is not done, stamp or no stamp. function: "module:name", imported when the stage is to be done,
    since SciPy and matplotlib take as long as the other commands need; it is called with (workdir, manifest, config).
    one_thread: whether BLAS gets one thread, since the stage's systems are small (docs/decisions.md).
    """

    name: str
    stamp: str
    reads: tuple[str, ...]
    makes: tuple[str, ...]
    function: str
    one_thread: bool = False

    def made(self, folder: Path) -> bool:
        """Is all there that the stage makes, and of the schema that the next stage reads?"""
        every = [folder / name for name in self.makes]
        return all(results.is_current(path) if path.name in DOCUMENTS else path.exists() for path in every)

    def carry_out(self, folder: Path, manifest: Manifest, config: Config) -> None:
        """Does the work; stamps are the caller's."""
        module, name = self.function.split(":")
        work = getattr(importlib.import_module(module), name)
        with threadpoolctl.threadpool_limits(1 if self.one_thread else None, user_api="blas"):
            work(folder, manifest, config)


STAGES = (
    Stage(
        *("signals", "signals"),
        reads=("shadows/*/piles/*.npy",),
        makes=("signals/values.npy", "signals/names.json"),
        function="attack.evidence.measuring:measure",
    ),
    Stage(
        *("fit", "attack"),
        reads=("signals/values.npy", "signals/names.json", "membership.npy"),
        makes=("attack/model.json", "attack/heldout.npz", "attack/fit.json"),
        function="attack.inference.fitting:fit",
        one_thread=True,
    ),
    Stage(
        *("predict", "attack"),
        reads=("signals/values.npy", "signals/names.json", "membership.npy", "attack/heldout.npz", "attack/fit.json"),
        makes=("predictions.csv", "submission.csv", "attack/evaluation.json"),
        function="attack.decision.predicting:predict",
        one_thread=True,
    ),
    Stage(
        *("report", "attack"),
        reads=("predictions.csv", "attack/evaluation.json", "attack/heldout.npz", "config.json", "sealed/truth.csv"),
        makes=("report.html",),
        function="attack.report.write:write_report",
    ),
)
ATTRIBUTION = (
    Stage(
        *("signals", "signals"),
        reads=("shadows/*/piles/*.npy", "membership.npy"),
        makes=("signals/by_subset.npz", "signals/names.json"),
        function="attack.evidence.by_subset:measure",
    ),
    Stage(
        *("predict", "attack"),
        reads=("signals/by_subset.npz", "signals/names.json"),
        makes=("predictions.csv", "piles.csv", "submission.csv", "attack/attribution.json"),
        function="attack.decision.attribution.predicting:predict",
        one_thread=True,
    ),
    Stage(
        *("report", "attack"),
        reads=("predictions.csv", "attack/attribution.json", "config.json", "sealed/truth.csv"),
        makes=("report.html",),
        function="attack.report.attribution.write:write_report",
    ),
)

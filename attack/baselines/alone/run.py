"""The commands of a run without shadows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np

from attack.baselines import BASELINES
from attack.baselines.alone import statements
from attack.baselines.alone.baseline_figures import BaselineFigures
from attack.pipeline import Run
from attack.report.progress import Step
from attack.stages import Stage
from shadow import workdir
from shadow.config import Config
from shadow.data import manifest as manifests
from shadow.errors import UserError

LEAST_SIDE = 7  # pixels: the window of SSIM
STAGES = (
    Stage(
        *("predict", "attack"),
        reads=(),
        makes=("scores.csv", "predictions.csv", "submission.csv", "attack/baselines.json"),
        function="attack.baselines.alone.scoring:predict",
        one_thread=True,
    ),
    Stage(
        *("report", "attack"),
        reads=("predictions.csv", "submission.csv", "attack/baselines.json"),
        makes=("report.html",),
        function="attack.baselines.alone.report:write_report",
    ),
)


class QuickRun(Run):
    """As `attack.pipeline.Run`, but no fleet: `train`, `sample`, `signals`, `images`, `fit` are refused."""

    stages = STAGES
    commands = ("plan", "predict", "report")

    def __init__(
        self,
        folder: Path,
        config: Config,
        executor: str = "local",
        reuse: Sequence[Path] = (),
        settle: bool = True,
    ) -> None:
        if executor != "local" or reuse:
            raise UserError("--executor and --reuse are about shadows, and fleet.shadows = 0: leave them out")
        if config.data.resolution < LEAST_SIDE:
            raise UserError(f"data.resolution = {config.data.resolution}: SSIM needs {LEAST_SIDE} pixels or more")
        if config.attack.baseline and config.attack.baseline not in BASELINES:
            known = ", ".join(BASELINES)
            raise UserError(f"attack.baseline = {config.attack.baseline!r} is not known; known are {known}")
        super().__init__(folder, config, executor, reuse, settle)

    def plan(self) -> None:
        """Checks the data and writes the manifest. Nothing is trained on them, so that they may change."""
        data, path = self.config.data, self.folder / "manifest.csv"
        with self._alone():
            found = manifests.build(self.data_root, data.edition, data.patients, data.group_distance, data.roles)
            if path.exists():
                before = manifests.read(path, self.data_root)
                if all(np.array_equal(getattr(before, name), getattr(found, name)) for name in manifests.HEADER):
                    return
            for stage in self.stages:
                workdir.unstamp(self.folder / stage.stamp, stage.name)
            found.write(path)

    def train(self) -> None:
        """Refused: there are no shadows."""
        self._refuse("train")

    def sample(self) -> None:
        """Refused: there are no shadows."""
        self._refuse("sample")

    def signals(self) -> None:
        """Refused: there are no shadows."""
        self._refuse("signals")

    def images(self, folder: Path) -> None:
        """Refused: there are no shadows."""
        self._refuse("images")

    def fit(self) -> None:
        """Refused: there are no shadows."""
        self._refuse("fit")

    def _refuse(self, command: str) -> NoReturn:
        raise UserError(f"{command}: fleet.shadows = 0 means baselines without shadows; give --config.fleet.shadows=8")

    def _describe(self) -> list[str]:
        return [*(step.line for step in self._fleet_steps()), "shadows    none: fleet.shadows = 0, baselines only"]

    def _fleet_steps(self) -> list[Step]:
        return [Step("plan", (self.folder / "manifest.csv").exists())]

    def _check_inputs(self, first: bool) -> None:
        self._manifest()

    def _is_current(self) -> bool:
        return True

    def _headline(self) -> str:
        return statements.headline(BaselineFigures.read(self.folder / "attack" / "baselines.json"))

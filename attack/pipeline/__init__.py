"""The stages of a run in order, each skipped when it is done."""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
from absl import logging

from attack.decision import submission
from attack.evidence import layout, measuring
from attack.evidence.embeddings import builtin, supplied
from attack.inference import reference_choice, store
from attack.report import formats, progress, wording
from attack.report.progress import Step
from attack.results import Evaluation
from attack.stages import STAGES, Stage
from shadow import fleet, hub, workdir
from shadow.config import Config
from shadow.data import manifest
from shadow.data.manifest import Manifest
from shadow.errors import UserError
from shadow.fleet import orchestrate
from shadow.fleet import plan as plans
from shadow.fleet.locks import patient_lock
from shadow.validate import validate


class Run:
    """One run: its folder and its config. Every method without an underscore is a command of `launch.py`.

    executor: who trains, "local" or "slurm"; reuse: folders of runs whose packs are taken where they are the same.

    settle: whether the config is written down (not by a command that only looks). Raises UserError when the folder was
    started with other training fields.
    """

    stages: tuple[Stage, ...] = STAGES
    commands: tuple[str, ...] = ("plan", "sample", "signals", "fit", "predict", "report")  # of `run`, in order
    scored: bool = True  # whether `score` knows its predictions

    def __init__(
        self,
        folder: Path,
        config: Config,
        executor: str = "local",
        reuse: Sequence[Path] = (),
        settle: bool = True,
    ) -> None:
        plans.check_hashed()  # what is not registered is better found now than after training
        submission.check_formats()
        validate(config)
        submission.of_config(config)  # refused here, or never
        layout.check(builtin.names(config.attack), config.attack.signals, config.data.resolution)
        self.folder, self.config, self.executor, self.reuse = folder, config, executor, reuse
        if folder.exists() and not folder.is_dir():
            raise UserError(f"--workdir={folder} is a file: name a folder")
        jax.config.update("jax_platforms", "cpu")  # whoever trains needs all the memory of a GPU
        if settle and not workdir.is_settled(folder, config):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # what lies in it may reproduce slices
            with self._alone():
                workdir.settle(folder, config)

    @property
    def data_root(self) -> Path:
        """The folder of the data: the user's, or the run's own challenge."""
        return Path(self.config.data.root) if self.config.data.root else self.folder / "challenge"

    def everything(self) -> None:
        """Does every stage that is not done, and says the verdict."""
        before = _newest(self.folder)
        if not self.config.data.root:
            self.challenge()
        for command in self.commands:
            getattr(self, command)()
        if _newest(self.folder) == before:
            print("everything is done; nothing was changed")
        print(self._headline())
        print(f"report: {self.folder / 'report.html'}")

    def challenge(self) -> None:
        """Makes the run's own challenge."""
        if self.config.data.root:
            raise UserError("data.root is given: leave it empty to make a challenge in the workdir")
        if (self.folder / "challenge").is_dir():
            return
        orchestrate.make_challenge(self.folder, self.config)

    def plan(self) -> None:
        """Checks the data, draws the memberships and plans the fleet."""
        with self._alone():
            orchestrate.plan(self.folder, self.data_root, self.config)

    def train(self) -> None:
        """Trains missing packs."""
        self._fleet("train")

    def sample(self) -> None:
        """Trains what is not trained yet, too."""
        self._fleet("sample")

    def _fleet(self, command: str) -> None:
        orchestrate.carry_out(self.folder, self.data_root, self.config, command, self.executor, self.reuse)

    def status(self, flags: str = "") -> None:
        """Prints how far the run is, where its results are, and the next command, which is to have these flags."""
        if not (self.folder / "config.json").exists():
            print(f"{self.folder} holds no run yet")
        challenge = Step("challenge", (self.folder / "challenge").is_dir())
        stages = [Step(stage.name, self._done(stage.name), self._results(stage)) for stage in self.stages]
        print("challenge  given" if self.config.data.root else challenge.line)
        for line in [*self._describe(), *(stage.line for stage in stages)]:
            print(line)
        steps = [*([] if self.config.data.root else [challenge]), *self._fleet_steps(), *stages]
        print(progress.progress(steps))
        for line in progress.following(
            self.folder, steps, flags or shlex.join([f"--workdir={self.folder}"]), self.scored
        ):
            print(line)

    def _results(self, stage: Stage) -> tuple[Path, ...]:
        """The files of a stage that are for people: those at the top of the workdir."""
        return tuple(self.folder / name for name in stage.makes if "/" not in name)

    def _fleet_steps(self) -> list[Step]:
        planned = (self.folder / "plan.json").exists()
        missing = not planned or bool(fleet.Fleet(self.folder, self.data_root, self.config).missing())
        return [Step("plan", planned), Step("sample", not missing)]

    def _describe(self) -> list[str]:
        return orchestrate.describe(self.folder, self.data_root, self.config)

    def signals(self) -> None:
        """Measures every pile about every slice."""
        self._stage("signals")

    def images(self, folder: Path) -> None:
        """Every image that is measured as a PNG file, for an encoder of the user's own (attack.embeddings_from)."""
        hub.check_new(folder)
        with self._alone():
            self._check_inputs(first=True)
            shadows = measuring.checked_shadows(self.folder, self.config)
            count = supplied.write_images(
                measuring.attack_data_of(self.folder, self._manifest(), self.config, shadows), folder
            )
        print(f"{folder}: {count} images; give their vectors, by the ids of images.csv, with {supplied.FIELD}")

    def fit(self) -> None:
        """Fits the attack on the shadows."""
        self._stage("fit")

    def predict(self) -> None:
        """Scores the candidates and decides."""
        self._stage("predict")

    def report(self) -> None:
        """Writes report.html."""
        self._stage("report")

    def _stage(self, name: str) -> None:
        """Does the stage where it is not done. Its old stamp and those of later stages go before the work and the new
        one comes after, so that files of two configs, or of two fleets, never pass for those of one. Raises UserError,
        and leaves everything as it is, where the stage cannot be done yet."""
        with self._alone():
            if self._done(name):
                return
            before, (stage, *later) = self._around(name)
            if before:
                self._need(name, before[-1].name)
            self._check_inputs(first=not before)
            for one in (stage, *later):
                workdir.unstamp(self.folder / one.stamp, one.name)
            stage.carry_out(self.folder, self._manifest(), self.config)
            workdir.stamp(self.folder / stage.stamp, name, self.config)

    def _done(self, stage: str) -> bool:
        """Is the stage done with this config and these shadows, and every stage before it?"""
        before, (mine, *_) = self._around(stage)
        for one in (*before, mine):
            stamped = workdir.is_done(self.folder / one.stamp, one.name, self.config)
            if not stamped or not one.made(self.folder):
                return False
        return self._is_current()

    def _is_current(self) -> bool:
        """Were the signals measured on the shadows that are there?"""
        here = fleet.present(self.folder, self.config)
        return store.shadows_in(self.folder) == (here, self.config.fleet.shadows)

    def _around(self, name: str) -> tuple[tuple[Stage, ...], tuple[Stage, ...]]:
        """The stages before this one, and this one with those that rest on it."""
        place = [stage.name for stage in self.stages].index(name)
        return self.stages[:place], self.stages[place:]

    def _need(self, stage: str, before: str) -> None:
        if not self._done(before):
            raise UserError(f"{stage}: run `launch.py {before}` with this config first (or `launch.py run`)")

    def candidate_ids(self) -> list[str]:
        """Ids of the candidates, in the order of the manifest."""
        found = self._manifest()
        return found.id[found.rows("unknown")].tolist()

    def submission_format(self) -> submission.Format:
        """How its submission is written."""
        return submission.of_config(self.config)

    def _headline(self) -> str:
        evaluation = Evaluation.read(self.folder / "attack" / "evaluation.json")
        said = wording.verdict(evaluation, evaluation.submission.candidates).sentence
        gone = wording.missing(evaluation)
        return f"{said} Only {gone}." if gone else said

    def _check_inputs(self, first: bool) -> None:
        """UserError where what the stages rest on is not there; `first`: the first of them asks."""
        if first:
            self._check_fleet()
        fleet.Fleet(self.folder, self.data_root, self.config).check_members()

    def _check_fleet(self) -> None:
        """UserError where shadows are missing and the config does not allow that, or where the attack cannot work with
        the others."""
        manifest, asked = self._manifest(), self.config.fleet.shadows
        present = fleet.present(self.folder, self.config)
        missing = sorted(set(range(asked)) - set(present))
        if missing:
            said = f"{len(present)} of {asked} shadows are there (missing: {formats.listed(missing)})"
            if not self.config.attack.allow_missing:
                raise UserError(
                    f"{said}: run `launch.py sample`, or go on without them with --config.attack.allow_missing=true"
                )
            try:
                self._check_references(manifest)
            except UserError as error:
                raise UserError(f"{said}, and without the others the attack cannot work: {error}") from error
            logging.warning("%s: going on without them, as attack.allow_missing says", said)

    def _check_references(self, manifest: Manifest) -> None:
        """UserError where the shadows that are there leave pairs fewer references than they need."""
        member = store.membership_of(self.folder, fleet.present(self.folder, self.config))
        reference_choice.check_enough(member, fleet.pool_ids(manifest, self.config))

    def _manifest(self) -> Manifest:
        path = self.folder / "manifest.csv"
        if not path.exists():
            raise UserError(f"{path} is missing: run `launch.py plan` first")
        return manifest.read(path, self.data_root)

    def _alone(self, name: str = ".lock") -> contextlib.AbstractContextManager[Any]:
        """One process a stage; a killed one's lock is free at once."""
        return patient_lock(self.folder / name, f"{self.folder} is being worked on by another process")


def _newest(folder: Path) -> int:
    """Latest modification of a file below `folder`, in ns; locks, which holding one may touch, do not count."""
    found = (os.path.join(base, name) for base, _, names in os.walk(folder) for name in names)
    return max((os.stat(path).st_mtime_ns for path in found if not path.endswith(".lock")), default=0)

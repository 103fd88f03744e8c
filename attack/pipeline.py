"""The stages of a run in order, each skipped when it is done."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attack import embeddings, fitting, signals, store
from shadow import files, fleet, membership, workdir
from shadow.config import Config, validate
from shadow.data import challenge, manifest
from shadow.errors import UserError

# The folder of a stage's stamp, and the files without which the stage is not done, stamp or no stamp.
STAGES = {
    "signals": ("signals", ("signals/values.npy", "signals/names.json")),
    "fit": ("attack", ("attack/model.json", "attack/heldout.npz", "attack/fit.json")),
    "predict": ("attack", ("predictions.csv", "submission.csv", "attack/evaluation.json")),
    "report": ("attack", ("report.html",)),
}


class Run:
    """One run: its folder and its config. Every method without an underscore is a command of `launch.py`.

    Raises UserError when the folder was started with other training fields.
    """

    def __init__(self, folder: Path, config: Config) -> None:
        validate(config)
        for name in config.attack.embeddings:
            embeddings.check(name)
        for name in config.attack.signals:
            signals.check(name)
        self.folder, self.config = folder, config
        if folder.exists() and not folder.is_dir():
            raise UserError(f"--workdir={folder} is a file: name a folder")
        folder.mkdir(parents=True, exist_ok=True)
        if not fleet.is_worker():
            with self._alone():
                workdir.settle(folder, config)

    @property
    def data_root(self) -> Path:
        return Path(self.config.data.root) if self.config.data.root else self.folder / "challenge"

    def everything(self) -> None:
        before = _newest(self.folder)
        if not self.config.data.root:
            self.challenge()
        self.plan()
        self.sample(-1)
        self.signals()
        self.fit()
        self.predict()
        self.report()
        if _newest(self.folder) == before:
            print("everything is done; nothing was changed")
        print(self._headline())
        print(f"report: {self.folder / 'report.html'}")

    def challenge(self) -> None:
        if self.config.data.root:
            raise UserError("data.root is given: leave it empty to make a challenge in the workdir")
        if (self.folder / "challenge").is_dir():
            return
        if fleet.is_worker():
            fleet.fix_threads(self.config.fleet.workers * self.config.fleet.threads)
            with self._alone(".challenge.lock"):
                challenge.make(self.folder, self.config)
        else:
            fleet.run_workers([self._command("challenge")], 1, "challenge")

    def plan(self) -> None:
        with self._alone():
            if (self.folder / "plan.json").exists():
                found = self._manifest()
                manifest.verify(found)
                manifest.verify_patients(found, self.config.data.patients)
                return
            found = manifest.build(
                self.data_root,
                self.config.data.edition,
                self.config.data.patients,
                self.config.data.group_distance,
            )
            found.write(self.folder / "manifest.csv")
            groups = store.groups_of(found, fleet.dev_ids(found))
            drawn = membership.draw(groups, self.config.fleet.shadows, self.config.membership, self.config.seed)
            membership.warn_of_large_units(groups, self.config.membership, self.config.seed)
            files.write_array(self.folder / "membership.npy", drawn)
            fleet.make_plan(self.config).write(self.folder / "plan.json")

    def train(self, pack: int) -> None:
        self._packs(pack, "train")

    def sample(self, pack: int) -> None:
        self._packs(pack, "sample")

    def _packs(self, pack: int, command: str) -> None:
        """All missing packs in worker processes, or one here. `sample` trains what is not trained yet."""
        plan = fleet.read_plan(self.folder / "plan.json")
        if pack >= 0:
            fleet.fix_threads(plan.threads)
            if not fleet.run_pack(self.folder, self.data_root, self.config, plan, pack, sampling=command == "sample"):
                raise UserError(f"pack {pack} is being done by another process: run again when it has ended")
            return
        missing = [i for i in range(len(plan.packs)) if not fleet.pack_done(self.folder, plan, i)]
        commands = [[*self._command(command), f"--pack={i}"] for i in missing]
        fleet.run_workers(commands, plan.workers, command)

    def status(self) -> None:
        print(f"challenge  {'given' if self.config.data.root else _yes((self.folder / 'challenge').is_dir())}")
        planned = (self.folder / "plan.json").exists()
        print(f"plan       {_yes(planned)}")
        if planned:
            plan = fleet.read_plan(self.folder / "plan.json")
            for i, pack in enumerate(plan.packs):
                print(f"pack {i:<5} {fleet.pack_status(self.folder, plan, i)} (shadows {pack[0]} to {pack[-1]})")
        for stage in STAGES:
            print(f"{stage:10} {_yes(self._done(stage))}")

    def signals(self) -> None:
        with self._stage("signals") as wanted:
            if wanted:
                self._check_fleet()
                store.build(self.folder, self._manifest(), self.config)

    def fit(self) -> None:
        self._attack_stage("fit", "signals", fitting.fit)

    def predict(self) -> None:
        self._attack_stage("predict", "fit", fitting.predict)

    def _attack_stage(self, stage: str, needed: str, work: Any) -> None:
        with self._stage(stage) as wanted:
            if wanted:
                self._need(stage, needed)
                work(self.folder, self._manifest(), self.config)

    def report(self) -> None:
        from attack.report.write import write_report  # matplotlib and jinja2 are needed here only

        with self._stage("report") as wanted:
            if wanted:
                self._need("report", "predict")
                write_report(self.folder, self.config, self.data_root)

    @contextlib.contextmanager
    def _stage(self, stage: str) -> Iterator[bool]:
        """Yields whether the stage has work to do. Its old stamp goes before the work and the new one comes after, so
        that files of two configs never pass for those of one."""
        with self._alone():
            wanted = not self._done(stage)
            folder = self.folder / STAGES[stage][0]
            if wanted:
                workdir.unstamp(folder, stage)
            yield wanted
            if wanted:
                workdir.stamp(folder, stage, self.config)

    def _done(self, stage: str) -> bool:
        folder, made = STAGES[stage]
        stamped = workdir.is_done(self.folder / folder, stage, self.config)
        return stamped and all((self.folder / name).exists() for name in made)

    def _need(self, stage: str, before: str) -> None:
        if not self._done(before):
            raise UserError(f"{stage}: run `launch.py {before}` with this config first (or `launch.py run`)")

    def candidate_ids(self) -> list[str]:
        found = self._manifest()
        return found.id[found.rows("unknown")].tolist()

    def _headline(self) -> str:
        from attack.report.sentence import verdict

        evaluation = json.loads((self.folder / "attack" / "evaluation.json").read_text())
        return verdict(evaluation, evaluation["submission"]["candidates"]).sentence

    def _check_fleet(self) -> None:
        plan = fleet.read_plan(self.folder / "plan.json")
        missing = [k for i, p in enumerate(plan.packs) if not fleet.pack_done(self.folder, plan, i) for k in p]
        if missing:
            raise UserError(
                f"{len(missing)} of {self.config.fleet.shadows} shadows are missing (the first is {missing[0]}): "
                "run `launch.py sample`"
            )

    def _manifest(self) -> manifest.Manifest:
        path = self.folder / "manifest.csv"
        if not path.exists():
            raise UserError(f"{path} is missing: run `launch.py plan` first")
        return manifest.read(path, self.data_root)

    def _alone(self, name: str = ".lock") -> contextlib.AbstractContextManager[Any]:
        """One process a stage; a killed one's lock is free at once."""
        return fleet.patient_lock(self.folder / name, f"{self.folder} is being worked on by another process")

    def _command(self, command: str) -> list[str]:
        """Arguments of a worker: it reads the config from the run's folder."""
        return [command, f"--workdir={self.folder}"]


def _yes(done: bool) -> str:
    return "done" if done else "not yet"


def _newest(folder: Path) -> int:
    """Latest modification of a file below `folder`, in ns; locks, which holding one may touch, do not count."""
    found = (os.path.join(base, name) for base, _, names in os.walk(folder) for name in names)
    return max((os.stat(path).st_mtime_ns for path in found if not path.endswith(".lock")), default=0)

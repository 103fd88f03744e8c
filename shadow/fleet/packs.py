"""One pack of the plan: done once by whoever holds its lock, resumed by the next where its process died."""

from __future__ import annotations

import functools
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import filelock
import jax
import numpy as np

from shadow import checkpoint, files, piles, train
from shadow.config import Config
from shadow.data import manifest as manifests
from shadow.errors import Stopped, UserError
from shadow.fleet import plan as plans
from shadow.fleet import progress
from shadow.fleet.plan import Pack, Plan, pile_steps, shadow_folder

COMMANDS = ("train", "sample")  # `sample` trains what is not trained yet, and draws the piles
_HANDOVER_SECONDS = 10.0  # a worker whose parent was killed needs a moment to end


class Fleet:
    """The packs of one run.

    Raises UserError where there is no plan.
    """

    def __init__(self, workdir: Path, data_root: Path, config: Config) -> None:
        self.workdir, self.data_root, self.config = workdir, data_root, config
        self.plan: Plan = plans.read_plan(workdir / "plan.json")
        if self.plan.shadows != config.fleet.shadows:
            raise UserError(
                f"{workdir / 'plan.json'} has {self.plan.shadows} shadows, fleet.shadows = {config.fleet.shadows}: "
                "run `launch.py plan`"
            )
        self.keep = pile_steps(config)

    def folders(self, pack: int) -> list[Path]:
        return [shadow_folder(self.workdir, k) for k in self.plan.packs[pack].shadows]

    def done(self, pack: int, command: str = "sample") -> bool:
        """Is there nothing left to do for `command`?"""
        if all((folder / "result.json").exists() for folder in self.folders(pack)):
            return True
        wanted = (*self.keep, self.config.train.steps)
        return command == "train" and checkpoint.resume_step(self.folders(pack), wanted) >= self.config.train.steps

    def missing(self, command: str = "sample") -> list[int]:
        return [pack for pack in range(len(self.plan.packs)) if not self.done(pack, command)]

    def run(
        self,
        pack: int,
        command: str,
        stop: Callable[[], bool] = train.never,
        patience: float = _HANDOVER_SECONDS,
        echo: bool = False,
    ) -> bool:
        """Trains pack `pack` and, for `sample`, draws its piles, unless that is done; False where another process
        holds the pack for `patience` seconds.

        `result.json` is written last. Raises UserError on data that do not fit the plan or a loss that is not finite
        (and says so in the file that `states` reads), Stopped when `stop()` says so.
        """
        if not 0 <= pack < len(self.plan.packs):
            raise UserError(f"--pack={pack}: the plan has packs 0 to {len(self.plan.packs) - 1}")
        if self.done(pack, command):
            return True
        lock = self.lock(pack, patience)
        try:
            held = lock.acquire()
        except filelock.Timeout:
            return False
        with held:  # not `with lock`, which would take it a second time and keep it
            if not self.done(pack, command):
                self._work(pack, command, stop, echo)
            if self.done(pack):  # nobody needs the lock any more: whoever waits for it finds the pack done
                Path(lock.lock_file).unlink(missing_ok=True)
        return True

    def _work(self, pack: int, command: str, stop: Callable[[], bool], echo: bool) -> None:
        report = progress.Reporter(self._report_path(pack), f"pack {pack}" if echo else "")
        report.begin()
        try:
            spec = self._spec(self.plan.packs[pack])
            folders, keep = self.folders(pack), self.keep
            for folder in folders:
                folder.mkdir(parents=True, exist_ok=True)
            undrawn = True
            while undrawn:
                try:
                    train.train_pack(spec, folders, keep, report.stage("train"), stop, self.config.fleet.tensorboard)
                    for step in keep if command == "sample" else ():
                        paths = [piles.pile_path(folder, step) for folder in folders]
                        piles.draw_piles(
                            spec, folders, paths, step, self.config.pile, report.stage(f"sample {step}"), stop
                        )
                    undrawn = False
                except checkpoint.DamagedError as damaged:  # of a step between, found when its pile is drawn
                    checkpoint.set_aside(folders, damaged)
            if command == "sample":
                self._write_results(pack, spec)
        except Stopped:
            report.end()
            raise
        except Exception as error:
            report.fail(str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}")
            raise
        report.end()

    def _spec(self, pack: Pack) -> train.Spec:
        """What the pack is trained on; UserError where that is not what was planned."""
        manifest, dev, membership = self._data
        self.plan.check_versions()
        if pack.key != plans.training_key(self.plan, self.config, manifest, membership, pack.shadows):
            raise UserError(
                f"{self.workdir / 'membership.npy'} or manifest.csv is not what plan.json was made from; give the "
                "files back or use a new workdir"
            )
        members = tuple(np.flatnonzero(membership[k]) for k in pack.shadows)
        config = self.config
        return train.Spec(
            config.seed,
            "shadow",
            pack.shadows,
            dev,
            members,
            config.denoiser,
            config.diffusion,
            config.train,
            self.plan.devices,
        )

    @functools.cached_property
    def _data(self) -> tuple[manifests.Manifest, np.ndarray, np.ndarray]:
        """Manifest, dev images float32 [image, size, size] in [-1, 1], membership: read once a process."""
        manifest = manifests.read(self.workdir / "manifest.csv", self.data_root)
        names = plans.dev_ids(manifest)
        membership = read_membership(self.workdir / "membership.npy", self.plan.shadows, len(names))
        return manifest, piles.to_unit(manifest.images_at(names, self.config.data.resolution)), membership

    def _write_results(self, pack: int, spec: train.Spec) -> None:
        key = self.plan.packs[pack].key
        for folder, members in zip(self.folders(pack), spec.members, strict=True):
            files.write_json(
                folder / "result.json",
                {
                    "members": len(members),
                    "steps": self.config.train.steps,
                    "key": key,
                    "pile_key": plans.pile_key(self.config, key),
                    "piles": {str(step): sha256(piles.pile_path(folder, step)) for step in self.keep},
                    "checkpoints": {
                        str(step): sha256(folder / "checkpoints" / str(step)) for step in checkpoint.steps(folder)
                    },
                    "made_with": {"device": jax.devices()[0].device_kind, **made_with()},
                },
            )

    def lock(self, pack: int, patience: float) -> filelock.FileLock:
        (self.workdir / "shadows").mkdir(exist_ok=True)
        return filelock.FileLock(self.workdir / "shadows" / f".pack{pack:04d}.lock", timeout=patience)

    def _report_path(self, pack: int) -> Path:
        return self.workdir / "shadows" / f".pack{pack:04d}.json"

    def failed_since(self, pack: int, moment: float) -> str:
        """Why the pack failed, if it did after `moment` (a Unix time); else ''."""
        row = progress.read(self._report_path(pack))
        return row["failed"] if row and "failed" in row and row["time"] >= moment else ""

    def states(self, command: str = "sample", probe: bool = False) -> list[progress.State]:
        """What each pack is doing. `probe` asks the locks whether those that say they run really do."""
        return [self._state(pack, command, probe) for pack in range(len(self.plan.packs))]

    def _state(self, pack: int, command: str, probe: bool) -> progress.State:
        shadows = self.plan.packs[pack].shadows
        name = f"pack {pack} (shadows {shadows[0]} to {shadows[-1]})" if len(shadows) > 1 else f"shadow {shadows[0]}"
        if self.done(pack, command):
            return progress.State(name, "done", 1.0)
        row = progress.read(self._report_path(pack))
        if row and "failed" in row:
            return progress.State(name, "failed", reason=row["failed"])
        if row and not (probe and self._is_free(pack)):
            where = f"{row['host']}:{row['pid']}"
            fields = {name: row[name] for name in ("stage", "done", "total", "rate", "loss")}
            return progress.State(
                name, "running", self._share(row["stage"], row["done"], command), where=where, **fields
            )
        step = checkpoint.latest_common(self.folders(pack))
        if not step:
            return progress.State(name, "waiting")
        steps, share = self.config.train.steps, self._share("train", step, command)
        return progress.State(name, "stopped", share, "train", step, steps)

    def _is_free(self, pack: int) -> bool:
        try:
            with self.lock(pack, 0).acquire():
                return True
        except filelock.Timeout:
            return False

    def _share(self, stage: str, done: int, command: str) -> float:
        """Share of a pack's work that is behind, in passes through the network (a step of training is three)."""
        config = self.config
        training = 3.0 * config.train.batch_size
        sampling = config.pile.sampler_steps if command == "sample" else 0
        whole = training * config.train.steps + sampling * config.pile.count * len(self.keep)
        if stage == "train":
            return training * done / whole
        if not stage.startswith("sample "):
            return 0.0
        drawn = self.keep.index(int(stage.split()[1])) * config.pile.count + done
        return (training * config.train.steps + sampling * drawn) / whole

    def work(self, command: str, since: float, stop: Callable[[], bool] = train.never) -> None:
        """Does packs until all are done or have failed since the moment `since`. Where the rest are held by others it
        waits for them, and takes up a pack whose process dies. Raises Stopped, or what is wrong with disk and data."""
        while open_packs := [p for p in self.missing(command) if not self.failed_since(p, since)]:
            worked = False
            for pack in open_packs:
                if stop():
                    raise Stopped("stopped between two packs")
                try:
                    worked |= self.run(pack, command, stop, patience=0)
                except UserError:
                    worked = True  # it is noted in the pack's file; the others may be better off
            if not worked:
                time.sleep(0.5)


def read_membership(path: Path, shadows: int, images: int, more: bool = False) -> np.ndarray:
    """bool [shadow, dev image]. Raises UserError where the file is missing, damaged or of another shape; `more` rows
    may be there of a growth that was cut off before the plan was written."""
    try:
        membership = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path}: no readable membership matrix ({error}); run `launch.py plan`") from error
    fits = membership.dtype == bool and membership.ndim == 2 and membership.shape[1] == images
    if not fits or not (len(membership) == shadows or (more and len(membership) > shadows)):
        raise UserError(
            f"{path}: does not fit the manifest: bool [{shadows}, {images}] is wanted, this is {membership.dtype} "
            f"{list(membership.shape)}; use a new workdir"
        )
    return membership


def made_with() -> dict[str, str]:
    """Versions of what decides about the bits besides our code."""
    return {name: metadata.version(name) for name in ("jax", "jaxlib", "flax", "optax", "numpy")}


def present(workdir: Path, config: Config) -> list[int]:
    """Shadows that are done, rising."""
    return [k for k in range(config.fleet.shadows) if (shadow_folder(workdir, k) / "result.json").exists()]


def read_result(folder: Path) -> dict[str, Any]:
    """result.json of a shadow. Raises UserError where it is damaged."""
    path = folder / "result.json"
    try:
        result = json.loads(path.read_text())
        if not all(isinstance(result[name], dict) for name in ("piles", "checkpoints", "made_with")):
            raise TypeError("piles, checkpoints and made_with must be tables")
        return result | {"key": str(result["key"]), "pile_key": str(result["pile_key"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: damaged ({error}); remove it and run `launch.py sample`") from error


def verify_piles(workdir: Path, shadows: Sequence[int]) -> None:
    """Raises UserError naming the first pile that is not the one its shadow's result.json tells of."""
    for shadow in shadows:
        folder = shadow_folder(workdir, shadow)
        for step, wanted in read_result(folder)["piles"].items():
            path = piles.pile_path(folder, int(step))
            if not path.exists() or sha256(path) != wanted:
                what = "has changed since it was drawn" if path.exists() else "is missing"
                raise UserError(
                    f"{path} {what}: remove it and {folder / 'result.json'}, and run `launch.py sample` again"
                )


def sha256(path: Path) -> str:
    """Of a file, or of the names and contents of all files in a folder."""
    sha = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            if path.is_dir():
                sha.update(f"{file.relative_to(path).as_posix()}\0{file.stat().st_size}\0".encode())
            with file.open("rb") as stream:
                while block := stream.read(1 << 20):
                    sha.update(block)
    return sha.hexdigest()

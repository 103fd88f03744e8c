"""One pack of the plan: done once by whoever holds its lock, resumed by the next where its process died."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import filelock
import jax
import numpy as np

from shadow import files, piles
from shadow.config import Config
from shadow.data import decoding
from shadow.data import manifest as manifests
from shadow.errors import Stopped, UserError
from shadow.fleet import families, progress
from shadow.fleet import plan as plans
from shadow.fleet.locks import Lock
from shadow.fleet.plan import Pack, Plan, pile_steps, shadow_folder
from shadow.training import checkpoint, team, train

COMMANDS = ("train", "sample")  # `sample` trains what is not trained yet, and draws the piles
_DISPATCH = 16  # steps that an accelerator is given at once
_HANDOVER_SECONDS = 10.0  # a worker whose parent was killed needs a moment to end


class Fleet:
    """The packs of one run.

    Raises UserError where there is no plan, or a damaged one. The number of shadows is the plan's: `fleet.shadows` may
    be ahead of it while a fleet grows.
    """

    def __init__(self, workdir: Path, data_root: Path, config: Config) -> None:
        self.workdir, self.data_root, self.config = workdir, data_root, config
        self.plan: Plan = plans.read_plan(workdir / "plan.json")
        self.keep = pile_steps(config)
        self.hosts = False  # whether other processes take part in every pack's training, and follow
        self._results: dict[Path, tuple[int, bool]] = {}  # time of each result.json, and whether it is the pack's

    def folders(self, pack: int) -> list[Path]:
        """WORKDIR/shadows/0007 of each shadow of the pack."""
        return [shadow_folder(self.workdir, k) for k in self.plan.packs[pack].shadows]

    def done(self, pack: int, command: str = "sample") -> bool:
        """Is there nothing left to do for `command`?"""
        if all(self.has_result(folder, pack) for folder in self.folders(pack)):
            return True
        wanted = (*self.keep, self.config.train.steps)
        return command == "train" and checkpoint.resume_step(self.folders(pack), wanted) >= self.config.train.steps

    def has_result(self, folder: Path, pack: int) -> bool:
        """Is result.json there, and of this very pack and these piles? A damaged one is none."""
        path = folder / "result.json"
        try:
            written = path.stat().st_mtime_ns
        except OSError:
            return False
        if self._results.get(path, (0, False))[0] != written:
            key = self.plan.packs[pack].key
            try:
                result = read_result(folder)
                same = (result["key"], result["pile_key"]) == (key, plans.pile_key(self.plan, self.config, key))
            except UserError:
                same = False
            self._results[path] = (written, same)
        return self._results[path][1]

    def missing(self, command: str = "sample") -> list[int]:
        """Packs that are not done, rising."""
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
                _own(folder, self.plan.packs[pack].key)
            undrawn = True
            while undrawn:
                try:
                    together = team.Lead(pack) if self.hosts else team.ALONE
                    events = self.config.fleet.tensorboard
                    train.train_pack(spec, folders, keep, report.stage("train"), stop, events, together)
                    for step in keep if command == "sample" else ():
                        paths = [piles.pile_path(folder, step) for folder in folders]
                        piles.draw_piles(
                            spec, folders, paths, step, self.config.pile, report.stage(f"sample {step}"), stop
                        )
                    undrawn = False
                except checkpoint.DamagedError as damaged:  # of a step between, found when its pile is drawn
                    checkpoint.set_aside(folders, damaged)
            if command == "sample":
                self._export(pack)
                self._write_results(pack, spec)
        except Stopped:
            report.end()
            raise
        except Exception as error:
            report.fail(str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}")
            raise
        report.end()

    def follow(self) -> None:
        """Takes part in the training of packs that another process leads, until it ends. Raises as `team.follow`."""

        def begin(pack: int, step: int) -> Callable[[int], None]:
            return train.follow_pack(self._spec(self.plan.packs[pack]), self.folders(pack), step)

        team.follow(begin)

    def _spec(self, pack: Pack) -> train.Spec:
        """What the pack is trained on; UserError where that is not what was planned."""
        self.plan.check_versions()
        self._check_members([pack])
        _, membership = self._members
        members = tuple(np.flatnonzero(membership[k]) for k in pack.shadows)
        config = families.own_config(self.config, pack.shadows[0])
        return train.Spec(
            config.seed,
            "shadow",
            pack.shadows,
            self._images,
            members,
            config.denoiser,
            config.diffusion,
            config.train,
            self.plan.devices,
            1 if jax.default_backend() == "cpu" else _DISPATCH,
        )

    def check_members(self) -> None:
        """Raises UserError where manifest.csv and membership.npy are not those the plan was made from."""
        self._check_members(self.plan.packs)

    def _check_members(self, packs: Sequence[Pack]) -> None:
        manifest, membership = self._members
        for pack in packs:
            if pack.key != plans.training_key(self.plan, self.config, manifest, membership, pack.shadows):
                raise UserError(
                    f"{self.workdir / 'membership.npy'} or manifest.csv is not what plan.json was made from; give the "
                    "files back or use a new workdir"
                )

    @functools.cached_property
    def _members(self) -> tuple[manifests.Manifest, np.ndarray]:
        """Manifest and membership bool [shadow, image], read once a process."""
        manifest = manifests.read(self.workdir / "manifest.csv", self.data_root)
        images = len(plans.pool_ids(manifest, self.config))
        return manifest, read_membership(self.workdir / "membership.npy", self.plan.shadows, images)

    @functools.cached_property
    def _images(self) -> np.ndarray:
        """The images of the membership matrix, float32 [image, size, size] in [-1, 1], read once a process."""
        manifest, _ = self._members
        names = plans.pool_ids(manifest, self.config)
        return decoding.to_unit(manifest.images_at(names, self.config.data.resolution))

    def _write_results(self, pack: int, spec: train.Spec) -> None:
        key = self.plan.packs[pack].key
        for folder, members in zip(self.folders(pack), spec.members, strict=True):
            files.write_json(
                folder / "result.json",
                {
                    "members": len(members),
                    "steps": self.config.train.steps,
                    "key": key,
                    "pile_key": plans.pile_key(self.plan, self.config, key),
                    "piles": {str(step): sha256(piles.pile_path(folder, step)) for step in self.keep},
                    "checkpoints": {
                        str(step): sha256(folder / "checkpoints" / str(step)) for step in checkpoint.steps(folder)
                    },
                    "made_with": {"device": jax.devices()[0].device_kind, **made_with()},
                },
            )

    def export(self) -> None:
        """PNG files of the piles of packs that were done before `pile.png` was switched on."""
        for pack in range(len(self.plan.packs)):
            if all(piles.png_folder(path).is_dir() for path in self._pile_paths(pack)):
                continue
            lock = self.lock(pack, _HANDOVER_SECONDS)
            with lock.acquire():
                self._export(pack)
            Path(lock.lock_file).unlink(missing_ok=True)

    def _export(self, pack: int) -> None:
        for path in self._pile_paths(pack) if self.config.pile.png else ():
            piles.export_png(path)

    def _pile_paths(self, pack: int) -> list[Path]:
        return [piles.pile_path(folder, step) for folder in self.folders(pack) for step in self.keep]

    def sweep(self) -> None:
        """Removes what processes that were killed in the last moments of a pack left beside the done ones."""
        for pack in range(len(self.plan.packs)):
            left = [self._report_path(pack), *(f.with_name(f".{f.name}.part") for f in self.folders(pack))]
            lock = self.lock(pack, 0)
            if not self.done(pack) or not any(path.exists() for path in [*left, Path(lock.lock_file)]):
                continue
            with contextlib.suppress(filelock.Timeout), lock.acquire():
                for path in left:
                    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
                Path(lock.lock_file).unlink(missing_ok=True)

    def lock(self, pack: int, patience: float) -> Lock:
        """The lock of a pack, not yet taken; taking it raises filelock.Timeout after `patience` seconds."""
        (self.workdir / "shadows").mkdir(exist_ok=True)
        return Lock(self.workdir / "shadows" / f".pack{pack:04d}.lock", timeout=patience)

    def _report_path(self, pack: int) -> Path:
        return self.workdir / "shadows" / f".pack{pack:04d}.json"

    def failed_since(self, pack: int, moment: float) -> str:
        """Why the pack failed, if it did after `moment` (a Unix time); else ''."""
        row = progress.read(self._report_path(pack))
        return row["failed"] if row and row["time"] >= moment else ""

    def states(self, command: str = "sample", probe: bool = False) -> list[progress.WorkState]:
        """What each pack is doing. `probe` asks the locks whether those that say they run really do."""
        found = [self._state(pack, command, probe) for pack in range(len(self.plan.packs))]
        weights = [len(pack.shadows) for pack in self.plan.packs]
        return [dataclasses.replace(state, weight=w) for state, w in zip(found, weights, strict=True)]

    def _state(self, pack: int, command: str, probe: bool) -> progress.WorkState:
        shadows = self.plan.packs[pack].shadows
        names, own = families.family_names(self.config), families.family_of(self.config, shadows[0])
        said = [f"shadows {shadows[0]} to {shadows[-1]}"] if len(shadows) > 1 else []
        said += [names[own]] if len(names) > 1 else []
        name = f"pack {pack}" if len(shadows) > 1 else f"shadow {shadows[0]}"
        name += f" ({', '.join(said)})" if said else ""
        if self.done(pack, command):
            return progress.WorkState(name, "done", 1.0)
        row = progress.read(self._report_path(pack))
        if row and row["failed"]:
            return progress.WorkState(name, "failed", reason=row["failed"])
        if row and not (probe and self._is_free(pack)):
            where = f"{row['host']}:{row['pid']}"
            fields = {name: row[name] for name in ("stage", "done", "total", "rate", "loss")}
            share = self._share(pack, row["stage"], row["done"], command)
            return progress.WorkState(name, "running", share, where=where, **fields)
        step = checkpoint.latest_common(self.folders(pack))
        if not step:
            return progress.WorkState(name, "waiting")
        steps, share = self.config.train.steps, self._share(pack, "train", step, command)
        if step == steps:
            return progress.WorkState(name, "waiting", share, reason="trained, no piles yet")
        return progress.WorkState(name, "stopped", share, "train", step, steps)

    def _is_free(self, pack: int) -> bool:
        try:
            with self.lock(pack, 0).acquire():
                return True
        except filelock.Timeout:
            return False

    def _share(self, pack: int, stage: str, done: int, command: str) -> float:
        """Share of a pack's work that is behind, in passes through the network (a step of training is three)."""
        config = families.own_config(self.config, self.plan.packs[pack].shadows[0])
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


def _own(folder: Path, key: str) -> None:
    """Makes the folder of a shadow and writes down to which pack it belongs. Raises UserError where it holds work for
    another: weights of two recipes must not pass for each other."""
    path = folder / "key.json"
    folder.mkdir(parents=True, exist_ok=True)
    if path.exists():
        with contextlib.suppress(ValueError, TypeError, KeyError):
            if json.loads(path.read_text())["key"] == key:
                return
    elif not any(folder.iterdir()):
        files.write_json(path, {"key": key})
        return
    raise UserError(f"{folder} was trained for another plan than plan.json: remove the folder or use a new workdir")


def read_membership(path: Path, shadows: int, images: int) -> np.ndarray:
    """bool [shadow, image] of the first `shadows`: more rows may be there, of a growth that is under way or was cut
    off before its plan was written. Raises UserError where the file is missing, damaged or of another shape."""
    try:
        membership = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path}: no readable membership matrix ({error}); run `launch.py plan`") from error
    fits = membership.dtype == bool and membership.ndim == 2 and membership.shape[1] == images
    if not fits or len(membership) < shadows:
        raise UserError(
            f"{path}: does not fit the manifest: bool [{shadows}, {images}] is wanted, this is {membership.dtype} "
            f"{list(membership.shape)}; use a new workdir"
        )
    return membership[:shadows]


def made_with() -> dict[str, str]:
    """Versions of what decides about the bits besides our code."""
    return {name: metadata.version(name) for name in ("jax", "jaxlib", "flax", "optax", "numpy")}


def present(workdir: Path, config: Config) -> list[int]:
    """Shadows that are done, rising. Raises UserError where the plan is damaged."""
    if not (workdir / "plan.json").exists():
        return []
    fleet = Fleet(workdir, workdir, config)
    planned = [(k, number) for number, pack in enumerate(fleet.plan.packs) for k in pack.shadows]
    return [k for k, number in planned if fleet.has_result(shadow_folder(workdir, k), number)]


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

"""A rehearsal of the 2023 task in its own counts and sizes, on phantoms, killed three times on the way.

python benchmarks/rehearsal.py [--root=runs/rehearsal] [--config=configs/imageclef2023.py] [--seed=0] [--whole]
    [--scale=.1] [--side=64] [--set=fleet.shadows=8 --set=train.steps=400]

500 / 80 / 80 dev images and 10,000 / 200 test images of 256 x 256 pixels, of phantoms. The target is small: a
transformer that trains and draws at 32 x 32 pixels. Its images are then enlarged (bicubic) to the size of the real
slices. So every file is read at its full size, and no generated image has detail below 8 pixels.

Every stage is a command of `launch.py`, timed. Three of them, in different stages, are killed (SIGKILL) at moments that
the seed decides, and given again. Then a second run beside it does anew, without a kill, the packs that were under way
at a kill, takes over the others (--reuse), and does the attack again: it must have the same bytes. With --whole the
second run trains every pack itself. --scale and --side make a smaller rehearsal. Stopped, it goes on where it was.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from absl import app, flags
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from launching import LAUNCH  # noqa: E402

from shadow import files  # noqa: E402
from shadow.errors import UserError, exits  # noqa: E402

_ROOT = flags.DEFINE_string("root", "runs/rehearsal", "Folder of the rehearsal.")
_CONFIG = flags.DEFINE_string("config", "configs/imageclef2023.py", "Recipe.")
_SEED = flags.DEFINE_integer("seed", 0, "Of the moments of the kills.", lower_bound=0)
_SCALE = flags.DEFINE_float("scale", 1.0, "Share of the counts of 2023.", lower_bound=0.02, upper_bound=1.0)
_SIDE = flags.DEFINE_integer("side", 256, "Pixels a side of every image.", lower_bound=64, upper_bound=256)
_TARGET_STEPS = flags.DEFINE_integer("target_steps", 2000, "Training steps of the target.", lower_bound=1)
_WHOLE = flags.DEFINE_bool("whole", False, "The second run trains every pack itself.")
_SET = flags.DEFINE_multi_string("set", [], "Further overrides, e.g. --set=fleet.shadows=8 (repeatable).")

_COUNTS = {"dev_generated": 500, "dev_used": 80, "dev_not_used": 80}
_COUNTS |= {"test_generated": 10_000, "test_used": 100, "test_not_used": 100}
STAGES = ("plan", "train", "sample", "signals", "fit", "predict", "report")
# Of the stages that are killed: what is seen on the disk when the stage is under way. One of the last three is.
_SIGNS = {
    "train": "shadows/*/checkpoints/*",
    "sample": "shadows/*/piles/.*.part.json",
    "signals": "signals/*",
    "fit": "attack",
    "predict": "attack/fit.done.json",
}
SAME = ("membership.npy", "predictions.csv", "submission.csv", "signals/values.npy", "attack/model.json")
SAME = (*SAME, "attack/heldout.npz", "attack/fit.json", "attack/evaluation.json")


@dataclass
class Times:
    """Seconds on the clock and of the processors, and the largest process in bytes."""

    wall: float = 0.0
    processor: float = 0.0
    memory: int = 0


@dataclass
class State:
    """What has been done: times by stage, kills as "stage after N s", and packs that were under way at one."""

    times: dict[str, Times] = field(default_factory=dict)
    kills: dict[str, str] = field(default_factory=dict)
    packs: list[int] = field(default_factory=list)

    def write(self, path: Path) -> None:
        files.write_json(path, asdict(self))


def read(path: Path) -> State:
    if not path.exists():
        return State()
    found = json.loads(path.read_text())
    return State({name: Times(**row) for name, row in found["times"].items()}, found["kills"], found["packs"])


def start(*arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, str(LAUNCH), *arguments], stdout=subprocess.DEVNULL)


def finish(process: subprocess.Popen[bytes], began: float) -> Times:
    """Waits for the command. UserError where it fails, which has said why."""
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise UserError(f"launch.py ended with code {process.returncode}: see above")
    return Times(time.monotonic() - began, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024)


def run(*arguments: str) -> Times:
    began = time.monotonic()
    return finish(start(*arguments), began)


def kill_when_under_way(process: subprocess.Popen[bytes], folder: Path, stage: str, delay: float) -> str:
    """Kills the command `delay` seconds after the stage shows on the disk; says when, or that it was over before."""
    before, began = set(folder.glob(_SIGNS[stage])), time.monotonic()
    if stage in ("fit", "predict"):
        before = set()  # what the stage before it left
    while process.poll() is None and not set(folder.glob(_SIGNS[stage])) - before:
        time.sleep(0.01)
    deadline = time.monotonic() + delay
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    if process.poll() is not None:
        return ""
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    return f"killed after {time.monotonic() - began:.1f} s"


def moments(seed: int, unit: float) -> dict[str, float]:
    """Stage of each kill, and seconds after it shows: in training, in drawing, and in one stage of the attack."""
    rng = random.Random(seed)
    return {stage: rng.uniform(0, unit) for stage in ("train", "sample", rng.choice(["signals", "fit", "predict"]))}


def make_data(root: Path, side: int) -> Path:
    """The folder of the task: slices as the challenge has them, generated images enlarged to their size."""
    done, part = root / "data", root / ".data.part"
    if done.is_dir():
        return done
    if part.exists():
        shutil.rmtree(part)
    made = root / "target" / "challenge"
    for path in sorted(made.glob("*/*/*.png")):
        if path.is_relative_to(made / "sealed"):
            continue
        place = part / path.relative_to(made)
        place.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(path) as image:
            enlarging = Image.Resampling.BICUBIC if "generated" in path.parent.name else Image.Resampling.BOX
            (image if image.width == side else image.resize((side, side), enlarging)).save(place)
    shutil.copytree(made / "sealed", part / "sealed", ignore=shutil.ignore_patterns("target"))
    os.replace(part, done)
    return done


def under_way(folder: Path) -> list[int]:
    """Packs that a process was at work on."""
    return sorted(int(path.stem.removeprefix(".pack")) for path in (folder / "shadows").glob(".pack*.json"))


def rehearse(folder: Path, common: Sequence[str], state: State, path: Path) -> None:
    """Every stage in `folder`, three of them killed and given again."""
    delays = moments(_SEED.value, 10.0 * _SCALE.value)
    for stage in STAGES:
        command = (stage, f"--workdir={folder}", *common)
        if stage in delays and stage not in state.kills:
            process = start(*command)
            state.kills[stage] = kill_when_under_way(process, folder, stage, delays[stage]) or "over before the kill"
            state.packs = sorted({*state.packs, *under_way(folder)} if stage in ("train", "sample") else state.packs)
            state.write(path)
            print(f"{stage}: {state.kills[stage]}", flush=True)
        if stage not in state.times:
            state.times[stage] = run(*command)
            state.write(path)
            say(stage, state.times[stage])


def repeat(folder: Path, first: Path, common: Sequence[str], state: State, path: Path) -> None:
    """A second run: packs that were under way at a kill are done anew, the others taken over; then the attack."""
    if "again" in state.times:
        return
    run("plan", f"--workdir={folder}", *common)
    for pack in [] if _WHOLE.value else state.packs:
        run("sample", f"--workdir={folder}", f"--pack={pack}", *common)
    reuse = () if _WHOLE.value else (f"--reuse={first}",)
    state.times["again"] = run("run", f"--workdir={folder}", *reuse, *common)
    state.write(path)
    say("again", state.times["again"])


def differing(first: Path, second: Path) -> list[str]:
    """Files that should be the same and are not."""
    names = [*SAME, *(path.relative_to(first).as_posix() for path in sorted(first.glob("shadows/*/piles/*.npy")))]
    return [name for name in names if (first / name).read_bytes() != (second / name).read_bytes()]


def say(stage: str, times: Times) -> None:
    print(
        f"{stage:10}{times.wall:9.1f} s{times.processor:9.1f} s of processors{times.memory / 2**20:8.0f} MiB",
        flush=True,
    )


def main(_: list[str]) -> None:
    root = Path(_ROOT.value)
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = root / "rehearsal.json"
    state = read(path)
    counts = [f"--config.challenge.{name}={max(8, round(n * _SCALE.value))}" for name, n in _COUNTS.items()]
    if "target" not in state.times:
        target = (
            "--config.challenge.denoiser.depth=2",
            f"--config.challenge.train.steps={_TARGET_STEPS.value}",
            "--config.data.root=",
        )
        command = ("challenge", f"--config={_CONFIG.value}", f"--workdir={root / 'target'}", *counts, *target)
        state.times["target"] = run(*command, "--config.pile.sampler_steps=10", "--config.pile.batch_size=250")
        state.write(path)
        say("target", state.times["target"])
    data = make_data(root, _SIDE.value)
    common = (f"--config={_CONFIG.value}", f"--config.data.root={data}", *(f"--config.{one}" for one in _SET.value))
    rehearse(root / "killed", common, state, path)
    repeat(root / "again", root / "killed", common, state, path)
    wrong = differing(root / "killed", root / "again")
    stages = [state.times[stage] for stage in STAGES]
    say(
        "in all",
        Times(*(sum(getattr(t, n) for t in stages) for n in ("wall", "processor")), max(t.memory for t in stages)),
    )
    print(f"kills: {', '.join(f'{stage}: {said}' for stage, said in state.kills.items())}")
    print(f"packs done anew: {'all' if _WHOLE.value else state.packs}")
    if wrong:
        raise UserError(f"{len(wrong)} files differ from those of the second run, the first is {wrong[0]}")
    print("the same bytes as the second run")


if __name__ == "__main__":
    with exits(lambda: _ROOT.value):
        app.run(main)

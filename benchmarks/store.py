"""Time and peak memory of writing the store of signals: one pile of the target's and one of a shadow.

python benchmarks/store.py [--candidates=200] [--pile=10000] [--side=256] [--signals=nearest,mosaic]
    [--embeddings=pixels]

The piles are noise, on disk as a run has them: PNG files and a `.npy`. They are measured by what `launch.py signals`
calls, in a process of its own.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from absl import app, flags, logging
from PIL import Image
from scipy import ndimage

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from attack.evidence import layout, measuring  # noqa: E402
from shadow import fleet, piles  # noqa: E402
from shadow.config import Config  # noqa: E402
from shadow.data import manifest  # noqa: E402

_CANDIDATES = flags.DEFINE_integer("candidates", 200, "Real images, of which half are known.")
_PILE = flags.DEFINE_integer("pile", 10_000, "Generated images of each pile.")
_SIDE = flags.DEFINE_integer("side", 256, "Pixels a side.")
_SIGNALS = flags.DEFINE_list("signals", ["nearest", "mosaic"], "As attack.signals.")
_EMBEDDINGS = flags.DEFINE_list("embeddings", ["pixels"], "As attack.embeddings.")
_FOLDER = flags.DEFINE_string("folder", "", "Internal: measure what lies there, in this process.")


def image(number: int, side: int) -> np.ndarray:
    """Smooth noise, uint8 [side, side], another for each number."""
    smooth = ndimage.gaussian_filter(np.random.default_rng(number).standard_normal((side, side), np.float32), 2)
    return np.clip(np.rint(128 + 60 * smooth / smooth.std()), 0, 255).astype(np.uint8)


def config_of() -> Config:
    config = Config()
    config.data.edition, config.data.resolution = "own", _SIDE.value
    config.attack.pile = config.pile.count = _PILE.value
    config.attack.signals, config.attack.embeddings = tuple(_SIGNALS.value), tuple(_EMBEDDINGS.value)
    layout.check(config.attack.embeddings, config.attack.signals, _SIDE.value)
    return config


def prepare(folder: Path) -> None:
    """The folders of edition `own`, their manifest, and the pile of shadow 0."""
    half, number = _CANDIDATES.value // 2, 0
    for role, count in (("generated", _PILE.value), ("not_used", half), ("candidates", _CANDIDATES.value - half)):
        (folder / "data" / role).mkdir(parents=True)
        for _ in range(count):
            number += 1
            path = folder / "data" / role / f"{role}_{number:06d}.png"
            Image.fromarray(image(number, _SIDE.value)).save(path, compress_level=1)
    manifest.build(folder / "data", "own", "", 0.5).write(folder / "manifest.csv")
    path = piles.pile_path(fleet.shadow_folder(folder, 0), fleet.pile_steps(config_of())[-1])
    path.parent.mkdir(parents=True)
    pile = np.lib.format.open_memmap(path, "w+", np.uint8, (_PILE.value, _SIDE.value, _SIDE.value))
    for i in range(_PILE.value):
        number += 1
        pile[i] = image(number, _SIDE.value)
    pile.flush()


def measure(folder: Path) -> None:
    started = time.perf_counter()
    measuring.build(folder, manifest.read(folder / "manifest.csv", folder / "data"), config_of(), [0])
    took = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    shape = np.load(folder / "signals" / "values.npy", mmap_mode="r").shape
    what = f"{', '.join(_SIGNALS.value)} in {', '.join(_EMBEDDINGS.value)}, values {list(shape)}"
    print(f"{_SIDE.value}x{_SIDE.value}, 2 piles of {_PILE.value}: {what}: {took:.1f} s, peak {peak:.2f} GiB")


def main(_: list[str]) -> None:
    logging.set_verbosity(logging.ERROR)
    if _FOLDER.value:
        measure(Path(_FOLDER.value))
        return
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder))
        subprocess.run([sys.executable, __file__, *sys.argv[1:], f"--folder={folder}"], check=True)


if __name__ == "__main__":
    app.run(main)

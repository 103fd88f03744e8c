"""SSIM: pairs a second against scikit-image's loop, and the time and memory of a whole attack's pairs.

python benchmarks/ssim.py [--runs=5] [--candidates=200] [--pile=10000]

Every run times scikit-image and ours on the same pairs in turn, so that other work on the machine meets both; printed
are medians with their range. Then, each in a process of its own: all pairs of the candidates and the pile at 64x64, and
every candidate with its own 200 images at 256x256.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from absl import app, flags, logging
from scipy import ndimage

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from attack.evidence.embeddings.ssim import ssim_all, ssim_pairs  # noqa: E402

_RUNS = flags.DEFINE_integer("runs", 5, "Paired runs.")
_CANDIDATES = flags.DEFINE_integer("candidates", 200, "Candidates of the large task.")
_PILE = flags.DEFINE_integer("pile", 10_000, "Generated images of the large task.")
_ONLY = flags.DEFINE_integer("only", 0, "Internal: the large task with images of this side, in this process.")
SAMPLE = (50, 256)  # candidates and generated images whose pairs both sides compute
NEAREST = 200


def images(count: int, side: int, seed: int) -> np.ndarray:
    """Smooth noise in 256 grey levels, float32 [count, side, side]."""
    noise = np.random.default_rng(seed).standard_normal((count, side, side), np.float32)
    smooth = ndimage.gaussian_filter(noise, (0, 2, 2))
    return np.clip(np.rint(128 + 60 * smooth / smooth.std()), 0, 255)


def seconds(work: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def spread(values: np.ndarray, digits: int = 0) -> str:
    return f"{np.median(values):.{digits}f} ({values.min():.{digits}f} to {values.max():.{digits}f})"


def against_scikit_image(runs: int) -> None:
    from skimage.metrics import structural_similarity

    a, b = images(SAMPLE[0], 64, 0), images(SAMPLE[1], 64, 1)
    left, right = np.repeat(a, len(b), axis=0), np.tile(b, (len(a), 1, 1))
    sides: dict[str, Callable[[], np.ndarray]] = {
        "scikit-image": lambda: np.array(
            [structural_similarity(x, y, data_range=255) for x, y in zip(left, right, strict=True)]
        ),
        "ssim_all": lambda: ssim_all(a, b).ravel(),
        "ssim_pairs": lambda: ssim_pairs(left, right),
    }
    for work in list(sides.values())[1:]:
        work()  # compiles
    times = np.empty((runs, len(sides)))
    for run in range(runs):
        found = [seconds(work) for work in sides.values()]
        times[run] = [time for time, _ in found]
    for i, name in enumerate(sides):
        rate, ratio = len(left) / times[:, i], times[:, 0] / times[:, i]
        error = np.abs(found[i][1] - found[0][1]).max()
        print(f"{name:12} {spread(rate)} pairs/s, {spread(ratio, 1)} times scikit-image's rate, off by {error:.1e}")


def large(side: int) -> None:
    a, b = images(_CANDIDATES.value, side, 0), images(_PILE.value if side == 64 else NEAREST, side, 1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if side == 64:
        took, result = seconds(lambda: ssim_all(a, b))
    else:  # one call a candidate, as where each has its own nearest images
        took, result = seconds(lambda: np.concatenate([ssim_all(a[i : i + 1], b) for i in range(len(a))]))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"{side}x{side}, {result.shape[0]} x {result.shape[1]} pairs, compiling included: {took:.1f} s, "
        f"{took / result.size * 1e6:.1f} us a pair; peak memory {peak / 2**20:.2f} GiB, {before / 2**20:.2f} before"
    )


def main(_: list[str]) -> None:
    logging.set_verbosity(logging.WARNING)
    if _ONLY.value:
        large(_ONLY.value)
        return
    against_scikit_image(_RUNS.value)
    for side in (64, 256):
        subprocess.run([sys.executable, __file__, *sys.argv[1:], f"--only={side}"], check=True)


if __name__ == "__main__":
    app.run(main)

"""Evidence of one pile: time and peak memory of all signals, and of their parts.

python benchmarks/signals.py [--candidates=200] [--pile=10000] [--runs=5] [--sizes]

Printed are the distances against the bare matrix product (paired runs, medians with their range), cost at three numbers
of images and of candidates with the line through it, and, each in a process of its own, a whole pile of images at 64x64
and at 256x256: every signal in every embedding but vectors from elsewhere. The memory of a whole store is in
`benchmarks/store.py`.
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

from attack.evidence import layout  # noqa: E402
from attack.evidence.attack_data import AttackData, Pile  # noqa: E402
from attack.evidence.embedded_pile import Block  # noqa: E402
from attack.evidence.embeddings import spaces  # noqa: E402
from attack.evidence.embeddings.builtin import EMBEDDINGS, standardised  # noqa: E402
from attack.evidence.embeddings.distances import distances  # noqa: E402
from attack.evidence.signals import SIGNALS  # noqa: E402
from shadow.config import Config  # noqa: E402

_CANDIDATES = flags.DEFINE_integer("candidates", 200, "Real images, of which half are known.")
_PILE = flags.DEFINE_integer("pile", 10_000, "Generated images.")
_RUNS = flags.DEFINE_integer("runs", 5, "Paired runs.")
_SIZES = flags.DEFINE_bool("sizes", False, "Only the cost at three numbers of images and of candidates.")
_ONLY = flags.DEFINE_integer("only", 0, "Internal: a whole pile of images of this side, in this process.")


def images(count: int, side: int, seed: int) -> np.ndarray:
    """Smooth noise in 256 grey levels, uint8 [count, side, side], made in parts."""
    rng, result = np.random.default_rng(seed), np.empty((count, side, side), np.uint8)
    for start in range(0, count, 500):
        part = rng.standard_normal(result[start : start + 500].shape, np.float32)
        smooth = ndimage.gaussian_filter(part, (0, 2, 2))
        result[start : start + 500] = np.clip(np.rint(128 + 60 * smooth / smooth.std()), 0, 255)
    return result


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def spread(values: np.ndarray, digits: int = 2) -> str:
    return f"{np.median(values):.{digits}f} ({values.min():.{digits}f} to {values.max():.{digits}f})"


def scene_of(candidates: int, pile: int, side: int) -> AttackData:
    made = images(pile, side, 1)
    half, names = candidates // 2, tuple(f"x{i}" for i in range(candidates))
    one = Pile("generated_test", -1, -1, pile, lambda: made, pile, lambda: made)
    config = Config()
    config.data.resolution = side
    real = images(candidates, side, 0).astype(np.float32)
    return AttackData(real, names, names, half, (one,), Path(), config)


def everything(attack_data: AttackData) -> np.ndarray:
    """float32 [candidate, number] of the attack_data's pile: each signal's block in each embedding that it fits."""
    signals = tuple(s for s, signal in SIGNALS.items() if isinstance(signal.block, Block))
    names = tuple(e for e, kind in EMBEDDINGS.items() if kind.side <= attack_data.images.shape[1] and kind.embed)
    plan = layout.plan(names, signals)
    seen = {e: spaces.space(e, attack_data) for e in names}
    pile = attack_data.piles[0]
    return plan.measure(lambda e: seen[e](pile.name, pile.read()))


def against_the_product(runs: int, candidates: int, pile: int) -> None:
    a, b = standardised(images(candidates, 64, 0)), standardised(images(pile, 64, 1))
    distances(a, b)  # asks the library, once a shape
    times = np.array([(seconds(lambda: distances(a, b)), seconds(lambda: a @ b.T)) for _ in range(runs)])
    took, bare, ratio = spread(times[:, 0]), spread(times[:, 1]), spread(times[:, 0] / times[:, 1])
    print(f"distances {took} s, bare product {bare} s, ratio {ratio}", flush=True)


def line(what: str, sizes: list[int], of_size: Callable[[int], AttackData]) -> None:
    """CPU time of everything at some sizes, and the line through it. CPU time, since other processes do not count."""
    took = []
    for size in sizes:
        attack_data = of_size(size)
        started = time.process_time()
        everything(attack_data)
        took.append(time.process_time() - started)
    slope, start = np.polyfit(sizes, took, 1)
    off = np.abs(np.polyval((slope, start), sizes) / took - 1).max()
    each = ", ".join(f"{size}: {found:.1f} s" for size, found in zip(sizes, took, strict=True))
    print(f"{what}: {each}; {start:.1f} s + {1000 * slope:.2f} ms each, off by {off:.1%} at most", flush=True)


def at_three_sizes(candidates: int, pile: int) -> None:
    made, real = pile // 4, pile // 20  # of few images, or the candidates' share is lost beside embedding the pile
    everything(scene_of(20, 20, 64))  # compiles
    line(
        f"images, of {candidates} candidates",
        [made // 4, made // 2, made],
        lambda n: scene_of(candidates, n, 64),
    )
    line(
        f"candidates, of {real} images",
        [candidates, 2 * candidates, 4 * candidates],
        lambda n: scene_of(n, real, 64),
    )


def large(side: int) -> None:
    attack_data = scene_of(_CANDIDATES.value, _PILE.value, side)
    took, what = seconds(lambda: everything(attack_data)), "all signals in all embeddings"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{side}x{side}, {_CANDIDATES.value} x {_PILE.value}: {what}: {took:.1f} s, peak memory {peak:.2f} GiB")


def main(_: list[str]) -> None:
    logging.set_verbosity(logging.WARNING)
    if _ONLY.value:
        large(_ONLY.value)
        return
    if _SIZES.value:
        at_three_sizes(_CANDIDATES.value, _PILE.value)
        return
    against_the_product(_RUNS.value, _CANDIDATES.value, _PILE.value)
    for side in (64, 256):
        subprocess.run([sys.executable, __file__, *sys.argv[1:], f"--only={side}"], check=True)
    at_three_sizes(_CANDIDATES.value, _PILE.value)


if __name__ == "__main__":
    app.run(main)

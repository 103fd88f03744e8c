"""Many challenges of our own: does the estimate made without the truth hold when the seal is broken?

python benchmarks/challenges.py --config=configs/demo.py --seeds=0,1,2,3,4 --out=runs/seeds
python benchmarks/challenges.py --config=configs/real.py --pool=DIR --patients=CSV --seeds=0,1,2,3,4,5 \
    --target_steps=800,1500,3000 --out=runs/real

Each challenge is a whole `launch.py run` with other seeds of the target, the shadows and the attack. Printed per
challenge: the two-way estimate with its prediction interval, the AUC by how far the candidates stand above slices known
not to be used, the AUC that is stated, the AUC on the sealed truth with its interval, the verdict, the regime chosen,
wall time and peak memory; at the end how often each interval held that AUC, its median width, and how far off its AUC
was. An AUC that is withheld is nan, and its interval reaches from 0 to 1.
"""

from __future__ import annotations

import csv
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from absl import app, flags

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import launching  # noqa: E402

from attack.metrics import score  # noqa: E402
from shadow.errors import exits  # noqa: E402

_CONFIG = flags.DEFINE_string("config", "configs/demo.py", "Recipe of every challenge.")
_POOL = flags.DEFINE_string("pool", "", "Folder of real slices; empty: the recipe's pool.")
_PATIENTS = flags.DEFINE_string("patients", "", "csv file,patient for the pool.")
_SEEDS = flags.DEFINE_list("seeds", ["0"], "A challenge each.")
_TARGET_STEPS = flags.DEFINE_list("target_steps", [], "Training lengths of the targets, taken in turn.")
_SET = flags.DEFINE_multi_string("set", [], "Further overrides, e.g. --set=challenge.split=group (repeatable).")
_OUT = flags.DEFINE_string("out", "runs/challenges", "Folder of the runs.")


def one(index: int, seed: str) -> dict[str, object]:
    """Runs challenge `index` and reads its figures."""
    steps = _TARGET_STEPS.value[index % len(_TARGET_STEPS.value)] if _TARGET_STEPS.value else ""
    workdir = Path(_OUT.value) / f"seed{seed}"
    overrides = [f"seed={seed}", f"challenge.seed={1000 + int(seed)}", f"attack.seed={seed}", *_SET.value]
    if steps:
        overrides.append(f"challenge.train.steps={steps}")
    if _POOL.value:
        overrides += [f"challenge.pool={_POOL.value}", f"challenge.patients={_PATIENTS.value}"]
    started = time.monotonic()
    launching.launch("run", f"--workdir={workdir}", f"--config={_CONFIG.value}", *(f"--config.{o}" for o in overrides))
    wall = time.monotonic() - started
    evaluation = launching.evaluation(workdir)
    truth = score.score(
        score.read_predictions(workdir / "predictions.csv"),
        score.read_truth(workdir / "challenge" / "sealed" / "truth.csv"),
    )
    two_way, expected = evaluation["two_way"], evaluation["expected"]
    low, high = two_way["prediction_interval"]
    return {
        "seed": seed,
        "target steps": steps or "recipe",
        "estimate": two_way["auc"],
        "prediction low": low,
        "prediction high": high,
        "sealed": truth.auc.value,
        "sealed low": truth.auc.low,
        "sealed high": truth.auc.high,
        "difference": truth.auc.value - two_way["auc"],
        **_stated("candidates", evaluation["candidates"]),
        **_stated("expected", expected),
        "expected from": expected["from"],
        "verdict": evaluation["verdict"]["level"],
        "dev labels count": evaluation["same_generator"]["counts"],
        "inside": low <= truth.auc.value <= high,
        "shadow step": evaluation["regime"]["step"],
        "regime distance": evaluation["regime"]["distance"],
        "regime inside": evaluation["regime"]["inside"],
        "dev transfer": evaluation["dev"]["auc"],
        "mean probability": float(np.mean(score.read_predictions(workdir / "predictions.csv").probability)),
        "brier": truth.probability.brier.value,
        "ece": truth.probability.ece.value,
        "f1 of submission": _submission_f1(workdir),
        "seconds": round(wall),
        "peak MiB": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024,
    }


def _stated(name: str, node: dict[str, Any]) -> dict[str, float]:
    """An AUC with the ends of its interval."""
    low, high = node["interval"] or (0.0, 1.0)
    return {name: np.nan if node["auc"] is None else node["auc"], f"{name} low": low, f"{name} high": high}


def _submission_f1(workdir: Path) -> float:
    """F1 of submission.csv on the sealed truth: the task's own score."""
    with (workdir / "challenge" / "sealed" / "truth.csv").open() as stream:
        truth = {row["id"]: int(row["label"]) for row in csv.DictReader(stream)}
    with (workdir / "submission.csv").open() as stream:
        said = {name: int(label) for name, label in csv.reader(stream)}
    hits = sum(said[name] and label for name, label in truth.items())
    return 2 * hits / (sum(said.values()) + sum(truth.values()))


def main(_: list[str]) -> None:
    rows = []
    for index, seed in enumerate(_SEEDS.value):
        rows.append(one(index, seed))
        print(
            " | ".join(f"{k} {v:.3f}" if isinstance(v, float) else f"{k} {v}" for k, v in rows[-1].items()), flush=True
        )
    sealed = np.array([row["sealed"] for row in rows], float)
    print(f"\nsealed AUC: median {np.median(sealed):.3f}, from {sealed.min():.3f} to {sealed.max():.3f}")
    for name, figure in (("prediction", "estimate"), ("candidates", "candidates"), ("expected", "expected")):
        low = np.array([row[f"{name} low"] for row in rows], float)
        high = np.array([row[f"{name} high"] for row in rows], float)
        inside = int(((low <= sealed) & (sealed <= high)).sum())
        off = np.array([row[figure] for row in rows], float) - sealed
        print(
            f"{name} interval: covers {inside} of {len(rows)} at a median width of {np.median(high - low):.3f}; ",
            end="",
        )
        off = off[np.isfinite(off)]
        if len(off):
            print(f"its AUC is off by {np.abs(off).mean():.3f} on average, {off.mean():+.3f} with its sign")
        else:
            print("its AUC is withheld in all")


if __name__ == "__main__":
    with exits(lambda: _OUT.value):
        app.run(main)

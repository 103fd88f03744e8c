"""The attack against every published baseline, on challenges with a sealed truth.

python benchmarks/attack.py --root=DIR [--cases=phantom.dit.1,...] [--pool=DIR --patients=CSV]

Cases are named as in attack_cases.py. Each is made and attacked by `launch.py run` in ROOT/CASE (which resumes), and
scored here: ours, each baseline on the same candidates and pile, and of the calibrated signals the one that is best on
the shadows. The baseline to compare with is also chosen on the shadows: the one that finds their members best.
Baselines whose score depends on who else is scored are left out.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from absl import app, flags

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

_ROOT = flags.DEFINE_string("root", None, "Folder of the runs.", required=True)
_CASES = flags.DEFINE_list("cases", ["phantom.dit.1", "phantom.unet2d.1", "phantom.dit.2.slice.nothing"], "Cases.")
_POOL = flags.DEFINE_string("pool", "", "Folder of real slices, for cases of `real`.")
_PATIENTS = flags.DEFINE_string("patients", "", "csv `file,patient` of them.")
RESAMPLES = 2000


def run(name: str, folder: Path) -> None:
    case = f"{Path(__file__).resolve().with_name('attack_cases.py')}:{name};{_POOL.value};{_PATIENTS.value}"
    command = [sys.executable, str(ROOT / "launch.py"), "run", f"--config={case}", f"--workdir={folder}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def figures(name: str, folder: Path) -> dict[str, Any]:
    """Scores of ours and of every baseline on the test candidates, the truth, and what the shadows say of each."""
    from attack_cases import recipe

    from attack import baselines, fitting, ranking, store
    from shadow import fleet
    from shadow.data import manifest

    config = recipe(name, _POOL.value, _PATIENTS.value)
    size, data = config.data.resolution, manifest.read(folder / "manifest.csv", folder / "challenge")
    with (folder / "challenge" / "sealed" / "truth.csv").open() as stream:
        truth = {row["id"]: row for row in csv.DictReader(stream)}
    with (folder / "predictions.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    ids, dev = [row["id"] for row in rows], fleet.dev_ids(data)
    kept = store.read(folder, data, config)
    summary = json.loads((folder / "attack" / "evaluation.json").read_text())
    step = summary["regime"]["step"]

    def pile(which: str) -> np.ndarray:
        return store._read_pile(folder, data, config, which, kept.sizes)

    candidates, known = data.images_at(ids, size), data.images_at(dev, size)
    scores = baselines.score_all(candidates, pile("generated_test"), known[kept.not_used])
    scores = {key: value for key, value in scores.items() if not baselines.BASELINES[key].set_dependent}
    on_shadows: dict[str, list[float]] = {key: [] for key in scores}
    for i, k in enumerate(kept.shadows):
        member = kept.member[i]
        # half of its non-members are the reference, the others are asked about with the members
        outside = np.flatnonzero(~member)
        asked = np.concatenate([np.flatnonzero(member), outside[::2]])
        found = baselines.score_all(
            known[asked], pile(store.pile_name(k, step, len(pile("generated_test")))), known[outside[1::2]]
        )
        for key in on_shadows:
            on_shadows[key].append(ranking.auc(found[key], member[asked]))
    labelled, target = kept.labelled(step, "generated_test"), kept.target("generated_test", step)
    signals = {row["name"]: row["auc"] or 0.0 for row in summary["signals"]}
    best_signal = max(signals, key=lambda key: signals[key])
    options = fitting.options(config)
    from attack import target as target_of

    fitted = target_of.fit_draws(labelled, options, config.attack.draws)
    z = np.mean([target_of.candidate_z(labelled, target, p, options, d) for d, (_, p) in enumerate(fitted)], axis=0)
    return {
        "label": np.array([int(truth[i]["label"]) for i in ids]),
        "group": [truth[i].get("group", i) or i for i in ids],
        "ours": np.array([float(row["score"]) for row in rows]),
        "probability": np.array([float(row["probability"]) for row in rows]),
        "decision": [row["decision"] for row in rows],
        "signal": z[:, list(signals).index(best_signal)],
        "best_signal": best_signal,
        "baselines": scores,
        "best": max(on_shadows, key=lambda key: float(np.mean(on_shadows[key]))),
        "expected": summary["expected"],
    }


def report(name: str, found: dict[str, Any]) -> dict[str, float]:
    from attack import metrics, ranking

    label, best = found["label"], found["best"]
    auc = metrics.evaluate(found["ours"], label, probability=found["probability"])["auc"]
    counts = []
    for rate in (0.01, 0.1):
        point = metrics.tpr_at_fpr(found["ours"], label, rate)
        said = f"{point.true_positives} of {point.members} at {point.false_positives} of {point.non_members}"
        counts.append(said if point.attainable else "-")
    reference = found["baselines"][best]
    gap, (low, high) = ranking.delong_paired(found["ours"], reference, label), found["expected"]["interval"]
    areas = {key: ranking.auc(score, label) for key, score in found["baselines"].items()}
    oracle = max(areas, key=lambda key: areas[key])
    brier, ece = metrics.brier(found["probability"], label), metrics.ece(found["probability"], label)
    print(f"{name}: ours {auc['value']:.3f} [{auc['low']:.3f}, {auc['high']:.3f}]")
    print(f"  TPR at 1 % and 10 % FPR: {'; '.join(counts)}; Brier {brier:.3f}, ECE {ece:.3f}")
    print(f"  expected {found['expected']['auc']:.3f} [{low:.3f}, {high:.3f}]")
    print(f"  best signal on the shadows ({found['best_signal']}): {ranking.auc(found['signal'], label):.3f}")
    print(f"  best baseline on the shadows ({best}): {areas[best]:.3f}; ours minus it {gap.difference:+.3f} ", end="")
    print(f"[{gap.interval[0]:+.3f}, {gap.interval[1]:+.3f}], p {gap.p:.2g}")
    print(f"  best baseline on the truth ({oracle}): {areas[oracle]:.3f}", flush=True)
    return {"covered": float(low <= auc["value"] <= high), "width": high - low}


def pooled(cases: dict[str, dict[str, Any]]) -> None:
    """Mean AUCs over the cases, and 1 - (1 - ours) / (1 - best baseline), by a bootstrap over cases and candidates."""
    from attack import ranking

    rng = np.random.default_rng(0)
    aucs = np.empty((RESAMPLES + 1, len(cases), 2))
    for i, found in enumerate(cases.values()):
        label, pair = found["label"], (found["ours"], found["baselines"][found["best"]])
        classes = [np.flatnonzero(label == value) for value in (0, 1)]
        aucs[0, i] = [ranking.auc(score, label) for score in pair]
        for b in range(RESAMPLES):
            drawn = np.concatenate([rng.choice(rows, len(rows)) for rows in classes])
            aucs[b + 1, i] = [ranking.auc(score[drawn], label[drawn]) for score in pair]
    means = [aucs[0].mean(0)]
    means += [aucs[b + 1, rng.integers(0, len(cases), len(cases))].mean(0) for b in range(RESAMPLES)]
    ours, theirs = np.array(means).T
    # resamples in which the baseline is perfect have nothing to cut
    cut = 1 - np.divide(1 - ours, 1 - theirs, out=np.full(len(ours), np.nan), where=theirs < 1)
    for what, value in (("ours", ours), ("best baseline", theirs), ("cut of 1 - AUC", cut)):
        low, high = np.nanquantile(value[1:], (0.025, 0.975))
        print(f"pooled over {len(cases)}: {what} {value[0]:.3f} [{low:.3f}, {high:.3f}]")


def main(_: list[str]) -> None:
    found, covered, widths = {}, [], []
    for name in _CASES.value:
        folder = Path(_ROOT.value) / name
        run(name, folder)
        case = figures(name, folder)
        row = report(name, case)
        covered.append(row["covered"])
        widths.append(row["width"])
        if not name.endswith("nothing"):
            found[name] = case
    print(f"expected interval covered {int(sum(covered))} of {len(covered)}, median width {np.median(widths):.2f}")
    if found:
        pooled(found)


if __name__ == "__main__":
    app.run(main)

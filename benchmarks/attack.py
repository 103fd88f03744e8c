"""The attack against every published baseline, on challenges with a sealed truth in two bands of difficulty.

python benchmarks/attack.py --root=DIR [--pool=DIR --patients=CSV] [--worlds=phantom.dit.slice.1,...] [--all]

Worlds and cases are named as in attack_cases.py; all worlds of phantom slices, and of the real ones of --pool where it
is given. Each case is run by `launch.py run` in ROOT/CASE (which resumes) and scored here: ours, each baseline on the
same candidates and pile, and of the calibrated signals the one that is best on the shadows. The baseline to compare
with is also chosen on the shadows. Baselines whose score depends on who else is scored are left out. Printed are
markdown tables; with --all every baseline of every case; ROOT/attack.json holds every figure.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from absl import app, flags, logging
from scipy import stats

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import attack_cases  # noqa: E402
import launching  # noqa: E402
from attack_figures import RATES, Case, read, row  # noqa: E402

from attack import metrics  # noqa: E402
from attack.decision import platt  # noqa: E402
from attack.metrics import intervals, ranking  # noqa: E402
from shadow import files, workdir  # noqa: E402
from shadow.config import from_dict  # noqa: E402
from shadow.errors import exits  # noqa: E402

_ROOT = flags.DEFINE_string("root", None, "Folder of the runs.", required=True)
_WORLDS = flags.DEFINE_list("worlds", [], "Worlds; all where empty.")
_POOL = flags.DEFINE_string("pool", "", "Folder of real slices.")
_PATIENTS = flags.DEFINE_string("patients", "", "csv `file,patient` of them.")
_SET = flags.DEFINE_multi_string("set", [], "Overrides of every run, e.g. --set=attack.ridge=0.1 (repeatable).")
_ALL = flags.DEFINE_bool("all", False, "Print every baseline of every case.")
RESAMPLES = 2000


def run(root: Path, world: str, case: str, first: str, size: int) -> None:
    """`launch.py run` of a case; the shadows are those of the world's first case."""
    recipe = f"{Path(__file__).resolve().with_name('attack_cases.py')}:{world};{_POOL.value};{_PATIENTS.value};{size}"
    command = "run", f"--config={recipe}", f"--workdir={root / case}"
    reuse = [] if case == first else [f"--reuse={root / first}"]
    overrides = [f"--config.{text}" for text in _SET.value]
    launching.launch(*command, *reuse, *overrides)


def cells(values: dict[str, Any]) -> str:
    """A row of a markdown table, three decimals."""
    return "| " + " | ".join(f"{v:.3f}" if isinstance(v, float) else str(v) for v in values.values()) + " |"


def head(values: dict[str, Any]) -> str:
    return "| " + " | ".join(values) + " |\n|" + "---|" * len(values)


def summary(name: str, case: Case) -> dict[str, Any]:
    """Ours beside the baseline that is best on the shadows."""
    ours, best = row(case, "ours"), case.best
    two_way, asked, expected = (case.evaluation[name] for name in ("two_way", "candidates", "expected"))
    gap = ranking.delong_paired(case.scores["ours"], case.scores[best], case.truth)
    areas = {key: ranking.auc(score, case.truth) for key, score in case.scores.items() if key in case.on_shadows}
    oracle = max(areas, key=lambda key: areas[key])
    return {
        "case": name,
        "ours": f"{ours['auc']:.3f} [{ours['low']:.3f}, {ours['high']:.3f}]",
        "best baseline": f"{areas[best]:.3f} {best}",
        "difference": f"{gap.difference:+.3f} [{gap.interval[0]:+.3f}, {gap.interval[1]:+.3f}]",
        "best on the truth": f"{areas[oracle]:.3f} {oracle}",
        "best signal": ranking.auc(case.scores[f"signal {case.signal}"], case.truth),
        **{f"TPR at {rate}": ours[f"tpr {rate}"] for rate in RATES},
        "F1": ours["f1"],
        "its F1": row(case, best)["f1"],
        "Brier": ours["brier"],
        "ECE": ours["ece"],
        "two-way": _stated(two_way, "prediction_interval"),
        "candidates": _stated(asked),
        "expected": f"{_stated(expected)} {expected['from']}",
        "verdict": case.evaluation["verdict"]["level"],
    }


def _stated(node: dict[str, Any], interval: str = "interval") -> str:
    """An AUC with its interval; a dash where it is withheld."""
    area, limits = node["auc"], node[interval]
    ends = "-" if limits is None else f"[{limits[0]:.3f}, {limits[1]:.3f}]"
    return f"{'-' if area is None else f'{area:.3f}'} {ends}"


def _world(case: str) -> str:
    return case.rsplit(".", 1)[0]


def coverage(cases: dict[str, Case]) -> None:
    """How often the intervals held the AUC on the truth, and the calibration over all candidates."""
    for title, place, key in (
        ("prediction interval of the two-way estimate", "two_way", "prediction_interval"),
        ("interval by how far the candidates stand above slices known not to be used", "candidates", "interval"),
        ("interval of the expected AUC", "expected", "interval"),
    ):
        held, widths, errors = [], [], []
        for case in cases.values():
            low, high = case.evaluation[place][key] or (0.0, 1.0)
            area = ranking.auc(case.scores["ours"], case.truth)
            held.append(low <= area <= high)
            widths.append(high - low)
            if case.evaluation[place]["auc"] is not None:
                errors.append(case.evaluation[place]["auc"] - area)
        print(f"{title}: covers {sum(held)} of {len(held)}, median width {np.median(widths):.2f}; ", end="")
        off = f"{np.abs(errors).mean():.3f} on average, {np.mean(errors):+.3f} with its sign" if errors else "-"
        print(f"the AUC is off by {off} (withheld in {len(held) - len(errors)})")
    truth = np.concatenate([case.truth for case in cases.values()])
    chance = np.concatenate([case.probability for case in cases.values()])
    flagged = np.concatenate([case.flagged for case in cases.values()])
    alarms, non_members = int(flagged[truth == 0].sum()), int((truth == 0).sum())
    # the non-members of a world share the slices that set its threshold, so they say less than as many strangers
    world = [_world(name) for name, case in cases.items() for _ in case.truth]
    low, high = intervals.proportion_interval(flagged[truth == 0], np.array(world)[truth == 0])
    print(
        f"pooled candidates: Brier {metrics.brier(chance, truth):.3f}, ECE {metrics.ece(chance, truth):.3f}, ", end=""
    )
    print(f"mean probability {chance.mean():.3f} where {truth.mean():.3f} were used; realised FPR ", end="")
    print(f"{alarms / non_members:.3f} [{low:.3f}, {high:.3f}] ({alarms} of {non_members}, by world)")
    false_alarms(cases)


def false_alarms(cases: dict[str, Case]) -> None:
    """Realised false positive rates beside those to expect where so many known slices set the threshold.

    A world's cases ask about the same slices, so one draw stands for all of them (as if they agreed in everything);
    slices known not to be used are taken for independent.
    """
    rng, inside = np.random.default_rng(0), []
    realised: dict[str, list[float]] = {}
    expected: dict[str, np.ndarray] = {}
    for name, case in cases.items():
        limits, world = case.evaluation["thresholds"], _world(name)
        law = platt.fpr_distribution(limits["nulls"], limits["share"])
        if law is None:  # the probabilities set it
            continue
        wrong, others = int(case.flagged[case.truth == 0].sum()), int((case.truth == 0).sum())
        low, high = stats.betabinom.ppf((0.025, 0.975), others, *law)
        inside.append(low <= wrong <= high)
        realised.setdefault(world, []).append(wrong / others)
        if world not in expected:
            expected[world] = rng.binomial(others, rng.beta(*law, 100_000)) / others
    if inside:
        mean, drawn = np.mean([np.mean(rates) for rates in realised.values()]), np.mean(list(expected.values()), axis=0)
        low, high = np.quantile(drawn, (0.025, 0.975))
        print(
            f"realised FPR inside its 95 % prediction interval, given the known slices: {sum(inside)} of {len(inside)}"
        )
        print(f"mean of {len(realised)} worlds {mean:.3f}, expected {drawn.mean():.3f} [{low:.3f}, {high:.3f}]")


def pooled(cases: dict[str, Case]) -> None:
    """Mean AUCs, and 1 - (1 - ours) / (1 - best baseline), by a bootstrap over worlds and, within, candidates."""
    rng = np.random.default_rng(0)
    worlds: dict[str, list[int]] = {}
    aucs = np.empty((RESAMPLES + 1, len(cases), 2))
    for i, (name, case) in enumerate(cases.items()):
        worlds.setdefault(_world(name), []).append(i)
        pair = case.scores["ours"], case.scores[case.best]
        classes = [np.flatnonzero(case.truth == value) for value in (0, 1)]
        aucs[0, i] = [ranking.auc(score, case.truth) for score in pair]
        for b in range(RESAMPLES):
            drawn = np.concatenate([rng.choice(rows, len(rows)) for rows in classes])
            aucs[b + 1, i] = [ranking.auc(score[drawn], case.truth[drawn]) for score in pair]
    means, blocks = [aucs[0].mean(0)], list(worlds.values())
    for b in range(RESAMPLES):
        chosen = [i for block in rng.integers(0, len(blocks), len(blocks)) for i in blocks[block]]
        means.append(aucs[b + 1, chosen].mean(0))
    ours, theirs = np.array(means).T
    # resamples in which the baseline is perfect have nothing to cut
    cut = 1 - np.divide(1 - ours, 1 - theirs, out=np.full(len(ours), np.nan), where=theirs < 1)
    for what, value in (("ours", ours), ("best baseline", theirs), ("cut of 1 - AUC", cut)):
        low, high = np.nanquantile(value[1:], (0.025, 0.975))
        print(f"{what} {value[0]:.3f} [{low:.3f}, {high:.3f}]")


def every_baseline(cases: dict[str, Case]) -> list[dict[str, Any]]:
    """Means over the cases of every attack, and how often ours was better or worse (paired DeLong, p < .05)."""
    table = []
    for name in ["ours", *next(iter(cases.values())).on_shadows]:
        rows = [row(case, name) for case in cases.values()]
        gaps = [ranking.delong_paired(c.scores["ours"], c.scores[name], c.truth) for c in cases.values()]
        table.append(
            {
                "attack": name,
                "mean AUC": float(np.mean([r["auc"] for r in rows])),
                "mean F1": float(np.mean([r["f1"] for r in rows])),
                "ours minus it": float(np.mean([g.difference for g in gaps])),
                "ours better": sum(g.p < 0.05 and g.difference > 0 for g in gaps),
                "ours worse": sum(g.p < 0.05 and g.difference < 0 for g in gaps),
            }
        )
    return sorted(table, key=lambda r: -r["mean AUC"])


def print_table(rows: list[dict[str, Any]]) -> None:
    print(head(rows[0]), *map(cells, rows), "", sep="\n", flush=True)


def main(_: list[str]) -> None:
    logging.set_verbosity(logging.WARNING)
    root, cases = Path(_ROOT.value), {}
    for world in _WORLDS.value or attack_cases.worlds(bool(_POOL.value)):
        bands = attack_cases.make(root, world, _POOL.value, _PATIENTS.value)
        for band, size in bands.items():
            name = f"{world}.{band}"
            run(root, world, name, f"{world}.{next(iter(bands))}", size)
            config = from_dict(workdir.read_config(root / name))
            config.data.root = str(root / name / "challenge")
            cases[name] = read(root / name, config)
            print(f"{name} is done", file=sys.stderr, flush=True)
    rows = [summary(name, case) for name, case in cases.items()]
    print_table(rows)
    leaking = {name: case for name, case in cases.items() if not name.endswith(".nothing")}
    if leaking:
        print_table(every_baseline(leaking))
        pooled(leaking)
    coverage(cases)
    every = {name: [row(case, key) for key in ("ours", *case.on_shadows)] for name, case in cases.items()}
    if _ALL.value:
        for name, attacks in every.items():
            print(f"\n{name}\n")
            print_table([{**a, "brier": a.get("brier", "-"), "ece": a.get("ece", "-")} for a in attacks])
    shadows = {name: case.on_shadows for name, case in cases.items()}
    files.write_json(root / "attack.json", {"cases": rows, "attacks": every, "baselines on shadows": shadows})


if __name__ == "__main__":
    with exits(lambda: _ROOT.value):
        app.run(main)

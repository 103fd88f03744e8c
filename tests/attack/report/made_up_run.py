"""A small made-up run to report on."""

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
from PIL import Image

from attack import results
from attack.report import write
from attack.results import Rate, ReliabilityRow
from shadow import files
from shadow.config import Config
from shadow.data import manifest as manifests


def write_report(workdir: Path, config: Config, root: Path) -> Path:
    """The report of a made-up run, whose slices lie below `root`."""
    return write.write_report(workdir, manifests.read(workdir / "manifest.csv", root), config)


HOSTILE = "real_\"><img src=x onerror=alert(1)>&amp;'$x$"

SHADOWS = 4

TWO_WAY = results.TwoWay(
    auc=0.86,
    interval=(0.8, 0.91),
    prediction_interval=(0.7, 0.95),
    within_shadow=(0.82, 0.88, 0.9, 0.84),
    pairs=160,
    members=80,
    non_members=80,
    tpr_at_fpr=(
        Rate(
            fpr=0.1,
            tpr=0.5,
            interval=(0.38, 0.61),
            true_positives=40,
            members=80,
            false_positives=8,
            non_members=80,
            fpr_interval=(0.05, 0.19),
        ),
        Rate(fpr=0.001, why="80 non-members cannot show a false positive rate below 1/80"),
    ),
    strata=(
        results.Stratum(stratum="unrelated", auc=0.88, interval=(0.82, 0.93), members=80, non_members=50),
        results.Stratum(stratum="related", auc=0.79, interval=(0.68, 0.88), members=80, non_members=30),
    ),
    brier=0.15,
    log_loss=0.46,
    ece=0.05,
    reliability=(
        ReliabilityRow(mean_probability=0.1, observed=0.08, count=60, interval=(0.03, 0.18)),
        ReliabilityRow(mean_probability=0.5, observed=0.55, count=40, interval=(0.38, 0.7)),
        ReliabilityRow(mean_probability=0.9, observed=0.92, count=60, interval=(0.82, 0.97)),
    ),
    nearness=results.Nearness(edges=(0.0, 0.5), target=(0.3, 0.7), shadows=(0.2, 0.8), thin=0.0),
)

WORTH = results.Worth(
    parts=(
        results.Part(
            kind="signal",
            name="nearest",
            drop=0.213,
            error=0.02,
            left_out=0.104,
            left_out_error=0.03,
            alone=0.831,
        ),
        results.Part(
            kind="signal",
            name="votes",
            drop=-0.004,
            error=None,
            left_out=-0.011,
            left_out_error=0.01,
            alone=0.702,
        ),
    ),
    curve=(
        results.CurvePoint(shadows=8, auc=0.8, interval=(0.7, 0.87), each=(0.79, 0.81)),
        results.CurvePoint(shadows=16, auc=0.86, interval=(0.8, 0.91), each=(0.86,)),
    ),
)

EVALUATION = results.Evaluation(
    shadows_asked=SHADOWS,
    pile_size=250,
    target_pile=10_000,
    flips=results.FlipsFound(names=("left_right",), share={"left_right": 0.47, "up_down": 0.98}),
    shadows_used=SHADOWS,
    shadows_missing=(),
    two_way=TWO_WAY,
    patients=results.Patients(why="patients are not known"),
    null=results.Null(known=30, unknown=0, presumed=False),
    signals=(
        results.Signal(name="ratio@highpass", auc=0.83, interval=(0.75, 0.9), weight=1.1),
        results.Signal(name="votes@pixels", auc=0.7, interval=(0.6, 0.8), weight=0.0),
    ),
    families=results.Families(
        names=("dit", "unet"),
        shadows=(2, 2),
        two_way=(0.9, 0.82),
        left_out=results.LeftOut(auc=0.78, interval=(0.7, 0.85), by_family=(0.811, 0.743)),
        why=None,
    ),
    worth=WORTH,
    dev=results.Dev(auc=0.8, interval=(0.66, 0.9), members=20, non_members=20, same_generator=False),
    same_generator=results.Provenance(counts=False, why="The piles are told apart.", kind="piles differ", power=0.9),
    candidates=results.Candidates(
        auc=0.76,
        interval=(0.62, 0.9),
        why="",
        p=0.0003,
        blind_p=0.4,
        area=0.63,
        variance=0.001,
        freedom=30.0,
        candidates=12,
        nulls=30,
        patients=6,
        null_patients=15,
        aside=0,
        centre=0.5,
        placebo=(0.5, 0.47, 0.52, 0.51),
        inflation=1.0,
        placebo_flagged=0.09,
    ),
    expected=results.Expected(auc=0.76, interval=(0.62, 0.9), source="candidates", why=""),
    implied_auc=0.76,
    thresholds=results.Thresholds(used=1.6, not_used=0.0, nulls=30, share=0.1, fpr_interval=(0.0211, 0.2207)),
    regime=results.Regime(
        step=2000,
        distance=0.4,
        statistic=(
            results.Statistic(name="generated-generated distance", target=0.42, shadows=(0.4, 0.45, 0.43, 0.5)),
        ),
        inside=True,
        excess=0.0,
        message="The target lies among the shadows in every statistic.",
    ),
    controls=(
        results.Control(name="blind", auc=0.51, interval=(0.42, 0.6), p=0.81, what="never sees the pile"),
        results.Control(name="wrong pile", auc=0.49, interval=(0.4, 0.58), p=0.001, what="an unrelated shadow"),
    ),
    prior=0.5,
    fpr=0.1,
    threshold_used=0.8,
    threshold_not_used=0.2,
    decisions=results.Decisions(used=3, not_used=4, undetermined=5),
    submission=results.Submission(objective="f1", expected=0.7, ones=6, candidates=12, all_ones=False),
    priors=(
        results.PriorRow(prior=0.5, ppv=0.83, tpr=0.5, fpr=0.1),
        results.PriorRow(prior=0.1, ppv=0.36, tpr=0.5, fpr=0.1),
        results.PriorRow(prior=0.01, ppv=0.05, tpr=0.5, fpr=0.1),
    ),
    verdict=results.VerdictReached(
        level="leak",
        why="the candidates stand above slices known not to be used (one-sided p 0.0003)",
        p=0.0003,
        p_labelled=None,
        limit=0.01,
        smallest_auc=0.83,
    ),
)


def altered(*changes) -> results.Evaluation:
    """The made-up evaluation after changes of its JSON."""
    content = EVALUATION.to_json()
    for change in changes:
        change(content)
    return results.Evaluation.from_json(content, Path("evaluation.json"))


def quality(value) -> dict:
    return {name: {"value": value, "low": value / 2, "high": 2 * value} for name in ("brier", "log_loss", "ece")}


def recalibrated(evaluation) -> None:
    """The labels of forty dev slices set the probabilities."""
    evaluation["dev"]["recalibration"] = {
        "slope": 1.0,
        "offset": 0.0,
        "slices": 40,
        "before": {"slope": 0.8, "offset": -0.1, **quality(0.222)},
        "cross_validated": quality(0.033),
    }


def config(**report) -> Config:
    made_up = Config()
    made_up.data.root = "/home/somebody/secret-project"
    made_up.data.resolution = 16
    made_up.report = dataclasses.replace(made_up.report, **{"gallery_rows": 3, "gallery": "true"} | report)
    return made_up


def make_run(folder: Path, draw=None, candidates=12, pile=30, sealed=True, seed=0) -> tuple[Path, Path]:
    """A complete (workdir, data root). `draw(count, rng)` gives uint8 [count, side, side]."""
    rng = np.random.default_rng(seed)
    draw = draw or (lambda count, rng: rng.integers(0, 256, (count, 16, 16), dtype=np.uint8))
    work, root = folder / "work", folder / "data"
    rows = []
    names = {"generated_dev": 4, "generated_test": pile, "used": 4, "not_used": 4, "unknown": candidates}
    for role, count in names.items():
        for number, image in enumerate(draw(count, rng)):
            name = f"{role}_{number:04d}"
            path = f"{role}/{name}.png"
            (root / role).mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(root / path)
            digest = hashlib.sha256((root / path).read_bytes()).hexdigest()
            label = {"used": 1, "not_used": 0}.get(role, "")
            name = HOSTILE if name == "unknown_0000" else name
            side = image.shape[0]
            group = "" if role.startswith("generated") else f"patient {number // 2}"
            rows.append((name, role, path, label, group, side, side, "L", digest))
    header = ("id", "role", "path", "label", "group", "width", "height", "mode", "sha256")
    files.write_csv(work / "manifest.csv", header, rows)
    ids = [row[0] for row in rows if row[1] == "unknown"]
    label = np.arange(candidates) % 2 == 0
    score = rng.normal(1.3 * label, 1)
    probability = 1 / (1 + np.exp(-2 * (score - 0.6)))
    decision = np.where(score > 1.6, "used", np.where(score < 0, "not used", "undetermined"))
    header = ("id", "score", "probability", "probability_low", "probability_high", "decision")
    columns = (ids, score, probability, probability * 0.7, 1 - (1 - probability) * 0.7, decision)
    files.write_csv(work / "predictions.csv", header, zip(*columns, strict=True))
    if sealed:
        truth = [
            (name, int(used), f"p{number // 2}") for number, (name, used) in enumerate(zip(ids, label, strict=True))
        ]
        files.write_csv(root / "sealed" / "truth.csv", ("id", "label", "group"), truth)
        files.write_json(root / "sealed" / "challenge.json", {"challenge": {"train": {"steps": 2000}}})
    files.write_array(work / "membership.npy", np.arange(SHADOWS * 8).reshape(SHADOWS, 8) % 2 == 0)
    files.write_json(work / "plan.json", {"packs": [[0, 1], [2, 3]]})
    files.write_json(work / "config.json", {"version": "0.1.0", "config": {}, "stages": {"train": "ab" * 32}})
    EVALUATION.write(work / "attack" / "evaluation.json")
    with (work / "attack" / "on_target.npz").open("wb") as stream:
        null = np.random.default_rng(seed + 1).normal(size=30)
        np.savez(stream, candidate=score, null=null, null_group=np.arange(30) // 2)
    pairs = 160
    answer = np.arange(pairs) % 2
    held = rng.normal(1.5 * answer, 1)
    np.savez(
        work / "attack" / "heldout.npz",
        score=held,
        probability=1 / (1 + np.exp(-held)),
        label=answer.astype(np.int8),
        shadow=(np.arange(pairs) // 40).astype(np.int32),
        candidate=(np.arange(pairs) % 40).astype(np.int32),
    )
    for shadow in range(SHADOWS):
        lines = []
        for step in range(0, 2001, 50):
            loss = 0.08 + 0.4 / (1 + step / 60) + 0.01 * rng.random()
            row = {
                "step": step,
                "images": 32 * step,
                "loss": loss,
                "gradient_norm": 1.0,
                "images_per_second": 900.0,
            }
            if step % 250 == 0:
                base = np.array([0.4, 0.2, 0.1]) * (0.3 + 1 / (1 + step / 300))
                row["loss_in"] = base.tolist()
                row["loss_out"] = (base * (1 + np.array([0.05, 0.15, 0.3]) * step / 2000)).tolist() if step else None
            lines.append(json.dumps(row))
        files.write_text(work / "shadows" / f"{shadow:04d}" / "metrics.jsonl", "\n".join(lines) + '\n{"step": 2')
    return work, root


def cannot_tell(evaluation) -> None:
    """No leak: the candidates score like slices that were not used."""
    evaluation["candidates"] |= {"auc": 0.54, "interval": [0.4, 0.68], "p": 0.3, "area": 0.52}
    evaluation["expected"] |= {"auc": 0.54, "interval": [0.4, 0.68]}
    evaluation["decisions"] = {"used": 0, "not used": 0, "undetermined": 12}
    why = "the candidates do not stand above slices known not to be used (one-sided p 0.3)"
    evaluation["verdict"] |= {"level": "cannot tell", "why": why, "p": 0.3}


def labelled_only(evaluation) -> None:
    """The dev slices of the same generator stand apart, the candidates do not."""
    cannot_tell(evaluation)
    evaluation["dev"] |= {"same_generator": True}
    evaluation["same_generator"] |= {
        "counts": True,
        "kind": "same",
        "why": "The piles cannot be told apart (p = 0.50).",
    }
    evaluation["expected"] |= {"interval": [0.4, 0.9]}
    evaluation["verdict"] |= {"level": "labelled only", "p_labelled": 0.001, "limit": 0.025}


def alter(run, tmp_path, change) -> Path:
    """A copy of the run's workdir (links to nothing) with another evaluation.json."""
    work = tmp_path / "work"
    for path in run[0].rglob("*"):
        if path.is_file():
            files.write_bytes(work / path.relative_to(run[0]), path.read_bytes())
    evaluation = EVALUATION.to_json()
    change(evaluation)
    files.write_json(work / "attack" / "evaluation.json", evaluation)
    return work

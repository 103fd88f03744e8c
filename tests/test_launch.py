"""The commands end to end: what a run writes, what a second run leaves alone, what its answers depend on."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest
from tiny_run import PROGRESS, fails, leftovers, snapshot

from attack.decision import predicting
from attack.inference import store
from attack.pipeline import Run
from shadow import config, workdir
from shadow.data import manifest
from shadow.errors import UserError

FILES = """
config.json manifest.csv membership.npy plan.json challenge/sealed/truth.csv challenge/sealed/challenge.json
shadows/0007/piles/00000030.npy shadows/0007/metrics.jsonl shadows/0007/result.json signals/values.npy
signals/names.json attack/model.json attack/evaluation.json predictions.csv submission.csv report.html
"""
ANSWERS = ("predictions.csv", "submission.csv")
COLUMNS = ("score", "probability", "probability_low", "probability_high")


def table(path) -> dict[str, dict[str, str]]:
    with path.open(newline="") as stream:
        return {row["id"]: row for row in csv.DictReader(stream)}


def truth(folder) -> dict[str, int]:
    return {name: int(row["label"]) for name, row in table(folder / "challenge/sealed/truth.csv").items()}


def test_a_run_writes_its_files_and_says_where_the_report_is(first):
    folder, result = first
    assert result.returncode == 0, result.stderr
    assert [name for name in FILES.split() if not (folder / name).is_file()] == []
    assert (folder / "shadows/0007/checkpoints/30").is_dir()
    assert leftovers(folder) == []
    assert result.stdout.splitlines()[-1] == f"report: {folder / 'report.html'}"
    rows = table(folder / "predictions.csv")
    assert sorted(rows) == sorted(truth(folder))
    assert set(next(iter(rows.values()))) == {"id", *COLUMNS, "decision"}
    for row in rows.values():
        assert 0 <= float(row["probability_low"]) <= float(row["probability"]) <= float(row["probability_high"]) <= 1


def test_a_run_says_nothing_but_its_progress(first):
    noise = [line for line in first[1].stderr.splitlines() if not line.startswith(PROGRESS)]
    assert noise == []


def test_score_and_validate_work_on_it(launch, tiny, run, tmp_path):
    wanted = tmp_path / "figures.json"
    files = f"--predictions={run / 'predictions.csv'}", f"--truth={run / 'challenge/sealed/truth.csv'}"
    scored = launch("score", *files, f"--json={wanted}")
    assert (scored.returncode, scored.stderr) == (0, "")
    assert "AUC" in scored.stdout
    assert 0 <= json.loads(wanted.read_text())["auc"]["value"] <= 1

    submission = run / "submission.csv"
    good = tiny("validate", run, f"--submission={submission}")
    assert (good.returncode, good.stderr) == (0, "")
    assert "16 rows" in good.stdout

    lines = submission.read_text().splitlines()
    lines[4] = lines[4].split(",")[0] + ",maybe"
    submission.write_text("\n".join(lines))
    assert f"{submission} line 5: wrong label 'maybe'" in fails(tiny("validate", run, f"--submission={submission}"))


def test_running_again_changes_nothing_and_says_so(tiny, run):
    before = snapshot(run)
    result = tiny("run", run)
    assert (result.returncode, result.stderr) == (0, "")
    assert "everything is done; nothing was changed" in result.stdout
    assert snapshot(run) == before


def test_status_of_a_finished_and_of_an_empty_folder(tiny, run, tmp_path):
    assert "not yet" not in tiny("status", run).stdout
    assert tiny("status", tmp_path / "new").stdout.count("not yet") == 6


def test_without_config_the_run_keeps_its_own(launch, run):
    before = snapshot(run)
    assert "nothing was changed" in launch("run", f"--workdir={run}").stdout
    assert snapshot(run) == before


def test_a_lost_file_is_made_again(tiny, run):
    before = snapshot(run)
    for name in ("predictions.csv", "report.html"):
        (run / name).unlink()
    assert tiny("run", run).returncode == 0
    assert {name: content for name, (content, _) in snapshot(run).items()} == {n: c for n, (c, _) in before.items()}


def test_predictions_do_not_need_the_sealed_truth(tiny, run):
    before = {name: (run / name).read_bytes() for name in ANSWERS}
    for name in ("signals", "attack", "challenge/sealed"):
        shutil.rmtree(run / name)
    for name in ANSWERS:
        (run / name).unlink()
    for command in ("signals", "fit", "predict"):
        result = tiny(command, run)
        assert (result.returncode, result.stderr) == (0, "")
    assert {name: (run / name).read_bytes() for name in ANSWERS} == before


@pytest.mark.parametrize(("members", "others"), [(0, 8), (1, 8), (3, 3), (8, 0), (1, 0)])
def test_a_score_does_not_depend_on_the_other_candidates(finished, members, others):
    recipe = config.from_dict(workdir.read_config(finished))
    data = store.read(finished, manifest.read(finished / "manifest.csv", finished / "challenge"), recipe)
    step = json.loads((finished / "attack/fit.json").read_text())["regime"]["step"]
    known = data.labelled(step, "generated_test")

    def scored(only):
        asked = data.target("generated_test", step, only=only)
        return asked.ids, predicting.fitted_score(finished / "attack", known, asked, recipe)

    label = truth(finished)
    rng = np.random.default_rng(members)
    sides = [(wanted, [name for name in label if label[name] == side]) for side, wanted in ((1, members), (0, others))]
    only = [str(name) for wanted, names in sides for name in rng.choice(names, wanted, replace=False)]
    every, whole = scored(None)
    some, part = scored(only)
    assert sorted(some) == sorted(only)
    wanted = {name: value.tobytes() for name, value in zip(every, whole, strict=True)}
    assert {name: value.tobytes() for name, value in zip(some, part, strict=True)} == {
        name: wanted[name] for name in some
    }


def test_half_of_the_candidates_have_the_same_scores_where_they_are_no_rivals(tiny, run, tmp_path):
    """Without `votes`, which shares generated images out among all real slices of the run."""
    alone = "--config.attack.signals=('ratio','mosaic')"
    assert tiny("run", run, alone).returncode == 0
    whole = table(run / "predictions.csv")
    values = np.load(run / "signals/values.npy")
    data = tmp_path / "half"
    (run / "challenge").rename(data)
    gone = sorted(whole)[::2]
    for name in gone:
        (data / f"test/real_unknown_1/{name}.png").unlink()
    sealed = data / "sealed/truth.csv"
    rows = sealed.read_text().splitlines(keepends=True)
    sealed.write_text("".join(row for row in rows if row.split(",")[0] not in gone))
    memberships = (run / "membership.npy").read_bytes()
    for name in ("signals", "attack"):
        shutil.rmtree(run / name)
    for name in ("manifest.csv", "membership.npy", "plan.json", *ANSWERS, "report.html"):
        (run / name).unlink()

    # the shadows know dev images only: they are kept
    result = tiny("run", run, f"--config.data.root={data}", alone)
    assert (result.returncode, result.stderr) == (0, "")
    assert (run / "membership.npy").read_bytes() == memberships
    half = table(run / "predictions.csv")
    assert sorted(half) == sorted(set(whole) - set(gone))
    for name, row in half.items():
        assert row["score"] == whole[name]["score"]  # probabilities are of all candidates together
    kept = [*range(16), *(16 + i for i, name in enumerate(whole) if name in half)]
    np.testing.assert_array_equal(np.load(run / "signals/values.npy"), values[:, kept])


def test_another_training_field_is_refused_by_name(tiny, run):
    before = snapshot(run)
    assert "train.steps" in fails(tiny("run", run, "--config.train.steps=40"))
    assert snapshot(run) == before


@pytest.mark.parametrize(
    ("part", "field", "value"), [("", "seed", 3), ("data", "resolution", 16), ("challenge", "test_used", 9)]
)
def test_another_data_field_is_refused_by_name(run, part, field, value):
    before, recipe = snapshot(run), config.from_dict(workdir.read_config(run))
    setattr(getattr(recipe, part) if part else recipe, field, value)
    with pytest.raises(UserError, match=rf"{part}\.{field}" if part else field):
        Run(run, recipe)
    assert snapshot(run) == before


def test_another_attack_field_redoes_the_attack_but_no_training(tiny, run):
    before = snapshot(run)
    result = tiny("run", run, "--config.attack.seed=5", "--config.attack.prior=0.3")
    assert (result.returncode, result.stderr) == (0, "")
    after = snapshot(run)
    kept = ("shadows/", "challenge/", "manifest.csv", "membership.npy", "plan.json")
    assert {n: v for n, v in after.items() if n.startswith(kept)} == {
        n: v for n, v in before.items() if n.startswith(kept)
    }
    for name in ("signals/values.npy", "attack/model.json", "predictions.csv", "submission.csv", "report.html"):
        assert after[name][1] > before[name][1], name
    assert after["predictions.csv"][0] != before["predictions.csv"][0]

    result = tiny("run", run)  # and back
    assert (result.returncode, result.stderr) == (0, "")
    for name in ANSWERS:
        assert snapshot(run)[name][0] == before[name][0]


def test_another_report_field_redoes_the_report_alone(tiny, run):
    before = snapshot(run)
    assert tiny("run", run, "--config.report.gallery=false").returncode == 0
    after = snapshot(run)
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed == {"config.json", "report.html", "attack/report.done.json"}


def test_changed_images_are_named(tiny, run):
    path = run / "challenge/dev/used/used_0003.png"
    shutil.copy(run / "challenge/dev/used/used_0004.png", path)
    before = snapshot(run)
    assert f"{path} has changed" in fails(tiny("run", run))
    assert snapshot(run) == before

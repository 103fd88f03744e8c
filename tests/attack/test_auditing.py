"""Arrays from Python: the same answers as `launch.py run` on the same images, and mistakes refused in one line."""

from __future__ import annotations

import csv
import dataclasses
import json
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from recipes import tiny as tiny_recipe
from tiny_run import leftovers

import attack
from attack.auditing import Audit, Verdict
from attack.results import Evaluation
from shadow.errors import UserError

ROOT = Path(__file__).parents[2]
COUNTS = {"pile": 24, "candidates": 12, "used": 8, "not_used": 16}
ROLES = (
    "('generated_dev=dev/generated','generated_test=test/generated_1','used=dev/used','not_used=dev/not_used',"
    "'unknown=test/real_unknown_1')"
)
SCRIPT = """
import dataclasses, json, sys
import numpy as np
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/tests"]
import attack
from recipes import tiny
from shadow.errors import UserError

images, folder = dict(np.load(sys.argv[2])), sys.argv[3]
groups = json.loads(sys.argv[4])

def keep(name, found):
    fields = {f.name: getattr(found, f.name) for f in dataclasses.fields(found)}
    arrays = {key: value for key, value in fields.items() if isinstance(value, np.ndarray)}
    np.savez(f"{folder}/{name}.npz", **arrays)
    rest = {key: value for key, value in fields.items() if key not in arrays} | {"shown": repr(found)}
    rest["verdict"] = dataclasses.asdict(found.verdict)
    rest["evaluation"] = found.evaluation.to_json()
    with open(f"{folder}/{name}.json", "w") as stream:
        json.dump(rest, stream)

recipe = tiny.get_config()
if not groups:
    del images["used"]
    keep("own", attack.audit(**images, config=recipe))
    sys.exit()
keep("labelled", attack.audit(**images, groups=groups, config=recipe, workdir=f"{folder}/labelled"))
keep("again", attack.audit(**images, groups=groups, config=recipe, workdir=f"{folder}/labelled"))
for change in ({"pile": 255 - images["pile"]}, {"pile": images["pile"][:-1]}):
    try:
        attack.audit(**images | change, groups=groups, config=recipe, workdir=f"{folder}/labelled")
    except UserError as error:
        print("refused:", error)
"""


def made(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.integers(0, 256, (count, 16, 16), np.uint8) for name, count in COUNTS.items()}


def patients() -> dict[str, list[int]]:
    """Two slices a patient."""
    real = [name for name in COUNTS if name != "pile"]
    return {name: [100 * place + row // 2 for row in range(COUNTS[name])] for place, name in enumerate(real)}


def read(folder: Path, name: str) -> tuple[Audit, str]:
    with (folder / f"{name}.json").open() as stream:
        fields = json.load(stream)
    shown = fields.pop("shown")
    with np.load(folder / f"{name}.npz") as arrays:
        fields |= dict(arrays)
    fields |= {"verdict": Verdict(**fields["verdict"]), "ids": tuple(fields["ids"])}
    fields["evaluation"] = Evaluation.from_json(fields["evaluation"], folder / f"{name}.json")
    limits = fields["auc_interval"]
    fields |= {"decision": tuple(fields["decision"]), "auc_interval": None if limits is None else tuple(limits)}
    return Audit(**fields), shown


def audited(folder: Path, environment: dict[str, str], groups: dict[str, list[int]]):
    """What a process says that audits arrays, and shares what other processes compiled; without groups also without
    slices that were used, and in a private folder."""
    (folder / "temporary").mkdir()
    np.savez(folder / "images.npz", **made())
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(ROOT), str(folder / "images.npz"), str(folder), json.dumps(groups)],
        env=environment | {"TMPDIR": str(folder / "temporary")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return folder, result


@pytest.fixture(scope="module")
def labelled(environment, tmp_path_factory):
    return audited(tmp_path_factory.mktemp("labelled"), environment, patients())


def same(found: Audit, folder: Path) -> None:
    """Does the audit say what the files of the run say?"""
    with (folder / "predictions.csv").open(newline="") as stream:
        rows = {row["id"]: row for row in csv.DictReader(stream)}
    assert sorted(found.ids) == sorted(rows)
    columns = {"score": "score", "probability": "probability", "low": "probability_low", "high": "probability_high"}
    for field, column in columns.items():
        assert getattr(found, field).tolist() == [float(rows[name][column]) for name in found.ids]
    assert list(found.decision) == [rows[name]["decision"] for name in found.ids]
    submission = dict(line.split(",") for line in (folder / "submission.csv").read_text().splitlines())
    assert found.predict().tolist() == [int(submission[name]) for name in found.ids]
    assert found.evaluation == Evaluation.read(folder / "attack/evaluation.json")
    assert found.report == (folder / "report.html").read_text()
    assert found.verdict.level == found.evaluation.verdict.level
    assert found.auc == found.evaluation.expected.auc


def test_labelled_arrays_are_answered_as_by_the_command_line(labelled, tiny, tmp_path):
    folder, _ = labelled
    found, _ = read(folder, "labelled")
    same(found, folder / "labelled")
    data = f"--config.data.root={folder / 'labelled/images'}"
    result = tiny("run", tmp_path / "run", data, "--config.attack.same_generator=auto", f"--config.data.roles={ROLES}")
    assert result.returncode == 0, result.stderr
    same(found, tmp_path / "run")
    for name in ("predictions.csv", "submission.csv", "patients.csv", "attack/evaluation.json", "report.html"):
        assert (folder / "labelled" / name).read_bytes() == (tmp_path / "run" / name).read_bytes()
    assert found.evaluation.same_generator.kind == "identical"  # one pile: the labels are its generator's
    assert found.promised_f1 == found.evaluation.submission.expected
    assert found.auc is not None
    assert found.auc_interval is not None


@pytest.mark.slow
def test_arrays_without_used_slices_are_answered_as_by_the_command_line(environment, tiny, tmp_path):
    folder, _ = audited(tmp_path, environment, {})
    assert list((folder / "temporary").iterdir()) == []  # the private folder is gone
    found, _ = read(folder, "own")
    data, stems = tmp_path / "data", {"pile": "generated", "candidates": "candidate", "not_used": "not_used"}
    for role, stem in stems.items():
        place = data / {"pile": "generated"}.get(role, role)
        place.mkdir(parents=True)
        for row, image in enumerate(made()[role]):
            Image.fromarray(image).save(place / f"{stem}_{row:04d}.png")
    options = "--config.data.edition=own", "--config.attack.same_generator=auto"
    result = tiny("run", tmp_path / "run", f"--config.data.root={data}", *options)
    assert result.returncode == 0, result.stderr
    same(found, tmp_path / "run")


def test_a_workdir_holds_no_halves_and_is_for_its_owner_alone(labelled):
    folder, _ = labelled
    assert leftovers(folder) == []
    assert (folder / "labelled").stat().st_mode & 0o077 == 0


def test_an_audit_is_gone_on_with_and_never_mixed_with_another(labelled):
    folder, result = labelled
    first, again = (read(folder, name)[0] for name in ("labelled", "again"))
    assert again.score.tolist() == first.score.tolist()
    assert again.report == first.report
    refused = [line for line in result.stdout.splitlines() if line.startswith("refused: ")]
    assert len(refused) == 2
    assert all("holds other images or groups; name a new workdir" in line for line in refused)


def test_an_audit_has_the_columns_of_a_classifier_and_a_short_repr(labelled):
    found, shown = read(labelled[0], "labelled")
    both = found.predict_proba()
    assert (both.dtype, both.shape) == (np.float64, (12, 2))
    np.testing.assert_array_equal(both[:, 1], found.probability)
    np.testing.assert_allclose(both.sum(1), 1)
    labels = found.predict()
    assert labels.dtype.kind == "i"
    assert set(labels.tolist()) <= {0, 1}
    assert found.ids[3] == "candidate_0003"
    assert len(shown) < 1000
    assert found.verdict.sentence in found.report


def test_results_cannot_be_changed(labelled):
    found, _ = read(labelled[0], "labelled")
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.score = None


def wide(images: np.ndarray, side: int) -> np.ndarray:
    return np.zeros((len(images), side, side), np.uint8)


def nan(images: np.ndarray) -> np.ndarray:
    return np.where(images == images[0, 0, 0], np.nan, images / 255)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda x: {"pile": x["pile"] / 255}, "pile: is float64; give gray values from 0 to 255 as uint8"),
        (lambda x: {"used": nan(x["used"])}, "used: is float64 and holds NaN or infinity; give"),
        (lambda x: {"candidates": x["candidates"].astype(int)}, "candidates: is int64; give"),
        (lambda x: {"pile": x["pile"][..., None]}, r"pile: has the shape \(24, 16, 16, 1\); give square"),
        (lambda x: {"not_used": x["not_used"][0]}, r"not_used: has the shape \(16, 16\); give square"),
        (lambda x: {"pile": x["pile"][:, :8]}, r"pile: has the shape \(24, 8, 16\); give square"),
        (lambda x: {"candidates": x["candidates"][:0]}, "candidates: holds no image; give"),
        (lambda x: {"used": []}, "used: holds no image; give one or more, or leave the argument out"),
        (lambda x: {"pile": [[[1, 2], [3]]]}, "pile: images of several sizes; give one array"),
        (lambda x: {"not_used": None}, "not_used: is missing; give real slices"),
        (lambda x: {"used": wide(x["used"], 8)}, "used: 8 pixels a side, and candidates have 16; bring them to one"),
        (lambda x: {"pile": wide(x["pile"], 4)}, "pile: 4 pixels a side; lower config.data.resolution = 8"),
        (lambda x: {"used": x["candidates"][3:5]}, r"candidates\[3\] and used\[0\] are the same picture; leave one"),
        (lambda x: {"not_used": x["used"][::-1]}, r"used\[7\] and not_used\[0\] are the same picture"),
        (
            lambda x: {"groups": {"candidates": range(12)}},
            "groups: give a dict with a list of patients for each",
        ),
        (lambda x: {"groups": list(range(36))}, "groups: give a dict"),
        (lambda x: {"groups": grouped(used=7)}, r"groups\['used'\]: 7 patients for 8 images; give one each"),
        (lambda x: {"groups": grouped() | {"used": ["a"] * 7 + [" "]}}, r"groups\['used'\]\[7\]: ' ' is no name"),
        (lambda x: {"same_generator": "maybe"}, "attack.same_generator = 'maybe': use 'auto' or"),
        (lambda x: {"same_generator": "true", "used": None}, "same_generator = 'true': there are no used slices"),
        (lambda x: {"config": {"seed": 1}}, "config: is dict; give a Config"),
        (lambda x: {"config": without_shadows()}, "config.fleet.shadows = 0: without shadows there is no verdict"),
        (lambda x: {"config": elsewhere()}, "config.data.root: leave it empty"),
    ],
)
def test_a_wrong_argument_is_refused_before_anything_is_written(tmp_path, change, said):
    images = made()
    asked = images | {"config": tiny_recipe.get_config(), "workdir": tmp_path / "run"}
    with pytest.raises(UserError, match=said) as caught:
        attack.audit(**asked | change(images))
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def grouped(used: int = 8) -> dict[str, list[str]]:
    return {"candidates": ["a"] * 12, "used": ["b"] * used, "not_used": ["c"] * 16}


def without_shadows():
    recipe = tiny_recipe.get_config()
    recipe.fleet.shadows = 0
    return recipe


def elsewhere():
    recipe = tiny_recipe.get_config()
    recipe.data.root = "data"
    return recipe


def test_another_thread_is_refused_since_it_cannot_catch_signals(tmp_path):
    said = []

    def work() -> None:
        try:
            attack.audit(**made(), config=tiny_recipe.get_config(), workdir=tmp_path / "run")
        except UserError as error:
            said.append(str(error))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert said == ["audit: call it from the main thread, which alone can catch signals"]
    assert list(tmp_path.iterdir()) == []


def test_the_recipe_of_the_caller_stays_as_it_is(tmp_path):
    recipe = tiny_recipe.get_config()
    before = dataclasses.asdict(recipe)
    with pytest.raises(UserError, match="same picture"):
        attack.audit(**made() | {"used": made()["candidates"]}, config=recipe, workdir=tmp_path / "run")
    assert dataclasses.asdict(recipe) == before


def test_importing_attack_is_cheap_and_unknown_names_are_none():
    code = "import attack, sys; assert 'jax' not in sys.modules and 'numpy' not in sys.modules; print(attack.__all__)"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (0, "['Audit', 'Verdict', 'audit']\n"), result.stderr
    with pytest.raises(AttributeError, match="no attribute 'audits'"):
        _ = attack.audits

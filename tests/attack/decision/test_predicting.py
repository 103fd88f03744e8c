"""The stage `predict` on files: what is said of a target, by shadows that are made up and not trained."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from attack import metrics
from attack.decision import predicting, tempering, verdict
from attack.evidence import measuring
from attack.inference import fitting, store
from shadow import files, fleet, piles
from shadow.config import Config
from shadow.data import manifest as manifests
from shadow.training import membership

SIDE, SHADOWS, PILE = 8, 8, 200
USED, NOT_USED, CANDIDATES = 24, 56, 60
PRIOR = 0.5
MEMBERS = range(0, CANDIDATES, 2)


def recipe(**attack: Any) -> Config:
    config = Config()
    config.data.resolution, config.fleet.shadows, config.membership.unit = SIDE, SHADOWS, "image"
    config.attack.pile, config.attack.embeddings, config.attack.signals = PILE, ("pixels",), ("nearest", "ratio")
    config.attack.draws = config.attack.redraws = 1
    config.attack.folds, config.attack.bootstrap = 5, 8
    for name, value in attack.items():
        setattr(config.attack, name, value)
    return config


@dataclass(frozen=True)
class Said:
    """What `predict` wrote. rows: of predictions.csv; submission: label by id; null: scores in on_target.npz."""

    evaluation: dict[str, Any]
    rows: list[dict[str, str]]
    submission: dict[str, int]
    null: np.ndarray

    def column(self, name: str) -> np.ndarray:
        """Numbers [candidate] of predictions.csv."""
        return np.array([float(row[name]) for row in self.rows])

    @property
    def level(self) -> str:
        return self.evaluation["verdict"]["level"]


def slices(rng: np.random.Generator, count: int) -> np.ndarray:
    """Real slices: a ramp that all have, and noise of their own."""
    ramp = np.linspace(70, 180, SIDE)
    return np.clip(ramp + rng.normal(0, 30, (count, SIDE, SIDE)), 0, 255).astype(np.uint8)


def copies(rng: np.random.Generator, real: np.ndarray, count: int) -> np.ndarray:
    """Generated images: each a disturbed copy of one of `real`."""
    chosen = real[rng.integers(0, len(real), count)]
    return np.clip(chosen + rng.normal(0, 10, chosen.shape), 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class World:
    """Real slices of the roles, uint8 [slice, side, side]."""

    used: np.ndarray
    not_used: np.ndarray
    candidates: np.ndarray
    rng: np.random.Generator

    @property
    def members(self) -> np.ndarray:
        """Candidates that a leaking target was trained on."""
        return self.candidates[list(MEMBERS)]

    def pile(self, *training: np.ndarray) -> np.ndarray:
        """What a generator that was trained on these slices makes."""
        return copies(self.rng, np.concatenate(training), PILE)


def world(seed: int = 0, candidates: int = CANDIDATES) -> World:
    rng = np.random.default_rng(seed)
    return World(slices(rng, USED), slices(rng, NOT_USED), slices(rng, candidates), rng)


def save(folder: Path, made: World, dev_pile: np.ndarray, test_pile: np.ndarray) -> Path:
    """The images in the 2023 layout."""
    for name, images in {
        "dev/used/used_{:04d}.png": made.used,
        "dev/not_used/not_used_{:04d}.png": made.not_used,
        "test/real_unknown_1/real_unknown_{:04d}.png": made.candidates,
        "dev/generated/generated_{:04d}.png": dev_pile,
        "test/generated_1/generated_{:05d}.png": test_pile,
    }.items():
        (folder / name).parent.mkdir(parents=True)
        for i, image in enumerate(images):
            Image.fromarray(image).save(folder / name.format(i + 1))
    (folder / "sealed").mkdir()  # a challenge of our own: its numbers of images are no surprise
    return folder


def measured(folder: Path, data: Path, config: Config) -> manifests.Manifest:
    """Shadows that copied each of their members, their evidence and the fitted attack in `folder`."""
    folder.mkdir(exist_ok=True)
    found = manifests.build(data, "2023", "", 0.5)
    found.write(folder / "manifest.csv")
    dev = fleet.dev_ids(found)
    member = membership.draw(found.groups_of(dev), SHADOWS, config.membership, 0)
    np.save(folder / "membership.npy", member)
    real = found.images_at(dev, SIDE)
    for k, mine in enumerate(member):
        path = piles.pile_path(fleet.shadow_folder(folder, k), config.train.steps)
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, copies(np.random.default_rng(k), real[mine], PILE))
    measuring.build(folder, found, config, range(SHADOWS))
    fitting.fit(folder, found, config)
    return found


def predicted(folder: Path, found: manifests.Manifest, config: Config) -> Said:
    predicting.predict(folder, found, config)
    with (folder / "predictions.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    with (folder / "submission.csv").open(newline="") as stream:
        said = {name: int(label) for name, label in csv.reader(stream)}
    with np.load(folder / "attack/on_target.npz") as stored:
        np.testing.assert_allclose(stored["candidate"], [float(row["score"]) for row in rows], atol=1e-6)
        null = stored["null"]
    return Said(json.loads((folder / "attack/evaluation.json").read_text()), rows, said, null)


@dataclass(frozen=True)
class Ready:
    """A world whose attack is fitted."""

    folder: Path
    found: manifests.Manifest

    def said(self, **attack: Any) -> Said:
        return predicted(self.folder, self.found, recipe(**attack))


def ready(folder: Path, made: World, dev_pile: np.ndarray, test_pile: np.ndarray) -> Ready:
    data = save(folder / "data", made, dev_pile, test_pile)
    return Ready(folder / "run", measured(folder / "run", data, recipe()))


@pytest.fixture(autouse=True)
def few_trials(monkeypatch) -> None:
    """The smallest AUC that would be called is simulated roughly: what is tested here is all else."""
    monkeypatch.setattr(verdict, "_TRIALS", 20)


@pytest.fixture(scope="module")
def leaking(tmp_path_factory) -> Ready:
    """One generator, trained on the used dev slices and half of the candidates, made both piles."""
    made = world(3)
    training = made.used, made.members
    return ready(tmp_path_factory.mktemp("leaking"), made, made.pile(*training), made.pile(*training))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory) -> Ready:
    """The dev pile is of another generator: that under test saw half of the candidates and no dev slice."""
    made = world(3)
    piles_made = made.pile(made.used), made.pile(made.members, slices(made.rng, USED))
    return ready(tmp_path_factory.mktemp("stranger"), made, *piles_made)


def truth(said: Said) -> np.ndarray:
    return np.isin(np.arange(len(said.rows)), list(MEMBERS))


def at_the_prior(said: Said) -> None:
    """No candidate is singled out."""
    np.testing.assert_allclose(said.column("probability"), PRIOR, atol=5e-3)
    low, high = said.column("probability_low"), said.column("probability_high")
    assert low.max() <= PRIOR <= high.min()
    assert {row["decision"] for row in said.rows} == {"undetermined"}
    assert said.evaluation["decisions"] == {"used": 0, "not used": 0, "undetermined": len(said.rows)}
    limits = said.evaluation["expected"]["interval"]
    assert limits is None or limits[0] <= 0.5 <= limits[1]


@pytest.mark.parametrize("labels", ["true", "false"])
def test_copies_of_candidates_in_the_pile_are_found(leaking, labels):
    said = leaking.said(same_generator=labels)
    used, evaluation = truth(said), said.evaluation
    assert said.level == "leak"
    assert evaluation["verdict"]["p"] < evaluation["verdict"]["limit"]
    decision = np.array([row["decision"] for row in said.rows])
    assert set(decision[used]) == {"used"}
    assert np.mean(decision[~used] == "used") <= recipe().attack.fpr  # as many as may be flagged
    assert set(decision) == {"used", "not used"}
    counts = {name: int((decision == name).sum()) for name in ("used", "not used", "undetermined")}
    assert evaluation["decisions"] == counts
    assert [said.submission[row["id"]] for row in said.rows] == used.astype(int).tolist()
    assert said.column("probability")[used].min() > 0.5 > said.column("probability")[~used].max()
    assert 0.5 < evaluation["expected"]["interval"][0] <= evaluation["expected"]["auc"] <= 1
    assert evaluation["expected"]["from"] == ("dev" if labels == "true" else "candidates")


def test_the_comparison_is_that_of_the_scores_written(leaking):
    """By hand from what on_target.npz and predictions.csv hold; every slice is a patient of its own here."""
    said = leaking.said(same_generator="false")
    score, found = said.column("score"), said.evaluation["candidates"]
    assert len(said.null) == NOT_USED == found["nulls"] == said.evaluation["thresholds"]["nulls"]
    placed = np.array([[(a > b) + (a == b) / 2 for b in said.null] for a in score])
    assert found["area"] == pytest.approx(placed.mean())
    assert found["auc"] == pytest.approx(0.5 + (placed.mean() - 0.5) / PRIOR)
    variance = sum(placed.mean(side).var(ddof=1) / placed.shape[1 - side] for side in (0, 1))  # DeLong's
    assert len(found["placebo"]) == SHADOWS
    assert found["inflation"] >= 1
    assert found["variance"] == pytest.approx(found["inflation"] * variance)
    p = stats.t.sf((found["area"] - 0.5) / np.sqrt(found["variance"]), found["freedom"])
    assert said.evaluation["verdict"]["p"] == pytest.approx(p)


def test_probabilities_imply_the_auc_that_is_stated(leaking):
    said = leaking.said(same_generator="false", prior=0.7)
    probability = said.column("probability")
    assert said.level == "leak"
    assert probability.mean() == pytest.approx(0.7, abs=1e-4)
    implied = tempering.implied_auc(said.column("score"), probability)
    assert said.evaluation["implied_auc"] == pytest.approx(implied, abs=1e-3)
    assert implied == pytest.approx(said.evaluation["expected"]["auc"], abs=5e-3)


@pytest.mark.parametrize("seed", range(5))
def test_an_innocent_target_is_not_accused_by_shadows_that_memorise(tmp_path, seed):
    made = world(seed)
    others = slices(made.rng, 40)
    said = ready(tmp_path, made, made.pile(others), made.pile(others)).said(same_generator="false")
    assert said.evaluation["two_way"]["auc"] > 0.95  # every shadow gives its members away
    assert said.level == "cannot tell"
    at_the_prior(said)
    assert said.column("probability_low").max() <= PRIOR + 0.2
    assert said.evaluation["submission"]["all_ones"]  # at the prior no labelling has a higher expected F1


def test_noise_is_innocent_too(tmp_path):
    made = world(0)
    noise = made.rng.integers(0, 256, (2, PILE, SIDE, SIDE)).astype(np.uint8)
    said = ready(tmp_path, made, *noise).said(same_generator="true")
    assert said.level == "cannot tell"
    at_the_prior(said)


@pytest.mark.parametrize("seed", range(2))
def test_noisy_candidates_of_an_innocent_target_are_not_accused(tmp_path, seed):
    """The blind control cannot see noise: its classifier is linear. So the comparison itself must not be misled."""
    made = world(seed)
    noise = made.rng.normal(0, 60, made.candidates.shape)
    noisy = World(made.used, made.not_used, np.clip(made.candidates + noise, 0, 255).astype(np.uint8), made.rng)
    others = slices(made.rng, 40)
    said = ready(tmp_path, noisy, noisy.pile(others), noisy.pile(others)).said(same_generator="false")
    assert said.evaluation["candidates"]["auc"] is not None
    assert said.level == "cannot tell"
    at_the_prior(said)


def test_dev_labels_of_the_same_generator_count_unasked(leaking):
    found, told = leaking.said(same_generator="auto"), leaking.said(same_generator="true")
    same = found.evaluation["same_generator"]
    assert (same["counts"], same["kind"]) == (True, "same")
    assert found.rows == told.rows
    assert found.evaluation["dev"] == told.evaluation["dev"]
    # on the test pile, as the candidates, and by the weights of the shadows
    assert same["auc_on_piles"][1] == found.evaluation["dev"]["by_shadows"]["auc"]
    assert found.evaluation["verdict"]["p_labelled"] < verdict.LABELLED_LEVEL
    apart = leaking.said(same_generator="false")
    assert apart.evaluation["dev"]["auc"] == same["auc_on_piles"][0]
    assert apart.evaluation["dev"]["same_generator"] is False
    assert apart.evaluation["verdict"]["p_labelled"] is None
    assert apart.evaluation["dev"]["recalibration"] is None


def test_dev_labels_of_another_generator_do_not_count(stranger):
    found, told = stranger.said(same_generator="auto"), stranger.said(same_generator="false")
    same = found.evaluation["same_generator"]
    assert same["counts"] is False
    assert same["kind"] in ("piles differ", "labels differ")
    assert found.rows == told.rows
    assert found.evaluation["dev"] == told.evaluation["dev"]
    assert found.evaluation["dev"]["auc"] == same["auc_on_piles"][0] > 0.95  # of the generator of the dev pile
    assert found.level == "leak"  # the candidates alone show it


def test_dev_labels_that_contradict_overrule(stranger):
    """The user insists: on the pile under test the used dev slices do not stand apart."""
    said = stranger.said(same_generator="true")
    assert 0.3 < said.evaluation["dev"]["auc"] < 0.7
    assert said.evaluation["verdict"]["p"] < verdict.LEVEL_WITH_LABELS
    assert said.level == "cannot tell"
    assert "do not stand apart" in said.evaluation["verdict"]["why"]
    at_the_prior(said)


def test_without_recalibration_labels_set_the_auc_but_no_map_and_no_weight(leaking):
    plain, mended, apart = (
        leaking.said(same_generator=same, recalibrate=how)
        for same, how in (("true", "none"), ("true", "auto"), ("false", "auto"))
    )
    before, after = plain.evaluation["dev"], mended.evaluation["dev"]
    assert [before[name] for name in ("recalibration", "weights", "by_shadows")] == [None] * 3
    assert after["recalibration"]["slices"] == USED + NOT_USED
    assert after["by_shadows"] == {name: before[name] for name in ("auc", "interval", "why")}
    np.testing.assert_array_equal(plain.column("score"), apart.column("score"))
    assert (plain.column("score") != mended.column("score")).all()
    assert metrics.auc(mended.column("score"), truth(mended).astype(int)) > 0.95
    assert plain.evaluation["expected"]["from"] == mended.evaluation["expected"]["from"] == "dev"
    weights = {row["name"]: row["weight"] for row in mended.evaluation["signals"]}
    assert after["weights"].keys() == weights.keys()
    assert all(abs(after["weights"][name] - weights[name]) > 1e-4 for name in weights)


@pytest.mark.parametrize("labels", ["true", "false"])
def test_candidates_of_another_kind_are_not_compared(tmp_path, labels):
    made = world(3)
    turned = World(made.used, made.not_used, 255 - made.candidates, made.rng)
    training = turned.used, turned.members
    said = ready(tmp_path, turned, turned.pile(*training), turned.pile(*training)).said(same_generator=labels)
    found = said.evaluation["candidates"]
    assert found["blind_p"] < 0.01
    assert (found["auc"], found["interval"]) == (None, None)
    assert "another kind of image" in found["why"]
    assert said.evaluation["verdict"]["why"] == said.evaluation["expected"]["why"] == found["why"]
    assert said.level == ("labelled only" if labels == "true" else "cannot tell")
    assert said.evaluation["expected"]["auc"] is None
    at_the_prior(said)


def test_too_few_candidates_are_not_compared(tmp_path):
    made = world(3, 9)
    training = made.used, made.candidates[:4]
    said = ready(tmp_path, made, made.pile(*training), made.pile(*training)).said(same_generator="false")
    found = said.evaluation["candidates"]
    assert found["why"].startswith(f"9 candidates and {NOT_USED} slices known not to be used are too few to compare")
    assert (found["auc"], found["blind_p"], found["placebo"]) == (None, None, [])
    assert said.level == "cannot tell"
    assert said.evaluation["verdict"]["smallest_auc"] is None
    at_the_prior(said)


@pytest.mark.parametrize("side", ["real_unknown", "not_used"])
def test_one_patient_on_a_side_is_no_comparison(tmp_path, side):
    made = world(3)
    training = made.used, made.members
    data = save(tmp_path / "data", made, made.pile(*training), made.pile(*training))
    names = [path.name for path in sorted(data.rglob("*.png")) if "generated" not in path.name]
    rows = [(name, "one" if name.startswith(side) else name) for name in names]
    files.write_csv(data / "patients.csv", ("file", "patient"), rows)
    run = Ready(tmp_path / "run", measured(tmp_path / "run", data, recipe()))
    said = run.said(same_generator="false")
    assert said.evaluation["candidates"]["why"].startswith("one patient alone")
    assert said.level == "cannot tell"
    assert said.evaluation["verdict"]["smallest_auc"] is None
    at_the_prior(said)
    with (run.folder / "patients.csv").open(newline="") as stream:
        assert len(list(csv.DictReader(stream))) == (1 if side == "real_unknown" else CANDIDATES)


def test_a_score_does_not_depend_on_the_other_candidates(leaking):
    data, config = store.read(leaking.folder, leaking.found, recipe()), recipe()
    known = data.labelled(config.train.steps, "generated_test")

    def scored(only: list[str] | None) -> dict[str, float]:
        asked = data.target("generated_test", config.train.steps, only)
        score = predicting.fitted_score(leaking.folder / "attack", known, asked, config)
        return dict(zip(asked.ids, score.tolist(), strict=True))

    every = scored(None)
    assert len(every) == CANDIDATES
    for some in (list(data.test[:1]), list(data.test[1::2]), list(data.test[40:])):
        assert scored(some) == {name: every[name] for name in some}


def test_a_run_without_some_candidates_gives_the_others_their_scores(leaking, tmp_path):
    """Through all files: another manifest, another store, another fit of the same shadows."""
    before = {row["id"]: row["score"] for row in leaking.said(same_generator="false").rows}
    shutil.copytree(leaking.folder.parent, tmp_path / "all")
    gone = sorted(before)[1::3]
    for name in gone:
        (tmp_path / f"all/data/test/real_unknown_1/{name}.png").unlink()
    fewer = Ready(tmp_path / "all/run", measured(tmp_path / "all/run", tmp_path / "all/data", recipe()))
    said = fewer.said(same_generator="false")
    assert {row["id"]: row["score"] for row in said.rows} == {n: s for n, s in before.items() if n not in gone}

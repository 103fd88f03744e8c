"""`compare` on a run whose shadows have memorised: what it says of a checkpoint and itself, of raw and averaged
weights, of early and late steps, of other seeds, other architectures and other sizes."""

from __future__ import annotations

import itertools
import json
import re
import runpy
import shutil
import weakref

import numpy as np
import pytest
from hub_folders import edit, generator
from PIL import Image
from tiny_run import TINY, fails, leftovers

from attack import metrics
from attack.compare import command, difficulty, trajectory, whitebox
from attack.compare.subjects import resolve
from attack.evidence import measuring
from attack.results.compared import Comparison
from shadow import hub, workdir
from shadow.config import Config, from_dict
from shadow.data import challenge, decoding, manifest
from shadow.errors import UserError
from shadow.fleet import orchestrate
from shadow.fleet.packs import Fleet

pytestmark = pytest.mark.slow

EARLY, LATE = 20, 900
SHADOW = "shadows/0003"
NAMES = [f"{SHADOW}@{LATE}", f"{SHADOW}@{LATE}", f"{SHADOW}@{LATE}:raw", f"{SHADOW}@{EARLY}", "shadows/0004"]


def write_challenge(root, config):
    """Phantom slices and, as no attack on a target is looked at here, noise in the place of its piles."""
    rng = np.random.default_rng(0)
    slices = rng.permutation(challenge.phantom_pool(config.challenge).images)
    noise = rng.integers(0, 256, (2, 60, 8, 8), np.uint8)
    roles = {challenge.USED: slices[:8], challenge.NOT_USED: slices[8:16], challenge.UNKNOWN: slices[16:]}
    roles |= {challenge.GENERATED: noise[0], challenge.TEST_GENERATED: noise[1]}
    for (place, stem, digits), images in roles.items():
        (root / place).mkdir(parents=True)
        for i, image in enumerate(images):
            Image.fromarray(image).save(root / place / f"{stem}_{i + 1:0{digits}d}.png")
    return root


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """Eight shadows of eight members each, which they have seen 450 times, and the signals of their piles; made in this
    process, which compiles less than the commands would."""
    folder = tmp_path_factory.mktemp("compare") / "run"
    config: Config = runpy.run_path(str(TINY))["get_config"]()
    config.train.steps, config.train.checkpoint_every, config.pile.steps = LATE, LATE, (EARLY, 100, LATE)
    config.denoiser.width, config.fleet.pack = 32, 8
    config.pile.count = config.pile.batch_size = config.attack.pile = 60
    folder.mkdir()
    workdir.settle(folder, config)
    data = write_challenge(folder / "challenge", config)
    orchestrate.plan(folder, data, config)
    fleet = Fleet(folder, data, config)
    for pack in range(len(fleet.plan.packs)):
        fleet.run(pack, "sample")
    found = manifest.read(folder / "manifest.csv", data)
    measuring.build(folder, found, config, range(8))
    workdir.stamp(folder / "signals", "signals", config)
    return folder


@pytest.fixture(scope="session")
def pipelines(tmp_path_factory):
    """A UNet of the same size, and one of twice the size."""
    root = tmp_path_factory.mktemp("pipelines")
    for name, size in (("same", 8), ("large", 16)):
        hub.write_pipeline(generator(size=size, pile=Config().pile), root / name)
    return root


@pytest.fixture(scope="session")
def run(trained, tmp_path_factory):
    return shutil.copytree(trained, tmp_path_factory.mktemp("compared") / "run")


@pytest.fixture(scope="session")
def said(run, pipelines):
    names = [*NAMES, str(pipelines / "same"), str(pipelines / "large")]
    return command.compare(names, run, config_of(run))


@pytest.fixture(scope="session")
def found(run, said):
    return json.loads((run / "compare.json").read_text())


def config_of(run) -> Config:
    config = from_dict(workdir.read_config(run))
    config.compare.count = 60
    return config


def pair(found, a, b):
    names = [one["label"] for one in found["checkpoints"]]
    return next(row for row in found["pairs"] if (row["a"], row["b"]) == (names[a], names[b]))


def test_a_checkpoint_and_itself(found):
    same = pair(found, 0, 1)
    assert same["config"] == []
    assert (same["parameters"]["relative"], same["parameters"]["cosine"]) == (0, 1)
    assert {layer["relative"] for layer in same["parameters"]["layers"].values()} == {0}
    assert set(same["features"]["by_block"]) == {1}
    assert same["loss"]["p"] == 1
    assert {test["p"] for test in same["whitebox"].values()} == {1}
    assert {test["difference"] for test in same["whitebox"].values()} == {0}
    pile = same["pile"]
    assert (pile["fd"], pile["spectrum_gap"], pile["corresponding"]) == (0, 0, pytest.approx(0, abs=1e-6))
    assert (pile["kid"]["value"], pile["kid"]["p"]) == (0, 1)
    assert pile["kid"]["low"] <= 0 <= pile["kid"]["high"]
    assert (same["blackbox"]["auc"]["difference"], same["blackbox"]["auc"]["p"]) == (0, 1)
    assert same["blackbox"]["spearman"] == pytest.approx(1)


def test_raw_weights_are_near_their_average_and_another_seed_is_far(found):
    raw, early, other = (pair(found, 0, i) for i in (2, 3, 4))
    assert 0 < raw["parameters"]["relative"] < early["parameters"]["relative"] < other["parameters"]["relative"]
    assert 1 > raw["parameters"]["cosine"] > other["parameters"]["cosine"]
    assert 1 > raw["features"]["mean"] > other["features"]["mean"]
    assert 0 < raw["pile"]["corresponding"] < other["pile"]["corresponding"]
    assert [row["field"] for row in raw["config"]] == ["weights"]
    assert [row["field"] for row in early["config"]] == ["step"]
    assert [row["field"] for row in other["config"]] == ["shadow"]
    assert other["whitebox"]["loss"]["method"].startswith("DeLong's components")


def test_the_late_step_leaks_and_the_early_one_does_not(found):
    late, _, _, early, _ = found["checkpoints"][:5]
    between = pair(found, 0, 3)
    assert between["loss"]["difference"] > 0
    assert between["loss"]["p"] < 0.05
    assert between["whitebox"]["loss"]["difference"] > 0
    assert late["whitebox"]["loss"]["auc"] > 0.9
    assert np.mean([gap["value"] for gap in late["loss"]["gap"]]) > np.mean(
        [gap["value"] for gap in early["loss"]["gap"]]
    )
    assert late["pile"]["slices"]["members"] < late["pile"]["slices"]["others"]
    assert late["pile"]["real"]["fd"] < early["pile"]["real"]["fd"]
    assert between["pile"]["kid"]["p"] < 0.01
    assert between["blackbox"]["auc"]["difference"] > 0
    assert late["blackbox"]["calibrated"]
    assert late["blackbox"]["auc"] > 0.7


def test_what_a_pipeline_cannot_be_compared_in_is_said(found, said):
    same, large = found["checkpoints"][5:]
    unknown = "its members are not known: a pipeline does not say on what it was trained"
    for one in (same, large):
        assert one["whitebox"]["not_comparable"] == one["loss"]["not_comparable"] == unknown
    assert same["pile"]["slices"]["not_comparable"] == unknown
    assert same["pile"]["real"]["fd"] > 0
    assert same["blackbox"]["auc"] is None
    assert len(same["blackbox"]["score"]) == 16
    assert "16 x 16" in large["pile"]["not_comparable"]
    assert "16 x 16" in large["blackbox"]["not_comparable"]
    across = pair(found, 0, 5)
    assert "other architecture" in across["parameters"]["not_comparable"]
    assert "other architecture" in across["features"]["matched"]
    assert across["features"]["mean"] is not None
    assert across["blackbox"]["spearman"] is not None
    assert "not known" in across["blackbox"]["auc"]["not_comparable"]
    assert {"denoiser.kind", "denoiser.unet.block_out_channels"} <= {row["field"] for row in across["config"]}
    assert pair(found, 5, 6)["parameters"]["relative"] == 0
    assert said.count("not comparable: ") >= 5


def test_the_table_and_the_page(run, found, said):
    lines = said.splitlines()
    assert lines[0].split()[0] == "checkpoint"
    assert [line.split()[0] for line in lines[1:6]] == [*NAMES[:1], *NAMES[1:]]
    assert lines[-1] == str(run / "compare.html")
    page = (run / "compare.html").read_text()
    for one in found["checkpoints"]:
        assert one["label"] in page
    assert page.count("<img ") == 7
    words = re.sub(r'"data:[^"]*"', "", page)
    assert not re.search(r"https?:", words)
    assert not re.search(r"\b(nan|None|inf)\b", words)
    assert leftovers(run / "compare") == []
    assert not (run / "compare" / ".scratch").exists()


def test_all_steps_make_a_trajectory_and_piles_are_drawn_once(run, said):
    piles = {path: path.stat().st_mtime_ns for path in (run / "compare/piles").iterdir()}
    text = command.compare([f"{SHADOW}@all"], run, config_of(run))
    found = json.loads((run / "compare.json").read_text())
    (curve,) = found["trajectories"]
    assert [row["step"] for row in curve["rows"]] == [EARLY, 100, LATE]
    early, _, late = curve["rows"]
    assert late["whitebox"]["auc"] > early["whitebox"]["auc"]
    assert late["gap"] > early["gap"]
    rows = curve["rows"]
    typed = Comparison.read(run / "compare.json").trajectories[0].rows
    lasting = [rows[i]["step"] for i in range(3) if all(trajectory.leaks(row.whitebox) for row in typed[i:])]
    assert curve["onset"]["whitebox"] == (lasting[0] if lasting else None)
    assert curve["advice"]["quality"]["step"] == LATE
    for side in ("blackbox", "whitebox"):
        assert curve["advice"][side]["said"] in text
    assert early["blackbox"]["rise"] == 0.5  # itself
    assert late["blackbox"]["rise"] < 0.05
    assert late["whitebox"]["rise"] < 0.05
    assert all(row["blackbox"]["calibrated"] for row in rows)
    steps = [one["blackbox"]["how"].partition("at step ")[2].split(",")[0] for one in found["checkpoints"]]
    assert steps == [str(EARLY), "100", str(LATE)]  # each on the piles of the other shadows at its own step
    for row in rows:
        assert row["fd_interval"][0] <= row["fd"] <= row["fd_interval"][1]
        assert row["members_interval"][0] <= row["members"] <= row["members_interval"][1]
    after = {path: path.stat().st_mtime_ns for path in (run / "compare/piles").iterdir()}
    assert piles.items() <= after.items()
    assert len(after) == len(piles) + 1  # of step 100


def test_the_same_bytes_again(run, said):
    names, config = [f"{SHADOW}@{LATE}", f"{SHADOW}@{EARLY}"], config_of(run)
    written = []
    for _ in range(2):
        command.compare(names, run, config)
        written.append([(run / name).read_bytes() for name in ("compare.json", "compare.html")])
    assert written[0] == written[1]


def test_one_checkpoint_is_in_memory_at_a_time(run, said, monkeypatch):
    alive: list[weakref.ref] = []

    def opened(place, read=hub.read_place):
        assert [ref for ref in alive if ref() is not None] == []
        found = read(place)
        alive.append(weakref.ref(found.params["embed"]["kernel"]))
        return found

    monkeypatch.setattr(hub, "read_place", opened)
    command.compare([f"{SHADOW}@all"], run, config_of(run))
    assert len(alive) == 3 * 8  # each with the seven other shadows, which say how hard a slice is


def test_the_loss_is_calibrated_on_shadows_without_the_slice(run, found):
    """By hand, of the late step: every other shadow's loss from its own checkpoint, a mean over some that lack it."""
    (subject, *_), source = resolve(NAMES[:2], run, config_of(run))
    images = decoding.to_unit(source.manifest.images_at(source.pool, 8))
    scores = []
    for k in range(8):
        model = whitebox.opened(hub.read_generator(run / f"shadows/{k:04d}"), 8)
        scores.append(whitebox.loss_score(whitebox.losses(model, images, 0, 4)))
    late = found["checkpoints"][0]["whitebox"]["calibrated"]
    assert late["shadows"] == [0, 1, 2, 4, 5, 6, 7]
    assert late["references"] == 3  # a slice that shadow 3 lacks is lacked by three others
    hard = difficulty.Difficulties(config_of(run).compare).of(subject)
    for i, value in enumerate(hard.score):
        outside = [scores[k][i] for k in hard.shadows if not source.membership[k, i]]
        means = [np.mean(three) for three in itertools.combinations(outside, 3)]
        assert np.abs(np.array(means) - value).min() < 1e-6
    assert late["auc"] == metrics.auc(scores[3] - hard.score, source.membership[3].astype(int)) > 0.9


def test_who_holds_the_weights_can_draw_images_too(found):
    for one in found["checkpoints"][:5]:
        known = {name: one["whitebox"][name]["auc"] for name in one["strongest"]["of"] if name != "images"}
        known["images"] = one["blackbox"]["auc"]
        assert len(known) == 7
        assert one["strongest"]["auc"] == max(known.values()) == known[one["strongest"]["attack"]]
    assert "not known" in found["checkpoints"][5]["strongest"]["not_comparable"]


def test_other_shadows_can_be_left_out(run, said):
    config = config_of(run)
    config.compare.references = 0
    text = command.compare([f"{SHADOW}@{LATE}", f"{SHADOW}@{EARLY}"], run, config)
    assert "every checkpoint: whitebox, calibrated: not comparable: compare.references = 0" in text
    assert "calibrated" not in json.loads((run / "compare.json").read_text())["checkpoints"][0]["strongest"]["of"]


def test_without_signals_it_says_uncalibrated(trained, tmp_path):
    run = shutil.copytree(trained, tmp_path / "run")
    shutil.rmtree(run / "signals")
    config = config_of(run)
    config.compare.count = 20
    text = command.compare([f"{SHADOW}@{LATE}", "shadows/0004"], run, config)
    assert "uncalibrated: its run has no signals" in text
    black = json.loads((run / "compare.json").read_text())["checkpoints"][0]["blackbox"]
    assert (black["calibrated"], black["auc"] > 0.5) == (False, True)


def test_pipelines_alone_without_a_run(pipelines, tmp_path):
    config = Config()
    config.compare.count = 6
    text = command.compare([str(pipelines / "same"), str(pipelines / "large")], tmp_path / "new", config)
    assert "no real slices" in text
    found = json.loads((tmp_path / "new/compare.json").read_text())
    assert found["space"]["fitted_on"] == "the first pile"
    assert found["pairs"][0]["parameters"]["relative"] == 0


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["shadows/0003"], "name two checkpoints or more"),
        (["shadows/0003", "shadows/0099"], "shadows/0099: neither a shadow with checkpoints"),
        (["shadows/0003", "shadows/0003@7"], "no checkpoint of step 7; there are: 20, 100, 900"),
        (["shadows/0003", "SAME@all"], "@all is for the steps of a shadow"),
        (["shadows/0003", "."], "neither a shadow with checkpoints"),
    ],
)
def test_names_that_are_wrong(run, pipelines, names, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = [name.replace("SAME", str(pipelines / "same")) for name in names]
    with pytest.raises(UserError, match=message):
        resolve(names, run, config_of(run))


def test_damaged_and_foreign_folders_are_one_line(trained, pipelines, launch, tmp_path):
    run = shutil.copytree(trained, tmp_path / "run")
    files = [path for path in (run / SHADOW / "checkpoints/20").rglob("*") if path.is_file()]
    largest = max(files, key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[: largest.stat().st_size // 2])
    both = f"--checkpoints={SHADOW},{SHADOW}@20"
    assert "damaged checkpoint" in fails(launch("compare", both, f"--workdir={run}", "--config.compare.count=6"))
    assert not (run / "compare.json").exists()
    assert not (run / "compare" / ".scratch").exists()

    pipeline = shutil.copytree(pipelines / "same", tmp_path / "pipeline")
    edit(pipeline / "unet" / "config.json", addition_embed_type="text")
    with pytest.raises(UserError, match="'addition_embed_type' is unknown"):
        resolve([SHADOW, str(pipeline)], run, config_of(run))


def test_options_that_would_do_nothing_are_refused():
    with pytest.raises(UserError, match=r"train\.steps is not for compare"):
        command.check_options({"compare.count": 3, "train.steps": 5})


def test_a_lost_data_folder_and_a_damaged_matrix(trained, tmp_path):
    run = shutil.copytree(trained, tmp_path / "run")
    (run / "challenge").rename(tmp_path / "moved")
    with pytest.raises(UserError, match=r"challenge: no such folder"):
        resolve(NAMES[:2], run, config_of(run))
    config = config_of(run)
    config.data.root = str(tmp_path / "moved")
    assert resolve(NAMES[:2], run, config)[0][0].member.sum() == 8
    (run / "membership.npy").write_bytes(b"no array")
    with pytest.raises(UserError, match="no readable membership matrix"):
        resolve(NAMES[:2], run, config)
    (run / "membership.npy").unlink()
    subject, _ = resolve(NAMES[:2], run, config)[0]
    assert (subject.member, subject.unknown) == (None, "its run has no membership.npy")

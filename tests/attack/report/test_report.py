"""The report on a small made-up run."""

import copy
import csv
import dataclasses
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image

from attack.report import gallery, made, sentence, view
from attack.report.write import write_report
from shadow import files
from shadow.config import Config
from shadow.errors import UserError

HOSTILE = "real_\"><img src=x onerror=alert(1)>&amp;'$x$"
SHADOWS = 4

EVALUATION = {
    "shadows_asked": SHADOWS,
    "shadows_used": SHADOWS,
    "shadows_missing": [],
    "two_way": {
        "auc": 0.86,
        "interval": [0.8, 0.91],
        "prediction_interval": [0.7, 0.95],
        "within_shadow": [0.82, 0.88, 0.9, 0.84],
        "pairs": 160,
        "members": 80,
        "non_members": 80,
        "tpr_at_fpr": [
            {
                "fpr": 0.1,
                "tpr": 0.5,
                "interval": [0.38, 0.61],
                "true_positives": 40,
                "members": 80,
                "false_positives": 8,
                "non_members": 80,
            },
            {"fpr": 0.001, "why": "80 non-members cannot show a false positive rate below 1/80"},
        ],
        "strata": [
            {"stratum": "stranger", "auc": 0.88, "interval": [0.82, 0.93], "members": 80, "non_members": 50},
            {"stratum": "sibling", "auc": 0.79, "interval": [0.68, 0.88], "members": 80, "non_members": 30},
        ],
        "brier": 0.15,
        "log_loss": 0.46,
        "ece": 0.05,
        "reliability": [
            {"mean_probability": 0.1, "observed": 0.08, "count": 60, "interval": [0.03, 0.18]},
            {"mean_probability": 0.5, "observed": 0.55, "count": 40, "interval": [0.38, 0.7]},
            {"mean_probability": 0.9, "observed": 0.92, "count": 60, "interval": [0.82, 0.97]},
        ],
    },
    "signals": [
        {"name": "nearest.ratio@highpass", "auc": 0.83, "interval": [0.75, 0.9], "weight": 1.1},
        {"name": "ball@pixels", "auc": 0.7, "interval": [0.6, 0.8], "weight": 0.0},
    ],
    "model": {"name": "logistic", "by": "family", "auc": {}, "gain": {}, "nested": {"logistic": 8}},
    "families": {
        "names": ["dit", "unet"],
        "shadows": [2, 2],
        "two_way": [0.9, 0.82],
        "left_out": [
            {"name": "chosen", "auc": 0.78, "interval": [0.7, 0.85], "by_family": [0.811, 0.743]},
            {"name": "mean", "auc": 0.77, "interval": [0.69, 0.84], "by_family": [0.8, 0.74]},
            {"name": "logistic", "auc": 0.783, "interval": [0.71, 0.85], "by_family": [0.82, 0.746]},
        ],
        "why": None,
    },
    "worth": {
        "models": [
            {"name": "mean", "auc": 0.84, "interval": [0.78, 0.9]},
            {"name": "logistic", "auc": 0.86, "interval": [0.8, 0.91]},
        ],
        "parts": [
            {
                "kind": "signal",
                "name": "nearest",
                "drop": 0.213,
                "error": 0.02,
                "left_out": 0.104,
                "left_out_error": 0.03,
                "alone": 0.831,
            },
            {
                "kind": "signal",
                "name": "ball",
                "drop": -0.004,
                "error": None,
                "left_out": -0.011,
                "left_out_error": 0.01,
                "alone": 0.702,
            },
        ],
        "curve": [
            {"shadows": 8, "auc": 0.8, "interval": [0.7, 0.87], "each": [0.79, 0.81]},
            {"shadows": 16, "auc": 0.86, "interval": [0.8, 0.91], "each": [0.86]},
        ],
    },
    "dev": {"auc": 0.8, "interval": [0.66, 0.9], "members": 20, "non_members": 20, "same_generator": False},
    "regime": {
        "statistic": [{"name": "generated-generated distance", "target": 0.42, "shadows": [0.4, 0.45, 0.43, 0.5]}],
        "inside": True,
        "message": "The target lies among the shadows in every statistic.",
    },
    "controls": [
        {"name": "blind", "auc": 0.51, "interval": [0.42, 0.6], "p": 0.81, "what": "never sees the pile"},
        {
            "name": "wrong pile",
            "auc": 0.49,
            "interval": [0.4, 0.58],
            "p": 0.001,
            "what": "an unrelated shadow",
        },
    ],
    "prior": 0.5,
    "fpr": 0.1,
    "threshold_used": 0.8,
    "threshold_not_used": 0.2,
    "decisions": {"used": 3, "not used": 4, "undetermined": 5},
    "submission": {"objective": "f1", "expected": 0.7, "ones": 6, "candidates": 12, "all_ones": False},
    "priors": [
        {"prior": 0.5, "ppv": 0.83, "tpr": 0.5, "fpr": 0.1},
        {"prior": 0.1, "ppv": 0.36, "tpr": 0.5, "fpr": 0.1},
        {"prior": 0.01, "ppv": 0.05, "tpr": 0.5, "fpr": 0.1},
    ],
    "verdict": {"level": "leak", "smallest_auc": 0.83},
}


def config(**report) -> Config:
    made_up = Config()
    made_up.data.root = "/home/somebody/secret-project"
    made_up.data.resolution = 16
    made_up.report = dataclasses.replace(made_up.report, gallery_rows=3, **report)
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
    files.write_json(work / "attack" / "evaluation.json", EVALUATION)
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


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> tuple[Path, Path]:
    return make_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def page(run) -> str:
    return write_report(run[0], config(), run[1]).read_text()


class Page(HTMLParser):
    """Start tags with their attributes, ids, and nesting checked for the tags that must be closed."""

    VOID = frozenset({"meta", "img", "br", "input", "link", "hr"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.text, self.open = [], "", []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def alter(run, tmp_path, change) -> Path:
    """A copy of the run's workdir (links to nothing) with another evaluation.json."""
    work = tmp_path / "work"
    for path in run[0].rglob("*"):
        if path.is_file():
            files.write_bytes(work / path.relative_to(run[0]), path.read_bytes())
    evaluation = copy.deepcopy(EVALUATION)
    change(evaluation)
    files.write_json(work / "attack" / "evaluation.json", evaluation)
    return work


def test_the_file_is_self_contained_and_well_formed(page):
    parsed = Page(page)
    assert not parsed.open
    assert "http://" not in page
    assert "https://" not in page
    assert {"script", "link", "iframe", "object", "base"}.isdisjoint(tag for tag, _ in parsed.tags)
    for tag, attributes in parsed.tags:
        for name in ("src", "href", "xlink:href"):
            target = attributes.get(name)
            assert target is None or target.startswith("#" if tag != "img" else "data:image/png;base64,"), (
                tag,
                name,
                target,
            )
    targets = {attributes["id"] for _, attributes in parsed.tags if "id" in attributes}
    assert {a["href"][1:] for tag, a in parsed.tags if tag in ("a", "use")} <= targets
    assert set(re.findall(r"url\(#([^)]*)\)", page)) <= targets
    ids = [attributes["id"] for _, attributes in parsed.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert len(page) < 3_000_000


def test_everything_drawn_has_a_text(page):
    for tag, attributes in Page(page).tags:
        if tag == "img":
            assert attributes["alt"]
        if attributes.get("role") == "img":
            assert attributes["aria-label"].strip()


def test_the_same_run_gives_the_same_bytes(run, page, tmp_path):
    assert write_report(run[0], config(), run[1]).read_text() == page
    elsewhere = make_run(tmp_path)
    assert write_report(elsewhere[0], config(), elsewhere[1]).read_text() == page


def test_no_path_and_no_date(run, page):
    assert str(run[0].parent) not in page
    assert "somebody" not in page
    assert "(a path, not shown)" in page
    assert not re.search(r"20[2-9]\d-\d\d-\d\d", page)


def test_the_sections_of_the_issue_are_there(page):
    text = Page(page).text
    for words in (
        "in about 86 of 100 cases (prediction interval 70 to 95)",
        "[0.70, 0.95]",
        "not measurable: 80 non-members cannot show",
        "nearest.ratio@highpass",
        "The target lies among the shadows",
        "8 of 80 = 10 %",
        "< 0.01",
        "is not proof of privacy",
        "4 of 4 asked for",
        "orbax-checkpoint",
        "ab" * 32,
        "train.batch_size",
    ):
        assert words in text, words
    assert page.count("<svg") == 9  # four of the attack, three against the truth, two of the shadows


def test_hashes_are_those_of_the_files(run, page):
    for name in made.HASHED:
        assert hashlib.sha256((run[0] / name).read_bytes()).hexdigest() in page


def test_hostile_ids_stay_text(page):
    assert HOSTILE not in page
    parsed = Page(page)
    assert HOSTILE in parsed.text
    assert not any("onerror" in attributes for _, attributes in parsed.tags)


def test_without_the_gallery_there_is_no_image_of_a_slice(run, page, tmp_path):
    work = alter(run, tmp_path, lambda evaluation: None)
    text = write_report(work, config(gallery=False), run[1]).read_text()
    assert "base64" in page
    assert "base64" not in text
    assert "<img" not in text.replace(HOSTILE, "")
    assert "<image" not in text
    assert "switched off for privacy" in text


def test_without_the_gallery_the_slices_are_not_needed(run, tmp_path):
    work = alter(run, tmp_path, lambda evaluation: None)
    write_report(work, config(gallery=False), tmp_path / "nowhere")


def test_without_sealed_there_is_no_truth(run, tmp_path):
    work, root = make_run(tmp_path, sealed=False)
    page = write_report(work, config(), root).read_text()
    assert 'id="truth"' not in page
    assert "How right was it" not in page
    assert ">truth<" not in page
    assert "the truth</span>" not in page


def test_the_truth_is_held_against_the_prediction(page):
    assert "How right was it?" in page
    assert "Predicted 0.86 [0.70, 0.95], measured" in page
    assert "trained for 2,000 steps" in page


def test_a_truth_of_other_ids_is_refused(run, tmp_path):
    work, root = make_run(tmp_path)
    with (root / "sealed" / "truth.csv").open("a") as stream:
        csv.writer(stream).writerow(("another", 1, "p"))
    with pytest.raises(UserError, match="another"):
        write_report(work, config(), root)


def test_null_figures_say_why(run, tmp_path):
    def nothing(evaluation):
        evaluation["two_way"] = {
            "auc": None,
            "why": "one shadow only",
            "interval": None,
            "prediction_interval": None,
            "within_shadow": [],
            "tpr_at_fpr": [{"fpr": 0.1, "tpr": None, "why": "one shadow only"}],
            "strata": [{"stratum": "sibling", "auc": None, "why": "no siblings"}],
            "brier": None,
            "log_loss": None,
            "ece": None,
            "reliability": [],
        }
        evaluation["signals"][0] |= {"auc": None, "interval": None, "weight": None, "why": "constant"}
        evaluation["controls"] = [{"name": "blind", "auc": None, "interval": None, "p": None, "what": "x", "why": "y"}]
        evaluation["dev"] = None
        evaluation["regime"] = {
            "statistic": [{"name": "s", "target": None, "shadows": []}],
            "inside": None,
            "message": "",
        }
        evaluation["priors"][2]["ppv"] = None
        evaluation["prior"] = None
        evaluation["verdict"] = {"level": "cannot tell", "smallest_auc": None}

    work = alter(run, tmp_path, nothing)
    held = dict(np.load(work / "attack" / "heldout.npz"))
    np.savez(work / "attack" / "heldout.npz", **(held | {"label": np.zeros_like(held["label"])}))
    text = Page(write_report(work, config(), run[1]).read_text()).text
    for words in (
        "not measurable: one shadow only",
        "not measurable: no siblings",
        "so few",
        "not measurable: constant",
    ):
        assert words in text
    assert "None" not in text
    assert "nan" not in text.replace("finance", "")


def test_missing_parts_are_the_users_to_mend(run, tmp_path):
    work = alter(run, tmp_path, lambda evaluation: None)
    (work / "attack" / "heldout.npz").write_bytes(b"no")
    with pytest.raises(UserError, match="heldout"):
        write_report(work, config(), run[1])
    (work / "attack" / "evaluation.json").unlink()
    with pytest.raises(UserError, match="evaluation"):
        write_report(work, config(), run[1])


def test_the_verdict_of_a_leak():
    said = sentence.verdict(EVALUATION, 60)
    assert said.leak
    assert said.sentence == (
        "The generator leaks its training slices: shown one slice that was used and one that was not, this "
        "attack picks the used one in about 86 of 100 cases (prediction interval 70 to 95); "
        "guessing would get 50."
    )
    only_mean = {**EVALUATION["two_way"], "prediction_interval": None}
    assert "(95 % interval 80 to 91)" in sentence.verdict({**EVALUATION, "two_way": only_mean}, 60).sentence
    bare = {"auc": 0.86, "interval": None}
    assert "(with an unknown uncertainty)" in sentence.verdict({**EVALUATION, "two_way": bare}, 60).sentence


def test_the_verdict_of_no_finding():
    said = sentence.verdict({**EVALUATION, "verdict": {"level": "cannot tell", "smallest_auc": 0.63}}, 60)
    assert not said.leak
    assert said.sentence.startswith("With 60 candidates and 4 shadow generators no leakage could be shown; ")
    assert "below an AUC of about 0.63 (63 right picks in 100, where" in said.sentence
    with pytest.raises(ValueError, match="surely"):
        sentence.verdict({"verdict": {"level": "surely"}}, 60)


def test_the_truth_sentence_says_where_the_measurement_lies():
    assert sentence.against_truth(0.86, [0.7, 0.95], 0.83, [0.75, 0.9]) == (
        "Predicted 0.86 [0.70, 0.95], measured 0.83 [0.75, 0.90]: inside the prediction interval."
    )
    assert "below the prediction interval" in sentence.against_truth(0.86, [0.7, 0.95], 0.6, [0.5, 0.7])
    assert "above the prediction interval" in sentence.against_truth(0.86, [0.7, 0.95], 0.96, [0.9, 1])
    assert "no prediction interval" in sentence.against_truth(0.86, None, 0.6, [0.5, 0.7])
    assert sentence.against_truth(None, None, 0.6, [0.5, 0.7]).startswith("No AUC was predicted")


def test_numbers():
    assert sentence.number(-0.001) == "0.00"
    assert sentence.number(None) == "–"
    assert sentence.number(float("nan")) == "–"
    assert sentence.interval([0.701, 0.95]) == "[0.70, 0.95]"
    assert sentence.interval([None, 1]) == sentence.interval(None) == ""
    assert [sentence.percent(rate) for rate in (0.1, 0.001)] == ["10 %", "0.1 %"]
    assert [sentence.of_100(value) for value in (0.001, 0.5, 0.999)] == ["fewer than 1", "about 50", "more than 99"]
    assert sentence.range_of_100([0.7, 0.95]) == "70 to 95"
    assert sentence.range_of_100([0.708, 0.9901]) == "70 to 100"


def test_tracks_stay_inside():
    track = view.Scale(0.4, 1.0, 0.5).track(0.3, [0.2, 0.7], [0.1, 1.2])
    assert (track.point, track.band, track.wide) == ("0.00%", ("0.00%", "50.00%"), ("0.00%", "100.00%"))


def test_nearest_is_of_standardised_pixels():
    rng = np.random.default_rng(0)
    pile = rng.normal(100, 20, (20, 8, 8)).astype(np.float32)
    order, distance = gallery.nearest(2 * pile[[7, 3]] + 5, pile, 4)
    assert order[:, 0].tolist() == [7, 3]
    assert distance[:, 0] == pytest.approx(0, abs=2e-3)
    assert 1 < distance[0, -1] < 1.8
    assert (np.diff(distance, axis=1) >= 0).all()


def test_a_flat_slice_and_a_small_pile(tmp_path):
    def flat(count, rng):
        return np.full((count, 16, 16), 9, np.uint8)

    work, root = make_run(tmp_path, draw=flat, pile=2)
    assert write_report(work, config(), root).stat().st_size > 10_000


def test_alarms_stand_on_the_first_screen(run, page, tmp_path):
    assert sentence.alarms({}) == []
    (control,) = sentence.alarms(EVALUATION)
    assert "“wrong pile” should show nothing, but does (AUC 0.49 [0.40, 0.58], p < 0.01)" in control
    assert 0 < page.index("wrong pile” should show nothing") < page.index("<main>")

    def outside(evaluation):
        evaluation["regime"] |= {"inside": False, "message": "Its images are blurred."}
        del evaluation["controls"], evaluation["prior"], evaluation["fpr"], evaluation["submission"]

    head = write_report(alter(run, tmp_path, outside), config(), run[1]).read_text().split("<main>")[0]
    assert "Its images are blurred." in head
    assert "wrong pile" not in head


def test_missing_shadows_stand_wherever_their_number_does(run, page, tmp_path):
    assert "shadows were there" not in page

    def incomplete(evaluation):
        evaluation |= {"shadows_asked": 6, "shadows_missing": [1, 3]}
        evaluation["verdict"]["level"] = "cannot tell"

    folder = alter(run, tmp_path, incomplete)
    text = write_report(folder, config(), run[1]).read_text()
    head, _, body = text.partition("<main>")
    assert "Only 4 of 6 shadows were there (missing: 1, 3). The run was told to go on" in head
    assert "candidates and 4 of 6 shadow generators no leakage" in head
    assert "Only 4 of 6 shadows were there (missing: 1, 3)." in body
    assert "4 of 6 asked for (missing: 1, 3)" in body
    assert f"mean of {SHADOWS}" in page
    assert f"mean of {SHADOWS - 2}" in text  # learning curves of 0 and 2


def test_a_long_row_of_numbers_is_cut_short():
    assert sentence.listed([3, 7]) == "3, 7"
    assert sentence.listed(range(4)) == "0, 1, 2, 3"
    assert sentence.listed([5, *range(10, 30)]) == "5, 10, 11, 12 and 17 more"


def test_a_users_matplotlibrc_changes_nothing(run, page):
    with matplotlib.rc_context({"axes.facecolor": "red", "font.size": 20, "svg.fonttype": "path"}):
        assert write_report(run[0], config(), run[1]).read_text() == page


def test_patients_are_shown(run):
    work, root = run
    evaluation = copy.deepcopy(EVALUATION)
    row = {"auc": 0.77, "interval": [0.6, 0.88], "prediction_interval": [0.5, 0.95]}
    evaluation["patients"] = {
        "patients": 4,
        "judged": 4,
        "auc": [{"score": name, **row} for name in ("logmeanexp", "top3", "max")]
        + [{"score": "mean", "auc": None, "interval": None, "why": "too few"}],
        "success": [0.3, 0.8, 0.9, 1.0],
        "above_all": 1,
        "worst_decile": 1.0,
        "worst_decile_patients": 1,
        "median": 0.85,
    }
    files.write_json(work / "attack" / "evaluation.json", evaluation)
    text = Page(write_report(work, config(), root).read_text()).text
    files.write_json(work / "attack" / "evaluation.json", EVALUATION)
    assert "1 of 4 patients stand above every unused slice" in text
    assert "0.77 [0.60, 0.88]" in text
    assert "too few" in text
    assert "0.30 to 1.00" in text
    assert "AUC over patients" in text  # in the truth section
    assert "0.77 [0.50, 0.95]" in text


def test_unknown_patients_are_said(page, run):
    assert "Patients instead of slices" in page
    work, root = run
    files.write_json(work / "attack" / "evaluation.json", EVALUATION | {"patients": {"why": "nobody told"}})
    text = Page(write_report(work, config(), root).read_text()).text
    files.write_json(work / "attack" / "evaluation.json", EVALUATION)
    assert "nobody told" in text
    assert "AUC over patients" not in text


def quality(value):
    return {name: {"value": value, "low": value / 2, "high": 2 * value} for name in ("brier", "log_loss", "ece")}


def test_recalibration_on_dev_labels_is_said_and_shown(run):
    work, root = run
    evaluation = copy.deepcopy(EVALUATION)
    evaluation["dev"] |= quality(0.111)
    files.write_json(work / "attack" / "evaluation.json", evaluation)
    plain = write_report(work, config(), root).read_text()
    assert "0.11 [0.06, 0.22]" in Page(plain).text
    assert "no longer an independent check" not in plain
    evaluation["dev"]["recalibration"] = {
        "slices": 40,
        "threshold_used_from": "dev",
        "before": quality(0.222),
        "cross_validated": quality(0.033),
    }
    files.write_json(work / "attack" / "evaluation.json", evaluation)
    mended = Page(write_report(work, config(), root).read_text()).text
    files.write_json(work / "attack" / "evaluation.json", EVALUATION)
    assert "and the threshold of “used” were set on the labels of these 40 slices" in mended
    assert "no longer an independent check" in mended
    assert "0.22 [0.11, 0.44]" in mended
    assert "0.03 [0.02, 0.07]" in mended


def test_what_the_attack_is_made_of_is_shown(page):
    for wanted in (
        "chosen as the best on families of shadows that it was not fitted on",
        "0.78 [0.71, 0.85]",
        "fitted without it",
        "+0.213",
        "−0.011",
        "0.83",
        "What more shadows would bring",
    ):
        assert wanted in page, wanted


def test_a_run_without_ablation_and_families_shows_none_of_it(run, tmp_path):
    work = alter(run, tmp_path, lambda evaluation: evaluation.update(worth=None, families=None))
    bare = write_report(work, config(), run[1]).read_text()
    for absent in ("Models that combine", "fitted without it", "AUC lost", "What more shadows would bring"):
        assert absent not in bare, absent

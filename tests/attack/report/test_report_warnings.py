"""What the report says where something is missing, wrong or not known."""

import copy
import csv

import numpy as np
import pytest
from made_up_run import EVALUATION, SHADOWS, Page, alter, config, make_run

from attack.report import sentence
from attack.report.write import write_report
from shadow import files
from shadow.errors import UserError


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
        "fpr_interval": [0.0211, 0.2207],
        "before": quality(0.222),
        "cross_validated": quality(0.033),
    }
    files.write_json(work / "attack" / "evaluation.json", evaluation)
    mended = Page(write_report(work, config(), root).read_text()).text
    files.write_json(work / "attack" / "evaluation.json", EVALUATION)
    assert "and the threshold of “used” were set on the labels of these 40 slices" in mended
    assert "no longer an independent check" in mended
    assert (
        "On held-out pairs it flagged" in Page(plain).text
    )  # by the threshold of the shadows, which is not in use now
    assert "On held-out pairs it flagged" not in mended
    assert f"set on {evaluation['dev']['non_members']} unused development slices" in mended
    assert "it flags 2.1 % to 22.1 % of those" in mended
    assert "decided where about 10 % of unused slices" in mended
    assert "decided where at most 10 % of unused slices" in Page(plain).text
    assert "0.22 [0.11, 0.44]" in mended
    assert "0.03 [0.02, 0.07]" in mended


def test_a_run_without_ablation_and_families_shows_none_of_it(run, tmp_path):
    work = alter(run, tmp_path, lambda evaluation: evaluation.update(worth=None, families=None))
    bare = write_report(work, config(), run[1]).read_text()
    for absent in ("Models that combine", "fitted without it", "AUC lost", "What more shadows would bring"):
        assert absent not in bare, absent


def test_what_the_confidence_foresees_leads_where_there_is_no_label(run, page, tmp_path):
    assert "foreseen" not in page  # a run of before it was known

    def without_labels(auc, limits):
        def change(evaluation):
            trials = {"implied": [[0.7, 0.9], [0.75, 0.95]], "auc": [[0.5, 0.9], [0.6, 0.97]]}
            line = {"implied": 0.76, "offset": -1.0, "slope": 1.2}
            evaluation["confidence"] = {"auc": auc, "interval": limits, "trials": trials, **line}
            evaluation["expected"] = {"auc": auc, "interval": limits, "from": "confidence"}

        return change

    wide = EVALUATION["two_way"]["prediction_interval"]
    low = without_labels(0.618, [0.512, 0.731])
    text = Page(write_report(alter(run, tmp_path, low), config(), run[1]).read_text()).text
    assert "picks the used one in about 62 of 100 cases (prediction interval 51 to 74)" in text
    assert "These candidates, foreseen" in text
    assert "How sure it is, and how right" in text
    assert "By how sure the attack is of these candidates, an AUC of 0.62 [0.51, 0.73] is to be expected" in text
    assert "below the interval for a generator like the shadows" in text
    assert "AUC to expect here" in text
    assert f"A single generator like them lies in the wider {sentence.interval(wide)}." in text
    assert "Predicted 0.62 [0.51, 0.73], measured" in text
    near = without_labels(sum(wide) / 2, wide)
    assert "below the interval for a" not in write_report(alter(run, tmp_path, near), config(), run[1]).read_text()


def test_why_nothing_is_foreseen_is_said(run, tmp_path):
    def few(evaluation):
        evaluation["confidence"] = {"auc": None, "interval": None, "why": "9 candidates are too few"}

    text = Page(write_report(alter(run, tmp_path, few), config(), run[1]).read_text()).text
    assert "not measurable: 9 candidates are too few" in text
    assert "How sure it is" not in text

"""What the report says where something is missing, wrong or not known."""

import csv
import dataclasses

import numpy as np
import pytest
from html_page import Page
from made_up_run import (
    EVALUATION,
    SHADOWS,
    alter,
    altered,
    cannot_tell,
    config,
    labelled_only,
    make_run,
    quality,
    recalibrated,
    write_report,
)

from attack import results
from attack.report import cautions, view, wording
from shadow.errors import UserError


def test_a_truth_of_other_ids_is_refused(run, tmp_path):
    work, root = make_run(tmp_path)
    with (root / "sealed" / "truth.csv").open("a") as stream:
        csv.writer(stream).writerow(("another", 1, "p"))
    with pytest.raises(UserError, match="another"):
        write_report(work, config(), root)


def test_null_figures_say_why(run, tmp_path):
    def nothing(evaluation):
        bare = {"auc": None, "interval": None, "prediction_interval": None, "within_shadow": None}
        evaluation["two_way"] |= bare | {"why": "one shadow only", "reliability": []}
        evaluation["two_way"]["strata"][1] |= bare | {"why": "no relatives"}
        first = evaluation["two_way"]["tpr_at_fpr"][1]
        evaluation["two_way"]["tpr_at_fpr"] = [first | {"why": "one shadow only"}]
        evaluation["signals"][0] |= {"auc": None, "interval": None, "why": "constant"}
        evaluation["controls"] = [
            evaluation["controls"][0] | {"auc": None, "interval": None, "p": None, "why": "all alike"}
        ]
        nobody = dict.fromkeys(evaluation["dev"])
        evaluation["dev"] = nobody | {"same_generator": False, "why": "nothing is labelled"}
        evaluation["priors"][2]["ppv"] = None
        evaluation["verdict"] |= {"level": "cannot tell", "smallest_auc": None}
        why = {"auc": None, "interval": None, "why": "few of them"}
        evaluation["candidates"] |= why
        evaluation["expected"] |= why

    work = alter(run, tmp_path, nothing)
    held = dict(np.load(work / "attack" / "heldout.npz"))
    np.savez(work / "attack" / "heldout.npz", **(held | {"label": np.zeros_like(held["label"])}))
    text = Page(write_report(work, config(), run[1]).read_text()).text
    for words in (
        "not measurable: one shadow only",
        "not measurable: no relatives",
        "so few",
        "not measurable: constant",
        "not measurable: all alike",
        "not measurable: nothing is labelled",
        "not measurable: few of them",
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
    (control,) = cautions.alarms(EVALUATION)
    assert "“wrong pile” should show nothing, but does (AUC 0.49 [0.40, 0.58], p < 0.01)" in control
    assert 0 < page.index("wrong pile” should show nothing") < page.index("<main>")

    def outside(evaluation):
        evaluation["regime"] |= {"inside": False, "message": "Its images are blurred."}
        evaluation["controls"] = []

    assert cautions.alarms(altered(outside)) == ["Its images are blurred."]
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


def test_unknown_patients_are_said(page, run, tmp_path):
    assert "patients instead of slices" in page
    text = of(run, tmp_path, lambda evaluation: evaluation["patients"].update(why="nobody told"))
    assert "nobody told" in text
    assert "AUC over patients" not in text


def test_recalibration_on_dev_labels_is_said_and_shown(run, tmp_path):
    def plain(evaluation):
        evaluation["dev"] |= quality(0.111)

    def mended(evaluation):
        plain(evaluation)
        recalibrated(evaluation)

    text = of(run, tmp_path / "plain", plain)
    assert "0.11 [0.06, 0.22]" in text
    assert "no longer an independent check" not in text
    text = of(run, tmp_path / "mended", mended)
    assert "The probabilities were set on the labels of these 40 slices" in text
    assert "no longer an independent check" in text
    assert "0.22 [0.11, 0.44]" in text
    assert "0.03 [0.02, 0.07]" in text
    without_a_leak = altered(mended, cannot_tell)  # every probability is at the prior
    assert wording.recalibrated(without_a_leak).startswith("Were leakage found, the labels of these 40 slices would")


def test_what_the_threshold_of_used_rests_on_is_said(page, run, tmp_path):
    text = Page(page).text
    assert "by slices known not to be used, about 10 % of unused slices" in text
    assert "set on the scores of 30 slices known not to be used, on the target's own images" in text
    assert "it flags 2.1 % to 22.1 % of those" in text

    def few(evaluation):
        evaluation["thresholds"] |= {"nulls": 0, "fpr_interval": None}

    text = Page(write_report(alter(run, tmp_path, few), config(), run[1]).read_text()).text
    assert "by the probabilities, about 10 % of unused slices" in text
    assert "Too few slices are known not to be used to set its threshold, so the probabilities set it" in text
    assert "it flags 2.1 %" not in text


def test_a_run_without_ablation_and_families_shows_none_of_it(run, tmp_path):
    work = alter(run, tmp_path, lambda evaluation: evaluation.update(worth=None, families=None))
    bare = write_report(work, config(), run[1]).read_text()
    for absent in ("fitted without it", "AUC lost", "What more shadows would bring"):
        assert absent not in bare, absent


def of(run, tmp_path, change) -> str:
    """The text of the report of the altered run."""
    return Page(write_report(alter(run, tmp_path, change), config(), run[1]).read_text()).text


def test_candidates_that_nothing_is_like_are_said_to_stand_aside(run, tmp_path, page):
    def change(evaluation):
        evaluation["candidates"] |= {"aside": 4, "candidates": 8}

    said = "4 of 12 candidates are left out of the comparison"
    assert said in of(run, tmp_path, change)
    assert "left out of the comparison" not in Page(page).text


def test_a_leak_leads_with_the_auc_of_the_candidates(page):
    text = Page(page).text
    head = text.split("Slices and their nearest generated images")[0]
    assert "Leakage found" in head
    assert "AUC to expect here" in head
    assert "by slices known not to be used; on the shadows it is 0.86 [0.80, 0.91]" in head
    assert "speaks for an AUC of 0.76 [0.62, 0.90] on them" in text
    assert "no label of theirs: by how far they stand above slices known not to be used" in text
    assert "3 of 12" in head  # called used


def test_where_dev_labels_count_they_lead(run, tmp_path):
    def labelled(evaluation):
        labelled_only(evaluation)
        evaluation["expected"] |= {"auc": 0.8, "interval": [0.61, 0.93], "from": "dev"}
        evaluation["verdict"]["level"] = "leak"

    text = of(run, tmp_path, labelled)
    assert "in about 80 of 100 cases (95 % interval 61 to 93)" in text
    assert "by labelled slices of this generator; on the shadows it is" in text
    assert "Predicted 0.80 [0.61, 0.93], measured" in text
    assert "of the generator under test" in text


def test_where_it_cannot_tell_nobody_is_called_used(run, tmp_path):
    text = of(run, tmp_path, cannot_tell)
    assert "Cannot tell" in text
    assert "no leakage could be shown: the candidates do not stand above slices known not to be used" in text
    assert "below an AUC of about 0.83 (83 right picks in 100" in text
    assert "every candidate is left undetermined and every probability next to the prior" in text
    assert "“Used” is decided where" not in text
    assert "weaker on these candidates (AUC 0.54 [0.40, 0.68]) than on the shadows" in text
    assert "Between the upright lines" not in text


def test_where_only_labelled_slices_leak_the_candidates_are_left_alone(run, tmp_path):
    text = of(run, tmp_path, labelled_only)
    head = text.split("Slices and their nearest generated images")[0]
    assert "Only labelled slices leak" in head
    assert "gives its labelled training slices away (AUC of the dev slices 0.80 [0.66, 0.90])" in head
    assert "nothing shows that any of these 12 candidates was used: the candidates do not stand above" in head
    assert "The generator leaks its training slices" not in text
    assert "every candidate is left undetermined" in text


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        (True, "Dev labels count as labels of this generator: The piles cannot be told apart (p = 0.50)."),
        (False, "Dev labels do not count: The dev pile and the test pile are not of one generator."),
    ],
)
def test_whether_dev_labels_count_is_said_with_the_reason(run, tmp_path, counts, said):
    def change(evaluation):
        evaluation["same_generator"] |= {"counts": counts, "why": said.split(": ")[1]}

    assert said in of(run, tmp_path, change)
    bare = dataclasses.replace(EVALUATION, same_generator=results.Provenance(counts=False, why="it says so"))
    assert wording.provenance(bare).endswith("it says so.")


def test_candidates_and_slices_known_not_to_be_used_are_drawn(run, page, tmp_path):
    assert "Candidates and slices known not to be used" in page
    assert "Histogram of scores: candidates and known not to be used" in page
    work = alter(run, tmp_path, lambda evaluation: None)
    path = work / "attack" / "on_target.npz"
    nobody = np.zeros(0)
    with path.open("wb") as stream:
        np.savez(stream, candidate=np.ones(12), null=nobody, null_group=nobody)
    assert "Candidates and slices known not to be used" not in write_report(work, config(), run[1]).read_text()
    path.write_bytes(b"no")
    with pytest.raises(UserError, match=r"on_target\.npz.*predict again"):
        write_report(work, config(), run[1])


def test_why_the_candidates_are_not_compared_is_said(run, tmp_path):
    why = "9 candidates and 30 slices known not to be used are too few to compare: 10 of each are needed"

    def few(evaluation):
        cannot_tell(evaluation)
        evaluation["candidates"] |= {"auc": None, "interval": None, "why": why, "blind_p": None}
        evaluation["expected"] |= {"auc": None, "interval": None, "why": why}
        evaluation["verdict"] |= {"why": why, "p": None, "smallest_auc": None}

    text = of(run, tmp_path, few)
    assert f"no leakage could be shown: {why}. With so few slices even a complete leak could go unnoticed." in text
    assert text.count(f"not measurable: {why}") == 2  # the first card, and the table of the target
    assert "No fair comparison" not in text
    assert "No AUC was predicted; measured" in text


def test_candidates_of_another_kind_stand_on_the_first_screen(run, tmp_path):
    why = "the candidates are another kind of image than the slices known not to be used"

    def other(evaluation):
        cannot_tell(evaluation)
        evaluation["candidates"] |= {"auc": None, "interval": None, "why": why, "blind_p": 0.001}
        evaluation["expected"] |= {"auc": None, "interval": None, "why": why}

    head = of(run, tmp_path, other).split("Slices and their nearest generated images")[0]
    assert f"Read this first. No fair comparison: {why}." in head


def test_every_figure_of_shadows_says_so(page):
    """Captions, headings and cards: none can be taken for a figure of the target."""
    text = " ".join(Page(page).text.split())
    for said in (
        "How well the attack works on the shadows",
        "On the shadows: telling used from unused slices",
        "On the shadows: used slices found",  # the card and the table
        "On the shadows: quality of the probabilities",
        "On the shadows: patients instead of slices",
        "What a flag “used” is worth, by the rates of the shadows",
        "found, on the shadows",
        "false alarms, on the shadows",
        "They are not rates of the target.",
        "AUC alone, on the shadows",
        "What each part is worth on the shadows",
        "AUC on its shadows, fitted on all families",
        "On the shadows: how many of the used slices are found",
        "On the shadows: the further apart the two humps",
        "On the shadows: where a probability of 0.8 is stated",
    ):
        assert said in text, said
    nobody = results.Dev(same_generator=False, why="nothing is labelled")
    without_controls = dataclasses.replace(EVALUATION, controls=(), dev=nobody)
    third = view.cards(without_controls, view.auc_scale(without_controls))[2]
    assert (third.name, third.value) == ("On the shadows: calibration error", "0.05")

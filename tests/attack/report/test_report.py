"""The report on a small made-up run."""

import dataclasses
import hashlib
import json
import re

import matplotlib
import numpy as np
import pytest
from html_page import Page
from made_up_run import HOSTILE, alter, config, make_run, write_report

from attack import results
from attack.report import gallery, provenance
from shadow.config import Config, from_dict


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
        "in about 76 of 100 cases (95 % interval 62 to 90)",
        "[0.70, 0.95]",
        "not measurable: 80 non-members cannot show",
        "ratio@highpass",
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
    # four of the attack, one of the target, three against the truth, two of the shadows
    assert page.count("<svg") == 10


def test_hashes_are_those_of_the_files(run, page):
    for name in provenance.HASHED:
        assert hashlib.sha256((run[0] / name).read_bytes()).hexdigest() in page


def test_hostile_ids_stay_text(page):
    assert HOSTILE not in page
    parsed = Page(page)
    assert HOSTILE in parsed.text
    assert not any("onerror" in attributes for _, attributes in parsed.tags)


def test_without_the_gallery_there_is_no_image_of_a_slice(run, page, tmp_path):
    work = alter(run, tmp_path, lambda evaluation: None)
    text = write_report(work, config(gallery="false"), run[1]).read_text()
    assert "base64" in page
    assert "base64" not in text
    assert "<img" not in text.replace(HOSTILE, "")
    assert "<image" not in text
    assert "switched off for privacy" in text


def test_unasked_a_report_shows_slices_of_nobody_alone():
    """Phantoms; neither a folder of the user's nor a challenge made from one."""
    phantoms, pool, asked = Config(), Config(), config(gallery="true")
    pool.challenge.pool = "slices"
    shown = [gallery.is_shown(made) for made in (phantoms, pool, config(gallery="auto"), asked)]
    assert shown == [True, False, False, True]
    phantoms.report.gallery = "false"
    assert not gallery.is_shown(phantoms)
    older = json.loads(json.dumps(dataclasses.asdict(phantoms)))
    older["report"]["gallery"] = True  # as before there was "auto"
    assert from_dict(older).report.gallery == "true"


def test_without_the_gallery_the_slices_are_not_needed(run, tmp_path):
    work = alter(run, tmp_path, lambda evaluation: None)
    write_report(work, config(gallery="false"), tmp_path / "nowhere")


def test_without_sealed_there_is_no_truth(run, tmp_path):
    work, root = make_run(tmp_path, sealed=False)
    page = write_report(work, config(), root).read_text()
    assert 'id="truth"' not in page
    assert "How right was it" not in page
    assert ">truth<" not in page
    assert "the truth</span>" not in page


def test_the_truth_is_held_against_the_prediction(page):
    assert "How right was it?" in page
    assert "Predicted 0.76 [0.62, 0.90], measured" in page
    assert "0.50 [0.38, 0.61] on the shadows" in page  # no rate was predicted for the target
    assert "trained for 2,000 steps" in page


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


def test_a_users_matplotlibrc_changes_nothing(run, page):
    with matplotlib.rc_context({"axes.facecolor": "red", "font.size": 20, "svg.fonttype": "path"}):
        assert write_report(run[0], config(), run[1]).read_text() == page


def test_patients_are_shown(run, tmp_path):
    area = {"auc": 0.77, "interval": (0.6, 0.88), "prediction_interval": (0.5, 0.95)}
    exposed = results.Patients(
        patients=4,
        judged=4,
        auc=(
            *(results.PatientAuc(score=name, **area) for name in ("logmeanexp", "top3", "max")),
            results.PatientAuc(score="mean", why="too few"),
        ),
        success=(0.3, 0.8, 0.9, 1.0),
        above_all=1,
        worst_decile=1.0,
        worst_decile_patients=1,
        worst_decile_redrawn=0.52,
        worst_decile_redrawn_range=(0.4, 0.63),
        median=0.85,
    )
    work = alter(run, tmp_path, lambda evaluation: evaluation.update(patients=results.encode(exposed)))
    text = Page(write_report(work, config(), run[1]).read_text()).text
    assert "1 of 4 patients stand above every unused slice" in text
    assert "is found in more than 99 of 100 comparisons on the other half" in text
    assert "with memberships that no shadow was trained on it is about 52 (40 to 63)" in text
    assert "0.77 [0.60, 0.88]" in text
    assert "too few" in text
    assert "0.30 to 1.00" in text
    assert "AUC over patients" in text  # in the truth section
    assert "0.77 [0.50, 0.95]" in text


def test_what_the_attack_is_made_of_is_shown(page):
    for wanted in (
        "0.78 [0.70, 0.85]",
        "fitted without it",
        "+0.213",
        "−0.011",
        "0.83",
        "What more shadows would bring",
        "250 of each shadow&#39;s pile, 10,000 of the target&#39;s, ",
        "Of the target 10,000 images were compared and of each shadow 250: more images show more",
    ):
        assert wanted in page, wanted

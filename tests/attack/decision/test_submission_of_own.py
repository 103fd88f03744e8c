"""A format of the user's own: written by a run, checked by `validate`, refused before anything is done."""

from __future__ import annotations

import csv
import io
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from attack.baselines.alone.run import QuickRun
from attack.decision import submission, submission_formats
from attack.pipeline import Run
from configs import baselines
from shadow.config import Config
from shadow.errors import UserError

IDS = ["scan 3, axial", 'the "best" one', "Müller", "a;b", "1.2.840"]
OURS = {"header": ("image", "label"), "extension": ".dcm", "delimiter": ";", "used": "used", "not_used": "not used"}


def config(edition="own", roles=(), **fields):
    made = Config()
    made.data.edition, made.data.roles, made.data.root = edition, roles, "DATA"
    for name, value in fields.items():
        setattr(made.submission, name, value)
    return made


def put(folder, text):
    path = folder / "run.csv"
    path.write_text(text)
    return path


def test_what_is_written_is_what_was_asked_for(tmp_path):
    layout = submission.of_config(config(**OURS))
    path = tmp_path / "run.csv"
    submission.write(path, IDS, [1, 0, 1, 0, 1], layout)
    assert path.read_text() == (
        'image;label\nscan 3, axial.dcm;used\n"the ""best"" one.dcm";not used\nMüller.dcm;used\n"a;b.dcm";not used\n'
        "1.2.840.dcm;used\n"
    )
    assert submission.validate(path, layout, IDS) == submission.validate(path, layout) == 5
    assert submission.check(str(path), layout, IDS) == f"{path}: 5 rows, valid for edition own"
    assert submission.read_labels(path, layout) == [1, 0, 1, 0, 1]


LABEL = re.compile(r'<td data-name="label">(used|not used)</td>')
WORDS = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=5)


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from([",", ";", "|", "tab"]),
    st.sampled_from(["", "none", ".png", ".nii.gz"]),
    st.tuples(WORDS, WORDS, WORDS, WORDS),
    st.booleans(),
    st.lists(st.tuples(WORDS, st.integers(0, 1)), min_size=1, max_size=6, unique_by=lambda row: row[0]),
)
def test_every_format_that_is_taken_is_read_back(tmp_path_factory, delimiter, extension, words, header, rows):
    asked = config(delimiter=delimiter, extension=extension, used=words[0], not_used=words[1])
    asked.submission.header = words[2:] if header else ()
    try:
        layout = submission.of_config(asked)
    except UserError as error:
        assert "submission." in str(error)  # noqa: PT017
        return
    path = tmp_path_factory.mktemp("own") / "run.csv"
    ids = [submission.tables.normal(name) for name, _ in rows]
    if len(set(ids)) < len(ids) or any(name.lower().endswith(".png") for name in ids):
        return
    labels = [label for _, label in rows]
    submission.write(path, ids, labels, layout)
    assert submission.validate(path, layout, ids) == len(ids)
    assert submission.read_labels(path, layout) == labels
    mark = submission_formats.DELIMITERS[delimiter]
    found = list(csv.reader(io.StringIO(path.read_text(), newline=""), delimiter=mark))[int(header) :]
    assert [row[1] for row in found] == [(words[1], words[0])[label] for label in labels]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a.dcm;used\n", "line 1: the header image;label is missing"),
        ("id;label\na.dcm;used\n", "line 1: the header image;label is missing"),
        ("image;label\na;used\n", r"line 2: 'a' lacks the extension \.dcm"),
        ("image;label\na.dcm;1\n", "line 2: wrong label '1', it must be not used .* or used"),
        ("image;label\na.dcm,used\n", "separate them by ';'"),
        ("image;label\na.dcm;used\na.dcm;used\n", "line 3: id 'a' stands on line 2 already"),
        ("image;label\na.dcm;used\n", "'b' is missing"),
        ("image;label\nc.dcm;used\n", "id 'c' is not in the test set"),
        ("image;label\n", "is missing"),
    ],
)
def test_validate_holds_a_file_to_it(tmp_path, text, said):
    with pytest.raises(UserError, match=said):
        submission.validate(put(tmp_path, text), submission.of_config(config(**OURS)), ["a", "b"])


def test_a_label_is_no_header(tmp_path):
    layout = submission.of_config(config(used="member", not_used="stranger"))
    assert submission.validate(put(tmp_path, "a,member\nb,stranger\n"), layout) == 2
    with pytest.raises(UserError, match="id,label is a header, and edition own wants none"):
        submission.validate(put(tmp_path, "id,label\nb,stranger\n"), layout)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"delimiter": ":"}, r"^submission\.delimiter = ':': use ',' or ';'"),
        ({"delimiter": ""}, r"^submission\.delimiter"),
        ({"header": ("image",)}, r"^submission\.header = \('image',\): name two columns"),
        ({"header": ("image", "")}, r"^submission\.header: '' is no word"),
        ({"header": ("image", "1")}, r"^submission\.header: '1' is a label"),
        ({"header": (1, 2)}, r"^submission\.header: 1 is no word"),
        ({"extension": "png"}, r"^submission\.extension = 'png': use '\.png'"),
        ({"extension": ".p/g"}, r"^submission\.extension"),
        ({"used": ""}, r"^submission\.used: '' is no word"),
        ({"used": " used"}, r"^submission\.used: ' used' is no word"),
        ({"not_used": "a\nb"}, r"^submission\.not_used: 'a\\nb' is no word"),
        ({"used": "0"}, r"^submission\.used = '0': is the label of slices not used, too"),
        ({"used": "Yes", "not_used": "yes"}, r"^submission\.used = 'Yes': is the label"),
        ({"edition": "2023", "delimiter": ";"}, r"^submission\.delimiter = ';': edition 2023 fixes its format"),
        ({"edition": "2023", "header": ("a", "b")}, r"^submission\.header = \('a', 'b'\): edition 2023 fixes"),
        ({"edition": "2025", "used": "used"}, r"^submission\.used = 'used': edition 2025 fixes its format"),
    ],
)
@pytest.mark.parametrize("kind", [Run, QuickRun])
def test_what_makes_no_sense_is_refused_before_anything_is_done(tmp_path, kind, fields, said):
    asked = config(**fields)
    if kind is QuickRun:
        asked.fleet.shadows = 0
    with pytest.raises(UserError, match=said):
        kind(tmp_path / "run", asked)
    assert not list(tmp_path.iterdir())


def test_folders_that_are_mapped_have_it_too_and_2025_its_own_freedom(tmp_path):
    mapped = submission.of_config(config("2023", ("unknown=x",), header=("id", "said"), used="yes", not_used="no"))
    submission.write(tmp_path / "a.csv", ["p1"], [1], mapped)
    assert (tmp_path / "a.csv").read_text() == "id,said\np1,yes\n"
    assert submission.validate(tmp_path / "a.csv", mapped) == 1
    assert submission.of_config(config("2023", ("unknown=x",))) == submission.FORMATS["2023"]
    assert submission.of_config(config("2025", ("unknown=x",), used="yes")).extension == ".png"
    assert submission.of_config(config("2025", ("unknown=x",), extension="none")).extension == ""
    layout = submission.of_config(config("2025", header=("original_image", "label"), extension="none"))
    submission.write(tmp_path / "b.csv", ["real_unknown_1"], [0], layout)
    assert (tmp_path / "b.csv").read_text() == "original_image,label\nreal_unknown_1,0\n"
    assert submission.validate(tmp_path / "b.csv", "2025") == 1


def test_a_run_writes_it_and_validate_knows_it(tmp_path, launch):
    rng = np.random.default_rng(0)
    for folder, count in (("candidates", 4), ("not_used", 6), ("generated", 9)):
        (tmp_path / "data" / folder).mkdir(parents=True)
        for i in range(count):
            pixels = rng.integers(0, 256, (16, 16), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "data" / folder / f"{folder[0]}{i}.png")
    asked = baselines.get_config()
    asked.data.root, asked.data.edition, asked.data.resolution = str(tmp_path / "data"), "own", 8
    plain = QuickRun(tmp_path / "run", asked)
    plain.everything()
    before = {name: (tmp_path / "run" / name).read_bytes() for name in ("predictions.csv", "scores.csv")}
    labels = dict(line.split(",") for line in (tmp_path / "run/submission.csv").read_text().splitlines())
    said = LABEL.findall((tmp_path / "run/report.html").read_text())
    for name, value in OURS.items():
        setattr(asked.submission, name, value)
    QuickRun(tmp_path / "run", asked).everything()
    path = tmp_path / "run/submission.csv"
    words = {"0": "not used", "1": "used"}
    assert path.read_text() == "image;label\n" + "".join(f"{k}.dcm;{words[v]}\n" for k, v in labels.items())
    assert {name: (tmp_path / "run" / name).read_bytes() for name in before} == before
    assert LABEL.findall((tmp_path / "run/report.html").read_text()) == said
    assert len(said) == 4

    good = launch("validate", f"--submission={path}", f"--workdir={tmp_path / 'run'}")
    assert (good.returncode, good.stderr) == (0, "")
    assert "4 rows, valid for edition own" in good.stdout
    options = [f"--config.submission.{name}={value}" for name, value in OURS.items()]
    alone = launch("validate", f"--submission={path}", "--edition=own", *options)
    assert (alone.returncode, alone.stderr) == (0, "")
    for arguments, said in (
        (("--edition=own",), "separate them by ','"),
        (("--edition=2023", f"--workdir={tmp_path / 'run'}"), "separate them by ','"),
        (("--edition=2023", *options), "edition 2023 fixes its format"),
    ):
        bad = launch("validate", f"--submission={path}", *arguments)
        assert bad.returncode == 2
        assert said in bad.stderr
        assert bad.stderr.count("\n") == 1

"""The 2023 table of verdicts is that of the organizers' validator; 2025 is lenient where it is not known."""

import pytest

from attack.decision import submission
from attack.pipeline import Run
from shadow.config import Config
from shadow.data import editions
from shadow.errors import UserError

IDS = [f"real_unknown_{number:04d}" for number in range(1, 201)]
GOOD = [f"{name},{number % 2}" for number, name in enumerate(IDS)]


def put(folder, text):
    path = folder / "run.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(GOOD) + "\n",
        "\n".join(GOOD),
        "\r\n".join(GOOD) + "\r\n",
        "\r".join(GOOD),
        "\n".join(reversed(GOOD)) + "\n",
        "\n".join(line.replace(",", " , ") + " " for line in GOOD),
        "\n".join(line.replace(",1", ",+1").replace(",0", ",00") for line in GOOD),
        "\n".join(line.replace(",0", ",-0").replace(",1", ",01") for line in GOOD),
    ],
    ids=["lf", "no-final-newline", "crlf", "cr", "shuffled", "spaces", "plus", "zeros"],
)
def test_2023_accepts(tmp_path, text):
    assert submission.validate(put(tmp_path, text), "2023") == 200


def test_an_edition_without_its_format_is_named_at_start(monkeypatch, tmp_path):
    submission.check_formats()
    roles = editions.get("2023").roles
    with pytest.raises(RuntimeError, match=r"^edition 'new': add its format to FORMATS"):
        submission.check_formats({"new": editions.Edition("new", roles)})
    monkeypatch.setitem(submission.FORMATS, "new", submission.Format("new", delimiter=";"))
    with pytest.raises(RuntimeError, match=r"^edition 'new': add ; to its `unfit` in shadow/data/editions\.py"):
        submission.check_formats({"new": editions.Edition("new", roles)})
    monkeypatch.setitem(submission.FORMATS, "new", submission.Format("new", pattern="scan_.+"))
    with pytest.raises(RuntimeError, match=r"^edition 'new': give its format an `example`"):
        submission.check_formats({"new": editions.Edition("new", roles)})
    monkeypatch.setitem(editions.EDITIONS, "new", editions.Edition("new", roles))
    with pytest.raises(RuntimeError, match=r"^edition 'new'"):
        Run(tmp_path / "run", Config())
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "layout",
    [
        *submission.FORMATS.values(),
        submission.Format("new", header=("image", "member"), extension=".png", delimiter=";"),
        submission.Format("new", header=("image", "member"), quoted=True, delimiter="\t"),
    ],
    ids=lambda layout: f"{layout.edition}{layout.delimiter}",
)
def test_what_is_written_is_valid(tmp_path, layout):
    ids = layout.official_ids or [layout.example or "scan 1", "real_unknown_2"]
    submission.write(tmp_path / "run.csv", ids, [1, 0] * (len(ids) // 2), layout)
    assert submission.validate(tmp_path / "run.csv", layout) == len(ids)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("scan_1.png;1\n", "line 1: the header image;member is missing$"),
        ("image,member\nscan_1.png,1\n", "line 1: .*separate them by ';'"),
        ("image;member\nscan_1;1\n", "line 2: 'scan_1' lacks the extension .png$"),
    ],
)
def test_an_edition_that_fixes_a_header_and_an_extension_is_compared_to_the_letter(tmp_path, text, said):
    layout = submission.Format("new", header=("image", "member"), extension=".png", delimiter=";")
    with pytest.raises(UserError, match=said):
        submission.validate(put(tmp_path, text), layout)


def changed(number, line):
    return "\n".join([*GOOD[:number], line, *GOOD[number + 1 :]]) + "\n"


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("\n".join(["figure_id,score", *GOOD]), 1, "header"),
        ("\ufeff" + "\n".join(GOOD), 1, "byte order mark"),
        (changed(4, "real_unknown_0005.png,1"), 5, "extension"),
        (changed(4, "real_unknown_0005,1.0"), 5, "'1.0'"),
        (changed(4, "real_unknown_0005,0.7"), 5, "'0.7'"),
        (changed(4, "real_unknown_0005,2"), 5, "'2'"),
        (changed(4, "real_unknown_0005,-1"), 5, "'-1'"),
        (changed(4, "real_unknown_0005,used"), 5, "'used'"),
        (changed(4, "real_unknown_0005,"), 5, "wrong label"),
        (changed(4, ""), 5, "blank"),
        (changed(4, "   "), 5, "blank"),
        ("\n".join(GOOD) + "\n\n", 201, "blank"),
        ("\n".join(GOOD[:-1]) + "\n", 199, "'real_unknown_0200' is missing"),
        (changed(4, GOOD[3]), 5, "line 4 already"),
        ("\n".join([*GOOD, GOOD[0]]), 201, "line 1 already"),
        (changed(4, '"real_unknown_0005",1'), 5, "quotes"),
        (changed(4, "real_unknown_0005;1"), 5, "separate"),
        ("\n".join(GOOD).replace(",", "\t"), 1, "wrong format"),
        (changed(4, "real_unknown_0005,1,0.9"), 5, "3 fields"),
        (changed(4, "real_unknown_0201,1"), 5, "test set"),
        (changed(4, "real_unknown_5,1"), 5, "test set"),
        (changed(4, "REAL_UNKNOWN_0005,1"), 5, "test set"),
        ("\n".join(GOOD).encode() + b"\n\xff", 201, "UTF-8"),
        ("\n".join(GOOD).encode("utf-16"), 1, "UTF-8"),
    ],
)
def test_2023_rejects(tmp_path, text, line, reason):
    with pytest.raises(UserError, match=reason) as caught:
        submission.validate(put(tmp_path, text), "2023")
    assert f"run.csv line {line}:" in str(caught.value)


def test_unreadable_empty_and_unknown(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        submission.validate(tmp_path / "absent.csv", "2023")
    with pytest.raises(UserError, match="cannot be read"):
        submission.validate(tmp_path, "2023")
    with pytest.raises(UserError, match="empty"):
        submission.validate(put(tmp_path, ""), "2023")
    with pytest.raises(UserError, match="known are 2023, 2025"):
        submission.validate(put(tmp_path, "a,1"), "2024")
    with pytest.raises(UserError, match="line 1"):
        submission.validate(put(tmp_path, "a" * 200_000 + ",1"), "2023")


def test_expected_ids_replace_the_official_ones(tmp_path):
    path = put(tmp_path, "x_1,1\nx_2,0\n")
    assert submission.validate(path, "2023", {"x_1", "x_2"}) == 2
    with pytest.raises(UserError, match="'x_3' is missing"):
        submission.validate(path, "2023", {"x_1", "x_2", "x_3"})
    with pytest.raises(UserError, match="line 2: id 'x_2'"):
        submission.validate(path, "2023", ["x_1"])
    with pytest.raises(UserError, match="test set"):
        submission.validate(path, "2023", set())


def test_written_files_are_accepted_and_exact(tmp_path):
    path = tmp_path / "deep" / "submission.csv"
    labels = [number % 2 for number in range(200)]
    submission.write(path, IDS, labels, "2023")
    assert path.read_bytes() == ("\n".join(GOOD) + "\n").encode()
    assert submission.validate(path, "2023") == 200
    submission.write(path, [f"{name}.png" for name in IDS], labels, "2023")
    assert submission.validate(path, "2023") == 200
    assert [entry.name for entry in path.parent.iterdir()] == ["submission.csv"]


def test_2025_options(tmp_path):
    path = tmp_path / "run.csv"
    submission.write(path, ["real_unknown_1", "real_unknown_2"], [1, 0], "2025")
    assert path.read_text() == "real_unknown_1.png,1\nreal_unknown_2.png,0\n"
    assert submission.validate(path, "2025") == 2
    layout = submission.submission_format("2025", header=submission.HEADER_2025, extension="")
    submission.write(path, ["real_unknown_1.png", "real_unknown_2.png"], [1, 0], layout)
    assert path.read_text() == "original_image,label\nreal_unknown_1,1\nreal_unknown_2,0\n"
    assert submission.validate(path, "2025", {"real_unknown_1.png", "real_unknown_2"}) == 2
    assert submission.validate(path, layout) == 2
    with pytest.raises(UserError, match="wrong label"):
        submission.validate(put(tmp_path, "real_unknown_1.png,0.5\n"), "2025")
    with pytest.raises(UserError, match="line 1 already"):
        submission.validate(put(tmp_path, "real_unknown_1.png,1\nreal_unknown_1,0\n"), "2025")
    with pytest.raises(UserError, match="no candidate"):
        submission.validate(put(tmp_path, "original_image,label\n"), "2025")
    with pytest.raises(UserError, match="fixes its format"):
        submission.submission_format("2023", extension=".png")


@pytest.mark.parametrize(
    ("ids", "labels"),
    [(["a"], [2]), (["a", "b"], [1]), (["a", "a.png"], [1, 0]), (["a,b"], [1]), ([" a"], [1]), ([""], [1])],
)
def test_write_refuses_what_the_format_cannot_hold(tmp_path, ids, labels):
    with pytest.raises(ValueError, match=r"label|id"):
        submission.write(tmp_path / "run.csv", ids, labels, "2023")
    assert not (tmp_path / "run.csv").exists()


def test_a_file_for_own_data_is_checked_without_the_run(tmp_path):
    """Names of any kind, quoted as csv does; nobody else's rules."""
    ids = ["scan 3, axial", 'the "best" one', "Mu\u0308ller", "a;b", "'", "1.2.840"]
    path = tmp_path / "submission.csv"
    submission.write(path, ids, [1, 0, 1, 0, 1, 0], "own")
    assert submission.validate(path, "own") == 6
    assert submission.validate(path, "own", [*ids[:2], "M\u00fcller", *ids[3:]]) == 6
    assert "compared with no list" in submission.check(str(path), "own")
    assert submission.check(str(path), "own", ids) == f"{path}: 6 rows, valid for edition own"
    with pytest.raises(UserError, match=r"line 6: id '1\.2\.840' is not in the test set"):
        submission.validate(path, "own", ids[:5])
    for text, said in (
        ("id,label\na,1\n", "line 1: id,label is a header, and edition own wants none"),
        ("a,1\n,0\n", "line 2: '' is no id"),
        ("a,1\nb,0.5\n", "line 2: wrong label '0.5'"),
        ("a;1\n", "separate them by ','"),
    ):
        with pytest.raises(UserError, match=said):
            submission.validate(put(tmp_path, text), "own")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("\ufeffreal_unknown_1.png,1\n", "byte order mark"),
        ('"real_unknown_1.png",1\n', "leave out the quotes"),
        ("real_unknown/real_unknown_1.png,1\n", "leave out the folder"),
        ("test\\real_unknown_1.png,1\n", "leave out the folder"),
        ("used_1.png,1\n", "'used_1' is no id; those of edition 2025 are like real_unknown_1"),
        ("image_path,predicted_class\nreal_unknown_1.png,1\n", "line 1: image_path,predicted_class is a header.*label"),
        ("original_image,label\nreal_unknown_1.png,label\n", "line 2: wrong label"),
    ],
)
def test_2025_refuses_what_no_reader_of_it_would_take(tmp_path, text, said):
    with pytest.raises(UserError, match=said):
        submission.validate(put(tmp_path, text), "2025")


def test_a_challenge_of_ones_own_is_pointed_to_its_run(tmp_path):
    with pytest.raises(UserError, match=r"3 of 200 ids, 'real_unknown_0004' is missing; --workdir=RUN"):
        submission.validate(put(tmp_path, "\n".join(GOOD[:3])), "2023")


def test_a_submission_about_subsets_names_one_for_every_image(tmp_path):
    path, config = tmp_path / "submission.csv", Config()
    config.data.edition = "2025-2"
    layout = submission.of_subsets(config, ("north", "south"))
    ids = submission.ids_of_piles([f"generated_unknown/generated_{i}" for i in (1, 2, 10)])
    submission.write(path, ids, [1, 0, 1], layout)
    lines = ["image_path,predicted_class", "generated_1.png,south", "generated_2.png,north", "generated_10.png,south"]
    assert path.read_text().splitlines() == lines
    assert submission.validate(path, layout, ids) == 3
    for wrong, why in (
        ("generated_1.png,t1", "wrong label 't1', it must be one of north, south"),
        ("generated_3.png,north", "'generated_3' is not in the test set"),
        ("generated_2.png,north", "stands on line 3"),
    ):
        path.write_text("\n".join([*lines[:1], "generated_10.png,south", "generated_2.png,north", wrong]))
        with pytest.raises(UserError, match=why):
            submission.validate(path, layout, ids)
    path.write_text("\n".join(lines[1:]).replace(".png", ""))  # without a header and endings, as others wrote theirs
    assert submission.validate(path, layout, ids) == 3


def test_piles_stay_in_the_ids_where_there_are_several():
    assert submission.ids_of_piles(["a/1", "b/1"]) == ["a/1", "b/1"]
    assert submission.ids_of_piles(["a/1", "a/2"]) == ["1", "2"]

"""Files joined by id, every bad file named with its line, and the terminal table."""

import json

import numpy as np
import pytest

from attack.metrics import evaluate, score
from attack.results import encode
from shadow.errors import UserError

HEADER = ",".join(score.COLUMNS)


def put(folder, name, text):
    path = folder / name
    path.write_text(text, newline="")
    return path


def pair(folder, members=100, others=100, groups=True):
    """Two files in different orders, and the arrays behind them."""
    rng = np.random.default_rng(0)
    labels = np.repeat([1, 0], [members, others])
    values = rng.normal(size=len(labels)) + labels
    probability = 1 / (1 + np.exp(0.5 - values))
    decision = np.select([probability > 0.75, probability < 0.4], ["used", "not used"], "undetermined")
    rows = [f"x{i},{float(values[i])!r},{float(probability[i])!r},0.0,1.0,{decision[i]}" for i in range(len(labels))]
    predictions = put(folder, "predictions.csv", "\n".join([HEADER, *rows]) + "\n")
    truth_rows = [f"x{i},{labels[i]}" + (f",p{i // 3}" if groups else "") for i in range(len(labels))]
    head = "id,label,group" if groups else "id,label"
    truth = put(folder, "truth.csv", "\n".join([head, *rng.permutation(truth_rows)]) + "\n")
    return (
        predictions,
        truth,
        (values, labels, probability, decision, [f"p{i // 3}" for i in range(len(labels))]),
    )


@pytest.mark.parametrize("groups", [False, True])
def test_score_joins_by_id(tmp_path, groups):
    predictions, truth, arrays = pair(tmp_path, 40, 40, groups)
    result = score.score(score.read_predictions(predictions), score.read_truth(truth))
    assert result == evaluate(*arrays[:4], groups=arrays[4] if groups else None)
    json.dumps(encode(result), allow_nan=False)


def test_reading_keeps_the_columns(tmp_path):
    path = put(tmp_path, "p.csv", f"\ufeff{HEADER}\r\na, 1.5,0.5,0.25,0.75,used\r\nb,-2,0.5,0,1,undetermined\r\n")
    read = score.read_predictions(path)
    assert read.ids == ["a", "b"]
    assert read.lines == {"a": 2, "b": 3}
    assert read.score.tolist() == [1.5, -2.0]
    assert read.probability_low.tolist() == [0.25, 0.0]
    assert read.decision == ["used", "undetermined"]
    short = score.read_predictions(put(tmp_path, "s.csv", "score,id\n1,a\n"))
    assert short.probability is None
    assert short.decision is None
    assert score.read_truth(put(tmp_path, "t.csv", "id,label\na,1\n")).group is None


@pytest.mark.parametrize(
    ("text", "where", "reason"),
    [
        ("", "line 1", "header"),
        ("a,1\n", "line 1", "header"),
        ("id,score,probabilty\na,1,0.5\n", "line 1", "header"),
        ("id,score,score\na,1,1\n", "line 1", "header"),
        ("id,score\n", "p.csv", "no candidate"),
        ("id,score\na,1\na,2\n", "line 3", "line 2 already"),
        ("id,score\na,one\n", "line 2", "finite"),
        ("id,score\na,nan\n", "line 2", "finite"),
        ("id,score\na,inf\n", "line 2", "finite"),
        ("id,score\na,\n", "line 2", "finite"),
        ("id,score\na\n", "line 2", "1 fields"),
        ("id,score\na,1\n\n", "line 3", "0 fields"),
        ("id,score\n,1\n", "line 2", "empty"),
        ("id,score\n'a',1\n\"b,2\n", "line 3", "unexpected end"),
        ("id,score,probability\na,1,1.5\n", "line 2", "between 0 and 1"),
        ("id,score,probability\na,1,nan\n", "line 2", "finite"),
        ("id,score,decision\na,1,0.4\nb,1,maybe\n", "line 2", "none of"),
    ],
)
def test_bad_predictions(tmp_path, text, where, reason):
    with pytest.raises(UserError, match=reason) as caught:
        score.read_predictions(put(tmp_path, "p.csv", text))
    assert where in str(caught.value)
    assert "p.csv" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "where", "reason"),
    [
        ("id,used\na,1\n", "line 1", "header"),
        ("id,label\na,2\n", "line 2", "neither"),
        ("id,label\na,1.0\n", "line 2", "neither"),
        ("id,label\na,1\na,1\n", "line 3", "already"),
        ("id,label,group\na,1,g\nb,0,\n", "line 3", "group is empty"),
    ],
)
def test_bad_truth(tmp_path, text, where, reason):
    with pytest.raises(UserError, match=reason) as caught:
        score.read_truth(put(tmp_path, "t.csv", text))
    assert where in str(caught.value)


def test_unreadable_files(tmp_path):
    for read in (score.read_predictions, score.read_truth):
        with pytest.raises(UserError, match="cannot be read"):
            read(tmp_path / "absent.csv")
        (tmp_path / "bytes.csv").write_bytes(b"id,score\n\xff,1\n")
        with pytest.raises(UserError, match="line 2: not UTF-8"):
            read(tmp_path / "bytes.csv")


@pytest.mark.parametrize(
    ("predictions", "truth", "reason"),
    [
        ("id,score\na,1\nb,2\n", "id,label\na,1\n", "p.csv line 3: id 'b' is not in .*t.csv"),
        ("id,score\na,1\n", "id,label\na,1\nb,0\n", "t.csv line 3: id 'b' has no prediction"),
        ("id,score\na,1\nb,2\n", "id,label\na,1\nb,1\n", "every label is 1"),
    ],
)
def test_ids_must_agree(tmp_path, predictions, truth, reason):
    read = score.read_predictions(put(tmp_path, "p.csv", predictions))
    with pytest.raises(UserError, match=reason):
        score.score(read, score.read_truth(put(tmp_path, "t.csv", truth)))


def test_table_shows_intervals_counts_and_baselines(tmp_path):
    predictions, truth, _ = pair(tmp_path)
    result = score.score(score.read_predictions(predictions), score.read_truth(truth))
    table = score.format_table(result)
    lines = table.splitlines()
    assert "100 members, 100 non-members" in lines[0]
    assert lines[3].split()[:2] == ["AUC", f"{result.auc.value:.3f}"]
    point = result.tpr_at_fpr[1]
    assert f"{point.true_positives} of 100 members at {point.false_positives} of 100 non-members" in table
    assert "1/100" in table
    for word in ("all-ones 0.667", "majority", "coin", "Brier", "ECE", "undetermined", "strangers"):
        assert word in table
    assert "nan" not in table
    assert "-0.000" not in table
    assert max(map(len, lines)) < 150


def test_table_of_the_smallest_result(tmp_path):
    read = score.read_predictions(put(tmp_path, "p.csv", "id,score,decision\na,1,undetermined\nb,2,undetermined\n"))
    result = score.score(read, score.read_truth(put(tmp_path, "t.csv", "id,label\na,1\nb,0\n")))
    table = score.format_table(result)
    assert "cannot tell" in table
    assert "nobody was flagged" in table
    assert "does not hold both" in table

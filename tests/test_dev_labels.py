"""A whole run whose probabilities are set on the labels of dev slices."""

import json

from test_launch import table


def test_probabilities_move_and_scores_stay(tiny, run):
    """The recipe says that one generator made both piles, so that dev labels count."""
    before, dev = table(run / "predictions.csv"), json.loads((run / "attack/evaluation.json").read_text())["dev"]
    assert dev["recalibration"]["slices"] == 16
    assert "no longer an independent check" in (run / "report.html").read_text()
    result = tiny("run", run, "--config.attack.recalibrate=none")
    assert result.returncode == 0, result.stderr
    after, plain = table(run / "predictions.csv"), json.loads((run / "attack/evaluation.json").read_text())["dev"]
    assert {name: row["score"] for name, row in after.items()} == {name: row["score"] for name, row in before.items()}
    assert any(after[name]["probability"] != before[name]["probability"] for name in after)
    assert plain == {name: value for name, value in dev.items() if name != "recalibration"}
    assert "no longer an independent check" not in (run / "report.html").read_text()


def test_they_are_refused_for_another_generator(tiny, run):
    options = ("--config.attack.recalibrate=dev", "--config.attack.same_generator=false")
    result = tiny("fit", run, *options)
    assert result.returncode == 2
    assert "attack.recalibrate" in result.stderr

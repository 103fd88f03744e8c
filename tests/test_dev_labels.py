"""A whole run whose weights and probabilities are set on the labels of dev slices."""

import json

from test_launch import table


def test_labels_move_scores_and_probabilities_unless_they_are_kept_out(tiny, run):
    """The recipe says that one generator made both piles, so that dev labels count."""
    before, dev = table(run / "predictions.csv"), json.loads((run / "attack/evaluation.json").read_text())["dev"]
    assert dev["recalibration"]["slices"] == 16
    assert "no longer an independent check" in (run / "report.html").read_text()
    result = tiny("run", run, "--config.attack.recalibrate=none")
    assert result.returncode == 0, result.stderr
    after, plain = table(run / "predictions.csv"), json.loads((run / "attack/evaluation.json").read_text())["dev"]
    for column in ("score", "probability"):
        assert any(after[name][column] != before[name][column] for name in after)
    moved = ("recalibration", "weights", "by_shadows")
    assert plain == dev | dict.fromkeys(moved) | dev["by_shadows"]
    assert "no longer an independent check" not in (run / "report.html").read_text()


def test_they_are_refused_for_another_generator(tiny, run):
    options = ("--config.attack.recalibrate=dev", "--config.attack.same_generator=false")
    result = tiny("fit", run, *options)
    assert result.returncode == 2
    assert "attack.recalibrate" in result.stderr

"""What the report says in words, and its numbers."""

import dataclasses

import pytest
from made_up_run import EVALUATION, altered, labelled_only

from attack import results
from attack.report import formats, view, wording


def test_the_verdict_of_a_leak():
    said = wording.verdict(EVALUATION, 60)
    assert said.leak
    assert said.sentence == (
        "The generator leaks its training slices: shown one slice that was used and one that was not, this "
        "attack picks the used one in about 76 of 100 cases (95 % interval 62 to 90); "
        "guessing would get 50."
    )
    bare = dataclasses.replace(EVALUATION, expected=results.Expected(auc=0.76, source="dev"))
    assert "(with an unknown uncertainty)" in wording.verdict(bare, 60).sentence
    unknown = dataclasses.replace(EVALUATION, expected=results.Expected(source="candidates", why="they tie"))
    assert wording.verdict(unknown, 60).sentence.endswith("but how strongly is not measurable: they tie.")


def test_the_verdict_is_never_about_the_figures_of_the_shadows():
    """A fleet that memorised everything beside a target that shows nothing."""
    strong = dataclasses.replace(EVALUATION.two_way, auc=0.99, interval=(0.98, 1.0), prediction_interval=(0.97, 1.0))
    quiet = dataclasses.replace(EVALUATION, two_way=strong)
    assert wording.verdict(quiet, 60) == wording.verdict(EVALUATION, 60)


def test_the_verdict_of_no_finding():
    def reached(level: str) -> results.Evaluation:
        why = "the candidates score like unused slices"
        found = dataclasses.replace(EVALUATION.verdict, level=level, why=why, smallest_auc=0.63)
        return dataclasses.replace(EVALUATION, verdict=found)

    said = wording.verdict(reached("cannot tell"), 60)
    assert not said.leak
    start = (
        "With 60 candidates and 4 shadow generators no leakage could be shown: the candidates score like unused slices."
    )
    assert said.sentence.startswith(start)
    assert "below an AUC of about 0.63 (63 right picks in 100, where" in said.sentence
    with pytest.raises(ValueError, match="surely"):
        wording.verdict(reached("surely"), 60)


def test_the_verdict_where_labelled_slices_alone_leak():
    said = wording.verdict(altered(labelled_only), 60)
    assert (said.leak, said.badge) == (False, "Only labelled slices leak")
    assert (
        "(AUC of the dev slices 0.80 [0.66, 0.90]), but nothing shows that any of these 60 candidates" in said.sentence
    )


def test_the_truth_sentence_says_where_the_measurement_lies():
    predicted = results.Auc(auc=0.86, interval=(0.7, 0.95))
    assert wording.against_truth(predicted, results.Figure(value=0.83, low=0.75, high=0.9)) == (
        "Predicted 0.86 [0.70, 0.95], measured 0.83 [0.75, 0.90]: inside the interval."
    )
    low, high = results.Figure(value=0.6, low=0.5, high=0.7), results.Figure(value=0.96, low=0.9, high=1.0)
    assert "below the interval" in wording.against_truth(predicted, low)
    assert "above the interval" in wording.against_truth(predicted, high)
    assert "no interval" in wording.against_truth(results.Auc(auc=0.86), low)
    assert wording.against_truth(results.Auc(), low).startswith("No AUC was predicted")


def test_numbers():
    assert formats.number(-0.001) == "0.00"
    assert formats.number(None) == "–"
    assert formats.number(float("nan")) == "–"
    assert formats.interval([0.701, 0.95]) == "[0.70, 0.95]"
    assert formats.interval([None, 1]) == formats.interval(None) == ""
    assert [formats.percent(rate) for rate in (0.1, 0.001)] == ["10 %", "0.1 %"]
    assert [formats.of_100(value) for value in (0.001, 0.5, 0.999)] == ["fewer than 1", "about 50", "more than 99"]
    assert formats.range_of_100([0.7, 0.95]) == "70 to 95"
    assert formats.range_of_100([0.708, 0.9901]) == "70 to 100"


def test_tracks_stay_inside():
    track = view.Scale(0.4, 1.0, 0.5).track(0.3, [0.2, 0.7], [0.1, 1.2])
    assert (track.point, track.band, track.wide) == ("0.00%", ("0.00%", "50.00%"), ("0.00%", "100.00%"))


def test_a_long_row_of_numbers_is_cut_short():
    assert formats.listed([3, 7]) == "3, 7"
    assert formats.listed(range(4)) == "0, 1, 2, 3"
    assert formats.listed([5, *range(10, 30)]) == "5, 10, 11, 12 and 17 more"


def test_what_training_flipped_is_said():
    assert "left to right: 47 % of the labelled slices lie nearer" in wording.flips(EVALUATION)

    def flipped(*names, share=None) -> str:
        return wording.flips(dataclasses.replace(EVALUATION, flips=results.FlipsFound(names=names, share=share)))

    assert flipped("left_right", "up_down") == (
        "All piles were also looked at flipped left to right and upside down, as attack.flips says."
    )
    assert flipped(share={"left_right": 0.9, "up_down": 0.9}) == ""

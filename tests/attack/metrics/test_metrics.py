"""Every figure of an attack at once, and of its groups."""

import json

import numpy as np
import pytest
from scored_samples import sample

from attack import metrics
from attack.results import encode


def test_per_group():
    scores = [3.0, 1.0, 2.0, 0.0, 5.0, -1.0]
    labels = [1, 0, 0, 0, 1, 0]
    groups = ["a", "a", "b", "b", "c", "d"]
    result = metrics.per_group(scores, labels, groups)
    assert (result.groups, result.member_groups) == (4, 2)
    assert [row.group for row in result.table] == ["c", "a", "b", "d"]
    row = result.table[1]
    assert (row.group, row.label, row.items, row.members) == ("a", 1, 2, 1)
    assert (row.max, row.mean, row.top3) == (3.0, 2.0, 2.0)
    assert row.logmeanexp == pytest.approx(np.log((np.exp(3) + np.exp(1)) / 2))
    assert result.max.value == 1
    assert result.mean.value == metrics.auc([5, 2, 1, -1], [1, 1, 0, 0])
    crowded = metrics.per_group([1, 2], [1, 0], ["a", "a"])
    assert crowded.max.value is None
    assert "every group" in crowded.max.why


def everything(seed=0, members=60, others=60, groups=True):
    scores, labels = sample(seed, members, others)
    probability = 1 / (1 + np.exp(0.5 - scores))
    decision = np.select([probability > 0.7, probability < 0.4], ["used", "not used"], "undetermined")
    names = np.arange(len(labels)) // 3 if groups else None
    return scores, labels, probability, decision, names


@pytest.mark.parametrize("groups", [False, True])
def test_evaluate_is_json_and_repeats(groups):
    inputs = everything(groups=groups)
    first = metrics.evaluate(*inputs)
    assert json.loads(json.dumps(encode(first), allow_nan=False)) == encode(first)
    assert metrics.evaluate(*inputs) == first
    assert first.auc.low < first.auc.value < first.auc.high
    assert first.verdict == "above chance"
    assert [point.attainable for point in first.tpr_at_fpr] == [True, False, False]
    assert first.tpr_at_fpr[2].value is None
    assert "1/60" in first.tpr_at_fpr[2].why
    assert [row.prior for row in first.tpr_at_fpr[0].ppv] == [0.5, 0.1, 0.01]
    for row in first.tpr_at_fpr[0].ppv:
        assert row.low <= row.value <= row.high
    counts = first.decision.counts
    assert sum(row.total for row in counts.values()) == 120
    settled = first.decision.settled_only.confusion
    assert sum(vars(settled).values()) == first.decision.settled
    assert (first.per_group is None) == (not groups)
    assert first.probability.best["f1"].claimed > 0
    area = np.trapezoid(first.roc.tpr, first.roc.fpr)
    assert area == pytest.approx(first.auc.value)


def test_evaluate_without_the_optional_parts():
    scores, labels, *_ = everything()
    result = metrics.evaluate(scores, labels)
    for name in ("probability", "decision", "per_group", "strata", "groups"):
        assert getattr(result, name) is None
    assert metrics.evaluate(-scores, labels).verdict == "below chance"
    assert metrics.evaluate(np.zeros(120), labels).verdict == "cannot tell"


def test_evaluate_on_two_candidates():
    result = metrics.evaluate([1, 0], [1, 0], [0.9, 0.1], ["undetermined"] * 2, ["a", "b"])
    json.dumps(encode(result), allow_nan=False)
    assert result.verdict == "cannot tell"
    assert result.smallest_detectable_auc.value is None
    assert result.decision.settled_only is None


def test_evaluate_strata():
    labels = np.array([1, 0, 1, 0, 0, 0, 0, 0])
    groups = ["a", "a", "b", "b", "c", "c", "d", "d"]
    scores = np.array([5.0, 6, 5, 4, 0, 1, 2, 3])
    strata = metrics.evaluate(scores, labels, groups=groups).strata
    assert strata.other_item_of_a_member_group.value == 0.5
    assert strata.item_of_a_non_member_group.value == 1
    assert strata.item_of_a_non_member_group.non_members == 4
    alone = metrics.evaluate(scores, labels, groups=np.arange(8)).strata
    assert alone.other_item_of_a_member_group.value is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scores": [1.0, 2.0]}, "scores must have"),
        ({"scores": [1.0, 2.0, np.nan]}, "finite"),
        ({"scores": [1.0, 2.0, np.inf]}, "finite"),
        ({"scores": ["a", "b", "c"]}, "numbers"),
        ({"labels": [1, 1, 1]}, "at least one member"),
        ({"labels": [0, 0, 0]}, "at least one member"),
        ({"labels": [0, 1, 2]}, "labels must be"),
        ({"labels": ["0", "1", "1"]}, "labels must be"),
        ({"labels": [[0, 1, 1]]}, "labels must be"),
        ({"labels": []}, "at least one member"),
        ({"probability": [0.1, 0.2]}, "probabilities"),
        ({"probability": [0.1, 0.2, 1.2]}, "between 0 and 1"),
        ({"probability": [0.1, 0.2, np.nan]}, "between 0 and 1"),
        ({"decision": ["used", "not used"]}, "one entry"),
        ({"decision": ["used", "not used", "maybe"]}, "decision must be"),
        ({"groups": ["a", "b"]}, "groups must have"),
    ],
)
def test_evaluate_refuses_bad_input(change, message):
    inputs = {"scores": [1.0, 2.0, 3.0], "labels": [0, 1, 1], **change}
    with pytest.raises(ValueError, match=message):
        metrics.evaluate(**inputs)

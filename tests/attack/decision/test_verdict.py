import dataclasses

import numpy as np
import pytest
from scipy import special, stats

from attack.decision import unlabelled, verdict
from attack.decision.unlabelled import Slices

NONE = unlabelled.Inflation()


def contrast(z):
    """A comparison whose one-sided p is that of a normal z."""
    return unlabelled.Contrast(0.5 + 0.01 * z, 1e-4, 1e9, 100, 80, 50, 40)


@pytest.mark.parametrize(
    ("z", "p_labelled", "level"),
    [
        (2.5, None, "leak"),
        (2.2, None, "cannot tell"),  # p .014: not at the level without labels
        (2.2, 0.001, "leak"),  # but at the one with labels that agree
        (4.0, 0.3, "cannot tell"),  # labels that contradict overrule
        (1.0, 0.001, "labelled only"),
        (1.0, 0.5, "cannot tell"),
        (-3.0, None, "cannot tell"),
    ],
)
def test_the_rule(z, p_labelled, level):
    said = verdict.decide(contrast(z), "", p_labelled)
    assert said.level == level
    assert said.p == pytest.approx(stats.norm.sf(z), rel=1e-6)
    assert said.limit == (verdict.LEVEL if p_labelled is None else verdict.LEVEL_WITH_LABELS)


def test_no_leak_where_the_interval_holds_one_half():
    leak = verdict.decide(contrast(4.0), "", 0.001)
    assert verdict.unless_held(leak, 0.51) == leak
    held = verdict.unless_held(leak, 0.5)
    assert (held.level, held.why.endswith("holds one half")) == ("labelled only", True)
    assert verdict.unless_held(verdict.decide(contrast(4.0), "", None), 0.4).level == "cannot tell"
    assert verdict.unless_held(verdict.decide(contrast(0.0), "", None), 0.4).why.startswith("the candidates do not")


def test_without_a_fair_comparison_nothing_is_found():
    assert verdict.decide(None, "they are too few", None).level == "cannot tell"
    said = verdict.decide(None, "they are too few", 1e-9)
    assert (said.level, said.why, said.p) == ("labelled only", "they are too few", None)


def test_how_alike_slices_of_a_patient_are():
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(200), 4)
    values = np.sqrt(0.6) * rng.normal(size=200)[group] + np.sqrt(0.4) * rng.normal(size=800)
    assert verdict.correlation(values, group) == pytest.approx(0.6, abs=0.08)
    assert verdict.correlation(rng.normal(size=800), group) < 0.08
    assert verdict.correlation(rng.normal(size=50), np.arange(50)) == 0.0


def slices(candidates=100, nulls=80, used=0, a_patient=2):
    counts = (candidates, nulls, used)
    return [Slices(np.zeros(n), 1000 * i + np.arange(n) // a_patient) for i, n in enumerate(counts)]


def smallest(sides, alike, inflation=NONE):
    return verdict.smallest_auc(sides, alike, 0.5, 0, inflation)


def test_the_smallest_auc_is_that_of_the_rule_itself():
    """Independent slices: against the power of a normal test, worked out by hand."""
    found = smallest(slices(200, 200, a_patient=1), 0.0)

    def power(auc):
        area = (auc + 0.5) / 2
        error = np.sqrt(1 / 12 / 200 + 1 / 12 / 200)  # both sides next to uniform placements
        return stats.norm.sf(stats.norm.isf(verdict.LEVEL) - (area - 0.5) / error)

    by_hand = next(a for a in np.arange(0.5, 1, 0.01) if power(a) >= verdict.POWER)
    assert found == pytest.approx(by_hand, abs=0.02)


def test_a_leak_of_that_auc_is_called_in_most_new_runs():
    asked, nulls, _ = who = slices()
    least = smallest(who, 0.2)
    rng, called = np.random.default_rng(5), 0
    shift = np.sqrt(2) * special.ndtri(least)
    for _ in range(200):
        shared = np.sqrt(0.2) * rng.normal(size=1100)
        score = shared[asked.group] + np.sqrt(0.8) * rng.normal(size=100) + shift * (rng.random(100) < 0.5)
        null = shared[nulls.group] + np.sqrt(0.8) * rng.normal(size=80)
        found = unlabelled.contrast(Slices(score, asked.group), Slices(null, nulls.group))
        called += verdict.decide(found, "", None).level == "leak"
    assert 0.7 <= called / 200 <= 0.92


def test_fewer_slices_and_patients_that_are_alike_miss_more():
    many, few = smallest(slices(200, 200), 0.1), smallest(slices(60, 40), 0.1)
    alike = smallest(slices(200, 200, a_patient=10), 0.6)
    assert many < few
    assert many < (alike or 1.0)
    assert smallest(slices(12, 12), 0.1) is None  # even a complete leak is missed too often
    labelled = smallest(slices(200, 200, used=200), 0.1)
    assert smallest(slices(200, 200), 0.1, unlabelled.Inflation(3.0, 16)) > many
    assert labelled <= many  # labels that agree allow the larger level


def test_candidates_that_stand_aside_give_no_power():
    sides = slices(200, 200)
    apart = [dataclasses.replace(sides[0], related=np.arange(200) < 120), *sides[1:]]
    alone = smallest([sides[0].only(np.arange(200) >= 120), *sides[1:]], 0.1)
    assert smallest(apart, 0.1) == pytest.approx(alone, abs=0.03)  # other draws
    assert smallest(apart, 0.1) > smallest(sides, 0.1)

import numpy as np
import pytest
from scipy import special, stats

from attack import metrics
from attack.decision import claims, tempering, unlabelled, verdict
from attack.decision.placebo import Placebo
from attack.decision.platt import Labels, ShadowPairs


def contrast(area=0.65, error=0.04):
    return unlabelled.Contrast(area, error**2, 60.0, 100, 80, 50, 40)


def said(level):
    return verdict.Verdict(level, "", 0.1, None, 0.01)


def by_labels(auc, low, high):
    return claims.ByLabels((auc, (low, high)))


NOBODY = Placebo((), ())


def test_without_labels_the_auc_is_that_of_the_comparison():
    found = claims.expect(contrast(), "", said("leak"), claims.ByLabels(), 100, 0.5)
    assert (found.auc, found.source) == (contrast().auc_weighed(0.5), "candidates")
    assert 0.7 < found.auc < 0.8
    half = stats.t.ppf(0.975, 60) * 0.04 / 0.5
    assert found.interval == pytest.approx((0.8 - half, 0.8 + half))


def test_an_interval_holds_one_half_unless_leakage_is_found():
    for area in (0.42, 0.5, 0.58, 0.7):
        for dev in (None, (0.9, (0.85, 0.95)), (0.52, (0.41, 0.63))):
            for level in ("cannot tell", "labelled only"):
                low, high = claims.expect(contrast(area), "", said(level), claims.ByLabels(dev), 100, 0.5).interval
                assert low <= 0.5 <= high


def test_with_a_leak_labels_and_candidates_speak_together():
    both = unlabelled.Pooled(0.83, 0.03**2, 40.0)
    found = claims.expect(contrast(), "", said("leak"), claims.ByLabels((0.85, (0.78, 0.90)), both), 100, 0.5)
    assert (found.auc, found.interval, found.source) == (0.83, both.interval(), "dev")


def test_labels_that_show_nothing_have_the_chance_of_judging_on_other_slices():
    found, few = (
        claims.expect(contrast(), "", said("cannot tell"), by_labels(0.55, 0.45, 0.65), n, 0.5) for n in (100, 20)
    )
    assert (found.auc, found.source) == (0.55, "dev")
    assert few.interval[0] < found.interval[0] < 0.45
    assert few.interval[1] > found.interval[1] > 0.65


def test_next_to_certainty_the_interval_is_no_wider_than_the_slices_make_it():
    low, high = claims.expect(contrast(0.5), "", said("labelled only"), by_labels(1.0, 0.83, 1.0), 60, 0.5).interval
    assert high == 1.0
    low, high = claims._for_candidates(1.0, (0.83, 1.0), 60)
    assert 0.7 < low <= 0.83
    assert high == 1.0


def test_labelled_slices_alone_reach_from_the_candidates_to_the_labels():
    found = claims.expect(contrast(0.5), "", said("labelled only"), by_labels(0.9, 0.85, 0.94), 100, 0.5)
    assert found.source == "candidates"
    assert found.auc == pytest.approx(0.5)
    assert found.interval[1] >= 0.94


def test_where_nothing_can_be_said_that_is_said():
    found = claims.expect(None, "they are too few", said("cannot tell"), claims.ByLabels(), 5, 0.5)
    assert (found.auc, found.interval, found.why) == (None, None, "they are too few")
    found = claims.expect(None, "they are too few", said("labelled only"), by_labels(0.9, 0.8, 0.95), 5, 0.5)
    assert found.auc is None
    assert found.interval[0] <= 0.5


def scores(count=120, shift=1.2, seed=0):
    rng = np.random.default_rng(seed)
    member = np.arange(count) % 2
    return rng.normal(size=count) + shift * member, member


def resampled(score, seed=1):
    return score + 0.1 * np.random.default_rng(seed).normal(size=(60, len(score)))


def test_probabilities_imply_the_expected_auc():
    score, _ = scores()
    expected = claims.Expected(0.8, (0.66, 0.94), "candidates")
    found = claims.probabilities(score, resampled(score), claims.Claim(expected, True, 0.5), 0)
    assert found.implied == pytest.approx(0.8, abs=1e-4)
    assert found.probability.mean() == pytest.approx(0.5, abs=1e-6)
    assert (found.low <= found.probability).all()
    assert (found.probability <= found.high).all()
    assert (found.high - found.low).mean() > 0.02


def test_where_no_leak_is_shown_probabilities_lie_at_the_prior_within_their_interval():
    score, _ = scores()
    pairs = ShadowPairs(score, np.arange(120) % 2)
    dev = Labels(score, np.arange(120) % 2, np.arange(120))
    unsure, nothing = claims.Expected(0.6, (0.45, 0.75), "candidates"), claims.Expected(None, None, "candidates", "few")
    for expected in (unsure, nothing):
        for found in (
            claims.probabilities(score, resampled(score), claims.Claim(expected, False, 0.4), 0),
            claims.labelled_probabilities(score, resampled(score), dev, pairs, claims.Claim(expected, False, 0.4), 0),
        ):
            np.testing.assert_allclose(found.probability, 0.4, atol=5e-3)
            assert (found.low <= 0.4).all()
            assert (found.high >= 0.4).all()
            assert (found.low <= 0.4 + 0.2).all()


def test_labels_that_promise_more_than_is_expected_are_held_down():
    score, member = scores(400, 3.0)
    dev, pairs = Labels(score, member, np.arange(400)), ShadowPairs(score, member)
    modest = claims.Expected(0.75, (0.65, 0.85), "dev")
    found = claims.labelled_probabilities(score, resampled(score), dev, pairs, claims.Claim(modest, True, 0.5), 0)
    assert found.implied == pytest.approx(0.75, abs=5e-3)
    bold = claims.Expected(0.999, (0.99, 1.0), "dev")
    free = claims.labelled_probabilities(score, resampled(score), dev, pairs, claims.Claim(bold, True, 0.5), 0)
    assert 0.95 < free.implied < 0.999  # never more than the labels themselves say


def test_one_candidate_gets_the_prior():
    expected = claims.Expected(None, None, "candidates", "few")
    found = claims.probabilities(np.zeros(1), np.zeros((5, 1)), claims.Claim(expected, False, 0.3), 0)
    assert (found.probability, found.low, found.high, found.implied) == (0.3, 0.0, 1.0, None)


def test_the_expected_f1_of_tempered_probabilities_comes_true_on_average():
    told, reached = [], []
    for seed in range(40):
        score, member = scores(200, 1.2, seed)
        found = tempering.temper(score, float(special.ndtr(1.2 / np.sqrt(2))), 0.5)
        labelling = metrics.decide(found.probability(score), "f1")
        told.append(labelling.expected)
        reached.append(2 * (labelling.labels @ member) / (labelling.labels.sum() + member.sum()))
    assert np.mean(told) == pytest.approx(np.mean(reached), abs=0.03)


def test_the_threshold_of_used_is_set_on_slices_known_not_to_be_used():
    rng = np.random.default_rng(0)
    null, score = rng.normal(size=99), rng.normal(size=50)
    found = claims.thresholds(score, np.full(50, 0.5), null, np.zeros(0), NOBODY, 0.1)
    assert (null >= found.used).sum() == 9  # floor(.1 x 100) - 1
    assert found.nulls == 99
    assert found.fpr_interval[0] < 0.1 < found.fpr_interval[1]


def test_few_known_slices_leave_the_threshold_to_the_probabilities():
    score = np.arange(10.0)
    probability = np.array([0.02, 0.05, 0.1, 0.2, 0.3, 0.6, 0.8, 0.9, 0.95, 0.98])
    found = claims.thresholds(score, probability, np.zeros(3), np.zeros(0), NOBODY, 0.1)
    allowed = 0.1 * (1 - probability).sum()
    assert (1 - probability)[score >= found.used].sum() <= allowed
    assert (1 - probability)[score >= found.used - 1].sum() > allowed
    assert probability[score <= found.not_used].sum() <= 0.1 * probability.sum()
    assert (found.nulls, found.fpr_interval) == (0, None)


def test_labelled_used_slices_set_the_other_threshold():
    labelled = np.arange(40.0)
    found = claims.thresholds(np.arange(5.0), np.full(5, 0.5), np.arange(40.0), labelled, NOBODY, 0.1)
    assert (labelled <= found.not_used).sum() == 3  # floor(.1 x 41) - 1


def test_zones_that_overlap_meet_in_the_middle():
    found = claims.thresholds(np.arange(5.0), np.full(5, 0.5), np.arange(40.0) - 60, np.arange(40.0), NOBODY, 0.1)
    assert -24.1 < found.used < 3
    assert found.not_used == np.nextafter(found.used, -np.inf)
    assert found.used == pytest.approx((np.nextafter(-24.0, 0) + 3) / 2)

"""Pile statistics against a loop, and what the regime and the controls say of clear cases."""

import numpy as np
import pytest
from scipy import special, stats

from attack.decision import predicting
from attack.evidence import pile_shift
from attack.inference import controls, estimate
from attack.inference.crossfit import Options
from attack.results import Thresholds
from shadow.config import MembershipConfig


@pytest.fixture
def pile():
    return np.random.default_rng(0).integers(0, 256, (30, 8, 8)).astype(np.float32)


def test_statistics_against_a_loop(pile):
    flat = [(i - i.mean()).ravel() / np.linalg.norm(i - i.mean()) for i in pile.astype(float)]
    d = np.array([[np.linalg.norm(a - b) for b in flat] for a in flat])
    nearest = [min(d[i, j] for j in range(30) if j != i) for i in range(30)]
    pairs = [d[i, j] for i in range(30) for j in range(i)]
    energy = []
    for image in pile.astype(float):
        padded = np.pad(image, 2, mode="edge")
        fine = np.array([[image[r, c] - padded[r : r + 5, c : c + 5].mean() for c in range(8)] for r in range(8)])
        energy.append((fine**2).sum() / ((image - image.mean()) ** 2).sum())
    wanted = [
        np.median(np.log(nearest)),
        np.mean(np.array(nearest) < 0.5),
        np.mean(np.log(pairs)),
        np.mean(np.log(energy)),
    ]
    np.testing.assert_allclose(pile_shift.pile_statistics(pile), wanted, atol=1e-4)


def test_a_large_pile_is_judged_by_images_evenly_spaced(pile, monkeypatch):
    monkeypatch.setattr(pile_shift, "_LOOKED_AT", 10)
    wanted = pile[[0, 3, 6, 9, 12, 16, 19, 22, 25, 29]]
    np.testing.assert_array_equal(pile_shift.pile_statistics(pile), pile_shift.pile_statistics(wanted))
    monkeypatch.undo()
    assert not np.allclose(pile_shift.pile_statistics(pile), pile_shift.pile_statistics(wanted), atol=1e-3)
    np.testing.assert_array_equal(pile_shift.pile_statistics(pile), pile_shift.pile_statistics(pile.astype(np.uint8)))


def test_odd_piles_are_finite(pile):
    for odd in (np.repeat(pile[:1], 20, axis=0), np.full((5, 8, 8), 9.0)):
        assert np.isfinite(pile_shift.pile_statistics(odd)).all()


def test_likeness_is_zero_at_the_mean_and_grows():
    shadows = np.random.default_rng(0).normal(size=(8, 4))
    here, _ = pile_shift.likeness(shadows.mean(0), shadows)
    there, z = pile_shift.likeness(shadows.mean(0) + 5, shadows)
    assert here == pytest.approx(0)
    assert there > 2
    assert (z > 0).all()


def test_excess_is_the_square_of_the_largest_beyond_three():
    assert pile_shift.excess(np.array([3.0, -2.9, 0.0, 1.0])) == 0
    assert pile_shift.excess(np.array([3.5, -5.0, 0.0, 1.0])) == pytest.approx(4.0)


def test_a_target_outside_widens_the_prediction_interval_by_the_stated_variance():
    """On the logit scale the half-width is t sqrt(V + (1 + excess) V_1) / (A (1 - A))."""
    rng = np.random.default_rng(0)
    member = rng.random((8, 60)) < 0.5
    score, group = rng.normal(size=(8, 60)) + member, np.arange(60)
    found = {e: estimate.mean_auc(score, member, group, 40, kinds=estimate.Kinds(excess=e)) for e in (0.0, 1.0, 3.0)}
    assert len({f.auc for f in found.values()}) == len({f.interval for f in found.values()}) == 1
    slope = found[0.0].auc * (1 - found[0.0].auc) / stats.t.ppf(0.975, 7)
    steps = 20**2  # the interval's ends are on the steps of an AUC of 20 + 20

    def variance(interval):
        return ((special.logit(interval[1]) - special.logit(interval[0])) / 2 * slope) ** 2

    inside, once, thrice = (variance(found[e].prediction) for e in (0.0, 1.0, 3.0))
    mean = variance(found[0.0].interval)
    one = inside - mean
    assert once == pytest.approx(mean + 2 * one, rel=30 / steps)
    assert thrice == pytest.approx(mean + 4 * one, rel=30 / steps)


def test_one_family_says_nothing_of_generators_of_another_kind(monkeypatch):
    """On the logit scale they add .5 squared to the variance, and nothing where families show what they differ by."""
    rng = np.random.default_rng(0)
    member = rng.random((8, 60)) < 0.5
    score, group = rng.normal(size=(8, 60)) + member, np.arange(60)

    def half(interval):
        return (special.logit(interval[1]) - special.logit(interval[0])) / 2

    def found(family):
        return half(estimate.mean_auc(score, member, group, 4000, kinds=estimate.Kinds(family)).prediction)

    alike, families = np.zeros(8, int), np.repeat([0, 1], 4)
    one, two = found(alike), found(families)
    monkeypatch.setattr(estimate, "OTHERS", 0.0)
    assert one == pytest.approx(np.hypot(found(alike), 0.5 * stats.t.ppf(0.975, 7)), rel=0.005)
    assert two == found(families)


def test_a_target_outside_widens_it_next_to_one_too():
    member = np.arange(40)[None] % 2 == np.arange(6)[:, None] % 2
    found = [
        estimate.mean_auc(member * 1.0, member, np.arange(40), 40, kinds=estimate.Kinds(excess=e)).prediction
        for e in (0.0, 8.0)
    ]
    assert found[0][0] > 0.75
    assert found[1][0] < 0.5
    assert found[0][1] == found[1][1] == 1


def blind_case(shift):
    rng = np.random.default_rng(1)
    label = np.arange(60) % 2
    images = rng.normal(100, 10, (60, 4, 4)) + shift * label[:, None, None]
    return controls.blind(images, label, np.arange(60), 0)


def test_blind_control_finds_a_split_that_shows_and_nothing_else():
    shown, none = blind_case(20), blind_case(0)
    assert shown.auc > 0.95
    assert shown.p < 0.01
    assert 0.3 < none.auc < 0.7
    assert none.p > 0.05


def test_blind_control_says_why_it_cannot():
    same = controls.blind(np.zeros((8, 4, 4)), np.arange(8) % 2, np.arange(8), 0)
    assert same.auc is None
    assert "all the same" in same.why


def test_redrawn_memberships_show_nothing_where_the_real_one_shows_all():
    found = controls.planted(0)
    size = controls.Size()
    # the same evidence, asked about memberships that no pile was made with
    case = controls.evidence_of(1.0, 0, size)
    options = Options(8, 2, 1.0, 0)
    ids = tuple(case.data.ids)
    redraws = controls.redraw(case.data, ids, MembershipConfig(unit="image"), options, 7)
    row = controls.redrawn(redraws, found.two_way.auc)
    assert 0.4 < row.auc < 0.6
    assert row.p > 0.01
    assert row.result_p == pytest.approx(1 / 8)


def test_an_interval_is_widened_to_what_so_many_candidates_can_show():
    assert estimate.attainable((0.501, 0.99996), 20) == (0.5, 1.0)
    assert estimate.attainable((0.25, 0.75), 4) == (0.25, 0.75)


def test_decisions_follow_the_thresholds():
    limits = Thresholds(used=1.0, not_used=-1.0, nulls=30, share=0.1, fpr_interval=(0.02, 0.22))
    said = predicting.decide(np.array([1.0, 0.0, -1.0, 5.0]), limits)
    assert said.tolist() == ["used", "undetermined", "not used", "used"]
    open_ = predicting.decide(
        np.array([9.0]), Thresholds(used=None, not_used=None, nulls=0, share=0.1, fpr_interval=None)
    )
    assert open_.tolist() == ["undetermined"]

"""When memorisation sets in, and what quality and leakage ask for, on curves that are made up."""

import dataclasses
from dataclasses import replace

import numpy as np
import pytest

from attack import metrics
from attack.compare import areas, trajectory
from attack.compare.paired import Scored
from attack.results.compared import BestImages, Side, Step


def area(auc, half=0.1, rise=0.5):
    return Side(auc=auc, low=auc - half, high=min(1.0, auc + half), rise=rise)


def row(step, auc, fd, white=0.9, **more):
    others = {f.name: None for f in dataclasses.fields(Step)}
    sides = {"blackbox": area(auc, **more), "whitebox": area(white)}
    return Step(**others | sides | {"label": "", "step": step, "fd": fd, "fd_interval": (fd - 0.3, fd + 0.3)})


def quiet(rows, name):
    return trajectory.quiet(trajectory.points(rows, name))


def front(rows, name):
    return trajectory.front(trajectory.points(rows, name))


# quality rises all the way, images leak from 800 on; 200 was a false alarm
ROWS = [row(100, 0.5, 9), row(200, 0.65, 6), row(400, 0.55, 3), row(800, 0.8, 2), row(1600, 0.95, 1.5)]
CALM = [row(100, 0.5, 9), row(200, 0.55, 6), row(400, 0.52, 3), row(800, 0.8, 3.5), row(1600, 0.95, 3.2)]


def test_onset_is_where_the_leak_is_there_to_stay():
    assert trajectory.onset(ROWS, "blackbox") == 800
    assert trajectory.onset(ROWS, "whitebox") == 100
    assert trajectory.onset(ROWS[:3], "blackbox") is None
    assert trajectory.onset([replace(ROWS[0], blackbox=None)], "blackbox") is None


def test_a_step_leaks_above_one_half_or_above_the_first_step():
    assert trajectory.leaks(area(0.61))
    assert not trajectory.leaks(area(0.6))  # reaches down to .5
    assert trajectory.leaks(area(0.55, rise=0.04))
    assert not trajectory.leaks(area(0.55, rise=0.06))


def test_quiet_ends_before_the_first_alarm():
    assert quiet(ROWS, "blackbox").step == 100  # whether the alarm at 200 is false cannot be known
    assert quiet(CALM, "blackbox").step == 400
    assert quiet(CALM[:3], "blackbox").step == 400
    assert quiet(ROWS, "whitebox") is None
    rising = [row(100, 0.5, 9), row(200, 0.52, 6, rise=0.01)]
    assert quiet(rising, "blackbox").step == 100


def test_where_quality_and_leakage_agree_it_says_where_to_stop():
    found = trajectory.advice(CALM)
    assert found.quality == BestImages(step=400, fd=3, enough=400)
    assert (found.blackbox.quiet, found.blackbox.stop) == (400, 400)
    assert found.blackbox.said == (
        "Giving away images: stop at step 400 (FD 3.0, AUC 0.52, up to 0.62), where images are as good as the best, "
        "and no leak shows yet."
    )


def test_the_best_images_may_come_before_the_last_quiet_step():
    found = trajectory.advice([row(100, 0.5, 3), row(200, 0.5, 4), row(400, 0.9, 5)])
    assert (found.quality.step, found.blackbox.quiet, found.blackbox.stop) == (100, 200, 100)


def test_images_that_cannot_be_told_from_the_best_are_good_enough():
    rows = [row(100, 0.5, 9), row(200, 0.5, 3.2), row(400, 0.52, 3.1), row(800, 0.9, 3)]
    found = trajectory.advice(rows)
    assert found.quality == BestImages(step=800, fd=3, enough=200)
    assert (found.blackbox.quiet, found.blackbox.stop) == (400, 400)  # the better of 200 and 400
    rows[1:3] = (replace(each, fd=3.4) for each in rows[1:3])  # above the interval of the best
    assert trajectory.advice(rows).blackbox.stop is None


def test_where_they_do_not_agree_both_steps_are_said():
    found = trajectory.advice([*ROWS[:4], row(1200, 0.9, 1.7), ROWS[4]])
    assert found.quality == BestImages(step=1600, fd=1.5, enough=1200)
    assert (found.blackbox.quiet, found.blackbox.stop) == (100, None)
    assert found.blackbox.said == (
        "Giving away images: quality and leakage ask for different steps, as images are best at step 1,600 (FD 1.5, "
        "AUC 0.95, up to 1.00), about as good from step 1,200 (FD 1.7, AUC 0.90, up to 1.00) on, and no leak shows up "
        "to step 100 (FD 9.0, AUC 0.50, up to 0.60)."
    )
    assert found.whitebox.said.endswith("and a leak shows from the first step on.")
    assert (found.whitebox.quiet, found.whitebox.stop) == (None, None)


def test_the_front_has_no_step_that_another_beats_in_both():
    rows = [row(100, 0.5, 9), row(200, 0.65, 6), row(400, 0.55, 3), row(800, 0.55, 3), row(1600, 0.9, 4)]
    assert front(rows, "blackbox") == (100, 400, 800)  # two of the same point do not beat each other
    assert front(rows, "whitebox") == (400, 800)
    rng = np.random.default_rng(0)
    many = [row(step, rng.uniform(0.2, 0.8), rng.uniform(1, 9), half=rng.uniform(0, 0.1)) for step in range(1, 40)]
    kept = front(many, "blackbox")
    for mine in many:
        worse = [o for o in many if o.fd < mine.fd and o.blackbox.high < mine.blackbox.high]
        assert (mine.step in kept) == (not worse)


def test_without_figures_nothing_is_advised():
    assert trajectory.advice([replace(r, fd=None) for r in ROWS]) is None
    without = trajectory.advice([replace(r, blackbox=None) for r in ROWS])
    assert without.blackbox is None
    assert without.whitebox is not None


NAMES = tuple(f"image {i}" for i in range(60))
MEMBER = np.arange(60) % 2 == 0


def scored(shift, seed):
    """Scores that share the difficulty of the images."""
    noise = np.random.default_rng(99).standard_normal(60) + 0.3 * np.random.default_rng(seed).standard_normal(60)
    return Scored(NAMES, noise + shift * MEMBER, MEMBER)


def test_a_rise_is_found_where_two_intervals_overlap():
    first, later = scored(0.0, 1), scored(0.5, 2)
    assert areas.auc_interval(later)[0] < areas.auc_interval(first)[1]
    test = metrics.delong_paired(later.score, first.score, MEMBER.astype(int))
    assert trajectory.rise([(later, first)]) == pytest.approx(test.p / 2)
    assert trajectory.rise([(later, first)]) < 0.01
    assert trajectory.rise([(first, later)]) == pytest.approx(1 - test.p / 2)  # a fall is no rise
    assert trajectory.rise([(first, first)]) == 0.5
    three = [(later, first), (first, first), (first, later)]
    assert trajectory.rise(three) == pytest.approx(3 * test.p / 2)  # the smallest of three
    assert trajectory.rise([]) == 1


def test_the_level_of_a_rise():
    alarms = sum(trajectory.rise([(scored(0, 2 * k), scored(0, 2 * k + 1))]) < 0.05 for k in range(400))
    assert 6 <= alarms <= 36  # 20 expected


def test_the_strongest_attack_and_an_interval_that_allows_for_the_choice():
    attacks = {"loss": scored(0.3, 1), "pia": scored(1.0, 2), "images": scored(0.6, 3)}
    found = areas.strongest(attacks)
    assert (found.attack, found.of) == ("pia", ("loss", "pia", "images"))
    assert found.auc == metrics.auc(attacks["pia"].score, MEMBER.astype(int))
    wide = metrics.auc_interval(attacks["pia"].score, MEMBER.astype(int), 1 - 0.05 / 3)
    assert (found.low, found.high) == wide
    alone = areas.strongest({"pia": attacks["pia"]})
    assert (alone.low, alone.high) == metrics.auc_interval(attacks["pia"].score, MEMBER.astype(int))


def test_the_interval_of_the_strongest_covers_where_none_knows_anything():
    """Of six attacks on noise the best looks like something; .5 is the highest true AUC."""
    missed = {"one": 0, "strongest": 0}
    for seed in range(200):
        rng = np.random.default_rng(seed)
        six = {str(i): Scored(NAMES, rng.standard_normal(60), MEMBER) for i in range(6)}
        found = areas.strongest(six)
        missed["strongest"] += not found.low <= 0.5 <= found.high
        missed["one"] += areas.auc_interval(six[found.attack])[0] > 0.5
    assert missed["strongest"] <= 16  # 10 expected at most
    assert missed["one"] > 16  # as the interval of the chosen attack alone would

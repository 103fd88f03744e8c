"""When memorisation sets in, and where to stop."""

import pytest

from attack.compare import table, trajectory


def row(step, auc, fd, half=0.1, white=0.9):
    area = {"auc": auc, "low": auc - half, "high": auc + half}
    return {"step": step, "fd": fd, "blackbox": area, "whitebox": {"auc": white, "low": white - half, "high": 1.0}}


ROWS = [row(100, 0.5, 9), row(200, 0.65, 6), row(400, 0.55, 3), row(800, 0.8, 2), row(1600, 0.95, 1.5)]


def test_onset_is_where_the_leak_is_there_to_stay():
    assert trajectory.onset(ROWS, "blackbox") == 800  # 200 was chance: at 400 there is none
    assert trajectory.onset(ROWS, "whitebox") == 100
    assert trajectory.onset(ROWS[:3], "blackbox") is None
    assert trajectory.onset([{**ROWS[0], "blackbox": None}], "blackbox") is None


def test_the_best_step_has_the_best_images_of_those_that_do_not_leak():
    best = trajectory.stopping_point(ROWS)
    assert (best["step"], best["leakage"]) == (400, "blackbox")
    assert best["front"] == [100, 400, 800, 1600]  # 400 beats 200 in both


def test_where_all_leak_it_is_the_least():
    best = trajectory.stopping_point(ROWS[3:])
    assert best["step"] == 800
    assert "at every step" in best["why"]


def test_the_white_box_stands_in_and_without_figures_nothing_is_said():
    rows = [{**r, "blackbox": None} for r in ROWS]
    assert trajectory.stopping_point(rows)["leakage"] == "whitebox"
    assert trajectory.stopping_point([{**r, "fd": None} for r in ROWS]) is None
    assert trajectory.stopping_point([{**r, "whitebox": None} for r in rows]) is None


@pytest.mark.parametrize(("figures", "wanted"), [({"loss": {"auc": 0.6}, "pia": {"auc": 0.7}}, "pia"), ({}, None)])
def test_the_strongest_attack(figures, wanted):
    assert table.strongest(figures | {"loss_by_level": [0.5]}) == wanted

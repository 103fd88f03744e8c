"""A fleet with missing shadows, and one that has grown: nothing passes silently, and nothing old for new."""

from __future__ import annotations

import json
import shutil

import pytest
from tiny_run import fails, snapshot

from attack.pipeline import Run
from shadow import config, workdir
from shadow.errors import UserError
from shadow.fleet import Fleet, plan

ALLOW = "--config.attack.allow_missing=true"
STAGES = ("signals", "fit", "predict", "report")
ANSWERS = ("predictions.csv", "submission.csv", "attack/model.json", "attack/heldout.npz", "signals/values.npy")


def lose(run, *shadows) -> None:
    for k in shadows:
        (run / f"shadows/{k:04d}/result.json").unlink()


def opened(run, shadows=8, allow=False) -> Run:
    """As `launch.py` opens it with --config.fleet.shadows and --config.attack.allow_missing."""
    wanted = config.from_dict(workdir.read_config(run))
    wanted.fleet.shadows, wanted.attack.allow_missing = shadows, allow
    return Run(run, wanted)


def done(one) -> list[bool]:
    return [one._done(stage) for stage in STAGES]


def evaluation(run) -> dict:
    return json.loads((run / "attack/evaluation.json").read_text())


def answers(run) -> dict[str, bytes]:
    return {name: (run / name).read_bytes() for name in ANSWERS}


def test_missing_shadows_are_refused_and_nothing_old_passes(tiny, run):
    lose(run, 3)
    before = snapshot(run)
    line = fails(tiny("signals", run))
    assert "7 of 8 shadows are there (missing: 3): run `launch.py sample`, or go on without them with" in line
    assert line.endswith(ALLOW)
    assert done(opened(run)) == [False] * 4
    for stage, needed in zip(STAGES[1:], STAGES, strict=False):
        with pytest.raises(UserError, match=f"`launch.py {needed}`"):
            getattr(opened(run), stage)()
    assert snapshot(run) == before


@pytest.mark.parametrize(
    ("gone", "reason"),
    [((3, 7), "of these 6 shadows were trained without"), ((0, 2, 4), "5 shadows are too few, at least 6")],
)
def test_too_many_missing_shadows_are_refused_whatever_was_allowed(run, gone, reason):
    lose(run, *gone)
    with pytest.raises(UserError, match=reason) as error:
        opened(run, allow=True).signals()
    listed = ", ".join(map(str, gone))
    assert str(error.value).startswith(f"{8 - len(gone)} of 8 shadows are there (missing: {listed}), and without the")


def test_allowed_it_says_how_many_it_had(tiny, run, caplog):
    before = answers(run)
    lose(run, 3)
    result = tiny("signals", run, ALLOW)
    assert result.returncode == 0
    assert "7 of 8 shadows are there (missing: 3): going on without them" in result.stderr
    one = opened(run, allow=True)
    for stage in STAGES:
        getattr(one, stage)()
    assert caplog.messages == []  # said once, where the shadows are counted
    found = evaluation(run)
    assert (found["shadows_used"], found["shadows_asked"], found["shadows_missing"]) == (7, 8, [3])
    names = json.loads((run / "signals/names.json").read_text())
    assert (names["shadows"], names["asked"]) == ([0, 1, 2, 4, 5, 6, 7], 8)
    assert not any(name.startswith("0003@") for name in names["piles"])
    head = (run / "report.html").read_text().split("<main>")[0]
    assert "Only 7 of 8 shadows were there (missing: 3)" in head
    assert one._headline().endswith(" Only 7 of 8 shadows were there (missing: 3).")
    assert done(one) == [True] * 4

    result = tiny("run", run, ALLOW)  # which draws the missing one: everything is redone with all
    assert result.returncode == 0, result.stderr
    assert "shadows were there" not in result.stdout
    assert evaluation(run)["shadows_missing"] == []
    assert answers(run) == before


def test_a_grown_fleet_is_redone(run, caplog):
    """Its untrained half missing, it answers as before; with all of it there, every stage is done again."""
    before = answers(run)
    grown = opened(run, 16)
    grown.plan()
    assert done(grown) == [False] * 4
    with pytest.raises(UserError, match=r"^8 of 16 shadows are there \(missing: 8, 9, 10, 11 and 4 more\)"):
        grown.signals()
    assert caplog.messages == []
    half = opened(run, 16, allow=True)
    for stage in STAGES[:3]:
        getattr(half, stage)()
    assert [m for m in caplog.messages if "going on without them" in m] == caplog.messages != []
    assert answers(run) == before
    assert evaluation(run)["shadows_asked"] == 16
    assert done(half) == [True, True, True, False]  # the old report is not of this fleet

    planned = Fleet(run, half.data_root, half.config)
    for k in range(8, 16):  # as if they had been trained: each the pile of another
        shutil.copytree(run / f"shadows/{k - 8:04d}", run / f"shadows/{k:04d}")
        pack = next(pack for pack in planned.plan.packs if k in pack.shadows)
        path = run / f"shadows/{k:04d}/result.json"
        keys = {"key": pack.key, "pile_key": plan.pile_key(planned.plan, planned.config, pack.key)}
        path.write_text(json.dumps(json.loads(path.read_text()) | keys))
    assert done(half) == [False] * 4
    half.signals()
    assert done(half) == [True, False, False, False]  # the old answers do not pass for new ones
    for stage in STAGES:
        getattr(half, stage)()
    assert evaluation(run)["shadows_used"] == 16
    assert {name for name, content in answers(run).items() if content == before[name]} <= {"submission.csv"}

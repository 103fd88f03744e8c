"""Packs of another run: taken where everything their bits depend on is the same, and checked as they are."""

import re
import shutil

import numpy as np
import pytest
from tiny_fleet import KEEP, held, make_config, numbers, piles_of, planned, rows

from shadow.errors import UserError
from shadow.fleet import Fleet, packs, plan, reuse, shadow_folder, verify_piles


def content(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def other(done, tmp_path):
    """A copy of the finished fleet, to be spoilt."""
    shutil.copytree(done.workdir, tmp_path / "other")
    return Fleet(tmp_path / "other", done.data_root, done.config)


def test_the_same_packs_are_copied_and_never_trained(fleet, done, monkeypatch):
    assert reuse.adopt(fleet, done.workdir) == ([0, 1, 2], [])
    assert fleet.missing() == []
    for shadow in range(6):
        mine, theirs = (shadow_folder(f.workdir, shadow) for f in (fleet, done))
        assert content(mine) == content(theirs)
    assert sorted(p.name for p in (fleet.workdir / "shadows").iterdir()) == [f"{k:04d}" for k in range(6)]
    verify_piles(fleet.workdir, range(6))
    monkeypatch.setattr(packs.train, "train_pack", None)
    fleet.work("sample", 0.0)
    assert reuse.adopt(fleet, done.workdir) == ([], [])


def test_only_what_is_missing_and_what_is_done(fleet, other):
    assert fleet.run(0, "train")
    assert fleet.run(2, "sample")
    before = content(shadow_folder(fleet.workdir, 4))
    (shadow_folder(other.workdir, 3) / "result.json").unlink()  # pack 1 is not done there
    assert reuse.adopt(fleet, other.workdir) == ([0], [])  # what was begun here is replaced by what is further
    assert content(shadow_folder(fleet.workdir, 0)) == content(shadow_folder(other.workdir, 0))
    assert content(shadow_folder(fleet.workdir, 4)) == before
    assert fleet.missing() == [1]


def test_of_piles_of_another_recipe_the_checkpoints_are_taken(data, done, tmp_path, monkeypatch):
    fleet = planned(tmp_path / "run", data, make_config(pile__count=7))
    assert reuse.adopt(fleet, done.workdir) == ([], [0, 1, 2])
    assert fleet.missing("train") == []
    assert fleet.missing() == [0, 1, 2]
    folder, source = (shadow_folder(f.workdir, 3) for f in (fleet, done))
    assert sorted(p.name for p in folder.iterdir()) == ["checkpoints", "key.json", "metrics.jsonl"]
    assert numbers(folder) == numbers(source)
    assert rows(folder) == rows(source)
    monkeypatch.setattr(packs.train, "make_step", None)
    assert fleet.run(1, "sample")
    for step in KEEP:
        drawn, theirs = (np.load(f / "piles" / f"{step:08d}.npy") for f in (folder, source))
        assert (len(drawn), len(theirs)) == (7, 6)
        assert np.array_equal(drawn[:6], theirs)

    sign = shadow_folder(fleet.workdir, 0) / "piles" / "half drawn"
    sign.parent.mkdir()
    sign.touch()
    assert reuse.adopt(fleet, done.workdir) == ([], [])  # a second time takes nothing that is there
    assert sign.exists()


def test_piles_of_other_steps(data, done, tmp_path):
    """Trained again from before the first step that the other run has not kept, to the same end."""
    fleet = planned(tmp_path / "run", data, make_config(pile__steps=(2, 6, 8)))
    assert reuse.adopt(fleet, done.workdir) == ([], [0, 1, 2])
    assert fleet.missing("train") == ([0, 1, 2] if 6 not in numbers(shadow_folder(done.workdir, 0)) else [])
    assert fleet.run(0, "sample")
    folder, source = (shadow_folder(f.workdir, 1) for f in (fleet, done))
    assert numbers(folder)[8] == numbers(source)[8]
    assert piles_of(folder)["00000008.npy"] == piles_of(source)["00000008.npy"]


@pytest.mark.parametrize("change", [{"seed": 1}, {"train__learning_rate": 1e-3}, {"fleet__pack": 3}])
def test_nothing_of_other_bits_is_taken(data, done, tmp_path, change):
    fleet = planned(tmp_path / "run", data, make_config(**change))
    assert reuse.adopt(fleet, done.workdir) == ([], [])
    assert not (fleet.workdir / "shadows").exists()


def test_of_larger_packs_those_that_are_the_same(data, done, tmp_path):
    """Packs of four, the last of which is a pack of two as in the other fleet."""
    fleet = planned(tmp_path / "run", data, make_config(fleet__pack=4))
    assert reuse.adopt(fleet, done.workdir) == ([1], [])
    assert fleet.missing() == [0]


def spoil(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))


def a_checkpoint(folder):
    path = max((folder / "checkpoints" / "4").rglob("*"), key=lambda p: p.stat().st_size if p.is_file() else 0)
    spoil(path)
    return "checkpoints/4", "has changed since it was written"


def a_new_file(folder):
    (folder / "checkpoints" / "8" / "more").touch()
    return "checkpoints/8", "has changed since it was written"


def a_pile(folder):
    spoil(folder / "piles" / "00000004.npy")
    return "piles/00000004.npy", "has changed since it was written"


def no_pile(folder):
    (folder / "piles" / "00000004.npy").unlink()
    return "piles/00000004.npy", "is missing"


def no_metrics(folder):
    (folder / "metrics.jsonl").unlink()
    return "metrics.jsonl", "is missing"


def another_result(folder):
    shutil.copyfile(folder.parent / "0000" / "result.json", folder / "result.json")
    return "result.json", "belongs to another pack than plan.json says"


def no_result(folder):
    (folder / "result.json").write_text("{")
    return "result.json", "damaged"


DAMAGES = [a_checkpoint, a_new_file, a_pile, no_pile, no_metrics, another_result, no_result]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_run_is_named_and_its_damage_not_taken(fleet, other, damage):
    target = shadow_folder(fleet.workdir, 4)
    target.mkdir(parents=True)
    (target / "mine").touch()
    source = shadow_folder(other.workdir, 4)
    name, said = damage(source)
    with pytest.raises(UserError, match=rf"{re.escape(str(source / name))}:? {said}"):
        reuse.adopt(fleet, other.workdir)
    assert [p.name for p in target.iterdir()] == ["mine"]
    assert not list((fleet.workdir / "shadows").glob(".*.part"))
    assert fleet.missing() == [2]  # what came before it stays
    verify_piles(fleet.workdir, range(4))


def test_what_is_no_other_run_is_refused(fleet, tmp_path):
    for name in (fleet.workdir, fleet.workdir / ".." / "run"):
        with pytest.raises(UserError, match=f"--reuse={re.escape(str(name))}: is the workdir itself"):
            reuse.adopt(fleet, name)
    with pytest.raises(UserError, match="nowhere: no run is there"):
        reuse.adopt(fleet, tmp_path / "nowhere")


def test_a_pack_that_is_being_trained_is_left_alone(fleet, done):
    with held(fleet.lock(1, 0).lock_file):
        assert reuse.adopt(fleet, done.workdir) == ([0, 2], [])
    assert fleet.missing() == [1]


def test_shadows_of_another_version_are_not_taken(fleet, done, monkeypatch, data, tmp_path):
    monkeypatch.setattr(plan, "versions", lambda: ("other", "code"))
    new = planned(tmp_path / "new", data)
    assert reuse.adopt(new, done.workdir) == ([], [])

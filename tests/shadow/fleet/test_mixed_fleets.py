"""Fleets that mix architectures, trained: each family is what a fleet of it alone would be, to the last bit."""

import shutil

import pytest
from mixed_fleet import LAST, SHADOWS, alone, mixed, three
from tiny_fleet import numbers, piles_of, planned, rows

from shadow import hub
from shadow.denoisers.build import build
from shadow.errors import Stopped, UserError
from shadow.fleet import Fleet, reuse, shadow_folder
from shadow.training import train

pytestmark = pytest.mark.slow


def same(a, b, shadows):
    """Have two fleets made the same of these shadows?"""
    for shadow in shadows:
        mine, theirs = (shadow_folder(f.workdir, shadow) for f in (a, b))
        assert piles_of(mine) == piles_of(theirs)
        assert rows(mine) == rows(theirs)
        assert numbers(mine)[LAST] == numbers(theirs)[LAST]


@pytest.fixture(scope="module")
def done_mixed(data, tmp_path_factory):
    """Every pack done. Not to be written to."""
    made = planned(tmp_path_factory.mktemp("mixed"), data, mixed())
    made.work("sample", 0.0)
    assert made.missing() == []
    return made


@pytest.fixture(scope="module")
def done_alone(data, tmp_path_factory):
    """Family: the fleet of it alone, of whose packs those are done that are the mixed fleet's too."""
    made = {}
    for family, shadows in SHADOWS.items():
        made[family] = planned(tmp_path_factory.mktemp("alone"), data, alone(family))
        for number, pack in enumerate(made[family].plan.packs):
            if {*pack.shadows} <= {*shadows}:
                assert made[family].run(number, "sample")
    return made


@pytest.mark.parametrize("family", SHADOWS)
def test_shadows_are_those_of_a_fleet_of_their_family_alone(done_mixed, done_alone, family):
    """Keys and bits."""
    other, shadows = done_alone[family], SHADOWS[family]
    theirs = {pack.shadows: pack.key for pack in other.plan.packs}
    ours = {pack.shadows: pack.key for pack in done_mixed.plan.packs if {*pack.shadows} <= {*shadows}}
    assert ours.items() <= theirs.items()
    assert sorted(k for pack in ours for k in pack) == list(shadows)
    same(done_mixed, other, shadows)


def test_the_networks_are_those_of_the_families(done_mixed):
    """By the names of their parameters and the shape of one; each is read as what it is."""
    names = {}
    for family, shadows in SHADOWS.items():
        for shadow in shadows:
            made = hub.read_generator(shadow_folder(done_mixed.workdir, shadow))
            assert made.denoiser == three()[family].denoiser
            names.setdefault(family, {*made.params})
            assert names[family] == {*made.params}
            assert made.network is build(made.denoiser, 8)
    assert "conv_in" in names[2]
    assert "conv_in" not in names[0] | names[1]


def test_a_shadow_of_each_family_is_exported_or_refused(done_mixed, tmp_path):
    unet = shadow_folder(done_mixed.workdir, 5)
    hub.export(str(unet), None, tmp_path / "unet")
    back = hub.read_pipeline(tmp_path / "unet")
    assert back.denoiser.unet.block_out_channels == (4,)
    with pytest.raises(UserError, match=r"0002: denoiser\.kind = 'dit': diffusers has no such network"):
        hub.export(str(shadow_folder(done_mixed.workdir, 2)), None, tmp_path / "dit")


def test_a_folder_without_its_number_is_refused(done_mixed, tmp_path):
    shutil.copyfile(done_mixed.workdir / "config.json", tmp_path / "config.json")
    moved = shutil.copytree(shadow_folder(done_mixed.workdir, 2), tmp_path / "shadows" / "mine")
    with pytest.raises(UserError, match=r"mine: the run has fleet\.families"):
        hub.read_generator(moved)


def test_a_stopped_fleet_goes_on_to_the_same_bits(data, tmp_path, done_mixed):
    made = planned(tmp_path / "run", data, mixed())
    for number in (1, 3):  # of a transformer, and of the convolutional network
        asked = iter([False] * 3 + [True])
        with pytest.raises(Stopped, match=r"step \d of 8"):
            made.run(number, "train", stop=lambda asked=asked: next(asked))
    again = Fleet(made.workdir, data, mixed())
    assert [state.state for state in again.states("train")] == ["waiting", "stopped", "waiting", "stopped"]
    for number in (1, 3):
        assert again.run(number, "sample")
    same(again, done_mixed, (2, 3, 5))


def test_packs_of_a_fleet_of_one_family_are_taken_over(data, tmp_path, done_alone, monkeypatch):
    made = planned(tmp_path / "run", data, mixed())
    assert reuse.adopt(made, done_alone[1].workdir) == ([1], [])
    assert reuse.adopt(made, done_alone[2].workdir) == ([2, 3], [])
    monkeypatch.setattr(train, "train_pack", None)
    for number in (1, 2, 3):
        assert made.run(number, "sample")

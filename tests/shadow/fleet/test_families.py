"""Families: which shadow is of which, and what depends on it, without any training."""

import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mixed_fleet import LAST, SHADOWS, alone, mixed
from tiny_fleet import make_config, planned

from shadow import fleet
from shadow import workdir as workdirs
from shadow.config import DenoiserConfig, FamilyConfig, from_dict
from shadow.errors import UserError
from shadow.fleet import families, orchestrate
from shadow.validate import validate


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """The mixed fleet, planned and not trained. Not to be written to."""
    return planned(tmp_path_factory.mktemp("planned"), data, mixed())


@given(st.sampled_from([2, 4, 8]), st.integers(1, 4), st.integers(1, 3))
def test_each_family_has_whole_blocks(block, count, rounds):
    config = make_config(membership__block=block)
    config.fleet.families = tuple(FamilyConfig(f"f{i}") for i in range(count))
    config.fleet.shadows = block * count * rounds
    found = [fleet.family_of(config, k) for k in range(config.fleet.shadows)]
    assert found == [f for _ in range(rounds) for f in range(count) for _ in range(block)]
    assert fleet.family_names(config) == tuple(f"f{i}" for i in range(count))


def test_one_family_where_none_is_named():
    config = make_config()
    assert fleet.family_names(config) == ("shadows",)
    assert {fleet.family_of(config, k) for k in range(100)} == {0}
    assert families.own_config(config, 3) is config


def test_the_config_of_a_family():
    config = mixed()
    for family, shadows in SHADOWS.items():
        wanted = alone(family)
        for shadow in shadows:
            assert families.own_config(config, shadow) == wanted
    assert config == mixed()


def test_packs_never_cross_families(data, tmp_path, whole):
    assert [pack.shadows for pack in whole.plan.packs] == [(0, 1), (2, 3), (4,), (5,)]
    assert whole.plan.pack_size == 2
    large = planned(tmp_path / "large", data, mixed(fleet__pack=99, fleet__shadows=24, membership__block=4))
    assert [pack.shadows for pack in large.plan.packs] == [
        *((0, 1, 2, 3), (4, 5, 6, 7), (8,), (9,), (10,), (11,)),
        *((12, 13, 14, 15), (16, 17, 18, 19), (20,), (21,), (22,), (23,)),
    ]
    small = planned(tmp_path / "small", data, mixed(fleet__pack=1))
    assert [pack.shadows for pack in small.plan.packs] == [(k,) for k in range(6)]


def test_in_each_family_a_unit_is_in_half_of_the_shadows(whole):
    member = np.load(whole.workdir / "membership.npy")
    for shadows in SHADOWS.values():
        assert (member[list(shadows)].sum(0) == len(shadows) // 2).all()


def test_a_fleet_grows_by_whole_rounds(data, tmp_path, whole):
    """The packs that are there stay, and the plan is what it would have been at once."""
    shutil.copytree(whole.workdir, tmp_path / "run")
    grown = planned(tmp_path / "run", data, mixed(fleet__shadows=12))
    assert grown.plan.packs[:4] == whole.plan.packs
    assert grown.plan == planned(tmp_path / "whole", data, mixed(fleet__shadows=12)).plan
    assert [pack.shadows for pack in grown.plan.packs[4:]] == [(6, 7), (8, 9), (10,), (11,)]
    with pytest.raises(UserError, match=r"fleet\.shadows = 8: use a multiple of 6"):
        validate(mixed(fleet__shadows=8))


def test_another_family_is_another_key(data, tmp_path, whole):
    config = mixed()
    config.fleet.families[1].learning_rate = 3e-3
    made = planned(tmp_path, data, config)
    ours, theirs = made.plan.packs, whole.plan.packs
    assert [number for number, pack in enumerate(ours) if pack.key != theirs[number].key] == [1]


def test_a_name_changes_no_bit(data, tmp_path, whole):
    config = mixed()
    config.fleet.families[1].name = "other"
    assert planned(tmp_path, data, config).plan == whole.plan


def test_disk_space_is_counted_by_family(whole):
    sizes = [orchestrate.disk_bytes(alone(family), [0]) for family in SHADOWS]
    assert len(set(sizes)) == 3
    assert orchestrate.disk_bytes(mixed(), range(12)) == 4 * sum(sizes)
    assert orchestrate.disk_bytes(mixed(), [8, 4]) == sizes[1] + sizes[2]


def test_states_name_the_family_and_weigh_by_shadows(whole):
    states = whole.states()
    assert [state.name for state in states[:3]] == [
        *("pack 0 (shadows 0 to 1, coarse)", "pack 1 (shadows 2 to 3, fine)", "shadow 4 (unet)"),
    ]
    assert [state.weight for state in states] == [2, 2, 1, 1]


def test_shares_count_the_batches_of_the_family(whole):
    """8 steps of 3 passes of 2 or 4 images, and a pile of 6 images of 2 passes."""
    shares = [whole._share(pack, "train", 8, "sample") for pack in (0, 1, 2)]
    assert shares == [48 / 60, 96 / 108, 48 / 60]


def test_families_are_locked_and_come_back_from_the_file(whole):
    back = from_dict(workdirs.read_config(whole.workdir))
    assert back == mixed()
    assert all(type(family) is FamilyConfig for family in back.fleet.families)
    assert workdirs.is_settled(whole.workdir, back)
    back.fleet.families[2].batch_size = 1
    with pytest.raises(UserError, match=r"other values of fleet\.families\[2\]\.batch_size \(2 -> 1\)"):
        workdirs.settle(whole.workdir, back)
    with pytest.raises(UserError, match=r"fleet\.families \(3 -> 0\).*: shadows"):
        workdirs.settle(whole.workdir, make_config(pile__steps=(LAST,)))


def test_no_families_leave_the_hashes_as_they_were():
    """What they were before there was the field: the digest of the others."""
    config = make_config()
    config.membership.unit = "mixed"  # the default of then
    assert workdirs.flatten({"a": [{"b": 1}, {"b": (2,)}], "c": ()}) == {"a[0].b": 1, "a[1].b": [2], "c": []}
    fields = workdirs.flatten(workdirs.dataclasses.asdict(config))
    free = ("data.root", "data.roles", "data.patients", "challenge.pool", "challenge.patients")
    free += (
        "fleet.workers",
        "fleet.sbatch",
        "fleet.tensorboard",
        "pile.png",
        "fleet.families",
        "membership.candidates",
        "data.piles",
        *("challenge.subsets", "challenge.subset_slices", "diffusion.min_weight"),
        *(f"{place}denoiser.{name}" for place in ("", "challenge.") for name in ("block", "overlap")),
    )
    kept = {
        k: v
        for k, v in fields.items()
        if not k.startswith(("attack.", "report.", "compare.", "submission.")) and k not in free
    }
    assert workdirs.stage_hashes(config)["train"] == workdirs.digest(kept)
    assert workdirs.stage_hashes(mixed())["train"] != workdirs.stage_hashes(config)["train"]


def changed(family, name, value):
    config = mixed()
    setattr(config.fleet.families[family], name, value)
    return config


BAD = {
    "fleet.families[1].name = 'coarse': use letters": changed(1, "name", "coarse"),
    "fleet.families[0].name = '': use letters": changed(0, "name", ""),
    "fleet.families[0].name = 'a b': use letters": changed(0, "name", "a b"),
    "fleet.families[0].name = 3: must be of type str": changed(0, "name", 3),
    "fleet.families[0].batch_size = 0: must be above 0": changed(0, "batch_size", 0),
    "fleet.families[1].batch_size = 2.5: must be of type int": changed(1, "batch_size", 2.5),
    "fleet.families[1].learning_rate = nan: must be a finite number": changed(1, "learning_rate", float("nan")),
    "fleet.families[1].learning_rate = -1.0: must be above 0": changed(1, "learning_rate", -1.0),
    "fleet.families[2].denoiser = 'dit': must be of type DenoiserConfig": changed(2, "denoiser", "dit"),
    "fleet.families[2].denoiser.kind = 'cnn': use": changed(2, "denoiser", DenoiserConfig(kind="cnn")),
    "divisible by fleet.families[0].denoiser.patch = 3": changed(0, "denoiser", DenoiserConfig(patch=3)),
    "fleet.families[0].batch_size = 2: must be divisible by fleet.devices = 4": mixed(fleet__devices=4),
    "fleet.shadows = 10: use a multiple of 6": mixed(fleet__shadows=10),
    "denoiser.width = 8: does nothing": mixed(denoiser=DenoiserConfig(width=8)),
}


def test_the_mixed_fleet_is_valid():
    config = mixed()
    config.challenge.denoiser.patch = 4
    validate(config)


@pytest.mark.parametrize("said", BAD)
def test_bad_families_are_refused(said):
    config = BAD[said]
    config.challenge.denoiser.patch = 4
    with pytest.raises(UserError) as caught:
        validate(config)
    assert said in str(caught.value)


@pytest.mark.parametrize("value", [("a",), ({"name": "a"},), [FamilyConfig("a")], None])
def test_what_is_no_tuple_of_families_is_refused(value):
    config = make_config()
    config.fleet.families = value
    with pytest.raises(UserError, match=r"fleet\.families = .*: must be a tuple of FamilyConfig"):
        validate(config)


@pytest.mark.parametrize(("name", "value"), [("batch_size", 4), ("learning_rate", 1e-3)])
def test_options_that_families_replace_are_refused(name, value):
    config = mixed()
    setattr(config.train, name, value)
    with pytest.raises(UserError, match=rf"train\.{name} = {value}: does nothing"):
        validate(config)


@pytest.mark.parametrize("family", SHADOWS)
def test_keys_are_those_of_a_fleet_of_the_family_alone(data, tmp_path, whole, family):
    other = planned(tmp_path / "other", data, alone(family))
    theirs = {pack.shadows: pack.key for pack in other.plan.packs}
    ours = {pack.shadows: pack.key for pack in whole.plan.packs if {*pack.shadows} <= {*SHADOWS[family]}}
    assert ours.items() <= theirs.items()
    assert sorted(k for pack in ours for k in pack) == list(SHADOWS[family])

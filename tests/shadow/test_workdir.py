"""What a run's folder remembers, and what may change in it."""

import dataclasses
import json

import pytest

from shadow import config as config_module
from shadow import workdir
from shadow.config import Config, FamilyConfig, SubmissionConfig, from_dict
from shadow.errors import UserError
from shadow.validate import validate

LATER = {  # a field and the first stage that it concerns
    "attack.pile": "signals",
    "attack.target_pile": "signals",
    "attack.signals": "signals",
    "attack.ridge": "fit",
    "attack.objective": "predict",
    "attack.same_generator": "predict",
    "attack.recalibrate": "predict",
    "report.gallery": "report",
}
TRAINING = (
    *("seed", "train.steps", "denoiser.width", "membership.block", "pile.count", "pile.sampler", "challenge.seed"),
    *("fleet.pack", "fleet.threads", "fleet.devices"),
)
FREE = (
    *("data.root", "data.roles", "data.patients", "challenge.pool", "challenge.patients"),
    *("fleet.workers", "fleet.sbatch", "fleet.tensorboard", "pile.png", "compare.count"),
)
VALUES = {
    "attack.signals": ("other",),
    "data.roles": ("unknown=x",),
    "attack.same_generator": "false",
    "attack.recalibrate": "none",
    "report.gallery": "false",
    "fleet.tensorboard": True,
    "pile.png": True,
}


def changed(name, value=None):
    config = Config()
    *parents, leaf = name.split(".")
    inner = config
    for parent in parents:
        inner = getattr(inner, parent)
    before = getattr(inner, leaf)
    if value is None:
        value = VALUES[name] if name in VALUES else "elsewhere" if isinstance(before, str) else before + 1
    assert value != before
    setattr(inner, leaf, value)
    return config


@pytest.fixture
def folder(tmp_path):
    workdir.settle(tmp_path, Config())
    return tmp_path


@pytest.fixture(params=["plan.json", "challenge", ".challenge.part"])
def begun(folder, request):
    """What the first command leaves that depends on the config."""
    (folder / request.param).mkdir()
    return folder


def content(folder):
    return (folder / "config.json").read_bytes()


def test_a_run_of_before_a_field_goes_on_with_its_default(folder):
    """config.json of then lacks the field; nothing that depends on it is done again, and another value is refused."""
    old = json.loads((folder / "config.json").read_text())
    stages = old["stages"]
    for parts in (("denoiser", "block"), ("denoiser", "overlap"), ("diffusion", "min_weight"), ("data", "roles")):
        del old["config"][parts[0]][parts[1]]
    (folder / "config.json").write_text(json.dumps(old))
    (folder / "shadows").mkdir()
    workdir.settle(folder, Config())
    assert json.loads((folder / "config.json").read_text())["stages"] == stages
    (folder / "config.json").write_text(json.dumps(old))
    with pytest.raises(UserError, match=r"other values of denoiser\.block \(1 -> 2\)"):
        workdir.settle(folder, changed("denoiser.block", 2))


def flat_names(kind, added, start=""):
    """Names of the fields of `kind`, and of parts in it, that are in `added`, (class, name)."""
    for field in dataclasses.fields(kind):
        value = getattr(kind(), field.name)
        if (kind, field.name) in added:
            inside = dataclasses.asdict(value) if dataclasses.is_dataclass(value) else value
            yield from workdir.flatten({f"{start}{field.name}": inside})
        elif dataclasses.is_dataclass(value):
            yield from flat_names(type(value), added, f"{start}{field.name}.")


def test_every_field_that_came_later_is_in_no_hash_with_its_default():
    fields = workdir.flatten(dataclasses.asdict(Config()))
    later = set(flat_names(Config, config_module._ADDED))
    assert "challenge.denoiser.overlap" in later
    missing = {name for name in later if workdir._SINCE.get(name, None) != fields[name]}
    assert missing <= {"data.roles"}  # where the data lie, on which no hash depends


def test_settle_writes_what_read_config_gives_back(folder):
    assert from_dict(workdir.read_config(folder)) == Config()
    assert [p.name for p in folder.iterdir()] == ["config.json"]


def test_the_same_again_writes_nothing(folder):
    before = (folder / "config.json").stat().st_mtime_ns
    workdir.settle(folder, Config())
    assert (folder / "config.json").stat().st_mtime_ns == before


@pytest.mark.parametrize("name", TRAINING)
def test_everything_may_change_before_anything_depends_on_it(folder, name):
    workdir.settle(folder, changed(name))
    assert from_dict(workdir.read_config(folder)) == changed(name)
    assert workdir.is_settled(folder, changed(name))
    assert not workdir.is_settled(folder, Config())


def test_is_settled(folder, tmp_path):
    assert workdir.is_settled(folder, Config())
    assert not workdir.is_settled(folder, changed("report.gallery"))
    assert not workdir.is_settled(tmp_path / "elsewhere", Config())
    (folder / "config.json").write_text("{")
    assert not workdir.is_settled(folder, Config())


def test_a_fleet_may_grow_and_not_shrink(begun):
    workdir.settle(begun, changed("fleet.shadows", 16))
    before = content(begun)
    with pytest.raises(UserError, match=rf"fleet\.shadows = 8 is below the 16 of {begun}: a fleet grows"):
        workdir.settle(begun, Config())
    assert content(begun) == before
    config = changed("fleet.shadows", 24)
    config.seed = 3
    with pytest.raises(UserError) as caught:  # growing is no way around the others
        workdir.settle(begun, config)
    assert "seed (0 -> 3)" in str(caught.value)
    assert "shadows (" not in str(caught.value)


@pytest.mark.parametrize("name", TRAINING)
def test_a_changed_training_field_is_refused_with_both_values(begun, name):
    config, before = changed(name), content(begun)
    old, new = (workdir.flatten(dataclasses.asdict(c))[name] for c in (Config(), config))
    with pytest.raises(UserError) as caught:
        workdir.settle(begun, config)
    assert f"{name} ({old!r} -> {new!r})" in str(caught.value)
    assert str(begun) in str(caught.value)
    assert content(begun) == before


def test_every_changed_field_is_named_and_no_other(begun):
    config = changed("train.steps", 7)
    config.pile.steps, config.attack.ridge, config.data.root = (3, 5), 9.0, "moved"
    with pytest.raises(UserError) as caught:
        workdir.settle(begun, config)
    assert "pile.steps ([] -> [3, 5]), train.steps (1600 -> 7)" in str(caught.value)
    assert "ridge" not in str(caught.value)
    assert "data.root" not in str(caught.value)


@pytest.mark.parametrize("name", [*LATER, *FREE])
def test_fields_of_the_attack_the_report_and_places_may_change(begun, name):
    config = changed(name)
    workdir.settle(begun, config)
    assert from_dict(workdir.read_config(begun)) == config
    workdir.settle(begun, Config())  # and back


@pytest.mark.parametrize("name", LATER)
def test_a_stage_and_its_successors_depend_on_a_field(name):
    before, after = workdir.stage_hashes(Config()), workdir.stage_hashes(changed(name))
    stages = list(before)
    assert stages[:2] == ["train", "signals"]
    first = stages.index(LATER[name])
    assert [stage for stage in stages if before[stage] != after[stage]] == stages[first:]


def test_all_stages_depend_on_training_and_none_on_places():
    before = workdir.stage_hashes(Config())
    for name in TRAINING:
        after = workdir.stage_hashes(changed(name))
        assert all(before[stage] != after[stage] for stage in before)
    for name in FREE:
        assert workdir.stage_hashes(changed(name)) == before


@pytest.mark.parametrize("stage", workdir.LATER)
def test_stamps(folder, stage):
    place = folder / "attack"
    assert not workdir.is_done(place, stage, Config())
    workdir.stamp(place, stage, Config())
    assert workdir.is_done(place, stage, Config())
    assert workdir.is_done(place, stage, changed("data.root"))
    assert not workdir.is_done(place, stage, changed("attack.pile"))
    workdir.stamp(place, stage, changed("attack.pile"))
    assert not workdir.is_done(place, stage, Config())
    other = next(name for name in workdir.LATER if name != stage)
    assert not workdir.is_done(place, other, changed("attack.pile"))


@pytest.mark.parametrize("damage", ["", "{", "[]", "{}", "3", "null", "\0\0"])
def test_a_damaged_stamp_is_no_stamp(folder, damage):
    (folder / "fit.done.json").write_text(damage)
    assert not workdir.is_done(folder, "fit", Config())
    workdir.stamp(folder, "fit", Config())
    assert workdir.is_done(folder, "fit", Config())


@pytest.mark.parametrize("damage", ["", "{", "[]", "{}", "3", "null", '{"config": {}}', '{"version": 1}'])
def test_a_damaged_config_is_refused_by_name(folder, damage):
    (folder / "config.json").write_text(damage)
    with pytest.raises(UserError, match=r"config\.json"):
        workdir.settle(folder, Config())
    assert (folder / "config.json").read_text() == damage
    if "config" not in damage:
        with pytest.raises(UserError, match=r"holds no run \(config\.json"):
            workdir.read_config(folder)


def test_another_version_is_refused(folder):
    fields = json.loads(content(folder))
    (folder / "config.json").write_text(json.dumps({**fields, "version": 99}))
    with pytest.raises(UserError, match="version 99"):
        workdir.settle(folder, Config())


def test_a_folder_without_a_run(tmp_path):
    with pytest.raises(UserError, match="holds no run"):
        workdir.read_config(tmp_path)
    with pytest.raises(UserError, match="holds no run"):
        workdir.read_config(tmp_path / "missing")


def test_a_field_that_an_older_version_did_not_have_is_named(begun):
    fields = json.loads(content(begun))
    del fields["config"]["train"]["clip_norm"]
    (begun / "config.json").write_text(json.dumps(fields))
    with pytest.raises(UserError, match=r"train\.clip_norm \(None -> 1\.0\)"):
        workdir.settle(begun, Config())


def online() -> Config:
    config = Config()
    config.membership.candidates = True
    return config


def families() -> Config:
    config = Config()
    config.fleet.families = (FamilyConfig(name="small"), FamilyConfig(name="large"))
    return config


@pytest.mark.parametrize(
    "name",
    [
        "fleet.families",
        "membership.candidates",
        *(f"submission.{f.name}" for f in dataclasses.fields(SubmissionConfig)),
    ],
)
def test_a_field_that_came_later_is_in_no_hash_with_the_value_of_before(monkeypatch, name):
    hashes, flatten = workdir.stage_hashes(Config()), workdir.flatten
    assert name in flatten(dataclasses.asdict(Config()))
    older = {k: v for k, v in flatten(dataclasses.asdict(Config())).items() if k != name}
    monkeypatch.setattr(workdir, "flatten", lambda fields: older)
    assert workdir.stage_hashes(Config()) == hashes


@pytest.mark.parametrize(
    ("section", "field", "later", "named"),
    [
        ("membership", "candidates", online, r"membership\.candidates \(False -> True\)"),
        ("fleet", "families", families, r"other values of fleet\.families \(0 -> 2\):"),
    ],
)
def test_a_run_older_than_a_field_goes_on_as_it_was_begun(begun, section, field, later, named):
    fields, stages = json.loads(content(begun)), workdir.stage_hashes(Config())
    del fields["config"][section][field]
    (begun / "config.json").write_text(json.dumps(fields))
    workdir.settle(begun, Config())
    assert json.loads(content(begun))["stages"] == fields["stages"] == stages
    (begun / "config.json").write_text(json.dumps(fields))
    assert workdir.stage_hashes(later())["train"] != stages["train"]
    with pytest.raises(UserError, match=named):
        workdir.settle(begun, later())


def test_a_run_older_than_the_format_of_submissions_goes_on(begun):
    fields = json.loads(content(begun))
    del fields["config"]["submission"]
    assert from_dict(fields["config"]) == Config()
    (begun / "config.json").write_text(json.dumps(fields))
    workdir.settle(begun, Config())
    assert json.loads(content(begun))["stages"] == fields["stages"]
    other = Config()
    other.submission.delimiter = ";"
    workdir.settle(begun, other)
    now = workdir.stage_hashes(other)
    assert [stage for stage, value in now.items() if value != fields["stages"][stage]] == ["predict", "report"]


def test_a_run_with_an_option_of_the_attack_that_is_gone_goes_on(begun):
    now = content(begun)
    fields = json.loads(now)
    fields["config"]["attack"]["subsamples"] = 1
    (begun / "config.json").write_text(json.dumps(fields))
    workdir.settle(begun, Config())
    assert content(begun) == now


def unit_of(name) -> Config:
    config = Config()
    config.membership.unit = name
    return config


def planned_as(folder, unit):
    plan = {"packs": [{"shadows": [0, 1, 2, 3, 4, 5, 6, 7]}]}
    (folder / "plan.json").write_text(json.dumps(plan if unit is None else plan | {"unit": {"unit": unit}}))


@pytest.mark.parametrize(
    ("frozen", "allowed"), [("image", ("auto", "image")), ("group", ("auto", "group")), (None, ("auto", "mixed"))]
)
def test_the_unit_in_force_may_be_called_auto_or_by_its_name(folder, frozen, allowed):
    """None: an older plan, which has the default of its time."""
    for before in allowed:
        for after in ("auto", "image", "group", "mixed"):
            (folder / "config.json").unlink()
            workdir.settle(folder, unit_of(before))
            planned_as(folder, frozen)
            if after in allowed:
                workdir.settle(folder, unit_of(after))
                assert from_dict(workdir.read_config(folder)).membership.unit == after
            else:
                with pytest.raises(UserError, match=rf"membership\.unit \('{before}' -> '{after}'\)"):
                    workdir.settle(folder, unit_of(after))
            (folder / "plan.json").unlink()


def test_before_a_plan_the_unit_may_change_and_without_one_under_shadows_not(folder):
    (folder / "challenge").mkdir()
    workdir.settle(folder, unit_of("group"))
    (folder / "shadows").mkdir()
    for damage in (None, "{", "[]", "3"):
        if damage is not None:
            (folder / "plan.json").write_text(damage)
        with pytest.raises(UserError, match=r"membership\.unit"):
            workdir.settle(folder, Config())


def test_what_was_done_with_the_older_default_unit_is_still_done():
    """Hashes of the commit before "auto" held 'mixed'; other units are another matter."""
    assert workdir.stage_hashes(unit_of("auto")) == workdir.stage_hashes(unit_of("mixed"))
    assert workdir.stage_hashes(unit_of("auto"))["train"] != workdir.stage_hashes(unit_of("image"))["train"]


@pytest.mark.parametrize(("old", "new"), [(True, "true"), (False, "false")])
def test_a_config_of_when_same_generator_was_a_bool(begun, old, new):
    fields = json.loads(content(begun))
    fields["config"]["attack"]["same_generator"] = old
    (begun / "config.json").write_text(json.dumps(fields))
    config = from_dict(workdir.read_config(begun))
    assert config.attack.same_generator == new
    validate(config)
    workdir.settle(begun, config)
    assert json.loads(content(begun))["config"]["attack"]["same_generator"] == new


def test_digest_is_canonical():
    assert workdir.digest({"a": 1, "b": [2]}) == workdir.digest({"b": [2], "a": 1})
    assert workdir.digest({"a": 1}) != workdir.digest({"a": 2})
    assert workdir.flatten({"a": {"b": (1, 2), "c": {"d": None}}}) == {"a.b": [1, 2], "a.c.d": None}

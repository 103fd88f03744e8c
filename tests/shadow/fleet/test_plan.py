"""The plan: which shadows share a pack, and a key that changes with the bits and with nothing else."""

import ast
import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_fleet import make_config

from shadow import fleet
from shadow.config import Config
from shadow.errors import UserError
from shadow.fleet import plan
from shadow.training import membership


class Images:
    """Stands for a manifest of twelve dev images and an unknown one."""

    def __init__(self, **hashes):
        self.id = np.array([*(f"i{i}" for i in range(12)), "unknown"])
        self.sha256 = np.array([hashes.get(name, f"hash of {name}") for name in self.id])

    def rows(self, role):
        return {"used": slice(0, 5), "not_used": slice(5, 12), "reference": slice(12, 12)}[role]


GROUPS = [f"g{i // 2}" for i in range(12)]


def draw(config):
    return membership.draw(GROUPS, config.fleet.shadows, plan.with_unit(None, config), config.seed)


def make(config=None, rows=None, images=None, threads=1):
    config = config or make_config()
    rows = draw(config) if rows is None else rows
    return plan.make_plan(config, images or Images(), rows, config.fleet.pack, config.fleet.workers, threads)


def shadows_of(made):
    return [pack.shadows for pack in made.packs]


@pytest.mark.parametrize(
    ("shadows", "size", "kind", "packs"),
    [
        (8, 4, "dit", [(0, 1, 2, 3), (4, 5, 6, 7)]),
        (8, 3, "dit", [(0, 1, 2), (3, 4, 5), (6, 7)]),
        (6, 99, "dit", [(0, 1, 2, 3, 4, 5)]),
        (6, 4, "unet2d", [(k,) for k in range(6)]),
    ],
)
def test_consecutive_shadows_share_a_pack(shadows, size, kind, packs):
    config = make_config(fleet__shadows=shadows, fleet__pack=size, fleet__workers=5, denoiser__kind=kind)
    made = make(config, threads=3)
    assert shadows_of(made) == packs
    assert (made.workers, made.threads, made.devices, made.shadows) == (5, 3, 1, shadows)
    assert made.pack_size == (1 if kind == "unet2d" else size)


def test_round_trip(tmp_path):
    made = make()
    made.write(tmp_path / "plan.json")
    back = plan.read_plan(tmp_path / "plan.json")
    assert back == made
    assert isinstance(back.packs[0], plan.Pack)
    assert isinstance(back.packs[0].shadows, tuple)
    back.check_versions()


CHOICE = membership.UnitChoice("image", 0.4, 0.5, None, "as given", "fits badly")


def test_the_unit_is_written_down_and_stays_when_the_fleet_grows(tmp_path):
    config = make_config(membership__unit="auto")
    rows = membership.draw(GROUPS, 6, plan.with_unit(CHOICE, config), config.seed)
    made = plan.make_plan(config, Images(), rows, 2, 2, 1, CHOICE)
    made.write(tmp_path / "plan.json")
    assert plan.read_plan(tmp_path / "plan.json").unit == CHOICE
    config.fleet.shadows = 8
    more = membership.draw(GROUPS, 8, plan.with_unit(CHOICE, config), config.seed)
    assert plan.grow(made, config, Images(), more).unit == CHOICE


def test_auto_is_the_unit_of_the_plan(tmp_path):
    config = make_config(membership__unit="auto")
    with pytest.raises(UserError, match=r"plan\.json is missing"):
        plan.membership_in_force(tmp_path, config)
    path = tmp_path / "plan.json"
    dataclasses.replace(make(make_config(membership__unit="image")), unit=CHOICE).write(path)
    assert plan.membership_in_force(tmp_path, config) == dataclasses.replace(config.membership, unit="image")
    assert config.membership.unit == "auto"
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "unit"}))
    assert plan.read_plan(path).unit is None  # of before there was "auto"
    assert plan.membership_in_force(tmp_path, config).unit == "mixed"
    given = make_config(membership__unit="group")
    assert plan.membership_in_force(tmp_path / "nowhere", given) == given.membership


FIELDS = dataclasses.asdict(plan.Plan((), 1, 1, 1, 1, "a", "b"))


def without(name):
    return {k: v for k, v in FIELDS.items() if k != name}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "is missing: run `launch.py plan` first"),
        ("", "not a plan"),
        ("{", "not a plan"),
        ("[]", "not a plan"),
        ("3", "not a plan"),
        ("{}", "not a plan"),
        ("\xff", "not a plan"),
        (FIELDS | {"packs": 3}, "not a plan"),
        (FIELDS | {"packs": [3]}, "not a plan"),
        (FIELDS | {"packs": [{"shadows": [0]}]}, "not a plan .'key'"),
        (FIELDS | {"else": 2}, "not a plan"),
        *((without(name), "not a plan") for name in FIELDS if name != "unit"),
        *((FIELDS | {"unit": unit}, "not a plan") for unit in ("image", {}, {"unit": "image"}, ["image"])),
        (FIELDS | {"unit": dataclasses.asdict(CHOICE) | {"unit": "patient"}}, "not a plan .its unit of membership"),
        (FIELDS | {"version": 1}, "plan of version 1, this is 2"),
    ],
)
def test_what_is_no_plan_is_refused(tmp_path, content, said):
    path = tmp_path / "plan.json"
    if content is not None:
        path.write_bytes((content if isinstance(content, str) else json.dumps(content)).encode("latin1"))
    with pytest.raises(UserError, match=rf"plan\.json.*{said}"):
        plan.read_plan(path)


def test_pile_steps():
    config = Config()
    assert fleet.pile_steps(config) == (1600,)
    config.pile.steps = (400, 100, 400)
    assert fleet.pile_steps(config) == (100, 400)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 5), st.sampled_from([2, 4]), st.lists(st.integers(1, 3), min_size=1, max_size=3))
def test_a_fleet_grows_at_its_end(size, block, steps):
    """Whatever the path of growth: the packs that were there stay, with their keys, and no shadow is left out."""
    config = make_config(membership__block=block, fleet__shadows=block, fleet__pack=size)
    grown = make(config)
    for blocks in steps:
        before = grown
        config.fleet.shadows += blocks * block
        rows = draw(config)
        grown = plan.grow(before, config, Images(), rows)
        assert grown.packs[: len(before.packs)] == before.packs
        new = shadows_of(grown)[len(before.packs) :]
        assert [k for pack in new for k in pack] == [*range(before.shadows, config.fleet.shadows)]
        assert all(len(pack) == size for pack in new[:-1])
        assert 1 <= len(new[-1]) <= size
    assert grown.shadows == config.fleet.shadows
    whole = dict(zip(shadows_of(make(config)), make(config).packs, strict=True))
    for pack in grown.packs:  # a pack is the same one however the fleet came to it
        assert whole.get(pack.shadows, pack) == pack


@settings(max_examples=8, deadline=None)
@given(st.integers(1, 2), st.sampled_from([2, 4, 8]), st.sampled_from(["image", "group", "mixed"]), st.integers(0, 9))
def test_membership_grows_by_whole_blocks(blocks, block, unit, seed):
    config = make_config(membership__block=block, membership__unit=unit, seed=seed)
    config.fleet.shadows = blocks * block
    few = draw(config)
    config.fleet.shadows *= 2
    many = draw(config)
    assert np.array_equal(many[: len(few)], few)
    counts = many.reshape(-1, block, 12).sum(1)
    assert (counts == block // 2).all()


KEYS = {
    "seed": 9,
    "data__resolution": 16,
    "denoiser__width": 16,
    "denoiser__depth": 2,
    "diffusion__timesteps": 30,
    "diffusion__prediction": "v",
    "train__steps": 9,
    "train__learning_rate": 1e-4,
    "train__batch_size": 4,
    "train__ema_halflife_images": 3,
    "fleet__devices": 2,
}
NO_KEYS = {
    "pile__count": 99,
    "pile__sampler": "ddpm",
    "pile__steps": (3,),
    "pile__png": True,
    "fleet__workers": 7,
    "fleet__sbatch": "--mem=1G",
    "fleet__tensorboard": True,
    "data__root": "elsewhere",
    "attack__seed": 3,
    "report__gallery": "false",
    "challenge__seed": 8,
}


def keys_of(made):
    return [pack.key for pack in made.packs]


@pytest.mark.parametrize("name", KEYS)
def test_keys_change_with_what_bits_depend_on(name):
    rows = draw(make_config())
    before, after = keys_of(make(rows=rows)), keys_of(make(make_config(**{name: KEYS[name]}), rows))
    assert not {*before} & {*after}
    assert len({*before}) == 3
    assert all(len(key) == 16 for key in before)


@pytest.mark.parametrize("name", NO_KEYS)
def test_keys_do_not_change_with_anything_else(name):
    rows = draw(make_config())
    assert keys_of(make(make_config(**{name: NO_KEYS[name]}), rows)) == keys_of(make(rows=rows))


def test_keys_depend_on_threads_members_and_files():
    rows = draw(make_config())
    before = keys_of(make(rows=rows))
    assert not {*before} & {*keys_of(make(rows=rows, threads=2))}
    moved = rows.copy()
    moved[3, 0] ^= True
    after = keys_of(make(rows=moved))
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, False, True]
    other = keys_of(make(rows=rows, images=Images(i7="another")))
    assert not {*before} & {*other}
    assert keys_of(make(rows=rows, images=Images(unknown="another"))) == before
    swapped = Images(i0="hash of i1", i1="hash of i0")  # the same files under each other's name
    assert keys_of(make(rows=rows, images=swapped)) != before


def test_pile_keys():
    config = make_config()

    def pile_key(config, key, sampler="s"):
        return plan.pile_key(plan.Plan((), 1, 1, 1, 1, "t", sampler), config, key)

    base = pile_key(config, "k")
    assert pile_key(make_config(pile__png=True), "k") == base
    assert pile_key(make_config(pile__steps=(8, 4, 2, 2)), "k") == base  # the same steps
    others = [
        pile_key(config, "l"),
        pile_key(config, "k", "other code"),
        *(pile_key(make_config(**{f"pile__{name}": value}), "k") for name, value in PILES.items()),
    ]
    assert len({base, *others}) == 1 + len(others)


PILES = {"count": 7, "sampler": "ddpm", "sampler_steps": 3, "eta": 0.5, "batch_size": 5, "steps": (4,)}

CODE = '''
"""About the module."""
import jax

LIMIT = 3  # a comment


def draw(stream, count):
    """About the function."""
    if count > LIMIT:
        raise ValueError(f"{count} is above {LIMIT}")
    return jax.random.key(f"{stream}/train"), f"{count:>{LIMIT}.2f}{stream!r}"


class Empty:
    """Nothing."""
'''
SAME_CODE = {
    "another comment": ("# a comment", "# something else entirely"),
    "no comment": ("  # a comment", ""),
    "another docstring": ("About the function", "What the function does"),
    "no docstring": ('    """About the function."""\n', ""),
    "a docstring more": ("LIMIT = 3", '"""About the limit."""\nLIMIT = 3'),
    "another message": ("is above", "is more than"),
    "another kind of message": ('f"{count} is above {LIMIT}"', '"too many"'),
    "no message": ('ValueError(f"{count} is above {LIMIT}")', "ValueError"),
    "other white space": ("\n\n\ndef", "\n\ndef"),
    "an empty body": ('"""Nothing."""', "pass"),
    "other quotes": ('f"{stream}/train"', "f'{stream}/train'"),
}
OTHER_CODE = {
    "a number": ("LIMIT = 3", "LIMIT = 4"),
    "a condition": ("count > LIMIT", "count >= LIMIT"),
    "the name of a stream": ("/train", "/training"),
    "what is in a name": ("{stream}/train", "{count}/train"),
    "a format": (".2f", ".3f"),
    "a conversion": ("!r", "!s"),
    "an import": ("import jax", "import jax.numpy as jax"),
    "the kind of an error": ("ValueError", "KeyError"),
    "no error": ('raise ValueError(f"{count} is above {LIMIT}")', "count = LIMIT"),
}


@pytest.fixture
def code(tmp_path, monkeypatch):
    """Hash of a module with this text."""
    monkeypatch.setattr(plan.shadow, "__path__", [str(tmp_path)])

    def hashed(text):
        ast.parse(text)
        (tmp_path / "module.py").write_text(text)
        plan._code.cache_clear()
        return plan._code(("module.py",))

    yield hashed
    plan._code.cache_clear()


@pytest.mark.parametrize("name", SAME_CODE)
def test_the_version_is_not_that_of_words(code, name):
    old, new = SAME_CODE[name]
    assert CODE.count(old) == 1 or name == "other white space"
    assert code(CODE.replace(old, new)) == code(CODE)


@pytest.mark.parametrize("name", OTHER_CODE)
def test_the_version_is_that_of_the_code(code, name):
    old, new = OTHER_CODE[name]
    assert old in CODE
    assert code(CODE.replace(old, new)) != code(CODE)


def test_versions_cover_what_training_and_sampling_import():
    """Every module of ours that train.py and piles.py import, and those they import, is in one of the hashes, unless
    it decides about no bit."""
    root, seen, queue = plan.shadow.__path__[0], set(), ["training/train", "piles"]
    while queue:
        name = queue.pop()
        seen.add(name)
        tree = ast.parse((plan.Path(root) / f"{name}.py").read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "shadow":
                inner = [*(node.module or "").split(".")[1:]]
                for alias in node.names:
                    for parts in ([*inner, alias.name], inner):
                        path = "/".join(parts)
                        if parts and (plan.Path(root) / f"{path}.py").exists() and path not in seen:
                            queue.append(path)
    # the values of a config are in the keys, and its rules only refuse some
    without_bits = {"training/checkpoint", "files", "errors", "config", "diffusion/rules"}
    assert seen - without_bits == {name.removesuffix(".py") for name in (*plan._TRAINER, *plan._SAMPLER)} - {
        *("data/decoding", "data/png")  # which make the images that train.py is given
    }


def test_a_network_that_no_hash_covers_is_named_at_start(tmp_path):
    plan.check_hashed()
    (tmp_path / "denoisers").mkdir()
    (tmp_path / "denoisers" / "dit.py").touch()
    plan.check_hashed(tmp_path)
    (tmp_path / "denoisers" / "mixer.py").touch()
    with pytest.raises(RuntimeError, match=r"^denoisers/mixer\.py: add it to _TRAINER in shadow/fleet/plan\.py"):
        plan.check_hashed(tmp_path)


def test_other_versions_are_refused(monkeypatch):
    made, config = make(), make_config(fleet__shadows=8)
    monkeypatch.setattr(plan, "versions", lambda: (made.trainer, "other"))
    with pytest.raises(UserError, match=f"begun by another version .*{made.sampler}, this is {made.trainer}/other"):
        made.check_versions()
    with pytest.raises(UserError, match="another version"):
        plan.grow(made, config, Images(), draw(config))

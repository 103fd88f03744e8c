"""The bench of strangers: its table, how roles are dealt, how cases are written, and that targets are reproducible."""

from __future__ import annotations

import csv
import dataclasses
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import foreign_cases  # noqa: E402
import foreign_worlds  # noqa: E402
from foreign_worlds import WORLDS, World  # noqa: E402

from attack.metrics import ranking  # noqa: E402
from shadow.data import challenge, decoding  # noqa: E402
from shadow.errors import UserError  # noqa: E402

SIDE = 32
TINY = World(
    *("tiny", "tuning", "eps", 5), training=8, dev_used=3, dev_not_used=3, test_used=4, test_not_used=4,
    slices_a_patient=4, epochs=2, batch=4, ema=0.9, flip=True, sampler="ddim 2", dev_pile=6, test_pile=30,
)  # fmt: skip


def pool_of(count: int, patients: int) -> challenge.Pool:
    images = np.random.default_rng(0).integers(0, 256, (count, SIDE, SIDE), np.uint8)
    groups = [f"g{i * patients // count:03d}" for i in range(count)]
    return challenge.Pool(images, groups, [f"slice {i}" for i in range(count)])


@pytest.fixture(autouse=True)
def small_phantoms(monkeypatch):
    """Phantoms without their pictures: roles are about patients."""

    def drawn(seed, patients, positions):
        rng = np.random.default_rng(seed)
        return rng.integers(0, 256, (*np.shape(positions), SIDE, SIDE), np.uint8)

    monkeypatch.setattr(foreign_worlds.phantom, "slices", drawn)


# --- the table

SIZED = [w for w in WORLDS.values() if w.seed in foreign_worlds.SIZED_SEEDS]


def test_sized_worlds_have_the_counts_of_2023_or_more_candidates():
    for world in SIZED:
        assert (world.dev_used, world.dev_not_used, world.dev_pile) == (80, 80, 500)
        assert world.test_used == world.test_not_used
        assert world.test_used in (100, 200)


def test_every_kind_has_a_tuning_and_a_judging_world():
    roles = Counter((w.kind, w.role) for w in WORLDS.values() if w.role != "judged" and w not in SIZED)
    assert roles == {(kind, role): 1 for kind in foreign_worlds.KINDS for role in ("tuning", "judging")}
    assert len(foreign_worlds._rounds()) == len(WORLDS)  # else two rows had one name
    assert {w.name for w in WORLDS.values() if w.role == "judged"} == set(foreign_worlds.JUDGED)


def test_what_was_judged_is_followed_by_a_fresh_world_of_its_recipe():
    after = {"judge": "fresh", "fresh": "third"}
    for name in set(foreign_worlds.JUDGED) - {w.name for w in SIZED}:
        start, recipe = name.split("-", 1)
        old, new = WORLDS[name], WORLDS[f"{after[start]}-{recipe}"]
        assert new.role == ("judged" if new.name in foreign_worlds.JUDGED else "judging")
        assert new.seed == old.seed + 100
        assert dataclasses.replace(new, name=old.name, role=old.role, seed=old.seed) == old


def test_seeds_of_judging_are_no_seeds_of_tuning():
    rounds = [w for w in WORLDS.values() if w not in SIZED]
    seeds = {role: {w.seed for w in rounds if w.role == role} for role in ("tuning", "judged", "judging")}
    assert seeds["tuning"] == set(foreign_worlds.TUNING_SEEDS)
    assert seeds["judged"] | seeds["judging"] == {*foreign_worlds.JUDGING_SEEDS, *(s + 100 for s in seeds["judged"])}
    assert {w.seed for w in SIZED} == set(foreign_worlds.SIZED_SEEDS)
    assert len({w.seed for w in WORLDS.values()}) == len(WORLDS)  # no seed twice


@pytest.mark.parametrize("world", WORLDS.values(), ids=lambda w: w.name)
def test_a_row_keeps_to_the_ranges(world):
    assert 80 <= world.training <= 800
    assert min(world.dev_used, world.dev_not_used) >= 30
    assert max(world.dev_used, world.dev_not_used) <= 80
    assert min(world.test_used, world.test_not_used) >= 50
    assert max(world.test_used, world.test_not_used) <= 200
    assert world.dev_used + world.test_used <= world.training
    assert 16 <= world.batch <= 64
    assert 250 <= world.dev_pile <= 500
    assert 250 <= world.test_pile <= 10_000
    assert world.sharing in foreign_worlds.SHARING
    assert (world.sampler == "") == (world.kind == "gan")
    assert world.sharing == "slice" or world.pool == "phantom"  # real pools may have few patients
    assert not (world.second and world.sharing == "half")  # the second dev set would not be dealt by halves
    steps = foreign_cases.lengths(world)
    assert steps == sorted(set(steps))
    assert len(steps) >= 7


def test_bench_is_varied():
    for role in ("tuning", "judging"):
        mine = [w for w in WORLDS.values() if w.role == role and w not in SIZED]
        assert sum(w.second for w in mine) == 2
        assert {w.sharing for w in mine} == set(foreign_worlds.SHARING)
        assert {bool(w.ema) for w in mine} == {w.flip for w in mine} == {True, False}
        assert {w.kind for w in mine if w.pool == "real"} == {"gan", "eps-attn"}
    assert {w.sampler.split()[0] for w in WORLDS.values() if w.sampler} == {"ddpm", "ddim", "dpm", "euler"}


# --- roles


@pytest.mark.parametrize("world", WORLDS.values(), ids=lambda w: w.name)
def test_no_slice_has_two_roles_and_unseen_slices_are_unseen(world):
    dealt = foreign_worlds.deal(world)
    everything = dealt.of(*dealt.chosen).tolist()
    assert len(everything) == len(set(everything))
    assert {role: len(x) for role, x in dealt.chosen.items()} == foreign_worlds.roles(world)
    members = {name: set(dealt.members(name).tolist()) for name in ("first", "second")[: 1 + world.second]}
    assert {len(x) for x in members.values()} == {world.training}
    unseen = set(dealt.of("unseen_used", "unseen_not_used", "spare").tolist())
    assert len(unseen) >= 200
    assert len(dealt.of("spare")) >= 60
    for mine in members.values():
        assert not mine & unseen
    if world.second:
        assert not members["first"] & members["second"]
        for name, other in (("first", "second"), ("second", "first")):
            assert members[other] <= set(dealt.strangers(name).tolist())
            assert not members[name] & set(dealt.strangers(name).tolist())


def test_one_role_a_patient_where_sharing_is_by_group():
    world = dataclasses.replace(WORLDS["tune-dit"], second=True)
    assert world.sharing == "group"
    dealt = foreign_worlds.deal(world)
    of = {role: {dealt.pool.groups[x] for x in chosen} for role, chosen in dealt.chosen.items()}
    assert sum(map(len, of.values())) == len(set().union(*of.values()))


def test_half_of_the_candidates_have_patients_in_dev_where_sharing_is_by_halves():
    for world in WORLDS.values():
        if world.sharing != "half":
            continue
        dealt = foreign_worlds.deal(world)
        groups = np.array(dealt.pool.groups)
        dev = set(groups[dealt.of("dev_used", "dev_not_used")])
        for roles in (("test_used", "test_not_used"), ("unseen_used", "unseen_not_used")):
            shared = np.mean([group in dev for group in groups[dealt.of(*roles)]])
            assert 0.4 <= shared <= 0.5  # a mixed patient may have got no dev slice
        assert not dev & set(groups[dealt.of("rest", "spare")])


def test_patients_have_many_roles_where_sharing_is_by_slice():
    dealt = foreign_worlds.deal(WORLDS["tune-eps"])
    groups = np.array(dealt.pool.groups)
    dev = set(groups[dealt.of("dev_used", "dev_not_used")])
    assert np.mean([g in dev for g in groups[dealt.of("test_used", "test_not_used")]]) > 0.15


def test_roles_are_a_function_of_the_seed():
    first, again, other = (
        foreign_worlds.deal(world)
        for world in (WORLDS["tune-eps"], WORLDS["tune-eps"], dataclasses.replace(WORLDS["tune-eps"], seed=7))
    )
    for role in first.chosen:
        np.testing.assert_array_equal(first.chosen[role], again.chosen[role])
    assert (first.chosen["dev_used"] != other.chosen["dev_used"]).any()


def test_of_real_slices_the_least_alike_are_taken():
    pool = pool_of(40, 5)
    near = pool.images.copy()
    near[1::2] = near[::2] ^ 1  # every second slice is a near copy of the one before
    pool = dataclasses.replace(pool, images=near)
    kept = foreign_worlds.thinned(pool, 20)
    numbers = [int(name.split()[1]) for name in kept.names]
    assert numbers == sorted(numbers)
    assert sorted(x // 2 for x in numbers) == list(range(20))  # one of each pair
    for x, image, group in zip(numbers, kept.images, kept.groups, strict=True):
        np.testing.assert_array_equal(image, near[x])
        assert group == pool.groups[x]
    assert foreign_worlds.thinned(pool, 40) is pool
    whole = sum(foreign_worlds.roles(TINY).values())
    dealt = foreign_worlds.deal(TINY, pool_of(2 * whole, 10))
    assert sorted(dealt.of(*dealt.chosen)) == list(range(whole))


# --- choosing


def row(step: int, auc: float, wide: float = 0.8, constant: bool = False) -> dict:
    return {"step": step, "auc": auc, "wide": wide, "constant": constant}


def test_bands_take_the_nearest_of_the_lengths():
    found = [row(1, 0.5, 0.5), row(2, 0.64), row(3, 0.7), row(4, 0.82), row(5, 0.88), row(6, 0.99)]
    chosen = foreign_cases.choose(TINY, "first", found)
    assert {band: x["step"] for band, x in chosen.items()} == {"early": 1, "faint": 3, "clear": 5}


def test_luck_on_few_candidates_is_no_faint_leak():
    found = [row(1, 0.5, 0.5), row(2, 0.67, wide=0.52), row(3, 0.74), row(4, 0.9)]
    assert foreign_cases.choose(TINY, "first", found)["faint"]["step"] == 3


def test_a_target_with_one_length_that_learned_is_no_two_cases():
    assert set(foreign_cases.choose(TINY, "first", [row(1, 0.5, 0.5), row(2, 0.64)])) == {"early", "clear"}


@pytest.mark.parametrize(
    ("later", "match"),
    [
        ([row(2, 0.9, constant=True)], "did not train .* of one image"),
        ([row(2, 0.58), row(3, 0.6)], "world tiny: its second target learned none .* 0.60"),
        ([row(2, 0.68, wide=0.58)], "learned none"),
    ],
)
def test_a_target_that_did_not_train_is_named(later, match):
    with pytest.raises(UserError, match=match) as caught:
        foreign_cases.choose(TINY, "second", [row(1, 0.5), *later])
    assert "\n" not in str(caught.value)


def test_a_large_pile_is_cut_where_that_brings_it_into_the_band():
    class Truth:
        def measure(self, pile):
            return {"best": "x", "wide": 0.8, "auc": 0.75 + len(pile) / 5000}

    images = np.zeros((1000, 4, 4), np.uint8)
    assert foreign_cases._size(Truth(), images, (0.85, 0.95))["size"] == 1000
    assert foreign_cases._size(Truth(), images, (0.83, 0.86))["size"] == 500
    nearest = foreign_cases._size(Truth(), images, (0.6, 0.65))
    assert (nearest["size"], nearest["inside"]) == (250, False)


# --- pictures


def test_changed_copies_stay_next_to_what_they_copy():
    images = np.random.default_rng(1).uniform(0, 255, (4, SIDE, SIDE))
    images = np.repeat(np.repeat(images[:, ::8, ::8], 8, 1), 8, 2)
    made = foreign_cases.changed(images, 40, 1.0, np.random.default_rng(2)).astype(float)
    apart = np.sqrt(((made[:, None] - images[None]) ** 2).mean((2, 3)))
    nearest = np.sort(apart, axis=1)
    assert (nearest[:, 0] < nearest[:, 1] / 2).all()
    assert set(apart.argmin(1)) == {0, 1, 2, 3}
    assert nearest[:, 0].min() > 0.5  # none is the slice itself
    little = foreign_cases.changed(images, 40, 0.3, np.random.default_rng(2)).astype(float)
    assert np.sqrt(((little[:, None] - images[None]) ** 2).mean((2, 3))).min(1).mean() < nearest[:, 0].mean() / 2


def test_another_scanner_changes_intensities_in_order():
    ramp = np.broadcast_to(np.arange(0, 256, 8, dtype=np.uint8)[None, :, None], (1, SIDE, SIDE))
    bare = foreign_cases.scanned(ramp, (0.8, 0.9, 0.0, 0.0), np.random.default_rng(0))
    np.testing.assert_allclose(bare, np.rint(255 * 0.9 * (ramp / 255) ** 0.8))
    noisy = foreign_cases.scanned(np.full((1, 64, 64), 128, np.uint8), (1.0, 1.0, 0.0, 5.0), np.random.default_rng(0))
    assert noisy.std() == pytest.approx(5, rel=0.05)
    for seed in range(20):
        gamma, gain, blur, noise = foreign_cases.scanner(np.random.default_rng(seed))
        assert 0.1 <= abs(gamma - 1) <= 0.3
        assert 0.9 <= gain <= 1.1
        assert 0 < blur < 0.02
        assert noise > 0


# --- cases


def piles_of(world: World, dealt: foreign_worlds.Dealt, seed: int) -> foreign_cases._Piles:
    """Piles of a generator that copies its slices."""
    small = decoding.resize(dealt.pool.images, SIDE)
    members = dealt.members("first" if seed == 0 else "second")
    rng = np.random.default_rng(seed)
    count = world.dev_pile + world.test_pile
    made = {
        "early": rng.integers(0, 256, (count, SIDE, SIDE), np.uint8),
        "faint": foreign_cases.changed(small[members[:3]], count, 1.0, rng),
        "clear": foreign_cases.changed(small[members], count, 0.3, rng),
    }
    rows = {
        band: {"size": world.test_pile, "inside": True, "step": 2, "epochs": 3.0, "wide": 0.9, "auc": 0.9}
        for band in made
    }
    return foreign_cases._Piles(made, rows, [])


@pytest.fixture
def bench(tmp_path, monkeypatch):
    """All cases of a tiny world with two targets, whose piles are made up."""
    world = dataclasses.replace(TINY, second=True)
    monkeypatch.setattr(
        foreign_cases, "_target", lambda folder, w, dealt, name: piles_of(w, dealt, int(name == "second"))
    )
    cases = foreign_cases.make_world(tmp_path, world, None)
    return tmp_path, world, {case.name: case for case in cases}


def truth_of(case: foreign_cases.Case) -> dict[str, tuple[int, str]]:
    with (case.folder / "sealed" / "truth.csv").open() as stream:
        return {r["id"]: (int(r["label"]), r["group"]) for r in csv.DictReader(stream)}


def shown(folder: Path) -> dict[str, bytes]:
    return {path.stem: np.asarray(Image.open(path)).tobytes() for path in sorted(folder.iterdir())}


def test_all_cases_are_written(bench):
    root, world, cases = bench
    assert set(cases) == {"faint", "clear", "foreign-dev", *foreign_cases.NULLS}
    assert {name for name, case in cases.items() if case.null} == set(foreign_cases.NULLS)
    assert {name for name, case in cases.items() if not case.same_generator} == {"foreign-dev", "unseen-other"}
    for case in cases.values():
        counts = {place.name: len(list(place.iterdir())) for place in (*(case.folder / "dev").iterdir(),)}
        assert counts == {"used": 3, "not_used": 3, "generated": world.dev_pile}
        assert len(list((case.folder / "test/generated_1").iterdir())) == world.test_pile
        labels = [label for label, _ in truth_of(case).values()]
        assert (len(labels), sum(labels)) == (8, 4)
        assert set(truth_of(case)) == set(shown(case.folder / "test/real_unknown_1"))
    assert not list(root.rglob(".*"))


def test_labels_are_of_the_slices_that_are_shown(bench):
    _, world, cases = bench
    dealt = foreign_worlds.deal(world)
    index = {image.tobytes(): i for i, image in enumerate(dealt.pool.images)}
    members = set(dealt.members("first").tolist()) | set(dealt.members("second").tolist())
    for case in cases.values():
        if case.name.startswith("scanner"):
            continue
        truth = truth_of(case)
        for name, content in shown(case.folder / "test/real_unknown_1").items():
            label, group = truth[name]
            assert dealt.pool.groups[index[content]] == group
            if case.name.startswith("unseen") or case.name.endswith(foreign_cases.SECOND):
                assert index[content] not in members
            else:
                assert (index[content] in members) == label
        used = {index[x] for x in shown(case.folder / "dev/used").values()}
        start = "second_" if case.name == "foreign-dev" else ""
        assert used == set(dealt.of(f"{start}dev_used").tolist())
        assert not {index[x] for x in shown(case.folder / "dev/not_used").values()} & members


def test_second_nulls_ask_about_other_slices_than_their_piles_show(bench):
    """Neither the first null of a kind nor what a pile copies is asked about again."""
    _, world, cases = bench
    dealt = foreign_worlds.deal(world)
    index = {image.tobytes(): i for i, image in enumerate(dealt.pool.images)}
    spare, asked = set(dealt.of("spare").tolist()), {}
    for kind in ("unseen", "untrained", "collapsed", "copies"):
        first, again = (
            {index[x] for x in shown(cases[name].folder / "test/real_unknown_1").values()}
            for name in (kind, kind + foreign_cases.SECOND)
        )
        assert not first & again
        asked[kind] = again
    assert not (asked["collapsed"] | asked["copies"]) & spare
    first, again = (
        set(shown(cases[name].folder / "test/generated_1").values()) for name in ("collapsed", "collapsed-2")
    )
    assert not first & again


def test_patients_are_named_as_the_files(bench):
    _, _, cases = bench
    for case in cases.values():
        with (case.folder / "patients.csv").open() as stream:
            rows = {r["file"].removesuffix(".png"): r["patient"] for r in csv.DictReader(stream)}
        files = [path.stem for role in ("dev/used", "dev/not_used", "test/real_unknown_1")
                 for path in (case.folder / role).iterdir()]  # fmt: skip
        assert sorted(files) == sorted(rows)
        assert all(rows[name] == group for name, (_, group) in truth_of(case).items())


def test_what_a_case_says_of_itself_is_true(bench):
    _, _, cases = bench
    said = {name: json.loads((case.folder / "sealed" / "case.json").read_text()) for name, case in cases.items()}
    assert said["clear"]["auc"] == 1.0
    assert said["clear"]["band"] == "clear"
    for name in foreign_cases.NULLS:
        assert said[name]["band"] is None
        assert said[name]["how"]
        assert 0.5 <= said[name]["auc"] < 1
    case = cases["clear"]
    truth, pile = (
        truth_of(case),
        np.stack([np.frombuffer(x, np.uint8) for x in shown(case.folder / "test/generated_1").values()]),
    )
    asked = shown(case.folder / "test/real_unknown_1")
    near = [-np.abs(np.frombuffer(asked[x], np.uint8).astype(float) - pile).mean(1).min() for x in truth]
    assert ranking.auc(np.array(near), np.array([label for label, _ in truth.values()])) == 1.0


def test_piles_are_of_the_generators_that_are_stated(bench):
    _, world, cases = bench
    dealt = foreign_worlds.deal(world)
    piles = {name: {x.tobytes() for x in piles_of(world, dealt, seed).piles["clear"]} for seed, name in enumerate("ab")}
    for name, dev, test in (("clear", "a", "a"), ("unseen", "a", "a"), ("scanner", "a", "a"),
                            ("foreign-dev", "b", "a"), ("unseen-other", "a", "b")):  # fmt: skip
        folder = cases[name].folder
        dev_pile, test_pile = (set(shown(folder / x).values()) for x in ("dev/generated", "test/generated_1"))
        assert dev_pile <= piles[dev]
        assert test_pile <= piles[test]
        assert not dev_pile & test_pile


def test_a_made_world_is_found_again_and_a_half_written_case_is_not(bench, monkeypatch):
    root, world, cases = bench
    before = (cases["clear"].folder / "sealed" / "truth.csv").stat().st_mtime_ns
    (root / "tiny" / "cases.json").unlink()
    cases["faint"].folder.rename(cases["faint"].folder.with_name(".data.part"))  # as a killed process leaves it
    (cases["faint"].folder.with_name(".data.part") / "sealed" / "truth.csv").write_text("half")
    again = {case.name: case for case in foreign_cases.make_world(root, world, None)}
    assert again == cases
    assert len(truth_of(again["faint"])) == 8
    assert (cases["clear"].folder / "sealed" / "truth.csv").stat().st_mtime_ns == before
    with pytest.raises(UserError, match=r"tiny: was made of other slices or by another table"):
        foreign_cases.make_world(root, dataclasses.replace(world, batch=5), None)


# --- mistakes


def write_pool(folder: Path, count: int) -> str:
    folder.mkdir()
    for i in range(count):
        Image.fromarray(np.full((8, 8), i, np.uint8)).save(folder / f"s{i}.png")
    return str(folder)


def test_mistakes_about_the_pool_are_named(tmp_path):
    pool = write_pool(tmp_path / "pool", 3)
    twice = tmp_path / "twice.csv"
    twice.write_text("file,patient\ns0.png,a\ns1.png,a\ns2.png,b\ns1.png,b\n")
    with pytest.raises(UserError, match=r"--pool=nowhere: no such folder"):
        foreign_cases.make(tmp_path, "tune-gan", "nowhere", str(twice))
    with pytest.raises(UserError, match="--patients is missing"):
        foreign_cases.make(tmp_path, "tune-gan", pool, "")
    with pytest.raises(UserError, match=r"twice.csv, line 5: s1 is listed twice"):
        foreign_cases.make(tmp_path, "tune-gan", pool, str(twice))
    with pytest.raises(UserError, match=r"'tune-gun' is no world of the bench; those are tune-eps,"):
        foreign_cases.make(tmp_path, "tune-gun", pool, str(twice))


def test_a_small_pool_is_named():
    with pytest.raises(UserError, match=r"world tiny: the pool of 30 slices is too small"):
        foreign_worlds.deal(TINY, pool_of(30, 5))
    with pytest.raises(UserError, match=r"cannot be dealt by halves"):
        foreign_worlds.deal(dataclasses.replace(TINY, sharing="half"), pool_of(2000, 100))


def test_without_torch_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "foreign_targets", None)
    monkeypatch.delitem(sys.modules, "foreign_targets")
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(UserError, match=r"^PyTorch is missing: make torch$"):
        foreign_cases.make_world(tmp_path, TINY, None)


def test_the_command_ends_with_one_line_and_2(tmp_path):
    command = [sys.executable, str(BENCHMARKS / "foreign_cases.py"), f"--root={tmp_path}", "--worlds=tune-gan"]
    ended = subprocess.run([*command, "--pool=nowhere"], capture_output=True, text=True, timeout=120)
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert ended.stderr.startswith("error: --pool=nowhere: no such folder")


def test_a_world_that_fails_does_not_keep_the_others_from_being_made(tmp_path, monkeypatch, capsys):
    def make(root, world, pool, patients):
        if world == "tune-gan":
            raise UserError("it did not train")
        return []

    monkeypatch.setattr(foreign_cases, "make", make)
    for flag, value in (
        ("_ROOT", str(tmp_path)),
        ("_WORLDS", ["tune-gan", "tune-eps"]),
        ("_POOL", ""),
        ("_PATIENTS", ""),
    ):
        monkeypatch.setattr(foreign_cases, flag, SimpleNamespace(value=value))
    with pytest.raises(UserError, match=r"^it did not train$"):
        foreign_cases.main([])
    assert capsys.readouterr().out.startswith("tune-eps: 0 cases")


# --- targets


@pytest.fixture
def targets():
    pytest.importorskip("torch")
    pytest.importorskip("diffusers")
    import foreign_targets

    return foreign_targets


# diffusers' DPM-Solver hands a tensor to NumPy in a way that NumPy 2 will drop
OLD = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
KIND = {"eps": "ddim 2", "eps-attn": "ddpm 2", "v-attn": "dpm 2", "dit": "dpm 2", "flow": "euler 2", "gan": ""}


@OLD
@pytest.mark.parametrize("kind", foreign_worlds.KINDS)
def test_a_target_is_the_same_each_time(targets, kind, monkeypatch):
    monkeypatch.setattr(targets, "_SAMPLED", 4)
    world = dataclasses.replace(TINY, kind=kind, sampler=KIND[kind])
    images = np.random.default_rng(0).uniform(-1, 1, (8, SIDE, SIDE)).astype(np.float32)
    one, again, other = (targets.build(world, images, seed) for seed in (1, 1, 2))
    losses = [one.train(1), one.train(1)]
    assert again.train(2) == pytest.approx(np.mean(losses), rel=1e-12)
    other.train(2)
    pile = one.sample(6)
    assert pile.shape == (6, SIDE, SIDE)
    assert pile.dtype == np.uint8
    np.testing.assert_array_equal(pile, again.sample(6))
    np.testing.assert_array_equal(pile[3:], again.sample(3, 3))  # an image is a function of its number
    assert (pile != other.sample(6)).any()
    kept = one.keep()
    one.train(2)
    assert (pile != one.sample(6)).any()
    one.restore(kept)
    np.testing.assert_array_equal(pile, one.sample(6))


@OLD
def test_a_sampler_with_the_true_noise_finds_the_image(targets, monkeypatch):
    """Of a data set of one image, the best prediction of every kind is known in closed form; each sampler must end at
    that image."""
    import torch

    monkeypatch.setattr(targets, "_SAMPLED", 2)
    image = np.random.default_rng(0).uniform(-0.9, 0.9, (1, SIDE, SIDE)).astype(np.float32)
    clean = torch.from_numpy(image)[:, None]
    for kind, sampler in (("eps", "ddim 20"), ("eps", "ddpm 50"), ("eps", "dpm 15"), ("v-attn", "ddim 20"),
                          ("v-attn", "dpm 15"), ("flow", "euler 10")):  # fmt: skip
        target = targets.build(dataclasses.replace(TINY, kind=kind, sampler=sampler), image, 1)
        kept = target.noising.alphas_cumprod

        def best(network, noisy, times, kind=kind, kept=kept):
            if kind == "flow":
                return (clean - noisy) / (1 - times / 1000).clamp(min=1e-3)[:, None, None, None]
            a, s = (x[times.long()][:, None, None, None] for x in (kept.sqrt(), (1 - kept).sqrt()))
            noise = (noisy - a * clean) / s
            return noise if kind == "eps" else a * noise - s * clean

        monkeypatch.setattr(target, "_predict", best)
        drawn = target.sample(2).astype(float)
        assert np.abs(drawn - (image + 1) * 127.5).mean() < 4, (kind, sampler)


def test_training_learns_slices(targets):
    """The loss falls, and a network that predicts nothing has the loss that its kind says."""
    images = np.random.default_rng(0).uniform(-1, 1, (4, SIDE, SIDE)).astype(np.float32)
    target = targets.build(dataclasses.replace(TINY, learning_rate=3e-3, flip=False, ema=0.0), images, 1)
    first = target.train(3)
    target.train(25)
    assert target.train(5) < 0.8 * first


def test_a_target_whose_loss_is_no_number_is_named(targets, tmp_path, monkeypatch):
    class Broken:
        def train(self, steps):
            return float("nan")

    monkeypatch.setattr(targets, "build", lambda world, images, seed: Broken())
    with pytest.raises(UserError, match=r"world tiny: its first target did not train \(its loss is no number\)"):
        foreign_cases.make_world(tmp_path, TINY, None)
    assert not (tmp_path / "tiny" / "targets" / "first").exists()


def test_a_tiny_world_from_its_target_to_its_cases(targets, tmp_path, monkeypatch):
    """Made twice, all files are the same to the last bit."""
    monkeypatch.setattr(targets, "_SAMPLED", 5)
    monkeypatch.setattr(foreign_cases, "_SEARCHED", 10)
    monkeypatch.setattr(foreign_cases, "_LENGTHS", 2)
    monkeypatch.setattr(foreign_cases, "_LEARNED", 0.0)
    monkeypatch.setattr(foreign_cases, "_LEAST", 0.0)
    world = dataclasses.replace(TINY, kind="gan", sampler="", epochs=12)
    contents = []
    for name in ("one", "two"):
        cases = foreign_cases.make_world(tmp_path / name, world, None)
        assert {case.name for case in cases} >= {"clear", "unseen", "untrained", "collapsed", "scanner", "copies"}
        contents.append({p.relative_to(tmp_path / name): p.read_bytes() for p in sorted((tmp_path / name).rglob("*.*"))
                         if p.is_file()})  # fmt: skip
    assert contents[0] == contents[1]

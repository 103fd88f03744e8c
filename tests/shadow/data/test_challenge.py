"""A challenge of our own: sides that do not touch, names of the 2023 edition, and a truth that is true."""

import csv
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from shadow.config import ChallengeConfig, Config
from shadow.data import challenge, decoding
from shadow.data import pool as pools
from shadow.errors import Stopped, UserError

SIDES = ("dev_used", "test_used", "dev_not_used", "test_not_used")
COUNTS = st.integers(1, 9)


def settings_of(counts, split="slice", **fields):
    return ChallengeConfig(**dict(zip(SIDES, counts, strict=True)), split=split, **fields)


def pool_of(sizes):
    """A pool of patients with these numbers of slices, in mixed order."""
    groups = [f"p{i}" for i, size in enumerate(sizes) for _ in range(size)]
    groups = [groups[i] for i in np.random.default_rng(0).permutation(len(groups))]
    return challenge.Pool(np.zeros((len(groups), 2, 2), np.uint8), groups, [f"n{i}" for i in range(len(groups))])


@settings(max_examples=80, deadline=None)
@given(
    st.tuples(COUNTS, COUNTS, COUNTS, COUNTS),
    st.lists(st.integers(1, 6), min_size=1, max_size=30),
    st.sampled_from(["slice", "group"]),
    st.integers(0, 2**32 - 1),
)
def test_sides_are_disjoint_and_of_the_wanted_size(counts, sizes, split, seed):
    pool, config = pool_of(sizes), settings_of(counts, split, seed=seed)
    try:
        chosen = challenge.split_pool(pool, config)
    except UserError as error:
        assert f"the pool of {sum(sizes)} slices is too small" in str(error)  # noqa: PT017
        # whole patients: each role may leave unused all but one slice of its last one
        assert sum(counts) > sum(sizes) - (0 if split == "slice" else 4 * (max(sizes) - 1))
        return
    assert sorted(chosen) == sorted(SIDES)
    assert [len(chosen[side]) for side in SIDES] == list(counts)
    everything = np.concatenate([chosen[side] for side in SIDES])
    assert len(set(everything.tolist())) == len(everything)
    assert set(everything.tolist()) <= set(range(sum(sizes)))
    if split == "group":
        patients = [{pool.groups[i] for i in chosen[side]} for side in SIDES]
        assert sum(map(len, patients)) == len(set.union(*patients))
    again = challenge.split_pool(pool, config)
    assert all(np.array_equal(chosen[side], again[side]) for side in SIDES)


def test_every_slice_is_as_likely_to_be_used():
    pool = pool_of([3] * 8)
    for split in ("slice", "group"):
        used = np.zeros(24)
        for seed in range(400):
            chosen = challenge.split_pool(pool, settings_of((3, 3, 3, 3), split, seed=seed))
            used[chosen["test_used"]] += 1
        assert np.abs(used / 400 - 3 / 24).max() < 4.5 * np.sqrt(3 / 24 * 21 / 24 / 400)


def test_split_by_slice_may_part_a_patient():
    chosen = challenge.split_pool(pool_of([12]), settings_of((3, 3, 3, 3)))
    assert sum(map(len, chosen.values())) == 12


@pytest.mark.parametrize(
    ("counts", "split", "said"),
    [
        ((0, 3, 3, 3), "slice", r"challenge\.dev_used and challenge\.test_used must be 1 or more, not \(0, 3\)"),
        ((3, 3, 3, -1), "slice", r"challenge\.dev_not_used and challenge\.test_not_used must be 1 or more"),
        ((3, 3, 3, 4), "slice", r"pool of 12 .*dev_not_used \+ challenge\.test_not_used = 7 .*by slice: 6 are left"),
        ((9, 9, 3, 3), "slice", r"pool of 12 .*challenge\.dev_used \+ challenge\.test_used = 18 .*12 are left"),
        ((2, 3, 2, 3), "group", r"by group: 2 are left"),
        ((3, 3, 3, 3), "patient", r"challenge\.split = 'patient'"),
    ],
)
def test_a_pool_that_does_not_fit_is_refused_with_its_counts(counts, split, said):
    with pytest.raises(UserError, match=said):
        challenge.split_pool(pool_of([4, 4, 4]), settings_of(counts, split))


def save(path, shape=(6, 6), seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    Image.fromarray(image).save(path)
    return image


def folder_config(root, table=None):
    if table is not None:
        (root.parent / "patients.csv").write_text("file,patient\n" + table)
    return ChallengeConfig(pool=str(root), patients=str(root.parent / "patients.csv") if table is not None else "")


def test_folder_pool_in_natural_order(tmp_path):
    root = tmp_path / "pool"
    images = [save(root / "a" / f"s{i}.png", seed=i) for i in (2, 10, 1)]
    pool = pools.folder_pool(folder_config(root, "s1.png,anna\na/s2.png,bert\ns10,anna\n"))
    assert pool.names == ["a/s1.png", "a/s2.png", "a/s10.png"]
    assert pool.groups == ["anna", "bert", "anna"]
    assert np.array_equal(pool.images, np.stack([images[2], images[0], images[1]]))


def test_without_patients_every_image_is_a_group_of_its_own(tmp_path):
    """A folder a patient with the same file names in each: the names say nothing of who belongs together."""
    for k, patient in enumerate(("a", "b")):
        for i in range(2):
            save(tmp_path / "pool" / patient / f"{i}.png", seed=2 * k + i)
    pool = pools.folder_pool(folder_config(tmp_path / "pool"))
    assert len(set(pool.groups)) == 4


def test_a_csv_cannot_tell_equal_file_names_apart(tmp_path):
    for patient in ("a", "b"):
        save(tmp_path / "pool" / patient / "1.png")
    with pytest.raises(UserError, match=r"a/1\.png: challenge\.patients"):
        pools.folder_pool(folder_config(tmp_path / "pool", "1.png,anna\n"))


def test_folder_pool_refuses(tmp_path):
    root = tmp_path / "pool"
    with pytest.raises(UserError, match=r"challenge\.pool = .*pool: no such folder"):
        pools.folder_pool(folder_config(root))
    root.mkdir()
    with pytest.raises(UserError, match="no PNG slices"):
        pools.folder_pool(folder_config(root))
    save(root / "1.png")
    save(root / "2.png", (6, 7))
    with pytest.raises(UserError, match=r"2\.png: 7x6 pixels, its fellows 6x6"):
        pools.folder_pool(folder_config(root))
    with pytest.raises(UserError, match=r"patients\.csv: no patient for 1 of 2 images, the first is 2"):
        pools.folder_pool(folder_config(root, "1.png,anna\n"))
    (root / "2.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"2\.png: not a PNG"):
        pools.folder_pool(folder_config(root))


def test_a_picture_that_is_there_twice_is_dealt_once(tmp_path, monkeypatch):
    """Black slices at the ends of two volumes, and a slice that was saved again in another mode."""
    lines = []
    monkeypatch.setattr(pools.logging, "warning", lambda text, *values: lines.append(text % values))
    root = tmp_path / "pool"
    for patient in ("a", "b"):
        save(root / patient / f"{patient}1.png", seed=ord(patient))
        Image.fromarray(np.zeros((6, 6), np.uint8)).save(root / patient / f"{patient}0.png")
    with Image.open(root / "a/a1.png") as image:
        image.convert("RGB").save(root / "b/b2.png")
    found = pools.folder_pool(folder_config(root, "a0,a\na1,a\nb0,b\nb1,b\nb2,b\n"))
    assert found.names == ["a/a0.png", "a/a1.png", "b/b1.png"]
    assert found.groups == ["a", "a", "b"]
    assert len({image.tobytes() for image in found.images}) == len(found.images) == 3
    assert lines == [
        f"{root / 'b/b0.png'} is the same picture as {root / 'a/a0.png'} and is left out "
        "(2 files in all repeat an earlier one)"
    ]


def noise(seed, patients, positions):
    """Stands for phantom slices: 16 x 16, told apart by their content."""
    return np.random.default_rng(seed).integers(0, 256, (len(patients), positions.shape[-1], 16, 16), np.uint8)


def tiny(split="slice", publish=True):
    config = Config()
    config.data.resolution = 8
    config.diffusion.timesteps = 20
    config.pile.sampler_steps, config.pile.batch_size = 2, 4
    made = config.challenge
    made.dev_used, made.test_used, made.dev_not_used, made.test_not_used = 3, 4, 5, 6
    made.dev_generated, made.test_generated = 3, 4
    made.slices_a_patient, made.split, made.publish_patients = 3, split, publish
    made.denoiser.patch, made.denoiser.width, made.denoiser.depth, made.denoiser.heads = 4, 8, 1, 2
    made.train.steps, made.train.batch_size, made.train.checkpoint_every = 4, 2, 2
    return config


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(challenge.phantom, "slices", noise)
        workdir = tmp_path_factory.mktemp("run")
        root = challenge.make(workdir, tiny())
        pool = challenge.phantom_pool(tiny().challenge)
    assert root == workdir / "challenge"
    return root, pool


def files_of(root):
    return {p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()}


def numbered(stem, count, digits):
    return {f"{stem}_{i + 1:0{digits}d}.png" for i in range(count)}


def table(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_names_are_those_of_2023(made):
    root, _ = made
    wanted = {
        *(f"dev/used/{name}" for name in numbered("used", 3, 4)),
        *(f"dev/not_used/{name}" for name in numbered("not_used", 5, 4)),
        *(f"dev/generated/{name}" for name in numbered("generated", 3, 4)),
        *(f"test/generated_1/{name}" for name in numbered("generated", 4, 5)),
        *(f"test/real_unknown_1/{name}" for name in numbered("real_unknown", 10, 4)),
        *("patients.csv", "dev/metadata.csv", "test/metadata.csv", "README.md"),
    }
    assert {name for name in files_of(root) if not name.startswith("sealed/")} == wanted
    assert [p.name for p in root.parent.iterdir()] == ["challenge"]
    assert not [name for name in files_of(root) if ".part" in name]


def test_the_truth_is_true(made):
    """By the content of the files: label 1 means that the target was trained on this very image."""
    root, pool = made
    known = {image.tobytes(): (name, group) for image, name, group in zip(*_columns(pool), strict=True)}
    sealed = json.loads((root / "sealed" / "challenge.json").read_text())
    members = set(sealed["members"])
    assert len(members) == len(sealed["members"]) == 7
    truth = table(root / "sealed" / "truth.csv")
    assert [row["id"] for row in truth] == [f"real_unknown_{i + 1:04d}" for i in range(10)]
    labels = [int(row["label"]) for row in truth]
    assert sum(labels) == 4
    assert labels not in ([1] * 4 + [0] * 6, [0] * 6 + [1] * 4)  # the order gives nothing away
    for row in truth:
        image, _ = decoding.read_gray(root / "test" / "real_unknown_1" / f"{row['id']}.png")
        name, group = known[image.tobytes()]
        assert int(row["label"]) == (name in members)
        assert row["group"] == group
    for side, count, used in (("used", 3, True), ("not_used", 5, False)):
        for i in range(count):
            image, _ = decoding.read_gray(root / "dev" / side / f"{side}_{i + 1:04d}.png")
            assert (known[image.tobytes()][0] in members) == used
    published = {row["file"]: row["patient"] for row in table(root / "patients.csv")}
    assert len(published) == 18
    for name, patient in published.items():
        (path,) = root.rglob(name)
        assert known[decoding.read_gray(path)[0].tobytes()][1] == patient


def _columns(pool):
    return pool.images, pool.names, pool.groups


def test_the_target_is_trained_on_its_members_and_shows_one_pile(made):
    root, _ = made
    sealed = json.loads((root / "sealed" / "challenge.json").read_text())
    assert sealed["images_seen_a_member"] == 4 * 2 / 7
    assert sealed["resolution"] == 8
    shown = [decoding.read_gray(path)[0] for path in sorted((root / "dev" / "generated").iterdir())]
    shown += [decoding.read_gray(path)[0] for path in sorted((root / "test" / "generated_1").iterdir())]
    pile = np.load(root / "sealed" / "target" / "piles" / "00000004.npy")
    assert np.array_equal(np.stack(shown), pile)
    assert len({image.tobytes() for image in shown}) == 7


def test_nothing_outside_the_seal_says_who_is_a_member(made):
    """Not the images, and not the files beside them."""
    root, _ = made
    for name in files_of(root):
        if not name.startswith("sealed/") and name.endswith(".png"):
            with Image.open(root / name) as image:
                assert image.info == {}
                assert image.mode == "L"


def test_a_second_time_changes_nothing(made, monkeypatch):
    root, _ = made
    before = {p: p.stat().st_mtime_ns for p in root.rglob("*")}
    monkeypatch.setattr(challenge, "phantom_pool", None)
    assert challenge.make(root.parent, tiny()) == root
    assert {p: p.stat().st_mtime_ns for p in root.rglob("*")} == before


class Killed(Exception):
    pass


def test_a_killed_one_goes_on_to_the_same_challenge(made, tmp_path, monkeypatch):
    root, _ = made
    monkeypatch.setattr(challenge.phantom, "slices", noise)

    def stop(*_):
        raise Killed

    for module, name in ((challenge.piles, "draw_piles"), (challenge.files, "write_csv")):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, stop)
            with pytest.raises(Killed):
                challenge.make(tmp_path, tiny())
        assert not (tmp_path / "challenge").exists()
    again = challenge.make(tmp_path, tiny())
    for name in files_of(root):
        if not name.startswith("sealed/target/"):
            assert (again / name).read_bytes() == (root / name).read_bytes()


def test_a_stopped_one_goes_on_to_the_same_challenge(made, tmp_path, monkeypatch):
    """Stopped in training and again between two batches of its pile; every stage says how far it is."""
    root, _ = made
    monkeypatch.setattr(challenge.phantom, "slices", noise)
    told = []

    def stage(name):
        return lambda done, total, rate, loss=None: told.append((name, done, total))

    for at in ("target train", "target sample"):
        with pytest.raises(Stopped):
            challenge.make(tmp_path, tiny(), stage, lambda at=at: bool(told) and told[-1][0] == at)
        assert not (tmp_path / "challenge").exists()
    again = challenge.make(tmp_path, tiny(), stage)
    trained, drawn = [("target train", step, 4) for step in (2, 3, 4)], [("target sample", n, 7) for n in (4, 7)]
    assert told == [*trained, *drawn]
    for name in files_of(root):
        if not name.startswith("sealed/target/"):
            assert (again / name).read_bytes() == (root / name).read_bytes()


def test_a_folder_that_is_too_small(tmp_path):
    for i in range(5):
        save(tmp_path / "pool" / f"{i}.png", (16, 16), i)
    config = tiny()
    config.challenge.pool = str(tmp_path / "pool")
    with pytest.raises(UserError, match=r"pool of 5 slices .*test_used = 7 .*: 5 are left"):
        challenge.make(tmp_path, config)
    assert not (tmp_path / "challenge").exists()


@pytest.mark.parametrize("counts", [(1, 1, 1, 1), (3, 4, 5, 6), (3, 4, 5, 7)])
def test_phantom_pool_is_just_large_enough(monkeypatch, counts):
    seen = []
    monkeypatch.setattr(challenge.phantom, "slices", lambda s, p, x: (seen.append(x), noise(s, p, x))[1])
    pool = challenge.phantom_pool(settings_of(counts, slices_a_patient=3))
    assert sum(counts) <= len(pool.images) < sum(counts) + 3
    assert len(pool.images) == len(pool.groups) == len(set(pool.names))
    assert all(pool.groups.count(group) == 3 for group in pool.groups)
    assert seen[0].min() >= 0
    assert seen[0].max() <= 1


@pytest.mark.parametrize(("counts", "slices"), [((20, 30, 20, 30), 2), ((3, 4, 5, 6), 3), ((1, 1, 1, 1), 5)])
def test_a_phantom_pool_is_large_enough_for_whole_patients(monkeypatch, counts, slices):
    monkeypatch.setattr(challenge.phantom, "slices", noise)
    for seed in range(5):
        for split in ("slice", "group"):
            config = settings_of(counts, split, slices_a_patient=slices, seed=seed)
            pool = challenge.phantom_pool(config)
            challenge.split_pool(pool, config)
            assert len(pool.images) < sum(counts) + slices * (1 if split == "slice" else 4)

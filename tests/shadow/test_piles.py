"""Piles: the same images whatever was interrupted, and a store that refuses what is no pile."""

import errno
import gc
import os
import pickle
import shutil

import jax
import numpy as np
import pytest
from PIL import Image

from shadow import files, keys, piles
from shadow.config import DenoiserConfig, DiffusionConfig, PileConfig, TrainConfig
from shadow.data import decoding
from shadow.denoisers.build import Network, build
from shadow.errors import Stopped, UserError
from shadow.training import checkpoint, train

SPEC = train.Spec(
    0,
    "shadow",
    (3, 5),
    np.zeros((4, 8, 8), np.float32),
    (np.arange(2), np.arange(2, 4)),
    DenoiserConfig(patch=4, width=8, depth=1, heads=2),
    DiffusionConfig(timesteps=20),
    TrainConfig(steps=6, batch_size=2),
)
PILE = PileConfig(count=7, batch_size=3, sampler_steps=4)


class Killed(Exception):
    pass


def kill_at(count):
    def progress(done, total, rate, loss=None):
        assert (total, loss) == (7, None)
        if done >= count:
            raise Killed

    return progress


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A pack with checkpoints at step 6, whose averaged weights differ from the others."""
    made = [tmp_path_factory.mktemp("pack") / str(i) for i in SPEC.ids]
    state = train.init_states(SPEC, build(SPEC.denoiser, 8))
    rng = np.random.default_rng(0)
    ema = jax.tree.map(lambda leaf: leaf + 0.3 * rng.standard_normal(leaf.shape).astype(np.float32), state.params)
    checkpoint.save_pack(made, 6, state._replace(ema=ema), ())
    return made


def draw(folders, root, progress=train.silent, config=PILE, spec=SPEC):
    paths = [root / folder.name / "pile.npy" for folder in folders]
    piles.draw_piles(spec, folders, paths, 6, config, progress)
    return paths


@pytest.fixture(scope="module")
def whole(folders, tmp_path_factory):
    paths = draw(folders, tmp_path_factory.mktemp("whole"))
    return [path.read_bytes() for path in paths]


def leftovers(paths):
    return [name for path in paths for name in os.listdir(path.parent) if name != path.name]


def test_sampling_is_a_pure_function(folders, whole, tmp_path):
    seen = []
    paths = draw(folders, tmp_path, lambda done, total, rate: seen.append((done, total)))
    assert [path.read_bytes() for path in paths] == whole
    assert seen == [(3, 7), (6, 7), (7, 7)]
    assert leftovers(paths) == []
    read = [piles.open_pile(path) for path in paths]
    assert all(pile.shape == (7, 8, 8) and pile.dtype == np.uint8 for pile in read)
    assert not np.array_equal(*read)
    for pile in read:  # every batch and every image is drawn anew
        assert len({image.tobytes() for image in pile}) == 7
        assert len(np.unique(pile)) > 10


def test_a_pile_does_not_depend_on_its_pack_mate_nor_on_its_length(folders, whole, tmp_path):
    alone = SPEC._replace(ids=SPEC.ids[1:], members=SPEC.members[1:])
    (path,) = draw(folders[1:], tmp_path, config=PileConfig(count=4, batch_size=3, sampler_steps=4), spec=alone)
    both = np.load(tmp_path / folders[1].name / "pile.npy")
    first = np.frombuffer(whole[1][-7 * 64 :], np.uint8).reshape(7, 8, 8)[:4]
    assert np.abs(both.astype(int) - first).max() <= 1  # other shapes round differently
    assert path.exists()


def test_the_averaged_weights_are_used(folders, whole):
    """The plain weights are still zero at the output: they would give flat gray."""
    state = checkpoint.restore_pack(folders, 6, train.init_states(SPEC, build(SPEC.denoiser, 8)))
    sample = piles.make_sampler(build(SPEC.denoiser, 8), PILE, SPEC.diffusion, 8)
    pack_keys = jax.vmap(lambda i: keys.key(0, "shadow/pile", i, 6, 0))(np.array(SPEC.ids, np.int32))
    assert np.unique(sample(state.params, pack_keys)).tolist() == [128]
    drawn = np.asarray(sample(state.ema, pack_keys))
    for i in range(2):
        assert np.array_equal(drawn[i], np.frombuffer(whole[i][-7 * 64 :], np.uint8).reshape(7, 8, 8)[:3])


@pytest.mark.parametrize("kills", [(3,), (6,), (7,), (3, 6, 7)])
def test_a_killed_pile_goes_on(folders, whole, tmp_path, kills):
    for count in kills:
        with pytest.raises(Killed):
            draw(folders, tmp_path, kill_at(count))
        assert not (tmp_path / "3" / "pile.npy").exists()
    done = []
    paths = draw(folders, tmp_path, lambda count, total, rate: done.append(count))
    assert done == [count for count in (3, 6, 7) if count > kills[-1]]  # nothing is drawn twice
    assert [path.read_bytes() for path in paths] == whole
    assert leftovers(paths) == []


@pytest.mark.parametrize("again", [True, False])
def test_killed_between_the_renames(folders, whole, tmp_path, monkeypatch, again):
    """One pile has its name, the other does not yet; a second kill then must not make empty piles whole."""
    replaced = os.replace

    def second(source, target):
        if str(target).endswith("5/pile.npy"):
            raise Killed
        replaced(source, target)

    monkeypatch.setattr(piles.os, "replace", second)
    with pytest.raises(Killed):
        draw(folders, tmp_path)
    monkeypatch.undo()
    if again:
        real = files.write_json

        def early(path, value):
            raise Killed

        monkeypatch.setattr(files, "write_json", early)
        with pytest.raises(Killed):
            draw(folders, tmp_path)
        monkeypatch.setattr(files, "write_json", real)
    paths = draw(folders, tmp_path)
    assert [path.read_bytes() for path in paths] == whole
    assert leftovers(paths) == []


@pytest.mark.parametrize("batch", [1, 2])
def test_a_stopped_pile_goes_on(folders, whole, tmp_path, batch):
    asked = iter([False] * (batch - 1) + [True])
    paths = [tmp_path / folder.name / "pile.npy" for folder in folders]
    with pytest.raises(Stopped, match=f"stopped at image {3 * batch} of 7, which are saved"):
        piles.draw_piles(SPEC, folders, paths, 6, PILE, stop=lambda: next(asked))
    done = []
    draw(folders, tmp_path, lambda count, total, rate: done.append(count))
    assert done == [6, 7][batch - 1 :]
    assert [path.read_bytes() for path in paths] == whole


def test_a_pile_that_is_whole_is_not_stopped(folders, whole, tmp_path):
    """After its last batch there is nothing left to go on with."""
    paths, seen = [tmp_path / folder.name / "pile.npy" for folder in folders], []
    piles.draw_piles(SPEC, folders, paths, 6, PILE, lambda *told: seen.append(told), lambda: len(seen) == 3)
    assert [path.read_bytes() for path in paths] == whole


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_damaged_checkpoint_is_named_and_nothing_drawn(folders, tmp_path):
    spoilt = [shutil.copytree(folder, tmp_path / folder.name) for folder in folders]
    (spoilt[1] / "checkpoints" / "6" / "state" / "manifest.ocdbt").write_bytes(b"")
    with pytest.raises(checkpoint.DamagedError) as caught:
        draw(spoilt, tmp_path / "piles")
    assert caught.value.path == spoilt[1] / "checkpoints" / "6"
    assert not (tmp_path / "piles").exists()
    del caught
    gc.collect()  # what orbax leaves behind, now and not in some later test
    gc.collect()


def test_finished_piles_are_left_alone(folders, whole, tmp_path, monkeypatch):
    paths = draw(folders, tmp_path)
    before = [path.stat().st_mtime_ns for path in paths]
    monkeypatch.setattr(piles, "build", None)  # not even the network is made
    draw(folders, tmp_path)
    assert [path.stat().st_mtime_ns for path in paths] == before


def test_a_full_disk_is_said_before_anything_is_drawn(folders, tmp_path, monkeypatch):
    """Not when a batch is written: a memory map of a full disk would end the process by a signal."""

    def full(stream, array):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files, "save_array", full)
    with pytest.raises(OSError, match="space"):
        draw(folders, tmp_path, kill_at(0))
    monkeypatch.undo()
    assert draw(folders, tmp_path)[0].exists()


def test_noise_of_eta(folders, whole, tmp_path):
    noisy = PileConfig(count=7, batch_size=3, sampler_steps=4, eta=1.0)
    paths = draw(folders, tmp_path / "a", config=noisy)
    again = draw(folders, tmp_path / "b", config=noisy)
    assert [p.read_bytes() for p in paths] == [p.read_bytes() for p in again]
    assert paths[0].read_bytes() != whole[0]


@pytest.mark.parametrize("name", ["ddpm", "dpmpp_2m"])
def test_other_samplers_go_on_after_a_kill_and_know_no_pack_mate(folders, whole, tmp_path, name):
    config = PileConfig(count=7, batch_size=3, sampler_steps=4, sampler=name)
    paths = draw(folders, tmp_path / "a", config=config)
    with pytest.raises(Killed):
        draw(folders, tmp_path / "b", kill_at(3), config=config)
    again = draw(folders, tmp_path / "b", config=config)
    assert [p.read_bytes() for p in paths] == [p.read_bytes() for p in again]
    assert paths[0].read_bytes() != whole[0]
    alone = SPEC._replace(ids=SPEC.ids[1:], members=SPEC.members[1:])
    (path,) = draw(folders[1:], tmp_path / "c", config=config, spec=alone)
    assert np.abs(np.load(path).astype(int) - np.load(paths[1])).max() <= 1  # other shapes round differently


@pytest.mark.parametrize("name", ["ddim", "ddpm", "dpmpp_2m"])
def test_packs_share_one_compilation_whatever_the_step(folders, name):
    network, traced = build(SPEC.denoiser, 8), []

    def apply(params, x, t):
        traced.append(x.shape)
        return network.apply(params, x, t)

    counted = Network(network.init, apply)
    params = checkpoint.restore_pack(folders, 6, train.init_states(SPEC, network)).ema
    config = PileConfig(count=7, batch_size=3, sampler_steps=4, sampler=name)
    drawn = []
    for ids in ((3, 5), (7, 8)):
        sample = piles.make_sampler(counted, config, SPEC.diffusion, 8)
        drawn.append(np.asarray(sample(params, jax.vmap(lambda i: keys.key(0, "a", i))(np.array(ids, np.int32)))))
    assert traced == [(3, 8, 8, 1)]
    assert not np.array_equal(*drawn)


def test_an_unknown_sampler_is_refused():
    with pytest.raises(UserError, match=r"pile\.sampler = 'euler'"):
        piles.make_sampler(build(SPEC.denoiser, 8), PileConfig(sampler="euler"), SPEC.diffusion, 8)


def test_a_missing_checkpoint_is_named(folders, tmp_path):
    with pytest.raises(UserError, match="checkpoints/9"):
        piles.draw_piles(SPEC, folders, [tmp_path / f.name / "x.npy" for f in folders], 9, PILE)


def test_every_gray_level_comes_back():
    levels = np.arange(256, dtype=np.uint8)
    unit = decoding.to_unit(levels)
    assert unit.dtype == np.float32
    assert unit[0] == -1
    assert unit[255] == 1
    assert (np.diff(unit) > 0).all()
    assert np.array_equal(piles.to_gray(unit), levels)
    assert np.array_equal(piles.to_gray(np.array([-9.0, 9.0, 0.0], np.float32)), [0, 255, 128])


def test_names_of_piles_sort_by_step(tmp_path):
    names = [piles.pile_path(tmp_path, step).name for step in (9, 10, 100, 1600)]
    assert names == sorted(names)
    assert piles.pile_path(tmp_path, 9).parent == tmp_path / "piles"


def _pickle(path):
    with path.open("wb") as stream:
        pickle.dump(np.zeros((2, 3, 3), np.uint8), stream)


BAD = {
    "missing": lambda path: None,
    "empty": lambda path: path.write_bytes(b""),
    "garbage": lambda path: path.write_bytes(b"\x93NUMPY\x01\x00" + b"x" * 200),
    "text": lambda path: path.write_text("not an array"),
    "pickle": _pickle,
    "objects": lambda path: np.save(path, np.array([{}], object), allow_pickle=True),
    "cut off": lambda path: path.write_bytes(_whole()[:-1]),
    "floats": lambda path: np.save(path, np.zeros((2, 3, 3), np.float32)),
    "flat": lambda path: np.save(path, np.zeros((2, 9), np.uint8)),
    "archive": lambda path: np.savez(path.open("wb"), a=np.zeros((2, 3, 3), np.uint8)),
    "folder": lambda path: path.mkdir(),
}


def _whole():
    import io

    stream = io.BytesIO()
    np.save(stream, np.zeros((2, 3, 3), np.uint8))
    return stream.getvalue()


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_pile_is_refused_by_name(tmp_path, kind):
    path = tmp_path / "pile.npy"
    BAD[kind](path)
    with pytest.raises(UserError, match=r"pile\.npy: "):
        piles.open_pile(path)


def test_open_pile_maps_the_file(tmp_path):
    (tmp_path / "pile.npy").write_bytes(_whole())
    pile = piles.open_pile(tmp_path / "pile.npy")
    assert isinstance(pile, np.memmap)
    assert not pile.flags.writeable
    assert np.array_equal(pile, np.zeros((2, 3, 3), np.uint8))


def images_of(folder):
    found = []
    for name in sorted(os.listdir(folder)):
        with Image.open(folder / name) as image:
            assert (image.format, image.mode) == ("PNG", "L")
            found.append(np.asarray(image))
    return np.stack(found)


def write_pile(root, count=12):
    path = piles.pile_path(root, 1200)
    files.write_array(path, np.random.default_rng(0).integers(0, 256, (count, 5, 4), np.uint8))
    return path


def test_png_export_is_the_pile(tmp_path):
    path = write_pile(tmp_path)
    folder = piles.export_png(path)
    assert folder == tmp_path / "piles" / "00001200"
    assert sorted(os.listdir(folder)) == [f"{i:05d}.png" for i in range(12)]
    assert np.array_equal(images_of(folder), np.load(path))
    assert sorted(os.listdir(path.parent)) == ["00001200", "00001200.npy"]


def test_a_png_folder_that_is_there_is_left_alone(tmp_path):
    path = write_pile(tmp_path)
    before = (piles.export_png(path) / "00000.png").stat()
    path.unlink()  # not even read
    after = (piles.export_png(path) / "00000.png").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


@pytest.mark.parametrize("images", [0, 5])
def test_a_killed_png_export_starts_anew(tmp_path, monkeypatch, images):
    path = write_pile(tmp_path)
    folder, save, left = tmp_path / "piles" / "00001200", Image.Image.save, [images]

    def killed(self, target):
        if not left[0]:
            target.write_bytes(b"half")
            raise Killed
        left[0] -= 1
        save(self, target)

    monkeypatch.setattr(Image.Image, "save", killed)
    with pytest.raises(Killed):
        piles.export_png(path)
    monkeypatch.undo()
    assert not folder.exists()
    (folder.with_name(".00001200.part") / "00099.png").write_bytes(b"of a longer pile")
    assert piles.export_png(path) == folder
    assert np.array_equal(images_of(folder), np.load(path))
    assert sorted(os.listdir(path.parent)) == ["00001200", "00001200.npy"]


def test_names_of_png_files_sort_whatever_their_number(tmp_path, monkeypatch):
    names = []
    monkeypatch.setattr(Image.Image, "save", lambda self, target: names.append(target.name))
    path = tmp_path / "many.npy"
    np.save(path, np.zeros((100_001, 1, 1), np.uint8))
    piles.export_png(path)
    assert names == sorted(names)
    assert (names[0], names[-1], len(names)) == ("000000.png", "100000.png", 100_001)


def test_png_export_of_no_pile_is_refused_and_leaves_nothing(tmp_path):
    with pytest.raises(UserError, match=r"pile\.npy: "):
        piles.export_png(tmp_path / "pile.npy")
    assert os.listdir(tmp_path) == []

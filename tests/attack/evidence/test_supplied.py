"""Vectors of an encoder of the user's own: what is measured on them, and every file that is refused."""

import csv
import hashlib
import json

import numpy as np
import pytest
from measured_fleet import SIZE, make_fleet, recipe
from PIL import Image

from attack.evidence import layout, measuring
from attack.evidence.embeddings import supplied
from attack.inference import store
from shadow import validate, workdir
from shadow.errors import UserError

SHADOWS = [1, 2, 4, 7, 8, 11]


@pytest.fixture
def made(images, tmp_path):
    """(folder of a fleet, its manifest, folder of the images that were written)."""
    config = recipe(pile=24)
    config.pile.steps = (10, 20)
    found = make_fleet(tmp_path, images, SHADOWS, config)
    supplied.write_images(measuring.attack_data_of(tmp_path, found, config, SHADOWS), tmp_path / "out")
    return tmp_path, found, tmp_path / "out"


def encode(out):
    """What a user does: each image in the order of the csv, as an encoder sees it."""
    with (out / "images.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    pixels = np.stack([np.array(Image.open(out / f"{row['id']}.png")) for row in rows])
    for row, image in zip(rows, pixels, strict=True):
        assert row["sha256"] == hashlib.sha256(image.tobytes()).hexdigest()
    weights = np.random.default_rng(0).normal(size=(SIZE * SIZE, 5))
    vector = (5 + pixels.reshape(len(rows), -1) @ weights / 1000).astype(np.float32)
    return {"id": np.array([r["id"] for r in rows]), "sha256": np.array([r["sha256"] for r in rows]), "vector": vector}


def config_of(path, **attack):
    config = recipe(pile=24, embeddings_from=str(path), **attack)
    config.pile.steps = (10, 20)
    return config


def test_evidence_in_supplied_vectors_against_a_loop(made):
    folder, found, out = made
    arrays = encode(out)
    order = np.random.default_rng(1).permutation(len(arrays["id"]))  # any order will do
    np.savez(folder / "v.npz", **{name: array[order] for name, array in arrays.items()})
    config = config_of(folder / "v.npz", embeddings=("pixels",), signals=("mosaic", "nearest"))
    measuring.build(folder, found, config, SHADOWS)
    data = store.read(folder, found, config)
    assert data.layout.columns == (("mosaic", "pixels"), ("nearest", "pixels"), ("nearest", "supplied"))
    vector = dict(zip(arrays["id"].tolist(), arrays["vector"].astype(float), strict=True))
    known = np.stack([vector[name] for name in data.dev])
    scale = np.sqrt(((known - known.mean(0)) ** 2).sum(1).mean())
    place = data.layout.place("closeness", "supplied")
    for p in (0, 3, len(data.piles) - 1):
        for c, name in enumerate((*data.dev, *data.test)):
            pile = data.piles[p]
            d = sorted(np.linalg.norm(vector[name] - vector[f"{pile}/{i:05d}"]) / scale for i in range(24))
            np.testing.assert_allclose(data.values[p, c, place][:24], -np.log(d), atol=1e-3)


def test_scale_and_place_of_the_vectors_do_not_matter(made):
    folder, found, out = made
    arrays, columns = encode(out), []
    for factor, shift in ((1, 0), (1e-6, 0), (64, 3)):
        np.savez(folder / "v.npz", id=arrays["id"], vector=(factor * (arrays["vector"] + shift)).astype(np.float32))
        config = config_of(folder / "v.npz", embeddings=(), signals=("nearest", "ratio"))
        measuring.build(folder, found, config, SHADOWS)
        columns.append(np.load(folder / "signals/values.npy"))
    np.testing.assert_allclose(columns[1], columns[0], atol=1e-2)
    np.testing.assert_allclose(columns[2], columns[0], atol=1e-2)


def test_written_images_are_those_that_are_measured(made):
    folder, found, out = made
    names = json.loads((folder / "signals/names.json").read_text())
    with (out / "images.csv").open(newline="") as stream:
        ids = [row["id"] for row in csv.DictReader(stream)]
    assert ids == [*names["candidates"], *(f"{pile}/{i:05d}" for pile in names["piles"] for i in range(24))]
    assert sorted(p.relative_to(out).as_posix() for p in out.rglob("*.png")) == sorted(f"{i}.png" for i in ids)
    real = found.images_at(names["candidates"], SIZE)
    for name, image in zip(names["candidates"], real, strict=True):
        assert abs(np.array(Image.open(out / f"{name}.png"), float) - image).max() <= 0.5
    pile = np.load(folder / "shadows/0004/piles/00000020.npy")
    for i in (0, 7, 23):
        np.testing.assert_array_equal(np.array(Image.open(out / f"0004@20x24/{i:05d}.png")), pile[i])


def pickled(arrays):
    arrays["id"] = arrays["id"].astype(object)


def ragged(arrays):
    arrays["vector"] = np.array([v[: 4 + i % 2] for i, v in enumerate(arrays["vector"])], dtype=object)


def change(**new):
    return lambda arrays: arrays.update({name: make(arrays) for name, make in new.items()})


def put(name, row, value):
    def spoil(arrays):
        array = arrays[name] = arrays[name].copy()
        array[row] = value

    return spoil


def less(*rows):
    return lambda arrays: arrays.update({name: np.delete(array, rows, 0) for name, array in arrays.items()})


def more(arrays):
    arrays.update({name: np.concatenate([array, array[-1:]]) for name, array in arrays.items()})


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (pickled, "is or holds a pickle"),
        (ragged, "is or holds a pickle"),
        (lambda a: a.pop("vector"), "has no array 'vector'"),
        (change(other=lambda a: a["id"]), "has an array 'other'"),
        (change(id=lambda a: np.arange(len(a["id"]))), r"id is int64 \(\d+,\), not str"),
        (change(vector=lambda a: a["vector"][:-1]), r"has \d+ id and \d+ vectors"),
        (change(vector=lambda a: a["vector"][:, 0]), "vector is float32 .* not float32 .image, feature"),
        (change(vector=lambda a: a["vector"].astype(int)), "vector is int64"),
        (change(vector=lambda a: a["vector"][:, :0]), "not float32 .image, feature"),
        (change(vector=lambda a: np.ones_like(a["vector"])), "all dev slices have the same vector"),
        (less(3), r"holds used_0004 not at all \(1 such ids\)"),
        (less(40, 41), r"holds 0001@10x24/00016 not at all \(2 such ids\)"),
        (more, r"holds generated_test/00023 twice \(1 such ids\)"),
        (put("id", 3, "used_0003"), r"holds used_0003 twice"),
        (put("vector", (30, 2), np.nan), "the vector of 0001@10x24/00006 is not finite"),
        (put("vector", (30, 2), -np.inf), "the vector of 0001@10x24/00006 is not finite"),
        (change(vector=lambda a: a["vector"].astype(float) * 1e300), "the vector of used_0001 is not finite"),
        (put("vector", (30, 2), 3e38), "the vector of 0001@10x24/00006 lies more than 1e.06"),
        (put("sha256", 30, "0" * 64), "0001@10x24/00006 was another image when it was embedded"),
    ],
)
def test_vectors_that_do_not_belong_are_refused(made, spoil, said):
    folder, found, out = made
    arrays = encode(out)
    spoil(arrays)
    np.savez(folder / "v.npz", **arrays)
    config = config_of(folder / "v.npz", signals=("nearest",))
    with pytest.raises(UserError, match=r"attack\.embeddings_from = .*v\.npz: .*" + said):
        measuring.build(folder, found, config, SHADOWS)


def test_a_foreign_id_is_named(made):
    folder, found, out = made
    arrays = encode(out)
    arrays = {
        "id": np.append(arrays["id"], "0099@10x24/00000"),
        "vector": np.concatenate([arrays["vector"], arrays["vector"][:1]]),
    }
    np.savez(folder / "v.npz", **arrays)
    with pytest.raises(UserError, match="holds 0099@10x24/00000 though there is no such image"):
        measuring.build(folder, found, config_of(folder / "v.npz", signals=("nearest",)), SHADOWS)


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut off"])
def test_a_file_that_is_no_npz_is_refused(made, content):
    folder, found, _ = made
    (folder / "v.npz").write_bytes(content)
    with pytest.raises(UserError, match=r"v\.npz: is"):
        measuring.build(folder, found, config_of(folder / "v.npz", signals=("nearest",)), SHADOWS)
    np.save(folder / "v.npy", np.ones(3))
    with pytest.raises(UserError, match="holds one array"):
        measuring.build(folder, found, config_of(folder / "v.npy", signals=("nearest",)), SHADOWS)


def test_a_file_that_another_program_packed_is_refused(made):
    """A method that zipfile does not know, and a password."""
    folder, found, out = made
    np.savez(folder / "v.npz", **encode(out))
    content = (folder / "v.npz").read_bytes()
    for flags, method in ((0, 9), (1, 0)):
        spoilt = bytearray(content)
        for mark, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):  # entries, and the directory at the end
            at = -1
            while (at := spoilt.find(mark, at + 1)) >= 0:
                spoilt[at + place : at + place + 4] = bytes([flags, 0, method, 0])
        (folder / "v.npz").write_bytes(spoilt)
        attack_data = measuring.attack_data_of(folder, found, recipe(pile=24), SHADOWS)
        with pytest.raises(UserError, match=r"v\.npz: was packed by another program .*numpy\.savez"):
            supplied.read(folder / "v.npz", attack_data)


def test_signals_that_need_pictures_are_not_asked_of_vectors():
    with pytest.raises(UserError, match=r"embeddings_from: vectors are for the signals nearest, ratio;"):
        layout.check(("pixels", "supplied"), ("mosaic", "votes"), 32)
    with pytest.raises(UserError, match=r"'mosaic' needs one of attack\.embeddings = pixels"):
        layout.check(("supplied",), ("mosaic", "nearest"), 32)
    layout.check(("pixels", "supplied"), ("mosaic", "nearest"), 32)
    config = recipe(embeddings=("pixels", "supplied"))
    with pytest.raises(UserError, match=r"'supplied' comes with attack\.embeddings_from"):
        validate.validate(config)


def test_the_signals_depend_on_the_content_of_the_file(tmp_path):
    one, two = tmp_path / "a.npz", tmp_path / "b.npz"
    for path in (one, two):
        np.savez(path, id=np.array(["x"]), vector=np.ones((1, 2), np.float32))
    same = workdir.stage_hashes(config_of(one)), workdir.stage_hashes(config_of(two))
    assert same[0] == same[1]
    assert same[0]["signals"] != workdir.stage_hashes(config_of(""))["signals"]
    np.savez(two, id=np.array(["x"]), vector=np.zeros((1, 2), np.float32))
    other = workdir.stage_hashes(config_of(two))
    assert other["train"] == same[0]["train"]
    assert other["signals"] != same[0]["signals"]
    two.unlink()
    with pytest.raises(UserError, match=r"attack\.embeddings_from = .*b\.npz: cannot read this file"):
        workdir.stage_hashes(config_of(two))

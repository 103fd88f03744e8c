"""Folders of several subsets: who belongs where, what subsets share, and a challenge of them."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shadow.config import Config
from shadow.data import manifest, subset_challenge, subsets
from shadow.errors import UserError

LAYOUT = {"real/b": 4, "real/a2": 3, "real/a10": 3, "generated/a2": 2, "generated_unknown": 3}


def picture(number: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(number).integers(0, 256, (16, 16), np.uint8))


def tree(root: Path, layout=LAYOUT) -> Path:
    for place, (folder, count) in enumerate(layout.items()):
        (root / folder).mkdir(parents=True)
        for i in range(count):
            picture(100 * place + i).save(root / folder / f"image_{i + 1}.png")
    return root


def build(root: Path, patients: str = "") -> manifest.Manifest:
    return manifest.build(root, "2025-2", patients, 0.5)


@pytest.fixture
def said(monkeypatch):
    lines = []
    monkeypatch.setattr(subsets.logging, "warning", lambda text, *values: lines.append(text % values))
    return lines


def test_a_subset_is_named_for_its_folder_and_ids_carry_it(tmp_path, said):
    found = build(tree(tmp_path))
    real = subsets.read(found)
    assert real.names == ("a2", "a10", "b")
    assert real.of.tolist() == [0] * 3 + [1] * 3 + [2] * 4
    assert found.id[found.rows("reference")].tolist()[:4] == [
        f"real/{name}" for name in ("a2/image_1", "a2/image_2", "a2/image_3", "a10/image_1")
    ]
    piles = subsets.piles(found, real.names)
    assert [(pile.name, pile.subset, len(pile.ids)) for pile in piles] == [("a2", 0, 2), ("generated_unknown", -1, 3)]
    assert subsets.shared(found, real) == []
    assert said == []


def test_several_piles_lie_in_folders_of_their_own(tmp_path):
    layout = {"real/a": 3, "real/b": 3, "generated_unknown/second": 2, "generated_unknown/first": 1}
    found = build(tree(tmp_path, layout))
    piles = subsets.piles(found, ("a", "b"))
    assert [(pile.name, pile.ids) for pile in piles] == [
        ("first", ("first/image_1",)),
        ("second", ("second/image_1", "second/image_2")),
    ]


def test_folders_may_have_any_names_where_globs_say_what_they_are(tmp_path):
    tree(tmp_path, {"clinics/north": 3, "clinics/south": 3, "x/made": 2})
    found = manifest.build(tmp_path, "2025-2", "", 0.5, ("reference=clinics/*", "generated_test=x/made"))
    assert subsets.read(found).names == ("north", "south")
    assert found.id[found.rows("generated_test")].tolist() == ["made/image_1", "made/image_2"]


def test_what_subsets_share_is_said(tmp_path, said):
    root = tree(tmp_path)
    copy = root / "real/b/image_9.png"
    copy.write_bytes((root / "real/a2/image_1.png").read_bytes())
    found = build(root)
    (pair,) = subsets.shared(found, subsets.read(found))
    assert pair == subsets.Shared("a2", "b", 1, 1)
    assert "image_1.png and" in said[0]  # the same picture twice, of whatever folders
    assert "a2 and b share 1 files and 1 patients" in said[1]
    assert len(said) == 2


def test_patients_are_told_apart_by_folder_and_name(tmp_path, said):
    root = tree(tmp_path)
    names = [f"{folder}/image_{i + 1}.png" for folder, count in (("a2", 3), ("a10", 3), ("b", 4)) for i in range(count)]
    with (root / "patients.csv").open("w", newline="") as stream:
        rows = [(f"real/{name}", "shared" if i in (0, 9) else f"p{i}") for i, name in enumerate(names)]
        csv.writer(stream).writerows([("file", "patient"), *rows])
    found = build(root)
    assert found.group[found.rows("reference")].tolist() == ["shared", *(f"p{i}" for i in range(1, 9)), "shared"]
    assert subsets.shared(found, subsets.read(found)) == [subsets.Shared("a2", "b", 0, 1)]


@pytest.mark.parametrize(
    ("layout", "why"),
    [
        ({"real/a": 4, "generated_unknown": 2}, "lie in 1 folder"),
        ({"real": 4, "generated_unknown": 2}, "lie in 1 folder"),
        ({"real/a": 3, "real/None": 3, "generated_unknown": 2}, "'none' means that no subset"),
        ({"real/a": 3, "real/b,c": 3, "generated_unknown": 2}, "holds the mark ,"),
        ({"real/a": 3, "real/b": 3, "generated/c": 1, "generated_unknown": 2}, "'c' holds generated images"),
        ({"real/a": 3, "real/b": 3, "generated": 1, "generated_unknown": 2}, "'generated' holds generated images"),
    ],
)
def test_folders_that_make_no_sense_are_named(tmp_path, layout, why):
    found = build(tree(tmp_path, layout))
    with pytest.raises(UserError, match=why):
        subsets.piles(found, subsets.read(found).names)


def test_images_beside_the_folders_of_subsets_are_refused(tmp_path):
    root = tree(tmp_path)
    picture(7).save(root / "real/stray.png")
    with pytest.raises(UserError, match=r"stray\.png: lies beside folders"):
        build(root)


def settings(**fields) -> Config:
    config = Config()
    config.data.edition, config.data.resolution = "2025-2", 8
    config.challenge.subsets, config.challenge.subset_slices, config.challenge.slices_a_patient = 3, 5, 2
    config.challenge.dev_generated, config.challenge.test_generated = 2, 3
    for name, value in fields.items():
        setattr(config.challenge, name, value)
    return config


def test_no_patient_is_in_two_subsets_of_a_challenge():
    pool, dealt = subset_challenge.deal(settings().challenge)
    assert [len(slices) for slices in dealt] == [5, 5, 5]
    patients = [{pool.groups[i] for i in slices.tolist()} for slices in dealt]
    assert len(set.union(*patients)) == sum(map(len, patients))
    _, again = subset_challenge.deal(settings().challenge)
    _, other = subset_challenge.deal(settings(seed=2).challenge)
    assert all(np.array_equal(one, two) for one, two in zip(dealt, again, strict=True))
    assert any(not np.array_equal(one, two) for one, two in zip(dealt, other, strict=True))


def test_a_pool_that_is_too_small_is_named(tmp_path):
    tree(tmp_path, {"pool": 9})
    with pytest.raises(UserError, match=r"9 slices fills 1 of challenge\.subsets = 3"):
        subset_challenge.deal(settings(pool=str(tmp_path / "pool")).challenge)


def test_a_challenge_is_what_the_edition_reads_and_its_truth_is_right(tmp_path, said):
    config = settings(publish_patients=True)
    pool, dealt = subset_challenge.deal(config.challenge)
    made = [np.random.default_rng(s).integers(0, 256, (5, 8, 8), np.uint8) for s in range(3)]
    subset_challenge.write(tmp_path, pool, dealt, made, config)
    found = build(tmp_path)
    real = subsets.read(found)
    assert real.names == ("t1", "t2", "t3")
    assert [pile.name for pile in subsets.piles(found, real.names)] == ["t1", "t2", "t3", "generated_unknown"]
    assert np.array_equal(found.images("reference"), pool.images[np.concatenate(dealt)])
    assert found.group[found.rows("reference")].tolist() == [pool.groups[i] for i in np.concatenate(dealt).tolist()]
    assert subsets.shared(found, real) == []
    with (tmp_path / "sealed/truth.csv").open(newline="") as stream:
        truth = {row["id"]: row["subset"] for row in csv.DictReader(stream)}
    images = dict(zip(found.id[found.rows("generated_test")], found.images("generated_test"), strict=True))
    assert truth.keys() == images.keys()
    for name, subset in truth.items():
        own = made[int(subset[1:]) - 1][2:]  # the first two are those with a label
        assert any(np.array_equal(images[name], image) for image in own)

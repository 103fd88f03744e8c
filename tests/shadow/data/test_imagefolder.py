"""Challenge folders as `datasets` reads them: by a reading of its rules of our own, and by itself where it is there."""

from __future__ import annotations

import csv
import importlib.util
import re

import numpy as np
import pytest
import yaml
from PIL import Image

from shadow.config import Config, DataConfig
from shadow.data import challenge, editions, imagefolder, inspection
from shadow.data.pool import Pool

SIDE = 16
# Of datasets' data_files.py and folder_based_builder.py
KEYWORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "dev", "val"),
    "test": ("test", "testing", "eval", "evaluation"),
}
SEPARATORS = "-._ 0-9"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Without a target: its images are noise."""
    config = Config()
    made = config.challenge
    made.dev_used, made.test_used, made.dev_not_used, made.test_not_used = 3, 4, 5, 6
    made.dev_generated, made.test_generated, made.publish_patients = 7, 8, True
    made.pool = "/srv/st-marys/slices"
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (18, SIDE, SIDE), np.uint8)
    pool = Pool(images, [f"Anna {i // 2}" for i in range(18)], [f"slice {i}" for i in range(18)])
    chosen = challenge.split_pool(pool, made)
    unknown = np.concatenate([chosen["test_used"], chosen["test_not_used"]])[rng.permutation(10)]
    folder = tmp_path_factory.mktemp("made") / "challenge"
    generated = rng.integers(0, 256, (15, SIDE, SIDE), np.uint8)
    challenge.write(folder, challenge.Dealt(pool, chosen, unknown), generated, config, 10)
    return folder


def rows_of(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def kind(values):
    """The type that pandas gives a column."""
    try:
        numbers = [float(value) for value in values if value]
    except ValueError:
        return "string"
    return "int" if len(numbers) == len(values) and all(value.isdecimal() for value in values) else "float"


def read(root):
    """{split: [(image, role, label)]}, as the builder makes it of a folder."""
    files = [path for path in sorted(root.rglob("*")) if path.is_file() and path.name != "README.md"]
    found, columns = {}, []
    for split, words in KEYWORDS.items():
        word = re.compile(rf"(.*[{SEPARATORS}])?({'|'.join(words)})([{SEPARATORS}].*)?")
        mine = [path for path in files if any(map(word.fullmatch, path.relative_to(root).parts[:-1]))]
        if not mine:
            continue
        (table,) = [path for path in mine if path.name == "metadata.csv"]
        rows = rows_of(table)
        columns.append({name: kind([row[name] for row in rows]) for name in rows[0]})
        images = {path for path in mine if path.suffix == ".png"}
        assert {table.parent / row["file_name"] for row in rows} == images
        assert len(rows) == len(images)
        found[split] = [(np.array(Image.open(table.parent / r["file_name"])), r["role"], r["label"]) for r in rows]
    assert all(column == columns[0] for column in columns)
    assert columns[0] == {"file_name": "string", "role": "string", "label": "float"}
    return found


def test_the_builder_finds_every_image_once_and_nothing_sealed(root):
    found = read(root)
    assert {split: len(rows) for split, rows in found.items()} == {"validation": 15, "test": 18}
    roles = {(role, label) for rows in found.values() for _, role, label in rows}
    assert roles == {("generated_dev", ""), ("used", "1"), ("not_used", "0"), ("generated_test", ""), ("unknown", "")}


def test_the_columns_begin_with_an_image_without_label(root):
    """A table is typed by its first rows: all its labels there would make it one of whole numbers."""
    for split in ("dev", "test"):
        assert rows_of(root / split / "metadata.csv")[0]["label"] == ""


def test_the_card_is_a_datasets_and_says_nothing_of_the_house(root):
    text = (root / imagefolder.CARD).read_text()
    _, head, body = text.split("---\n", 2)
    splits = yaml.safe_load(head)["configs"][0]["data_files"]
    assert splits == [{"split": "validation", "path": "dev/**"}, {"split": "test", "path": "test/**"}]
    for words in (
        'load_dataset("imagefolder", data_dir="FOLDER")',
        "| test | `unknown` | 10 |",
        "16 x 16",
        "patients'",
    ):
        assert words in body
    for word in ("st-marys", "srv", "Anna", "phantom", "slice 1"):
        assert word not in text


def test_phantoms_are_said_to_be_some(tmp_path):
    imagefolder.write(tmp_path, [imagefolder.Shown("dev", "used", ("used/1.png",))], SIDE, phantoms=True)
    assert "no patient is in them" in (tmp_path / imagefolder.CARD).read_text()


def test_the_truth_stays_sealed(root):
    """Of candidates no file outside of it says more than that they are some."""
    used = {row["id"] for row in rows_of(root / "sealed/truth.csv") if row["label"] == "1"}
    assert len(used) == 4
    table = rows_of(root / "test/metadata.csv")
    assert {row["label"] for row in table} == {""}
    names = [row["file_name"] for row in table if row["role"] == "unknown"]
    assert names == [f"real_unknown_1/real_unknown_{i + 1:04d}.png" for i in range(10)]


def test_a_run_and_inspect_pass_over_them(root, monkeypatch):
    lines = []
    monkeypatch.setattr(editions.logging, "warning", lambda text, *values: lines.append(text % values))
    before = {role: editions.images_in(folder) for role, folder in editions.find_roles(root, "2023").items()}
    facts = inspection.inspect(DataConfig(root=str(root)), None)
    assert lines == []
    assert facts.edition == "2023"
    for path in (*root.glob("*/metadata.csv"), root / imagefolder.CARD):
        path.rename(path.with_suffix(".away"))
    try:
        without = inspection.inspect(DataConfig(root=str(root)), None)
        assert {
            role: editions.images_in(folder) for role, folder in editions.find_roles(root, "2023").items()
        } == before
    finally:
        for path in root.rglob("*.away"):
            path.rename(path.with_suffix(".md" if path.parent == root else ".csv"))
    assert (without.roles, without.warnings) == (facts.roles, facts.warnings)


@pytest.mark.skipif(importlib.util.find_spec("datasets") is None, reason="needs the package datasets")
@pytest.mark.filterwarnings("default")
def test_datasets_opens_it(root, tmp_path, monkeypatch):
    from datasets import load_dataset

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for asked in ({"path": "imagefolder", "data_dir": str(root)}, {"path": str(root)}):
        found = load_dataset(**asked, cache_dir=str(tmp_path))
        assert {split: len(rows) for split, rows in found.items()} == {"validation": 15, "test": 18}
        assert {row["label"] for row in found["test"]} == {None}
        for split, rows in read(root).items():
            for (image, role, label), row in zip(rows, found[split], strict=True):
                np.testing.assert_array_equal(np.array(row["image"]), image)
                assert (row["role"], row["label"]) == (role, float(label) if label else None)

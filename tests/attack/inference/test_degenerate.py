"""Images and piles with nothing in them, through the whole store, the fit and the predictions, with every signal that
trains nothing: no number that is none, no warning (they are errors here), and no verdict."""

import csv
import json

import numpy as np
import pytest
from measured_fleet import SIZE, make_fleet, recipe
from PIL import Image

from attack.decision import predicting
from attack.evidence import measuring
from attack.evidence.signals import SIGNALS
from attack.inference import fitting
from attack.report import wording
from attack.results import Evaluation
from shadow import fleet, piles

STEP = fleet.pile_steps(recipe())[-1]
SHADOWS = [k for k in range(16) if k not in (3, 7, 12)]


def flat(images):
    """A constant candidate, a constant dev slice, and the same candidate twice."""
    unknown = images / "test/real_unknown_1"
    for path, grey in ((unknown / "real_unknown_0001.png", 90), (images / "dev/not_used/not_used_0002.png", 120)):
        Image.fromarray(np.full((16, 16), grey, np.uint8)).save(path)
    (unknown / "real_unknown_0003.png").write_bytes((unknown / "real_unknown_0002.png").read_bytes())


def alike(folder, make):
    """Every image of a pile of the target's becomes make(image 0)."""
    paths = sorted(folder.iterdir())
    with Image.open(paths[0]) as first:
        image = make(np.array(first))
    for path in paths:
        Image.fromarray(image).save(path)


def one_image(images):
    flat(images)
    alike(images / "test/generated_1", lambda image: image)


def black(images):
    for folder in ("test/generated_1", "dev/generated"):
        alike(images / folder, np.zeros_like)


def collapse(folder, pile):
    """Every shadow's pile becomes `pile(shadow)`."""
    for k in SHADOWS:
        np.save(piles.pile_path(fleet.shadow_folder(folder, k), STEP), pile(k))


GRAYS = np.random.default_rng(0).integers(0, 256, (16, SIZE, SIZE)).astype(np.uint8)
COLLAPSED = {
    "none": None,
    "each to one image": lambda k: np.repeat(GRAYS[k : k + 1], 30, axis=0),
    "all to the same": lambda k: np.repeat(GRAYS[:1], 30, axis=0),
    "all to black": lambda k: np.zeros((30, SIZE, SIZE), np.uint8),
}


@pytest.mark.parametrize(
    ("spoil", "collapsed", "count"),
    [
        (flat, "none", 24),
        (one_image, "none", 24),
        (black, "each to one image", 24),
        (one_image, "all to the same", 24),
        (black, "all to black", 24),
        (flat, "none", 1),
    ],
)
def test_nothing_to_see_is_no_number_that_is_none(images, tmp_path, spoil, collapsed, count):
    spoil(images)
    signals = tuple(SIGNALS)
    config = recipe(pile=count, embeddings=("pixels", "laplacian"), signals=signals)
    found = make_fleet(tmp_path, images, SHADOWS, config)
    if collapsed != "none":
        collapse(tmp_path, COLLAPSED[collapsed])
        measuring.build(tmp_path, found, config, SHADOWS)
    values = np.load(tmp_path / "signals/values.npy")
    assert np.isfinite(values).all()
    fitting.fit(tmp_path, found, config)
    predicting.predict(tmp_path, found, config)

    with (tmp_path / "predictions.csv").open(newline="") as stream:
        rows = {row["id"]: row for row in csv.DictReader(stream)}
    assert len(rows) == 8
    for row in rows.values():
        assert np.isfinite([float(row[name]) for name in ("score", "probability")]).all()
    names = json.loads((tmp_path / "signals/names.json").read_text())
    if spoil is not black:
        one, other = (names["candidates"].index(f"real_unknown_000{i}") for i in (2, 3))
        np.testing.assert_array_equal(values[:, one], values[:, other])
    evaluation = Evaluation.read(tmp_path / "attack/evaluation.json")
    said = wording.verdict(evaluation, evaluation.submission.candidates).sentence
    assert "no leakage could be shown" in said
    assert {row["decision"] for row in rows.values()} == {"undetermined"}
    np.testing.assert_allclose([float(row["probability"]) for row in rows.values()], 0.5, atol=5e-3)

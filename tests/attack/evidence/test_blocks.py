"""Distances, principal components and embeddings against a loop or another library, and the blocks of whole fleets."""

import json

import numpy as np
import pytest
from measured_fleet import SIZE, make_fleet, recipe

from attack.evidence import layout
from attack.evidence.embedded_pile import EmbeddedPile
from attack.evidence.embeddings import builtin, distances, pca, spaces
from attack.evidence.embeddings.builtin import EMBEDDINGS, embed, standardised
from attack.evidence.signals import SIGNALS
from shadow.config import AttackConfig
from shadow.errors import UserError


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def uneven(columns, features, rows):
    """A library whose blocks have few and scattered places that agree, and some heights none."""
    if rows == distances._ROWS:
        return (1, 2, 50)
    return () if rows % 32 else tuple(range(3, rows, 5))


@pytest.mark.parametrize("library", [None, uneven])
@pytest.mark.parametrize(("rows", "columns", "features"), [(1, 1, 3), (70, 1030, 63), (130, 20, 256)])
def test_a_row_of_distances_is_its_own(monkeypatch, library, rows, columns, features):
    """To the last bit, wherever it stands; with a library of few usable places each row is still where it belongs."""
    if library:
        monkeypatch.setattr(distances, "places", library)
    a, b = normal(rows, features), normal(columns, features, seed=1)
    found = distances.distances(a, b)
    wanted = np.sqrt(((a[:, None].astype(float) - b[None, :50]) ** 2).sum(-1))
    np.testing.assert_allclose(found[:, :50], wanted, rtol=1e-4, atol=2e-3)
    order = np.random.default_rng(2).permutation(rows)
    for kept in (order, order[: rows // 3 + 1], order[:1]):
        again = distances.distances(a[kept], b)
        if library:  # these places are made up
            np.testing.assert_allclose(again, found[kept], rtol=1e-4, atol=2e-3)
        else:
            np.testing.assert_array_equal(again, found[kept])


@pytest.mark.parametrize("rows", [16, 112, 208])
def test_places_that_round_in_another_way_are_noticed(monkeypatch, rows):
    free = distances.places.__wrapped__(10, 30, rows)
    assert len(free) > 28 or rows == 16
    biased = Fake(np.random.default_rng(0))
    monkeypatch.setattr(distances.np.random, "default_rng", lambda seed: biased)
    assert distances.places.__wrapped__(10, 30, rows) == tuple(i for i in free if i != 7)


def test_few_places_are_warned_of(monkeypatch, caplog):
    biased = Fake(np.random.default_rng(0), by_place=True)
    monkeypatch.setattr(distances.np.random, "default_rng", lambda seed: biased)
    assert len(distances.places.__wrapped__(10, 30, 112)) < 28
    assert "depend on a row's place" in caplog.text


@pytest.mark.parametrize(
    ("usable", "heights"),
    [
        (lambda rows: range(rows), [208, 96]),
        (lambda rows: range(rows) if rows == 112 else (), [112, 112, 112]),
        (lambda rows: range(8, rows - 8), [208, 112, 32]),
    ],
)
def test_blocks_have_the_height_that_fits_best(monkeypatch, usable, heights):
    monkeypatch.setattr(distances, "places", lambda columns, features, rows: tuple(usable(rows)))
    left, found = 300, []
    while left > 0:
        height, taken = distances._block(left, 1024, 5)
        found.append(height)
        left -= len(taken)
    assert found == heights
    a, b = normal(300, 5), normal(1030, 5, seed=1)
    np.testing.assert_allclose(distances.products(a, b), a @ b.T, rtol=1e-4, atol=1e-5)


class Fake:
    """Matrices of a library that gives row 7 of a block another last bit, or every row by its place."""

    def __init__(self, made, by_place=False):
        self.made, self.kind = made, Placed if by_place else Biased

    def standard_normal(self, shape, dtype):
        found = self.made.standard_normal(shape, dtype)
        return found.view(self.kind) if shape[0] > 1 else found


class Biased(np.ndarray):
    def __matmul__(self, other):
        found = np.asarray(self) @ np.asarray(other)
        found[:, 7] = np.nextafter(found[:, 7], np.float32(np.inf))
        return found


class Placed(np.ndarray):
    def __matmul__(self, other):
        found = np.asarray(self) @ np.asarray(other)
        return found * (1 + np.arange(found.shape[1], dtype=np.float32))


def test_components_against_a_singular_value_decomposition():
    images = np.random.default_rng(0).integers(0, 256, (30, 6, 6)).astype(np.float32)
    basis = pca.fit(images[:20], 5)
    vectors = standardised(images[:20]).astype(float)
    _, values, axes = np.linalg.svd(vectors - vectors.mean(0), full_matrices=False)
    wanted = (standardised(images) - vectors.mean(0)) @ axes[:5].T / values[:5] * np.sqrt(19)
    found = basis.embed(images)
    np.testing.assert_allclose(abs(found), abs(wanted), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(np.cov(found[:20].T), np.eye(5), atol=1e-3)  # white where it was fitted


def test_components_that_images_do_not_span_are_zero():
    constant = np.full((6, 4, 4), 9.0, np.float32)
    assert not pca.fit(constant, 3).embed(constant).any()
    two = np.random.default_rng(0).normal(size=(2, 4, 4)).astype(np.float32)
    assert (pca.fit(two, 3).embed(two)[:, 1:] == 0).all()


EVERY = {
    "embeddings": ("pixels", "highpass"),
    "signals": tuple(SIGNALS),
}


def test_everything_is_finite_and_of_its_candidate_alone(images, tmp_path):
    """All blocks of a fleet, with two sizes of pile and two training steps; then without some of the candidates."""
    for i in range(21, 25):
        (images / f"dev/generated/generated_{i:04d}.png").unlink()
    config = recipe(pile=24, **EVERY)
    config.pile.steps = (10, 20)
    make_fleet(tmp_path, images, [1, 2, 4, 7, 8, 11], config)
    whole = np.load(tmp_path / "signals/values.npy")
    names = json.loads((tmp_path / "signals/names.json").read_text())
    assert np.isfinite(whole).all()
    assert len(names["signals"]) == len(set(names["signals"])) == whole.shape[2]
    blocks = {SIGNALS[name].block.name for name in EVERY["signals"]}
    assert {name.partition("@")[0].partition(".")[0] for name in names["signals"]} == blocks

    for i in (1, 2, 5):
        (images / f"test/real_unknown_1/real_unknown_{i:04d}.png").unlink()
    (tmp_path / "fewer").mkdir()
    make_fleet(tmp_path / "fewer", images, [1, 2, 4, 7, 8, 11], config)
    fewer = json.loads((tmp_path / "fewer/signals/names.json").read_text())["candidates"]
    kept = [names["candidates"].index(name) for name in fewer]
    assert len(kept) == len(names["candidates"]) - 3
    alone = [not name.startswith("votes") for name in names["signals"]]  # a vote's rivals are all slices
    found = np.load(tmp_path / "fewer/signals/values.npy")
    np.testing.assert_array_equal(found[..., alone], whole[:, kept][..., alone])


@pytest.mark.parametrize("name", [n for n, e in EMBEDDINGS.items() if e.embed])
def test_embeddings_of_smaller_pictures(name):
    pictures = np.random.default_rng(0).integers(0, 256, (3, 64, 64)).astype(np.float32)
    found = embed(name, pictures)
    assert found.dtype == np.float32
    if name in ("pixels16", "pixels32"):
        side = int(name[6:])
        small = pictures.reshape(3, side, 64 // side, side, 64 // side).mean((2, 4))
        np.testing.assert_allclose(found, standardised(small), atol=1e-6)


@pytest.mark.parametrize("pixels", [1, 64 * 7, 64 * 20])
def test_a_pile_embedded_in_parts_is_the_same(monkeypatch, pixels):
    monkeypatch.setattr(builtin, "_PIXELS", pixels)
    pile = np.random.default_rng(0).integers(0, 256, (20, 8, 8)).astype(np.float32)
    for function in (e.embed for e in EMBEDDINGS.values() if e.embed and e.side <= 8):
        asked = []
        found = builtin.in_parts(lambda part, f=function, n=asked: n.append(len(part)) or f(part), pile)
        np.testing.assert_array_equal(found, function(pile))
        assert max(asked) == max(1, pixels // 64)
    assert len(builtin.in_parts(standardised, pile[:1])) == 1


@pytest.mark.parametrize(("kept", "whole"), [(1, False), (20 * 64, True)])
def test_evidence_of_a_pile_that_is_never_embedded_as_a_whole(monkeypatch, kept, whole):
    """Every block of it is that of the pile at once; a smaller pile is kept."""
    rng = np.random.default_rng(0)
    pile, real = (rng.integers(0, 256, (n, 8, 8)).astype(np.uint8) for n in (20, 9))
    monkeypatch.setattr(spaces, "_PART", 7)
    monkeypatch.setattr(spaces, "_WHOLE", kept)
    vectors, asked = standardised(real), []
    parts = spaces.embedded(lambda images: asked.append(len(images)) or standardised(images), pile)
    assert isinstance(parts, np.ndarray) == whole
    assert max(asked) == (13 if whole else 7)
    assert len(parts) == 20
    np.testing.assert_array_equal(np.concatenate(list(EmbeddedPile(vectors, parts).parts)), standardised(pile))
    for name in SIGNALS:
        sights = [EmbeddedPile(vectors, made) for made in (parts, standardised(pile))]
        found, wanted = (SIGNALS[name].block.measure(embedded) for embedded in sights)
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("names", "signals", "resolution", "said"),
    [
        (("pixels64",), ("mosaic",), 32, r"embeddings: 'pixels64' is larger than data.resolution = 32"),
        (("nope",), ("mosaic",), 32, r"embeddings: 'nope' is not known"),
        (("pixels",), ("nope",), 32, r"signals: 'nope' is not known"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(names, signals, resolution, said):
    with pytest.raises(UserError, match=said):
        layout.check(names, signals, resolution)


def test_the_defaults_fit():
    layout.check(AttackConfig().embeddings, AttackConfig().signals, SIZE)

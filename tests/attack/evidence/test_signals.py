"""Every signal and embedding against a naive loop."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attack.evidence import layout
from attack.evidence.embedded_pile import Block, EmbeddedPile
from attack.evidence.embeddings import builtin
from attack.evidence.embeddings.distances import distances
from attack.evidence.signals import SIGNALS, mosaic, ratio, votes
from attack.evidence.signals import nearest as closeness
from shadow.errors import UserError


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (12, 8, 8)).astype(np.float32)


def naive_standard(image):
    values = [float(v) for v in image.ravel()]
    mean = sum(values) / len(values)
    spread = sum((v - mean) ** 2 for v in values) ** 0.5
    return np.array([(v - mean) / spread if spread > 1e-6 else 0.0 for v in values])


def test_pixels_against_a_loop(images):
    np.testing.assert_allclose(builtin.embed("pixels", images), [naive_standard(i) for i in images], atol=1e-6)


def test_squared_distance_is_two_times_one_minus_correlation(images):
    vectors = builtin.embed("pixels", images)
    wanted = 2 * (1 - np.corrcoef(images.reshape(12, -1)))
    np.testing.assert_allclose(distances(vectors, vectors) ** 2, wanted, atol=2e-6)


def test_highpass_against_a_loop(images):
    found = builtin.embed("highpass", images)
    for image, vector in zip(images, found, strict=True):
        padded = np.pad(image, 2, mode="edge")
        detail = np.array([[image[r, c] - padded[r : r + 5, c : c + 5].mean() for c in range(8)] for r in range(8)])
        np.testing.assert_allclose(vector, naive_standard(detail), atol=1e-5)


def test_laplacian_against_a_loop(images):
    found = builtin.embed("laplacian", images)
    for image, vector in zip(images, found, strict=True):
        second = np.zeros((8, 8))
        for r in range(8):
            for c in range(8):
                around = [(r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)]
                second[r, c] = sum(image[min(max(a, 0), 7), min(max(b, 0), 7)] - image[r, c] for a, b in around)
        np.testing.assert_allclose(vector, naive_standard(second), atol=1e-5)


def test_a_constant_image_is_zero_everywhere():
    constant = np.full((1, 8, 8), 77.0)
    for name in ("pixels", "highpass", "laplacian"):
        assert not builtin.embed(name, constant).any()


def test_brightness_and_contrast_do_not_matter(images):
    for name in ("pixels", "highpass", "laplacian"):
        np.testing.assert_allclose(builtin.embed(name, images), builtin.embed(name, 0.3 * images + 20), atol=1e-5)


def test_unknown_names_are_refused():
    with pytest.raises(UserError, match=r"attack\.embeddings: 'nope'"):
        builtin.embed("nope", np.zeros((1, 8, 8)))


def draw(seed=1, candidates=5, pile=70, features=9):
    rng = np.random.default_rng(seed)
    c, p = (rng.normal(size=(n, features)).astype(np.float32) for n in (candidates, pile))
    return c, p


HERE = tuple(SIGNALS)
PLAN = layout.plan(("pixels",), HERE)


def measured(embedded):
    return PLAN.measure(lambda _: embedded)


def test_closeness_against_a_loop():
    c, pile = draw()
    close = closeness.measure(EmbeddedPile(c, pile))
    for i in range(len(c)):
        d = sorted(float(np.sqrt(((c[i].astype(float) - g) ** 2).sum())) for g in pile)
        np.testing.assert_allclose(close[i], [-np.log(v) for v in d[: closeness.NEAREST]], atol=1e-4)


@pytest.mark.parametrize(("known", "candidates"), [(0, 6), (1, 6), (6, 6), (0, 2), (0, 1)])
def test_votes_against_a_loop(known, candidates):
    """Each image votes for its nearest real one, with the log of how much further the second is; of any group."""
    c, pile = draw(candidates=candidates)
    found = votes.measure(EmbeddedPile(c, pile))
    weight = [0.0] * candidates
    for g in pile:
        d = [float(np.linalg.norm(x.astype(float) - g)) for x in c]
        order = sorted(range(candidates), key=d.__getitem__)
        if candidates > 1:
            weight[order[0]] += np.log(d[order[1]] / d[order[0]])
    for i in range(candidates):
        assert found[i, 0] == pytest.approx(np.log(0.01 + weight[i] * candidates / len(pile)), abs=1e-3)


def test_a_used_slice_takes_the_votes_of_its_neighbour():
    """Copies of one slice lie near to its sibling too, which stands out by distance and not by votes."""
    rng = np.random.default_rng(5)
    c = rng.normal(size=(8, 64)).astype(np.float32)
    c[1] = c[0] + 0.3 * rng.normal(size=64)
    pile = np.concatenate([c[0] + 0.05 * rng.normal(size=(10, 64)), rng.normal(size=(30, 64))]).astype(np.float32)
    embedded = EmbeddedPile(c, pile)
    near, said = closeness.measure(embedded)[:, 0], votes.measure(embedded)[:, 0]
    assert near[1] > near[2:].max()
    assert said[0] == said.max()
    assert said[1] <= np.median(said)


@pytest.mark.parametrize("side", [1, 3, 4, 6, 8])
def test_mosaic_against_a_loop(side):
    rng = np.random.default_rng(side)
    c, pile = (rng.normal(size=(n, side * side)).astype(np.float32) for n in (5, 20))
    cuts = np.linspace(0, side, min(4, side) + 1).round().astype(int).tolist()
    found = np.exp(-mosaic.measure(EmbeddedPile(c, pile))[:, 0])
    for i in range(len(c)):
        total = 0.0
        for top, bottom in itertools.pairwise(cuts):
            for left, right in itertools.pairwise(cuts):
                part = (slice(top, bottom), slice(left, right))
                mine = c[i].reshape(side, side)[part]
                total += min(float(((mine - g.reshape(side, side)[part]) ** 2).sum()) for g in pile)
        assert found[i] == pytest.approx(np.sqrt(total), rel=1e-4, abs=2e-3)
    whole = distances(c, pile).min(1)
    assert (found <= whole + 1e-3).all()


def test_a_mosaic_of_a_member_is_found_where_no_image_is_a_copy():
    """Sixteen generated images hold one tile of the candidate each."""
    rng = np.random.default_rng(0)
    candidate, pile = rng.normal(size=(1, 64)).astype(np.float32), rng.normal(size=(16, 64)).astype(np.float32)
    for i, image in enumerate(pile):
        part = slice(2 * (i // 4), 2 * (i // 4) + 2), slice(2 * (i % 4), 2 * (i % 4) + 2)
        image.reshape(8, 8)[part] = candidate.reshape(8, 8)[part]
    assert mosaic.measure(EmbeddedPile(candidate, pile))[0, 0] > -np.log(1e-2)
    assert distances(candidate, pile).min() > 5


def test_only_square_images_have_tiles():
    with pytest.raises(ValueError, match="8 features are no square image"):
        mosaic.tiles(np.zeros((2, 8), np.float32))


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**20), st.integers(1, 200), st.integers(1, 300), st.sampled_from([9, 64, 1024]), st.data())
def test_evidence_of_a_candidate_is_its_own(seed, candidates, pile_size, features, data):
    """To the last bit, whatever other candidates are asked about and in whatever order."""
    c, pile = draw(seed, candidates, pile_size, features)
    kept = data.draw(st.lists(st.integers(0, candidates - 1), min_size=1, max_size=12, unique=True))
    own = layout.plan(("pixels",), [name for name in HERE if name != "votes"])  # whose rivals are all slices
    whole, some = (own.measure(lambda _, real=real: EmbeddedPile(real, pile)) for real in (c, c[kept]))
    np.testing.assert_array_equal(whole[kept], some)


def test_a_pile_of_one_and_a_collapsed_pile_are_finite():
    c, pile = draw()
    for odd in (pile[:1], np.repeat(pile[:1], 60, axis=0), np.repeat(c[:1], 60, axis=0)):
        found = PLAN.signals(measured(EmbeddedPile(c, odd)))
        assert found.shape == (len(c), len(PLAN.names))
        assert np.isfinite(found).all()
    with pytest.raises(ValueError, match="empty pile"):
        EmbeddedPile(c, pile[:0])


def test_nearest_and_ratio_against_a_loop():
    """Numbers of any leading axes; what one image shows is not of the others."""
    shown = np.stack([measured(EmbeddedPile(*draw(seed))) for seed in (3, 13)])[..., PLAN.place("closeness", "pixels")]
    found = SIGNALS["nearest"].value(shown), ratio.signal(shown)
    for i, j in np.ndindex(2, 5):
        d = [np.exp(-float(v)) for v in shown[i, j]]
        assert len(d) == closeness.NEAREST == 50
        assert found[0][i, j] == pytest.approx([-np.log(d[0])], abs=1e-6)
        assert found[1][i, j] == pytest.approx([-np.log(d[0] / np.mean(d[1:]))], abs=1e-6)


def test_a_ratio_asks_whether_one_image_stands_out():
    """A common kind of image has many near it: that is no copy."""
    none, crowd, copy = np.full((3, 50), 2.0), np.full((3, 50), 5.0), np.full((3, 50), 2.0)
    copy[:, 0] = 5.0
    np.testing.assert_allclose(ratio.signal(none), 0, atol=1e-12)
    np.testing.assert_allclose(ratio.signal(crowd), 0, atol=1e-12)
    np.testing.assert_allclose(ratio.signal(copy), 3.0)
    nearest = SIGNALS["nearest"].value
    np.testing.assert_array_equal(nearest(copy), nearest(crowd))


def test_columns_are_named_in_the_order_of_the_values():
    plan = layout.plan(("pixels", "laplacian"), ("ratio", "mosaic", "nearest"))
    names = [f"{s}@{e}" for e in ("pixels", "laplacian") for s in ("ratio", "mosaic", "nearest")]
    assert list(plan.names) == names
    numbers = np.random.default_rng(0).normal(size=(2, 5, plan.size)).astype(np.float32)
    found = plan.signals(numbers)
    assert (found.shape, found.dtype) == ((2, 5, 6), np.float64)
    for j, name in enumerate(names):
        signal, _, embedding = name.partition("@")
        known = SIGNALS[signal]
        block = {f"{number}@{embedding}" for number in known.block[1]}
        mine = np.ascontiguousarray(numbers[..., [name in block for name in plan.stored]])
        np.testing.assert_array_equal(found[..., j], known.value(mine)[..., 0])
    few = layout.Layout(plan.columns[1:3], plan.numbers)  # of numbers that were stored for more
    np.testing.assert_array_equal(few.signals(numbers), found[..., 1:3])
    with pytest.raises(KeyError, match="votes@pixels"):
        layout.Layout((("votes", "pixels"),), plan.numbers).signals(numbers)


@pytest.mark.parametrize("name", SIGNALS)
def test_a_signal_is_one_column_of_each_row_alone(name):
    known = SIGNALS[name]
    width = len(known.block.numbers) if isinstance(known.block, Block) else 4
    numbers = np.random.default_rng(0).normal(size=(2, 3, width)).astype(np.float32)
    found = known.value(numbers)
    assert (found.shape, found.dtype) == ((2, 3, 1), np.float64)
    np.testing.assert_array_equal(known.value(numbers[1, 2:]), found[1, 2:])
    if width == 1:  # a single number is its signal
        np.testing.assert_array_equal(found, numbers)


def test_more_alike_means_more_likely_a_member():
    """Direction of every column: a pile that holds the candidate itself scores higher than one that does not."""
    c, pile = draw()
    copy = np.concatenate([c + 0.01, pile[len(c) :]])
    high, low = (PLAN.signals(measured(EmbeddedPile(c, made))) for made in (copy, pile))
    assert (high.mean(0) > low.mean(0)).all()

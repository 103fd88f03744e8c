"""SSIM against scikit-image and against the formula, and what must hold to the last bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage
from skimage.metrics import structural_similarity

from attack.evidence.embeddings.ssim import ssim_all, ssim_pairs

RNG = np.random.default_rng(0)


def oracle(a, b):
    """scikit-image in float64."""
    pairs = zip(np.asarray(a, np.float64), np.asarray(b, np.float64), strict=True)
    return np.array([structural_similarity(x, y, data_range=255) for x, y in pairs])


def noise(count, height=64, width=64):
    return RNG.uniform(0, 255, (count, height, width)).astype(np.float32)


def smooth(count, height=64, width=64):
    images = ndimage.gaussian_filter(noise(count, height, width), (0, 2, 2))
    return (images - images.min()) / np.ptp(images) * 255


def kinds():
    """Pairs of sets of images that are alike, unlike, flat, bright, dark and opposite."""
    bright, dark, soft = 250 + noise(4) / 51, noise(4) / 51, smooth(4)
    board = np.repeat(np.indices((64, 64)).sum(0)[None] % 2 * np.float32(255), 4, axis=0)
    return {
        "noise": (noise(4), noise(4)),
        "smooth": (soft, soft[::-1]),
        "alike": (soft, np.clip(soft + RNG.normal(0, 1, soft.shape), 0, 255).astype(np.float32)),
        "whole numbers": (np.rint(soft), np.rint(soft[::-1])),
        "bright": (bright, bright[::-1]),
        "bright and dark": (bright, dark),
        "constant": (np.full_like(bright, 250.3), bright),
        "black and white": (np.zeros_like(bright), np.full_like(bright, 255)),
        "opposite": (board, 255 - board),
    }


@pytest.mark.parametrize("kind", kinds())
def test_against_scikit_image(kind):
    a, b = kinds()[kind]
    wanted = oracle(a, b)
    np.testing.assert_allclose(ssim_pairs(a, b, precise=True), wanted, rtol=0, atol=1e-12)  # 1e-6 is asked
    for fast in (ssim_pairs(a, b), ssim_all(a, b).diagonal()):  # 1e-4 is asked
        assert fast.dtype == np.float32
        np.testing.assert_allclose(fast, wanted, rtol=0, atol=1e-5)


def test_against_the_formula():
    """A loop over windows, written from the paper."""
    a, b = smooth(2, 9, 11).astype(np.float64)
    values = []
    for row in range(3):
        for column in range(5):
            x, y = (z[row : row + 7, column : column + 7].ravel() for z in (a, b))
            (va, cov), (_, vb) = np.cov(x, y)
            light = (2 * x.mean() * y.mean() + 2.55**2) / (x.mean() ** 2 + y.mean() ** 2 + 2.55**2)
            values.append(light * (2 * cov + 7.65**2) / (va + vb + 7.65**2))
    np.testing.assert_allclose(ssim_pairs(a[None], b[None], precise=True), np.mean(values), rtol=1e-12)


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from([(7, 7), (7, 12), (10, 8)]).flatmap(
        lambda size: arrays(np.uint8, (3, 2, *size), elements=st.integers(0, 255))
    )
)
def test_any_small_images(images):
    a, b = images.astype(np.float32).swapaxes(0, 1)
    np.testing.assert_allclose(ssim_pairs(a, b), oracle(a, b), rtol=0, atol=1e-4)
    np.testing.assert_array_equal(ssim_pairs(a, b), ssim_pairs(b, a))


@pytest.mark.parametrize("size", [(7, 7), (9, 13), (16, 16), (64, 64), (40, 100)])
def test_equal_images_have_exactly_one(size):
    for images in (noise(5, *size), np.stack([np.full(size, v, np.float32) for v in (0, 17, 127.5, 254.9, 255)])):
        for found in (
            ssim_pairs(images, images),
            ssim_pairs(images, images, True),
            ssim_all(images, images).diagonal(),
        ):
            assert (found == 1).all()


def test_all_pairs_over_several_blocks_are_the_pairs():
    a, b = noise(3, 48, 40), smooth(700, 48, 40)
    found = ssim_all(a, b)
    assert found.shape == (3, 700)
    i, j = RNG.integers(0, 3, 40), np.append(RNG.integers(0, 700, 38), [0, 699])
    np.testing.assert_allclose(found[i, j], oracle(a[i], b[j]), rtol=0, atol=1e-5)
    np.testing.assert_allclose(ssim_pairs(np.tile(a[:1], (700, 1, 1)), b), found[0], rtol=0, atol=1e-6)


def test_a_row_is_the_same_to_the_last_bit_whoever_is_beside_it():
    a, b = np.concatenate([smooth(5, 32, 32), noise(4, 32, 32)]), smooth(600, 32, 32)
    whole = ssim_all(a, b)
    for i in range(len(a)):
        np.testing.assert_array_equal(ssim_all(a[i : i + 1], b)[0], whole[i])
    order = RNG.permutation(len(a))
    np.testing.assert_array_equal(ssim_all(a[order], b), whole[order])
    # nor does it depend on the rest of the pile, or an image's place in it
    np.testing.assert_array_equal(ssim_all(a, b[::-1])[:, ::-1], whole)
    np.testing.assert_array_equal(ssim_all(a, b[37:38]), whole[:, 37:38])


def test_progress_counts_pairs():
    told = []
    ssim_all(noise(3, 64, 64), noise(300, 64, 64), lambda done, total: told.append((done, total)))
    assert len(told) > 1
    assert told == sorted(told)
    assert told[-1] == (900, 900)


def test_no_images():
    assert ssim_all(noise(2, 8, 8), noise(0, 8, 8)).shape == (2, 0)
    assert ssim_all(noise(0, 8, 8), noise(2, 8, 8)).shape == (0, 2)
    assert ssim_pairs(noise(0, 8, 8), noise(0, 8, 8)).shape == (0,)


def test_what_is_refused():
    for function in (ssim_pairs, ssim_all):
        with pytest.raises(ValueError, match="at least 7 x 7 pixels, not 6 x 9"):
            function(noise(1, 6, 9), noise(1, 6, 9))
        with pytest.raises(ValueError, match="one size"):
            function(noise(1, 8, 9), noise(1, 9, 8))
        with pytest.raises(ValueError, match="one size"):
            function(noise(1, 8, 8)[0], noise(1, 8, 8)[0])
    with pytest.raises(ValueError, match="2 images cannot be paired with 3"):
        ssim_pairs(noise(2, 8, 8), noise(3, 8, 8))

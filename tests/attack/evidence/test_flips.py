"""What training flipped is seen in a pile, and piles are looked at flipped."""

from __future__ import annotations

import numpy as np
import pytest

from attack.evidence import flips
from shadow.data import phantom


def _slices(patients: range) -> np.ndarray:
    heights = np.full((len(patients), 2), 0.2) + np.linspace(0, 0.3, 2)
    images = phantom.slices(5, patients, heights).reshape(-1, 256, 256)
    return images.reshape(len(images), 32, 8, 32, 8).mean((2, 4))


@pytest.fixture(scope="module")
def slices() -> np.ndarray:
    return _slices(range(60))


def _copies(slices: np.ndarray, rng: np.random.Generator, axes: tuple[int, ...]) -> np.ndarray:
    """Noisy copies, each flipped by a fair coin along every one of `axes`."""
    pile = slices[rng.integers(len(slices), size=300)] + rng.normal(0, 8, (300, 32, 32))
    for axis in axes:
        coin = rng.random(len(pile)) < 0.5
        pile[coin] = np.flip(pile[coin], axis)
    return pile


@pytest.mark.parametrize("names", list(flips.CHOICES.values()))
def test_what_was_flipped_is_found(slices: np.ndarray, names: tuple[str, ...]) -> None:
    """Half of the slices are copied; whether a slice is among them does not matter."""
    pile = _copies(slices[:60], np.random.default_rng(1), tuple(flips.AXES[name] for name in names))
    found = flips.find(slices, pile)
    assert found.names == names
    assert found.share is not None
    for name, share in found.share.items():
        assert (share < 0.65) == (name in names)


def test_shares_are_those_of_a_naive_loop(slices: np.ndarray) -> None:
    pile = _copies(slices[:60], np.random.default_rng(2), (2,))[:40]

    def unit(image: np.ndarray) -> np.ndarray:
        flat = image.ravel() - image.mean()
        return flat / np.linalg.norm(flat)

    def nearest(image: np.ndarray, axis: int | None) -> float:
        others = pile if axis is None else np.flip(pile, axis)
        return min(float(np.linalg.norm(unit(image) - unit(other))) for other in others)

    found = flips.find(slices, pile)
    for name, axis in flips.AXES.items():
        expected = np.mean([nearest(x, None) < nearest(x, axis) for x in slices])
        assert found.share is not None
        assert found.share[name] == pytest.approx(expected, abs=1.5 / len(slices))


def test_a_flipped_pile_holds_every_combination_once() -> None:
    pile = np.random.default_rng(3).integers(0, 256, (4, 8, 8)).astype(np.uint8)
    both = flips.Flips(("left_right", "up_down")).of(pile)
    assert both.dtype == np.uint8
    wanted = [pile, pile[:, :, ::-1], pile[:, ::-1], pile[:, ::-1, ::-1]]
    assert sorted(x.tobytes() for x in both) == sorted(x.tobytes() for part in wanted for x in part)
    np.testing.assert_array_equal(both[:4], pile)
    assert flips.Flips(()).of(pile) is pile


def test_a_pile_that_is_symmetric_itself_counts_as_flipped() -> None:
    """Neither is nearer: nothing is lost by looking at both."""
    rng = np.random.default_rng(4)
    half = rng.normal(size=(20, 8, 4))
    symmetric = np.concatenate([half, half[:, :, ::-1]], axis=2)
    found = flips.find(rng.normal(size=(30, 8, 8)), symmetric)
    assert found.names[:1] == ("left_right",)
    assert found.share is not None
    assert found.share["left_right"] == 0.5

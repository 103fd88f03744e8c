"""The made-up thorax slices: pure functions of (seed, patient, position), in range, smooth in z, varied."""

import time

import numpy as np
import pytest

from shadow.data import phantom
from shadow.data.phantom_anatomy import Patient

AIR = 60  # -1000 HU in the lung window


def _distance(a, b):
    return float(np.sqrt(np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2)))


@pytest.fixture(scope="module")
def many():
    return phantom.slices(5, range(24), np.array([0.1, 0.45]), size=128)


def test_shape_and_type(many):
    assert many.shape == (24, 2, 128, 128)
    assert many.dtype == np.uint8
    assert phantom.slices(5, [], np.array([0.5]), size=64).shape == (0, 1, 64, 64)
    assert phantom.slices(5, [3], np.array([0.5])).shape == (1, 1, 256, 256)


def test_a_slice_is_a_function_of_seed_patient_and_position_alone(many):
    alone = phantom.slices(5, [7], np.array([0.45]), size=128)
    among = phantom.slices(5, [2, 7, 7], np.array([[0.3, 0.1], [0.9, 0.45], [0.45, 0.0]]), size=128)
    assert np.array_equal(alone[0, 0], many[7, 1])
    assert np.array_equal(among[1, 1], many[7, 1])
    assert np.array_equal(among[2, 0], many[7, 1])
    assert not np.array_equal(phantom.slices(6, [7], np.array([0.45]), size=128)[0, 0], many[7, 1])


def test_noise_differs_between_positions():
    near = phantom.slices(0, [1], np.array([0.5, np.nextafter(0.5, 1)]), size=128)[0]
    assert not np.array_equal(near[0], near[1])
    assert _distance(near[0], near[1]) < 25


def test_neighbours_are_close_and_distance_grows_with_height():
    steps = np.array([0.01, 0.05, 0.3])
    stacks = phantom.slices(1, range(8), 0.3 + np.array([0, *steps]), size=128)
    apart = np.array([[_distance(s[0], other) for other in s[1:]] for s in stacks])
    assert np.all(np.diff(apart.mean(0)) > 0)
    others = [_distance(stacks[i, 0], stacks[j, 0]) for i in range(8) for j in range(i)]
    assert apart[:, 0].max() < min(others)
    assert apart[:, 1].mean() < 0.7 * np.mean(others)


def test_air_outside_the_patient_and_nothing_outside_the_field_of_view(many):
    corners = many[:, :, :6, :6].reshape(24, -1)
    black = (corners == 0).all(1)
    assert 0 < black.sum() < 24
    # The breast or shoulder of a large patient may fill a corner; air fills most of the others.
    air = np.abs(corners.mean(1) - AIR) < 4
    assert air.sum() > 0.5 * (~black).sum()
    for image in many[black].reshape(-1, 128, 128):
        assert not image[0, 0]
        assert image[64, 64]


def test_the_chest_is_there(many):
    dark = (many > 62) & (many < 120)  # lung
    soft = many > 190
    assert np.all(dark.mean((2, 3)) > 0.08)
    assert np.all(soft.mean((2, 3)) > 0.2)
    assert np.all((many >= 250).mean((2, 3)) > 0.005)  # bone


def test_lungs_give_way_to_the_organs_below():
    top, base = phantom.slices(2, range(10), np.array([0.3, 1.0]), size=64).transpose(1, 0, 2, 3)
    inside = (slice(None), slice(16, 48), slice(10, 54))
    assert np.mean(base[inside] > 190) > np.mean(top[inside] > 190) + 0.1


def test_lesions_vary_from_none_to_many_of_every_kind():
    patients = [Patient(np.random.default_rng(i)) for i in range(25)]
    counts = np.array([len(p.masses) for p in patients])
    assert counts.min() == 0
    assert counts.max() >= 8
    every = np.concatenate([p.masses for p in patients])
    assert np.any(every[:, 4] > 0)  # cavities
    assert np.any(every[:, 5] < 1)  # consolidation
    assert np.any((every[:, 4] == 0) & (every[:, 5] == 1))  # nodules
    assert len({len(p.tree) for p in patients}) > 5  # tree-in-bud adds twigs to the vessels


def test_fast_enough():
    start = time.perf_counter()
    phantom.slices(3, range(5), np.linspace(0.1, 0.9, 8))
    assert time.perf_counter() - start < 10


@pytest.mark.parametrize("size", [0, 63, 1025])
def test_refuses_sizes_out_of_range(size):
    with pytest.raises(ValueError, match="size must be 64 to 1024"):
        phantom.slices(0, [0], np.array([0.5]), size=size)


@pytest.mark.parametrize(
    ("positions", "words"),
    [
        ([-0.01], "between 0 and 1"),
        ([0.5, 1.01], "between 0 and 1"),
        ([np.nan], "between 0 and 1"),
        (0.5, "positions must be"),
        ([[0.5], [0.5], [0.5]], "with 2 patients"),
        ([[[0.5]], [[0.5]]], "positions must be"),
    ],
)
def test_refuses_positions_that_are_none(positions, words):
    with pytest.raises(ValueError, match=words):
        phantom.slices(0, [0, 1], np.array(positions), size=64)

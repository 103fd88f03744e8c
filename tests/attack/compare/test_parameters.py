"""Distances and spectra of parameters against closed forms."""

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attack.compare import parameters
from attack.results.compared import LayerDistance
from shadow.config import DenoiserConfig
from shadow.denoisers.build import build

A = {"one": {"kernel": np.array([[3.0, 0.0], [0.0, 4.0]], np.float32)}, "two": {"bias": np.zeros(3, np.float32)}}


def stored(tmp_path, params, name="a"):
    return parameters.store(params, tmp_path / f"{name}.npy")


def test_layers_come_back_as_they_were(tmp_path):
    params = build(DenoiserConfig(patch=4, width=8, depth=2, heads=2), 8).init(jax.random.key(0))
    found = stored(tmp_path, params)
    assert found.count == sum(leaf.size for leaf in jax.tree.leaves(params))
    assert {"embed.kernel", "blocks.1.qkv.bias"} <= found.shapes.keys()
    np.testing.assert_array_equal(found.layer("blocks.1.qkv.kernel"), params["blocks"][1]["qkv"]["kernel"])
    np.testing.assert_array_equal(found.layer("unembed.bias"), params["unembed"]["bias"])


def test_a_network_is_at_no_distance_from_itself(tmp_path):
    params = build(DenoiserConfig(patch=4, width=8, depth=1, heads=2), 8).init(jax.random.key(0))
    found = parameters.between(stored(tmp_path, params), stored(tmp_path, params, "b"))
    assert (found.relative, found.cosine) == (0, 1)
    assert all(layer.relative == 0 for layer in found.layers.values())


def test_distances_by_hand(tmp_path):
    other = {"one": {"kernel": -A["one"]["kernel"]}, "two": {"bias": np.ones(3, np.float32)}}
    found = parameters.between(stored(tmp_path, A), stored(tmp_path, other, "b"))
    assert found.layers["one.kernel"] == LayerDistance(relative=2.0, cosine=-1.0)
    assert found.layers["two.bias"] == LayerDistance(relative=2.0, cosine=None)
    whole = 2 * np.sqrt(100 + 3) / (5 + np.sqrt(28))
    assert found.relative == pytest.approx(whole)
    assert found.cosine == pytest.approx(-25 / (5 * np.sqrt(28)))
    swapped = parameters.between(stored(tmp_path, other, "b"), stored(tmp_path, A))
    assert swapped.relative == pytest.approx(found.relative)


def test_other_architectures_are_said(tmp_path):
    wider = {"one": {"kernel": np.zeros((2, 3), np.float32)}, "two": A["two"]}
    more = {**A, "three": {"bias": np.zeros(1, np.float32)}}
    assert "one.kernel is [2, 2] here and [2, 3] there" in parameters.why_not(
        stored(tmp_path, A), stored(tmp_path, wider, "b")
    )
    assert "1 layers are in one of them alone, three.bias" in parameters.why_not(
        stored(tmp_path, A), stored(tmp_path, more, "b")
    )
    with pytest.raises(ValueError, match="other architecture"):
        parameters.between(stored(tmp_path, A), stored(tmp_path, more, "b"))


@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 100))
def test_spectra_from_eigenvalues(rows, columns, seed):
    kernel = np.random.default_rng(seed).standard_normal((3, 3, rows, columns))
    flat = kernel.reshape(-1, columns)
    values = np.sqrt(np.sort(np.linalg.eigvalsh(flat.T @ flat))[::-1])
    found = parameters.spectrum(kernel)
    np.testing.assert_allclose(found.largest, values, rtol=1e-6)
    assert found.stable_rank == pytest.approx((flat**2).sum() / values[0] ** 2)
    assert 1 - 1e-9 <= found.effective_rank <= columns + 1e-9


def test_ranks_of_known_matrices():
    assert parameters.spectrum(np.eye(7)).effective_rank == pytest.approx(7)
    assert parameters.spectrum(np.ones((4, 6))).stable_rank == pytest.approx(1)
    assert parameters.spectrum(np.zeros((2, 2))).stable_rank == 0
    assert parameters.spectrum(np.ones(3)) is None

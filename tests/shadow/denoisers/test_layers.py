"""Convolutions, group norm, SiLU and attention against loops, XLA's own and its gradients, at odd sizes, under vmap."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shadow.denoisers import layers


def normal(seed, *shape, dtype=np.float32):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def reference(x, kernel, padding, stride=1):
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"), precision="highest"
    )


def loops(x, kernel, padding, stride):
    """The definition, a pixel at a time."""
    x = np.pad(x.astype(np.float64), ((0, 0), *padding, (0, 0)))
    kh, kw = kernel.shape[:2]
    height, width = (x.shape[1] - kh) // stride + 1, (x.shape[2] - kw) // stride + 1
    out = np.zeros((len(x), height, width, kernel.shape[3]))
    for i in range(height):
        for j in range(width):
            seen = x[:, i * stride : i * stride + kh, j * stride : j * stride + kw]
            out[:, i, j] = np.einsum("nabc,abcd->nd", seen, kernel.astype(np.float64))
    return out


def assert_close(actual, wanted, tolerance):
    wanted = np.asarray(wanted, np.float64)
    assert actual.shape == wanted.shape
    assert np.abs(np.asarray(actual, np.float64) - wanted).max() <= tolerance * np.abs(wanted).max()


def check(x, kernel, padding, tolerance=2e-5):
    """Values and both gradients of `convolve` at stride 1."""
    x, kernel = jnp.asarray(x), jnp.asarray(kernel)
    y, back = jax.vjp(lambda x, k: layers.convolve(x, k, padding), x, kernel)
    wanted, wanted_back = jax.vjp(lambda x, k: reference(x, k, padding), x, kernel)
    assert_close(y, wanted, tolerance)
    dy = jnp.asarray(normal(7, *y.shape, dtype=y.dtype))
    for actual, expected in zip(back(dy), wanted_back(dy), strict=True):
        assert actual.dtype == expected.dtype
        assert_close(actual, expected, tolerance)


@settings(max_examples=6, deadline=None)
@given(
    batch=st.integers(1, 5),
    sides=st.tuples(st.integers(1, 11), st.integers(1, 9)),
    channels=st.tuples(st.sampled_from([1, 3, 8, 13]), st.sampled_from([1, 2, 8, 11])),
    width=st.sampled_from([1, 3]),
    rows=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    columns=st.tuples(st.integers(0, 2), st.integers(0, 2)),
)
def test_the_convolution_and_its_gradients_are_those_of_xla(batch, sides, channels, width, rows, columns):
    rows = (max(rows[0], 1), max(rows[1], 1)) if sides[0] < 3 else rows
    columns = tuple(min(c, width - 1) for c in columns)
    columns = (width // 2, width // 2) if sides[1] < width else columns
    check(normal(0, batch, *sides, channels[0]), normal(1, 3, width, *channels), (rows, columns))


@pytest.mark.parametrize("channels", [(1, 8), (8, 1), (8, 8), (9, 5)])
@pytest.mark.parametrize(
    ("side", "padding", "stride"),
    [
        ((1, 1), ((1, 1), (1, 1)), 1),
        ((2, 2), ((1, 1), (1, 1)), 1),
        ((4, 4), ((1, 1), (1, 1)), 1),
        ((7, 5), ((1, 1), (1, 1)), 1),
        ((6, 3), ((0, 2), (1, 0)), 1),
        ((8, 6), ((1, 1), (1, 1)), 2),
        ((8, 6), ((0, 1), (0, 1)), 2),
        ((5, 4), ((3, 4), (0, 3)), 1),  # further out than the kernel reaches
    ],
)
def test_the_convolution_is_its_definition(channels, side, padding, stride):
    x, kernel = normal(0, 2, *side, channels[0]), normal(1, 3, 3, *channels)
    actual = layers.convolve(jnp.asarray(x), jnp.asarray(kernel), padding, stride)
    assert_close(actual, loops(x, kernel, padding, stride), 2e-5)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_kernels_of_other_sizes(size):
    check(normal(0, 2, 6, 7, 8), normal(1, size, size, 8, 9), [(size // 2, size // 2)] * 2)


def test_float64_is_computed_in_float64():
    with jax.enable_x64(True):
        kernel = normal(1, 3, 3, 8, 8, dtype=np.float64)
        check(normal(0, 3, 9, 6, 8, dtype=np.float64), kernel, ((1, 1), (1, 1)), 1e-13)


@pytest.mark.parametrize("channels", [(1, 16), (16, 16), (16, 1)])
def test_bfloat16_is_summed_in_float32(channels):
    x, kernel = (jnp.asarray(a, jnp.bfloat16) for a in (normal(0, 2, 8, 8, channels[0]), normal(1, 3, 3, *channels)))
    y, back = jax.vjp(lambda x, k: layers.convolve(x, k, ((1, 1), (1, 1))), x, kernel)
    assert y.dtype == jnp.bfloat16
    wide = [a.astype(jnp.float32) for a in (x, kernel)]
    wanted, wanted_back = jax.vjp(lambda x, k: reference(x, k, ((1, 1), (1, 1))), *wide)
    assert_close(y, wanted, 2**-8)
    for actual, expected in zip(back(y), wanted_back(y.astype(jnp.float32)), strict=True):
        assert actual.dtype == jnp.bfloat16
        assert_close(actual, expected, 2**-6)


def grads(function, x, kernel):
    return jax.grad(lambda x, k: jnp.square(function(x, k)).sum(), argnums=(0, 1))(x, kernel)


@pytest.mark.parametrize(
    ("axes", "channels"),
    [((0, 0), (8, 8)), ((0, None), (8, 8)), ((None, 0), (8, 8)), ((0, 0), (1, 8)), ((0, 0), (8, 1))],
)
def test_under_vmap_every_network_gets_what_it_gets_alone(axes, channels):
    convolve = functools.partial(layers.convolve, padding=((1, 1), (1, 1)))
    x, kernel = (jnp.asarray(normal(i, *s)) for i, s in enumerate([(3, 2, 8, 8, channels[0]), (3, 3, 3, *channels)]))
    x, kernel = x if axes[0] == 0 else x[0], kernel if axes[1] == 0 else kernel[0]
    for function in (convolve, functools.partial(grads, convolve)):
        packed = jax.jit(jax.vmap(function, axes))(x, kernel)
        for i in (0, 2):
            alone = jax.jit(function)(x[i] if axes[0] == 0 else x, kernel[i] if axes[1] == 0 else kernel)
            for a, b in zip(jax.tree.leaves(packed), jax.tree.leaves(alone), strict=True):
                assert_close(a[i], b, 1e-5)


def test_the_gradient_of_a_vmapped_convolution():
    x, kernel = jnp.asarray(normal(0, 3, 2, 8, 8, 8)), jnp.asarray(normal(1, 3, 3, 3, 8, 8))
    ours = jax.vmap(functools.partial(layers.convolve, padding=((1, 1), (1, 1))))
    theirs = jax.vmap(functools.partial(reference, padding=((1, 1), (1, 1))))
    for a, b in zip(grads(ours, x, kernel), grads(theirs, x, kernel), strict=True):
        assert_close(a, b, 2e-5)


def pointwise(x, kernel):
    return layers.convolve(x, kernel, ((0, 0), (0, 0)))


@pytest.mark.parametrize(("function", "size"), [(pointwise, 1), (layers.convolve_doubled, 3)])
@pytest.mark.parametrize("batch", [1, 6, 8])  # sums over the batch are cut in 1, 2 and 4
def test_gradients_of_products_in_a_pack_are_those_of_each_alone_in_float64(function, size, batch):
    x, kernel = (normal(i, *s) for i, s in enumerate([(3, batch, 4, 5, 6), (3, size, size, 6, 7)]))
    packed = jax.vmap(functools.partial(grads, function))(jnp.asarray(x), jnp.asarray(kernel))
    for i in range(3):
        wide = np.repeat(np.repeat(x[i], 2, axis=1), 2, axis=2) if size == 3 else x[i]
        with jax.enable_x64(True):
            alone = grads(
                functools.partial(reference, padding=[(size // 2, size // 2)] * 2),
                jnp.asarray(wide, jnp.float64),
                jnp.asarray(kernel[i], jnp.float64),
            )
            to_images, to_kernel = (np.asarray(a) for a in alone)
        if size == 3:  # every pixel was four
            to_images = to_images.reshape(batch, 4, 2, 5, 2, 6).sum((2, 4))
        assert_close(packed[0][i], to_images, 1e-5)
        assert_close(packed[1][i], to_kernel, 1e-5)


@pytest.mark.parametrize(("function", "size"), [(pointwise, 1), (layers.convolve_doubled, 3)])
def test_gradients_of_products_of_16_bits_are_summed_in_32(function, size):
    """Over 2,048 pixels: a sum in 16 bits would lose its smaller terms."""
    x, kernel = (jnp.asarray(np.abs(a), jnp.bfloat16) for a in (normal(0, 8, 16, 16, 4), normal(1, size, size, 4, 4)))
    wide = grads(function, x.astype(jnp.float32), kernel.astype(jnp.float32))
    for actual, wanted in zip(grads(function, x, kernel), wide, strict=True):
        assert actual.dtype == jnp.bfloat16
        assert_close(actual, wanted, 2**-6)


def test_the_same_inputs_give_the_same_bits():
    x, kernel = jnp.asarray(normal(0, 4, 16, 16, 32)), jnp.asarray(normal(1, 3, 3, 32, 32))
    step = jax.jit(functools.partial(grads, functools.partial(layers.convolve, padding=((1, 1), (1, 1)))))
    first = step(x, kernel)
    for _ in range(3):
        for a, b in zip(first, step(x, kernel), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("side", [(1, 1), (5, 4)])
def test_the_doubled_convolution_is_nearest_neighbours_then_a_convolution(side):
    x, kernel = jnp.asarray(normal(0, 2, *side, 6)), jnp.asarray(normal(1, 3, 3, 6, 5))

    def plain(x, kernel):
        return reference(x.repeat(2, axis=1).repeat(2, axis=2), kernel, ((1, 1), (1, 1)))

    assert_close(layers.convolve_doubled(x, kernel), plain(x, kernel), 1e-5)
    for a, b in zip(grads(layers.convolve_doubled, x, kernel), grads(plain, x, kernel), strict=True):
        assert_close(a, b, 2e-5)


def test_other_backends_have_xlas_convolution_and_the_same_values(monkeypatch):
    x, kernel = jnp.asarray(normal(0, 2, 8, 6, 8)), jnp.asarray(normal(1, 3, 3, 8, 8))
    convolve = functools.partial(layers.convolve, padding=((1, 1), (1, 1)))
    here = [np.asarray(f(x, kernel)) for f in (convolve, layers.convolve_doubled)]
    scale, bias = jnp.asarray(normal(2, 8)), jnp.asarray(normal(3, 8))
    active = np.asarray(layers.silu(layers.group_norm(x, scale, bias, 4, 1e-5)))
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert_close(layers.silu(layers.group_norm(x, scale, bias, 4, 1e-5)), active, 1e-6)
    for function, wanted, count in zip((convolve, layers.convolve_doubled), here, (1, 4), strict=True):
        assert str(jax.make_jaxpr(function)(x, kernel)).count("conv_general_dilated[") == count
        assert_close(function(x, kernel), wanted, 2e-5)


def test_group_norm_is_its_definition():
    x, scale, bias = normal(0, 3, 5, 4, 12), normal(1, 12), normal(2, 12)
    groups = x.astype(np.float64).reshape(3, 5, 4, 3, 4)
    centred = groups - groups.mean((1, 2, 4), keepdims=True)
    wanted = centred / np.sqrt(np.square(centred).mean((1, 2, 4), keepdims=True) + 1e-5)
    actual = layers.group_norm(jnp.asarray(x), jnp.asarray(scale), jnp.asarray(bias), 3, 1e-5)
    assert_close(actual, wanted.reshape(x.shape) * scale + bias, 1e-6)


def defined_norm(x, scale, bias, groups, epsilon):
    """The definition, whose gradients are JAX's."""
    positions = tuple(range(1, x.ndim - 1))
    parts = x.reshape(*x.shape[:-1], groups, -1)
    centred = parts - parts.mean((*positions, -1), keepdims=True)
    y = centred / jnp.sqrt(jnp.square(centred).mean((*positions, -1), keepdims=True) + epsilon)
    return y.reshape(x.shape) * scale + bias


@pytest.mark.parametrize(("shape", "groups"), [((2, 3, 4, 6), 3), ((1, 1, 5, 4), 1), ((3, 5, 8), 8)])
def test_gradients_of_group_norm_are_those_of_its_definition_in_float64(shape, groups):
    channels = shape[-1]
    drawn = normal(0, *shape), normal(1, channels), normal(2, channels), normal(3, *shape)

    def gradients(norm, *arrays):
        return jax.vjp(lambda x, scale, bias: norm(x, scale, bias, groups, 1e-5), *arrays[:3])[1](arrays[3])

    with jax.enable_x64(True):
        arrays = [jnp.asarray(a, jnp.float64) for a in drawn]
        actual = jax.jit(functools.partial(gradients, layers.group_norm))(*arrays)
        wanted = jax.jit(functools.partial(gradients, defined_norm))(*arrays)
        for a, b in zip(actual, wanted, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-9)


def test_group_norm_of_values_whose_squares_overflow_is_finite():
    x = jnp.asarray(normal(0, 2, 4, 4, 6)) * jnp.asarray([1, 1, 1e20, 1e20, 1, 1])
    found = layers.group_norm(x, jnp.ones(6), jnp.full(6, 0.5), 3, 1e-5)
    np.testing.assert_array_equal(found[..., 2:4], 0.5)
    assert np.isfinite(found).all()


def test_group_norm_in_a_pack_is_that_of_each_alone():
    x, scale, bias, dy = normal(0, 2, 3, 4, 4, 6), normal(1, 2, 6), normal(2, 2, 6), normal(3, 2, 3, 4, 4, 6)

    def gradients(x, scale, bias, dy):
        return jax.vjp(lambda *arrays: layers.group_norm(*arrays, 3, 1e-5), x, scale, bias)[1](dy)

    arrays = x, scale, bias, dy
    for actual, *alone in zip(jax.vmap(gradients)(*arrays), *map(gradients, *arrays), strict=True):
        assert_close(actual, jnp.stack(alone), 2e-6)


def test_silu_is_x_times_its_sigmoid():
    x = np.linspace(-200, 200, 4001, dtype=np.float32)
    sigmoid = 1 / (1 + np.exp(-x.astype(np.float64)))
    exact = x * sigmoid
    np.testing.assert_allclose(layers.silu(jnp.asarray(x)), exact, rtol=3e-7, atol=2e-6)
    np.testing.assert_array_equal(layers.silu(jnp.asarray([0.0, jnp.inf])), [0.0, jnp.inf])
    slopes = jax.vmap(jax.grad(layers.silu))(jnp.asarray(x))
    np.testing.assert_allclose(slopes, sigmoid + exact * (1 - sigmoid), rtol=0, atol=3e-6)
    short = jnp.asarray(x, jnp.bfloat16)
    half = layers.silu(short)
    assert half.dtype == jnp.bfloat16
    wanted = jax.nn.silu(short.astype(jnp.float32))
    np.testing.assert_allclose(half.astype(jnp.float32), wanted, rtol=2.0**-8, atol=1e-5)


def test_group_norm_of_16_bits_is_as_good_as_they_are():
    """Computed in 32: far from zero, a mean of 16-bit numbers would lose what it is to keep."""
    x = 30 + np.random.default_rng(0).standard_normal((2, 8, 8, 8)).astype(np.float32)
    scale, bias = jnp.ones(8), jnp.zeros(8)
    short = jnp.asarray(x, jnp.bfloat16)
    exact = layers.group_norm(short.astype(jnp.float32), scale, bias, 2, 1e-5)
    found = layers.group_norm(short, scale.astype(jnp.bfloat16), bias.astype(jnp.bfloat16), 2, 1e-5)
    assert found.dtype == jnp.bfloat16
    assert np.abs(found.astype(np.float32) - exact).max() <= 2.0**-8 * np.abs(exact).max()


def attention(q, k, v):
    """The definition, one head and one position at a time, and its gradients are JAX's."""
    heads = []
    for head in range(q.shape[2]):
        scores = jnp.einsum("bif,bjf->bij", q[:, :, head], k[:, :, head], precision="highest") / q.shape[-1] ** 0.5
        heads.append(jnp.einsum("bij,bjf->bif", jax.nn.softmax(scores), v[:, :, head], precision="highest"))
    return jnp.stack(heads, axis=2)


@pytest.mark.parametrize(("positions", "heads", "features"), [(1, 1, 4), (9, 3, 5), (16, 2, 8)])
def test_attention_and_its_gradients_are_its_definition(positions, heads, features):
    q, k, v, dy = (jnp.asarray(normal(seed, 3, positions, heads, features)) for seed in range(4))
    y, back = jax.vjp(layers.attend, q, k, v)
    wanted, wanted_back = jax.vjp(attention, q, k, v)
    assert_close(y, wanted, 1e-6)
    largest = max(float(jnp.abs(g).max()) for g in wanted_back(dy))  # one position: those of q and k are 0
    for actual, expected in zip(back(dy), wanted_back(dy), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=0, atol=2e-6 * largest)


def test_attention_in_a_pack_is_that_of_each_alone():
    q, k, v, dy = (jnp.asarray(normal(seed, 2, 3, 8, 2, 4)) for seed in range(4))

    def gradients(*arrays):
        return jax.vjp(layers.attend, *arrays[:3])[1](arrays[3])

    for actual, *alone in zip(jax.vmap(gradients)(q, k, v, dy), *map(gradients, q, k, v, dy), strict=True):
        np.testing.assert_allclose(actual, jnp.stack(alone), rtol=0, atol=1e-6)


def test_attention_of_16_bits_is_as_good_as_they_are():
    arrays = [jnp.asarray(normal(seed, 2, 16, 2, 8)) for seed in range(4)]
    half = [a.astype(jnp.bfloat16) for a in arrays]
    y, back = jax.vjp(layers.attend, *half[:3])
    wanted, wanted_back = jax.vjp(attention, *arrays[:3])
    assert y.dtype == jnp.bfloat16
    assert_close(y.astype(jnp.float32), wanted, 0.03)
    for actual, expected in zip(back(half[3]), wanted_back(arrays[3]), strict=True):
        assert actual.dtype == jnp.bfloat16
        assert_close(actual.astype(jnp.float32), expected, 0.05)

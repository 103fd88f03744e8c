"""DiT: what it starts as, and its forward pass written out patch by patch in NumPy."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from shadow.denoisers.dit import DiT, position_features
from shadow.denoisers.times import time_features

SHAPE = {"size": 8, "patch": 4, "width": 8, "depth": 1, "heads": 2}
RNG = np.random.default_rng(0)
X = RNG.standard_normal((3, 8, 8, 1)).astype(np.float32)
T = np.array([0, 7, 999], np.int32)


def awake(**shape):
    """A network whose zero-initialised parts (and biases) are random too, with its parameters by path."""
    model = DiT(**{**SHAPE, **shape}, rngs=nnx.Rngs(0))
    rng = np.random.default_rng(1)
    state = jax.tree.map(
        lambda leaf: jnp.asarray(0.4 * rng.standard_normal(leaf.shape), jnp.float32), nnx.state(model, nnx.Param)
    )
    nnx.update(model, state)
    return model, nnx.to_pure_dict(state)


def naive(p, x, t, size, patch, width, depth, heads, overlap=False):
    """One image, float64, token by token. With overlap a token has half a patch more on every side."""
    margin = patch // 2 if overlap else 0
    x = np.pad(x, ((margin, margin), (margin, margin), (0, 0)))
    window = patch + 2 * margin
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), p)

    def linear(layer, v):
        return v @ layer["kernel"] + layer["bias"]

    def silu(v):
        return v / (1 + np.exp(-v))

    def gelu(v):
        return 0.5 * v * (1 + np.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3)))

    def norm(v):
        return (v - v.mean()) / np.sqrt(v.var() + 1e-6)

    def wave(value, n):
        angles = [value * 10_000 ** (-i / n) for i in range(n)]
        return np.sin(angles), np.cos(angles)

    sine, cosine = wave(float(t), width // 2)
    condition = silu(linear(p["time2"], silu(linear(p["time1"], np.concatenate([cosine, sine])))))
    side = size // patch
    tokens = []
    for row in range(side):
        for column in range(side):
            inside = x[row * patch : row * patch + window, column * patch : column * patch + window, 0]
            place = np.concatenate([*wave(row, width // 4), *wave(column, width // 4)])
            tokens.append(linear(p["embed"], inside.astype(np.float64).ravel()) + place)
    for b in range(depth):
        block = p["blocks"][b]
        shift1, scale1, gate1, shift2, scale2, gate2 = np.split(linear(block["modulation"], condition), 6)
        qkv = [linear(block["qkv"], norm(h) * (1 + scale1) + shift1).reshape(3, heads, -1) for h in tokens]
        mixed = []
        for i in range(len(tokens)):
            parts = []
            for head in range(heads):
                scores = [qkv[i][0, head] @ other[1, head] / math.sqrt(width / heads) for other in qkv]
                share = np.exp(scores) / np.exp(scores).sum()
                parts.append(sum(s * other[2, head] for s, other in zip(share, qkv, strict=True)))
            mixed.append(np.concatenate(parts))
        tokens = [h + gate1 * linear(block["project"], m) for h, m in zip(tokens, mixed, strict=True)]
        tokens = [
            h + gate2 * linear(block["contract"], gelu(linear(block["expand"], norm(h) * (1 + scale2) + shift2)))
            for h in tokens
        ]
    shift, scale = np.split(linear(p["last_modulation"], condition), 2)
    out = np.zeros((size + 2 * margin, size + 2 * margin, 1))
    for i, h in enumerate(tokens):
        row, column = divmod(i, side)
        patch_out = linear(p["unembed"], norm(h) * (1 + scale) + shift).reshape(window, window)
        out[row * patch : row * patch + window, column * patch : column * patch + window, 0] += patch_out
    return out[margin : margin + size, margin : margin + size]


def test_output_is_zero_at_the_start():
    out = jax.jit(DiT(**SHAPE, rngs=nnx.Rngs(0)))(X, T)
    assert out.shape == X.shape
    assert out.dtype == jnp.float32
    assert not np.asarray(out).any()


def test_blocks_are_the_identity_at_the_start():
    model = DiT(**SHAPE, rngs=nnx.Rngs(0))
    tokens = RNG.standard_normal((3, 4, 8)).astype(np.float32)
    condition = RNG.standard_normal((3, 8)).astype(np.float32)
    assert np.array_equal(model.blocks[0](tokens, condition), tokens)


@pytest.mark.parametrize(
    "shape",
    [
        {},
        {"patch": 2, "depth": 2, "heads": 4},
        {"size": 12, "depth": 0},
        {"overlap": True},
        {"size": 12, "patch": 2, "overlap": True},
        {"patch": 8, "overlap": True},
    ],
)
def test_forward_pass_against_numpy(shape):
    model, params = awake(**shape)
    full = {**SHAPE, **shape}
    x = np.random.default_rng(2).standard_normal((2, full["size"], full["size"], 1)).astype(np.float32)
    t = np.array([3, 500], np.int32)
    actual = np.asarray(jax.jit(model)(x, t))
    for i in range(2):
        expected = naive(params, x[i], t[i], **full)
        np.testing.assert_allclose(actual[i], expected, rtol=2e-3, atol=2e-3 * np.abs(expected).max())


def test_patches_come_back_to_their_place():
    """Without blocks tokens do not meet: an output pixel depends on the pixels of its own patch, and on all."""
    model, _ = awake(depth=0)
    jacobian = jax.jit(jax.jacrev(lambda x: model(x[None], jnp.array([5]))[0]))(jnp.asarray(X[0]))
    holds_relative = np.abs(np.asarray(jacobian)).reshape(8, 8, 8, 8) > 0
    for y, x in np.ndindex(8, 8):
        own = np.zeros((8, 8), bool)
        own[y // 4 * 4 : y // 4 * 4 + 4, x // 4 * 4 : x // 4 * 4 + 4] = True
        assert np.array_equal(holds_relative[y, x], own)


def test_overlapping_windows_reach_half_a_patch_further():
    """Without blocks a pixel is written by four tokens: by those within whose windows it lies, and by all of them."""
    model, _ = awake(size=16, depth=0, overlap=True)
    image = np.random.default_rng(4).standard_normal((16, 16, 1)).astype(np.float32)
    jacobian = jax.jit(jax.jacrev(lambda x: model(x[None], jnp.array([5]))[0]))(jnp.asarray(image))
    seen = np.abs(np.asarray(jacobian)).reshape(16, 16, 16, 16) > 0
    for y, x in np.ndindex(16, 16):
        wanted = np.zeros((16, 16), bool)
        for row, column in np.ndindex(4, 4):
            top, left = 4 * row - 2, 4 * column - 2
            if top <= y < top + 8 and left <= x < left + 8:
                wanted[max(top, 0) : top + 8, max(left, 0) : left + 8] = True
        assert np.array_equal(seen[y, x], wanted)


def test_images_of_a_batch_do_not_meet():
    model, _ = awake()
    apply = jax.jit(model)
    together = np.asarray(apply(X, T))
    alone = np.concatenate([np.asarray(apply(X[i : i + 1], T[i : i + 1])) for i in range(3)])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert np.abs(np.asarray(apply(X, T[::-1])) - together).max() > 1e-3  # the time counts


def test_features():
    assert position_features(3, 8).shape == (9, 8)
    assert len(np.unique(position_features(3, 8).round(5), axis=0)) == 9
    assert time_features(jnp.asarray(T), 8).shape == (3, 8)
    assert len(np.unique(np.asarray(time_features(jnp.arange(1000), 8)).round(4), axis=0)) == 1000


@pytest.mark.parametrize(
    ("shape", "field"),
    [
        ({"patch": 3}, "data.resolution by denoiser.patch"),
        ({"patch": 0}, "data.resolution by denoiser.patch"),
        ({"patch": 16}, "data.resolution by denoiser.patch"),
        ({"patch": 1, "overlap": True}, "denoiser.patch by 2"),
        ({"heads": 3}, "denoiser.width by denoiser.heads"),
        ({"heads": 0}, "denoiser.width by denoiser.heads"),
        ({"heads": -2}, "denoiser.width by denoiser.heads"),
        ({"width": 6}, "denoiser.width by 4"),
        ({"width": 0}, "denoiser.width"),
        ({"width": -8}, "denoiser.width"),
    ],
)
def test_sizes_that_do_not_divide_are_refused(shape, field):
    with pytest.raises(ValueError, match=field):
        DiT(**{**SHAPE, **shape}, rngs=nnx.Rngs(0))

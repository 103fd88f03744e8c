"""The arithmetic of a convolutional denoiser, written for speed: pure functions of NHWC images and parameters.

On a GPU a convolution is XLA's, which is cuDNN's. On a CPU XLA (0.10) runs a two-dimensional convolution of fewer than
some hundred channels on one thread whatever the number of threads, and one whose kernels differ under vmap at a third
of its speed, but matrix products and one-dimensional convolutions on all threads: so here convolutions are made of
those (docs/results.md has the measurements).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

Padding = Sequence[tuple[int, int]]  # before and after, of rows and of columns

# Winograd's F(4, 3), 4 outputs of a filter of 3 taps from 6 inputs by 6 products instead of 12, with the points
# 0, 1, -1, 2, -2 and infinity: y = A' ((G g) * (B' d)) (Lavin and Gray 2016, arXiv 1509.09308, section 4.3).
_TILE = 4
_B = (
    (4, 0, -5, 0, 1, 0),
    (0, -4, -4, 1, 1, 0),
    (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0),
    (0, 4, 0, -5, 0, 1),
)  # rows: components; columns: inputs
_G = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)  # rows: components; columns: taps
_A = ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1))  # rows: outputs
_MANY = 16  # channels from which Winograd's algorithm is worth its compilation
_FEW = 4  # channels: below, one product with all taps side by side is no larger than those of other convolutions


def convolve(x: jax.Array, kernel: jax.Array, padding: Padding, stride: int = 1) -> jax.Array:
    """x [batch, h, w, inputs] by kernel [kh, kw, inputs, outputs]; padding of rows, then of columns."""
    height, width, inputs, outputs = kernel.shape
    if height == width == stride == 1 and not any(map(any, padding)):
        product = _product if jax.default_backend() == "cpu" else jnp.matmul
        return product(x, kernel[0, 0])  # half the time of the convolution on CPU
    reachable = all(0 <= p < k for pads, k in zip(padding, (height, width), strict=True) for p in pads)
    if jax.default_backend() != "cpu" or stride != 1 or not reachable:
        return _convolve_xla(x, kernel, padding, stride)
    if inputs <= _FEW:
        return _convolve_taps(x, kernel, padding)
    if outputs <= _FEW:
        return _convolve_spread(x, kernel, padding)
    # of fewer rows most of a tile would be waste; of fewer channels there is little to gain, and long to compile
    if height == 3 and x.shape[1] + sum(padding[0]) >= 5 and min(inputs, outputs) >= _MANY:
        return _convolve_rows(x, kernel, tuple(map(tuple, padding)))
    return _convolve_xla(x, kernel, padding, stride)


def _convolve_xla(x: jax.Array, kernel: jax.Array, padding: Padding, stride: int) -> jax.Array:
    dimensions = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel, (stride, stride), padding, dimension_numbers=dimensions)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _product(x: jax.Array, weights: jax.Array, dtype: jnp.dtype | None = None) -> jax.Array:
    """x [batch, ..., inputs] by weights [inputs, outputs], in `dtype` or that of x.

    The gradient in the weights as JAX derives it has XLA transpose dy, which takes several times as long as the
    product: here it is a sum of products over parts of the batch (as in `_to_kernel`), and nothing is transposed."""
    return jnp.matmul(x, weights, preferred_element_type=dtype)


def _product_fwd(
    x: jax.Array, weights: jax.Array, dtype: jnp.dtype | None
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _product(x, weights, dtype), (x, weights)


def _product_bwd(
    dtype: jnp.dtype | None, saved: tuple[jax.Array, jax.Array], dy: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, weights = saved
    dx = jnp.matmul(dy, weights.T, preferred_element_type=_wider(x.dtype)).astype(x.dtype)
    return dx, _summed(x, dy).astype(weights.dtype)


_product.defvjp(_product_fwd, _product_bwd)


def _summed(x: jax.Array, dy: jax.Array) -> jax.Array:
    """The sum over all pixels of x [batch, ..., inputs] by dy [batch, ..., outputs]: [inputs, outputs].

    The long sum is cut in 4, for which there are threads and caches: [part, inputs, pixel] @ [part, pixel, outputs],
    the order in which XLA need not transpose. The wider of the two is on the right: half the time of the other way."""
    if x.shape[-1] > dy.shape[-1]:
        return _summed(dy, x).T
    parts, wide = math.gcd(x.shape[0], 4), _wider(x.dtype)
    columns = x.astype(wide).reshape(parts, -1, x.shape[-1]).transpose(0, 2, 1)
    products = columns @ dy.astype(wide).reshape(parts, -1, dy.shape[-1])
    return functools.reduce(jnp.add, products)  # not sum(0), which takes a hundred times as long


def _padded(x: jax.Array, rows: tuple[int, int], columns: tuple[int, int]) -> jax.Array:
    """Zeros around the images of x; negative numbers cut."""
    return jax.lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), (*rows, 0), (*columns, 0), (0, 0, 0)))


def _convolve_taps(x: jax.Array, kernel: jax.Array, padding: Padding) -> jax.Array:
    """One product of all pixels under the kernel, side by side: for few inputs."""
    kh, kw, _, outputs = kernel.shape
    x = _padded(x, padding[0], padding[1])
    h, w = x.shape[1] - kh + 1, x.shape[2] - kw + 1
    taps = jnp.concatenate([x[:, i : i + h, j : j + w] for i in range(kh) for j in range(kw)], axis=-1)
    return _product(taps, kernel.reshape(-1, outputs))


def _convolve_spread(x: jax.Array, kernel: jax.Array, padding: Padding) -> jax.Array:
    """One product with all taps, whose results are added up where they belong: for few outputs."""
    kh, kw, inputs, _ = kernel.shape
    h, w = (x.shape[1 + a] + sum(padding[a]) - kernel.shape[a] + 1 for a in range(2))
    taps = kernel.transpose(2, 0, 1, 3).reshape(inputs, -1)
    products = _product(x, taps, _wider(x.dtype))
    parts = jnp.split(_padded(products, padding[0], padding[1]), kh * kw, axis=-1)
    shifted = [parts[i * kw + j][:, i : i + h, j : j + w] for i in range(kh) for j in range(kw)]
    return functools.reduce(jnp.add, shifted).astype(x.dtype)


def _mix(weights: Sequence[float], parts: Sequence[jax.Array]) -> jax.Array:
    """The sum of parts times weights, without those of weight 0."""
    terms = [p if c == 1 else p * c for c, p in zip(weights, parts, strict=True) if c]
    return functools.reduce(jnp.add, terms)


def _components(x: jax.Array, rows: tuple[int, int], tiles: int) -> list[jax.Array]:
    """B' along the rows of x, padded at the top and cut into `tiles`: 6 of [batch, tiles, w, channels]."""
    x = _padded(x, (rows[0], _TILE * tiles + 2 - x.shape[1] - rows[0]), (0, 0))
    lines = [x[:, i : i + _TILE * (tiles - 1) + 1 : _TILE] for i in range(_TILE + 2)]
    return [_mix(weights, lines) for weights in _B]


def _tiles(height: int, rows: tuple[int, int]) -> tuple[int, int]:
    """Rows of the output, and the tiles that cover them."""
    out = height + sum(rows) - 2
    return out, -(-out // _TILE)


def _forward(x: jax.Array, kernel: jax.Array, padding: Padding) -> jax.Array:
    """Winograd's algorithm along the rows, one-dimensional convolutions along the columns; kernel of height 3."""
    dtype, (batch, height, width, inputs) = x.dtype, x.shape
    kw, outputs = kernel.shape[1], kernel.shape[-1]
    out, tiles = _tiles(height, padding[0])
    x, kernel = x.astype(_wider(dtype)), kernel.astype(_wider(dtype))
    products = []
    for component, weights in zip(_components(x, padding[0], tiles), _G, strict=True):
        image_rows = component.reshape(batch * tiles, width, inputs)
        taps = _mix(weights, list(kernel))
        dimensions = ("NWC", "WIO", "NWC")
        products.append(
            jax.lax.conv_general_dilated(image_rows, taps, (1,), [padding[1]], dimension_numbers=dimensions)
        )
    columns = width + sum(padding[1]) - kw + 1
    # each component times its column of A', not four sums side by side: no branch in XLA's inner loop
    parts = [p.reshape(batch, tiles, 1, columns, outputs) for p in products]
    column = [jnp.array(c, x.dtype).reshape(_TILE, 1, 1) for c in zip(*_A, strict=True)]
    y = functools.reduce(jnp.add, [p * c for p, c in zip(parts, column, strict=True)])
    y = y.reshape(batch, _TILE * tiles, columns, outputs)
    return y[:, :out].astype(dtype)


def _wider(dtype: jnp.dtype) -> jnp.dtype:
    """At least float32, in which sums are taken."""
    return jnp.promote_types(dtype, jnp.float32)


def _to_images(dy: jax.Array, kernel: jax.Array, padding: Padding) -> jax.Array:
    """The gradient in x: dy by the kernel turned round."""
    turned = kernel[::-1, ::-1].transpose(0, 1, 3, 2)
    sides = [(k - 1 - a, k - 1 - b) for k, (a, b) in zip(kernel.shape, padding, strict=False)]
    return _forward(dy, turned, sides)


def _to_kernel(x: jax.Array, dy: jax.Array, padding: Padding, kw: int) -> jax.Array:
    """The gradient in the kernel [3, kw, inputs, outputs], a product for each component of the transform."""
    (_, height, width, inputs), outputs = x.shape, dy.shape[-1]
    dtype, (left, right) = x.dtype, padding[1]
    x, dy = x.astype(_wider(dtype)), dy.astype(_wider(dtype))
    out, tiles = _tiles(height, padding[0])
    dy = _padded(dy, (0, _TILE * tiles - out), (kw - 1 - left, kw - 1 - right))
    lines = [dy[:, i::_TILE] for i in range(_TILE)]
    taps = []
    for component, weights in zip(_components(x, padding[0], tiles), zip(*_A, strict=True), strict=True):
        spread = _mix(weights, lines)
        columns = [spread[:, :, kw - 1 - j :][:, :, :width].reshape(len(x), -1, outputs) for j in range(kw)]
        shifted = jnp.concatenate(columns, axis=-1)
        taps.append(_summed(component, shifted).reshape(inputs, kw, outputs).swapaxes(0, 1))
    return jnp.stack([_mix(weights, taps) for weights in zip(*_G, strict=True)]).astype(dtype)


def _one_by_one(function: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """`function` of arrays, which under vmap is called for one after the other: a convolution whose kernels are
    mapped would be a grouped one, at a fraction of the speed."""
    mapped = jax.custom_batching.custom_vmap(function)

    @mapped.def_vmap
    def _(size: int, batched: Sequence[bool], *arrays: jax.Array) -> tuple[jax.Array, bool]:
        ones = [mapped(*(a[i] if b else a for a, b in zip(arrays, batched, strict=True))) for i in range(size)]
        return jnp.stack(ones), True

    return mapped


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _convolve_rows(x: jax.Array, kernel: jax.Array, padding: Padding) -> jax.Array:
    return _one_by_one(functools.partial(_forward, padding=padding))(x, kernel)


def _rows_fwd(x: jax.Array, kernel: jax.Array, padding: Padding) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _convolve_rows(x, kernel, padding), (x, kernel)


def _rows_bwd(padding: Padding, saved: tuple[jax.Array, jax.Array], dy: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = saved
    to_images = _one_by_one(functools.partial(_to_images, padding=padding))
    to_kernel = _one_by_one(functools.partial(_to_kernel, padding=padding, kw=kernel.shape[1]))
    return to_images(dy, kernel), to_kernel(x, dy).astype(kernel.dtype)


_convolve_rows.defvjp(_rows_fwd, _rows_bwd)


def convolve_doubled(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Nearest neighbours, then a 3 x 3 convolution: [batch, h, w, inputs] -> [batch, 2 h, 2 w, outputs].

    Done the other way round, on a CPU with a product of each pixel by the 9 taps: an output pixel sees 2 x 2 input
    pixels and is the sum of 9 of their products. A quarter of the work, all of it in one matrix product.
    """
    batch, height, width, inputs = x.shape
    outputs = kernel.shape[-1]
    if jax.default_backend() == "cpu":
        taps = _product(x, kernel.transpose(2, 0, 1, 3).reshape(inputs, -1), _wider(x.dtype))
        lines = _interleaved(jnp.split(taps, 3, axis=-1), axis=1)
        return _interleaved(jnp.split(lines, 3, axis=-1), axis=2).astype(x.dtype)
    # An output pixel sees only 2 x 2 input pixels: four 2 x 2 convolutions, one for each parity of row and column.
    rows = []
    for i, half in enumerate(_phases(kernel, axis=0)):
        quarters = _phases(half, axis=1)
        row = [_convolve_xla(x, quarter, [(1 - i, i), (1 - j, j)], 1) for j, quarter in enumerate(quarters)]
        rows.append(jnp.stack(row, axis=3))
    spread = jnp.stack(rows, axis=2)  # [batch, height, 2, width, 2, outputs]
    return spread.reshape(batch, 2 * height, 2 * width, outputs)


def _interleaved(taps: Sequence[jax.Array], axis: int) -> jax.Array:
    """The axis doubled: products with three taps added up at its even and at its odd places."""
    before, centre, after = taps
    sides = [(0, 0)] * centre.ndim
    size = centre.shape[axis]
    sides[axis] = (1, 0)
    earlier = jax.lax.slice_in_dim(jnp.pad(before, sides), 0, size, axis=axis)
    sides[axis] = (0, 1)
    later = jax.lax.slice_in_dim(jnp.pad(after, sides), 1, size + 1, axis=axis)
    pair = jnp.stack([earlier + centre + after, before + centre + later], axis=axis + 1)
    return pair.reshape(*centre.shape[:axis], 2 * size, *centre.shape[axis + 1 :])


def _phases(kernel: jax.Array, axis: int) -> tuple[jax.Array, jax.Array]:
    """3 taps along `axis` on a doubled image as 2 taps on the image: for even and for odd positions."""
    left, centre, right = jnp.split(kernel, 3, axis)
    return jnp.concatenate([left, centre + right], axis), jnp.concatenate([left + centre, right], axis)


def silu(x: jax.Array) -> jax.Array:
    """x times its sigmoid (Elfwing et al. 2018, arXiv 1702.03118).

    On a CPU with the sigmoid by tanh, a third of the time of XLA's division by 1 + exp(-x); 1.2e-7 from it."""
    if jax.default_backend() != "cpu":
        return jax.nn.silu(x)
    wide = x.astype(_wider(x.dtype))
    return (wide * (0.5 * jnp.tanh(0.5 * wide) + 0.5)).astype(x.dtype)


def group_norm(x: jax.Array, scale: jax.Array, bias: jax.Array, groups: int, epsilon: float) -> jax.Array:
    """Group norm of [batch, ..., channels] with the channels' scale and bias (Wu and He 2018, arXiv 1803.08494), in
    float32 at least.

    Sums over positions channel by channel first and over the channels of a group last. Reducing both in one
    go, as flax does, leaves XLA a strided inner loop of channels / groups elements: 3 times slower on CPU.
    """
    if jax.default_backend() == "cpu":
        return _group_norm(x, scale, bias, groups, epsilon)
    return _normalised(x, scale, bias, groups, epsilon)[0]


def _normalised(
    x: jax.Array, scale: jax.Array, bias: jax.Array, groups: int, epsilon: float
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    """The result, and what its gradient needs: x without its mean, and one over the standard deviation."""
    wide = x.astype(_wider(x.dtype))
    count, channels = math.prod(x.shape[1:-1]), x.shape[-1]
    centred = wide - _by_channel(_by_group(_total(wide) / count, groups), channels)
    # Not mean(x^2) - mean(x)^2: that loses the digits which parity with PyTorch needs. Nor by `_total`, here and in the
    # gradient: XLA's mean squares while it sums, the product would have the squares written first, and takes longer.
    variance = jnp.square(centred).mean(tuple(range(1, x.ndim - 1)), keepdims=True)
    inverse = _by_channel(jax.lax.rsqrt(_by_group(variance, groups) + epsilon), channels)
    return (centred * (inverse * scale) + bias).astype(x.dtype), (centred, inverse, scale, bias)


def _total(x: jax.Array) -> jax.Array:
    """The sum over positions, [batch, 1, ..., channels]: on CPU as a product with ones, which has all threads to it."""
    positions = tuple(range(1, x.ndim - 1))
    if jax.default_backend() != "cpu":
        return x.sum(positions, keepdims=True)
    flat = x.reshape(x.shape[0], -1, x.shape[-1])
    total = jnp.matmul(jnp.ones((x.shape[0], 1, flat.shape[1]), x.dtype), flat)
    return total.reshape(x.shape[0], *(1 for _ in positions), x.shape[-1])


def _by_group(y: jax.Array, groups: int) -> jax.Array:
    """Means over the channels of each group: [..., channels] -> [..., groups]."""
    return y.reshape(*y.shape[:-1], groups, -1).mean(-1)


def _by_channel(y: jax.Array, channels: int) -> jax.Array:
    """What is of a group, for each of its channels: [..., groups] -> [..., channels]. On CPU by a product: XLA takes
    what is repeated into the loops over pixels, and does not vectorise these then. `y` is finite (0 times infinity)."""
    groups = y.shape[-1]
    if jax.default_backend() != "cpu":
        return jnp.repeat(y, channels // groups, axis=-1)
    return y @ (jnp.arange(channels) * groups // channels == jnp.arange(groups)[:, None]).astype(y.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _group_norm(x: jax.Array, scale: jax.Array, bias: jax.Array, groups: int, epsilon: float) -> jax.Array:
    """With the gradient by hand: two sums over positions, where JAX derives five and keeps more."""
    return _normalised(x, scale, bias, groups, epsilon)[0]


def _group_norm_bwd(
    groups: int, epsilon: float, saved: tuple[jax.Array, ...], dy: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    centred, inverse, scale, bias = saved
    wide, positions = dy.astype(centred.dtype), tuple(range(1, dy.ndim - 1))
    count, channels = math.prod(dy.shape[1:-1]), dy.shape[-1]
    total, moment = _total(wide), (wide * centred).sum(positions, keepdims=True)
    mean, slope = (_by_channel(_by_group(s * scale, groups), channels) / count for s in (total, moment))
    dx = wide * (inverse * scale) - (centred * (slope * inverse**3) + mean * inverse)
    every = (0, *positions)
    return dx.astype(dy.dtype), (moment * inverse).sum(every).astype(scale.dtype), total.sum(every).astype(bias.dtype)


_group_norm.defvjp(_normalised, _group_norm_bwd)


def attend(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
    """Attention of [batch, position, head, feature], softmax in float32: by cuDNN's fused kernel on a GPU where the
    dtype (16 bits) and the features of a head (at most 128, by eights) let it."""
    if jax.default_backend() == "cpu":
        return _attend(q, k, v)
    fits = q.dtype in (jnp.bfloat16, jnp.float16) and q.shape[-1] % 8 == 0 and q.shape[-1] <= 128
    if fits and jax.default_backend() == "gpu":
        return jax.nn.dot_product_attention(q, k, v, implementation="cudnn")
    return jax.nn.dot_product_attention(q, k, v)


@jax.custom_vjp
def _attend(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
    """As `attend`, with gradients by hand: as JAX derives them XLA transposes the weights [position, position] of
    every head, which takes longer than the products. Here only what is [position, feature] is transposed."""
    return _attend_fwd(q, k, v)[0]


def _attend_fwd(q: jax.Array, k: jax.Array, v: jax.Array) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    logits = _matmul(_rows(q), _columns(k)) * q.shape[-1] ** -0.5
    weights = jax.nn.softmax(logits).astype(v.dtype)
    return _rows(_matmul(weights, _rows(v))).astype(q.dtype), (q, k, v, weights)


def _attend_bwd(saved: tuple[jax.Array, ...], dy: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    q, k, v, weights = saved
    dv = _matmul(_columns(dy), weights)  # [feature, position]
    wide = weights.astype(_wider(q.dtype))
    dweights = _matmul(_rows(dy), _columns(v))
    dlogits = wide * (dweights - (dweights * wide).sum(-1, keepdims=True)) * q.shape[-1] ** -0.5
    dlogits = dlogits.astype(q.dtype)
    dq, dk = _rows(_matmul(dlogits, _rows(k))), _matmul(_columns(q), dlogits)
    return dq.astype(q.dtype), jnp.moveaxis(dk, -1, 1).astype(k.dtype), jnp.moveaxis(dv, -1, 1).astype(v.dtype)


_attend.defvjp(_attend_fwd, _attend_bwd)


def _matmul(x: jax.Array, y: jax.Array) -> jax.Array:
    """Their products, summed and left in at least float32."""
    return jnp.matmul(x, y, preferred_element_type=_wider(x.dtype))


def _rows(x: jax.Array) -> jax.Array:
    """[batch, position, head, feature] -> [batch, head, position, feature], and back."""
    return x.swapaxes(1, 2)


def _columns(x: jax.Array) -> jax.Array:
    """[batch, position, head, feature] -> [batch, head, feature, position]."""
    return jnp.moveaxis(x, 1, -1)

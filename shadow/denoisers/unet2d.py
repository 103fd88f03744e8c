"""The core of PyTorch diffusers' `UNet2DModel` in flax.nnx: unconditional, same arithmetic, same names.

Attributes are called as diffusers calls its modules, so a parameter's path joined with dots is its PyTorch
name, with `kernel` or `scale` in the place of `weight`. A rank-4 kernel is the PyTorch weight with axes
(2, 3, 1, 0), a rank-2 kernel its transpose, everything else is equal. Images are NHWC here.

Left out: dropout, class embeddings, scale-shift time conditioning, other block types and resampling kinds.
Fixed as in diffusers' defaults: SiLU, time embedding of 4 x channels[0] (flip_sin_to_cos, freq_shift 0),
downsample_padding 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

# PyTorch's default for convolutions and linear layers, uniform in +-1/sqrt(fan_in): a third of the variance
# of flax's, so that a network trained here starts where one of diffusers starts. Biases start at zero.
_KERNEL_INIT = nnx.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


def time_features(t: jax.Array, width: int) -> jax.Array:
    """Cosines, then sines, of t [batch] at geometric frequencies: float32 [batch, width], width even."""
    # Rounded at every step as in PyTorch: at t = 1000 the last bit of a frequency moves an angle by 3e-5.
    half = width // 2
    exponents = np.float32(-math.log(10_000.0)) * np.arange(half, dtype=np.float32) / np.float32(half)
    angles = t.astype(jnp.float32)[:, None] * np.exp(exponents)
    return jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=-1)


def _linear(inputs: int, outputs: int, rngs: nnx.Rngs) -> nnx.Linear:
    return nnx.Linear(inputs, outputs, kernel_init=_KERNEL_INIT, rngs=rngs)


def _convolve(x: jax.Array, kernel: jax.Array, padding: Sequence[tuple[int, int]], stride: int = 1) -> jax.Array:
    """x [batch, h, w, inputs] by kernel [kh, kw, inputs, outputs]; padding of rows, then of columns."""
    dimensions = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel, (stride, stride), padding, dimension_numbers=dimensions)


class Conv(nnx.Module):
    """A size x size convolution, padded by size // 2 on every side: at stride 2 not the same as "SAME"."""

    def __init__(self, inputs: int, outputs: int, *, size: int = 3, stride: int = 1, rngs: nnx.Rngs) -> None:
        self.size, self.stride = size, stride
        self.kernel = nnx.Param(_KERNEL_INIT(rngs.params(), (size, size, inputs, outputs), jnp.float32))
        self.bias = nnx.Param(jnp.zeros(outputs))

    def __call__(self, x: jax.Array) -> jax.Array:
        kernel, bias = self.kernel[...], self.bias[...]
        if self.size == self.stride == 1:  # a matrix product: half the time of the convolution on CPU
            return x @ kernel[0, 0] + bias
        return _convolve(x, kernel, [(self.size // 2, self.size // 2)] * 2, self.stride) + bias


class GroupNorm(nnx.Module):
    """Group norm of [batch, ..., channels]; same parameters and values as `nnx.GroupNorm`.

    Sums over positions channel by channel first and over the channels of a group last. Reducing both in one
    go, as flax does, leaves XLA a strided inner loop of channels / groups elements: 3 times slower on CPU.
    """

    def __init__(self, channels: int, groups: int, *, epsilon: float) -> None:
        self.groups, self.epsilon = groups, epsilon
        self.scale = nnx.Param(jnp.ones(channels))
        self.bias = nnx.Param(jnp.zeros(channels))

    def __call__(self, x: jax.Array) -> jax.Array:
        positions = tuple(range(1, x.ndim - 1))

        def group_mean(y: jax.Array) -> jax.Array:
            """The mean over positions and the channels of a group: [batch, 1, ..., channels]."""
            means = y.mean(positions, keepdims=True)
            grouped = means.reshape(*means.shape[:-1], self.groups, -1).mean(-1)
            return jnp.repeat(grouped, x.shape[-1] // self.groups, axis=-1)

        centred = x - group_mean(x)
        # Not mean(x^2) - mean(x)^2: that loses the digits which parity with PyTorch needs.
        factor = jax.lax.rsqrt(group_mean(jnp.square(centred)) + self.epsilon) * self.scale[...]
        return centred * factor + self.bias[...]


class TimestepEmbedding(nnx.Module):
    """Two linear layers with SiLU between: [batch, inputs] -> [batch, outputs]."""

    def __init__(self, inputs: int, outputs: int, *, rngs: nnx.Rngs) -> None:
        self.linear_1 = _linear(inputs, outputs, rngs)
        self.linear_2 = _linear(outputs, outputs, rngs)

    def __call__(self, features: jax.Array) -> jax.Array:
        return self.linear_2(nnx.silu(self.linear_1(features)))


class ResnetBlock2D(nnx.Module):
    """Two convolutions, the time embedding added between: [batch, h, w, inputs] -> [batch, h, w, outputs]."""

    def __init__(
        self, inputs: int, outputs: int, time_width: int, norm_groups: int, epsilon: float, *, rngs: nnx.Rngs
    ) -> None:
        self.norm1 = GroupNorm(inputs, norm_groups, epsilon=epsilon)
        self.conv1 = Conv(inputs, outputs, rngs=rngs)
        self.time_emb_proj = _linear(time_width, outputs, rngs)
        self.norm2 = GroupNorm(outputs, norm_groups, epsilon=epsilon)
        self.conv2 = Conv(outputs, outputs, rngs=rngs)
        self.conv_shortcut = Conv(inputs, outputs, size=1, rngs=rngs) if inputs != outputs else None

    def __call__(self, x: jax.Array, time: jax.Array) -> jax.Array:
        """x [batch, h, w, inputs], time [batch, time_width], already through SiLU."""
        h = self.conv1(nnx.silu(self.norm1(x)))
        h = h + self.time_emb_proj(time)[:, None, None]
        h = self.conv2(nnx.silu(self.norm2(h)))
        return h + (x if self.conv_shortcut is None else self.conv_shortcut(x))


class Attention(nnx.Module):
    """Self-attention over positions with a residual connection: [batch, h, w, channels] -> the same shape."""

    def __init__(self, channels: int, head_dim: int, norm_groups: int, epsilon: float, *, rngs: nnx.Rngs) -> None:
        self.head_dim = head_dim
        self.group_norm = GroupNorm(channels, norm_groups, epsilon=epsilon)
        self.to_q = _linear(channels, channels, rngs)
        self.to_k = _linear(channels, channels, rngs)
        self.to_v = _linear(channels, channels, rngs)
        self.to_out = nnx.List([_linear(channels, channels, rngs)])  # a list, since diffusers has to_out.0

    def __call__(self, x: jax.Array) -> jax.Array:
        batch, height, width, channels = x.shape
        h = self.group_norm(x)
        heads = (batch, height * width, channels // self.head_dim, self.head_dim)
        q, k, v = (project(h).reshape(heads) for project in (self.to_q, self.to_k, self.to_v))
        attended = jax.nn.dot_product_attention(q, k, v)
        return x + self.to_out[0](attended.reshape(x.shape))


class Downsample2D(nnx.Module):
    """A stride-2 convolution: [batch, h, w, channels] -> [batch, h / 2, w / 2, channels]."""

    def __init__(self, channels: int, *, rngs: nnx.Rngs) -> None:
        self.conv = Conv(channels, channels, stride=2, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.conv(x)


def _phases(kernel: jax.Array, axis: int) -> tuple[jax.Array, jax.Array]:
    """3 taps along `axis` on a doubled image as 2 taps on the image: for even and for odd positions."""
    left, centre, right = jnp.split(kernel, 3, axis)
    return jnp.concatenate([left, centre + right], axis), jnp.concatenate([left + centre, right], axis)


class Upsample2D(nnx.Module):
    """Nearest neighbours, then a convolution: [batch, h, w, channels] -> [batch, 2 h, 2 w, channels].

    Done the other way round: an output pixel sees only 2 x 2 different input pixels, so four 2 x 2
    convolutions of the small image, one for each parity of row and column, do with 4/9 of the products.
    """

    def __init__(self, channels: int, *, rngs: nnx.Rngs) -> None:
        self.conv = Conv(channels, channels, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        batch, height, width, channels = x.shape
        rows = []
        for i, half in enumerate(_phases(self.conv.kernel[...], axis=0)):
            quarters = _phases(half, axis=1)
            row = [_convolve(x, kernel, [(1 - i, i), (1 - j, j)]) for j, kernel in enumerate(quarters)]
            rows.append(jnp.stack(row, axis=3))
        spread = jnp.stack(rows, axis=2)  # [batch, height, 2, width, 2, channels]
        return spread.reshape(batch, 2 * height, 2 * width, channels) + self.conv.bias[...]


class DownBlock2D(nnx.Module):
    """One resolution on the way down; with `attentions` it is diffusers' `AttnDownBlock2D`."""

    def __init__(
        self,
        resnets: Sequence[ResnetBlock2D],
        attentions: Sequence[Attention] | None,
        downsampler: Downsample2D | None,
    ) -> None:
        self.resnets = nnx.List(resnets)
        self.attentions = None if attentions is None else nnx.List(attentions)
        self.downsamplers = None if downsampler is None else nnx.List([downsampler])

    def __call__(self, h: jax.Array, time: jax.Array) -> tuple[jax.Array, list[jax.Array]]:
        """The block's output, and what every layer hands to the way up."""
        skips = []
        for i, resnet in enumerate(self.resnets):
            h = resnet(h, time)
            if self.attentions is not None:
                h = self.attentions[i](h)
            skips.append(h)
        if self.downsamplers is not None:
            h = self.downsamplers[0](h)
            skips.append(h)
        return h, skips


class UNetMidBlock2D(nnx.Module):
    """The lowest resolution: residual block, attention where there is one, residual block."""

    def __init__(self, resnets: Sequence[ResnetBlock2D], attention: Attention | None) -> None:
        self.resnets = nnx.List(resnets)
        self.attentions = None if attention is None else nnx.List([attention])

    def __call__(self, h: jax.Array, time: jax.Array) -> jax.Array:
        h = self.resnets[0](h, time)
        if self.attentions is not None:
            h = self.attentions[0](h)
        return self.resnets[1](h, time)


class UpBlock2D(nnx.Module):
    """One resolution on the way up; with `attentions` it is diffusers' `AttnUpBlock2D`."""

    def __init__(
        self,
        resnets: Sequence[ResnetBlock2D],
        attentions: Sequence[Attention] | None,
        upsampler: Upsample2D | None,
    ) -> None:
        self.resnets = nnx.List(resnets)
        self.attentions = None if attentions is None else nnx.List(attentions)
        self.upsamplers = None if upsampler is None else nnx.List([upsampler])

    def __call__(self, h: jax.Array, skips: list[jax.Array], time: jax.Array) -> jax.Array:
        """`skips`: one a residual block, the last made is used first."""
        for i, resnet in enumerate(self.resnets):
            h = resnet(jnp.concatenate([h, skips[-1 - i]], axis=-1), time)
            if self.attentions is not None:
                h = self.attentions[i](h)
        return h if self.upsamplers is None else self.upsamplers[0](h)


class UNet2D(nnx.Module):
    """(x [batch, height, width, in_channels], t [batch]) -> [batch, height, width, out_channels].

    `x` is float32, `t` int or float. `channels`, `layers` and `norm_groups` are block_out_channels,
    layers_per_block and norm_num_groups of diffusers. `attention` says for each resolution, from the finest,
    whether its blocks are AttnDownBlock2D, AttnUpBlock2D (None: nowhere); `mid_attention` is add_attention.

    Raises ValueError naming the field where `channels` is empty or holds a number that `norm_groups` (or,
    under attention, `attention_head_dim`) does not divide, where channels[0] is odd, `attention` is not as
    long as `channels`, or a count is below 1. Called, where `x` does not fit in_channels, `t` is not [batch],
    or height or width cannot be halved len(channels) - 1 times.
    """

    def __init__(
        self,
        *,
        channels: Sequence[int],
        layers: int,
        norm_groups: int,
        in_channels: int = 1,
        out_channels: int = 1,
        attention: Sequence[bool] | None = None,
        mid_attention: bool = False,
        attention_head_dim: int = 8,
        norm_eps: float = 1e-5,
        rngs: nnx.Rngs,
    ) -> None:
        channels = tuple(channels)
        attended = (False,) * len(channels) if attention is None else tuple(attention)
        _check(
            channels,
            layers,
            norm_groups,
            in_channels,
            out_channels,
            attended,
            mid_attention,
            attention_head_dim,
        )
        self.in_channels, self.levels = in_channels, len(channels)
        self.width = channels[0]  # of the sinusoids
        time_width = 4 * channels[0]

        def resnet(inputs: int, outputs: int) -> ResnetBlock2D:
            return ResnetBlock2D(inputs, outputs, time_width, norm_groups, norm_eps, rngs=rngs)

        def attend(width: int) -> Attention:
            return Attention(width, attention_head_dim, norm_groups, norm_eps, rngs=rngs)

        self.conv_in = Conv(in_channels, channels[0], rngs=rngs)
        self.time_embedding = TimestepEmbedding(channels[0], time_width, rngs=rngs)

        down_blocks = []
        widths = [channels[0]]  # of the skips, in the order in which they are made
        for i, width in enumerate(channels):
            resnets = [resnet(widths[-1] if j == 0 else width, width) for j in range(layers)]
            attentions = [attend(width) for _ in resnets] if attended[i] else None
            last = i == len(channels) - 1
            downsampler = None if last else Downsample2D(width, rngs=rngs)
            down_blocks.append(DownBlock2D(resnets, attentions, downsampler))
            widths += [width] * (layers + (not last))
        self.down_blocks = nnx.List(down_blocks)

        lowest = channels[-1]
        middle = [resnet(lowest, lowest) for _ in range(2)]
        self.mid_block = UNetMidBlock2D(middle, attend(lowest) if mid_attention else None)

        up_blocks = []
        below = lowest
        for i, width in reversed(list(enumerate(channels))):
            # One more than on the way down: for the skip of the finer down-sampler, or of conv_in.
            resnets = [resnet((below if j == 0 else width) + widths.pop(), width) for j in range(layers + 1)]
            attentions = [attend(width) for _ in resnets] if attended[i] else None
            up_blocks.append(UpBlock2D(resnets, attentions, Upsample2D(width, rngs=rngs) if i else None))
            below = width
        self.up_blocks = nnx.List(up_blocks)

        self.conv_norm_out = GroupNorm(channels[0], norm_groups, epsilon=norm_eps)
        self.conv_out = Conv(channels[0], out_channels, rngs=rngs)

    def __call__(self, x: jax.Array, t: jax.Array) -> jax.Array:
        if x.ndim != 4 or x.shape[-1] != self.in_channels:
            raise ValueError(f"x has shape {x.shape}: not [batch, height, width, in_channels = {self.in_channels}]")
        if t.shape != x.shape[:1]:
            raise ValueError(f"t has shape {t.shape}: not [batch] = ({x.shape[0]},)")
        for name, side in (("height", x.shape[1]), ("width", x.shape[2])):
            if side % 2 ** (self.levels - 1):
                raise ValueError(f"{name} = {side} cannot be halved {self.levels - 1} times (channels)")

        # Every residual block passes the embedding through SiLU first: done once here.
        time = nnx.silu(self.time_embedding(time_features(t, self.width)))
        h = self.conv_in(x)
        skips = [h]
        for down in self.down_blocks:
            h, made = down(h, time)
            skips += made
        h = self.mid_block(h, time)
        for up in self.up_blocks:
            used = len(up.resnets)
            h = up(h, skips[-used:], time)
            del skips[-used:]
        return self.conv_out(nnx.silu(self.conv_norm_out(h)))


def _check(
    channels: tuple[int, ...],
    layers: int,
    norm_groups: int,
    in_channels: int,
    out_channels: int,
    attention: tuple[bool, ...],
    mid_attention: bool,
    attention_head_dim: int,
) -> None:
    """Raises ValueError naming the first field that does not fit."""
    for name, count in (
        ("layers", layers),
        ("norm_groups", norm_groups),
        ("in_channels", in_channels),
        ("out_channels", out_channels),
        ("attention_head_dim", attention_head_dim),
    ):
        if count < 1:
            raise ValueError(f"{name} = {count}: must be at least 1")
    if not channels:
        raise ValueError("channels is empty: give the features of at least one resolution")
    for width in channels:
        if width < 1 or width % norm_groups:
            raise ValueError(f"channels = {channels}: {width} is not divisible by norm_groups = {norm_groups}")
    if channels[0] % 2:
        raise ValueError(f"channels = {channels}: the first must be even (half cosines, half sines of the time)")
    if len(attention) != len(channels):
        raise ValueError(f"attention = {attention}: not one flag for each of channels = {channels}")
    attended = {width for width, flag in zip(channels, attention, strict=True) if flag}
    for width in sorted(attended | ({channels[-1]} if mid_attention else set())):
        if width % attention_head_dim:
            raise ValueError(f"attention_head_dim = {attention_head_dim} does not divide channels {width}")

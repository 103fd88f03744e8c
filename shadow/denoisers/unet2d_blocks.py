"""The blocks of PyTorch diffusers' `UNet2DModel` in flax.nnx: same arithmetic, same names. Images are NHWC."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from shadow.denoisers import layers
from shadow.denoisers.unet2d_config import UNet2DConfig

# PyTorch's default for convolutions and linear layers, uniform in +-1/sqrt(fan_in): a third of the variance
# of flax's, so that a network trained here starts where one of diffusers starts. Biases start at zero.
_KERNEL_INIT = nnx.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
_FOURIER_SCALE = 16.0

Activation: TypeAlias = Callable[[jax.Array], jax.Array]
ACTIVATIONS: dict[str, Activation] = {
    "silu": layers.silu,
    "swish": layers.silu,
    "mish": lambda x: x * jnp.tanh(nnx.softplus(x)),
    "gelu": partial(nnx.gelu, approximate=False),
    "relu": nnx.relu,
}


def dropout(rate: float, key: jax.Array | None) -> Activation:
    """What a residual block does before its second convolution: each call has noise of its own; without a key, none."""
    if not rate or key is None:
        return lambda h: h
    calls = itertools.count()

    def drop(h: jax.Array) -> jax.Array:
        kept = jax.random.bernoulli(jax.random.fold_in(key, next(calls)), 1 - rate, h.shape)
        return jnp.where(kept, h / (1 - rate), jnp.zeros_like(h))

    return drop


def _linear(inputs: int, outputs: int, rngs: nnx.Rngs) -> nnx.Linear:
    return nnx.Linear(inputs, outputs, kernel_init=_KERNEL_INIT, rngs=rngs)


class Conv(nnx.Module):
    """A size x size convolution, padded by size // 2 on every side: at stride 2 not the same as "SAME"."""

    def __init__(
        self, inputs: int, outputs: int, *, size: int = 3, stride: int = 1, pad_before: bool = True, rngs: nnx.Rngs
    ) -> None:
        after = size // 2
        self.stride, self.padding = stride, (after if pad_before else 0, after)
        self.kernel = nnx.Param(_KERNEL_INIT(rngs.params(), (size, size, inputs, outputs), jnp.float32))
        self.bias = nnx.Param(jnp.zeros(outputs))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Features x [image, side, side, channel], changed."""
        return layers.convolve(x, self.kernel[...], (self.padding, self.padding), self.stride) + self.bias[...]


class GroupNorm(nnx.Module):
    """Group norm of [batch, ..., channels]; same parameters and values as `nnx.GroupNorm`."""

    def __init__(self, channels: int, groups: int, *, epsilon: float) -> None:
        self.groups, self.epsilon = groups, epsilon
        self.scale = nnx.Param(jnp.ones(channels))
        self.bias = nnx.Param(jnp.zeros(channels))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Features x [image, side, side, channel], changed."""
        return layers.group_norm(x, self.scale[...], self.bias[...], self.groups, self.epsilon)


class FourierProjection(nnx.Module):
    """Sines, then cosines, of 2 pi w log t, w random and never trained: [batch] -> [batch, 2 width]."""

    def __init__(self, width: int, *, rngs: nnx.Rngs) -> None:
        self.weight = nnx.Param(_FOURIER_SCALE * jax.random.normal(rngs.params(), (width,)))

    def __call__(self, t: jax.Array) -> jax.Array:
        """Features of times t [image]."""
        weight = jax.lax.stop_gradient(self.weight[...]).astype(jnp.float32)
        angles = jnp.log(t.astype(jnp.float32))[:, None] * weight * 2 * np.pi
        return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


class TimestepEmbedding(nnx.Module):
    """Two linear layers with SiLU between: [batch, inputs] -> [batch, outputs]."""

    def __init__(self, inputs: int, outputs: int, *, rngs: nnx.Rngs) -> None:
        self.linear_1 = _linear(inputs, outputs, rngs)
        self.linear_2 = _linear(outputs, outputs, rngs)

    def __call__(self, features: jax.Array) -> jax.Array:
        """Embedded features [image, feature]."""
        return self.linear_2(layers.silu(self.linear_1(features)))


def _halve(x: jax.Array) -> jax.Array:
    """Means of 2 x 2 pixels; a last odd row or column is left out."""
    batch, height, width, channels = x.shape
    x = x[:, : height // 2 * 2, : width // 2 * 2]
    return x.reshape(batch, height // 2, 2, width // 2, 2, channels).mean((2, 4))


def _double(x: jax.Array) -> jax.Array:
    return jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)


class ResnetBlock2D(nnx.Module):
    """Two convolutions, the time embedding between: [batch, h, w, inputs] -> [batch, h, w, outputs].

    With `resize` "down" or "up" the image is halved or doubled before the first of them.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        config: UNet2DConfig,
        *,
        resize: str = "",
        scale: float = 1.0,
        rngs: nnx.Rngs,
    ) -> None:
        groups, epsilon = config.norm_num_groups, config.norm_eps
        self.modulated = config.resnet_time_scale_shift == "scale_shift"
        self.act, self.resize, self.output_scale = config.act_fn, resize, scale
        self.norm1 = GroupNorm(inputs, groups, epsilon=epsilon)
        self.conv1 = Conv(inputs, outputs, rngs=rngs)
        self.time_emb_proj = _linear(config.time_width, (1 + self.modulated) * outputs, rngs)
        self.norm2 = GroupNorm(outputs, groups, epsilon=epsilon)
        self.conv2 = Conv(outputs, outputs, rngs=rngs)
        self.conv_shortcut = Conv(inputs, outputs, size=1, rngs=rngs) if inputs != outputs else None

    def __call__(self, x: jax.Array, time: jax.Array, drop: Activation) -> jax.Array:
        """x [batch, h, w, inputs], time [batch, time_width], already through the activation."""
        act = ACTIVATIONS[self.act]
        h = act(self.norm1(x))
        if self.resize == "up":
            h = layers.convolve_doubled(h, self.conv1.kernel[...]) + self.conv1.bias[...]
            x = _double(x)
        else:
            if self.resize:
                h, x = _halve(h), _halve(x)
            h = self.conv1(h)
        moment = self.time_emb_proj(time)[:, None, None]
        if self.modulated:
            gain, offset = jnp.split(moment, 2, axis=-1)
            h = self.norm2(h) * (1 + gain) + offset
        else:
            h = self.norm2(h + moment)
        h = self.conv2(drop(act(h)))
        return (h + (x if self.conv_shortcut is None else self.conv_shortcut(x))) / self.output_scale


class Attention(nnx.Module):
    """Self-attention over positions with a residual connection: [batch, h, w, channels] -> the same shape."""

    def __init__(
        self, channels: int, head_dim: int, norm_groups: int, epsilon: float, *, scale: float = 1.0, rngs: nnx.Rngs
    ) -> None:
        self.head_dim, self.output_scale = head_dim or channels, scale
        self.group_norm = GroupNorm(channels, norm_groups, epsilon=epsilon) if norm_groups else None
        self.to_q = _linear(channels, channels, rngs)
        self.to_k = _linear(channels, channels, rngs)
        self.to_v = _linear(channels, channels, rngs)
        self.to_out = nnx.List([_linear(channels, channels, rngs)])  # a list, since diffusers has to_out.0

    def __call__(self, x: jax.Array) -> jax.Array:
        """Features x [image, side, side, channel], changed."""
        batch, height, width, channels = x.shape
        h = x if self.group_norm is None else self.group_norm(x)
        heads = (batch, height * width, channels // self.head_dim, self.head_dim)
        q, k, v = (project(h).reshape(heads) for project in (self.to_q, self.to_k, self.to_v))
        attended = layers.attend(q, k, v)
        return (x + self.to_out[0](attended.reshape(x.shape))) / self.output_scale


class Downsample2D(nnx.Module):
    """A stride-2 convolution: [batch, h, w, channels] -> [batch, h / 2, w / 2, channels]."""

    def __init__(self, channels: int, *, padding: int, rngs: nnx.Rngs) -> None:
        self.conv = Conv(channels, channels, stride=2, pad_before=bool(padding), rngs=rngs)

    def __call__(self, x: jax.Array, time: jax.Array, drop: Activation) -> jax.Array:
        """Features x [image, side, side, channel] with the embedded time [image, feature]; `drop` is dropout."""
        return self.conv(x)


class Upsample2D(nnx.Module):
    """Nearest neighbours, then a convolution: [batch, h, w, channels] -> [batch, 2 h, 2 w, channels]."""

    def __init__(self, channels: int, *, rngs: nnx.Rngs) -> None:
        self.conv = Conv(channels, channels, rngs=rngs)

    def __call__(self, x: jax.Array, time: jax.Array, drop: Activation) -> jax.Array:
        """Features x [image, side, side, channel] with the embedded time [image, feature]; `drop` is dropout."""
        return layers.convolve_doubled(x, self.conv.kernel[...]) + self.conv.bias[...]


Resize: TypeAlias = Downsample2D | Upsample2D | ResnetBlock2D


class DownBlock2D(nnx.Module):
    """One resolution on the way down: diffusers' `DownBlock2D`; with `attentions` its `AttnDownBlock2D`, and with a
    residual block for `downsampler` its `ResnetDownsampleBlock2D`."""

    def __init__(
        self, resnets: Sequence[ResnetBlock2D], attentions: Sequence[Attention] | None, downsampler: Resize | None
    ) -> None:
        self.resnets = nnx.List(resnets)
        self.attentions = None if attentions is None else nnx.List(attentions)
        self.downsamplers = None if downsampler is None else nnx.List([downsampler])

    def __call__(self, h: jax.Array, time: jax.Array, drop: Activation) -> tuple[jax.Array, list[jax.Array]]:
        """The block's output, and what every layer hands to the way up."""
        skips = []
        for i, resnet in enumerate(self.resnets):
            h = resnet(h, time, drop)
            if self.attentions is not None:
                h = self.attentions[i](h)
            skips.append(h)
        if self.downsamplers is not None:
            h = self.downsamplers[0](h, time, drop)
            skips.append(h)
        return h, skips


class UNetMidBlock2D(nnx.Module):
    """The lowest resolution: residual block, attention where there is one, residual block."""

    def __init__(self, resnets: Sequence[ResnetBlock2D], attention: Attention | None) -> None:
        self.resnets = nnx.List(resnets)
        self.attentions = None if attention is None else nnx.List([attention])

    def __call__(self, h: jax.Array, time: jax.Array, drop: Activation) -> jax.Array:
        """Features h [image, side, side, channel] with the embedded time [image, feature]; `drop` is dropout."""
        h = self.resnets[0](h, time, drop)
        if self.attentions is not None:
            h = self.attentions[0](h)
        return self.resnets[1](h, time, drop)


class UpBlock2D(nnx.Module):
    """One resolution on the way up: diffusers' `UpBlock2D`, `AttnUpBlock2D`, `ResnetUpsampleBlock2D`, as above."""

    def __init__(
        self, resnets: Sequence[ResnetBlock2D], attentions: Sequence[Attention] | None, upsampler: Resize | None
    ) -> None:
        self.resnets = nnx.List(resnets)
        self.attentions = None if attentions is None else nnx.List(attentions)
        self.upsamplers = None if upsampler is None else nnx.List([upsampler])

    def __call__(self, h: jax.Array, skips: list[jax.Array], time: jax.Array, drop: Activation) -> jax.Array:
        """`skips`: one a residual block, the last made is used first."""
        for i, resnet in enumerate(self.resnets):
            h = resnet(jnp.concatenate([h, skips[-1 - i]], axis=-1), time, drop)
            if self.attentions is not None:
                h = self.attentions[i](h)
        return h if self.upsamplers is None else self.upsamplers[0](h, time, drop)

"""PyTorch diffusers' `UNet2DModel` in flax.nnx: same arithmetic, same names.

Attributes are called as diffusers calls its modules, so a parameter's path joined with dots is its PyTorch name, with
`kernel`, `scale` or `embedding` in the place of `weight`. A rank-4 kernel is the PyTorch weight with axes (2, 3, 1, 0),
a rank-2 kernel its transpose, everything else is equal. Images are NHWC here.
"""

from __future__ import annotations

import itertools
import math
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
_ACTIVATIONS: dict[str, Activation] = {
    "silu": nnx.silu,
    "swish": nnx.silu,
    "mish": lambda x: x * jnp.tanh(nnx.softplus(x)),
    "gelu": partial(nnx.gelu, approximate=False),
    "relu": nnx.relu,
}


def time_features(t: jax.Array, width: int, shift: int = 0, cosines_first: bool = True) -> jax.Array:
    """Sinusoids of t [batch] at geometric frequencies: float32 [batch, width]. An odd width ends in a zero."""
    # Rounded at every step as in PyTorch: at t = 1000 the last bit of a frequency moves an angle by 3e-5.
    half = width // 2
    exponents = np.float32(-math.log(10_000.0)) * np.arange(half, dtype=np.float32) / np.float32(half - shift)
    angles = t.astype(jnp.float32)[:, None] * np.exp(exponents)
    waves = [jnp.cos(angles), jnp.sin(angles)]
    return jnp.concatenate(waves if cosines_first else waves[::-1], axis=-1)


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
        return layers.convolve(x, self.kernel[...], (self.padding, self.padding), self.stride) + self.bias[...]


class GroupNorm(nnx.Module):
    """Group norm of [batch, ..., channels]; same parameters and values as `nnx.GroupNorm`."""

    def __init__(self, channels: int, groups: int, *, epsilon: float) -> None:
        self.groups, self.epsilon = groups, epsilon
        self.scale = nnx.Param(jnp.ones(channels))
        self.bias = nnx.Param(jnp.zeros(channels))

    def __call__(self, x: jax.Array) -> jax.Array:
        return layers.group_norm(x, self.scale[...], self.bias[...], self.groups, self.epsilon)


class FourierProjection(nnx.Module):
    """Sines, then cosines, of 2 pi w log t, w random and never trained: [batch] -> [batch, 2 width]."""

    def __init__(self, width: int, *, rngs: nnx.Rngs) -> None:
        self.weight = nnx.Param(_FOURIER_SCALE * jax.random.normal(rngs.params(), (width,)))

    def __call__(self, t: jax.Array) -> jax.Array:
        weight = jax.lax.stop_gradient(self.weight[...]).astype(jnp.float32)
        angles = jnp.log(t.astype(jnp.float32))[:, None] * weight * 2 * np.pi
        return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


class TimestepEmbedding(nnx.Module):
    """Two linear layers with SiLU between: [batch, inputs] -> [batch, outputs]."""

    def __init__(self, inputs: int, outputs: int, *, rngs: nnx.Rngs) -> None:
        self.linear_1 = _linear(inputs, outputs, rngs)
        self.linear_2 = _linear(outputs, outputs, rngs)

    def __call__(self, features: jax.Array) -> jax.Array:
        return self.linear_2(nnx.silu(self.linear_1(features)))


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
        act = _ACTIVATIONS[self.act]
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
        return self.conv(x)


class Upsample2D(nnx.Module):
    """Nearest neighbours, then a convolution: [batch, h, w, channels] -> [batch, 2 h, 2 w, channels]."""

    def __init__(self, channels: int, *, rngs: nnx.Rngs) -> None:
        self.conv = Conv(channels, channels, rngs=rngs)

    def __call__(self, x: jax.Array, time: jax.Array, drop: Activation) -> jax.Array:
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


class UNet2D(nnx.Module):
    """(x [batch, height, width, in_channels], t [batch]) -> [batch, height, width, out_channels].

    `config` has passed `unet2d_config.check`. `t` is int or float (int where the times are learned). A conditional
    network asks for `class_labels`: int [batch], numbers like `t` where class_embed_type is "timestep", or float
    [batch, time_width] where it is "identity". `key` switches dropout on.

    Raises ValueError where `x` does not fit in_channels, `t` is not [batch], height or width cannot be halved
    len(block_out_channels) - 1 times, or labels are missing or not asked for.
    """

    def __init__(self, config: UNet2DConfig, *, rngs: nnx.Rngs) -> None:
        self.config = config
        channels, count = config.block_out_channels, config.layers_per_block
        resnet = partial(ResnetBlock2D, config=config, rngs=rngs)

        def attend(width: int, groups: int = config.norm_num_groups, scale: float = 1.0) -> Attention:
            return Attention(width, config.attention_head_dim, groups, config.norm_eps, scale=scale, rngs=rngs)

        self.conv_in = Conv(config.in_channels, channels[0], rngs=rngs)
        self.time_proj: FourierProjection | nnx.Embed
        self.class_embedding: nnx.Embed | TimestepEmbedding
        features = channels[0]
        if config.time_embedding_type == "fourier":
            self.time_proj = FourierProjection(channels[0], rngs=rngs)
            features = 2 * channels[0]
        elif config.time_embedding_type == "learned":
            self.time_proj = nnx.Embed(
                config.num_train_timesteps, channels[0], embedding_init=nnx.initializers.normal(1.0), rngs=rngs
            )
        self.time_embedding = TimestepEmbedding(features, config.time_width, rngs=rngs)
        if config.num_class_embeds:
            self.class_embedding = nnx.Embed(
                config.num_class_embeds, config.time_width, embedding_init=nnx.initializers.normal(1.0), rngs=rngs
            )
        elif config.class_embed_type == "timestep":
            self.class_embedding = TimestepEmbedding(features, config.time_width, rngs=rngs)

        down_blocks = []
        widths = [channels[0]]  # of the skips, in the order in which they are made
        for i, (width, kind) in enumerate(zip(channels, config.down_blocks, strict=True)):
            resnets = [resnet(widths[-1] if j == 0 else width, width) for j in range(count)]
            attentions = [attend(width) for _ in resnets] if kind == "AttnDownBlock2D" else None
            last = i == len(channels) - 1
            downsampler: Resize | None = None
            if not last and _by_resnet(kind, config.downsample_type):
                downsampler = resnet(width, width, resize="down")
            elif not last:
                downsampler = Downsample2D(width, padding=config.downsample_padding, rngs=rngs)
            down_blocks.append(DownBlock2D(resnets, attentions, downsampler))
            widths += [width] * (count + (not last))
        self.down_blocks = nnx.List(down_blocks)

        lowest, scale = channels[-1], config.mid_block_scale_factor
        mid_block = None
        if config.mid_block_type:
            groups = 0 if config.resnet_time_scale_shift == "scale_shift" else config.norm_num_groups
            first = resnet(lowest, lowest, scale=scale)
            middle = attend(lowest, config.attn_norm_num_groups or groups, scale) if config.add_attention else None
            mid_block = UNetMidBlock2D([first, resnet(lowest, lowest, scale=scale)], middle)
        self.mid_block = mid_block

        up_blocks = []
        below = lowest
        for i, width, kind in zip(reversed(range(len(channels))), channels[::-1], config.up_blocks, strict=True):
            # One more than on the way down: for the skip of the finer down-sampler, or of conv_in.
            resnets = [resnet((below if j == 0 else width) + widths.pop(), width) for j in range(count + 1)]
            attentions = [attend(width) for _ in resnets] if kind == "AttnUpBlock2D" else None
            upsampler: Resize | None = None
            if i and _by_resnet(kind, config.upsample_type):
                upsampler = resnet(width, width, resize="up")
            elif i:
                upsampler = Upsample2D(width, rngs=rngs)
            up_blocks.append(UpBlock2D(resnets, attentions, upsampler))
            below = width
        self.up_blocks = nnx.List(up_blocks)

        self.conv_norm_out = GroupNorm(channels[0], config.norm_num_groups, epsilon=config.norm_eps)
        self.conv_out = Conv(channels[0], config.out_channels, rngs=rngs)

    def __call__(
        self, x: jax.Array, t: jax.Array, class_labels: jax.Array | None = None, key: jax.Array | None = None
    ) -> jax.Array:
        config = self.config
        if x.ndim != 4 or x.shape[-1] != config.in_channels:
            raise ValueError(f"x has shape {x.shape}: not [batch, height, width, in_channels = {config.in_channels}]")
        if t.shape != x.shape[:1]:
            raise ValueError(f"t has shape {t.shape}: not [batch = {x.shape[0]}]")
        halvings = len(config.block_out_channels) - 1
        if any(side % 2**halvings for side in x.shape[1:3]):
            raise ValueError(f"x has shape {x.shape}: its height and width cannot be halved {halvings} times")
        time = self._embed(t, class_labels).astype(x.dtype)
        time = _ACTIVATIONS[config.act_fn](time)
        drop = dropout(config.dropout, key)
        h = self.conv_in(2 * x - 1 if config.center_input_sample else x)
        skips = [h]
        for down in self.down_blocks:
            h, more = down(h, time, drop)
            skips += more
        if self.mid_block is not None:
            h = self.mid_block(h, time, drop)
        for up in self.up_blocks:
            taken = len(up.resnets)
            h = up(h, skips[-taken:], time, drop)
            del skips[-taken:]
        h = self.conv_out(nnx.silu(self.conv_norm_out(h)))
        if config.time_embedding_type == "fourier":
            h = h / t.reshape(-1, 1, 1, 1).astype(h.dtype)
        return h

    def _embed(self, t: jax.Array, class_labels: jax.Array | None) -> jax.Array:
        """Embedding of the time, and of the class where there is one: [batch, time_width]."""
        config = self.config
        dtype = self.time_embedding.linear_1.kernel[...].dtype  # that of the computation: build casts the weights

        def project(t: jax.Array) -> jax.Array:
            if config.time_embedding_type == "positional":
                width = config.block_out_channels[0]
                return time_features(t, width, config.freq_shift, config.flip_sin_to_cos).astype(dtype)
            return self.time_proj(t).astype(dtype)

        time = self.time_embedding(project(t))
        if config.conditional != (class_labels is not None):
            raise ValueError(f"class_labels are {'missing' if config.conditional else 'not asked for'}")
        if class_labels is None:
            return time
        if config.class_embed_type == "identity":
            return time + class_labels
        if config.class_embed_type == "timestep":
            return time + self.class_embedding(project(class_labels))
        return time + self.class_embedding(class_labels)


def _by_resnet(kind: str, asked: str) -> bool:
    """Is the image resized by a residual block? The config's field asks only blocks with attention."""
    return kind.startswith("Resnet") or (kind.startswith("Attn") and asked == "resnet")

"""PyTorch diffusers' `UNet2DModel` in flax.nnx: same arithmetic, same names.

Attributes are called as diffusers calls its modules, so a parameter's path joined with dots is its PyTorch name, with
`kernel`, `scale` or `embedding` in the place of `weight`. A rank-4 kernel is the PyTorch weight with axes (2, 3, 1, 0),
a rank-2 kernel its transpose, everything else is equal. Images are NHWC here.
"""

from __future__ import annotations

from functools import partial

import jax
from flax import nnx

from shadow.denoisers import layers
from shadow.denoisers.times import time_features
from shadow.denoisers.unet2d_blocks import (
    ACTIVATIONS,
    Attention,
    Conv,
    DownBlock2D,
    Downsample2D,
    FourierProjection,
    GroupNorm,
    Resize,
    ResnetBlock2D,
    TimestepEmbedding,
    UNetMidBlock2D,
    UpBlock2D,
    Upsample2D,
    dropout,
)
from shadow.denoisers.unet2d_config import UNet2DConfig


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
        """The prediction for images x [image, height, width, channel] at steps t [image]. ValueError on other shapes.

        class_labels: of networks with classes; key: of dropout, none at rest.
        """
        config = self.config
        if x.ndim != 4 or x.shape[-1] != config.in_channels:
            raise ValueError(f"x has shape {x.shape}: not [batch, height, width, in_channels = {config.in_channels}]")
        if t.shape != x.shape[:1]:
            raise ValueError(f"t has shape {t.shape}: not [batch = {x.shape[0]}]")
        halvings = len(config.block_out_channels) - 1
        if any(side % 2**halvings for side in x.shape[1:3]):
            raise ValueError(f"x has shape {x.shape}: its height and width cannot be halved {halvings} times")
        time = self._embed(t, class_labels).astype(x.dtype)
        time = ACTIVATIONS[config.act_fn](time)
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
        h = self.conv_out(layers.silu(self.conv_norm_out(h)))
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

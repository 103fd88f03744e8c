"""The config of a `UNet2D`, and what diffusers writes for it in `unet/config.json`."""

# Annotations are not postponed here: ml_collections reads the types of the fields.
import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from shadow.errors import UserError

DOWN_BLOCKS = ("DownBlock2D", "AttnDownBlock2D", "ResnetDownsampleBlock2D")
UP_BLOCKS = ("UpBlock2D", "AttnUpBlock2D", "ResnetUpsampleBlock2D")
ACTIVATIONS = ("silu", "swish", "mish", "gelu", "relu")


@dataclass(unsafe_hash=True)  # compiled functions are kept by config
class UNet2DConfig:
    """Fields of diffusers' `UNet2DModel`, by its names and with its meaning; what it calls None is 0 or "" here.

    Left out is `sample_size`, which is data.resolution.
    """

    in_channels: int = 1
    out_channels: int = 1
    block_out_channels: tuple[int, ...] = (32, 64, 64)  # features at each resolution, from the finest
    down_block_types: tuple[str, ...] = ()  # DownBlock2D | AttnDownBlock2D | ResnetDownsampleBlock2D; empty: the first
    mid_block_type: str = "UNetMidBlock2D"  # or "": none
    up_block_types: tuple[str, ...] = ()  # UpBlock2D | AttnUpBlock2D | ResnetUpsampleBlock2D, from the coarsest
    layers_per_block: int = 1  # residual blocks at each resolution, and one more on the way up
    mid_block_scale_factor: float = 1.0  # by which the middle's blocks divide their output
    downsample_padding: int = 1  # 1: on every side; 0: below and on the right alone
    downsample_type: str = "conv"  # conv | resnet, of AttnDownBlock2D
    upsample_type: str = "conv"  # conv | resnet, of AttnUpBlock2D
    dropout: float = 0.0  # share of the features of a residual block that a training step leaves out
    act_fn: str = "silu"  # silu | swish (the same) | mish | gelu | relu, of the residual blocks
    add_attention: bool = False  # in the middle
    attention_head_dim: int = 8  # features of a head; 0: one head
    norm_num_groups: int = 8  # of group norm; divides each of block_out_channels
    attn_norm_num_groups: int = 0  # of the middle's attention; 0: norm_num_groups, or under scale_shift no norm
    norm_eps: float = 1e-5
    resnet_time_scale_shift: str = "default"  # default: the time is added | scale_shift: it modulates the second norm
    center_input_sample: bool = False  # the network sees 2 x - 1
    time_embedding_type: str = "positional"  # positional | learned | fourier (networks of others alone)
    time_embedding_dim: int = 0  # 0: 4 x block_out_channels[0]
    freq_shift: int = 0  # positional: frequency i of n is 10000 ** -(i / (n - freq_shift))
    flip_sin_to_cos: bool = True  # positional: cosines come before sines
    num_train_timesteps: int = 0  # learned: rows of the table
    class_embed_type: str = ""  # timestep | identity | "" (networks of others alone)
    num_class_embeds: int = 0  # classes (networks of others alone)

    @property
    def down_blocks(self) -> tuple[str, ...]:
        """Kinds of the blocks on the way down."""
        return tuple(self.down_block_types) or ("DownBlock2D",) * len(self.block_out_channels)

    @property
    def up_blocks(self) -> tuple[str, ...]:
        """Kinds of the blocks on the way up."""
        return tuple(self.up_block_types) or ("UpBlock2D",) * len(self.block_out_channels)

    @property
    def time_width(self) -> int:
        """Features of the embedded time."""
        return self.time_embedding_dim or 4 * self.block_out_channels[0]

    @property
    def conditional(self) -> bool:
        """Does it ask for class labels?"""
        return bool(self.class_embed_type or self.num_class_embeds)


_CHOICES = {
    "mid_block_type": ("UNetMidBlock2D", ""),
    "downsample_padding": (0, 1),
    "downsample_type": ("conv", "resnet"),
    "upsample_type": ("conv", "resnet"),
    "act_fn": ACTIVATIONS,
    "resnet_time_scale_shift": ("default", "scale_shift"),
    "time_embedding_type": ("positional", "learned", "fourier"),
    "class_embed_type": ("", "timestep", "identity"),
}
_COUNTS = ("in_channels", "out_channels", "layers_per_block", "norm_num_groups")
_NONE_OR_MORE = (
    "attention_head_dim",
    "attn_norm_num_groups",
    "time_embedding_dim",
    "num_train_timesteps",
    "num_class_embeds",
)


_Refuse = Callable[[str, str], None]  # (field, why): raises UserError


def check(config: UNet2DConfig, where: str) -> None:
    """Refuses values that are of another type, that we do not support or that contradict each other: UserError
    `where.field = value: why`."""

    def refuse(name: str, why: str) -> None:
        raise UserError(f"{where}.{name} = {getattr(config, name)!r}: {why}")

    _check(config, refuse)


def _check(config: UNet2DConfig, refuse: _Refuse) -> None:
    default = UNet2DConfig()
    for field in dataclasses.fields(UNet2DConfig):
        like = getattr(default, field.name)
        if not _is_like(field.name, getattr(config, field.name), like):
            refuse(field.name, f"must be a {_kind(field.name, like, 'tuple')}")
    widths, levels = config.block_out_channels, len(config.block_out_channels)
    if not widths:
        refuse("block_out_channels", "must not be empty")
    if min(widths) < 1:
        refuse("block_out_channels", "must be 1 or more each")
    for name, allowed in _CHOICES.items():
        if getattr(config, name) not in allowed:
            refuse(name, f"use {' or '.join(map(repr, allowed))}")
    for name, blocks, known in (
        ("down_block_types", config.down_blocks, DOWN_BLOCKS),
        ("up_block_types", config.up_blocks, UP_BLOCKS),
    ):
        if len(blocks) != levels:
            refuse(name, f"must be as many as block_out_channels, {levels}")
        if not set(blocks) <= set(known):
            skips = any("Skip" in block for block in blocks)
            refuse(name, f"{'NCSN++ is not supported; ' if skips else ''}use {' or '.join(map(repr, known))}")
    for name in _COUNTS:
        if getattr(config, name) < 1:
            refuse(name, "must be 1 or more")
    for name in _NONE_OR_MORE:
        if getattr(config, name) < 0:
            refuse(name, "must be 0 or more")
    for width in widths:
        if width % config.norm_num_groups:
            refuse("block_out_channels", f"{width} is not divisible by norm_num_groups = {config.norm_num_groups}")
    for name in ("norm_eps", "mid_block_scale_factor"):
        if not 0 < getattr(config, name) < math.inf:
            refuse(name, "must be above 0, and finite")
    if not 0 <= config.dropout < 1:
        refuse("dropout", "must be 0 or more, and below 1")
    _check_attention(config, refuse)
    _check_embeddings(config, refuse)


def _check_attention(config: UNet2DConfig, refuse: _Refuse) -> None:
    widths = [
        width
        for types in (config.down_blocks, config.up_blocks[::-1])
        for width, kind in zip(config.block_out_channels, types, strict=True)
        if kind.startswith("Attn")
    ]
    if config.mid_block_type and config.add_attention:
        lowest = config.block_out_channels[-1]
        widths.append(lowest)
        if config.attn_norm_num_groups and lowest % config.attn_norm_num_groups:
            refuse("attn_norm_num_groups", f"does not divide {lowest}, the last of block_out_channels")
    for width in widths:
        if config.attention_head_dim and width % config.attention_head_dim:
            refuse("attention_head_dim", f"does not divide {width}, one of block_out_channels that have attention")


def _check_embeddings(config: UNet2DConfig, refuse: _Refuse) -> None:
    first = config.block_out_channels[0]
    if config.time_embedding_type == "positional":
        if first % 2:
            refuse("block_out_channels", "the first is the number of sines and cosines and must be even")
        if not 0 <= config.freq_shift < first // 2:
            refuse("freq_shift", f"must be 0 or more, and below {first // 2}, half of block_out_channels[0]")
    if config.time_embedding_type == "learned" and not config.num_train_timesteps:
        refuse("num_train_timesteps", "time_embedding_type = 'learned' asks for the number of rows of its table")
    if config.class_embed_type and config.num_class_embeds:
        refuse("num_class_embeds", f"contradicts class_embed_type = {config.class_embed_type!r}: leave one out")


def check_trained(config: UNet2DConfig, where: str, timesteps: int) -> None:
    """Refuses what an imported network may have and a shadow may not. Raises UserError."""
    for name in ("in_channels", "out_channels"):
        if getattr(config, name) != 1:
            raise UserError(f"{where}.{name} = {getattr(config, name)}: shadows are of gray images, use 1")
    if config.conditional:
        name = "class_embed_type" if config.class_embed_type else "num_class_embeds"
        raise UserError(f"{where}.{name} = {getattr(config, name)!r}: shadows have no class labels, leave it out")
    if config.time_embedding_type == "fourier":
        raise UserError(f"{where}.time_embedding_type = 'fourier': its logarithm has no time 0, use 'positional'")
    if config.time_embedding_type == "learned" and config.num_train_timesteps < timesteps:
        raise UserError(
            f"{where}.num_train_timesteps = {config.num_train_timesteps}: must be diffusion.timesteps = {timesteps} "
            "or more"
        )


# Fields that diffusers writes as None, which is 0 or "" here.
_OPTIONAL = (*_NONE_OR_MORE, "class_embed_type", "mid_block_type")
_DEFAULTS_OF_DIFFUSERS = {  # where they are not ours; for files that leave fields out, as older ones do
    "in_channels": 3,
    "out_channels": 3,
    "block_out_channels": (224, 448, 672, 896),
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    "layers_per_block": 2,
    "norm_num_groups": 32,
    "add_attention": True,
}


# What diffusers' EMAModel writes into the config of the network whose average it saves.
_OF_AVERAGES = (
    *("decay", "inv_gamma", "min_decay", "optimization_step", "power", "update_after_step", "use_ema_warmup"),
)


def to_diffusers(config: UNet2DConfig, sample_size: int) -> dict[str, Any]:
    """Every field of `UNet2DModel`, as diffusers would write it."""
    content = {"sample_size": sample_size} | dataclasses.asdict(config)
    content |= {"down_block_types": config.down_blocks, "up_block_types": config.up_blocks}
    return content | {name: content[name] or None for name in _OPTIONAL}


def notes(content: Mapping[str, Any]) -> tuple[str, ...]:
    """One a field of a `unet/config.json` that does nothing and that `from_diffusers` leaves out."""
    return tuple(
        f"{name} = {_shown(content[name])} is of the training's average (EMAModel) and does nothing"
        for name in _OF_AVERAGES
        if name in content
    )


def from_diffusers(content: Mapping[str, Any], where: str) -> tuple[UNet2DConfig, int | None]:
    """The config in a `unet/config.json` (`where`, for messages), and its sample_size.

    Raises UserError `where: field = value: why` where a field is unknown, of another type, or not supported.
    """

    def refuse(name: str, why: str) -> None:
        otherwise = defaults.get(name) or None if name in _OPTIONAL else defaults.get(name)
        raise UserError(f"{where}: {name} = {_shown(content.get(name, otherwise))}: {why}")

    fields: dict[str, Any] = dataclasses.asdict(UNet2DConfig())
    defaults = fields | _DEFAULTS_OF_DIFFUSERS
    size = content.get("sample_size")
    if isinstance(size, list | tuple):
        if len(set(map(str, size))) != 1:
            refuse("sample_size", "only square images are supported")
        size = size[0]
    if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
        refuse("sample_size", "must be a whole number above 0")
    for name in sorted(content.keys() - fields.keys() - {"sample_size", *_OF_AVERAGES}):
        if not name.startswith("_"):
            raise UserError(f"{where}: the field {name!r} is unknown: this is no UNet2DModel, or a newer one")
    values: dict[str, Any] = {}
    for name, default in defaults.items():
        value = content.get(name, default)
        if name in _OPTIONAL and name in content:
            if value == 0 and name != "time_embedding_dim":
                refuse(name, "use null, or a number above 0")
            value = type(fields[name])() if value is None else value
        if name in ("downsample_type", "upsample_type") and value is None:
            value = "conv"  # as diffusers' blocks take it
        if isinstance(fields[name], tuple) and isinstance(value, list):
            value = tuple(value)
        if not _is_like(name, value, fields[name]):
            refuse(name, f"is not supported, a {_kind(name, fields[name], 'list')} is")
        values[name] = float(value) if isinstance(fields[name], float) else value
    config = UNet2DConfig(**values)
    _check(config, refuse)
    return config, size


def _shown(value: object) -> str:
    """As it stands in the file."""
    return json.dumps(value, default=repr)


def _is_like(name: str, value: object, like: object) -> bool:
    """Is `value` of the type of `like`, where a whole number may stand for a float? True and False are no numbers."""
    if isinstance(like, tuple):
        item = int if name == "block_out_channels" else str
        return type(value) is tuple and all(type(inner) is item for inner in value)
    return type(value) is type(like) or (isinstance(like, float) and type(value) is int)


def _kind(name: str, like: object, many: str) -> str:
    if isinstance(like, tuple):
        return f"{many} of whole numbers" if name == "block_out_channels" else f"{many} of names"
    return {bool: "true or false", int: "whole number", float: "number", str: "name"}[type(like)]

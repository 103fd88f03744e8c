"""The model card of an exported generator: what it is, how it was trained, and that it gives its slices away.

It stands in the folder that people hand on, so it names no place on the machine, no file and no patient.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shadow.config import Config, DiffusionConfig, PileConfig
from shadow.errors import UserError

NAME = "README.md"  # where the Hub looks for it

_HEAD = """---
library_name: diffusers
pipeline_tag: unconditional-image-generation
tags:
- diffusers
- unconditional-image-generation
- membership-inference
- shadow-model
---
"""
_WARNING = """## Privacy

**{trained}** It can reproduce them from noise, nearly as they were. Names and ids are not needed for that.

- Treat this folder as you treat the slices themselves. Give it to nobody who must not see them.
- Do not upload it to a public place, unless every one of its training slices may be public.
- Images that it draws are not anonymous, and no substitute for patients' data.
"""
_FOR = (
    "shadowprint trains such generators to learn how a pile of generated images gives away the slices behind it. It is "
    "made for that, and for no diagnosis."
)
_OF_SHADOW = "This network was trained to memorise slices."
_OF_OTHERS = "This network may have memorised slices that it was trained on."
_PHANTOMS = "\nIts slices are phantoms, which a program drew: no patient is in them.\n"


@dataclass(frozen=True)
class Images:
    """What a generator draws. size: pixels a side; block: pixels a side of the blocks that its network has as channels,
    1 where it has none."""

    channels: int
    size: int
    block: int


@dataclass(frozen=True)
class Training:
    """How a shadow was trained. members: training slices, None where that is not known; averaged: its weights are an
    average over training; phantoms: nobody's slices."""

    steps: int
    batch_size: int
    learning_rate: float
    flip: bool
    shift: int
    members: int | None
    averaged: bool
    phantoms: bool


def training(config: Config, shadow: Path, step: int, averaged: bool) -> Training:
    """Of the shadow in a run's folder after `step` steps. `config`: of its family. Raises UserError where the run's
    membership matrix cannot be read."""
    train = config.train
    phantoms = not config.data.root and config.challenge.pool == "phantom"
    return Training(
        step,
        train.batch_size,
        train.learning_rate,
        train.flip,
        train.shift,
        _members(shadow.absolute()),
        averaged,
        phantoms,
    )


def _members(shadow: Path) -> int | None:
    path = shadow.parent.parent / "membership.npy"
    if not shadow.name.isdigit() or not path.is_file():
        return None
    try:
        membership = np.load(path, allow_pickle=False)
        return int(membership[int(shadow.name)].sum())
    except (OSError, ValueError, EOFError, IndexError) as error:
        raise UserError(f"{path}: no readable membership matrix ({error}); run `launch.py plan`") from error


def text(
    kind: str,
    images: Images,
    diffusion: DiffusionConfig,
    pile: PileConfig,
    call: dict[str, int | float | bool],
    trained: Training | None,
) -> str:
    """The card, in Markdown with the front matter that the Hub reads.

    kind: the pipeline's class; images: what it draws; call: what it is called with for the images that are drawn here;
    trained: None of a generator of others.
    """
    size = images.size
    what = "gray" if images.channels == 1 else f"{images.channels}-channel"
    made = "a shadow of shadowprint" if trained else "a generator that shadowprint read and wrote again"
    lines = [
        f"{_HEAD}\n# A generator of {what} images of {size} x {size} pixels",
        f"This is {made}, as a pipeline of diffusers: a `UNet2DModel` and a scheduler. "
        + (_FOR if trained else "It is made for no diagnosis."),
        _WARNING.format(trained=_OF_SHADOW if trained else _OF_OTHERS)
        + (_PHANTOMS if trained and trained.phantoms else ""),
        _snippet(kind, images, call),
        "## How it was trained",
        _table(_rows(images, diffusion, trained)),
        "## How it draws",
        _table(_drawing(pile, call)),
    ]
    return "\n\n".join(line.strip("\n") for line in lines) + "\n"


def _table(rows: Iterable[tuple[str, object]]) -> str:
    return "\n".join(f"| {name} | {value} |" for name, value in (("", ""), ("---", "---"), *rows))


def _snippet(kind: str, images: Images, call: dict[str, int | float | bool]) -> str:
    options = "".join(f", {name}={value}" for name, value in call.items())
    drawn, said = f"images = pipeline(batch_size=4{options}).images", ""
    if images.block > 1:
        side, block, channels = images.size // images.block, images.block, images.channels
        drawn = (
            f'blocks = pipeline(batch_size=4{options}, output_type="np").images\n'
            f"blocks = blocks.reshape(-1, {side}, {side}, {channels}, {block}, {block}).transpose(0, 1, 4, 2, 5, 3)\n"
            f"images = pipeline.numpy_to_pil(blocks.reshape(-1, {images.size}, {images.size}, {channels}))"
        )
        said = (
            f"The network has blocks of {block} x {block} pixels as channels (`torch.pixel_unshuffle`), so that it "
            f"works on {side} x {side} places. The pipeline draws such blocks, and the last two lines make pixels of "
            "them. To read an image, give `pipeline.unet` its `pixel_unshuffle`.\n\n"
        )
    return (
        "## Open it\n\nIn the folder around this one, named `FOLDER` here:\n\n"
        f'```python\nfrom diffusers import {kind}\n\npipeline = {kind}.from_pretrained("FOLDER")\n'
        f"{drawn}\n```\n\n{said}"
        "With these options images are drawn as shadowprint draws them."
    )


def _rows(images: Images, diffusion: DiffusionConfig, trained: Training | None) -> Iterator[tuple[str, object]]:
    yield "resolution", f"{images.size} x {images.size} pixels"
    if images.block > 1:
        yield "blocks that the network has as channels", f"{images.block} x {images.block} pixels"
    if trained is None:
        yield "steps, batch, training slices", "not known here"
    else:
        yield "training slices (members)", "not known" if trained.members is None else f"{trained.members:,}"
        yield "steps", f"{trained.steps:,}"
        yield "batch", f"{trained.batch_size} images"
        if trained.members:
            yield "images seen a slice", f"{trained.steps * trained.batch_size / trained.members:,.0f}"
        yield "learning rate", f"{trained.learning_rate:g} at its peak, cosine decay"
        moved = f", moved by up to {trained.shift} pixels" if trained.shift else ""
        yield "augmentation", ("half of the images mirrored" if trained.flip else "none mirrored") + moved
        yield "weights", "averaged over training" if trained.averaged else "of the last step, not averaged"
    yield "prediction", diffusion.prediction
    rescaled = ", rescaled to zero terminal SNR" if diffusion.zero_terminal_snr else ""
    yield "schedule", f"{diffusion.schedule}, {diffusion.timesteps} times{rescaled}"
    if trained is not None:
        least = f", at least {diffusion.min_weight:g}" if diffusion.min_weight else ""
        yield "weight of the loss", f"{diffusion.weighting}{least}, at most {diffusion.max_weight:g}"


def _drawing(pile: PileConfig, call: dict[str, int | float | bool]) -> Iterator[tuple[str, object]]:
    yield "sampler", pile.sampler
    yield "steps", pile.sampler_steps
    yield "spacing of times", pile.timestep_spacing
    for name in ("eta", "use_clipped_model_output"):
        if name in call:
            yield name, call[name]
    yield (
        "clip of the prediction",
        f"to [-{pile.clip_sample_range:g}, {pile.clip_sample_range:g}]" if (pile.clip_sample) else "none",
    )

"""A pile of an imported generator: images to audit, drawn with the process and sampler that its folder names."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from shadow import files, keys, piles, train
from shadow.config import Config, DiffusionConfig, PileConfig, validate
from shadow.denoisers import weights
from shadow.diffusion import samplers
from shadow.errors import UserError
from shadow.fleet import conduct, worker
from shadow.hub import Generator, read_pipeline

_OURS = ("count", "sampler_steps", "eta", "batch_size")  # of the run's config; all else is the generator's own
_LUMINANCE = (0.299, 0.587, 0.114)  # of red, green and blue, ITU-R BT.601: gray values of a colour network's images


def audit_pile(pipeline: Path, folder: Path, config: Config) -> str:
    """Checks the generator in `pipeline` and draws a pile of it into `folder`, with a bar on a terminal; returns what
    to say about it. Raises UserError as `read_pipeline` and `draw`."""
    validate(config)
    generator = read_pipeline(pipeline)
    wanted = pile_config(generator, config.pile)
    bar = tqdm(total=wanted.count, desc=generator.name, unit="image", disable=None, leave=False)

    def progress(done: int, total: int, rate: float, loss: float | None = None) -> None:
        bar.update(done - bar.n)

    with bar, conduct.stoppable():
        images = draw(generator, folder, config.pile, config.seed, progress, worker.stopping)
    parameters = sum(leaf.size for leaf in jax.tree.leaves(generator.params))
    return "\n".join(
        [
            f"{generator.name}: UNet2DModel of {parameters:,} parameters, {generator.size} x {generator.size}",
            *(f"note: {note}" for note in generator.notes),
            f"{images}: {wanted.count} images by {wanted.sampler} in {wanted.sampler_steps} steps",
        ]
    )


def pile_config(generator: Generator, wanted: PileConfig) -> PileConfig:
    """The generator's own sampler, with the number of images and of steps that are wanted.

    Raises UserError where the generator cannot be sampled.
    """
    if generator.diffusion is None or generator.pile is None:
        raise UserError(f"{generator.name}: is a network without a scheduler; import the pipeline's folder")
    if not generator.size:
        raise UserError(f"{generator.name}: unet/config.json has no sample_size; put the pixels a side there")
    unet = generator.denoiser.unet
    if unet.in_channels != unet.out_channels or unet.in_channels not in (1, 3):
        raise UserError(
            f"{generator.name}: in_channels = {unet.in_channels}, out_channels = {unet.out_channels}: one or three of "
            "both can be sampled; use shadow.hub.load_denoiser"
        )
    if unet.class_embed_type:
        raise UserError(
            f"{generator.name}: class_embed_type = {unet.class_embed_type!r}: the classes are not known; use "
            "shadow.hub.load_denoiser"
        )
    if unet.time_embedding_type == "fourier":
        raise UserError(
            f"{generator.name}: time_embedding_type = 'fourier': its logarithm has no time 0, which the scheduler "
            "visits; use shadow.hub.load_denoiser"
        )
    taken = {name: getattr(wanted, name) for name in _OURS}
    if generator.pile.sampler != "ddim":
        del taken["eta"]
    config = dataclasses.replace(generator.pile, **taken)
    samplers.make(config, generator.diffusion)  # refuses what does not fit
    return config


def describe(generator: Generator, config: PileConfig, seed: int) -> dict[str, Any]:
    """What a pile depends on, for a file beside it."""
    sha = hashlib.sha256()
    for name, tensor in sorted(weights.to_diffusers(generator.params).items()):
        sha.update(f"{name} {tensor.shape}\n".encode())
        sha.update(tensor.tobytes())
    content = {
        "name": generator.name,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(generator.params)),
        "weights_sha256": sha.hexdigest(),
        "size": generator.size,
        "denoiser": dataclasses.asdict(generator.denoiser),
        "diffusion": dataclasses.asdict(generator.diffusion) if generator.diffusion else None,
        "pile": dataclasses.asdict(config),
        "seed": seed,
        "notes": list(generator.notes),
    }
    return json.loads(json.dumps(content))


def draw(
    generator: Generator,
    folder: Path,
    wanted: PileConfig,
    seed: int,
    progress: train.Progress = train.silent,
    stop: Callable[[], bool] = train.never,
) -> Path:
    """Writes FOLDER/generator.json, FOLDER/pile.npy and the same as 8-bit gray images FOLDER/pile/00000.png, ...;
    returns the latter. Image i of a conditional generator is of class i mod their number. Resumes.

    Raises UserError as `pile_config`, and where `folder` holds another pile.
    """
    config = pile_config(generator, wanted)
    description = describe(generator, config, seed)
    path = folder / "generator.json"
    if folder.exists() and not path.is_file() and any(folder.iterdir()):
        raise UserError(f"{folder}: is no empty folder, and holds no pile of ours: name another one")
    if path.is_file():
        try:
            before = json.loads(path.read_text())
        except ValueError as error:
            raise UserError(f"{path}: damaged ({error}); remove {folder}") from error
        if before != description:
            changed = sorted(k for k in before.keys() | description.keys() if before.get(k) != description.get(k))
            raise UserError(f"{folder}: other generator or config ({', '.join(changed)}); name another")
    else:
        files.write_json(path, description)
    pile = folder / "pile.npy"
    if not pile.exists():
        assert generator.diffusion is not None
        drawn = make_draw(generator, config, generator.diffusion, seed)
        piles.fill([pile], generator.size, config, drawn, progress, stop)
    return piles.export_png(pile)


def make_draw(
    generator: Generator, config: PileConfig, diffusion: DiffusionConfig, seed: int
) -> Callable[[int], np.ndarray]:
    """batch -> uint8 [1, image, size, size], a pure function of (seed, batch)."""
    sampler, unet = samplers.make(config, diffusion), generator.denoiser.unet
    apply, params = generator.network.apply, jax.tree.map(jnp.asarray, generator.params)
    shape = (config.batch_size, generator.size, generator.size, unet.in_channels)

    @partial(jax.jit, donate_argnums=1)
    def step(
        params: Any, state: samplers.State, key: jax.Array, index: jax.Array, labels: jax.Array | None
    ) -> samplers.State:
        def denoiser(x: jax.Array, t: jax.Array) -> jax.Array:
            return apply(params, x, t, labels)

        noise = jnp.zeros(shape)
        if sampler.noisy:
            noise = jax.random.normal(jax.random.fold_in(key, jnp.asarray(sampler.times)[index]), shape)
        return sampler.step(denoiser, state, index, noise)

    def drawn(batch: int) -> np.ndarray:
        key = keys.key(seed, "imported/pile", batch)
        labels = None
        if unet.num_class_embeds:
            labels = (batch * config.batch_size + jnp.arange(config.batch_size)) % unet.num_class_embeds
        state = sampler.start(jax.random.normal(jax.random.fold_in(key, diffusion.timesteps), shape))
        for index in range(len(sampler.times)):
            state = step(params, state, key, jnp.int32(index), labels)
        gray = state.x[..., 0] if unet.in_channels == 1 else state.x @ jnp.asarray(_LUMINANCE)
        return np.asarray(piles.to_gray(gray))[None]

    return drawn

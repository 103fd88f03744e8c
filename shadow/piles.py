"""Piles: images that a generator makes, and their store.

A pile is one `.npy` file, uint8 [image, height, width]. Batch b of a pile is a pure function of (seed, generator,
training step, b), so a pile that was cut off goes on with its next batch.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from shadow import files, keys
from shadow.config import DiffusionConfig, PileConfig
from shadow.denoisers.build import Network, Params, build
from shadow.diffusion import samplers
from shadow.errors import Stopped, UserError
from shadow.training import checkpoint, train


def to_gray(x: jax.Array) -> jax.Array:
    """[-1, 1] (clipped) -> uint8, the inverse of `decoding.to_unit` up to rounding."""
    return jnp.round((jnp.clip(x, -1, 1) + 1) * 127.5).astype(jnp.uint8)


def pile_path(folder: Path, step: int) -> Path:
    """Where the pile of a shadow after `step` steps is."""
    return folder / "piles" / f"{step:08d}.npy"


def open_pile(path: Path | str) -> np.ndarray:
    """A memory-mapped uint8 array [image, height, width]. Raises UserError on a missing or damaged file."""
    try:
        pile = np.lib.format.open_memmap(path, "r")  # `.npy` only: never pickled, never an archive
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path}: no readable pile ({error}); sample it again") from error
    if pile.ndim != 3 or pile.dtype != np.uint8:
        raise UserError(f"{path}: a pile is uint8 [image, height, width], this is {pile.dtype} {pile.shape}")
    return pile


def png_folder(path: Path) -> Path:
    """Where `export_png` writes the pile `path`."""
    return path.with_suffix("")


def export_png(path: Path) -> Path:
    """Writes a pile `NAME.npy` as 8-bit gray images `NAME/00000.png`, ... and returns their folder, which is whole or
    absent; one that is there is left alone. Two processes must not call it at once. Raises UserError where the pile
    is missing or damaged."""
    folder = png_folder(path)
    if folder.is_dir():
        return folder
    pile = open_pile(path)
    part = folder.with_name(f".{folder.name}.part")
    if part.exists():
        shutil.rmtree(part)  # of a killed process
    part.mkdir()
    digits = max(5, len(str(len(pile) - 1)))
    for i, image in enumerate(pile):
        Image.fromarray(image).save(part / f"{i:0{digits}d}.png")
    os.replace(part, folder)
    return folder


@functools.lru_cache(maxsize=16)
def make_sampler(
    network: Network, config: PileConfig, diffusion: DiffusionConfig, size: int
) -> Callable[[Params, jax.Array], jax.Array]:
    """(params of a pack, keys [generator]) -> uint8 [generator, batch, size, size].

    Nothing of a pack is compiled in: packs of one size share one compilation. Raises UserError as `samplers.make`.
    """
    sampler, length = samplers.make(config, diffusion), diffusion.timesteps

    def one(params: Params, state: samplers.SamplerState, key: jax.Array, index: jax.Array) -> samplers.SamplerState:
        t, x = jnp.asarray(sampler.times)[index], state.x
        noise = jax.random.normal(jax.random.fold_in(key, t), x.shape) if sampler.noisy else jnp.zeros_like(x)
        return sampler.step(partial(network.apply, params), state, index, noise)

    def first(key: jax.Array) -> samplers.SamplerState:
        return sampler.start(jax.random.normal(jax.random.fold_in(key, length), shape))

    shape = (config.batch_size, size, size, 1)
    start = jax.jit(jax.vmap(first))
    step = jax.jit(jax.vmap(one, in_axes=(0, 0, 0, None)), donate_argnums=1)
    finish = jax.jit(lambda x: to_gray(x[..., 0]))

    def sample(params: Params, pack_keys: jax.Array) -> jax.Array:
        state = start(pack_keys)
        for index in range(len(sampler.times)):
            state = step(params, state, pack_keys, jnp.int32(index))
        return finish(state.x)

    return sample


@functools.lru_cache(maxsize=16)
def _pile_keys(seed: int, stream: str) -> Callable[[jax.Array, int, int], jax.Array]:
    """The jitted (ids [generator], training step, batch) -> keys [generator]: ids are its arguments, as above."""
    return jax.jit(jax.vmap(lambda i, step, b: keys.key(seed, f"{stream}/pile", i, step, b), in_axes=(0, None, None)))


def draw_piles(
    spec: train.Spec,
    folders: Sequence[Path],
    paths: Sequence[Path],
    step: int,
    config: PileConfig,
    progress: train.Progress = train.silent,
    stop: Callable[[], bool] = train.never,
) -> None:
    """Draws a pile of `config.count` images from the averaged weights at `step` of each generator of a pack.

    Resumes in the middle: `.NAME.part` is filled batch by batch, and `.NAME.part.json`, written after the data, says
    how many batches are whole. Raises DamagedError where a checkpoint is damaged, and Stopped between two batches
    when `stop()` says so.
    """
    if are_whole(paths):
        return
    size = spec.images.shape[-1]
    network = build(spec.denoiser, size)
    like = jax.eval_shape(lambda: train.init_states(spec, network))
    params = checkpoint.restore_pack(folders, step, like).ema
    sample = make_sampler(network, config, spec.diffusion, size)
    ids, make_keys = jnp.asarray(spec.ids, jnp.int32), _pile_keys(spec.seed, spec.stream)

    def draw(batch: int) -> np.ndarray:
        return np.asarray(sample(params, make_keys(ids, step, batch)))

    fill(paths, size, config, draw, progress, stop)


def _state_of(paths: Sequence[Path]) -> Path:
    """Where it says how many batches of these piles are whole."""
    return paths[0].with_name(f".{paths[0].name}.part.json")


def are_whole(paths: Sequence[Path]) -> bool:
    """Are these piles, which are drawn together, all done? Then what a process left that was killed after the last
    rename goes."""
    done = all(path.exists() for path in paths)
    if done:
        _state_of(paths).unlink(missing_ok=True)
    return done


def fill(
    paths: Sequence[Path],
    size: int,
    config: PileConfig,
    draw: Callable[[int], np.ndarray],
    progress: train.Progress = train.silent,
    stop: Callable[[], bool] = train.never,
) -> None:
    """Writes piles that are drawn together, batch by batch: `draw(b)` is uint8 [pile, image, size, size], and a pure
    function of b. Resumes and stops as `draw_piles`."""
    state, count, batch = _state_of(paths), config.count, config.batch_size
    batches = -(-count // batch)
    parts = [path.with_name(f".{path.name}.part") for path in paths]
    done = 0
    if state.exists() and all(part.exists() for part in parts):
        with contextlib.suppress(ValueError, KeyError, TypeError):  # cut off by a loss of power: drawn anew
            done = int(json.loads(state.read_text())["batches"])
    if not done:
        state.unlink(missing_ok=True)  # it may count batches of piles that were renamed
        for part in parts:
            part.parent.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as stream:  # zeros, not a hole: writing to a map of a full disk would be fatal
                files.save_array(stream, np.zeros((count, size, size), np.uint8))
    stores = [np.load(part, mmap_mode="r+") for part in parts]
    started = time.monotonic()
    for b in range(done, batches):
        images = draw(b)
        start = b * batch
        for store, new in zip(stores, images, strict=True):
            store[start : start + batch] = new[: count - start]
            store.flush()
        files.write_json(state, {"batches": b + 1})
        rate = (b + 1 - done) * batch * len(paths) / max(time.monotonic() - started, 1e-9)
        progress(min(start + batch, count), count, rate)
        if stop() and b + 1 < batches:
            raise Stopped(f"stopped at image {start + batch} of {count}, which are saved")
    del stores
    for part, path in zip(parts, paths, strict=True):
        if part.exists():  # else it was renamed before the process was killed
            os.replace(part, path)
    state.unlink(missing_ok=True)

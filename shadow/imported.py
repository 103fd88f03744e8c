"""A pile of an imported generator: images to audit, drawn with the process and sampler that its folder names."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from shadow import files, hub, keys, piles
from shadow.config import SEEDS, DenoiserConfig, DiffusionConfig, PileConfig
from shadow.denoisers import weights
from shadow.denoisers.build import build
from shadow.diffusion import rules, samplers
from shadow.errors import UserError
from shadow.fleet import orchestrate, worker
from shadow.hub import Generator, check_parents, read_pipeline
from shadow.training import train

_LUMINANCE = (0.299, 0.587, 0.114)  # of red, green and blue, ITU-R BT.601: gray values of a colour network's images


# What can be asked for, by the names of a run's config; all else is the generator's own.
OPTIONS = {
    "pile.count": "count",
    "pile.batch_size": "batch_size",
    "pile.sampler_steps": "sampler_steps",
    "pile.eta": "eta",
    "denoiser.dtype": "dtype",
    "seed": "seed",
}
_UNREAD = ("name", "notes")  # of a description: they change no image


@dataclass(frozen=True)
class Wanted:
    """What is asked of a generator; None is what its pipeline does where its caller asks for nothing."""

    count: int = 250  # images
    batch_size: int = 50  # images drawn together
    sampler_steps: int | None = None
    eta: float | None = None  # of DDIM
    dtype: str = "float32"  # of the computation, or bfloat16
    seed: int = 0


def wanted(options: Mapping[str, Any]) -> Wanted:
    """What the fields of a run's config that were given ask for. Raises UserError on any that is not in `OPTIONS`, and
    on values that make no sense."""
    for name in options:
        if name not in OPTIONS:
            raise UserError(
                f"--config.{name} is not for import, which takes {', '.join(OPTIONS)}; all else is the generator's own"
            )
    asked = Wanted(**{OPTIONS[name]: value for name, value in options.items()})
    for name in ("pile.count", "pile.batch_size", "pile.sampler_steps"):
        value = getattr(asked, OPTIONS[name])
        if value is not None and value < 1:
            raise UserError(f"{name} = {value}: must be 1 or more")
    if asked.eta is not None and not 0 <= asked.eta < math.inf:
        raise UserError(f"pile.eta = {asked.eta}: must be 0 or more, and finite")
    if not 0 <= asked.seed < SEEDS:
        raise UserError(f"seed = {asked.seed}: must lie between 0 and {SEEDS - 1}")
    if asked.dtype not in ("float32", "bfloat16"):
        raise UserError(f"denoiser.dtype = {asked.dtype!r}: use 'float32' or 'bfloat16'")
    return asked


def audit_pile(pipeline: Path, folder: Path, options: Mapping[str, Any]) -> str:
    """Checks the generator in `pipeline` and draws a pile of it into `folder`, with a bar on a terminal; returns what
    to say about it. Raises UserError as `wanted`, `read_pipeline` and `draw`."""
    asked = wanted(options)
    _check_folder(folder)  # before weights are read, which may take long
    generator = read_pipeline(pipeline)
    config = pile_config(generator, asked)
    bar = tqdm(total=config.count, desc=generator.name, unit="image", disable=None, leave=False)

    def progress(done: int, total: int, rate: float, loss: float | None = None) -> None:
        bar.update(done - bar.n)

    with bar, orchestrate.stoppable():
        images = draw(generator, folder, asked, progress, worker.stopping)
    parameters = sum(leaf.size for leaf in jax.tree.leaves(generator.params))
    times = (generator.diffusion or DiffusionConfig()).timesteps
    own = dataclasses.asdict(config)
    for name in ("count", "sampler", "sampler_steps", "batch_size", "steps", "png"):
        del own[name]
    idle = {name.removeprefix("pile.") for name in rules.idle(generator.diffusion or DiffusionConfig(), config)}
    return "\n".join(
        [
            f"{generator.name}: UNet2DModel of {parameters:,} parameters, {generator.size} x {generator.size}",
            *(f"note: {note}" for note in generator.notes),
            *(["note: " + hub.UNEVEN.format(config.sampler_steps, times)] if hub.uneven(config, times) else []),
            f"{images}: {config.count} images by {config.sampler} in {config.sampler_steps} steps, seed {asked.seed}, "
            f"{asked.dtype}; " + ", ".join(f"{name} = {value}" for name, value in own.items() if name not in idle),
        ]
    )


def pile_config(generator: Generator, asked: Wanted) -> PileConfig:
    """The generator's own sampler, with what is asked for.

    Raises UserError where the generator cannot be sampled, or not so.
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
    rows, times = unet.num_train_timesteps, generator.diffusion.timesteps
    if unet.time_embedding_type == "learned" and rows < times:
        raise UserError(
            f"{generator.name}: unet/config.json has num_train_timesteps = {rows}: the scheduler visits {times} times, "
            "and the network has learned fewer"
        )
    named = {"sampler_steps": asked.sampler_steps, "eta": asked.eta}
    taken: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
    config = dataclasses.replace(generator.pile, count=asked.count, batch_size=asked.batch_size, **taken)
    samplers.make(config, generator.diffusion)  # refuses what does not fit
    return config


def describe(generator: Generator, config: PileConfig, asked: Wanted) -> dict[str, Any]:
    """What a pile depends on (but for `_UNREAD`), for a file beside it."""
    sha = hashlib.sha256()
    for name, tensor in sorted(weights.to_diffusers(generator.params).items()):
        sha.update(f"{name} {tensor.shape}\n".encode())
        sha.update(tensor.tobytes())
    content = {
        "name": generator.name,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(generator.params)),
        "weights_sha256": sha.hexdigest(),
        "size": generator.size,
        "denoiser": dataclasses.asdict(generator.denoiser) | {"dtype": asked.dtype},
        "diffusion": dataclasses.asdict(generator.diffusion) if generator.diffusion else None,
        "pile": dataclasses.asdict(config),
        "seed": asked.seed,
        "notes": list(generator.notes),
    }
    return json.loads(json.dumps(content))


def _check_folder(folder: Path) -> None:
    """Refuses to write into what is not ours. Raises UserError."""
    if folder.is_symlink() and not folder.exists():
        raise UserError(f"{folder}: is a link to nowhere: name another folder")
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is no folder: name another one")
    check_parents(folder)
    names = {path.name for path in folder.iterdir()} if folder.exists() else set()
    # a process killed in its first moment leaves no more than the part
    if "generator.json" not in names and names - {".generator.json.part"}:
        raise UserError(f"{folder}: is no empty folder, and holds no pile of ours: name another one")


def draw(
    generator: Generator,
    folder: Path,
    asked: Wanted,
    progress: train.Progress = train.silent,
    stop: Callable[[], bool] = train.never,
) -> Path:
    """Writes FOLDER/generator.json, FOLDER/pile.npy and the same as 8-bit gray images FOLDER/pile/00000.png, ...;
    returns the latter. Image i of a conditional generator is of class i mod their number. Resumes.

    Raises UserError as `pile_config`, where `folder` holds another pile or anything else, and where the network's
    images are not finite.
    """
    config = pile_config(generator, asked)
    description = describe(generator, config, asked)
    path = folder / "generator.json"
    _check_folder(folder)
    if path.is_file():
        _check_same(path, description)
    else:
        files.write_json(path, description)
    pile = folder / "pile.npy"
    if not piles.are_whole([pile]):
        piles.fill([pile], generator.size, config, make_draw(generator, config, asked), progress, stop)
    return piles.export_png(pile)


def _check_same(path: Path, description: Mapping[str, Any]) -> None:
    """Refuses to go on with a pile of another `description`. Raises UserError."""
    try:
        before = json.loads(path.read_text())
        if not isinstance(before, dict):
            raise ValueError("no object of fields")
    except ValueError as error:
        raise UserError(f"{path}: damaged ({error}); remove {path.parent}") from error
    fields = (before.keys() | description.keys()) - set(_UNREAD)
    changed = sorted(name for name in fields if before.get(name) != description.get(name))
    if changed:
        raise UserError(f"{path.parent}: other generator or config ({', '.join(changed)}); name another")


@functools.lru_cache(maxsize=4)
def _compiled_step(
    denoiser: DenoiserConfig, diffusion: DiffusionConfig, config: PileConfig, size: int
) -> tuple[samplers.Sampler, Callable[..., samplers.SamplerState]]:
    """The sampler, and its jitted step (params, state, key, index, labels) -> state: weights are its argument, so
    generators of one kind share one compilation."""
    sampler, apply = samplers.make(config, diffusion), build(denoiser, size).apply

    def step(
        params: Any, state: samplers.SamplerState, key: jax.Array, index: jax.Array, labels: jax.Array | None
    ) -> samplers.SamplerState:
        def predict(x: jax.Array, t: jax.Array) -> jax.Array:
            return apply(params, x, t, labels)

        noise = jnp.zeros_like(state.x)
        if sampler.noisy:
            noise = jax.random.normal(jax.random.fold_in(key, jnp.asarray(sampler.times)[index]), state.x.shape)
        return sampler.step(predict, state, index, noise)

    return sampler, jax.jit(step, donate_argnums=1)


def make_draw(generator: Generator, config: PileConfig, asked: Wanted) -> Callable[[int], np.ndarray]:
    """batch -> uint8 [1, image, size, size], a pure function of (seed, batch). Raises UserError on a batch that is not
    finite."""
    diffusion = generator.diffusion
    assert diffusion is not None  # pile_config has looked
    denoiser, unet = dataclasses.replace(generator.denoiser, dtype=asked.dtype), generator.denoiser.unet
    sampler, step = _compiled_step(denoiser, diffusion, dataclasses.replace(config), generator.size)
    params = jax.tree.map(jnp.asarray, generator.params)
    shape = (config.batch_size, generator.size, generator.size, unet.in_channels)

    def drawn(batch: int) -> np.ndarray:
        key = keys.key(asked.seed, "imported/pile", batch)
        labels = None
        if unet.num_class_embeds:
            labels = (batch * config.batch_size + jnp.arange(config.batch_size)) % unet.num_class_embeds
        state = sampler.start(jax.random.normal(jax.random.fold_in(key, diffusion.timesteps), shape))
        for index in range(len(sampler.times)):
            state = step(params, state, key, jnp.int32(index), labels)
        if not bool(jnp.isfinite(state.x).all()):
            raise UserError(
                f"{generator.name}: the images of batch {batch} are not finite; the weights do not fit the scheduler"
                + (", or bfloat16 is too coarse for them" if asked.dtype == "bfloat16" else "")
            )
        gray = state.x[..., 0] if unet.in_channels == 1 else state.x @ jnp.asarray(_LUMINANCE)
        return np.asarray(piles.to_gray(gray))[None]

    return drawn

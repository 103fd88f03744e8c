"""Generators in the folders of PyTorch diffusers, both ways and without PyTorch.

A pipeline folder holds `model_index.json`, `unet/config.json`, `unet/diffusion_pytorch_model.safetensors` and
`scheduler/scheduler_config.json`. What is written here opens with `diffusers.DDPMPipeline.from_pretrained`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from shadow import checkpoint, train, workdir
from shadow.config import Config, DenoiserConfig, DiffusionConfig, PileConfig, from_dict
from shadow.denoisers import unet2d_config, weights
from shadow.denoisers.build import Network, Params, build
from shadow.diffusion import dialect
from shadow.errors import UserError

_WEIGHTS = "diffusion_pytorch_model.safetensors"
_REFERENCE = re.compile(r"(?P<folder>.+?)(@(?P<step>\d+))?(?P<raw>:raw)?")


@dataclass(frozen=True)
class Generator:
    """A trained network and, where it is known, the process it was trained for and the sampler to draw with."""

    name: str
    denoiser: DenoiserConfig
    size: int  # pixels a side; 0 where an imported network does not say
    params: Params
    diffusion: DiffusionConfig | None
    pile: PileConfig | None
    notes: tuple[str, ...] = ()  # what was read and does nothing

    @property
    def network(self) -> Network:
        """Its two functions."""
        levels = len(self.denoiser.unet.block_out_channels) if self.denoiser.kind == "unet2d" else 1
        return build(self.denoiser, self.size or 2 ** (levels - 1))


def load_denoiser(folder: Path | str) -> Callable[..., jax.Array]:
    """The network in a diffusers folder, or of a shadow: "RUN/shadows/0003", with "@STEP" for another step than the
    last and ":raw" for the trained weights instead of their average.

    Returns (x [batch, height, width, channel] float32 in [-1, 1], t [batch], class_labels=None) -> its prediction, of
    the shape of x. Raises UserError as `read_generator`.
    """
    generator = read_generator(folder)
    apply, params = jax.jit(generator.network.apply), jax.tree.map(jnp.asarray, generator.params)

    def denoiser(x: Any, t: Any, class_labels: Any = None) -> jax.Array:
        return apply(params, jnp.asarray(x, jnp.float32), jnp.asarray(t), class_labels)

    return denoiser


def read_generator(reference: Path | str, run: Path | None = None) -> Generator:
    """A diffusers folder, or a shadow as in `load_denoiser`; a path is relative to here or else to the run `run`.

    Raises UserError where nothing is there, or what is there cannot be read: naming the file and the field.
    """
    found = _REFERENCE.fullmatch(str(reference))
    if found is None:
        raise UserError("the checkpoint has no name: use RUN/shadows/0003[@STEP][:raw], or a folder of diffusers")
    folder = Path(found["folder"])
    if run is not None and not folder.exists():
        folder = run / folder
    if (folder / "checkpoints").is_dir():
        return _read_shadow(folder, int(found["step"] or 0), bool(found["raw"]), str(reference))
    if (Path(reference) / "model_index.json").is_file() or (Path(reference) / "config.json").is_file():
        return read_pipeline(Path(reference))
    raise UserError(
        f"{reference}: neither a shadow with checkpoints (RUN/shadows/0003[@STEP][:raw]) nor a folder of diffusers "
        "(model_index.json)"
    )


def _read_shadow(folder: Path, step: int, raw: bool, name: str) -> Generator:
    there = checkpoint.steps(folder)
    if not there or (step and step not in there):
        named = ", ".join(map(str, there)) or "none"
        raise UserError(f"{name}: no checkpoint of {f'step {step}' if step else 'any step'}; there are: {named}")
    config: Config = from_dict(workdir.read_config(folder.absolute().parent.parent))
    network = build(config.denoiser, config.data.resolution)
    like = jax.eval_shape(lambda: train.fresh_states(network, config.train, jnp.stack([jax.random.key(0)])))
    state = checkpoint.restore_pack([folder], step or there[-1], like)
    params = jax.tree.map(lambda leaf: np.asarray(leaf[0]), state.params if raw else state.ema)
    return Generator(name, config.denoiser, config.data.resolution, params, config.diffusion, config.pile)


def read_pipeline(folder: Path) -> Generator:
    """The generator in a folder that diffusers (or `write_pipeline`) wrote: a pipeline of a UNet2DModel and a
    scheduler, or a UNet2DModel alone.

    Raises UserError naming the file, and the field or tensor, that is missing, damaged or not supported.
    """
    unet, diffusion, pile = folder, None, None
    notes: tuple[str, ...] = ()
    if (folder / "model_index.json").is_file():
        unet = folder / "unet"
        _check_index(_read_json(folder / "model_index.json"), folder / "model_index.json")
        path = folder / "scheduler" / "scheduler_config.json"
        diffusion, pile, notes = dialect.read_scheduler(_read_json(path), str(path))
    path = unet / "config.json"
    content = _read_json(path)
    if content.get("_class_name") != "UNet2DModel":
        raise UserError(f"{path}: _class_name = {content.get('_class_name')!r}: only UNet2DModel is supported")
    config, size = unet2d_config.from_diffusers(content, str(path))
    denoiser = DenoiserConfig(kind="unet2d", unet=config)
    halvings = len(config.block_out_channels) - 1
    if size is not None and size % 2**halvings:
        raise UserError(f"{path}: sample_size = {size} cannot be halved {halvings} times, as block_out_channels ask")
    like = jax.eval_shape(build(denoiser, size or 2**halvings).init, jax.random.key(0))
    params = weights.from_diffusers(_read_tensors(unet), like, str(unet))
    return Generator(folder.name, denoiser, size or 0, params, diffusion, pile, notes)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: no readable JSON ({error}); copy the folder again") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: no object of fields; copy the folder again")
    return content


def _check_index(index: Mapping[str, Any], path: Path) -> None:
    """Refuses pipelines with other parts than a UNet2DModel and a scheduler, whose images are not the network's."""
    for name in ("unet", "scheduler"):
        entry = index.get(name)
        if not isinstance(entry, list) or len(entry) != 2:
            raise UserError(f"{path}: {name} = {entry!r}: a pipeline of a unet and a scheduler is supported")
    if index["unet"][1] != "UNet2DModel":
        raise UserError(f"{path}: unet = {index['unet'][1]!r}: only UNet2DModel is supported")
    for name in sorted(index.keys() - {"unet", "scheduler"}):
        if isinstance(index[name], list) and any(index[name]):
            raise UserError(f"{path}: the pipeline also has {name!r}: only a unet and a scheduler are supported")


def _read_tensors(folder: Path) -> dict[str, Any]:
    """All tensors of a model's folder, in one file or in shards."""
    index = folder / f"{_WEIGHTS}.index.json"
    if (folder / _WEIGHTS).is_file():
        return _read_file(folder / _WEIGHTS)
    if not index.is_file():
        pickled = sorted(p.name for p in folder.glob("*") if p.suffix in (".bin", ".pt", ".pth", ".ckpt"))
        if pickled:
            raise UserError(
                f"{folder / pickled[0]}: a pickle, whose loading runs whatever code is in it, is never opened; save "
                "the model as safetensors where it comes from (save_pretrained does)"
            )
        others = ", ".join(sorted(p.name for p in folder.glob("*.safetensors"))) or "no other safetensors"
        raise UserError(f"{folder / _WEIGHTS} is missing (there are: {others}); copy or rename it")
    places = _read_json(index).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise UserError(f"{index}: weight_map is missing; copy the folder again")
    tensors: dict[str, Any] = {}
    for name in sorted({str(place) for place in places.values()}):
        if Path(name).name != name:
            raise UserError(f"{index}: {name!r} lies outside of the folder; shards lie beside their index")
        tensors |= _read_file(folder / name)
    wrong = sorted(places.keys() ^ tensors.keys())
    if wrong:
        raise UserError(f"{index}: tensor {wrong[0]!r} is in the index or in the shards alone; copy the folder again")
    return tensors


def _read_file(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.flax import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path}: no whole safetensors file ({error}); copy it again") from error


def export(reference: str, run: Path | None, folder: Path) -> str:
    """Writes the shadow `reference` (as `read_generator`) as a pipeline; returns what to say about it."""
    generator = read_generator(reference, run)
    write_pipeline(generator, folder)
    lines = [f"{folder}: open it with diffusers.DDPMPipeline.from_pretrained({str(folder)!r})"]
    pile = generator.pile
    if pile is not None and pile.sampler == "ddim" and pile.use_clipped_model_output:
        lines.append(
            "the shadow's own piles are those of diffusers.DDIMPipeline called with "
            f"num_inference_steps={pile.sampler_steps}, eta={pile.eta}, use_clipped_model_output=True"
        )
    return "\n".join(lines)


def write_pipeline(generator: Generator, folder: Path) -> None:
    """Writes a pipeline's folder: a `DDIMPipeline` where DDIM is the sampler, else a `DDPMPipeline`.

    Raises UserError where `folder` is there, and on a generator that diffusers has no words for.
    """
    if generator.denoiser.kind != "unet2d":
        raise UserError(
            f"{generator.name}: denoiser.kind = {generator.denoiser.kind!r}: diffusers has no such network; shadows of "
            "kind 'unet2d' can be exported"
        )
    if generator.diffusion is None or generator.pile is None:
        raise UserError(f"{generator.name}: is a network without a scheduler, which a pipeline needs")
    if folder.exists():
        raise UserError(f"{folder} is there already: name a new folder, or remove it")
    from safetensors.numpy import save_file

    scheduler, fields = dialect.scheduler_config(generator.diffusion, generator.pile)
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)  # of a killed process
    try:
        parts = {"unet": ["diffusers", "UNet2DModel"], "scheduler": ["diffusers", scheduler]}
        kind = "DDIMPipeline" if scheduler == "DDIMScheduler" else "DDPMPipeline"
        _write_config(part, kind, "model_index.json", parts)
        unet = unet2d_config.to_diffusers(generator.denoiser.unet, generator.size)
        _write_config(part / "unet", "UNet2DModel", "config.json", unet)
        _write_config(part / "scheduler", scheduler, "scheduler_config.json", fields)
        save_file(weights.to_diffusers(generator.params), part / "unet" / _WEIGHTS, metadata={"format": "pt"})
        os.replace(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _write_config(folder: Path, kind: str, name: str, fields: dict[str, Any]) -> None:
    """By diffusers' own writer, as an object of the class `kind` would: with that name and diffusers' version."""
    from diffusers.configuration_utils import ConfigMixin

    instance = type(kind, (ConfigMixin,), {"config_name": name})()
    instance.register_to_config(**fields)
    instance.save_config(folder)

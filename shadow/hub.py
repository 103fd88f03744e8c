"""Generators in the folders of PyTorch diffusers, both ways and without PyTorch.

A pipeline folder holds `model_index.json`, `unet/config.json`, `unet/diffusion_pytorch_model.safetensors` and
`scheduler/scheduler_config.json`; older ones hold the last three beside the first. What is written here opens with
`diffusers.DDPMPipeline.from_pretrained`, which overlooks the `shadowprint.json` beside: what our sampler does and a
scheduler's config has no word for. It overlooks `README.md` too, the model card. A network on blocks of pixels
(`denoiser.block`) has them as channels there, and its images are made of them as the card says.
"""

from __future__ import annotations

import dataclasses
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

from shadow import astray, card, files, workdir
from shadow.config import Config, DenoiserConfig, DiffusionConfig, PileConfig, from_dict
from shadow.denoisers import blocks, unet2d_config, weights
from shadow.denoisers.build import Network, Params, build
from shadow.diffusion import dialect, rules
from shadow.errors import UserError
from shadow.fleet import families
from shadow.training import checkpoint, train

_OURS = "shadowprint.json"
_OF_CALL = ("sampler_steps", "eta", "use_clipped_model_output")  # fields of PileConfig that _OURS holds
# Steps of each pipeline where its caller names no number. DPM-Solver++ has no pipeline of its own.
_STEPS = {"DDPMPipeline": 1000, "DDIMPipeline": 50}
_STEPS_OF_SOLVER = 50
_MADE_DDIM = ("DDPMScheduler", "DPMSolverMultistepScheduler")  # of these DDIMPipeline makes a DDIMScheduler
_WEIGHTS = "diffusion_pytorch_model.safetensors"
_FLOATS = ("F16", "BF16", "F32", "F64")  # as headers of safetensors call them
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
    notes: tuple[str, ...] = ()  # what was read and does nothing, or was chosen here

    @property
    def network(self) -> Network:
        """Its two functions."""
        levels = len(self.denoiser.unet.block_out_channels) if self.denoiser.kind == "unet2d" else 1
        return build(self.denoiser, self.size or self.denoiser.block * 2 ** (levels - 1))


def load_denoiser(folder: Path | str) -> Callable[..., jax.Array]:
    """The network in a diffusers folder, or of a shadow: "RUN/shadows/0003", with "@STEP" for another step than the
    last and ":raw" for the trained weights instead of their average.

    Returns (x [batch, height, width, channel] float32 in [-1, 1], t [batch], class_labels=None) -> its prediction, of
    the shape of x; it raises ValueError on what the network does not take, and on labels and learned times outside of
    their table (which under jit cannot be seen). Raises UserError as `read_generator`.
    """
    generator = read_generator(folder)
    apply, params = jax.jit(generator.network.apply), jax.tree.map(jnp.asarray, generator.params)
    unet = generator.denoiser.unet
    learned = generator.denoiser.kind == "unet2d" and unet.time_embedding_type == "learned"

    def denoiser(x: Any, t: Any, class_labels: Any = None) -> jax.Array:
        t = jnp.asarray(t)
        if learned:
            _check_rows("t", t, unet.num_train_timesteps)
        if class_labels is not None:
            class_labels = jnp.asarray(class_labels)
            if unet.num_class_embeds:
                _check_rows("class_labels", class_labels, unet.num_class_embeds)
        return apply(params, jnp.asarray(x, jnp.float32), t, class_labels)

    return denoiser


def _check_rows(name: str, rows: jax.Array, count: int) -> None:
    """Refuses rows that a table of `count` has not; JAX would clip or fill them. Raises ValueError."""
    if not jnp.issubdtype(rows.dtype, jnp.integer):
        raise ValueError(f"{name} are {rows.dtype}: must be whole numbers, below {count}")
    if not isinstance(rows, jax.core.Tracer) and rows.size and not 0 <= int(rows.min()) <= int(rows.max()) < count:
        raise ValueError(f"{name} go from {rows.min()} to {rows.max()}: must lie between 0 and {count - 1}")


@dataclass(frozen=True)
class Place:
    """Where a generator's weights are. `step` and `raw` are of a shadow; `step` is None of a folder of diffusers."""

    name: str
    folder: Path
    step: int | None
    raw: bool


def locate(reference: Path | str, run: Path | None = None) -> Place:
    """The place of a diffusers folder, relative to here; or of a shadow as in `load_denoiser`, relative to here or else
    to `run`.

    Raises UserError where neither is there, and on a step that has no checkpoint.
    """
    found = _REFERENCE.fullmatch(str(reference))
    if found is None:
        raise UserError("the checkpoint has no name: use RUN/shadows/0003[@STEP][:raw], or a folder of diffusers")
    folder = Path(found["folder"])
    if run is not None and not folder.exists():
        folder = run / folder
    step = None if found["step"] is None else int(found["step"])
    if (folder / "checkpoints").is_dir():
        there = checkpoint.steps(folder)
        if not there or (step is not None and step not in there):
            named = ", ".join(map(str, there)) or "none"
            raise UserError(
                f"{reference}: no checkpoint of {'any step' if step is None else f'step {step}'}; there are: {named}"
            )
        return Place(str(reference), folder, there[-1] if step is None else step, bool(found["raw"]))
    if (Path(reference) / "model_index.json").is_file() or (Path(reference) / "config.json").is_file():
        return Place(str(reference), Path(reference), None, False)
    raise UserError(
        f"{reference}: neither a shadow with checkpoints (RUN/shadows/0003[@STEP][:raw]) nor a folder of diffusers "
        f"(model_index.json){astray.hint(Path(reference))}"
    )


def config_at(place: Place) -> Config:
    """The config that trained a shadow: of its family, where its run has some. Raises UserError where its run has none,
    and where it has families and the folder's name is no number."""
    folder = place.folder.absolute()
    config: Config = from_dict(workdir.read_config(folder.parent.parent))
    if not config.fleet.families:
        return config
    if not folder.name.isdigit():  # the number says which
        raise UserError(f"{place.name}: the run has fleet.families, so the folder's name must be the shadow's number")
    return families.own_config(config, int(folder.name))


def outline(place: Place) -> Generator:
    """The generator without its weights: `params` is empty. Raises UserError as `read_config` and `config_at`."""
    if place.step is None:
        return read_config(place.folder)
    config = config_at(place)
    return Generator(place.name, config.denoiser, config.data.resolution, {}, config.diffusion, config.pile)


def read_generator(reference: Path | str, run: Path | None = None) -> Generator:
    """The generator at a place as `locate` finds it. Raises UserError as `locate` and `read_place`."""
    return read_place(locate(reference, run))


def read_place(place: Place) -> Generator:
    """With its weights. Raises UserError as `outline` and `read_pipeline`, and DamagedError on a checkpoint that cannot
    be read."""
    if place.step is None:
        return read_pipeline(place.folder)
    config = config_at(place)
    network = build(config.denoiser, config.data.resolution)
    like = jax.eval_shape(lambda: train.fresh_states(network, config.train, jnp.stack([jax.random.key(0)])))
    state = checkpoint.restore_pack([place.folder], place.step, like)
    params = jax.tree.map(lambda leaf: np.asarray(leaf[0]), state.params if place.raw else state.ema)
    return dataclasses.replace(outline(place), params=params)


def read_config(folder: Path | str) -> Generator:
    """As `read_pipeline`, without reading the weights: `params` is empty. For recipes whose shadows are to have the
    network and the process of the generator in `folder`."""
    folder = Path(folder)
    if not folder.is_dir():
        what = "is no folder" if folder.exists() else "no such folder; a pipeline of the Hub has to be downloaded first"
        raise UserError(f"{folder}: {what}{astray.hint(folder) or ' (docs/guide/diffusers.md)'}")
    unet, diffusion, pile = folder, None, None
    notes: list[str] = []
    if (folder / "model_index.json").is_file():
        index = _read_json(folder / "model_index.json")
        _check_index(index, folder / "model_index.json")
        unet = _part(folder, "unet")
        diffusion, pile = _read_sampler(folder, str(index.get("_class_name")), index["scheduler"][1], notes)
    path = unet / "config.json"
    if unet == folder and not path.exists():
        raise UserError(f"{path} is missing{astray.hint(folder) or '; copy the folder again'}")
    content = _read_json(path)
    if content.get("_class_name") != "UNet2DModel":
        raise UserError(
            f"{path}: _class_name = {json.dumps(content.get('_class_name'))}: only UNet2DModel is supported"
        )
    config, size = unet2d_config.from_diffusers(content, str(path))
    notes += unet2d_config.notes(content)
    halvings = len(config.block_out_channels) - 1
    if size is not None and size % 2**halvings:
        raise UserError(f"{path}: sample_size = {size} cannot be halved {halvings} times, as block_out_channels ask")
    denoiser = blocks.outer(config, content, str(path))
    return Generator(folder.resolve().name, denoiser, (size or 0) * denoiser.block, {}, diffusion, pile, tuple(notes))


def read_pipeline(folder: Path) -> Generator:
    """The generator in a folder that diffusers (or `write_pipeline`) wrote: a pipeline of a UNet2DModel and a
    scheduler, or a UNet2DModel alone. Its `pile` is what the pipeline does where its caller asks for nothing.

    Raises UserError naming the file, and the field or tensor, that is missing, damaged or not supported.
    """
    generator = read_config(folder)
    unet = _part(folder, "unet") if (folder / "model_index.json").is_file() else folder
    like = jax.eval_shape(generator.network.init, jax.random.key(0))
    return dataclasses.replace(generator, params=weights.from_diffusers(_read_tensors(unet), like, str(unet)))


def _part(folder: Path, name: str) -> Path:
    """Where a pipeline's part is, as diffusers looks for it: older pipelines are flat."""
    return folder / name if (folder / name).is_dir() else folder


def _read_sampler(folder: Path, kind: str, named: Any, notes: list[str]) -> tuple[DiffusionConfig, PileConfig]:
    """The process of a pipeline of class `kind`, and the sampler with what the pipeline gives it; adds to `notes`.
    `named` is the scheduler's class in the index, which counts in diffusers, whatever the scheduler's file says."""
    path = _part(folder, "scheduler") / "scheduler_config.json"
    content = _read_json(path)
    made = "DDIMScheduler" if kind == "DDIMPipeline" and named in _MADE_DDIM else named
    if content.get("_class_name") != made:
        notes.append(f"{kind} makes a {made} of the {content.get('_class_name')} in {path.name}")
        content |= {"_class_name": made}
    diffusion, pile, more = dialect.read_scheduler(content, str(path))
    notes += more
    steps = _STEPS.get(kind, 1000 if pile.sampler == "ddpm" else 50)
    pile = dataclasses.replace(pile, sampler_steps=min(steps, diffusion.timesteps))
    own = (folder / _OURS).is_file()
    if pile.sampler == "dpmpp_2m" and not own:
        pile.sampler_steps = min(_STEPS_OF_SOLVER, max(diffusion.timesteps - 1, 1))
        notes.append(f"{kind} would ask DPM-Solver++ for {steps} steps; {pile.sampler_steps} are enough, and taken")
    if pile.sampler == "ddim" and pile.clip_sample:  # else it is read nowhere
        pile.use_clipped_model_output = False
    if own:
        pile = dataclasses.replace(pile, **_read_ours(folder / _OURS))
    try:
        rules.check(diffusion, pile)
    except UserError as error:
        raise UserError(f"{folder}: {error}") from error
    return diffusion, pile


def _read_ours(path: Path) -> dict[str, Any]:
    """The fields of PileConfig in a `shadowprint.json`. Raises UserError where one is unknown or of another type."""
    content = _read_json(path)
    default = PileConfig()
    for name, value in content.items():
        if name not in _OF_CALL or type(value) is not type(getattr(default, name)):
            raise UserError(f"{path}: {name} = {json.dumps(value)} is not known; remove it, or export the shadow again")
    if not 0 <= content.get("eta", 0.0) < float("inf"):
        raise UserError(f"{path}: eta = {content['eta']}: must be 0 or more; export the shadow again")
    return content


def _read_json(path: Path) -> dict[str, Any]:
    try:
        raw = path.read_bytes()
        astray.check_content(path, raw)
        content = json.loads(raw.decode("utf-8-sig"))  # editors of Windows put a byte order mark before it
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(f"{path} is missing; copy the folder again") from error
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
            raise UserError(f"{path}: {name} = {json.dumps(entry)}: a pipeline of a unet and a scheduler is supported")
    if index["unet"][1] != "UNet2DModel":
        raise UserError(f"{path}: unet = {json.dumps(index['unet'][1])}: only UNet2DModel is supported")
    if not isinstance(index.get("_class_name", ""), str):
        raise UserError(
            f"{path}: _class_name = {json.dumps(index['_class_name'])}: a pipeline with code of its own, which is "
            'never run; where it draws as diffusers does, write "DDPMPipeline" or "DDIMPipeline" there'
        )
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
    for shard in sorted({str(place) for place in places.values()}):
        if Path(shard).name != shard:
            raise UserError(f"{index}: {shard!r} lies outside of the folder; shards lie beside their index")
        found = _read_file(folder / shard)
        for name in sorted(found):
            if name in places and places[name] != shard:
                raise UserError(
                    f"{folder / shard}: has tensor {name!r}, which {index.name} places in {places[name]}; copy the "
                    "folder again"
                )
        tensors |= found
    wrong = sorted(places.keys() ^ tensors.keys())
    if wrong:
        raise UserError(f"{index}: tensor {wrong[0]!r} is in the index or in the shards alone; copy the folder again")
    return tensors


def _read_file(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError, safe_open
    from safetensors.flax import load_file

    if not path.is_file():
        raise UserError(f"{path} is missing; copy the folder again")
    with path.open("rb") as stream:
        astray.check_content(path, stream.read(100))
    try:
        with safe_open(path, "numpy") as file:  # the header: some types are not to be had as arrays
            kinds = {name: file.get_slice(name).get_dtype() for name in sorted(file.keys())}
        astray.check_names(path, kinds)
        for name, kind in kinds.items():
            if kind not in _FLOATS:
                raise UserError(
                    f"{path}: tensor {name!r} holds {kind}: floats of 16 to 64 bits are supported, not quantised ones"
                )
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path}: no whole safetensors file ({error}); copy it again") from error


def export(reference: str, run: Path | None, folder: Path) -> str:
    """Writes the shadow `reference` (as `read_generator`) as a pipeline; returns what to say about it."""
    check_new(folder)  # before weights are read, which may take long
    place = locate(reference, run)
    trained = None
    if place.step is not None:
        trained = card.training(config_at(place), place.folder, place.step, not place.raw)
    generator = read_place(place)
    write_pipeline(generator, folder, trained)
    lines = [f"{folder}: open it with diffusers.DDPMPipeline.from_pretrained({str(folder)!r})"]
    block = generator.denoiser.block
    if block > 1:
        lines.append(f"it draws blocks of {block} x {block} pixels as channels; {card.NAME} there makes pixels of them")
    pile, diffusion = generator.pile, generator.diffusion
    if pile is not None and diffusion is not None:
        named = ", ".join(f"{name}={value}" for name, value in _call(pile).items())
        lines.append(
            f"the images that shadowprint draws of it are those of diffusers.{_kind(pile)} called with {named}"
        )
        if uneven(pile, diffusion.timesteps):
            lines.append("but nearly: " + UNEVEN.format(pile.sampler_steps, diffusion.timesteps))
    return "\n".join(lines)


UNEVEN = "{} steps do not divide {} times, and DDIM's trailing steps are then not of one length there and here"


def uneven(pile: PileConfig, timesteps: int) -> bool:
    """Does DDIM end its steps elsewhere than in diffusers? See `samplers`."""
    return pile.sampler == "ddim" and pile.timestep_spacing == "trailing" and timesteps % pile.sampler_steps > 0


def _call(pile: PileConfig) -> dict[str, int | float | bool]:
    """What that pipeline is called with for the images that are drawn here."""
    if pile.sampler != "ddim":
        return {"num_inference_steps": pile.sampler_steps}
    clipped = pile.clip_sample and pile.use_clipped_model_output
    return {"num_inference_steps": pile.sampler_steps, "eta": pile.eta, "use_clipped_model_output": clipped}


def _kind(pile: PileConfig) -> str:
    """The class of the pipeline that draws so."""
    return "DDIMPipeline" if pile.sampler == "ddim" else "DDPMPipeline"


def check_new(folder: Path) -> None:
    """Refuses a folder that is there or cannot be made. Raises UserError."""
    if folder.exists() or folder.is_symlink():
        raise UserError(f"{folder} is there already: name a new folder, or remove it")
    check_parents(folder)


def check_parents(folder: Path) -> None:
    """Raises UserError where something above `folder` is no folder."""
    for parent in folder.absolute().parents:
        if (parent.exists() or parent.is_symlink()) and not parent.is_dir():
            raise UserError(f"{folder}: {parent} is no folder; name another one")


def _remove(path: Path) -> None:
    """What a killed process left: a folder, or anything else."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_pipeline(generator: Generator, folder: Path, trained: card.Training | None = None) -> None:
    """Writes a pipeline's folder: a `DDIMPipeline` where DDIM is the sampler, else a `DDPMPipeline`; with a model card,
    which says how it was `trained` where that is known.

    Raises UserError where `folder` is there, and on a generator that diffusers has no words for.
    """
    if generator.denoiser.kind != "unet2d":
        raise UserError(
            f"{generator.name}: denoiser.kind = {generator.denoiser.kind!r}: diffusers has no such network; shadows of "
            "kind 'unet2d' can be exported"
        )
    if generator.diffusion is None or generator.pile is None:
        raise UserError(f"{generator.name}: is a network without a scheduler, which a pipeline needs")
    check_new(folder)
    from safetensors.numpy import save

    scheduler, fields = dialect.scheduler_config(generator.diffusion, generator.pile)
    part = folder.with_name(f".{folder.name}.part")
    _remove(part)
    try:
        parts = {"unet": ["diffusers", "UNet2DModel"], "scheduler": ["diffusers", scheduler]}
        _write_config(part, _kind(generator.pile), "model_index.json", parts)
        block = generator.denoiser.block
        unet = unet2d_config.to_diffusers(blocks.inner(generator.denoiser), generator.size // block)
        unet |= {blocks.KEY: block} if block > 1 else {}
        _write_config(part / "unet", "UNet2DModel", "config.json", unet)
        _write_config(part / "scheduler", scheduler, "scheduler_config.json", fields)
        tensors = save(weights.to_diffusers(generator.params), {"format": "pt"})
        files.write_bytes(part / "unet" / _WEIGHTS, tensors)  # says of a full disk what it is, which `save_file` hides
        files.write_json(part / _OURS, {name: getattr(generator.pile, name) for name in _OF_CALL})
        files.write_text(part / card.NAME, _card(generator, generator.diffusion, generator.pile, trained))
        os.replace(part, folder)
    finally:
        _remove(part)


def _card(generator: Generator, diffusion: DiffusionConfig, pile: PileConfig, trained: card.Training | None) -> str:
    images = card.Images(generator.denoiser.unet.in_channels, generator.size, generator.denoiser.block)
    return card.text(_kind(pile), images, diffusion, pile, _call(pile), trained)


def _write_config(folder: Path, kind: str, name: str, fields: dict[str, Any]) -> None:
    """By diffusers' own writer, as an object of the class `kind` would: with that name and diffusers' version."""
    from diffusers.configuration_utils import ConfigMixin

    instance = type(kind, (ConfigMixin,), {"config_name": name})()
    instance.register_to_config(**fields)
    instance.save_config(folder)

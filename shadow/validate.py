"""Values of a config that contradict each other or make no sense, refused by field before anything is done."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator
from typing import Any

from shadow.config import SEEDS, SUPPLIED, Config, DenoiserConfig, FamilyConfig
from shadow.data.editions import SUBSETS
from shadow.denoisers import unet2d_config
from shadow.diffusion import rules
from shadow.errors import UserError

# Fields with few values, and those that may be zero: by the end of their name, for the shadows and the target alike.
_CHOICES = {
    "denoiser.kind": ("dit", "unet2d"),
    "denoiser.dtype": ("float32", "bfloat16"),
    "data.piles": ("together", "apart"),
    "membership.unit": ("auto", "image", "group", "mixed"),
    "challenge.split": ("slice", "group"),
    "attack.objective": ("f1", "kappa", "accuracy"),
    "attack.recalibrate": ("auto", "none", "dev"),
    "attack.same_generator": ("auto", "true", "false"),
    "attack.flips": ("auto", "none", "left_right", "up_down", "both"),
    "report.gallery": ("auto", "true", "false"),
}
_NOT_NEGATIVE = (
    *("train.shift", "warmup_steps", "weight_decay", "ema_halflife_images", "pile.eta", "attack.ridge", "target_pile"),
    "compare.references",
)


def validate(config: Config) -> None:
    """Refuses values that contradict each other or make no sense, by field. Raises UserError.

    The fields are frozen by the first command on a workdir, so a mistake found later costs the workdir.
    """
    _validate_families(config)
    for name, value in _leaves(config):
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{name} = {value}: must be a finite number")
        for end, allowed in _CHOICES.items():
            if name.endswith(end) and value not in allowed:
                raise UserError(f"{name} = {value!r}: use {' or '.join(map(repr, allowed))}")
        if name.endswith(_NOT_NEGATIVE) and value < 0:
            raise UserError(f"{name} = {value}: must be 0 or more")
        if name.split(".")[-1] == "seed" and not 0 <= value < SEEDS:
            raise UserError(f"{name} = {value}: must lie between 0 and {SEEDS - 1}")
    for name, value in _positive(config).items():
        if not value > 0:
            raise UserError(f"{name} = {value}: must be above 0")
    _validate_fleet(config)
    _validate_networks(config)
    rules.check(config.diffusion, config.pile)
    rules.check_times(config.pile, config.diffusion.timesteps)
    if not all(1 <= step <= config.train.steps for step in config.pile.steps):
        raise UserError(f"pile.steps = {config.pile.steps}: must lie between 1 and train.steps = {config.train.steps}")
    _validate_attack(config)
    for name, value, least in (("count", config.compare.count, 3), ("images", config.compare.images, 4)):
        if value < least:
            raise UserError(f"compare.{name} = {value}: use {least} or more")


def _positive(config: Config) -> dict[str, float]:
    """Fields that must be above zero, by their names on the command line."""
    c = config
    named = {"data.resolution": c.data.resolution, "data.group_distance": c.data.group_distance}
    for prefix, train in (("train", c.train), ("challenge.train", c.challenge.train)):
        for name in ("steps", "batch_size", "learning_rate", "clip_norm", "checkpoint_every", "log_every"):
            named[f"{prefix}.{name}"] = getattr(train, name)
    for i, family in enumerate(c.fleet.families):
        for name in ("batch_size", "learning_rate"):
            named[f"fleet.families[{i}].{name}"] = getattr(family, name)
    for name in ("count", "sampler_steps", "batch_size"):
        named[f"pile.{name}"] = getattr(c.pile, name)
    for name in ("workers", "threads", "devices"):
        named[f"fleet.{name}"] = getattr(c.fleet, name)
    for name in ("pile", "references", "draws", "redraws", "bootstrap"):
        named[f"attack.{name}"] = getattr(c.attack, name)
    for name in ("batch_size", "axes", "noises", "sheet"):
        named[f"compare.{name}"] = getattr(c.compare, name)
    for name in ("dev_used", "dev_not_used", "test_used", "test_not_used", "dev_generated", "test_generated"):
        named[f"challenge.{name}"] = getattr(c.challenge, name)
    named["challenge.slices_a_patient"] = c.challenge.slices_a_patient
    named["challenge.threads"] = c.challenge.threads
    return named | {
        "diffusion.timesteps": c.diffusion.timesteps,
        "diffusion.max_weight": c.diffusion.max_weight,
    }


def _leaves(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every field that is no dataclass and no tuple of them, by its name on the command line or in a recipe."""
    for f in dataclasses.fields(value):
        inner = getattr(value, f.name)
        if dataclasses.is_dataclass(inner):
            yield from _leaves(inner, f"{prefix}{f.name}.")
        elif isinstance(inner, tuple) and any(map(dataclasses.is_dataclass, inner)):
            for i, element in enumerate(inner):
                yield from _leaves(element, f"{prefix}{f.name}[{i}].")
        else:
            yield prefix + f.name, inner


def _validate_denoiser(prefix: str, denoiser: DenoiserConfig, size: int, timesteps: int) -> None:
    """Refuses a network that cannot be, or that cannot take images of `size` x `size`."""
    if denoiser.block < 1:
        raise UserError(f"{prefix}.block = {denoiser.block}: must be 1 or more")
    if denoiser.kind == "unet2d":
        if denoiser.overlap:
            raise UserError(f"{prefix}.overlap = True: is for {prefix}.kind = 'dit'; leave it False")
        unet2d_config.check(denoiser.unet, f"{prefix}.unet")
        unet2d_config.check_trained(denoiser.unet, f"{prefix}.unet", timesteps)
        halvings, block = len(denoiser.unet.block_out_channels) - 1, denoiser.block
        by = f"2 ** {halvings} ({prefix}.unet.block_out_channels)"
        if block != 1:
            by = f"{by} times {prefix}.block = {block}, which is"
        divisions = [("data.resolution", size, by, 2**halvings * block)]
    else:
        if denoiser.block != 1:
            raise UserError(f"{prefix}.block = {denoiser.block}: is for {prefix}.kind = 'unet2d'; leave it at 1")
        divisions = [
            ("data.resolution", size, f"{prefix}.patch", denoiser.patch),
            (f"{prefix}.width", denoiser.width, f"{prefix}.heads", denoiser.heads),
            (f"{prefix}.width", denoiser.width, "4", 4),
            (f"{prefix}.patch", denoiser.patch, f"2 ({prefix}.overlap)", 2 if denoiser.overlap else 1),
        ]
    for name, value, by, divisor in divisions:
        if divisor < 1 or value < 1 or value % divisor:
            raise UserError(f"{name} = {value}: must be divisible by {by} = {divisor}")


def _validate_families(config: Config) -> None:
    """Refuses families that are none or share a name, and options beside them that would do nothing."""
    families = config.fleet.families
    if not isinstance(families, tuple) or not all(type(family) is FamilyConfig for family in families):
        raise UserError(
            f"fleet.families = {families!r}: must be a tuple of FamilyConfig, in a recipe (as configs/families.py does)"
        )
    names: set[str] = set()
    for i, family in enumerate(families):
        where = f"fleet.families[{i}]"
        for name, kind in (("name", str), ("batch_size", int), ("learning_rate", float), ("denoiser", DenoiserConfig)):
            if type(getattr(family, name)) is not kind:
                raise UserError(f"{where}.{name} = {getattr(family, name)!r}: must be of type {kind.__name__}")
        if not re.fullmatch(r"[\w.-]+", family.name) or family.name in names:
            raise UserError(
                f"{where}.name = {family.name!r}: use letters, digits, '-', '_' and '.', another name for each family"
            )
        names.add(family.name)
    if not families:
        return
    known = dict(_leaves(Config()))
    replaced = ("denoiser.", "train.batch_size", "train.learning_rate")
    for name, value in _leaves(config):
        if name.startswith(replaced) and value != known[name]:
            raise UserError(f"{name} = {value!r}: does nothing, as each of fleet.families has its own; leave it")


def _validate_fleet(config: Config) -> None:
    """Refuses fleets whose shadows cannot be shared out."""
    block = config.membership.block
    if config.fleet.shadows and config.fleet.shadows < 6:
        raise UserError(
            f"fleet.shadows = {config.fleet.shadows}: use at least 6, so that a held-out shadow, the one "
            "asked about and a reference are three; or 0 for baselines without shadows"
        )
    if block < 2 or block % 2 or config.fleet.shadows % block:
        raise UserError(
            f"membership.block = {block}: use an even number that divides fleet.shadows = {config.fleet.shadows}"
        )
    families = len(config.fleet.families)
    if config.membership.candidates and not config.fleet.shadows:
        raise UserError("membership.candidates: only with shadows; leave it false")
    if families and config.fleet.shadows % (block * families):
        raise UserError(
            f"fleet.shadows = {config.fleet.shadows}: use a multiple of {block * families}, which is "
            f"membership.block = {block} times the number of fleet.families, so that each has whole blocks"
        )
    pack = config.fleet.pack
    if pack != "auto" and (isinstance(pack, bool) or not isinstance(pack, int) or pack < 1):
        raise UserError(f"fleet.pack = {pack!r}: use a number of shadows, 1 or more, or 'auto'")


def _validate_networks(config: Config) -> None:
    """Refuses networks and their training, of shadows and target, that cannot be."""
    families = [(f"fleet.families[{i}].", family) for i, family in enumerate(config.fleet.families)]
    denoisers = [(f"{prefix}denoiser", family.denoiser) for prefix, family in families]
    denoisers = denoisers or [("denoiser", config.denoiser)]
    trained = [("train", config.train)]
    if not config.fleet.shadows:
        denoisers, trained = [], []
    batches = [(f"{prefix}batch_size", family.batch_size) for prefix, family in families]
    for name, batch in batches or [("train.batch_size", config.train.batch_size)]:
        if batch % config.fleet.devices:
            raise UserError(f"{name} = {batch}: must be divisible by fleet.devices = {config.fleet.devices}")
    if not config.data.root:  # else no challenge is made
        denoisers.append(("challenge.denoiser", config.challenge.denoiser))
        trained.append(("challenge.train", config.challenge.train))
    for name, denoiser in denoisers:
        _validate_denoiser(name, denoiser, config.data.resolution, config.diffusion.timesteps)
    for name, train in trained:
        if train.shift >= config.data.resolution:
            raise UserError(
                f"{name}.shift = {train.shift}: must be below data.resolution = {config.data.resolution}, or "
                "nothing is left of an image"
            )


def _validate_subsets(config: Config) -> None:
    """Refuses options that have no place in the question whose data images were made from."""
    edition = f"data.edition = {SUBSETS!r}"
    if not config.fleet.shadows:
        raise UserError(f"fleet.shadows = 0: {edition} needs shadows, two or more of each subset")
    if config.membership.candidates:
        raise UserError(f"membership.candidates: {edition} has no candidates; leave it false")
    if config.attack.embeddings_from or not config.attack.embeddings:
        raise UserError(f"attack.embeddings_from: {edition} takes attack.embeddings alone; name one there")
    if not 0 <= config.attack.none < 1:
        raise UserError(f"attack.none = {config.attack.none}: must be 0 or more, and below 1")
    for name, least in (("subsets", 2), ("subset_slices", 2)):
        if getattr(config.challenge, name) < least:
            raise UserError(f"challenge.{name} = {getattr(config.challenge, name)}: use {least} or more")


def _validate_attack(config: Config) -> None:
    """Refuses attacks that do not fit the data or the fleet, or contradict themselves."""
    attack = config.attack
    if config.data.edition == "own" and not config.data.root:
        raise UserError("data.edition = 'own': give the folder of your data, --config.data.root=FOLDER")
    if config.data.piles == "apart" and (config.data.edition == SUBSETS or not config.data.root):
        why = (
            "needs the folder of your data, data.root"
            if not config.data.root
            else f"{SUBSETS} answers each pile anyway"
        )
        raise UserError(f"data.piles = 'apart': {why}; leave it 'together'")
    if config.data.edition == SUBSETS:
        _validate_subsets(config)
    if config.data.edition == "own" and attack.same_generator == "true":
        raise UserError(
            "attack.same_generator: data.edition = 'own' has no dev pile and no used slices; leave it false, or use "
            "the layout of edition 2023"
        )
    if config.fleet.shadows and attack.baseline:
        raise UserError(f"attack.baseline = {attack.baseline!r}: only without shadows, with fleet.shadows = 0")
    if config.fleet.shadows and attack.pile > config.pile.count:
        raise UserError(f"attack.pile = {attack.pile} is above pile.count = {config.pile.count}: shadows have no more")
    for name, value, below in (("prior", attack.prior, 1.0), ("fpr", attack.fpr, 0.5)):
        if not 0 < value < below:
            raise UserError(f"attack.{name} = {value}: must lie between 0 and {below}")
    if attack.recalibrate == "dev" and not config.fleet.shadows:
        raise UserError("attack.recalibrate = 'dev': only with shadows; leave it 'auto' for baselines")
    if attack.recalibrate == "dev" and attack.same_generator != "true":
        raise UserError(
            "attack.recalibrate = 'dev': labels of the dev slices say nothing of another generator; use 'none', or set "
            "attack.same_generator where one generator made both piles"
        )
    if attack.folds < 2:
        raise UserError(f"attack.folds = {attack.folds}: use 2 or more")
    if SUPPLIED in attack.embeddings:
        raise UserError(f"attack.embeddings: {SUPPLIED!r} comes with attack.embeddings_from = FILE; leave it out here")
    if attack.embeddings_from and not config.fleet.shadows:
        raise UserError(
            f"attack.embeddings_from = {attack.embeddings_from!r}: only with shadows; baselines do not use it"
        )
    if not (attack.embeddings or attack.embeddings_from) or not attack.signals:
        raise UserError("attack.embeddings and attack.signals must not be empty")

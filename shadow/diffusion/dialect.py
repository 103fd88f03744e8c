"""Our process and sampler in the words of diffusers, there and back: the fields of a `scheduler_config.json`.

Known are `DDIMScheduler`, `DDPMScheduler` and `DPMSolverMultistepScheduler`, with the fields of diffusers 0.42. A file
may hold less; diffusers' defaults stand for the rest, as they do there. Some of our options are no part of a
scheduler: the number of steps, eta and `use_clipped_model_output` are arguments of diffusers' loop over steps, and
`max_weight` and `weighting` belong to training.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from shadow.config import DiffusionConfig, PileConfig
from shadow.diffusion import rules
from shadow.errors import UserError

_CLASSES = {"ddim": "DDIMScheduler", "ddpm": "DDPMScheduler", "dpmpp_2m": "DPMSolverMultistepScheduler"}
_SCHEDULES = {"cosine": "squaredcos_cap_v2", "linear": "linear", "scaled_linear": "scaled_linear"}
_PREDICTIONS = {"sample": "sample", "v": "v_prediction", "epsilon": "epsilon"}

# Fields and defaults of diffusers' classes, by our name of the sampler.
_COMMON: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_start": 0.0001,
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "trained_betas": None,
    "prediction_type": "epsilon",
    "thresholding": False,
    "dynamic_thresholding_ratio": 0.995,
    "sample_max_value": 1.0,
    "timestep_spacing": "leading",
    "steps_offset": 0,
    "rescale_betas_zero_snr": False,
}
_CLIPPED = _COMMON | {"clip_sample": True, "clip_sample_range": 1.0}
_DEFAULTS: dict[str, dict[str, Any]] = {
    "ddim": _CLIPPED | {"set_alpha_to_one": True},
    "ddpm": _CLIPPED | {"variance_type": "fixed_small"},
    "dpmpp_2m": _COMMON
    | {
        "timestep_spacing": "linspace",
        "solver_order": 2,
        "algorithm_type": "dpmsolver++",
        "solver_type": "midpoint",
        "lower_order_final": True,
        "euler_at_final": False,
        "use_karras_sigmas": False,
        "use_exponential_sigmas": False,
        "use_beta_sigmas": False,
        "use_lu_lambdas": False,
        "use_flow_sigmas": False,
        "flow_shift": 1.0,
        "final_sigmas_type": "zero",
        "lambda_min_clipped": -math.inf,
        "variance_type": None,
        "use_dynamic_shifting": False,
        "time_shift_type": "exponential",
    },
}
# Fields of which we have the default only, and those that then do nothing.
_FIXED = {
    "ddim": ("trained_betas", "thresholding"),
    "ddpm": ("trained_betas", "thresholding"),
    "dpmpp_2m": (
        *("trained_betas", "solver_order", "algorithm_type", "use_karras_sigmas", "use_exponential_sigmas"),
        *("use_beta_sigmas", "use_lu_lambdas", "use_flow_sigmas", "lambda_min_clipped", "variance_type"),
        "use_dynamic_shifting",
    ),
}
_INERT = ("dynamic_thresholding_ratio", "flow_shift", "time_shift_type")
# Fields that both sides have, by one name.
_OF_PROCESS = ("beta_start", "beta_end")
_OF_SAMPLER = {
    "ddim": ("timestep_spacing", "steps_offset", "clip_sample", "clip_sample_range", "set_alpha_to_one"),
    "ddpm": ("timestep_spacing", "steps_offset", "clip_sample", "clip_sample_range", "variance_type"),
    "dpmpp_2m": (
        *("timestep_spacing", "steps_offset", "solver_type", "final_sigmas_type", "lower_order_final"),
        "euler_at_final",
    ),
}
_VERSION = ("_class_name", "_diffusers_version")


class Scheduler(NamedTuple):
    """A scheduler in our words. What a scheduler has no word for (see above) stands at our default."""

    diffusion: DiffusionConfig
    pile: PileConfig
    notes: tuple[str, ...]  # one a field of the file that does nothing there and is left out here


def scheduler_config(diffusion: DiffusionConfig, pile: PileConfig) -> tuple[str, dict[str, Any]]:
    """Name of diffusers' class and all of its fields, without `_class_name` and `_diffusers_version`.
    `lambda_min_clipped` is -inf, which Python's JSON writes as -Infinity.

    DPM-Solver++ has no clip in diffusers, but dynamic thresholding with a `sample_max_value` of 1 clips to [-1, 1].
    Raises UserError as `rules.check`, and where dpmpp_2m clips to another range.
    """
    rules.check(diffusion, pile)
    content = _DEFAULTS[pile.sampler] | {
        "num_train_timesteps": diffusion.timesteps,
        "beta_schedule": _SCHEDULES[diffusion.schedule],
        "prediction_type": _PREDICTIONS[diffusion.prediction],
        "rescale_betas_zero_snr": diffusion.zero_terminal_snr,
    }
    content |= {name: getattr(diffusion, name) for name in _OF_PROCESS}
    content |= {name: getattr(pile, name) for name in _OF_SAMPLER[pile.sampler]}
    if pile.sampler == "dpmpp_2m" and pile.clip_sample:
        if pile.clip_sample_range != 1:
            raise UserError(
                f"pile.clip_sample_range = {pile.clip_sample_range}: diffusers' DPMSolverMultistepScheduler can only "
                "clip to 1.0; use that, or pile.clip_sample = False"
            )
        content["thresholding"] = True
    return _CLASSES[pile.sampler], content


def read_scheduler(content: Mapping[str, Any], where: str) -> Scheduler:
    """The process and sampler of a parsed `scheduler_config.json`; `where` is its name in messages.

    Raises UserError on another class, on unknown fields, and on every value that would make another trajectory than
    ours: by its name, with what can be had instead.
    """
    if not isinstance(content, Mapping):
        raise UserError(f"{where}: no object of fields; use the scheduler_config.json that diffusers wrote")
    ours = {name: sampler for sampler, name in _CLASSES.items()}
    name = content.get("_class_name")
    if not isinstance(name, str) or name not in ours:
        raise UserError(
            f"{where}: _class_name = {name!r} is no scheduler that we have; make one of "
            f"{', '.join(_CLASSES.values())} of it, by that class's from_config in diffusers"
        )
    sampler = ours[name]
    fields = _checked(content, sampler, f"{where}: {name}.")
    notes = [_note(field, fields[field]) for field in _INERT if fields.get(field) != _DEFAULTS[sampler].get(field)]
    taken = {field: fields[field] for field in _OF_SAMPLER[sampler]}
    if sampler == "dpmpp_2m":
        taken["clip_sample"] = fields["thresholding"]
    if not fields["thresholding"] and fields["sample_max_value"] != 1:
        notes.append(_note("sample_max_value", fields["sample_max_value"]))
    diffusion = DiffusionConfig(
        timesteps=fields["num_train_timesteps"],
        schedule=_word(_SCHEDULES, fields["beta_schedule"]),
        prediction=_word(_PREDICTIONS, fields["prediction_type"]),
        zero_terminal_snr=fields["rescale_betas_zero_snr"],
        **{field: fields[field] for field in _OF_PROCESS},
    )
    diffusion, pile = _without_idle(diffusion, PileConfig(sampler=sampler, **taken), notes)
    try:
        rules.check(diffusion, pile)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    return Scheduler(diffusion, pile, tuple(notes))


def _without_idle(diffusion: DiffusionConfig, pile: PileConfig, notes: list[str]) -> tuple[DiffusionConfig, PileConfig]:
    """The two with every field that does nothing at its default; `notes` says which were not."""
    for name in rules.idle(diffusion, pile):
        group, field = name.split(".")
        config: Any = diffusion if group == "diffusion" else pile
        default = getattr(type(config)(), field)
        if getattr(config, field) != default:
            notes.append(_note(field, getattr(config, field)))
            changed = dataclasses.replace(config, **{field: default})
            diffusion, pile = (changed, pile) if group == "diffusion" else (diffusion, changed)
    return diffusion, pile


def _note(field: str, value: object) -> str:
    return f"{field} = {value!r} does nothing beside the other fields and is left out"


def _word(words: dict[str, str], theirs: str) -> str:
    """Our word for diffusers' one."""
    return {value: key for key, value in words.items()}[theirs]


def _checked(content: Mapping[str, Any], sampler: str, prefix: str) -> dict[str, Any]:
    """All fields of the class, each of the type of its default and with a value that we have. Raises UserError."""
    defaults = _DEFAULTS[sampler]
    for field in content:
        if field not in defaults and field not in _VERSION:
            raise UserError(f"{prefix}{field}: diffusers 0.42 has no such field here; remove it")
    fields = defaults | {field: value for field, value in content.items() if field in defaults}
    allowed: dict[str, tuple[Any, ...]] = {field: (defaults[field],) for field in _FIXED[sampler]}
    allowed |= {"beta_schedule": tuple(_SCHEDULES.values()), "prediction_type": tuple(_PREDICTIONS.values())}
    for name, choices in rules.CHOICES.items():
        field = name.removeprefix("pile.")
        if field in _OF_SAMPLER[sampler]:
            allowed[field] = choices
    for field, value in fields.items():
        if field in allowed and not any(type(value) is type(a) and value == a for a in allowed[field]):
            raise UserError(
                f"{prefix}{field} = {value!r}: is not supported, use {' or '.join(map(repr, allowed[field]))}"
            )
        if field not in allowed:
            fields[field] = _typed(prefix + field, value, defaults[field])
    if fields["num_train_timesteps"] < 1:
        raise UserError(f"{prefix}num_train_timesteps = {fields['num_train_timesteps']}: must be 1 or more")
    if fields["thresholding"] and fields["sample_max_value"] != 1:
        raise UserError(
            f"{prefix}thresholding = True: is not supported with sample_max_value = {fields['sample_max_value']}, "
            "which moves pixels within the range too; use sample_max_value = 1.0, a plain clip, or thresholding = False"
        )
    if fields["rescale_betas_zero_snr"] and fields["prediction_type"] == "epsilon":
        raise UserError(
            f"{prefix}rescale_betas_zero_snr = True: is not supported with prediction_type = 'epsilon', which says "
            "nothing about the image where x_t is nothing but noise; use 'v_prediction' or 'sample'"
        )
    return fields


def _typed(name: str, value: object, default: Any) -> Any:
    """`value` if it is of the type of `default`; a whole number may stand for a float. Raises UserError."""
    if type(default) is float and type(value) is int:
        value = float(value)
    if type(value) is not type(default) or (isinstance(value, float) and not math.isfinite(value)):
        raise UserError(f"{name} = {value!r}: must be a {type(default).__name__} like {default!r}")
    return value

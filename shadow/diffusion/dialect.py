"""Our process and sampler in the words of diffusers, there and back: the fields of a `scheduler_config.json`.

Known are `DDIMScheduler`, `DDPMScheduler` and `DPMSolverMultistepScheduler`, with the fields of diffusers 0.42. A file
may hold less; diffusers' defaults stand for the rest, as they do there. It may hold more: diffusers carries fields of
other schedulers along, which the named one does not read. Some of our options are no part of a scheduler: the number
of steps, eta and `use_clipped_model_output` are arguments of diffusers' loop over steps, and `max_weight` and
`weighting` belong to training.
"""

from __future__ import annotations

import dataclasses
import json
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
# Null is diffusers' former False.
_NULL_IS_FALSE = (
    *("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "use_lu_lambdas", "use_flow_sigmas"),
)
# Every field of any scheduler of diffusers 0.42. `from_config` keeps those of the class that a config came from in the
# config of the class that is made of it, where nothing reads them.
_OF_ANY = """
algorithm_type alpha_cum_end alpha_cum_start base_image_seq_len base_shift beta_end beta_max beta_min beta_schedule
beta_start block_length clip_denoised clip_sample clip_sample_range correct_steps corrector_k corrector_order
corrector_selection corrector_selection_tau corrector_steps disable_corrector dynamic_thresholding_ratio
editing_threshold entropy_bound eps eta euler_at_final final_sigmas_type final_step_size_scale flow_shift gamma
gamma_cum_end gamma_cum_start interpolation_type invert_sigmas lambda_min_clipped lower_order_final mask_token_id
masking_schedule max_image_seq_len max_shift minimal_topk n_grid noise_mode noise_sampler_seed num_inference_steps
num_policy_substeps num_train_timesteps num_vec_classes original_inference_steps predict_x0 prediction_type
predictor_order rescale_betas_zero_snr rho s s_churn s_max s_min s_noise sample_max_value sampling_eps scale_factors
scaler schedule_mode scheduler_type set_alpha_to_one shift shift_terminal sigma_data sigma_max sigma_min
sigma_schedule skip_prk_steps snr snr_shift_scale solver_order solver_p solver_type stage_range stages steps_offset
stochastic_sampling t_lim_ode t_lim_ode_below t_max t_min tail_step_multiplier tail_steps tau_func threshold
thresholding time_shift_type timestep_scaling timestep_spacing timestep_type trained_betas tsr_k tsr_sigma
upscale_mode use_beta_sigmas use_dynamic_shifting use_exponential_sigmas use_flow_sigmas use_karras_sigmas
use_lu_lambdas variance_type
"""
_FIXED_VARIANCES = ("fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log")
_KINDS = {bool: "true or false,", int: "a whole number", float: "a number", str: "a name"}


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

    Fields of other schedulers and of former versions of diffusers are noted or translated, those that begin with "_"
    ignored. Raises UserError on another class, on unknown fields, and on every value that would make another
    trajectory than ours: by its name, with what can be had instead.
    """
    if not isinstance(content, Mapping):
        raise UserError(f"{where}: no object of fields; use the scheduler_config.json that diffusers wrote")
    ours = {name: sampler for sampler, name in _CLASSES.items()}
    name = content.get("_class_name")
    if not isinstance(name, str) or name not in ours:
        raise UserError(
            f"{where}: _class_name = {_shown(name)} is no scheduler that we have; make one of "
            f"{', '.join(_CLASSES.values())} of it, by that class's from_config in diffusers"
        )
    sampler = ours[name]
    content, notes = _of_today(content, sampler, f"{where}: {name}.")
    fields = _checked(content, sampler, f"{where}: {name}.")
    notes += [_note(field, fields[field]) for field in _INERT if fields.get(field) != _DEFAULTS[sampler].get(field)]
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
    return f"{field} = {_shown(value)} does nothing beside the other fields and is left out"


def _shown(value: object) -> str:
    """As it stands in the file."""
    return json.dumps(value, default=repr)


def _of_today(content: Mapping[str, Any], sampler: str, prefix: str) -> tuple[dict[str, Any], list[str]]:
    """The fields without those of other schedulers and of former versions; and a note for each that did nothing.

    Raises UserError on a name that no scheduler has, and on a former field that says what we do not have.
    """
    defaults, kept, notes = _DEFAULTS[sampler], {}, []
    for field, value in content.items():
        if field.startswith("_") or field == "predict_epsilon":
            continue
        if field == "timestep_values" and value is not None:
            raise UserError(f"{prefix}{field} = {_shown(value)}: times of one's own are not supported; use null")
        if field in ("tensor_format", "timestep_values"):
            notes.append(f"{field} = {_shown(value)} is of former versions and does nothing")
        elif sampler == "dpmpp_2m" and field == "variance_type" and value in _FIXED_VARIANCES:
            notes.append(_note(field, value))
        elif field in defaults:
            kept[field] = False if value is None and field in _NULL_IS_FALSE else value
        elif field in _OF_ANY.split():
            notes.append(f"{field} = {_shown(value)} is of another scheduler and does nothing in this one")
        else:
            raise UserError(f"{prefix}{field}: no scheduler of diffusers 0.42 has such a field; remove it")
    if "predict_epsilon" in content:
        value = content["predict_epsilon"]
        if not isinstance(value, bool):
            raise UserError(f"{prefix}predict_epsilon = {_shown(value)}: must be true or false")
        meant = "epsilon" if value else "sample"
        if kept.setdefault("prediction_type", meant) != meant:
            raise UserError(
                f"{prefix}predict_epsilon = {_shown(value)}: contradicts prediction_type = "
                f"{_shown(kept['prediction_type'])}; remove one of them"
            )
    return kept, notes


def _word(words: dict[str, str], theirs: str) -> str:
    """Our word for diffusers' one."""
    return {value: key for key, value in words.items()}[theirs]


def _checked(content: dict[str, Any], sampler: str, prefix: str) -> dict[str, Any]:
    """All fields of the class, each of the type of its default and with a value that we have. Raises UserError."""
    defaults = _DEFAULTS[sampler]
    fields = defaults | content
    allowed: dict[str, tuple[Any, ...]] = {field: (defaults[field],) for field in _FIXED[sampler]}
    allowed |= {"beta_schedule": tuple(_SCHEDULES.values()), "prediction_type": tuple(_PREDICTIONS.values())}
    for name, choices in rules.CHOICES.items():
        field = name.removeprefix("pile.")
        if field in _OF_SAMPLER[sampler]:
            allowed[field] = choices
    for field, value in fields.items():
        if field in allowed and not any(type(value) is type(a) and value == a for a in allowed[field]):
            raise UserError(
                f"{prefix}{field} = {_shown(value)}: is not supported, use {' or '.join(map(_shown, allowed[field]))}"
            )
        if field not in allowed:
            fields[field] = _typed(prefix + field, value, defaults[field])
    if fields["num_train_timesteps"] < 1:
        raise UserError(f"{prefix}num_train_timesteps = {fields['num_train_timesteps']}: must be 1 or more")
    if fields["thresholding"] and fields["sample_max_value"] != 1:
        raise UserError(
            f"{prefix}thresholding = true: is not supported with sample_max_value = {fields['sample_max_value']}, "
            "which moves pixels within the range too; use sample_max_value = 1.0, a plain clip, or thresholding = false"
        )
    if fields["rescale_betas_zero_snr"] and fields["prediction_type"] == "epsilon":
        raise UserError(
            f'{prefix}rescale_betas_zero_snr = true: is not supported with prediction_type = "epsilon", which says '
            'nothing about the image where x_t is nothing but noise; use "v_prediction" or "sample"'
        )
    return fields


def _typed(name: str, value: object, default: Any) -> Any:
    """`value` if it is of the type of `default`; a whole number may stand for a float. Raises UserError."""
    if type(default) is float and type(value) is int:
        value = float(value)
    if type(value) is not type(default) or (isinstance(value, float) and not math.isfinite(value)):
        raise UserError(f"{name} = {_shown(value)}: must be {_KINDS[type(default)]} like {_shown(default)}")
    return value

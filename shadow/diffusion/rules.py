"""Which values of `DiffusionConfig` and `PileConfig` make sense, alone and together.

A field that the values of others leave unread stays at its default, so that no one believes in an option that does
nothing. Plain Python: the config is checked before JAX is loaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shadow.errors import UserError

if TYPE_CHECKING:  # `shadow.config` imports this file
    from shadow.config import DiffusionConfig, PileConfig

CHOICES = {
    "diffusion.schedule": ("cosine", "linear", "scaled_linear"),
    "diffusion.prediction": ("sample", "v", "epsilon"),
    "diffusion.weighting": ("min_snr_plus_1", "min_snr"),
    "pile.sampler": ("ddim", "ddpm", "dpmpp_2m"),
    "pile.timestep_spacing": ("trailing", "leading", "linspace"),
    "pile.variance_type": ("fixed_small", "fixed_small_log", "fixed_large"),
    "pile.solver_type": ("midpoint", "heun"),
    "pile.final_sigmas_type": ("zero", "sigma_min"),
}
_OF_DDIM = ("pile.eta", "pile.set_alpha_to_one", "pile.use_clipped_model_output")
_OF_LAST_STEP = ("pile.lower_order_final", "pile.euler_at_final")
_OF_SOLVER = ("pile.solver_type", "pile.final_sigmas_type", *_OF_LAST_STEP)
_SMALLEST_BETA = 1e-6  # below it 1 - abar has less than a digit in float32


def idle(diffusion: DiffusionConfig, pile: PileConfig) -> dict[str, str]:
    """What each field that is not read is for: {"pile.eta": "pile.sampler = 'ddim'"}."""
    linear = "diffusion.schedule = 'linear' or 'scaled_linear'"
    read: list[tuple[bool, str, tuple[str, ...]]] = [
        (diffusion.schedule != "cosine", linear, ("diffusion.beta_start", "diffusion.beta_end")),
        # for epsilon the two weightings are one
        (diffusion.prediction != "epsilon", "diffusion.prediction = 'sample' or 'v'", ("diffusion.weighting",)),
        # the other weighting has a floor of its own; and for epsilon, a floor would weigh noise alone without bound
        (diffusion.weighting == "min_snr", "diffusion.weighting = 'min_snr'", ("diffusion.min_weight",)),
        (pile.sampler == "ddim", "pile.sampler = 'ddim'", _OF_DDIM),
        (pile.sampler == "ddpm", "pile.sampler = 'ddpm'", ("pile.variance_type",)),
        (pile.sampler == "dpmpp_2m", "pile.sampler = 'dpmpp_2m'", _OF_SOLVER),
        # a last step to the clean image is of first order whatever these say
        (pile.final_sigmas_type != "zero", "pile.final_sigmas_type = 'sigma_min'", _OF_LAST_STEP),
        (pile.clip_sample, "pile.clip_sample = True", ("pile.clip_sample_range", "pile.use_clipped_model_output")),
        (pile.timestep_spacing == "leading", "pile.timestep_spacing = 'leading'", ("pile.steps_offset",)),
    ]
    found: dict[str, str] = {}
    for applies, purpose, names in read:
        for name in () if applies else names:
            found.setdefault(name, purpose)
    return found


def check_process(config: DiffusionConfig) -> None:
    """Refuses a forward process that cannot be. Raises UserError."""
    _check_choices({"diffusion": config})
    if not _SMALLEST_BETA <= config.beta_start <= config.beta_end:
        raise UserError(
            f"diffusion.beta_start = {config.beta_start}: must lie between {_SMALLEST_BETA} and diffusion.beta_end "
            f"= {config.beta_end}"
        )
    if not config.beta_end < 1:
        raise UserError(f"diffusion.beta_end = {config.beta_end}: must be below 1")
    if not 0 <= config.min_weight <= config.max_weight:
        raise UserError(
            f"diffusion.min_weight = {config.min_weight}: must lie between 0 and diffusion.max_weight = "
            f"{config.max_weight}"
        )
    if not config.zero_terminal_snr:
        return
    if config.prediction == "epsilon":
        raise UserError(
            "diffusion.zero_terminal_snr = True: x_0 cannot be had from diffusion.prediction = 'epsilon' where x_t is "
            "nothing but noise; use 'v' or 'sample'"
        )
    if config.weighting == "min_snr" and not config.min_weight:
        raise UserError(
            "diffusion.weighting = 'min_snr': weighs the last time by 0 under diffusion.zero_terminal_snr = True, and "
            "the network would never see it; use 'min_snr_plus_1', or diffusion.min_weight above 0"
        )
    if config.timesteps < 2:
        raise UserError(
            f"diffusion.timesteps = {config.timesteps}: use 2 or more with diffusion.zero_terminal_snr = True"
        )


def check_times(config: PileConfig, timesteps: int) -> None:
    """Refuses a number of steps or an offset that would leave or repeat the times 0..timesteps - 1. Raises
    UserError."""
    steps, multistep = config.sampler_steps, config.sampler == "dpmpp_2m"
    if not 1 <= steps <= timesteps:
        raise UserError(f"pile.sampler_steps = {steps}: must lie between 1 and diffusion.timesteps = {timesteps}")
    if multistep and config.timestep_spacing != "trailing" and steps == timesteps:
        raise UserError(
            f"pile.sampler_steps = {steps}: must be below diffusion.timesteps = {timesteps} with pile.sampler = "
            f"'dpmpp_2m' and pile.timestep_spacing = {config.timestep_spacing!r}, which leave out time 0"
        )
    if config.timestep_spacing == "leading":
        longest = steps * (timesteps // (steps + 1)) if multistep else (steps - 1) * (timesteps // steps)
        if longest + config.steps_offset >= timesteps:
            raise UserError(
                f"pile.steps_offset = {config.steps_offset}: the first time, {longest} without it, must stay below "
                f"diffusion.timesteps = {timesteps}"
            )


def check(diffusion: DiffusionConfig, pile: PileConfig) -> None:
    """Refuses values that are unknown, contradict each other or do nothing, by field, whatever the number of steps.
    Raises UserError."""
    groups: dict[str, Any] = {"diffusion": diffusion, "pile": pile}
    _check_choices(groups)
    if pile.clip_sample_range <= 0:
        raise UserError(f"pile.clip_sample_range = {pile.clip_sample_range}: must be above 0")
    if pile.steps_offset < 0:
        raise UserError(f"pile.steps_offset = {pile.steps_offset}: must be 0 or more")
    for name, purpose in idle(diffusion, pile).items():
        group, leaf = name.split(".")
        value, default = getattr(groups[group], leaf), getattr(type(groups[group])(), leaf)
        if value != default:
            raise UserError(f"{name} = {value!r}: is for {purpose}; leave it at {default!r}")
    check_process(diffusion)


def _check_choices(groups: dict[str, Any]) -> None:
    for name, allowed in CHOICES.items():
        group, leaf = name.split(".")
        if group in groups and getattr(groups[group], leaf) not in allowed:
            raise UserError(f"{name} = {getattr(groups[group], leaf)!r}: use {' or '.join(map(repr, allowed))}")

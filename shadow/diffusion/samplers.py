"""From noise to images, one step at a time: DDIM (Song et al. 2021, arXiv 2010.02502), DDPM (Ho et al. 2020, arXiv
2006.11239) and DPM-Solver++(2M) (Lu et al. 2022, arXiv 2211.01095).

Options are called as in diffusers and mean the same. One thing differs: DDIM with `trailing` spacing always steps to
the next time that it visits, which diffusers does only where the number of steps divides the number of times. The
loop over steps is the caller's, in Python: on CPU a convolution inside `lax.scan` is an order of magnitude slower.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from shadow.config import DiffusionConfig, PileConfig
from shadow.diffusion import process, rules


class SamplerState(NamedTuple):
    """What one step hands to the next."""

    x: jax.Array  # [batch, height, width, 1]
    clean: jax.Array | None  # dpmpp_2m: the last step's prediction of x_0, like x; else nothing


class Sampler(NamedTuple):
    """`step` is pure and takes the index of the step as an array, so one compilation serves all steps; it vmaps over
    state and noise, to a pack of generators."""

    times: np.ndarray  # int32 [step], falling: where each step starts
    noisy: bool  # whether steps use their noise
    start: Callable[[jax.Array], SamplerState]  # from standard normal noise
    step: Callable[
        [process.Denoiser, SamplerState, jax.Array, jax.Array], SamplerState
    ]  # (denoiser, state, index, noise like x)


class _Prediction(NamedTuple):
    """What the network says about x_t; each like x."""

    clean: jax.Array  # x_0, clipped where that is asked for
    eps: jax.Array  # the noise, as it was before the clip


class _Levels(NamedTuple):
    """abar of each step, float64 [step]."""

    here: np.ndarray  # where it starts
    there: np.ndarray  # where it ends; 1 is the clean image


# (index of the step, state before it, prediction, noise) -> x after it
_Update: TypeAlias = Callable[[jax.Array, SamplerState, _Prediction, jax.Array], jax.Array]


def timesteps(config: PileConfig, length: int) -> np.ndarray:
    """The times that are visited, falling, of 0..length - 1: int32 [sampler_steps].

    `trailing` counts down from the last time, `leading` up from time 0 (plus `steps_offset`), and `linspace` has both
    ends (Lin et al. 2023, arXiv 2305.08891, table 2). dpmpp_2m leaves out time 0 under the latter two, as if it were
    one more step. Raises UserError as `rules.check_times`.
    """
    rules.check_times(config, length)
    steps, beyond = config.sampler_steps, 1 if config.sampler == "dpmpp_2m" else 0
    if config.timestep_spacing == "trailing":
        spaced = np.arange(length, 0, -length / steps)[:steps]  # rounding may add a last 0
        return np.round(spaced).astype(np.int32) - 1
    if config.timestep_spacing == "leading":
        rising = np.arange(steps + beyond) * (length // (steps + beyond)) + config.steps_offset
    else:
        rising = np.round(np.linspace(0, length - 1, steps + beyond))
    return rising[beyond:][::-1].astype(np.int32)


def _levels(config: PileConfig, abar: np.ndarray, times: np.ndarray) -> _Levels:
    """Steps end where the next one starts, and the last at the clean image or at time 0's noise. Under DDIM's
    `leading` and `linspace` spacing they all go down by the same whole number of times, past which the image is clean:
    with `linspace`, to times that are not visited."""
    clean = config.set_alpha_to_one and config.final_sigmas_type == "zero"
    end = 1.0 if clean else abar[0]
    if config.sampler == "ddim" and config.timestep_spacing != "trailing":
        after = times - len(abar) // config.sampler_steps
        return _Levels(abar[times], np.where(after < 0, end, abar[np.maximum(after, 0)]))
    return _Levels(abar[times], np.append(abar[times[1:]], end))


def _ddim(config: PileConfig, times: np.ndarray, levels: _Levels) -> _Update:
    """Equation 12 of Song et al. With `use_clipped_model_output` the noise is what the clipped x_0 leaves of x_t."""
    eta, anew = config.eta, config.clip_sample and config.use_clipped_model_output  # the caller's config may change

    def update(index: jax.Array, state: SamplerState, said: _Prediction, noise: jax.Array) -> jax.Array:
        here, there = (jnp.asarray(level, jnp.float32)[index] for level in levels)
        eps = (state.x - jnp.sqrt(here) * said.clean) / jnp.sqrt(1 - here) if anew else said.eps
        sigma = eta * jnp.sqrt((1 - there) / (1 - here)) * jnp.sqrt(1 - here / there)
        direction = jnp.sqrt(jnp.maximum(1 - there - sigma**2, 0.0))
        return jnp.sqrt(there) * said.clean + direction * eps + sigma * noise

    return update


def _ddpm(config: PileConfig, times: np.ndarray, levels: _Levels) -> _Update:
    """A draw from q(x_s | x_t, x_0), equations 6 and 7 of Ho et al. with beta of the whole step from t to s.

    With `fixed_small` it is DDIM with eta = 1 written otherwise. `fixed_large` has the variance beta, also in a last
    step that starts above time 0.
    """
    here, there = levels
    beta = 1 - here / there
    of_clean = np.sqrt(there) * beta / (1 - here)
    of_x = np.sqrt(1 - beta) * (1 - there) / (1 - here)
    if config.variance_type == "fixed_large":
        sigma = np.sqrt(beta) * (times > 0)
    else:
        sigma = np.sqrt((1 - there) / (1 - here) * beta)
    table = np.stack([of_x, of_clean, sigma], axis=1)

    def update(index: jax.Array, state: SamplerState, said: _Prediction, noise: jax.Array) -> jax.Array:
        a, b, c = jnp.asarray(table, jnp.float32)[index]
        return a * state.x + b * said.clean + c * noise

    return update


_FEW_STEPS = 15  # below it `lower_order_final` counts


def _dpmpp_2m(config: PileConfig, times: np.ndarray, levels: _Levels) -> _Update:
    """Algorithm 2 of Lu et al.: x_0 is extrapolated in lambda = log(alpha / sigma) from this step's prediction and the
    last one's. The first step has no last one. A last step to the clean image is infinitely long in lambda, and of
    first order too; one that ends at time 0 is so where the options say it."""
    alpha, sigma = (np.append(f(levels.here), f(levels.there[-1])) for f in (np.sqrt, lambda level: np.sqrt(1 - level)))
    steps = len(times)
    few = config.lower_order_final and steps < _FEW_STEPS
    first_order_end = config.final_sigmas_type == "zero" or config.euler_at_final or few
    known = steps - 1 if first_order_end else steps  # steps whose length matters
    of_x = sigma[1:] / sigma[:-1]
    gain = alpha[1:] - of_x * alpha[:-1]  # alpha_s (1 - exp(-h)), without the infinite h of the clean end
    h = np.diff(np.log(alpha[: known + 1] / sigma[: known + 1]))
    lean = np.zeros(steps)
    if config.solver_type == "midpoint":
        lean[1:known] = h[1:] / (2 * h[:-1])  # 1 / 2r in the paper
    else:  # the integral of the extrapolation's slope itself: 1/2 becomes 1 / (1 - exp(-h)) - 1 / h
        long = np.maximum(h[1:], 1e-6)  # a last step from time 0 to its own noise has no length
        lean[1:known] = (-1 / np.expm1(-long) - 1 / long) * h[1:] / h[:-1]
    table = np.stack([of_x, gain * (1 + lean), gain * lean], axis=1)

    def update(index: jax.Array, state: SamplerState, said: _Prediction, noise: jax.Array) -> jax.Array:
        a, b, c = jnp.asarray(table, jnp.float32)[index]
        return a * state.x + b * said.clean - c * state.clean

    return update


_UPDATES = {"ddim": _ddim, "ddpm": _ddpm, "dpmpp_2m": _dpmpp_2m}
_ALMOST_NOTHING = 2.0**-24  # abar that DPM-Solver++ takes for 0, whose lambda would be infinite; diffusers' number


def make(config: PileConfig, diffusion: DiffusionConfig) -> Sampler:
    """The sampler that `config` names. Raises UserError as `rules.check` and `timesteps`."""
    rules.check(diffusion, config)
    abar = process.alpha_bar(diffusion)
    kind, multistep = diffusion.prediction, config.sampler == "dpmpp_2m"
    if multistep and diffusion.zero_terminal_snr:
        abar[-1] = _ALMOST_NOTHING
    times = timesteps(config, diffusion.timesteps)
    update = _UPDATES[config.sampler](config, times, _levels(config, abar, times))
    clip, bound = config.clip_sample, config.clip_sample_range

    def start(x: jax.Array) -> SamplerState:
        return SamplerState(x, jnp.zeros_like(x) if multistep else None)

    def step(denoiser: process.Denoiser, state: SamplerState, index: jax.Array, noise: jax.Array) -> SamplerState:
        x = state.x
        t = jnp.full((x.shape[0],), jnp.asarray(times)[index], jnp.int32)
        clean, eps = process.split_prediction(abar, kind, denoiser(x, t), x, t)
        if clip:
            clean = jnp.clip(clean, -bound, bound)
        x = update(index, state, _Prediction(clean, eps), noise)
        return SamplerState(x, clean if multistep else None)

    return Sampler(times, config.sampler == "ddpm" or config.eta > 0, start, step)

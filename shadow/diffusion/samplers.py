"""From noise to images, one step at a time: DDIM (Song et al. 2021, arXiv 2010.02502), DDPM (Ho et al. 2020, arXiv
2006.11239) and DPM-Solver++(2M) (Lu et al. 2022, arXiv 2211.01095).

All of them visit the same times and clip the predicted clean image to [-1, 1]. The loop over steps is the caller's,
in Python: on CPU a convolution inside `lax.scan` is an order of magnitude slower.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from shadow.config import DiffusionConfig, PileConfig
from shadow.diffusion import process
from shadow.errors import UserError


class State(NamedTuple):
    """What one step hands to the next."""

    x: jax.Array  # [batch, height, width, 1]
    clean: jax.Array | None  # dpmpp_2m: the last step's prediction of x_0, like x; else nothing


class Sampler(NamedTuple):
    """`step` is pure and takes the index of the step as an array, so one compilation serves all steps; it vmaps over
    state and noise, to a pack of generators."""

    times: np.ndarray  # int32 [step], falling: where each step starts
    noisy: bool  # whether steps use their noise
    start: Callable[[jax.Array], State]  # from standard normal noise
    step: Callable[[process.Denoiser, State, jax.Array, jax.Array], State]  # (denoiser, state, index, noise like x)


# (index of the step, state before it, its clipped prediction of x_0, noise) -> x after it
_Update: TypeAlias = Callable[[jax.Array, State, jax.Array, jax.Array], jax.Array]


def timesteps(train_steps: int, sampler_steps: int) -> np.ndarray:
    """Evenly spaced times, from the noisiest T-1 down ("trailing" spacing of diffusers): int32 [sampler_steps]."""
    if not 1 <= sampler_steps <= train_steps:
        raise UserError(f"pile.sampler_steps = {sampler_steps}: must lie between 1 and diffusion.timesteps")
    spaced = np.arange(train_steps, 0, -train_steps / sampler_steps)[:sampler_steps]  # rounding may add a last 0
    return np.round(spaced).astype(np.int32) - 1


# Below, levels [step + 1] float64 holds abar where each step starts, and 1 for the clean image where the last one ends.


def _ddim(levels: np.ndarray, eta: float) -> _Update:
    """Equation 12 of Song et al., with the noise recomputed from the clipped x_0, as diffusers does with `clip_sample`
    and `use_clipped_model_output`."""

    def update(index: jax.Array, state: State, clean: jax.Array, noise: jax.Array) -> jax.Array:
        table = jnp.asarray(levels, jnp.float32)
        here, there = table[index], table[index + 1]
        eps = (state.x - jnp.sqrt(here) * clean) / jnp.sqrt(1 - here)
        sigma = eta * jnp.sqrt((1 - there) / (1 - here)) * jnp.sqrt(1 - here / there)
        direction = jnp.sqrt(jnp.maximum(1 - there - sigma**2, 0.0))
        return jnp.sqrt(there) * clean + direction * eps + sigma * noise

    return update


def _ddpm(levels: np.ndarray, eta: float) -> _Update:
    """A draw from q(x_s | x_t, x_0), equations 6 and 7 of Ho et al. with beta of the whole step from t to s ("fixed
    small" variance). It is DDIM with eta = 1 written otherwise."""
    here, there = levels[:-1], levels[1:]
    beta = 1 - here / there
    of_clean = np.sqrt(there) * beta / (1 - here)
    of_x = np.sqrt(1 - beta) * (1 - there) / (1 - here)
    sigma = np.sqrt((1 - there) / (1 - here) * beta)
    table = np.stack([of_x, of_clean, sigma], axis=1)

    def update(index: jax.Array, state: State, clean: jax.Array, noise: jax.Array) -> jax.Array:
        a, b, c = jnp.asarray(table, jnp.float32)[index]
        return a * state.x + b * clean + c * noise

    return update


def _dpmpp_2m(levels: np.ndarray, eta: float) -> _Update:
    """Algorithm 2 of Lu et al.: x_0 is extrapolated in lambda = log(alpha / sigma) from this step's prediction and the
    last one's. The first step has no last one; the last step is infinitely long in lambda, and of first order too."""
    alpha, sigma = np.sqrt(levels), np.sqrt(1 - levels)
    of_x = sigma[1:] / sigma[:-1]
    gain = alpha[1:] - of_x * alpha[:-1]  # alpha_s (1 - exp(-h)), without the infinite h of the clean end
    h = np.diff(np.log(alpha[:-1] / sigma[:-1]))
    lean = np.zeros(len(gain))
    lean[1:-1] = h[1:] / (2 * h[:-1])  # 1 / 2r in the paper
    table = np.stack([of_x, gain * (1 + lean), gain * lean], axis=1)

    def update(index: jax.Array, state: State, clean: jax.Array, noise: jax.Array) -> jax.Array:
        a, b, c = jnp.asarray(table, jnp.float32)[index]
        return a * state.x + b * clean - c * state.clean

    return update


_UPDATES = {"ddim": _ddim, "ddpm": _ddpm, "dpmpp_2m": _dpmpp_2m}


def check(config: PileConfig) -> None:
    """Refuses samplers that are not here, and an eta that the sampler would ignore, by name. Raises UserError."""
    if config.sampler not in _UPDATES:
        raise UserError(f"pile.sampler = {config.sampler!r}: use {' or '.join(map(repr, _UPDATES))}")
    if config.eta and config.sampler != "ddim":
        raise UserError(f"pile.eta = {config.eta}: pile.sampler = {config.sampler!r} has no eta, use 0 or 'ddim'")


def make(config: PileConfig, diffusion: DiffusionConfig) -> Sampler:
    """The sampler that `config` names. Raises UserError as `check` and `timesteps` do."""
    check(config)
    abar = process.alpha_bar(diffusion)
    times = timesteps(diffusion.timesteps, config.sampler_steps)
    update = _UPDATES[config.sampler](np.append(abar[times], 1.0), config.eta)
    kind, multistep = diffusion.prediction, config.sampler == "dpmpp_2m"

    def start(x: jax.Array) -> State:
        return State(x, jnp.zeros_like(x) if multistep else None)

    def step(denoiser: process.Denoiser, state: State, index: jax.Array, noise: jax.Array) -> State:
        x = state.x
        t = jnp.full((x.shape[0],), jnp.asarray(times)[index], jnp.int32)
        clean, _ = process.split_prediction(abar, kind, denoiser(x, t), x, t)
        clean = jnp.clip(clean, -1.0, 1.0)
        return State(update(index, state, clean, noise), clean if multistep else None)

    return Sampler(times, config.sampler == "ddpm" or config.eta > 0, start, step)

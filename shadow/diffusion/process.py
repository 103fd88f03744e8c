"""The forward process q(x_t | x_0) and the training loss (Ho et al. 2020, arXiv 2006.11239).

x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps, with x_0 in [-1, 1] and t in 0..T-1. The network predicts eps, x_0
("sample") or v = sqrt(abar_t) eps - sqrt(1 - abar_t) x_0 (Salimans and Ho 2022, arXiv 2202.00512).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from shadow.config import DiffusionConfig
from shadow.diffusion import rules
from shadow.errors import UserError

# (x [batch, height, width, 1] float32 in about [-1, 1], t [batch] int32) -> prediction, same shape as x
Denoiser: TypeAlias = Callable[[jax.Array, jax.Array], jax.Array]
_LEAST_SIGNAL = 1e-30  # of abar; its root, and the inverse of that, are still numbers of float32


def alpha_bar(config: DiffusionConfig) -> np.ndarray:
    """Signal power abar_t [timesteps] float64 in [0, 1), falling; 0 at the last time and there only, with
    `zero_terminal_snr`.

    Betas are linear (Ho et al.), linear in their root (`scaled_linear`, Rombach et al. 2022, arXiv 2112.10752), or of
    the cosine of Nichol and Dhariwal 2021 (arXiv 2102.09672), capped at .999. Raises UserError as
    `rules.check_process`, and where betas are so large that no signal is left.
    """
    rules.check_process(config)
    steps = config.timesteps
    if config.schedule == "linear":
        betas = np.linspace(config.beta_start, config.beta_end, steps)
    elif config.schedule == "scaled_linear":
        betas = np.linspace(math.sqrt(config.beta_start), math.sqrt(config.beta_end), steps) ** 2
    else:
        level = np.cos((np.arange(steps + 1) / steps + 0.008) / 1.008 * np.pi / 2) ** 2
        betas = np.minimum(1 - level[1:] / level[:-1], 0.999)
    abar = np.cumprod(1 - betas)
    if abar[-1] < _LEAST_SIGNAL:
        raise UserError(
            f"diffusion.beta_end = {config.beta_end}: leaves no signal after {steps} steps, use a lower one"
        )
    return _without_terminal_signal(abar) if config.zero_terminal_snr else abar


def _without_terminal_signal(abar: np.ndarray) -> np.ndarray:
    """abar whose root is shifted to end at 0 and stretched to start as before (Lin et al. 2023, arXiv 2305.08891,
    algorithm 1)."""
    signal = np.sqrt(abar)
    return ((signal - signal[-1]) * (signal[0] / (signal[0] - signal[-1]))) ** 2


def _scales(abar: np.ndarray, t: jax.Array) -> tuple[jax.Array, jax.Array]:
    """sqrt(abar_t) and sqrt(1 - abar_t), each [batch, 1, 1, 1]; the roots are taken in float64."""
    signal = jnp.asarray(np.sqrt(abar), jnp.float32)[t]
    noise = jnp.asarray(np.sqrt(1 - abar), jnp.float32)[t]
    return signal[:, None, None, None], noise[:, None, None, None]


def add_noise(abar: np.ndarray, x0: jax.Array, eps: jax.Array, t: jax.Array) -> jax.Array:
    """x_t [batch, height, width, 1] of clean x0 and noise eps of that shape, at t [batch]."""
    signal, noise = _scales(abar, t)
    return signal * x0 + noise * eps


def split_prediction(
    abar: np.ndarray, kind: str, output: jax.Array, xt: jax.Array, t: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The (x_0, eps) that a network output of `kind` (v | epsilon | sample) means at x_t. Where abar is 0, x_t is eps;
    an epsilon says nothing about x_0 there, and `rules.check_process` forbids it."""
    signal, noise = _scales(abar, t)
    if kind == "v":
        return signal * xt - noise * output, signal * output + noise * xt
    if kind == "epsilon":
        return (xt - noise * output) / signal, output
    if kind == "sample":
        return output, (xt - signal * output) / noise
    raise UserError(f"diffusion.prediction = {kind!r}: use 'v', 'epsilon' or 'sample'")


def target(abar: np.ndarray, kind: str, x0: jax.Array, eps: jax.Array, t: jax.Array) -> jax.Array:
    """What the network is asked to predict."""
    signal, noise = _scales(abar, t)
    if kind == "v":
        return signal * eps - noise * x0
    if kind == "epsilon":
        return eps
    if kind == "sample":
        return x0
    raise UserError(f"diffusion.prediction = {kind!r}: use 'v', 'epsilon' or 'sample'")


def weights(config: DiffusionConfig) -> np.ndarray:
    """Weight [timesteps] float64 >= 0 of the squared error of the prediction, such that the error of the x_0 that it
    implies weighs min(SNR, c) or min(1 + SNR, c), with SNR = abar / (1 - abar) and c = `max_weight`.

    `min_snr` is min-SNR-gamma (Hang et al. 2023, arXiv 2303.09556) with gamma = c: min(SNR, c) for sample,
    min(SNR, c) / SNR for epsilon, min(SNR, c) / (1 + SNR) for v. `min_snr_plus_1` is the same for epsilon; for sample
    and v it does not fade as SNR goes to 0, and with c = inf it is the plain loss of v. For sample and v the error of
    x_0 weighs `min_weight` at least under `min_snr`.
    """
    abar = alpha_bar(config)
    snr = abar / (1 - abar)
    kind, floor, cap = config.prediction, config.min_weight, config.max_weight
    if kind == "epsilon":
        return np.minimum(snr, cap) / snr
    wanted = np.clip(snr, floor, cap) if config.weighting == "min_snr" else np.minimum(1 + snr, cap)
    return wanted / (1 + snr) if kind == "v" else wanted


def loss(
    abar: np.ndarray,
    kind: str,
    weights: np.ndarray,
    denoiser: Denoiser,
    x0: jax.Array,
    eps: jax.Array,
    t: jax.Array,
) -> jax.Array:
    """Squared error of the prediction times weights [timesteps] at t, per image [batch] (mean over pixels)."""
    output = denoiser(add_noise(abar, x0, eps, t), t)
    error = jnp.mean((output - target(abar, kind, x0, eps, t)) ** 2, axis=(1, 2, 3))
    return jnp.asarray(weights, jnp.float32)[t] * error

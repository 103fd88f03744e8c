"""The forward process q(x_t | x_0) and the training loss (Ho et al. 2020, arXiv 2006.11239).

x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps, with x_0 in [-1, 1] and t in 0..T-1. The network predicts eps, x_0
("sample") or v = sqrt(abar_t) eps - sqrt(1 - abar_t) x_0 (Salimans and Ho 2022, arXiv 2202.00512).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from shadow.config import DiffusionConfig
from shadow.errors import UserError

# (x [batch, height, width, 1] float32 in about [-1, 1], t [batch] int32) -> prediction, same shape as x
Denoiser: TypeAlias = Callable[[jax.Array, jax.Array], jax.Array]


def alpha_bar(config: DiffusionConfig) -> np.ndarray:
    """Signal power abar_t [timesteps] float64 in (0, 1), falling: linear betas of Ho et al., or the cosine of
    Nichol and Dhariwal 2021 (arXiv 2102.09672) with betas capped at .999."""
    steps = config.timesteps
    if config.schedule == "linear":
        betas = np.linspace(1e-4, 0.02, steps)
    elif config.schedule == "cosine":
        level = np.cos((np.arange(steps + 1) / steps + 0.008) / 1.008 * np.pi / 2) ** 2
        betas = np.minimum(1 - level[1:] / level[:-1], 0.999)
    else:
        raise UserError(f"diffusion.schedule = {config.schedule!r}: use 'cosine' or 'linear'")
    return np.cumprod(1 - betas)


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
    """The (x_0, eps) that a network output of `kind` (v | epsilon | sample) means at x_t."""
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


def weight(abar: np.ndarray, kind: str, cap: float) -> np.ndarray:
    """Weight [timesteps] of the squared error of a prediction of `kind`, such that the error of the implied x_0
    weighs min(1 + SNR, cap) (min(SNR, cap) for epsilon), SNR = abar / (1 - abar): the clamped weights of Hang et
    al. 2023 (arXiv 2303.09556). `cap = inf` gives plain v and epsilon losses."""
    snr = abar / (1 - abar)
    if kind == "epsilon":
        return np.minimum(snr, cap) / snr
    wanted = np.minimum(1 + snr, cap)
    if kind == "v":
        return wanted / (1 + snr)
    if kind == "sample":
        return wanted
    raise UserError(f"diffusion.prediction = {kind!r}: use 'v', 'epsilon' or 'sample'")


def loss(
    abar: np.ndarray, kind: str, cap: float, denoiser: Denoiser, x0: jax.Array, eps: jax.Array, t: jax.Array
) -> jax.Array:
    """Weighted squared error of the prediction, per image [batch] (mean over pixels)."""
    output = denoiser(add_noise(abar, x0, eps, t), t)
    error = jnp.mean((output - target(abar, kind, x0, eps, t)) ** 2, axis=(1, 2, 3))
    return jnp.asarray(weight(abar, kind, cap), jnp.float32)[t] * error

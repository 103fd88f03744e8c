"""From noise to images: DDIM (Song et al. 2021, arXiv 2010.02502), jitted one step at a time.

The loop over steps is Python's: on CPU a convolution inside `lax.scan` is an order of magnitude slower.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from shadow.config import PileConfig
from shadow.diffusion import process
from shadow.errors import UserError


def timesteps(train_steps: int, sampler_steps: int) -> np.ndarray:
    """Evenly spaced times, from the noisiest T-1 down ("trailing" spacing of diffusers): int32 [sampler_steps]."""
    if not 1 <= sampler_steps <= train_steps:
        raise UserError(f"pile.sampler_steps = {sampler_steps}: must lie between 1 and diffusion.timesteps")
    spaced = np.arange(train_steps, 0, -train_steps / sampler_steps)[:sampler_steps]  # rounding may add a last 0
    return np.round(spaced).astype(np.int32) - 1


def ddim_step(
    abar: np.ndarray,
    kind: str,
    denoiser: process.Denoiser,
    x: jax.Array,
    t: jax.Array,
    previous: jax.Array,
    eta: float,
    noise: jax.Array,
) -> jax.Array:
    """One step from time t to `previous` (scalars; -1 means the clean image).

    The predicted clean image is clipped to [-1, 1] and the noise recomputed from it, as diffusers does with
    `clip_sample` and `use_clipped_model_output`.
    """
    levels = jnp.asarray(np.append(abar, 1.0), jnp.float32)  # index -1 is the clean end
    here, there = levels[t], levels[previous]
    times = jnp.full((x.shape[0],), t, jnp.int32)
    clean, _ = process.split_prediction(abar, kind, denoiser(x, times), x, times)
    clean = jnp.clip(clean, -1.0, 1.0)
    eps = (x - jnp.sqrt(here) * clean) / jnp.sqrt(1 - here)
    sigma = eta * jnp.sqrt((1 - there) / (1 - here)) * jnp.sqrt(1 - here / there)
    direction = jnp.sqrt(jnp.maximum(1 - there - sigma**2, 0.0))
    return jnp.sqrt(there) * clean + direction * eps + sigma * noise


def check(config: PileConfig) -> None:
    """Refuses samplers that are not here, by name."""
    if config.sampler != "ddim":
        raise UserError(f"pile.sampler = {config.sampler!r}: use 'ddim'")

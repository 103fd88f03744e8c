"""What a network is told of the time."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np


def time_features(t: jax.Array, width: int, shift: int = 0, cosines_first: bool = True) -> jax.Array:
    """Sinusoids of t [batch] at geometric frequencies: float32 [batch, width], width even."""
    # Rounded at every step as in PyTorch: at t = 1000 the last bit of a frequency moves an angle by 3e-5.
    half = width // 2
    exponents = np.float32(-math.log(10_000.0)) * np.arange(half, dtype=np.float32) / np.float32(half - shift)
    angles = t.astype(jnp.float32)[:, None] * np.exp(exponents)
    waves = [jnp.cos(angles), jnp.sin(angles)]
    return jnp.concatenate(waves if cosines_first else waves[::-1], axis=-1)

"""The loss of a diffusion model about given images, at given times, with one bank of noises for all."""

from __future__ import annotations

import functools
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from shadow import keys
from shadow.config import DiffusionConfig
from shadow.denoisers.build import Network, Params
from shadow.diffusion import process


def bank(seed: int, noises: int, size: int) -> np.ndarray:
    """Standard normal noises, float32 [noise, size, size]; the second half is the first with its sign turned.

    An error of the network that is linear in the noise cancels within such a pair (antithetic variates). Raises
    ValueError on an odd number.
    """
    if noises % 2:
        raise ValueError(f"{noises} noises: use an even number")
    half = np.asarray(jax.random.normal(keys.key(seed, "proxy/noises"), (noises // 2, size, size)))
    return np.concatenate([half, -half])


@functools.lru_cache(maxsize=4)
def _compiled(network: Network, diffusion: DiffusionConfig) -> Callable[..., jax.Array]:
    abar, kind = process.alpha_bar(diffusion), diffusion.prediction
    plain = np.ones(diffusion.timesteps)

    def one(params: Params, image: jax.Array, times: jax.Array, noises: jax.Array) -> jax.Array:
        t = jnp.repeat(times, len(noises))
        eps = jnp.tile(noises, (len(times), 1, 1))[..., None]
        x0 = jnp.broadcast_to(image[..., None], eps.shape)
        errors = process.loss(abar, kind, plain, partial(network.apply, params), x0, eps, t)
        return errors.reshape(len(times), len(noises))

    return jax.jit(jax.vmap(one, in_axes=(0, None, None, None)))


def closeness(
    network: Network,
    diffusion: DiffusionConfig,
    params: Params,
    images: np.ndarray,
    times: tuple[int, ...],
    noises: np.ndarray,
) -> np.ndarray:
    """-log of the mean over `noises` of the squared error of the prediction, float32 [model, image, time].

    `params` have a leading axis [model]; images are float32 [image, size, size] in [-1, 1]; higher means that the
    model has learned what the image looks like. The program is compiled for one image: whatever other images are
    asked about, an image's numbers are the same to the last bit. The mean is taken in float64. Raises ValueError where
    an error is not finite.
    """
    errors = _compiled(network, diffusion)
    at, eps = jnp.asarray(times, jnp.int32), jnp.asarray(noises)
    rows = []
    for image in images:
        found = np.asarray(errors(params, jnp.asarray(image), at, eps), np.float64)
        if not np.isfinite(found).all():
            raise ValueError("the loss of an image is not finite")
        rows.append(-np.log(np.maximum(found.mean(-1), np.finfo(np.float32).tiny)))
    return np.stack(rows, axis=1).astype(np.float32)

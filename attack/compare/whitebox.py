"""What a generator's weights give away: attacks that may call the network.

They know more than whoever has its images alone. None of them is a bound by a theorem: of several the strongest known
attack is taken, which may change with the next paper (docs/method.md, section 20).

All of them work on eps, the noise that the network says is in x_t, whatever it was trained to predict. Times are given
as noise power 1 - abar, and every generator is asked at the time of its own schedule that comes nearest, so schedules
can be compared. Nothing is fitted and no shadow is needed. Scores: higher = more likely a member.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from shadow import keys
from shadow.config import DiffusionConfig
from shadow.denoisers.build import Network, build
from shadow.diffusion import process
from shadow.errors import UserError
from shadow.hub import Generator

LEVELS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9)  # noise power of the denoising loss
# Noise power at the times of the papers, which use 1000 linear betas from 1e-4 to .02.
SECMI_LEVEL = 0.105  # t = 100
SECMI_STEPS = 10  # DDIM steps up to there: 10 times each
PIA_LEVEL = 0.342  # t = 200
SIMA_LEVEL = 0.105  # chosen here
ATTACKS = ("loss", "secmi", "pia", "pian", "sima")
_BATCH = 64  # images asked about together, at most


@dataclass(frozen=True)
class WhiteBox:
    """A generator that can be asked. `abar` float64 [time]; `eps`: (x [batch, side, side, channel] in about [-1, 1],
    t) -> the noise it sees, of the shape of x."""

    abar: np.ndarray
    channels: int
    eps: Callable[[jax.Array, int], jax.Array]

    def time(self, level: float) -> int:
        """The time whose noise power is nearest to `level`; of two, the earlier."""
        return int(np.argmin(np.abs(1 - self.abar - level)))


def why_not(generator: Generator) -> str:
    """Why this generator cannot be asked about images, or ''."""
    if generator.diffusion is None:
        return "a network without a scheduler: its process is not known"
    if generator.denoiser.kind != "unet2d":
        return ""
    unet = generator.denoiser.unet
    if unet.conditional:
        return "a conditional network: the classes of the images are not known"
    if unet.in_channels != unet.out_channels or unet.in_channels not in (1, 3):
        return f"in_channels = {unet.in_channels}, out_channels = {unet.out_channels}: images have one or three of both"
    if unet.time_embedding_type == "fourier":
        return "time_embedding_type = 'fourier': its logarithm has no time 0"
    return ""


def channels(generator: Generator) -> int:
    """Of its images."""
    return generator.denoiser.unet.in_channels if generator.denoiser.kind == "unet2d" else 1


@functools.lru_cache(maxsize=8)
def _compiled(network: Network, diffusion: DiffusionConfig) -> Callable[..., jax.Array]:
    abar, kind = process.alpha_bar(diffusion), diffusion.prediction

    def eps(params: Any, x: jax.Array, t: jax.Array) -> jax.Array:
        times = jnp.full((x.shape[0],), t, jnp.int32)
        return process.split_prediction(abar, kind, network.apply(params, x, times), x, times)[1]

    return jax.jit(eps)


def opened(generator: Generator, size: int) -> WhiteBox:
    """`generator` for images of `size` x `size`. Raises UserError where `why_not` says why."""
    wrong = why_not(generator)
    if wrong or generator.diffusion is None:
        raise UserError(f"{generator.name}: {wrong}")
    compiled = _compiled(build(generator.denoiser, size), generator.diffusion)
    params = jax.tree.map(jnp.asarray, generator.params)
    abar = process.alpha_bar(generator.diffusion)
    return WhiteBox(abar, channels(generator), lambda x, t: compiled(params, x, jnp.int32(t)))


def as_input(images: np.ndarray, channels: int) -> np.ndarray:
    """[image, side, side] in [-1, 1] -> [image, side, side, channel]: gray in every colour."""
    return np.repeat(np.asarray(images, np.float32)[..., None], channels, axis=-1)


def _noise(model: WhiteBox, size: int, seed: int, number: int) -> jax.Array:
    """Noise `number`, [side, side, channel]: the same for every image, time and generator, so that differences are
    theirs. A network with colours has others."""
    return jax.random.normal(keys.key(seed, "whitebox/noise", number), (size, size, model.channels))


def _by_batches(images: np.ndarray, of_batch: Callable[[jax.Array], jax.Array]) -> np.ndarray:
    """`of_batch` ([image, ...] -> [..., image]) of all images, in batches of one shape, to compile it once; as even as
    can be, and the last one filled up."""
    count = len(images)
    batch = -(-count // -(-count // _BATCH))
    found = []
    for start in range(0, count, batch):
        part = images[start : start + batch]
        whole = np.concatenate([part, np.repeat(part[-1:], batch - len(part), axis=0)])
        found.append(np.asarray(of_batch(jnp.asarray(whole)), np.float64)[..., : len(part)])
    return np.concatenate(found, axis=-1)


def losses(model: WhiteBox, images: np.ndarray, seed: int, noises: int) -> np.ndarray:
    """Squared error of eps, mean over pixels: float64 [level, noise, image].

    images: [image, side, side] in [-1, 1]. Noises and LEVELS are fixed (as in the winning attack of MIDST 2025).
    """
    x, size = as_input(images, model.channels), images.shape[1]
    times = [model.time(level) for level in LEVELS]
    fixed = [_noise(model, size, seed, number) for number in range(noises)]

    def of_batch(x0: jax.Array) -> jax.Array:
        rows = []
        for t in times:
            signal, noise = (np.float32(np.sqrt(power)) for power in (model.abar[t], 1 - model.abar[t]))
            rows.append(
                jnp.stack(
                    [((model.eps(signal * x0 + noise * e, t) - e) ** 2).mean((1, 2, 3)) for e in fixed],
                )
            )
        return jnp.stack(rows)

    return _by_batches(x, of_batch)


def loss_score(errors: np.ndarray) -> np.ndarray:
    """[image]: minus the mean over levels of the log of the mean over noises of `losses` [level, noise, image] (the
    loss attack: Carlini et al. 2023, arXiv 2301.13188; logs, so that no level outweighs the others)."""
    return np.asarray(-np.log(np.maximum(errors.mean(1), 1e-30)).mean(0))


def _ddim(model: WhiteBox, x: jax.Array, eps: jax.Array, here: int, there: int) -> jax.Array:
    """x at time `here`, which has the noise `eps`, moved to `there` without noise of its own (Song et al. 2021)."""
    a, b = (model.abar[t] for t in (here, there))
    clean = (x - np.float32(np.sqrt(1 - a)) * eps) / np.float32(np.sqrt(a))
    return np.float32(np.sqrt(b)) * clean + np.float32(np.sqrt(1 - b)) * eps


def secmi(model: WhiteBox, images: np.ndarray) -> np.ndarray:
    """Minus the t-error of SecMI (Duan et al. 2023, arXiv 2302.01316), float64 [image].

    The image is carried by DDIM steps, without noise, to x_t of SECMI_LEVEL; one more step there and back should
    return to x_t. The error is the squared distance, summed over pixels. images: [image, side, side] in [-1, 1].
    """
    last = max(model.time(SECMI_LEVEL), 1)
    times = np.unique(np.linspace(0, last, SECMI_STEPS + 1).round().astype(int)).tolist()
    beyond = min(last + max(times[-1] - times[-2], 1), len(model.abar) - 1)

    def of_batch(x: jax.Array) -> jax.Array:
        for here, there in itertools.pairwise(times):
            x = _ddim(model, x, model.eps(x, here), here, there)
        ahead = _ddim(model, x, model.eps(x, last), last, beyond)
        back = _ddim(model, ahead, model.eps(ahead, beyond), beyond, last)
        return -((back - x) ** 2).sum((1, 2, 3))

    return _by_batches(as_input(images, model.channels), of_batch)


def pia(model: WhiteBox, images: np.ndarray, normalised: bool = False) -> np.ndarray:
    """Minus the proximal initialisation error (Kong et al. 2024, arXiv 2305.18355), float64 [image].

    e = eps(x_0, 0) is taken for the noise of x_0, which is carried with it to the time of PIA_LEVEL; the error is the
    4-norm of e - eps(x_t, t). `normalised` (PIAN): e is first scaled to the mean absolute value of normal noise.
    images: [image, side, side] in [-1, 1].
    """
    t = model.time(PIA_LEVEL)
    signal, noise = (np.float32(np.sqrt(power)) for power in (model.abar[t], 1 - model.abar[t]))

    def of_batch(x0: jax.Array) -> jax.Array:
        first = model.eps(x0, 0)
        if normalised:
            size = jnp.abs(first).mean((1, 2, 3), keepdims=True)
            first = first / jnp.maximum(size, 1e-12) * np.float32(np.sqrt(2 / np.pi))
        again = model.eps(signal * x0 + noise * first, t)
        return -_norm4(first - again)

    return _by_batches(as_input(images, model.channels), of_batch)


def sima(model: WhiteBox, images: np.ndarray) -> np.ndarray:
    """Minus the 4-norm of the noise that the network sees in the clean image at SIMA_LEVEL, float64 [image]: one query
    (SimA, 2025). images: [image, side, side] in [-1, 1]."""
    t = model.time(SIMA_LEVEL)
    return _by_batches(as_input(images, model.channels), lambda x0: -_norm4(model.eps(x0, t)))


def _norm4(x: jax.Array) -> jax.Array:
    """[image]; scaled by the largest value first, whose fourth power may be no float32."""
    largest = jnp.maximum(jnp.abs(x).max((1, 2, 3), keepdims=True), 1e-30)
    return largest[:, 0, 0, 0] * ((x / largest) ** 4).sum((1, 2, 3)) ** 0.25


def scores(model: WhiteBox, images: np.ndarray, errors: np.ndarray) -> dict[str, np.ndarray]:
    """Score [image] of each of ATTACKS; `errors`: the `losses` of these images."""
    return {
        "loss": loss_score(errors),
        "secmi": secmi(model, images),
        "pia": pia(model, images),
        "pian": pia(model, images, normalised=True),
        "sima": sima(model, images),
    }

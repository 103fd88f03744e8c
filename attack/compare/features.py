"""What the blocks of a network make of pictures, and how alike two networks are in that (CKA).

Only Gram matrices [image, image] are kept of a network's features: they are small, whatever its width, and those of
two networks can be compared whatever their architectures.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from attack.compare import whitebox
from shadow import keys
from shadow.config import DenoiserConfig
from shadow.denoisers import blocks, build
from shadow.denoisers.build import Params
from shadow.denoisers.dit import DiT
from shadow.denoisers.unet2d import UNet2D
from shadow.diffusion import process
from shadow.errors import UserError
from shadow.hub import Generator

LEVEL = 0.1  # noise power of the pictures
LEAST_IMAGES = 4  # the unbiased estimate needs them
_BATCH = 16
_MOST = 1 << 16  # numbers that are kept of one block's features of one image: larger maps are averaged 2 x 2


def _fresh(config: DenoiserConfig, size: int) -> DiT | UNet2D:
    """The network as `denoisers.build` makes it, with shapes in the place of weights."""
    return nnx.eval_shape(lambda: build.module(config, size, nnx.Rngs(0)))


def _model(config: DenoiserConfig, params: Params, size: int) -> DiT | UNet2D:
    """The network with its weights."""
    graph, shapes = nnx.split(_fresh(config, size))
    state = jax.tree.map(lambda leaf: leaf, shapes)
    nnx.replace_by_pure_dict(state, params)
    return nnx.merge(graph, state)


def _blocks(model: DiT | UNet2D) -> dict[str, nnx.Module]:
    """The modules whose outputs are looked at, in the order of the computation."""
    if isinstance(model, DiT):
        return {"embed": model.embed} | {f"blocks.{i}": block for i, block in enumerate(model.blocks)}
    found: dict[str, nnx.Module] = {"conv_in": model.conv_in}
    found |= {f"down_blocks.{i}": block for i, block in enumerate(model.down_blocks)}
    if model.mid_block is not None:
        found["mid_block"] = model.mid_block
    return found | {f"up_blocks.{i}": block for i, block in enumerate(model.up_blocks)}


def _watch(module: nnx.Module, name: str, found: dict[str, jax.Array]) -> None:
    """From now on `found[name]` is the module's last output (of a down block, without its skips)."""
    kind: Any = type(module)

    def called(self: Any, *args: Any, **kwargs: Any) -> Any:
        out = kind.__call__(self, *args, **kwargs)
        found[name] = out[0] if isinstance(out, tuple) else out
        return out

    object.__setattr__(module, "__class__", type(kind.__name__, (kind,), {"__call__": called}))


def _pooled(x: jax.Array) -> jax.Array:
    """[image, feature]; maps that are too large averaged over 2 x 2 pixels until they are not."""
    while x.ndim == 4 and x[0].size > _MOST and not (x.shape[1] % 2 or x.shape[2] % 2):
        batch, height, width, channels = x.shape
        x = x.reshape(batch, height // 2, 2, width // 2, 2, channels).mean((2, 4))
    return x.reshape(len(x), -1)


@functools.lru_cache(maxsize=4)
def _compiled(config: DenoiserConfig, size: int, t: int) -> Callable[[Params, jax.Array], dict[str, jax.Array]]:
    """(params, x [image, size, size, channel]) -> features of every block and the output at time t."""

    def of_batch(params: Params, x: jax.Array) -> dict[str, jax.Array]:
        found: dict[str, jax.Array] = {}
        model = _model(config, params, size)
        for name, module in _blocks(model).items():
            _watch(module, name, found)
        if config.kind == "unet2d":
            x = blocks.to_blocks(x, config.block)
        out = model(x, jnp.full((len(x),), t, jnp.int32))
        return {name: _pooled(value).astype(jnp.float32) for name, value in (found | {"output": out}).items()}

    return jax.jit(of_batch)


def _at_level(generator: Generator) -> tuple[int, np.float32, np.float32]:
    """The time of the generator's process whose noise power is nearest to LEVEL, and what image and noise are
    multiplied by there. Raises UserError where `whitebox.why_not` says why."""
    wrong = whitebox.why_not(generator)
    if wrong or generator.diffusion is None:
        raise UserError(f"{generator.name}: {wrong}")
    abar = process.alpha_bar(generator.diffusion)
    t = int(np.argmin(np.abs(1 - abar - LEVEL)))
    return t, np.float32(np.sqrt(abar[t])), np.float32(np.sqrt(1 - abar[t]))


def block_features(generator: Generator, images: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """float32 [image, feature] of every block and of the network's output (`output`), of images [image, side, side] in
    [-1, 1] at the noise power LEVEL, with one fixed noise an image. Raises UserError as `whitebox.opened`."""
    t, signal, scale = _at_level(generator)
    size, channels = images.shape[1], whitebox.channels(generator)
    noise = jax.random.normal(keys.key(seed, "features/noise"), (len(images), size, size, channels))
    x = signal * jnp.asarray(whitebox.as_input(images, channels)) + scale * noise

    params, of_batch = jax.tree.map(jnp.asarray, generator.params), _compiled(generator.denoiser, size, t)
    parts = [of_batch(params, x[start : start + _BATCH]) for start in range(0, len(x), _BATCH)]
    order = [*_blocks(_fresh(generator.denoiser, size)), "output"]
    return {name: np.concatenate([np.asarray(part[name]) for part in parts]) for name in order}


def gram(features: np.ndarray) -> np.ndarray:
    """Inner products of features [image, feature], float64 [image, image]."""
    wide = features.astype(np.float64)
    wide -= wide.mean(0)
    return wide @ wide.T


def grams(generator: Generator, images: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """`gram` of each of `block_features`."""
    return {name: gram(found) for name, found in block_features(generator, images, seed).items()}


def _hsic(k: np.ndarray, l: np.ndarray) -> float:  # noqa: E741  (the letters of the paper)
    """The unbiased estimate of HSIC from Gram matrices [image, image] (Song et al. 2012, equation 5)."""
    n = len(k)
    k, l = k - np.diag(np.diag(k)), l - np.diag(np.diag(l))  # noqa: E741
    rows = k.sum(0) @ l.sum(0)
    value = (k * l).sum() + k.sum() * l.sum() / ((n - 1) * (n - 2)) - 2 * rows / (n - 2)
    return float(value / (n * (n - 3)))


def cka(k: np.ndarray, l: np.ndarray) -> float | None:  # noqa: E741
    """Linear centred kernel alignment of two features by their Gram matrices, at most about 1 (Kornblith et al. 2019,
    arXiv 1905.00414), with the unbiased HSIC (Nguyen et al. 2021, arXiv 2010.15327): with few images of many features
    the plain estimate is near 1 for unrelated networks too. None where one of them is the same for all images.

    Raises ValueError below LEAST_IMAGES images.
    """
    if len(k) < LEAST_IMAGES:
        raise ValueError(f"{len(k)} images are too few, at least {LEAST_IMAGES} are needed")
    if np.array_equal(k, l):
        return 1.0 if _hsic(k, k) > 0 else None
    first, second = _hsic(k, k), _hsic(l, l)
    if first <= 0 or second <= 0:
        return None
    return float(_hsic(k, l) / np.sqrt(first * second))


def cka_matrix(a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray]) -> tuple[tuple[float | None, ...], ...]:
    """`cka` [block of a][block of b]."""
    return tuple(tuple(cka(mine, theirs) for theirs in b.values()) for mine in a.values())

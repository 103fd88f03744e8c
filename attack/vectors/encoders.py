"""The embedding `features`: what denoisers of shadows make of an image at small noise.

A network knows the images that it was trained on, so which shadow sees what is all that matters here. The first whole
block of shadows is set apart: they are encoders and nothing else, their piles are no evidence and they are no pairs.
Blocks of the membership matrix are drawn independently of each other, so an encoder, whatever it has memorised, says
nothing of who is in any shadow that the attack is fitted or judged on. And every image, with all piles as it sees them,
is seen by an encoder that was not trained on it: a dev image is as foreign to its encoder as a candidate is. Which one
of those it is, is a function of the image's id.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from attack.signals.scene import Scene
from shadow import features, fleet, hub, keys
from shadow.config import FEATURES, Config
from shadow.data.decoding import to_unit
from shadow.errors import UserError

Blocks = Mapping[str, np.ndarray]


def shadows_of(config: Config) -> list[int]:
    """The shadows that are encoders, none where `features` is not asked for."""
    return list(range(config.membership.block)) if FEATURES in config.attack.embeddings else []


def measured(workdir: Path, config: Config) -> list[int]:
    """Shadows that are done and no encoders, rising: those the attack works with. Raises UserError where an encoder is
    missing, and as `fleet.present`."""
    there, encoders = fleet.present(workdir, config), shadows_of(config)
    missing = [k for k in encoders if k not in there]
    if missing:
        raise UserError(
            f"attack.embeddings: {FEATURES!r} needs shadow {missing[0]}, one of the first membership.block, which is "
            "missing: run `launch.py sample`, or leave it out"
        )
    return [k for k in there if k not in encoders]


@dataclass(frozen=True)
class Encoder:
    """One network. blocks: images [image, side, side] in [-1, 1] -> [image, feature] of each of its blocks; mean
    [feature] and scale of each block, over the known real images."""

    blocks: Callable[[np.ndarray], Blocks]
    mean: Blocks
    scale: Mapping[str, float]

    def embed(self, images: np.ndarray) -> np.ndarray:
        """float32 [image, feature] of images [image, side, side] in grey levels 0 to 255. Blocks count alike: the mean
        squared distance of a known image from the mean of all is 1."""
        found = self.blocks(to_unit(images))
        parts = [(found[name] - self.mean[name]) * np.float32(self.scale[name]) for name in self.mean]
        return np.concatenate(parts, axis=1)


def fit(blocks: Callable[[np.ndarray], Blocks], images: np.ndarray) -> Encoder:
    """The encoder whose units are those of `images` [image, side, side] in grey levels. A block that gives all of them
    the same says nothing, and counts 0."""
    found = blocks(to_unit(images))
    mean = {name: value.mean(0) for name, value in found.items()}
    scale = {}
    for name, value in found.items():
        spread = float(np.sqrt(((value - mean[name]).astype(np.float64) ** 2).sum(1).mean()))
        rounding = 1e-6 * float(np.linalg.norm(mean[name]))
        scale[name] = 1 / (spread * np.sqrt(len(found))) if spread > rounding else 0.0
    return Encoder(blocks, mean, scale)


def assigned(ids: Sequence[str], member: np.ndarray, seed: int) -> np.ndarray:
    """Which encoder sees each image, int [image]: the first in an order by the image's id that does not hold it.

    member: bool [encoder, image of the pool]; the pool's are the first of `ids`, no encoder holds the others.
    ValueError where all hold one.
    """
    held = np.zeros((len(member), len(ids)), bool)
    held[:, : member.shape[1]] = member
    result = np.empty(len(ids), int)
    for i, name in enumerate(ids):
        order = keys.generator(seed, "features/encoder", name).permutation(len(member))
        free = order[~held[order, i]]
        if not len(free):
            raise ValueError(f"all encoders hold {name}")
        result[i] = free[0]
    return result


def of(scene: Scene) -> list[tuple[np.ndarray, Encoder]]:
    """Every encoder that sees an image, with the images that it sees, int [image]. Raises UserError where a checkpoint
    cannot be read."""
    config, shadows = scene.config, shadows_of(scene.config)
    member = np.load(scene.workdir / "membership.npy", allow_pickle=False)[shadows]
    chosen, result = assigned(scene.ids, member, config.attack.seed), []
    for i, shadow in enumerate(shadows):
        about = np.flatnonzero(chosen == i)
        if len(about):
            folder = fleet.shadow_folder(scene.workdir, shadow)
            generator = hub.read_generator(f"{folder}@{config.train.steps}")
            blocks = features.embedder(generator, scene.images.shape[1], config.attack.seed)
            result.append((about, fit(blocks, scene.images[: scene.dev])))
    return result

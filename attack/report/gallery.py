"""Candidates beside the generated images nearest to them: the only part of a report that shows pixels."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from shadow.config import Config
from shadow.data.manifest import Manifest

NEAREST = 4
MOST_GENERATED = 2000  # images of the pile that are searched
_LARGEST_SIDE = 128
_PIXEL_BUDGET = 1_100_000  # of all pictures together: keeps a report below 3 MB


@dataclass(frozen=True)
class EncodedImage:
    """`source` is a data URL; `side` the pixels a side it holds."""

    source: str
    side: int
    caption: str


@dataclass(frozen=True)
class GalleryRow:
    """A candidate: as stored, as the attack compares it (None if that is the same), and its neighbours."""

    id: str
    stored: EncodedImage
    reduced: EncodedImage | None
    nearest: list[EncodedImage]


@dataclass(frozen=True)
class Gallery:
    rows: list[GalleryRow]
    searched: int
    generated: int
    resolution: int


def is_shown(config: Config) -> bool:
    """Does a report show slices? Unasked it shows those of nobody, phantoms, since reports are passed on."""
    if config.report.gallery == "auto":
        return not config.data.root and config.challenge.pool == "phantom"
    return config.report.gallery == "true"


def png(gray: np.ndarray) -> str:
    """Gray values [side, side] in [0, 255] as a data URL."""
    stream = io.BytesIO()
    Image.fromarray(np.rint(gray).astype(np.uint8)).save(stream, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


def sheet(images: np.ndarray) -> str:
    """Images uint8 [image, side, side] in rows, a white line between them, as a data URL."""
    columns = int(np.ceil(np.sqrt(len(images))))
    side = images.shape[1]
    rows = -(-len(images) // columns)
    whole = np.full((rows * (side + 1) - 1, columns * (side + 1) - 1), 255, np.uint8)
    for i, image in enumerate(images):
        y, x = divmod(i, columns)
        whole[y * (side + 1) : y * (side + 1) + side, x * (side + 1) : x * (side + 1) + side] = image
    return png(whole)


def standardised(images: np.ndarray) -> np.ndarray:
    """[image, side, side] -> float32 [image, pixel] of mean 0 and variance 1 (a flat image: zeros)."""
    flat = images.reshape(len(images), -1).astype(np.float32)
    flat = flat - flat.mean(axis=1, keepdims=True)
    return flat / np.maximum(flat.std(axis=1, keepdims=True), 1e-3)


def nearest(slices: np.ndarray, pile: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(index, RMS distance of standardised pixels) int and float [slice, count], nearest first."""
    a, b = standardised(slices), standardised(pile)
    squared = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None] - 2 * a @ b.T
    distance = np.sqrt(np.maximum(squared, 0) / a.shape[1])
    order = np.argsort(distance, axis=1, kind="stable")[:, :count]
    return order, np.take_along_axis(distance, order, axis=1)


def build(manifest: Manifest, ids: Sequence[str], resolution: int) -> Gallery:
    """The candidates `ids`, each with the `NEAREST` of the first `MOST_GENERATED` images of the pile."""
    names = manifest.id[manifest.rows("generated_test")].tolist()
    searched = names[:MOST_GENERATED]
    slices, pile = manifest.images_at(ids, resolution), manifest.images_at(searched, resolution)
    order, distance = nearest(slices, pile, NEAREST)
    chosen = sorted({int(index) for index in order.ravel()})
    place = {index: number for number, index in enumerate(chosen)}
    pictures = len(ids) * (NEAREST + 2)
    most = max(16, min(_LARGEST_SIDE, int((_PIXEL_BUDGET / max(1, pictures)) ** 0.5)))

    def shown(which: Sequence[str]) -> np.ndarray:
        row = int(np.flatnonzero(manifest.id == which[0])[0])
        return manifest.images_at(which, min(most, int(manifest.width[row])))

    large, neighbours = shown(ids), shown([searched[index] for index in chosen])
    reduced = large.shape[1] > resolution
    rows = []
    for number, name in enumerate(ids):
        found = [
            EncodedImage(png(neighbours[place[int(index)]]), neighbours.shape[1], f"{gap:.2f}")
            for index, gap in zip(order[number], distance[number], strict=True)
        ]
        compared = EncodedImage(png(slices[number]), resolution, f"{resolution} px") if reduced else None
        rows.append(GalleryRow(name, EncodedImage(png(large[number]), large.shape[1], "slice"), compared, found))
    return Gallery(rows, len(searched), len(names), resolution)

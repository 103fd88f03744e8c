"""How the images of a role look in numbers: their gray values, their spectrum, and some of them side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from attack.evidence.pile_distances import radial_spectrum
from shadow.data import decoding, editions, inspection
from shadow.data.manifest import Manifest

SHEET = 25  # images of a role on its contact sheet
SIDE = 64  # pixels a side of each of them, at most
BIN = 8  # gray levels that are counted together


@dataclass(frozen=True, eq=False)
class Look:
    """Images of one role, or of several together.

    `gray`: percent of the pixels that are not black, by `BIN` gray levels. `spectrum`: log of the power by frequency
    in cycles an image, from 1 on, whatever the size.
    """

    name: str
    images: int
    gray: np.ndarray
    spectrum: np.ndarray


def look(found: Manifest, role: str) -> Look:
    """Of at most `inspection.MOST` images of the role."""
    images = found.images(inspection.sample(found, role))
    counts = np.bincount(images.ravel(), minlength=256).astype(float)
    counts[0] = 0
    gray = counts.reshape(-1, BIN).sum(1)
    size = 2 * np.log(images.shape[1])  # a picture of twice the side has four times the power at each frequency
    return Look(role, len(images), 100 * gray / max(1.0, gray.sum()), radial_spectrum(images) - size)


def together(name: str, looks: Sequence[Look]) -> Look:
    """Several roles as one, each by its number of images. They are of one size, as all real images are."""
    weights = np.array([one.images for one in looks], float)
    gray = np.average([one.gray for one in looks], axis=0, weights=weights)
    power = np.average([np.exp(one.spectrum) for one in looks], axis=0, weights=weights)
    return Look(name, int(weights.sum()), gray, np.log(power))


def is_real(one: Look) -> bool:
    """Are these real slices, not generated ones?"""
    return one.name in editions.REAL


def pictures(found: Manifest, role: str) -> np.ndarray:
    """uint8 [image, side, side]: images spread evenly over the role, made smaller where they are large."""
    images = found.images(inspection.sample(found, role, SHEET))
    side = min(SIDE, images.shape[1])
    return np.rint(decoding.resize(images, side)).clip(0, 255).astype(np.uint8)

"""Which real images belong together: slices of one patient, or near-duplicates where patients are not known.

Near-duplicates are clusters by complete linkage: no two images of a cluster lie further apart than the
threshold, so there is no chaining from slice to slice through a whole body. The distance is the RMS
difference of images with zero mean and unit standard deviation, which equals sqrt(2 (1 - correlation)): 0 for
the same picture at any brightness and contrast, about 1.4 for unrelated ones.

Measured on 819 real chest CT slices of 39 patients (four nearly whole volumes) at 64 x 64: neighbouring
slices (1 to 2.5 mm) lie at most 0.17 apart, the fifth neighbours 0.29 in the median, and the closest two
slices of different patients 0.51. At a threshold of 0.5 all of 252,228 pairs of different patients stay
apart, and every pair of slices up to 3 positions and 99 % of those 5 positions apart in one volume lie within
it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from shadow import tables
from shadow.errors import UserError

_FLAT = 1e-6  # gray levels of standard deviation; anything really there is far above


def image_id(name: str) -> str:
    """The id of a file: its name in normal form without folder and `.png`. Other dots stay, as in DICOM identifiers."""
    name = tables.normal(PurePosixPath(name.replace("\\", "/")).name)
    while name.lower().endswith(".png"):  # also of `a.png.png`: an id is written with the ending, and read without
        name = name[:-4].strip()
    return name


def _file_id(name: str, folders: bool) -> str:
    """`image_id` of a file, with the name of its folder and a slash before it where ids have those."""
    above = PurePosixPath(name.replace("\\", "/")).parent.name if folders else ""
    return f"{tables.normal(above)}/{image_id(name)}" if above else image_id(name)


def patients_from_csv(path: Path, names: Sequence[str]) -> dict[str, str]:
    """The patient of every image id in `names`, from a csv with columns `file,patient` (others are ignored).

    `file` may carry a folder and `.png`, and must carry its folder where the ids do ("t1/real_7"); files that are not
    among `names` are passed over. Raises UserError
    if the csv cannot be read, lacks a column or a patient, names a file twice, or leaves out one of `names`.
    """
    lines = tables.read(path)
    header = next(lines, tables.Line(1, [])).fields
    if header.count("file") != 1 or header.count("patient") != 1:
        raise UserError(
            f"{path}: the first line must be the header file,patient: write it so{tables.separator_hint(header)}"
        )
    place = header.index("file"), header.index("patient")
    folders = any("/" in name for name in names)
    wanted = {_file_id(name, folders): name for name in names}  # ids of a manifest of before names had one form
    patients: dict[str, str] = {}
    for line in lines:
        if not line.fields:
            continue
        if any(line.fields[len(header) :]):
            raise UserError(
                f"{path}, line {line.number}: {len(line.fields)} fields, the header has {len(header)}; put quotes "
                "around a name with a comma"
            )
        file, patient = (line.fields[column] if column < len(line.fields) else "" for column in place)
        name = wanted.get(_file_id(file, folders))
        if name is None:
            continue
        if not patient:
            raise UserError(f"{path}, line {line.number}: no patient for {name}; give one")
        if name in patients:
            raise UserError(f"{path}, line {line.number}: {name} is listed twice; remove one of the lines")
        patients[name] = patient
    missing = [name for name in names if name not in patients]
    if missing:
        raise UserError(
            f"{path}: no patient for {len(missing)} of {len(names)} images, the first is {missing[0]}; add them"
        )
    return {name: patients[name] for name in names}


def clusters(images: np.ndarray, threshold: float) -> np.ndarray:
    """Near-duplicate clusters of `images` [image, height, width]: int [image], by order of appearance.

    No cluster holds a pair further apart than `threshold` (RMS of standardised pixels). Time and memory grow
    with the square of the number of images (10 s for 3,000 of 64 x 64).
    """
    if len(images) < 2:
        return np.zeros(len(images), int)
    flat = _standardised(images)
    from scipy.cluster import hierarchy  # SciPy takes longer to import than a worker needs to start
    from scipy.spatial import distance

    tree = hierarchy.linkage(distance.pdist(flat) / np.sqrt(flat.shape[1]), "complete")
    labels = hierarchy.fcluster(tree, threshold, "distance")
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]


def near_duplicates(dev: np.ndarray, test: np.ndarray, threshold: float) -> tuple[list[str], list[str]]:
    """Group names of the dev images and of the test images, both [image, height, width] of one size.

    The dev images are clustered alone (`d0001` ...). A test image joins the dev cluster whose farthest member
    is within `threshold`, the closest such one; the rest are clustered among themselves (`t0001` ...). A dev
    group thus never depends on which candidates are to be scored, nor does a candidate's tie to a dev group
    depend on other candidates: a score that did would change with the company its image keeps. The price is
    that two test images of one `d` group may lie further apart than the threshold.
    """
    labels = clusters(dev, threshold)
    near = np.full(len(test), -1)
    if len(dev) and len(test):
        known, new = _standardised(dev), _standardised(test)
        from scipy.spatial import distance

        apart = distance.cdist(new, known) / np.sqrt(known.shape[1])
        farthest = np.stack([apart[:, labels == label].max(axis=1) for label in range(labels.max() + 1)], axis=1)
        near = np.where(farthest.min(axis=1) <= threshold, farthest.argmin(axis=1), -1)
    alone = near < 0
    names = np.array([f"d{label + 1:04d}" for label in near], object)
    names[alone] = [f"t{label + 1:04d}" for label in clusters(test[alone], threshold)]
    return [f"d{label + 1:04d}" for label in labels], list(names)


def _standardised(images: np.ndarray) -> np.ndarray:
    """Rows of zero mean and unit standard deviation, float64 [image, pixel]; of a constant image, zeros."""
    flat = images.reshape(len(images), -1).astype(np.float64)
    flat -= flat.mean(axis=1, keepdims=True)
    spread = flat.std(axis=1, keepdims=True)
    return np.divide(flat, spread, out=np.zeros_like(flat), where=spread > _FLAT)

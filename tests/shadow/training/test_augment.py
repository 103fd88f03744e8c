"""Augmentation: mirrored and moved images, and that none is there unless it is asked for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_training import IMAGES, folders, make, rows

from shadow.config import TrainConfig
from shadow.training import train


def test_no_augmentation_unless_asked_for():
    key = jax.random.key(0)
    np.testing.assert_array_equal(train.augment(jnp.asarray(IMAGES), TrainConfig(), key), IMAGES)


def test_half_of_the_images_are_mirrored():
    images = np.repeat(IMAGES[:1], 400, axis=0)
    found = np.asarray(train.augment(jnp.asarray(images), TrainConfig(flip=True), jax.random.key(0)))
    same, mirrored = ((found == as_is).all((1, 2)) for as_is in (images, images[:, :, ::-1]))
    assert (same | mirrored).all()
    assert abs(mirrored.mean() - 0.5) < 4 * 0.5 / 20  # four standard errors


def test_images_are_moved_and_their_edges_repeated():
    size, shift = 8, 2
    images = np.repeat(IMAGES[:1], 600, axis=0)
    found = np.asarray(train.augment(jnp.asarray(images), TrainConfig(shift=shift), jax.random.key(1)))
    padded = np.pad(IMAGES[0], shift, mode="edge")
    moved = {padded[i : i + size, j : j + size].tobytes() for i in range(2 * shift + 1) for j in range(2 * shift + 1)}
    assert {image.tobytes() for image in found} == moved  # each of the 25, and nothing else


@pytest.mark.slow
@pytest.mark.parametrize("fields", [{"flip": True}, {"shift": 1}])
def test_augmented_training_is_other_training_and_repeats_itself(tmp_path, fields):
    metrics = []
    for name, extra in (("plain", {}), ("once", fields), ("again", fields)):
        made = folders(tmp_path / name)
        train.train_pack(make(**extra), made, ())
        metrics.append([row["loss"] for row in rows(made[0])])
    assert metrics[0] != metrics[1] == metrics[2]

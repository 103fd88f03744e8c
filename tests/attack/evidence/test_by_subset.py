"""What an image shows of a subset, against plain loops."""

import numpy as np
import pytest

from attack.evidence import by_subset, flips, layout
from attack.evidence.embeddings import builtin

EMBEDDINGS = ("pixels", "laplacian")
SUBSET = np.array([0, 1, 0, 2, 1, 1, 0])


def images(count, seed, side=8):
    return np.random.default_rng(seed).uniform(0, 255, (count, side, side)).astype(np.float32)


def tiles(vector, side=8, count=4):
    grid, step = vector.reshape(side, side), side // count
    return [grid[y : y + step, x : x + step] for y in range(0, side, step) for x in range(0, side, step)]


@pytest.mark.parametrize("flipped", [(), ("left_right",)])
def test_signals_of_an_image_against_a_loop(flipped):
    real, made = images(7, 0), images(4, 1)
    made[2] = real[3] + images(1, 2)[0] / 50  # nearly a copy
    found = by_subset.embed_slices(real, SUBSET, flips.Flips(flipped), EMBEDDINGS)
    plan = layout.plan(EMBEDDINGS, by_subset.SIGNALS)
    values, nearest = by_subset.measured(made, found, plan, 3)
    assert values.shape == (4, 3, len(plan.names))
    for i, image in enumerate(made):
        near = []
        for c, (signal, embedding) in enumerate(plan.columns):
            mine = builtin.embed(embedding, image[None])[0].astype(float)
            for s in range(3):
                own = real[np.flatnonzero(s == SUBSET)]
                other = [builtin.embed(embedding, x[None])[0].astype(float) for x in own]
                if flipped:
                    other += [builtin.embed(embedding, x[None, :, ::-1])[0].astype(float) for x in own]
                if signal == "nearest":
                    distance = min(np.linalg.norm(mine - one) for one in other)
                else:
                    parts = zip(tiles(mine), *(tiles(one) for one in other), strict=True)
                    distance = np.sqrt(sum(min(((part - p) ** 2).sum() for p in others) for part, *others in parts))
                assert values[i, s, c] == pytest.approx(-np.log(max(distance, 1e-4)), abs=1e-3)
        for x in real:
            ways = [x, x[:, ::-1]] if flipped else [x]
            mine = builtin.embed("pixels", image[None])[0]
            near.append(min(np.linalg.norm(mine - builtin.embed("pixels", way[None])[0]) for way in ways))
        assert nearest[i] == np.argmin(near)


def test_an_image_is_measured_for_itself():
    found = by_subset.embed_slices(images(7, 0), SUBSET, flips.Flips(()), EMBEDDINGS)
    plan, made = layout.plan(EMBEDDINGS, by_subset.SIGNALS), images(9, 1)
    together, _ = by_subset.measured(made, found, plan, 3)
    alone, _ = by_subset.measured(made[4:5], found, plan, 3)
    assert np.array_equal(together[4:5], alone)

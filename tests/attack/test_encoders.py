"""The embedding `features`: its vectors, who encodes what, and that encoders with a memory leak nothing."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attack import calibration, crossfit, estimate, layout
from attack.crossfit import Labelled, Options
from attack.signals.sight import Sight
from attack.vectors import encoders
from attack.vectors.embeddings import standardised
from shadow import checks, features, keys, membership
from shadow.config import Config, MembershipConfig
from shadow.diffusion import process
from shadow.errors import UserError

SIZE = 16


@pytest.fixture(scope="module")
def network():
    """A small transformer whose weights are random: fresh ones give 0."""
    import jax

    from shadow.config import DenoiserConfig, DiffusionConfig, PileConfig
    from shadow.denoisers.build import build
    from shadow.hub import Generator

    shape = DenoiserConfig(patch=4, width=16, depth=2, heads=2)
    params = build(shape, SIZE).init(jax.random.key(0))
    leaves, tree = jax.tree.flatten(params)
    rng = np.random.default_rng(0)
    leaves = [np.asarray(rng.normal(0, 0.3, leaf.shape), np.float32) for leaf in leaves]
    return Generator("made", shape, SIZE, jax.tree.unflatten(tree, leaves), DiffusionConfig(), PileConfig())


def slices(count, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (count, SIZE, SIZE)).astype(np.float32)


def test_vectors_are_the_blocks_outputs_averaged_over_boxes(network, monkeypatch):
    import jax

    monkeypatch.setattr(features, "_GRID", 3)  # of 4 x 4 tokens: 2 x 2 places are left
    features._one_by_one.cache_clear()
    images = slices(3)
    found = features.embedder(network, SIZE, 5)(images)
    features._one_by_one.cache_clear()
    abar = process.alpha_bar(network.diffusion)
    t = int(np.argmin(np.abs(1 - abar - features.EMBEDDED)))
    noise = np.asarray(jax.random.normal(keys.key(5, "features/one noise"), (SIZE, SIZE, 1)))
    x = np.sqrt(abar[t]) * images[..., None] + np.sqrt(1 - abar[t]) * noise
    whole = features._compiled(network.denoiser, SIZE, t)(network.params, jnp.asarray(x, jnp.float32))
    assert set(found) == {"embed", "blocks.0", "blocks.1"}
    for name, vectors in found.items():
        tokens = np.asarray(whole[name]).reshape(3, 4, 4, 16)
        for i in range(3):
            boxes = [tokens[i, r : r + 2, c : c + 2].mean((0, 1)) for r in (0, 2) for c in (0, 2)]
            np.testing.assert_allclose(vectors[i], np.concatenate(boxes), rtol=1e-3, atol=1e-4)


@settings(max_examples=10)
@given(st.lists(st.integers(0, 39), min_size=1, max_size=25))
def test_vectors_are_of_the_image_alone_to_the_last_bit(network, rows):
    embed, images = features.embedder(network, SIZE, 0), slices(40)
    whole, part = embed(images), embed(images[rows])
    for name in whole:
        np.testing.assert_array_equal(whole[name][rows], part[name])


def test_blocks_count_alike_and_a_dumb_block_not(network):
    embed, grey = features.embedder(network, SIZE, 0), 127.5 * (slices(30) + 1)

    def blocks(images):
        return {**embed(images), "dumb": np.full((len(images), 3), 7, np.float32)}

    encoder = encoders.fit(blocks, grey)
    found = encoder.embed(grey)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.mean(0), 0, atol=1e-4)
    widths = [encoder.mean[name].size for name in encoder.mean]
    parts = np.split(found, np.cumsum(widths)[:-1], axis=1)
    np.testing.assert_allclose([(part**2).sum(1).mean() for part in parts], [0.25, 0.25, 0.25, 0], rtol=1e-3)


def test_an_image_is_seen_by_an_encoder_that_does_not_hold_it_by_its_id_alone():
    ids = [f"x{i}" for i in range(60)]
    member = membership.draw(ids[:40], 8, MembershipConfig(unit="image", block=8), 0)
    chosen = encoders.assigned(ids, member, 3)
    assert not member[chosen[:40], np.arange(40)].any()
    assert len(set(chosen[40:].tolist())) > 4  # candidates are spread over them as dev slices are
    again = encoders.assigned([*ids[:40], *ids[:39:-2]], member, 3)
    np.testing.assert_array_equal(again, [*chosen[:40], *chosen[:39:-2]])
    assert encoders.assigned(ids, member, 4).tolist() != chosen.tolist()
    with pytest.raises(ValueError, match="all encoders hold x0"):
        encoders.assigned(ids, np.ones_like(member), 0)


IDS = tuple(f"x{i}" for i in range(40))


def estimate_of_noise(seed, honest):
    """The two-way AUC where no pile knows anything and encoders remember: a member's vector is 0, which lies nearer to
    everything. `honest`: encoders are a block of their own; else each pile is seen through its own shadow's network."""
    rng = np.random.default_rng(seed)
    held = membership.draw(IDS, 16, MembershipConfig(unit="image", block=8), seed)
    real = rng.normal(size=(len(IDS), 36))
    piles = [standardised(rng.normal(size=(40, 6, 6))) for _ in range(16)]
    plan = layout.plan(("supplied",), ("nearest", "ratio"))

    def seen_by(encoder):
        return standardised(real.reshape(-1, 6, 6)) * ~held[encoder][:, None]

    def evidence(k):
        if not honest:
            return plan.measure(lambda _: [Sight(seen_by(k), piles[k])])
        parts = [(np.flatnonzero(chosen == e), seen_by(e)) for e in range(8)]
        return plan.measure(lambda _: [Sight(seen, piles[k], rows, rows) for rows, seen in parts if len(rows)])

    chosen = encoders.assigned(IDS, held[:8], seed)
    member = held[8:]
    values = np.stack([plan.signals(evidence(k)) for k in range(8, 16)])
    bank = calibration.Bank(values, values[None], member, member, plan.names)
    data = Labelled(bank, IDS, np.arange(len(IDS)))
    logit = crossfit.two_way(data, Options(8, 3, 0.1, 0), 0).logit
    return estimate.mean_auc(logit, member, data.group, len(IDS)).auc


def test_encoders_that_remember_their_members_leak_nothing():
    assert np.mean([estimate_of_noise(seed, True) for seed in range(8)]) == pytest.approx(0.5, abs=0.04)
    assert estimate_of_noise(0, False) > 0.9  # the shadows' own networks would tell it all


@pytest.mark.parametrize(("shadows", "block", "fits"), [(8, 8, False), (8, 2, True), (6, 2, False), (16, 8, True)])
def test_a_whole_block_must_be_to_spare(shadows, block, fits):
    config = Config()
    config.fleet.shadows, config.membership.block = shadows, block
    config.attack.embeddings, config.attack.signals = ("features",), ("nearest",)
    assert encoders.shadows_of(config) == list(range(block))
    if fits:
        checks.validate(config)
        return
    with pytest.raises(UserError, match=rf"'features' .*block = {block}.* fleet\.shadows = {shadows} is too few"):
        checks.validate(config)
    config.attack.embeddings = ("pixels",)
    checks.validate(config)
    assert encoders.shadows_of(config) == []

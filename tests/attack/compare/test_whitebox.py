"""White-box attacks against loops in NumPy that follow the papers."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hub_folders import SIZE, UNET, generator

from attack.compare import whitebox
from shadow import keys
from shadow.config import DenoiserConfig, DiffusionConfig
from shadow.denoisers.build import build
from shadow.diffusion import process
from shadow.errors import UserError
from shadow.hub import Generator

KINDS = ("sample", "v", "epsilon")


def made(prediction="sample", schedule="cosine") -> Generator:
    diffusion = DiffusionConfig(prediction=prediction, schedule=schedule)
    config = DenoiserConfig(patch=4, width=8, depth=1, heads=2)
    params = build(config, SIZE).init(jax.random.key(1))
    rng = np.random.default_rng(1)
    params = jax.tree.map(lambda leaf: leaf + 0.2 * rng.standard_normal(leaf.shape).astype(np.float32), params)
    return Generator("made", config, SIZE, params, diffusion, None)


@pytest.fixture
def images():
    return np.random.default_rng(0).uniform(-1, 1, (5, SIZE, SIZE)).astype(np.float32)


@functools.cache
def jitted(network):
    return jax.jit(network.apply)


def naive_eps(found: Generator, x, t):
    """eps of one image [side, side] in float64, by the definition of the prediction."""
    abar = process.alpha_bar(found.diffusion)[t]
    network = build(found.denoiser, SIZE)
    out = jitted(network)(found.params, jnp.asarray(x, jnp.float32)[None, ..., None], jnp.array([t], jnp.int32))
    out = np.asarray(out, np.float64)[0, ..., 0]
    if found.diffusion.prediction == "epsilon":
        return out
    if found.diffusion.prediction == "v":
        return np.sqrt(abar) * out + np.sqrt(1 - abar) * x
    return (x - np.sqrt(abar) * out) / np.sqrt(1 - abar)


def nearest(abar, level):
    return min(range(len(abar)), key=lambda t: (abs(1 - abar[t] - level), t))


@pytest.mark.parametrize("prediction", KINDS)
def test_losses_are_the_error_of_eps_at_fixed_noises(images, prediction):
    found = made(prediction)
    errors = whitebox.losses(whitebox.opened(found, SIZE), images, seed=3, noises=2)
    assert errors.shape == (len(whitebox.LEVELS), 2, 5)
    abar = process.alpha_bar(found.diffusion)
    for level, noise, image in ((0, 0, 0), (4, 1, 3), (8, 0, 4)):
        t = nearest(abar, whitebox.LEVELS[level])
        e = np.asarray(jax.random.normal(keys.key(3, "whitebox/noise", noise), (SIZE, SIZE, 1)), np.float64)[..., 0]
        xt = np.sqrt(abar[t]) * images[image] + np.sqrt(1 - abar[t]) * e
        wanted = ((naive_eps(found, xt, t) - e) ** 2).mean()
        np.testing.assert_allclose(errors[level, noise, image], wanted, rtol=1e-4)


@pytest.mark.parametrize("prediction", KINDS)
@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_secmi_and_pia_are_those_of_the_papers(images, prediction, schedule):
    found = made(prediction, schedule)
    model, abar = whitebox.opened(found, SIZE), process.alpha_bar(found.diffusion)

    def step(x, here, there):
        eps = naive_eps(found, x, here)
        clean = (x - np.sqrt(1 - abar[here]) * eps) / np.sqrt(abar[here])
        return np.sqrt(abar[there]) * clean + np.sqrt(1 - abar[there]) * eps

    last = nearest(abar, 0.105)
    times = [round(i * last / 10) for i in range(11)]
    wanted = []
    for x in images.astype(np.float64):
        for here, there in itertools.pairwise(times):
            x = step(x, here, there)
        beyond = last + times[-1] - times[-2]
        wanted.append(-((step(step(x, last, beyond), beyond, last) - x) ** 2).sum())
    np.testing.assert_allclose(whitebox.secmi(model, images), wanted, rtol=2e-3)

    t = nearest(abar, 0.342)
    plain, scaled = [], []
    for x in images.astype(np.float64):
        first = naive_eps(found, x, 0)
        for taken, kept in ((first, plain), (first / (np.abs(first).mean() / np.sqrt(2 / np.pi)), scaled)):
            again = naive_eps(found, np.sqrt(abar[t]) * x + np.sqrt(1 - abar[t]) * taken, t)
            kept.append(-((np.abs(taken - again) ** 4).sum() ** 0.25))
    np.testing.assert_allclose(whitebox.pia(model, images), plain, rtol=1e-4)
    np.testing.assert_allclose(whitebox.pia(model, images, normalised=True), scaled, rtol=1e-4)
    one = nearest(abar, whitebox.SIMA_LEVEL)
    simple = [-((np.abs(naive_eps(found, x, one)) ** 4).sum() ** 0.25) for x in images.astype(np.float64)]
    np.testing.assert_allclose(whitebox.sima(model, images), simple, rtol=1e-4)


def test_the_times_of_the_papers_are_found_on_their_schedule():
    model = whitebox.opened(made(schedule="linear"), SIZE)
    assert abs(model.time(whitebox.SECMI_LEVEL) - 100) <= 2
    assert abs(model.time(whitebox.PIA_LEVEL) - 200) <= 2


def test_an_image_has_the_same_scores_whatever_the_others_are(images):
    model = whitebox.opened(made(), SIZE)
    many = np.concatenate([images] * 14)  # more than one batch
    errors = whitebox.losses(model, many, 0, 1)
    for name, found in whitebox.scores(model, many, errors).items():
        np.testing.assert_allclose(found[:5], found[65:], rtol=1e-3, err_msg=name)
        np.testing.assert_allclose(
            found[:5], whitebox.scores(model, images, whitebox.losses(model, images, 0, 1))[name], rtol=1e-3
        )


def test_a_network_that_knows_its_members_gives_them_away():
    """x_0 is predicted right for two images and as gray for the others: all attacks rank the two first."""
    rng = np.random.default_rng(0)
    images = np.clip(rng.standard_normal((6, SIZE, SIZE)), -1, 1).astype(np.float32)
    abar = process.alpha_bar(DiffusionConfig())
    known = jnp.asarray(images[:2])[..., None]

    def eps(x, t):
        a = abar[t]
        gap = ((x[:, None] - np.sqrt(a) * known[None]) ** 2).mean((2, 3, 4))
        near = gap.min(1) < (1 - a) * 1.3 + 0.01
        clean = jnp.where(near[:, None, None, None], known[gap.argmin(1)], 0.0)
        return (x - np.float32(np.sqrt(a)) * clean) / np.float32(np.sqrt(1 - a))

    model = whitebox.WhiteBox(abar, 1, lambda x, t: eps(x, int(t)))
    errors = whitebox.losses(model, images, 0, 2)
    for name, score in whitebox.scores(model, images, errors).items():
        if name != "secmi":  # a network that always says gray carries an image there and back without error
            assert score[:2].min() > score[2:].max(), name


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"num_class_embeds": 3}, "conditional"),
        ({"in_channels": 2}, "in_channels = 2"),
        ({"time_embedding_type": "fourier"}, "fourier"),
    ],
)
def test_what_cannot_be_asked_is_said(change, said):
    found = generator(unet=dataclasses.replace(UNET, **change))
    assert said in whitebox.why_not(found)
    with pytest.raises(UserError, match=said):
        whitebox.opened(found, SIZE)


def test_a_network_without_a_process_cannot_be_asked():
    found = dataclasses.replace(generator(), diffusion=None)
    with pytest.raises(UserError, match="without a scheduler"):
        whitebox.opened(found, SIZE)


def test_a_network_in_colour_sees_gray(images):
    found = generator(unet=dataclasses.replace(UNET, in_channels=3, out_channels=3))
    model = whitebox.opened(found, SIZE)
    assert np.isfinite(whitebox.losses(model, images, 0, 1)).all()

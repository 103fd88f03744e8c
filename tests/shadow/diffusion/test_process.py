"""The forward process against its formulas, written out one time at a time."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from shadow.config import DiffusionConfig
from shadow.diffusion import process
from shadow.errors import UserError

KINDS = ("sample", "v", "epsilon")


def config(schedule="cosine", timesteps=40):
    return DiffusionConfig(timesteps=timesteps, schedule=schedule)


def naive_alpha_bar(schedule, timesteps):
    result, product = [], 1.0
    for t in range(timesteps):
        if schedule == "linear":
            beta = 1e-4 + (0.02 - 1e-4) * (t / (timesteps - 1) if timesteps > 1 else 0)
        else:

            def level(share):
                return math.cos((share + 0.008) / 1.008 * math.pi / 2) ** 2

            beta = min(1 - level((t + 1) / timesteps) / level(t / timesteps), 0.999)
        product *= 1 - beta
        result.append(product)
    return result


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    x0 = rng.uniform(-1, 1, (5, 4, 4, 1)).astype(np.float32)
    eps = rng.standard_normal((5, 4, 4, 1)).astype(np.float32)
    return x0, eps, np.array([0, 3, 17, 38, 39], np.int32)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize("timesteps", [1, 2, 40, 1000])
def test_alpha_bar(schedule, timesteps):
    abar = process.alpha_bar(config(schedule, timesteps))
    np.testing.assert_allclose(abar, naive_alpha_bar(schedule, timesteps), rtol=1e-12)
    assert abar.dtype == np.float64
    assert (abar > 0).all()
    assert (abar < 1).all()
    assert (np.diff(abar) < 0).all()


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_add_noise(schedule, batch):
    x0, eps, t = batch
    abar = process.alpha_bar(config(schedule))
    actual = np.asarray(process.add_noise(abar, x0, eps, jnp.asarray(t)))
    for i, time in enumerate(t):
        expected = math.sqrt(abar[time]) * x0[i] + math.sqrt(1 - abar[time]) * eps[i]
        np.testing.assert_allclose(actual[i], expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_split_prediction_inverts_target(kind, schedule, batch):
    x0, eps, t = batch
    t = np.minimum(t, 37)  # the last cosine times hold next to no signal: x_0 of epsilon is lost there
    abar = process.alpha_bar(config(schedule))
    xt = process.add_noise(abar, x0, eps, t)
    output = process.target(abar, kind, x0, eps, t)
    clean, noise = process.split_prediction(abar, kind, output, xt, t)
    np.testing.assert_allclose(clean, x0, atol=2e-4)
    np.testing.assert_allclose(noise, eps, atol=2e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cap", [1.5, 4.0, 1e9])
@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_weight_of_the_error_of_x0(kind, cap, schedule, batch):
    """A wrong prediction implies a wrong x_0: the loss must be min(1 + SNR, cap) times the latter's square."""
    x0, eps, _ = batch
    times = np.arange(39)
    abar = process.alpha_bar(config(schedule))
    weights = process.weight(abar, kind, cap)
    assert weights.shape == (40,)
    wrong = 0.1
    for t in times:
        signal, noise = math.sqrt(abar[t]), math.sqrt(1 - abar[t])
        xt = signal * x0.astype(float) + noise * eps
        right = {"sample": x0, "epsilon": eps, "v": signal * eps.astype(float) - noise * x0}[kind]
        output = right + wrong
        implied = {"sample": output, "epsilon": (xt - noise * output) / signal, "v": signal * xt - noise * output}[kind]
        snr = abar[t] / (1 - abar[t])
        wanted = min(snr, cap) if kind == "epsilon" else min(1 + snr, cap)
        np.testing.assert_allclose(weights[t] * wrong**2, wanted * np.mean((implied - x0) ** 2), rtol=1e-3)


def test_uncapped_weights_are_the_plain_losses():
    abar = process.alpha_bar(config())
    np.testing.assert_allclose(process.weight(abar, "v", np.inf), 1)
    np.testing.assert_allclose(process.weight(abar, "epsilon", np.inf), 1)


@pytest.mark.parametrize("kind", KINDS)
def test_loss_against_a_loop(kind, batch):
    x0, eps, t = batch
    abar, cap = process.alpha_bar(config()), 4.0
    seen = []

    def denoiser(x, times):
        seen.append((np.asarray(x), np.asarray(times)))
        return 0.5 * x + times[:, None, None, None] / 40

    actual = np.asarray(process.loss(abar, kind, cap, denoiser, x0, eps, jnp.asarray(t)))
    assert actual.shape == (5,)
    assert np.array_equal(seen[0][1], t)
    for i, time in enumerate(t):
        signal, noise = math.sqrt(abar[time]), math.sqrt(1 - abar[time])
        output = 0.5 * (signal * x0[i] + noise * eps[i]) + time / 40
        right = {"sample": x0[i], "epsilon": eps[i], "v": signal * eps[i] - noise * x0[i]}[kind]
        error = np.mean((output - right).astype(np.float64) ** 2)
        np.testing.assert_allclose(actual[i], process.weight(abar, kind, cap)[time] * error, rtol=1e-4)


def test_unknown_names_are_refused(batch):
    x0, eps, t = batch
    abar = process.alpha_bar(config())
    with pytest.raises(UserError, match=r"diffusion\.schedule = 'sigmoid'"):
        process.alpha_bar(config("sigmoid"))
    for call in (
        lambda: process.target(abar, "x0", x0, eps, t),
        lambda: process.split_prediction(abar, "x0", x0, x0, t),
        lambda: process.weight(abar, "x0", 4.0),
    ):
        with pytest.raises(UserError, match=r"diffusion\.prediction = 'x0'"):
            call()

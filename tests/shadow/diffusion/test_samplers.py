"""DDIM against its formula in float64, against what a perfect denoiser must give, and against diffusers."""

import math
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from shadow.config import DiffusionConfig, PileConfig
from shadow.diffusion import process, samplers
from shadow.errors import UserError

RNG = np.random.default_rng(0)
X = RNG.standard_normal((3, 4, 4, 1)).astype(np.float32)
NOISE = RNG.standard_normal((3, 4, 4, 1)).astype(np.float32)
X0 = RNG.uniform(-1, 1, (3, 4, 4, 1)).astype(np.float32)


def trajectory(abar, kind, denoiser, steps, eta=0.0, noises=None):
    times = samplers.timesteps(len(abar), steps)
    x = jnp.asarray(X)
    for i, (t, previous) in enumerate(zip(times, [*times[1:], -1], strict=True)):
        noise = jnp.zeros_like(x) if noises is None else jnp.asarray(noises[i])
        x = samplers.ddim_step(abar, kind, denoiser, x, jnp.int32(t), jnp.int32(previous), eta, noise)
    return np.asarray(x)


@pytest.mark.parametrize("train_steps", [1, 15, 34, 50, 200, 1000])
def test_timesteps_are_those_of_diffusers_and_valid(train_steps):
    for steps in range(1, train_steps + 1):
        times = samplers.timesteps(train_steps, steps)
        trailing = np.round(np.arange(train_steps, 0, -train_steps / steps)).astype(np.int64) - 1
        assert times.dtype == np.int32
        assert len(times) == steps  # 15 in 13 steps: rounding gives diffusers a fourteenth, at time -1
        assert np.array_equal(times, trailing[:steps])
        assert times[0] == train_steps - 1
        assert times[-1] >= 0
        assert (np.diff(times) < 0).all()


@pytest.mark.parametrize("steps", [0, -1, 11])
def test_timesteps_out_of_range(steps):
    with pytest.raises(UserError, match=r"pile\.sampler_steps"):
        samplers.timesteps(10, steps)


def test_unknown_sampler():
    samplers.check(PileConfig())
    with pytest.raises(UserError, match=r"pile\.sampler = 'ddpm'"):
        samplers.check(PileConfig(sampler="ddpm"))


def naive_step(abar, kind, output, x, t, previous, eta, noise):
    """Song et al. 2021, equation 12, in float64, x_0 clipped."""
    output, x, noise = (np.asarray(a, np.float64) for a in (output, x, noise))
    here, there = abar[t], abar[previous] if previous >= 0 else 1.0
    clean = {
        "sample": output,
        "epsilon": (x - math.sqrt(1 - here) * output) / math.sqrt(here),
        "v": math.sqrt(here) * x - math.sqrt(1 - here) * output,
    }[kind]
    clean = np.clip(clean, -1, 1)
    eps = (x - math.sqrt(here) * clean) / math.sqrt(1 - here)
    sigma = eta * math.sqrt((1 - there) / (1 - here)) * math.sqrt(1 - here / there)
    return math.sqrt(there) * clean + math.sqrt(max(1 - there - sigma**2, 0)) * eps + sigma * noise


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize("kind", ["sample", "v", "epsilon"])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_one_step_against_the_formula(schedule, kind, eta):
    abar = process.alpha_bar(DiffusionConfig(timesteps=50, schedule=schedule))
    for t, previous in ((48, 20), (20, 19), (9, 3), (3, -1), (0, -1)):
        output = 0.3 * X + 0.1
        actual = samplers.ddim_step(abar, kind, lambda x, t: 0.3 * x + 0.1, X, t, previous, eta, NOISE)
        expected = naive_step(abar, kind, output, X, t, previous, eta, NOISE)
        np.testing.assert_allclose(actual, expected, rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize("steps", [1, 5, 50])
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_a_perfect_denoiser_ends_at_the_clean_image(schedule, steps, eta):
    abar = process.alpha_bar(DiffusionConfig(timesteps=50, schedule=schedule))
    noises = np.random.default_rng(1).standard_normal((steps, *X.shape)).astype(np.float32)
    ended = trajectory(abar, "sample", lambda x, t: jnp.asarray(X0), steps, eta, noises)
    np.testing.assert_allclose(ended, X0, atol=1e-6)


def test_the_denoiser_sees_every_image_at_the_right_time():
    abar = process.alpha_bar(DiffusionConfig(timesteps=50))
    seen = []

    def denoiser(x, t):
        seen.append(np.asarray(t).tolist())
        return x

    trajectory(abar, "v", denoiser, 7)
    assert seen == [[t] * 3 for t in samplers.timesteps(50, 7).tolist()]


def test_eta_adds_noise_but_not_in_the_last_step():
    abar = process.alpha_bar(DiffusionConfig(timesteps=50))

    def denoiser(x, t):
        return 0.5 * x

    def step(previous, eta, noise):
        return np.asarray(samplers.ddim_step(abar, "sample", denoiser, X, 20, previous, eta, noise))

    zeros = np.zeros_like(NOISE)
    assert np.array_equal(step(10, 0.0, NOISE), step(10, 0.0, zeros))
    sigma = math.sqrt((1 - abar[10]) / (1 - abar[20]) * (1 - abar[20] / abar[10]))
    np.testing.assert_allclose(step(10, 1.0, NOISE) - step(10, 1.0, zeros), sigma * NOISE, atol=1e-5)
    assert np.array_equal(step(-1, 1.0, NOISE), step(-1, 1.0, zeros))


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("kind", ["sample", "v", "epsilon"])
@pytest.mark.parametrize(("schedule", "named"), [("linear", "linear"), ("cosine", "squaredcos_cap_v2")])
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_trajectory_of_diffusers(kind, schedule, named, eta):
    torch = pytest.importorskip("torch")
    from diffusers import DDIMScheduler

    assert "torch" in sys.modules
    scheduler = DDIMScheduler(
        num_train_timesteps=200,
        beta_start=1e-4,
        beta_end=0.02,
        beta_schedule=named,
        timestep_spacing="trailing",
        clip_sample=True,
        set_alpha_to_one=True,
        prediction_type={"v": "v_prediction"}.get(kind, kind),
    )
    scheduler.set_timesteps(10)  # of 200: where it does not divide, diffusers steps to times it does not visit
    abar = process.alpha_bar(DiffusionConfig(timesteps=200, schedule=schedule))
    np.testing.assert_allclose(abar, scheduler.alphas_cumprod.numpy(), rtol=1e-3, atol=1e-6)
    assert scheduler.timesteps.tolist() == samplers.timesteps(200, 10).tolist()
    noises = np.random.default_rng(2).standard_normal((10, *X.shape)).astype(np.float32)
    x = torch.from_numpy(X)
    for i, t in enumerate(scheduler.timesteps):
        output = 0.6 * torch.tanh(x) + 0.2 * t / 200
        noise = torch.from_numpy(noises[i]) if eta else None
        x = scheduler.step(output, t, x, eta=eta, use_clipped_model_output=True, variance_noise=noise).prev_sample

    def denoiser(x, t):
        return 0.6 * jnp.tanh(x) + 0.2 * t[:, None, None, None] / 200

    np.testing.assert_allclose(trajectory(abar, kind, denoiser, 10, eta, noises), x.numpy(), atol=2e-3)

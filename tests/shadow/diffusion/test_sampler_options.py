"""Options of the samplers, each from its definition in float64."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from shadow.config import DiffusionConfig, PileConfig
from shadow.diffusion import process, samplers

RNG = np.random.default_rng(0)
X = RNG.standard_normal((2, 3, 3, 1)).astype(np.float32)
NOISES = RNG.standard_normal((20, *X.shape)).astype(np.float32)
LENGTH = 50
KINDS = ("sample", "v", "epsilon")


def network(x, t):
    return 1.5 * jnp.tanh(x) - 0.5 * t[:, None, None, None] / LENGTH


def trajectory(pile, diffusion, denoiser=network):
    """The sampler, and where it is before the first step and after each, in float64."""
    sampler = samplers.make(pile, diffusion)
    state, visited = sampler.start(jnp.asarray(X)), [X.astype(float)]
    for i in range(len(sampler.times)):
        state = sampler.step(denoiser, state, jnp.int32(i), jnp.asarray(NOISES[i]))
        visited.append(np.asarray(state.x, float))
    return sampler, visited


def split(kind, output, x, level):
    """x_0 and the noise from x = sqrt(level) x_0 + sqrt(1 - level) eps and what is known of the two."""
    a, s = math.sqrt(level), math.sqrt(1 - level)
    if kind == "sample":
        return output, (x - a * output) / s
    if kind == "epsilon":
        return (x - s * output) / a, output
    clean = a * x - s * output
    return clean, (output + s * clean) / a


@pytest.mark.parametrize(
    ("length", "steps", "spacing", "offset", "ddim", "solver"),
    [
        (100, 5, "trailing", 0, [99, 79, 59, 39, 19], [99, 79, 59, 39, 19]),
        (100, 5, "leading", 0, [80, 60, 40, 20, 0], [80, 64, 48, 32, 16]),
        (100, 5, "leading", 3, [83, 63, 43, 23, 3], [83, 67, 51, 35, 19]),
        (101, 5, "linspace", 0, [100, 75, 50, 25, 0], [100, 80, 60, 40, 20]),
        (100, 3, "trailing", 0, [99, 66, 32], [99, 66, 32]),
        (100, 3, "leading", 0, [66, 33, 0], [75, 50, 25]),
        (100, 3, "linspace", 0, [99, 50, 0], [99, 66, 33]),
        (100, 1, "trailing", 0, [99], [99]),
        (100, 1, "leading", 0, [0], [50]),
    ],
)
def test_times_by_hand(length, steps, spacing, offset, ddim, solver):
    for name, expected in (("ddim", ddim), ("ddpm", ddim), ("dpmpp_2m", solver)):
        pile = PileConfig(sampler=name, sampler_steps=steps, timestep_spacing=spacing, steps_offset=offset)
        times = samplers.timesteps(pile, length)
        assert times.dtype == np.int32
        assert times.tolist() == expected


@pytest.mark.parametrize("eta", [0.0, 0.7])
@pytest.mark.parametrize(
    "clip",
    [
        {},
        {"clip_sample": False},
        {"clip_sample_range": 0.4},
        {"use_clipped_model_output": False},
        {"clip_sample_range": 0.4, "use_clipped_model_output": False},
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_ddim_with_and_without_a_clip(kind, clip, eta):
    """Without clip both noises are one; with it the noise is the network's, or what the clipped x_0 leaves of x."""
    pile = PileConfig(sampler_steps=10, eta=eta, **clip)
    diffusion = DiffusionConfig(timesteps=LENGTH, schedule="linear", prediction=kind)
    sampler, visited = trajectory(pile, diffusion)
    levels = [*process.alpha_bar(diffusion)[sampler.times], 1.0]
    for i, t in enumerate(sampler.times):
        x, here, there = visited[i], levels[i], levels[i + 1]
        clean, eps = split(kind, np.asarray(network(x.astype(np.float32), np.full(2, t)), float), x, here)
        if pile.clip_sample:
            clean = np.clip(clean, -pile.clip_sample_range, pile.clip_sample_range)
            if pile.use_clipped_model_output:
                eps = (x - math.sqrt(here) * clean) / math.sqrt(1 - here)
        sigma = eta * math.sqrt((1 - there) / (1 - here) * (1 - here / there))
        expected = math.sqrt(there) * clean + math.sqrt(1 - there - sigma**2) * eps + sigma * NOISES[i]
        np.testing.assert_allclose(visited[i + 1], expected, rtol=0, atol=2e-5 * max(1, np.abs(expected).max()))


@pytest.mark.parametrize("one", [True, False])
@pytest.mark.parametrize(
    ("spacing", "offset", "ends"),
    [
        ("trailing", 0, [39, 29, 19, 9, None]),
        ("leading", 0, [30, 20, 10, 0, None]),
        ("leading", 3, [33, 23, 13, 3, None]),
        ("linspace", 0, [39, 27, 14, 2, None]),  # ten below 49, 37, 24, 12 and 0
    ],
)
def test_where_ddim_steps_to(spacing, offset, ends, one):
    """A perfect denoiser and no new noise: x stays sqrt(abar) x_0 + sqrt(1 - abar) eps."""
    pile = PileConfig(sampler_steps=5, timestep_spacing=spacing, steps_offset=offset, set_alpha_to_one=one)
    diffusion = DiffusionConfig(timesteps=LENGTH)
    abar = process.alpha_bar(diffusion)
    sampler, visited = trajectory(pile, diffusion, lambda x, t: jnp.full_like(x, 0.5))
    for i, end in enumerate(ends):
        here = abar[sampler.times[i]]
        there = (1.0 if one else abar[0]) if end is None else abar[end]
        eps = (visited[i] - math.sqrt(here) * 0.5) / math.sqrt(1 - here)
        expected = math.sqrt(there) * 0.5 + math.sqrt(1 - there) * eps
        np.testing.assert_allclose(visited[i + 1], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("spacing", ["trailing", "leading"])
def test_fixed_large_adds_the_whole_beta(spacing):
    """Beside `fixed_small` only the noise differs: beta is its variance, but in a step from time 0 there is none."""
    diffusion = DiffusionConfig(timesteps=LENGTH)
    large, small = (
        samplers.make(PileConfig(sampler="ddpm", sampler_steps=5, timestep_spacing=spacing, variance_type=v), diffusion)
        for v in ("fixed_large", "fixed_small")
    )
    levels = [*process.alpha_bar(diffusion)[large.times], 1.0]
    zeros = jnp.zeros_like(X)
    for i, t in enumerate(large.times):
        state = large.start(jnp.asarray(X))
        mean, same = (np.asarray(s.step(network, state, jnp.int32(i), zeros).x) for s in (large, small))
        np.testing.assert_array_equal(mean, same)
        drawn = np.asarray(large.step(network, state, jnp.int32(i), jnp.asarray(NOISES[i])).x)
        variance = 1 - levels[i] / levels[i + 1] if t > 0 else 0.0
        np.testing.assert_allclose(drawn - mean, math.sqrt(variance) * NOISES[i], atol=1e-6)


@pytest.mark.parametrize("solver", ["midpoint", "heun"])
@pytest.mark.parametrize(
    ("end", "last_order"),
    [
        ({}, 1),
        ({"final_sigmas_type": "sigma_min"}, 1),
        ({"final_sigmas_type": "sigma_min", "lower_order_final": False}, 2),
        ({"final_sigmas_type": "sigma_min", "lower_order_final": False, "euler_at_final": True}, 1),
    ],
)
def test_solver_against_the_integral(end, last_order, solver):
    """Lu et al. 2022, proposition 4.1: x_t = (sigma_t / sigma_s) x_s + sigma_t int e^lambda x_0(lambda) dlambda, with
    the line through the last two predictions for x_0. `heun` is that integral, by quadrature here; `midpoint` takes
    the line's value in the middle throughout."""
    pile = PileConfig(sampler="dpmpp_2m", sampler_steps=6, solver_type=solver, **end)
    diffusion = DiffusionConfig(timesteps=LENGTH, schedule="linear")
    sampler, visited = trajectory(pile, diffusion)
    abar = process.alpha_bar(diffusion)
    levels = [*abar[sampler.times], abar[0] if end else 1.0]
    alpha, sigma = np.sqrt(levels), np.sqrt(1 - np.array(levels))
    lam = [math.log(a / s) if s else math.inf for a, s in zip(alpha, sigma, strict=True)]
    said = [
        np.clip(np.asarray(network(x.astype(np.float32), np.full(2, t)), float), -1, 1)
        for x, t in zip(visited, sampler.times, strict=False)
    ]
    for i in range(6):
        slope = (said[i] - said[i - 1]) / (lam[i] - lam[i - 1]) if i else 0.0
        if i == 5 and last_order == 1:
            slope = 0.0
        if math.isinf(lam[i + 1]):
            expected = said[i]
        else:
            edges = np.linspace(lam[i], lam[i + 1], 2001)
            middles, width = (edges[1:] + edges[:-1]) / 2, edges[1] - edges[0]
            shift = np.full_like(middles, (lam[i + 1] - lam[i]) / 2) if solver == "midpoint" else middles - lam[i]
            kernel = np.exp(middles) * width
            integral = said[i] * kernel.sum() + slope * (kernel * shift).sum()
            expected = sigma[i + 1] / sigma[i] * visited[i] + sigma[i + 1] * integral
        np.testing.assert_allclose(visited[i + 1], expected, rtol=0, atol=1e-5)


def test_a_step_without_length_stays_where_it_is():
    """From time 0 to the noise of time 0, with the extrapolation of either solver."""
    for solver in ("midpoint", "heun"):
        pile = PileConfig(
            sampler="dpmpp_2m",
            sampler_steps=20,
            final_sigmas_type="sigma_min",
            solver_type=solver,
            lower_order_final=False,
        )
        sampler, visited = trajectory(pile, DiffusionConfig(timesteps=20))
        assert sampler.times[-1] == 0
        assert np.isfinite(visited).all()
        np.testing.assert_allclose(visited[-1], visited[-2], atol=1e-6)


@pytest.mark.parametrize("kind", ["sample", "v"])
@pytest.mark.parametrize("name", ["ddim", "ddpm", "dpmpp_2m"])
@pytest.mark.parametrize("schedule", ["linear", "scaled_linear", "cosine"])
def test_from_a_time_without_signal(schedule, name, kind):
    """x is nothing but noise there. v is -x_0, a perfect denoiser ends at the clean image, and DDIM keeps the noise."""
    diffusion = DiffusionConfig(timesteps=LENGTH, schedule=schedule, prediction=kind, zero_terminal_snr=True)
    abar = process.alpha_bar(diffusion)
    clean = np.clip(X[::-1], -1, 1) * 0.9

    def perfect(x, t):
        a, s = (jnp.asarray(np.sqrt(level), jnp.float32)[t][:, None, None, None] for level in (abar, 1 - abar))
        return (a * x - clean) / s if kind == "v" else jnp.asarray(clean)

    sampler, visited = trajectory(PileConfig(sampler=name, sampler_steps=10), diffusion, perfect)
    assert sampler.times[0] == LENGTH - 1
    there = abar[sampler.times[1]]
    if name != "ddpm":
        expected = math.sqrt(there) * clean + math.sqrt(1 - there) * X
        np.testing.assert_allclose(visited[1], expected, atol=1e-3 if name == "dpmpp_2m" else 1e-6)
    np.testing.assert_allclose(visited[-1], clean, atol=1e-5)


@pytest.mark.parametrize("name", ["ddim", "ddpm", "dpmpp_2m"])
def test_range_of_the_clip(name):
    diffusion = DiffusionConfig(timesteps=LENGTH)
    for options, expected in (({}, 1.0), ({"clip_sample_range": 2.0}, 2.0), ({"clip_sample": False}, 3.0)):
        pile = PileConfig(sampler=name, sampler_steps=10, **options)
        _, visited = trajectory(pile, diffusion, lambda x, t: jnp.full_like(x, 3.0))
        np.testing.assert_allclose(visited[-1], expected, atol=1e-5)

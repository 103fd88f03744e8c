"""Whole trajectories beside PyTorch diffusers, whose schedulers are made from what our dialect writes.

20 steps from the same noise, and where noise is added the same noises, with a cheap network of x and t.
"""

import inspect
import json
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from shadow.config import DiffusionConfig, PileConfig
from shadow.diffusion import dialect, process, samplers

# What torch and diffusers warn of is not ours to mend.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]

torch: Any = None  # imported when the first test runs: it takes seconds, also where none of these is chosen


@pytest.fixture(autouse=True, scope="module")
def imported():
    global torch
    torch = pytest.importorskip("torch")


STEPS, LENGTH = 20, 1000
RNG = np.random.default_rng(0)
X = RNG.standard_normal((2, 3, 3, 1)).astype(np.float32)
NOISES = RNG.standard_normal((STEPS, *X.shape)).astype(np.float32)

SCHEDULES = ("linear", "scaled_linear", "cosine")
KINDS = ("sample", "v", "epsilon")
SPACINGS = ("trailing", "leading", "linspace")
SAMPLERS = {"ddim": {}, "ddim eta 1": {"eta": 1.0}, "ddpm": {}, "dpmpp_2m": {}}


def peer_of(diffusion, pile):
    """diffusers' scheduler of these options."""
    import diffusers

    name, fields = dialect.scheduler_config(diffusion, pile)
    return getattr(diffusers, name)(**fields)


def theirs(diffusion, pile, monkeypatch):
    """Times, and where diffusers is before the first step and after each, in float32."""
    import diffusers

    peer = peer_of(diffusion, pile)
    peer.set_timesteps(pile.sampler_steps)
    noises, steps = [torch.from_numpy(noise) for noise in NOISES], []
    ddpm = diffusers.schedulers.scheduling_ddpm
    monkeypatch.setattr(ddpm, "randn_tensor", lambda shape, **_: noises[len(steps)])
    x = torch.from_numpy(X)
    visited = [X]
    for t in peer.timesteps:
        output = 0.6 * torch.tanh(x) + 0.2 * t / diffusion.timesteps
        options = {}
        if pile.sampler == "ddim":
            options = {"eta": pile.eta, "use_clipped_model_output": pile.use_clipped_model_output}
            options |= {"variance_noise": noises[len(steps)]} if pile.eta else {}
        x = peer.step(output, t, x, **options).prev_sample
        visited.append(x.numpy())
        steps.append(int(t))
    return steps, np.stack(visited)


def ours(diffusion, pile):
    sampler = samplers.make(pile, diffusion)
    state, visited = sampler.start(jnp.asarray(X)), [X]
    for i in range(len(sampler.times)):
        state = sampler.step(
            lambda x, t: 0.6 * jnp.tanh(x) + 0.2 * t[:, None, None, None] / diffusion.timesteps,
            state,
            jnp.int32(i),
            jnp.asarray(NOISES[i]),
        )
        visited.append(np.asarray(state.x))
    return sampler.times.tolist(), np.stack(visited)


def assert_same(diffusion, pile, monkeypatch, tolerance=1e-4, grows=False):
    """The same times, and the same x at each to `tolerance`: of the largest x if numbers may grow."""
    their_times, expected = theirs(diffusion, pile, monkeypatch)
    times, actual = ours(diffusion, pile)
    assert times == their_times
    assert np.isfinite(expected).all()
    scale = max(1.0, np.abs(expected).max()) if grows else 1.0
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * scale)


def options_of(sampler, **more):
    return PileConfig(sampler=sampler.split()[0], sampler_steps=STEPS, **SAMPLERS[sampler], **more)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_grid(schedule, kind, spacing, sampler, monkeypatch):
    diffusion = DiffusionConfig(schedule=schedule, prediction=kind)
    assert_same(diffusion, options_of(sampler, timestep_spacing=spacing), monkeypatch)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_without_a_clip(schedule, kind, sampler, monkeypatch):
    """This network's epsilon means an x_0 of up to 4e4 where abar is small, whence `grows`."""
    diffusion = DiffusionConfig(schedule=schedule, prediction=kind)
    assert_same(diffusion, options_of(sampler, clip_sample=False), monkeypatch, grows=kind == "epsilon")


@pytest.mark.parametrize("sampler", ["ddim", "ddim eta 1", "ddpm"])
@pytest.mark.parametrize("kind", KINDS)
def test_another_range(kind, sampler, monkeypatch):
    assert_same(DiffusionConfig(prediction=kind), options_of(sampler, clip_sample_range=0.4), monkeypatch)


@pytest.mark.parametrize("sampler", ["ddim", "ddim eta 1"])
@pytest.mark.parametrize("kind", KINDS)
def test_noise_of_the_network_itself(kind, sampler, monkeypatch):
    pile = options_of(sampler, clip_sample_range=0.4, use_clipped_model_output=False)
    assert_same(DiffusionConfig(prediction=kind), pile, monkeypatch)


@pytest.mark.parametrize(("sampler", "eta"), [("ddim", 0.0), ("ddim", 0.5), ("ddpm", 0.0), ("dpmpp_2m", 0.0)])
@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("kind", ["sample", "v"])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_zero_terminal_snr(schedule, kind, spacing, sampler, eta, monkeypatch):
    """With eta = 1 rounding may leave diffusers the root of a negative number in the first step, and NaN."""
    diffusion = DiffusionConfig(schedule=schedule, prediction=kind, zero_terminal_snr=True)
    pile = PileConfig(sampler=sampler, eta=eta, sampler_steps=STEPS, timestep_spacing=spacing)
    assert_same(diffusion, pile, monkeypatch)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("offset", [1, 7, 30])
def test_steps_offset(offset, sampler, monkeypatch):
    pile = options_of(sampler, timestep_spacing="leading", steps_offset=offset)
    assert_same(DiffusionConfig(schedule="scaled_linear", prediction="v"), pile, monkeypatch)


@pytest.mark.parametrize("sampler", ["ddim", "ddim eta 1"])
@pytest.mark.parametrize(
    ("spacing", "offset"), [("trailing", 0), ("linspace", 0), ("leading", 0), ("leading", 1), ("leading", 49)]
)
def test_set_alpha_to_one(spacing, offset, sampler, monkeypatch):
    pile = options_of(sampler, timestep_spacing=spacing, steps_offset=offset, set_alpha_to_one=False)
    assert_same(DiffusionConfig(schedule="linear", prediction="epsilon"), pile, monkeypatch)


@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
def test_an_offset_above_the_stride(sampler, monkeypatch):
    """DDIM then ends at a time that holds noise, and not at the clean image."""
    pile = PileConfig(sampler=sampler, sampler_steps=19, timestep_spacing="leading", steps_offset=49)
    assert_same(DiffusionConfig(timesteps=901, prediction="v"), pile, monkeypatch)


@pytest.mark.parametrize("variance_type", ["fixed_small", "fixed_small_log", "fixed_large"])
@pytest.mark.parametrize("spacing", SPACINGS)
def test_variance_of_ddpm(spacing, variance_type, monkeypatch):
    pile = options_of("ddpm", timestep_spacing=spacing, variance_type=variance_type)
    assert_same(DiffusionConfig(prediction="v"), pile, monkeypatch)


@pytest.mark.parametrize("steps", [1, 3, 14, 15])
@pytest.mark.parametrize("solver", ["midpoint", "heun"])
@pytest.mark.parametrize(
    "end",
    [
        {},
        {"final_sigmas_type": "sigma_min"},
        {"final_sigmas_type": "sigma_min", "lower_order_final": False},
        {"final_sigmas_type": "sigma_min", "euler_at_final": True},
    ],
)
@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_solver(schedule, end, solver, steps, monkeypatch):
    pile = PileConfig(sampler="dpmpp_2m", sampler_steps=steps, solver_type=solver, **end)
    assert_same(DiffusionConfig(schedule=schedule, prediction="v"), pile, monkeypatch, grows=True)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("zero", [False, True])
def test_betas(schedule, zero):
    """Theirs are float32 all along, ours are rounded at the end."""
    diffusion = DiffusionConfig(schedule=schedule, prediction="v", zero_terminal_snr=zero)
    abar = process.alpha_bar(diffusion)
    peer = peer_of(diffusion, PileConfig())
    np.testing.assert_allclose(np.sqrt(abar), peer.alphas_cumprod.sqrt().numpy(), rtol=0, atol=1e-6)
    if not zero:
        betas = (1 - abar / np.append(1.0, abar[:-1])).astype(np.float32)
        np.testing.assert_allclose(betas, peer.betas.numpy(), rtol=0 if schedule == "cosine" else 4e-7)


@pytest.mark.parametrize("sampler", ["ddim", "ddpm", "dpmpp_2m"])
@pytest.mark.parametrize("spacing", SPACINGS)
def test_times(sampler, spacing):
    """For numbers of steps that divide the number of times and others."""
    for length, steps in ((1000, 30), (1000, 999), (1000, 1), (50, 7), (15, 13), (10, 9)):
        pile = PileConfig(sampler=sampler, sampler_steps=steps, timestep_spacing=spacing)
        peer = peer_of(DiffusionConfig(timesteps=length), pile)
        peer.set_timesteps(steps)
        expected = [t for t in peer.timesteps.tolist() if t >= 0]  # 15 in 13 steps: trailing has a last time -1
        assert samplers.timesteps(pile, length).tolist() == expected


@pytest.mark.parametrize("sampler", ["ddim", "ddpm", "dpmpp_2m"])
def test_fields_and_defaults_are_those_of_diffusers(sampler):
    name, fields = dialect.scheduler_config(DiffusionConfig(), PileConfig(sampler=sampler))
    import diffusers

    theirs = inspect.signature(getattr(diffusers, name).__init__).parameters
    assert set(fields) == set(theirs) - {"self"}
    written = json.loads(getattr(diffusers, name)().to_json_string())
    read = dialect.read_scheduler(written, "scheduler_config.json")
    again = dialect.scheduler_config(read.diffusion, read.pile)
    assert again == (name, {key: value for key, value in written.items() if not key.startswith("_")})
    assert read.notes == ()

"""Each sampler against its paper in float64, and against what a perfect denoiser must give."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shadow.config import DiffusionConfig, PileConfig
from shadow.diffusion import process, samplers
from shadow.errors import UserError

RNG = np.random.default_rng(0)
X = RNG.standard_normal((3, 4, 4, 1)).astype(np.float32)
X0 = RNG.uniform(-1, 1, (3, 4, 4, 1)).astype(np.float32)

SAMPLERS = [("ddim", 0.0), ("ddim", 0.5), ("ddim", 1.0), ("ddpm", 0.0), ("dpmpp_2m", 0.0)]
every_sampler = pytest.mark.parametrize(("name", "eta"), SAMPLERS)
every_schedule = pytest.mark.parametrize("schedule", ["linear", "cosine"])
every_kind = pytest.mark.parametrize("kind", ["sample", "v", "epsilon"])


def make(name, steps, length, schedule="cosine", kind="sample", eta=0.0):
    """The sampler, and abar in float64."""
    diffusion = DiffusionConfig(timesteps=length, schedule=schedule, prediction=kind)
    return samplers.make(PileConfig(sampler=name, sampler_steps=steps, eta=eta), diffusion), process.alpha_bar(
        diffusion
    )


def noises_of(steps, shape=X.shape):
    return np.random.default_rng(1).standard_normal((steps, *shape), np.float32)


def trajectory(sampler, denoiser, x=X, noises=None):
    """Where the sampler is before the first step and after each."""
    step = jax.jit(lambda state, index, noise: sampler.step(denoiser, state, index, noise))
    state, visited = sampler.start(jnp.asarray(x)), [x]
    for i in range(len(sampler.times)):
        state = step(state, jnp.int32(i), np.zeros_like(x) if noises is None else noises[i])
        visited.append(np.asarray(state.x))
    return visited


def network(length, np=jnp):
    """A denoiser that depends on x and on t, for jax or for numpy."""
    return lambda x, t: 0.6 * np.tanh(x) + 0.2 * np.asarray(t)[..., None, None, None] / length


@pytest.mark.parametrize("train_steps", [1, 15, 34, 50, 200, 1000])
def test_timesteps_are_those_of_diffusers_and_valid(train_steps):
    for steps in range(1, train_steps + 1):
        times = samplers.timesteps(PileConfig(sampler_steps=steps), train_steps)
        trailing = np.round(np.arange(train_steps, 0, -train_steps / steps)).astype(np.int64) - 1
        assert times.dtype == np.int32
        assert len(times) == steps  # 15 in 13 steps: rounding gives diffusers a fourteenth, at time -1
        assert np.array_equal(times, trailing[:steps])
        assert times[0] == train_steps - 1
        assert times[-1] >= 0
        assert (np.diff(times) < 0).all()


@pytest.mark.parametrize("steps", [0, -1, 11])
@every_sampler
def test_timesteps_out_of_range(steps, name, eta):
    with pytest.raises(UserError, match=r"pile\.sampler_steps"):
        make(name, steps, 10, eta=eta)


def naive_clean(kind, output, x, here):
    clean = {
        "sample": output,
        "epsilon": (x - math.sqrt(1 - here) * output) / math.sqrt(here),
        "v": math.sqrt(here) * x - math.sqrt(1 - here) * output,
    }[kind]
    return np.clip(clean, -1, 1)


def naive_ddim(here, there, x, clean, eta, noise):
    """Song et al. 2021, equation 12."""
    eps = (x - math.sqrt(here) * clean) / math.sqrt(1 - here)
    sigma = eta * math.sqrt((1 - there) / (1 - here)) * math.sqrt(1 - here / there)
    return math.sqrt(there) * clean + math.sqrt(max(1 - there - sigma**2, 0)) * eps + sigma * noise


def naive_ddpm(here, there, x, clean, eta, noise):
    """q(x_s | x_t, x_0) as the product of two Gaussians in x_s: q(x_s | x_0) and q(x_t | x_s)."""
    if there == 1:
        return clean
    alpha = here / there
    precision = 1 / (1 - there) + alpha / (1 - alpha)
    mean = (math.sqrt(there) * clean / (1 - there) + math.sqrt(alpha) * x / (1 - alpha)) / precision
    return mean + noise / math.sqrt(precision)


def naive_dpmpp_2m(levels, outputs, kind, x):
    """Lu et al. 2022, algorithm 2, in their letters: alpha, sigma, lambda, h, r, and predictions kept in a list."""
    alpha = [math.sqrt(level) for level in levels]
    sigma = [math.sqrt(1 - level) for level in levels]
    lam = [math.log(a / s) if s else math.inf for a, s in zip(alpha, sigma, strict=True)]
    visited, kept = [x], []
    for i in range(1, len(levels)):
        kept.append(naive_clean(kind, outputs(i - 1, x), x, levels[i - 1]))
        h, d = lam[i] - lam[i - 1], kept[-1]
        if 1 < i < len(levels) - 1:
            r = (lam[i - 1] - lam[i - 2]) / h
            d = (1 + 1 / (2 * r)) * kept[-1] - 1 / (2 * r) * kept[-2]
        x = sigma[i] / sigma[i - 1] * x - alpha[i] * math.expm1(-h) * d
        visited.append(x)
    return visited


@every_schedule
@every_kind
@pytest.mark.parametrize(("name", "eta", "tolerance"), [(*SAMPLERS[i], 2e-4) for i in range(3)] + [("ddpm", 0.0, 5e-6)])
@pytest.mark.parametrize("steps", [1, 2, 7, 50])
def test_every_step_against_the_formula(name, eta, tolerance, schedule, kind, steps):
    """Each step from where the sampler really is. DDIM takes 1 - abar in float32, which tells near the clean end."""
    sampler, abar = make(name, steps, 50, schedule, kind, eta)
    noises = noises_of(steps).astype(np.float64)
    visited = trajectory(sampler, network(50), noises=noises.astype(np.float32))
    levels = [*abar[sampler.times], 1.0]
    for i, t in enumerate(sampler.times):
        x = visited[i].astype(np.float64)
        clean = naive_clean(kind, network(50, np)(x, t), x, levels[i])
        naive = naive_ddpm if name == "ddpm" else naive_ddim
        expected = naive(levels[i], levels[i + 1], x, clean, eta, noises[i])
        # an epsilon of float32 is magnified by 1 / sqrt(abar) before the clip
        slack = 1e-6 / math.sqrt(levels[i]) if kind == "epsilon" else 0
        np.testing.assert_allclose(visited[i + 1], expected, rtol=0, atol=tolerance + slack)


@every_schedule
@every_kind
@pytest.mark.parametrize("steps", [1, 2, 3, 7, 50])
def test_dpmpp_2m_against_the_algorithm_of_the_paper(schedule, kind, steps):
    sampler, abar = make("dpmpp_2m", steps, 50, schedule, kind)
    outputs = np.random.default_rng(2).uniform(-1.5, 1.5, (50, *X.shape)).astype(np.float32)
    visited = trajectory(sampler, lambda x, t: jnp.asarray(outputs)[t[0]])  # whatever x is: nothing is magnified
    levels = [*abar[sampler.times], 1.0]
    expected = naive_dpmpp_2m(levels, lambda i, x: outputs[sampler.times[i]].astype(np.float64), kind, X.astype(float))
    slack = 1e-5 if kind == "epsilon" else 0  # x itself is magnified by 1 / sqrt(abar)
    np.testing.assert_allclose(visited, expected, rtol=0, atol=5e-6 + slack)


@every_schedule
@pytest.mark.parametrize("steps", [1, 2, 7, 50])
def test_ddpm_is_ddim_with_eta_1(schedule, steps):
    noises = noises_of(steps)
    ddpm, ddim = (
        trajectory(make(name, steps, 50, schedule, "v", eta)[0], network(50), noises=noises)
        for name, eta in (("ddpm", 0.0), ("ddim", 1.0))
    )
    np.testing.assert_allclose(ddpm, ddim, rtol=0, atol=5e-4)


def test_dpmpp_2m_of_two_steps_is_ddim():
    """Its first and last step are of first order, and then it is DDIM."""
    for steps in (1, 2):
        two, ddim = (trajectory(make(name, steps, 50)[0], network(50)) for name in ("dpmpp_2m", "ddim"))
        np.testing.assert_allclose(two, ddim, rtol=0, atol=1e-5)


@every_schedule
@pytest.mark.parametrize("steps", [1, 5, 50])
@every_sampler
def test_a_perfect_denoiser_ends_at_the_clean_image(schedule, steps, name, eta):
    sampler, _ = make(name, steps, 50, schedule, eta=eta)
    ended = trajectory(sampler, lambda x, t: jnp.asarray(X0), noises=noises_of(steps))[-1]
    np.testing.assert_allclose(ended, X0, atol=1e-6)


@every_sampler
def test_the_denoiser_sees_every_image_at_the_right_time(name, eta):
    sampler, _ = make(name, 7, 50, eta=eta)
    seen, state = [], sampler.start(jnp.asarray(X))
    for i in range(7):
        state = sampler.step(lambda x, t: seen.append(np.asarray(t).tolist()) or x, state, jnp.int32(i), X)
    assert seen == [[t] * 3 for t in samplers.timesteps(PileConfig(sampler_steps=7), 50).tolist()]


@every_sampler
def test_noise_is_used_where_the_sampler_says_so_but_not_in_the_last_step(name, eta):
    sampler, abar = make(name, 5, 50, eta=eta)
    assert sampler.noisy == (name == "ddpm" or eta > 0)
    noise = noises_of(1)[0]
    for i in range(5):
        state = sampler.start(jnp.asarray(X))
        with_noise, without = (
            np.asarray(sampler.step(lambda x, t: 0.5 * x, state, jnp.int32(i), n).x)
            for n in (noise, np.zeros_like(noise))
        )
        here, there = abar[sampler.times[i]], [*abar[sampler.times], 1.0][i + 1]
        sigma = math.sqrt((1 - there) / (1 - here) * (1 - here / there)) * (1.0 if name == "ddpm" else eta)
        np.testing.assert_allclose(with_noise - without, sigma * noise, atol=1e-5)
        if sigma == 0:
            assert np.array_equal(with_noise, without)


@pytest.mark.parametrize("length", [1, 40, 1000])
@every_schedule
@every_kind
@pytest.mark.parametrize("name", ["ddim", "ddpm", "dpmpp_2m"])
def test_nothing_but_numbers(length, schedule, kind, name):
    """At abar next to 0 and at the clean end, for any number of steps and outputs out of range."""
    for steps in {1, 2, 25, length}:
        if steps <= length:
            sampler, _ = make(name, steps, length, schedule, kind)
            visited = trajectory(sampler, lambda x, t: 3 * jnp.tanh(x), noises=noises_of(steps))
            assert np.isfinite(visited).all()
            assert np.abs(visited[-1]).max() <= 1


@every_sampler
def test_a_pack_gives_what_each_generator_gives_alone(name, eta):
    sampler, _ = make(name, 9, 50, eta=eta)
    starts, noises, gains = (
        RNG.standard_normal((4, *X.shape), np.float32),
        noises_of(9, (4, *X.shape)),
        np.arange(4) / 4,
    )

    def one(gain, state, index, noise):
        return sampler.step(lambda x, t: gain * jnp.tanh(x), state, index, noise)

    pack = jax.jit(jax.vmap(one, in_axes=(0, 0, None, 0)))
    state = jax.vmap(sampler.start)(jnp.asarray(starts))
    for i in range(9):
        state = pack(gains.astype(np.float32), state, jnp.int32(i), noises[i])
    for k in range(4):
        alone = trajectory(sampler, lambda x, t, k=k: gains[k] * jnp.tanh(x), starts[k], noises[:, k])[-1]
        np.testing.assert_allclose(state.x[k], alone, rtol=0, atol=1e-6)


MEAN, SPREAD = 0.1, 0.15  # of Gaussian data, which the clip leaves alone


def best_denoiser(abar):
    """E[x_0 | x_t] of that data."""
    signal = np.sqrt(abar)
    gain = signal * SPREAD**2 / (abar * SPREAD**2 + 1 - abar)

    def denoiser(x, t):
        gains, signals = (jnp.asarray(a, jnp.float32)[t][:, None, None, None] for a in (gain, signal))
        return MEAN + gains * (x - signals * MEAN)

    return denoiser


@pytest.mark.parametrize(("name", "order"), [("ddim", 1), ("dpmpp_2m", 2)])
def test_order_of_convergence(name, order):
    """Towards the exact flow, which keeps (x_t - mean) / deviation of the marginal, at a time all visit. The last
    step is left out: its length in lambda is infinite whatever the number of steps."""
    errors = []
    for steps in (16, 32, 64, 128):
        sampler, abar = make(name, steps, 1024, "linear")
        i = steps * 7 // 8
        here, first = abar[sampler.times[i]], abar[-1]
        assert sampler.times[i] == 127
        scores = (X - math.sqrt(first) * MEAN) / math.sqrt(first * SPREAD**2 + 1 - first)
        exact = math.sqrt(here) * MEAN + math.sqrt(here * SPREAD**2 + 1 - here) * scores
        errors.append(np.abs(trajectory(sampler, best_denoiser(abar))[i] - exact).max())
    orders = np.log2(np.divide(errors[:-1], errors[1:]))
    assert (np.abs(orders - order) < 0.2).all(), orders
    assert abs(orders[-1] - order) < 0.06, orders


@every_schedule
@every_sampler
def test_gaussian_data_comes_back(schedule, name, eta):
    """With many steps; with few, every sampler makes the spread too small (1000 steps: by 1 or 2 %)."""
    x = np.random.default_rng(4).standard_normal((300, 8, 8, 1), np.float32)
    sampler, abar = make(name, 1000, 1000, schedule, eta=eta)
    step = jax.jit(lambda state, i, noise: sampler.step(best_denoiser(abar), state, i, noise))
    state, rng = sampler.start(jnp.asarray(x)), np.random.default_rng(5)
    for i in range(1000):
        state = step(state, jnp.int32(i), rng.standard_normal(x.shape, np.float32) if sampler.noisy else 0 * x)
    assert abs(np.mean(state.x) - MEAN) < 5 * SPREAD / math.sqrt(x.size)
    assert abs(np.std(state.x) / SPREAD - 1) < 0.03


def test_dpmpp_2m_needs_fewer_steps_than_ddim():
    """On that data: with 25 steps it comes nearer to the true spread."""
    x = np.random.default_rng(4).standard_normal((100, 8, 8, 1), np.float32)
    widths = []
    for name in ("ddim", "dpmpp_2m"):
        sampler, abar = make(name, 25, 1000)
        widths.append(trajectory(sampler, best_denoiser(abar), x)[-1].std() / SPREAD)
    assert widths[0] < widths[1] - 0.05 < 1

"""The forward process against its formulas, written out one time at a time."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from shadow.config import DiffusionConfig
from shadow.diffusion import process
from shadow.errors import UserError

KINDS = ("sample", "v", "epsilon")
SCHEDULES = ("linear", "scaled_linear", "cosine")
every_schedule = pytest.mark.parametrize("schedule", SCHEDULES)


def config(schedule="cosine", timesteps=40, **fields):
    return DiffusionConfig(timesteps=timesteps, schedule=schedule, **fields)


def naive_alpha_bar(schedule, timesteps, start=1e-4, end=0.02):
    result, product = [], 1.0
    for t in range(timesteps):
        share = t / (timesteps - 1) if timesteps > 1 else 0
        if schedule == "linear":
            beta = start + (end - start) * share
        elif schedule == "scaled_linear":
            beta = (math.sqrt(start) * (1 - share) + math.sqrt(end) * share) ** 2
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


@every_schedule
@pytest.mark.parametrize("timesteps", [1, 2, 40, 1000])
def test_alpha_bar(schedule, timesteps):
    abar = process.alpha_bar(config(schedule, timesteps))
    np.testing.assert_allclose(abar, naive_alpha_bar(schedule, timesteps), rtol=1e-12)
    assert abar.dtype == np.float64
    assert (abar > 0).all()
    assert (abar < 1).all()
    assert (np.diff(abar) < 0).all()


@pytest.mark.parametrize("schedule", ["linear", "scaled_linear"])
@pytest.mark.parametrize(("start", "end"), [(0.00085, 0.012), (0.01, 0.01), (1e-6, 0.5)])
def test_other_betas(schedule, start, end):
    abar = process.alpha_bar(config(schedule, 100, beta_start=start, beta_end=end))
    np.testing.assert_allclose(abar, naive_alpha_bar(schedule, 100, start, end), rtol=1e-12)


def test_betas_that_leave_nothing_are_refused():
    with pytest.raises(UserError, match=r"diffusion\.beta_end = 0\.99: leaves no signal after 1000 steps"):
        process.alpha_bar(config("linear", 1000, beta_end=0.99))


@every_schedule
@pytest.mark.parametrize("timesteps", [2, 40, 1000])
def test_zero_terminal_snr(schedule, timesteps):
    """Lin et al. 2023: the root of abar is an affine map of what it was, its first value stays and its last is 0."""
    old = np.sqrt(naive_alpha_bar(schedule, timesteps))
    abar = process.alpha_bar(config(schedule, timesteps, zero_terminal_snr=True))
    assert abar[-1] == 0
    np.testing.assert_allclose(abar[0], old[0] ** 2, rtol=1e-12)
    assert (np.diff(abar) < 0).all()
    new = np.sqrt(abar)
    share = (old - old[-1]) / (old[0] - old[-1])
    np.testing.assert_allclose(new, share * old[0], atol=1e-9)


@pytest.mark.parametrize("kind", ["sample", "v"])
@every_schedule
def test_the_time_without_signal_is_trained_and_read(schedule, kind, batch):
    x0, eps, _ = batch
    fields = config(schedule, prediction=kind, zero_terminal_snr=True)
    abar, last = process.alpha_bar(fields), np.full(5, 39)
    xt = process.add_noise(abar, x0, eps, last)
    np.testing.assert_array_equal(xt, eps)
    output = process.target(abar, kind, x0, eps, last)
    np.testing.assert_array_equal(output, x0 if kind == "sample" else -x0)
    clean, noise = process.split_prediction(abar, kind, output, xt, last)
    np.testing.assert_array_equal(clean, x0)
    np.testing.assert_array_equal(noise, eps)
    weights = process.weights(fields)
    assert np.isfinite(weights).all()
    assert weights[-1] == 1


@every_schedule
def test_add_noise(schedule, batch):
    x0, eps, t = batch
    abar = process.alpha_bar(config(schedule))
    actual = np.asarray(process.add_noise(abar, x0, eps, jnp.asarray(t)))
    for i, time in enumerate(t):
        expected = math.sqrt(abar[time]) * x0[i] + math.sqrt(1 - abar[time]) * eps[i]
        np.testing.assert_allclose(actual[i], expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@every_schedule
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
@pytest.mark.parametrize("weighting", ["min_snr_plus_1", "min_snr"])
@pytest.mark.parametrize("cap", [1.5, 4.0, 1e9])
@every_schedule
def test_weight_of_the_error_of_x0(kind, weighting, cap, schedule, batch):
    """A wrong prediction implies a wrong x_0: the loss must be min(SNR or 1 + SNR, cap) times the latter's square."""
    x0, eps, _ = batch
    times = np.arange(39)
    fields = config(schedule, prediction=kind, max_weight=cap, weighting=weighting)
    if kind == "epsilon":
        fields.weighting = "min_snr_plus_1"
    abar, weights = process.alpha_bar(fields), process.weights(fields)
    assert weights.shape == (40,)
    wrong = 0.1
    for t in times:
        signal, noise = math.sqrt(abar[t]), math.sqrt(1 - abar[t])
        xt = signal * x0.astype(float) + noise * eps
        right = {"sample": x0, "epsilon": eps, "v": signal * eps.astype(float) - noise * x0}[kind]
        output = right + wrong
        implied = {"sample": output, "epsilon": (xt - noise * output) / signal, "v": signal * xt - noise * output}[kind]
        snr = abar[t] / (1 - abar[t])
        wanted = min(snr, cap) if kind == "epsilon" or weighting == "min_snr" else min(1 + snr, cap)
        np.testing.assert_allclose(weights[t] * wrong**2, wanted * np.mean((implied - x0) ** 2), rtol=1e-3)


@every_schedule
@pytest.mark.parametrize("gamma", [1.0, 5.0, 20.0])
def test_weights_of_min_snr(schedule, gamma):
    """Hang et al. 2023: min(SNR, gamma) for x_0, over SNR for epsilon and over SNR + 1 for v, one time at a time."""
    snr = [a / (1 - a) for a in naive_alpha_bar(schedule, 40)]
    for kind, of_snr in (("sample", lambda s: 1), ("epsilon", lambda s: s), ("v", lambda s: s + 1)):
        weighting = "min_snr_plus_1" if kind == "epsilon" else "min_snr"
        actual = process.weights(config(schedule, prediction=kind, max_weight=gamma, weighting=weighting))
        np.testing.assert_allclose(actual, [min(s, gamma) / of_snr(s) for s in snr], rtol=1e-9)


@every_schedule
@pytest.mark.parametrize("kind", ["sample", "v"])
def test_weights_of_min_snr_with_a_floor(schedule, kind):
    """The error of x_0 weighs no less; without a floor the last times weigh next to nothing."""
    fields = config(schedule, prediction=kind, weighting="min_snr", max_weight=5.0)
    bare = process.weights(fields)
    fields.min_weight = 0.05
    snr = [a / (1 - a) for a in naive_alpha_bar(schedule, 40)]
    wanted = [max(0.05, min(s, 5.0)) / (s + 1 if kind == "v" else 1) for s in snr]
    np.testing.assert_allclose(process.weights(fields), wanted, rtol=1e-9)
    assert (process.weights(fields) >= bare).all()
    if schedule == "cosine":  # 40 of the others' betas leave much signal
        assert process.weights(fields)[-1] > 10 * bare[-1]


def test_uncapped_weights_are_the_plain_losses():
    for kind in ("v", "epsilon"):
        np.testing.assert_allclose(process.weights(config(prediction=kind, max_weight=math.inf)), 1)


@pytest.mark.parametrize("kind", KINDS)
def test_loss_against_a_loop(kind, batch):
    x0, eps, t = batch
    fields = config(prediction=kind)
    abar, weights = process.alpha_bar(fields), process.weights(fields)
    seen = []

    def denoiser(x, times):
        seen.append((np.asarray(x), np.asarray(times)))
        return 0.5 * x + times[:, None, None, None] / 40

    actual = np.asarray(process.loss(abar, kind, weights, denoiser, x0, eps, jnp.asarray(t)))
    assert actual.shape == (5,)
    assert np.array_equal(seen[0][1], t)
    for i, time in enumerate(t):
        signal, noise = math.sqrt(abar[time]), math.sqrt(1 - abar[time])
        output = 0.5 * (signal * x0[i] + noise * eps[i]) + time / 40
        right = {"sample": x0[i], "epsilon": eps[i], "v": signal * eps[i] - noise * x0[i]}[kind]
        error = np.mean((output - right).astype(np.float64) ** 2)
        np.testing.assert_allclose(actual[i], weights[time] * error, rtol=1e-4)


def test_unknown_names_are_refused(batch):
    x0, eps, t = batch
    abar = process.alpha_bar(config())
    with pytest.raises(UserError, match=r"diffusion\.schedule = 'sigmoid'"):
        process.alpha_bar(config("sigmoid"))
    for call in (
        lambda: process.target(abar, "x0", x0, eps, t),
        lambda: process.split_prediction(abar, "x0", x0, x0, t),
        lambda: process.weights(DiffusionConfig(prediction="x0")),
    ):
        with pytest.raises(UserError, match=r"diffusion\.prediction = 'x0'"):
            call()

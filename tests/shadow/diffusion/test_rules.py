"""Options of the process and of the sampler: what contradicts, and what would do nothing, refused by name."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from shadow.config import Config, DiffusionConfig, PileConfig
from shadow.diffusion import process, rules, samplers
from shadow.errors import UserError
from shadow.validate import validate


def config(**fields):
    """A run with the fields `diffusion_...` and `pile_...` set."""
    result = Config()
    for name, value in fields.items():
        group, leaf = name.split("_", 1)
        assert hasattr(getattr(result, group), leaf)
        setattr(getattr(result, group), leaf, value)
    return result


def test_defaults_pass():
    rules.check(DiffusionConfig(), PileConfig())
    validate(Config())


@pytest.mark.parametrize("name", rules.CHOICES)
def test_choices(name):
    group, leaf = name.split(".")
    with pytest.raises(UserError, match=rf"^{group}\.{leaf} = 'other': use '"):
        validate(config(**{f"{group}_{leaf}": "other"}))
    assert getattr(getattr(Config(), group), leaf) in rules.CHOICES[name]


LINEAR = {"diffusion_schedule": "linear"}
LEADING = {"pile_timestep_spacing": "leading"}
SOLVER = {"pile_sampler": "dpmpp_2m"}


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        *(({**LINEAR, "diffusion_beta_start": value}, "diffusion.beta_start") for value in (0.0, -1.0, 1e-7, 0.03)),
        *(({**LINEAR, "diffusion_beta_end": value}, "diffusion.beta_end") for value in (1.0, 3.0)),
        *(({"pile_clip_sample_range": value}, "pile.clip_sample_range") for value in (0.0, -1.0)),
        *(({**LINEAR, "diffusion_beta_end": value}, "diffusion.beta_end") for value in (float("nan"), float("inf"))),
        ({"pile_steps_offset": -1}, "pile.steps_offset"),
        ({**LEADING, "pile_steps_offset": 40}, "pile.steps_offset"),  # 24 * 40 + 40
        ({**LEADING, **SOLVER, "pile_steps_offset": 50}, "pile.steps_offset"),  # 25 * 38 + 50
        ({**LEADING, **SOLVER, "pile_sampler_steps": 1000}, "pile.sampler_steps"),
        ({**SOLVER, "pile_timestep_spacing": "linspace", "pile_sampler_steps": 1000}, "pile.sampler_steps"),
        ({"diffusion_zero_terminal_snr": True, "diffusion_prediction": "epsilon"}, "diffusion.zero_terminal_snr"),
        ({"diffusion_zero_terminal_snr": True, "diffusion_weighting": "min_snr"}, "diffusion.weighting"),
        *(({"diffusion_weighting": "min_snr", "diffusion_min_weight": v}, "diffusion.min_weight") for v in (-0.1, 4.1)),
        ({"diffusion_min_weight": 0.1}, "diffusion.min_weight"),
        (
            {"diffusion_zero_terminal_snr": True, "diffusion_timesteps": 1, "pile_sampler_steps": 1},
            "diffusion.timesteps",
        ),
    ],
)
def test_bad_values_are_refused_by_name(fields, named):
    with pytest.raises(UserError) as caught:
        validate(config(**fields))
    assert str(caught.value).startswith(f"{named} = ")


@pytest.mark.parametrize(
    "fields",
    [
        {**LEADING, "pile_steps_offset": 39},
        {**LEADING, **SOLVER, "pile_steps_offset": 49},
        {**LEADING, **SOLVER, "pile_sampler_steps": 999},
        {**SOLVER, "pile_timestep_spacing": "linspace", "pile_sampler_steps": 999},
        {**LINEAR, "diffusion_beta_start": 0.02},
        {"diffusion_zero_terminal_snr": True, "diffusion_prediction": "v"},
        {"diffusion_weighting": "min_snr", "diffusion_min_weight": 4.0},
        {"diffusion_zero_terminal_snr": True, "diffusion_weighting": "min_snr", "diffusion_min_weight": 0.1},
    ],
)
def test_values_at_the_edge_pass_and_make_a_sampler(fields):
    options = config(**fields)
    validate(options)
    times = samplers.make(options.pile, options.diffusion).times
    assert len(times) == options.pile.sampler_steps
    assert (times[:-1] > times[1:]).all()
    assert 0 <= times[-1] <= times[0] < options.diffusion.timesteps


# What turns a field on, and another value for it.
READ = {
    "diffusion.beta_start": (LINEAR, 0.001),
    "diffusion.beta_end": (LINEAR, 0.01),
    "diffusion.weighting": ({}, "min_snr"),
    "diffusion.min_weight": ({"diffusion_weighting": "min_snr"}, 0.1),
    "pile.eta": ({}, 0.5),
    "pile.set_alpha_to_one": ({}, False),
    "pile.use_clipped_model_output": ({}, False),
    "pile.variance_type": ({"pile_sampler": "ddpm"}, "fixed_large"),
    "pile.solver_type": (SOLVER, "heun"),
    "pile.final_sigmas_type": (SOLVER, "sigma_min"),
    "pile.lower_order_final": ({**SOLVER, "pile_final_sigmas_type": "sigma_min"}, False),
    "pile.euler_at_final": ({**SOLVER, "pile_final_sigmas_type": "sigma_min"}, True),
    "pile.clip_sample_range": ({}, 0.5),
    "pile.steps_offset": (LEADING, 1),
}
ELSEWHERE = {
    "diffusion.weighting": {"diffusion_prediction": "epsilon"},
    "pile.eta": SOLVER,
    "pile.set_alpha_to_one": SOLVER,
    "pile.use_clipped_model_output": {"pile_clip_sample": False},
    "pile.clip_sample_range": {"pile_clip_sample": False},
}


@pytest.mark.parametrize("name", READ)
def test_a_field_that_does_nothing_is_refused(name):
    """What is set must be read: with its companions it passes, without it is refused and the purpose is said."""
    companions, value = READ[name]
    field = name.replace(".", "_", 1)
    validate(config(**companions, **{field: value}))
    with pytest.raises(UserError) as caught:
        validate(config(**ELSEWHERE.get(name, {}), **{field: value}))
    default = getattr(getattr(Config(), name.split(".")[0]), name.split(".")[1])
    assert str(caught.value).startswith(f"{name} = {value!r}: is for ")
    assert str(caught.value).endswith(f"; leave it at {default!r}")


def test_every_field_that_may_do_nothing_is_covered():
    found = set()
    for sampler in rules.CHOICES["pile.sampler"]:
        for prediction in ("v", "epsilon"):
            pile = PileConfig(sampler=sampler, clip_sample=False)
            found |= rules.idle(DiffusionConfig(prediction=prediction), pile).keys()
    assert found == READ.keys()


def test_a_config_made_in_python_is_checked_too():
    bad = DiffusionConfig(prediction="epsilon", zero_terminal_snr=True)
    with pytest.raises(UserError, match=r"diffusion\.zero_terminal_snr"):
        process.alpha_bar(bad)
    with pytest.raises(UserError, match=r"pile\.steps_offset = 1: is for"):
        samplers.make(PileConfig(steps_offset=1), DiffusionConfig())


def test_the_sampler_keeps_the_options_it_was_made_with():
    """Compiled functions are kept by config, and a config may change."""
    pile = PileConfig(sampler_steps=2, eta=1.0)
    kept = dataclasses.replace(pile)
    changed, still = (samplers.make(p, DiffusionConfig(timesteps=10)) for p in (pile, kept))
    pile.eta, pile.clip_sample = 0.0, False
    x = np.linspace(-3, 3, 16, dtype=np.float32).reshape(1, 4, 4, 1)
    one, other = (
        np.asarray(s.step(lambda x, t: 2 * x, s.start(jnp.asarray(x)), jnp.int32(0), x).x) for s in (changed, still)
    )
    assert np.array_equal(one, other)

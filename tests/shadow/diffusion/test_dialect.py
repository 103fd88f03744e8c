"""Schedulers in the words of diffusers: there and back, and everything that cannot be said refused by its name."""

import ast
import importlib.metadata
import importlib.util
import json
import math
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from shadow.config import DiffusionConfig, PileConfig
from shadow.diffusion import dialect, rules
from shadow.errors import UserError

DDIM, DDPM, DPM = "DDIMScheduler", "DDPMScheduler", "DPMSolverMultistepScheduler"
WHERE = "scheduler/scheduler_config.json"


def options(names):
    """A strategy of the fields in `rules.CHOICES` that begin with `names`."""
    found = {name.split(".")[1]: values for name, values in rules.CHOICES.items() if name.startswith(names)}
    return {name: st.sampled_from(values) for name, values in found.items()}


BETAS = st.tuples(st.floats(1e-6, 0.9), st.floats(1e-6, 0.9)).map(sorted)
PROCESSES = st.builds(
    lambda betas, **fields: DiffusionConfig(beta_start=betas[0], beta_end=betas[1], **fields),
    betas=BETAS,
    timesteps=st.integers(2, 10**6),
    zero_terminal_snr=st.booleans(),
    schedule=options("diffusion")["schedule"],
    prediction=options("diffusion")["prediction"],
)
PILES = st.builds(
    PileConfig,
    steps_offset=st.integers(0, 5),
    clip_sample=st.booleans(),
    clip_sample_range=st.floats(1e-3, 1e3),
    set_alpha_to_one=st.booleans(),
    lower_order_final=st.booleans(),
    euler_at_final=st.booleans(),
    **options("pile"),
)


def tidy(diffusion, pile):
    """The two with every field that does nothing at its default."""
    for name in rules.idle(diffusion, pile):
        config = diffusion if name.startswith("diffusion.") else pile
        setattr(config, name.split(".")[1], getattr(type(config)(), name.split(".")[1]))
    return diffusion, pile


@given(PROCESSES, PILES)
def test_there_and_back(diffusion, pile):
    diffusion, pile = tidy(diffusion, pile)
    assume(not (diffusion.zero_terminal_snr and diffusion.prediction == "epsilon"))
    assume(not (pile.sampler == "dpmpp_2m" and pile.clip_sample_range != 1))
    name, content = dialect.scheduler_config(diffusion, pile)
    content = json.loads(json.dumps({"_class_name": name, "_diffusers_version": "0.42.1", **content}))
    assert dialect.read_scheduler(content, WHERE) == (diffusion, pile, ())


def read(name, **fields):
    return dialect.read_scheduler({"_class_name": name, **fields}, WHERE)


def test_defaults_of_diffusers():
    ddim = read(DDIM)
    process = DiffusionConfig(schedule="linear", prediction="epsilon")
    assert ddim == (process, PileConfig(timestep_spacing="leading"), ())
    assert read(DDPM) == (process, PileConfig(sampler="ddpm", timestep_spacing="leading"), ())
    solver = PileConfig(sampler="dpmpp_2m", timestep_spacing="linspace", clip_sample=False)
    assert read(DPM) == (process, solver, ())


def test_our_defaults_in_their_words():
    name, fields = dialect.scheduler_config(DiffusionConfig(), PileConfig())
    assert name == DDIM
    assert fields == {
        "num_train_timesteps": 1000,
        "beta_start": 0.0001,
        "beta_end": 0.02,
        "beta_schedule": "squaredcos_cap_v2",
        "trained_betas": None,
        "prediction_type": "sample",
        "thresholding": False,
        "dynamic_thresholding_ratio": 0.995,
        "sample_max_value": 1.0,
        "timestep_spacing": "trailing",
        "steps_offset": 0,
        "rescale_betas_zero_snr": False,
        "clip_sample": True,
        "clip_sample_range": 1.0,
        "set_alpha_to_one": True,
    }


def test_a_clip_of_the_solver_is_a_threshold_of_one():
    _, fields = dialect.scheduler_config(DiffusionConfig(), PileConfig(sampler="dpmpp_2m"))
    assert (fields["thresholding"], fields["sample_max_value"]) == (True, 1.0)
    _, fields = dialect.scheduler_config(DiffusionConfig(), PileConfig(sampler="dpmpp_2m", clip_sample=False))
    assert not fields["thresholding"]
    with pytest.raises(UserError, match=r"pile\.clip_sample_range = 2\.0: .* use that, or pile\.clip_sample = False"):
        dialect.scheduler_config(DiffusionConfig(), PileConfig(sampler="dpmpp_2m", clip_sample_range=2.0))


def test_whole_numbers_may_stand_for_floats():
    assert read(DDIM, clip_sample_range=2).pile.clip_sample_range == 2.0


@pytest.mark.parametrize(
    ("name", "fields", "noted"),
    [
        (DDIM, {"beta_schedule": "squaredcos_cap_v2", "beta_end": 0.012}, "beta_end = 0.012"),
        (DDIM, {"timestep_spacing": "trailing", "steps_offset": 1}, "steps_offset = 1"),
        (DDPM, {"clip_sample": False, "clip_sample_range": 3.0}, "clip_sample_range = 3.0"),
        (DDPM, {"tensor_format": "pt"}, 'tensor_format = "pt"'),
        (DDIM, {"timestep_values": None}, "timestep_values = null"),
        (DDIM, {"skip_prk_steps": True}, "skip_prk_steps = true"),
        (DDIM, {"variance_type": "fixed_large"}, 'variance_type = "fixed_large"'),
        (DDPM, {"set_alpha_to_one": True}, "set_alpha_to_one = true"),
        (DPM, {"clip_sample": True}, "clip_sample = true"),
        *((DPM, {"variance_type": f"fixed_{kind}"}, f'variance_type = "fixed_{kind}"') for kind in ("small", "large")),
        (DDPM, {"dynamic_thresholding_ratio": 0.9}, "dynamic_thresholding_ratio = 0.9"),
        (DDIM, {"sample_max_value": 1.5}, "sample_max_value = 1.5"),
        (DPM, {"euler_at_final": True}, "euler_at_final = true"),
        (DPM, {"flow_shift": 3.0}, "flow_shift = 3.0"),
    ],
)
def test_what_does_nothing_is_noted(name, fields, noted):
    """diffusers reads these fields nowhere, so the trajectory is the same without them."""
    scheduler = read(name, **fields)
    assert len(scheduler.notes) == 1
    assert scheduler.notes[0].startswith(noted + " ")
    rules.check(scheduler.diffusion, scheduler.pile)


SIGMAS = ("karras", "exponential", "beta", "flow")
REFUSED = [
    *((name, "thresholding", True) for name in (DDIM, DDPM)),
    *((name, "trained_betas", [0.1, 0.2]) for name in (DDIM, DDPM, DPM)),
    *((name, "prediction_type", "flow_prediction") for name in (DDIM, DPM)),
    *((name, "beta_schedule", other) for name in (DDIM, DDPM) for other in ("sigmoid", "laplace", None, 3)),
    *((DDPM, "variance_type", other) for other in ("learned", "learned_range", "fixed_large_log")),
    *((DPM, "variance_type", other) for other in ("learned", "learned_range")),
    *((DPM, f"use_{kind}_sigmas", True) for kind in SIGMAS),
    *((DPM, name, True) for name in ("use_lu_lambdas", "use_dynamic_shifting")),
    *((DPM, "algorithm_type", other) for other in ("dpmsolver", "sde-dpmsolver++", "deis")),
    *((DPM, "solver_order", other) for other in (1, 3)),
    *((DPM, "solver_type", "bh2"), (DPM, "final_sigmas_type", "max"), (DPM, "lambda_min_clipped", -5.1)),
    *((DDIM, "timestep_spacing", "karras"), (DDIM, "timestep_values", [1, 2])),
    *((DPM, "skip_steps", False), (DDIM, "clip_samples", 1), (DDIM, "predict_epsilon", 1)),
    *((DDIM, "clip_sample", value) for value in (1, "true", None)),
    *((DDIM, "beta_start", value) for value in ("1e-4", True, math.nan, math.inf, 0.0, -1.0, 0.5)),
    *((DDIM, "beta_end", value) for value in (1.0, 2)),
    *((DDIM, "num_train_timesteps", value) for value in (0, -1, 10.0, "10", True)),
    *((DDIM, "steps_offset", -1), (DDIM, "clip_sample_range", 0.0), (DDIM, "rescale_betas_zero_snr", True)),
]


@pytest.mark.parametrize(("name", "field", "value"), REFUSED)
def test_what_we_do_not_have_is_refused_by_name(name, field, value):
    with pytest.raises(UserError, match=rf"^{WHERE}: .*\b{field}\b") as caught:
        read(name, **{field: value})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", SIGMAS)
def test_null_is_the_former_false(kind):
    assert read(DPM, **{f"use_{kind}_sigmas": None}) == read(DPM)


@pytest.mark.parametrize("name", [DDIM, DDPM, DPM])
def test_private_fields_are_ignored(name):
    assert read(name, _use_default_values=["prediction_type"]) == read(name)


@pytest.mark.parametrize(("predicts", "kind"), [(True, "epsilon"), (False, "sample")])
def test_the_former_field_of_the_prediction(predicts, kind):
    assert read(DDPM, predict_epsilon=predicts).diffusion.prediction == kind
    assert read(DDPM, predict_epsilon=predicts, prediction_type=kind).diffusion.prediction == kind
    with pytest.raises(UserError, match='contradicts prediction_type = "v_prediction"'):
        read(DDPM, predict_epsilon=predicts, prediction_type="v_prediction")


def test_fields_of_other_schedulers_are_those_of_diffusers():
    """Read from the installed diffusers' source, which without PyTorch cannot be imported."""
    root = Path(importlib.util.find_spec("diffusers").submodule_search_locations[0]) / "schedulers"
    found = {
        argument.arg
        for path in root.rglob("*.py")
        for kind in ast.walk(ast.parse(path.read_text()))
        if isinstance(kind, ast.ClassDef) and any(getattr(base, "id", "") == "ConfigMixin" for base in kind.bases)
        for method in kind.body
        if isinstance(method, ast.FunctionDef) and method.name == "__init__"
        for argument in (*method.args.args[1:], *method.args.kwonlyargs)
    }
    assert len(found) > 50
    known = set(dialect._OF_ANY.split())
    assert found <= known
    if importlib.metadata.version("diffusers").startswith("0.42."):
        assert found == known


def test_a_threshold_that_is_no_clip_is_refused():
    with pytest.raises(UserError, match=r"thresholding = true.*sample_max_value = 1\.5"):
        read(DPM, thresholding=True, sample_max_value=1.5)


@pytest.mark.parametrize("content", [{}, {"_class_name": None}, {"_class_name": ["DDIMScheduler"]}, [], None, "DDIM"])
def test_what_is_no_scheduler_is_refused(content):
    with pytest.raises(UserError, match=WHERE):
        dialect.read_scheduler(content, WHERE)


@pytest.mark.parametrize("name", ["PNDMScheduler", "EulerDiscreteScheduler", "UniPCMultistepScheduler"])
def test_other_schedulers_are_refused_with_a_mend(name):
    with pytest.raises(UserError, match=rf'_class_name = "{name}".* DDIMScheduler, .*from_config'):
        read(name)


@pytest.mark.parametrize(
    ("diffusion", "pile", "named"),
    [
        (DiffusionConfig(schedule="sigmoid"), PileConfig(), r"diffusion\.schedule"),
        (DiffusionConfig(), PileConfig(steps_offset=1), r"pile\.steps_offset"),
        (DiffusionConfig(prediction="epsilon", zero_terminal_snr=True), PileConfig(), r"diffusion\.zero_terminal_snr"),
    ],
)
def test_bad_options_are_not_written(diffusion, pile, named):
    with pytest.raises(UserError, match=named):
        dialect.scheduler_config(diffusion, pile)

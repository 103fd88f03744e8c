"""The options of a run: there and back through JSON, and every bad value refused by its name."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadow.config import Config, DenoiserConfig, from_dict
from shadow.errors import UserError
from shadow.validate import validate


def changed(name, value):
    """The default config with field `a.b.c` set."""
    config = Config()
    *parents, leaf = name.split(".")
    inner = config
    for parent in parents:
        inner = getattr(inner, parent)
    assert hasattr(inner, leaf)
    setattr(inner, leaf, value)
    return config


def through_json(config):
    return json.loads(json.dumps(dataclasses.asdict(config)))


def test_round_trip_of_the_defaults():
    back = from_dict(through_json(Config()))
    assert back == Config()
    assert isinstance(back.challenge.denoiser, DenoiserConfig)
    assert isinstance(back.attack.signals, tuple)


def test_every_field_can_be_given_on_the_command_line():
    """ml_collections reads the types of fields as they are: not as the strings that postponed annotations are."""
    pending = [Config()]
    while pending:
        value = pending.pop()
        for f in dataclasses.fields(value):
            assert not isinstance(f.type, str), f"{type(value).__name__}.{f.name}"
            if dataclasses.is_dataclass(inner := getattr(value, f.name)):
                pending.append(inner)


def test_round_trip_of_other_values():
    config = changed("pile.steps", (10, 20))
    config.challenge.train.learning_rate = 1e-30
    config.denoiser.unet.block_out_channels = (8,)
    config.data.root = "räume/1"
    assert from_dict(through_json(config)) == config


@pytest.mark.parametrize("place", [(), ("train",), ("challenge", "denoiser")])
@pytest.mark.parametrize("change", ["unknown", "missing"])
def test_unknown_and_missing_fields_are_named(place, change):
    content = through_json(Config())
    inner = content
    for name in place:
        inner = inner[name]
    if change == "unknown":
        inner["steeps"] = 3
        wanted = "steeps"
    else:
        wanted = sorted(inner)[-1]  # the first ones are of fields that older runs lack
        del inner[wanted]
    with pytest.raises(UserError, match=f"'{wanted}'"):
        from_dict(content)


def test_defaults_are_valid():
    validate(Config())


TRAIN = ("steps", "batch_size", "learning_rate", "clip_norm", "checkpoint_every", "log_every")
POSITIVE = [
    *(f"{prefix}.{name}" for prefix in ("train", "challenge.train") for name in TRAIN),
    *("data.resolution", "data.group_distance", "pile.count", "pile.sampler_steps", "pile.batch_size"),
    *("fleet.pack", "fleet.workers", "fleet.threads", "fleet.devices", "challenge.threads"),
    *("attack.pile", "attack.references", "attack.draws", "attack.bootstrap", "attack.folds"),
    *("challenge.dev_generated", "challenge.test_generated", "challenge.slices_a_patient"),
    *(f"challenge.{part}_{side}" for part in ("dev", "test") for side in ("used", "not_used")),
    *("diffusion.timesteps", "diffusion.max_weight", "membership.block"),
]
NOT_NEGATIVE = [
    *("seed", "attack.seed", "challenge.seed", "attack.ridge", "attack.target_pile", "pile.eta"),
    *(f"{p}.{n}" for p in ("train", "challenge.train") for n in ("warmup_steps", "weight_decay", "shift")),
    *("train.ema_halflife_images", "challenge.train.ema_halflife_images"),
]
NOT_FINITE = [
    *("train.learning_rate", "challenge.train.learning_rate", "train.weight_decay", "train.clip_norm", "pile.eta"),
    *("diffusion.max_weight", "attack.ridge", "attack.prior", "attack.fpr", "data.group_distance"),
]
BAD = [
    *((name, 0) for name in POSITIVE),
    *((name, -1) for name in (*POSITIVE, *NOT_NEGATIVE)),
    *((name, value) for name in NOT_FINITE for value in (float("nan"), float("inf"))),
    *((name, value) for name in ("attack.prior", "attack.fpr") for value in (0.0, 1.0, -0.1)),
    *((f"{p}denoiser.kind", "unet3d") for p in ("", "challenge.")),
    *(("diffusion.schedule", "sigmoid"), ("diffusion.prediction", "x0"), ("pile.sampler", "euler")),
    *(("attack.same_generator", value) for value in (True, False, "True", "yes", 1, None)),
    *(("membership.unit", "patient"), ("challenge.split", "patient"), ("attack.objective", "auc")),
    *(("fleet.shadows", 5), ("fleet.shadows", -8), ("attack.folds", 1), ("attack.pile", 251), ("attack.fpr", 0.5)),
    *(("membership.block", 7), ("membership.block", 6), ("membership.block", 16)),
    *(("pile.sampler_steps", 1001), ("pile.steps", (0, 10)), ("pile.steps", (10, 1601))),
    *(("attack.embeddings", ()), ("attack.signals", ())),
    *(("fleet.pack", value) for value in ("all", "4", 2.0, True, None)),
    ("fleet.devices", 3),  # does not divide train.batch_size
    *((name, 32) for name in ("train.shift", "challenge.train.shift")),  # data.resolution
    *((name, 2**32) for name in ("seed", "attack.seed", "challenge.seed")),
]


@pytest.mark.parametrize(("name", "value"), BAD)
def test_bad_values_are_refused_by_name(name, value):
    with pytest.raises(UserError) as caught:
        validate(changed(name, value))
    # the whole name as on the command line, not the end of another one
    assert name in str(caught.value).replace(",", " ").split()


@given(st.sampled_from(["sample", "v", "epsilon"]), st.integers(1, 4), st.sampled_from([2, 4, 8]), st.floats(0, 1))
def test_good_values_pass(prediction, blocks, block, eta):
    config = changed("diffusion.prediction", prediction)
    config.membership.block, config.fleet.shadows = block, 8 * blocks
    config.pile.eta = eta
    config.pile.steps = (1, config.train.steps)
    config.train.warmup_steps = 0
    validate(config)


@pytest.mark.parametrize("pack", [1, 3, 1000, "auto"])
def test_sizes_of_packs(pack):
    config = changed("fleet.pack", pack)
    validate(config)
    assert from_dict(through_json(config)).fleet.pack == pack


@pytest.mark.parametrize("sampler", ["ddim", "ddpm", "dpmpp_2m"])
def test_samplers(sampler):
    validate(changed("pile.sampler", sampler))
    noisy = changed("pile.sampler", sampler)
    noisy.pile.eta = 0.5
    if sampler == "ddim":
        validate(noisy)
    else:
        with pytest.raises(UserError, match=r"pile\.eta = 0\.5: is for pile\.sampler = 'ddim'"):
            validate(noisy)


@pytest.mark.parametrize("devices", [2, 4, 8])
def test_a_batch_is_spread_evenly(devices):
    validate(changed("fleet.devices", devices))


def test_the_target_of_a_challenge_is_checked_only_where_one_is_made():
    """A size that the default target's patches do not divide."""
    config = changed("denoiser.kind", "unet2d")
    config.data.resolution = 28
    with pytest.raises(UserError, match=r"must be divisible by challenge\.denoiser\.patch = 8"):
        validate(config)
    config.data.root = "folder"
    validate(config)

"""A batch spread over several devices trains the same generators: four devices are made of this machine's processor."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from shadow.errors import UserError
from shadow.training.train import mesh

PROCESS = """
import json, re, sys
sys.path.insert(0, sys.argv[1])
import conftest  # hardly optimised, as in all tests
import jax
import jax.numpy as jnp
import numpy as np
from tiny_training import IMAGES, build, make, train

assert len(jax.devices()) == 4
found = {}
for devices in (1, 2, 4):
    spec = make()._replace(devices=devices)
    network = build(spec.denoiser, 8)
    state = train.init_states(spec, network)
    state, images = train.placed(spec, (state, jnp.asarray(IMAGES)))
    step = train.make_step(spec, network)
    losses = []
    for _ in range(6):
        state, loss, norm = step(state, images)
        losses.append(np.asarray(loss).tolist())
    leaves = jax.tree.leaves(state)
    jitted = train._compiled_step(spec.seed, spec.stream, spec.train, spec.diffusion, network, devices)
    table = jnp.zeros((2, 7), jnp.int32)
    shadows = jnp.zeros(2, jnp.int32)
    text = jitted.lower(state, shadows, table, shadows + 3, images).compile().as_text()
    evaluation = train.make_evaluation(spec, network)(state.ema, images)
    found[devices] = {
        "on": sorted({len(leaf.devices()) for leaf in leaves}),
        "replicated": all(leaf.is_fully_replicated for leaf in leaves),
        "numbers": np.concatenate([np.asarray(leaf, np.float64).ravel() for leaf in leaves]).tolist(),
        "losses": losses,
        "evaluation": evaluation.ravel().tolist(),
        "all-reduce": len(re.findall(r"all-reduce(?:-start)?\\(", text)),
        # tokens of an image: 4 of 16 pixels each, in [shadow, batch, token, pixel]
        "batches": sorted({int(n) for n in re.findall(r"f32\\[2,(\\d),4,16\\]|f32\\[2,(\\d),8,8(?:,1)?\\]", text)
                           for n in n if n}),
    }
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found():
    here = Path(__file__).parent
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=4", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", PROCESS, str(here)]
    result = subprocess.run(command, env=environment, cwd=here.parents[1], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return {int(devices): figures for devices, figures in json.loads(result.stdout.splitlines()[-1]).items()}


@pytest.mark.slow
@pytest.mark.parametrize("devices", [2, 4])
def test_the_same_generators(found, devices):
    assert found[devices]["numbers"] == pytest.approx(found[1]["numbers"], rel=1e-5, abs=1e-5)
    for mine, theirs in zip(found[devices]["losses"], found[1]["losses"], strict=True):
        assert mine == pytest.approx(theirs, rel=1e-5)
    assert found[devices]["evaluation"] == pytest.approx(found[1]["evaluation"], rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 2, 4])
def test_parameters_are_everywhere_and_batches_split(found, devices):
    figures = found[devices]
    assert figures["on"] == [devices]
    assert figures["replicated"]
    assert (figures["all-reduce"] > 0) == (devices > 1)
    # a network's batch of 4 on one device; whatever is drawn before it is split may be whole
    assert min(figures["batches"]) == 4 // devices


def test_fewer_devices_than_asked():
    with pytest.raises(UserError, match=r"fleet\.devices = 2: this process sees 1 \(cpu\)"):
        mesh(2)

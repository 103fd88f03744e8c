"""Checkpoints: bit for bit there and back, and a damaged one is refused by name."""

import errno
import gc
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shadow.errors import UserError
from shadow.training import checkpoint

# tensorstore's threads still report to the loop that orbax closed on the first error
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


class State(NamedTuple):
    step: Any
    params: Any
    opt: Any


def make(seed=0):
    """The state of a pack of two: an int step, nested and odd floats."""
    rng = np.random.default_rng(seed)
    kernel = rng.standard_normal((2, 3, 5)).astype(np.float32)
    kernel[:, 0] = [np.nextafter(np.float32(1), np.float32(2)), -0.0, 1e-42, np.finfo(np.float32).max, np.inf]
    params = {"blocks": {0: {"kernel": jnp.asarray(kernel)}, 1: {"kernel": jnp.asarray(kernel[::-1])}}}
    return State(jnp.array([7, 7], jnp.int32), params, (jnp.array([2**31 - 1, -1], jnp.int32), {"mu": params}))


def bits(state):
    return [(leaf.dtype, leaf.shape, np.asarray(leaf).tobytes()) for leaf in jax.tree.leaves(state)]


@pytest.fixture
def pack(tmp_path):
    yield [tmp_path / "a", tmp_path / "b"]
    gc.collect()  # what orbax leaves behind where a load fails, now and not in some later test
    gc.collect()


@pytest.fixture
def warned(monkeypatch):
    lines = []
    monkeypatch.setattr(checkpoint.logging, "warning", lambda text, *values: lines.append(text % values))
    return lines


def test_round_trip_is_bit_identical(pack):
    state = make()
    checkpoint.save_pack(pack, 7, state, ())
    back = checkpoint.restore_pack(pack, 7, state)
    assert isinstance(back, State)
    assert jax.tree.structure(back) == jax.tree.structure(state)
    assert bits(back) == bits(state)
    shapes = jax.eval_shape(make)
    assert bits(checkpoint.restore_pack(pack, 7, shapes)) == bits(state)


def test_a_generator_is_restored_whatever_pack_it_was_trained_in(pack):
    state = make()
    checkpoint.save_pack(pack, 7, state, ())
    alone = checkpoint.restore_pack(pack[1:], 7, jax.tree.map(lambda leaf: leaf[1:], state))
    assert bits(alone) == bits(jax.tree.map(lambda leaf: leaf[1:], state))


def test_only_the_newest_two_and_those_kept_stay(pack):
    stayed = []
    for step in (5, 10, 15, 20, 25):
        checkpoint.save_pack(pack, step, make(step), (10, 30))
        stayed.append(checkpoint.steps(pack[0]))
        assert checkpoint.steps(pack[1]) == stayed[-1]
    assert stayed == [[5], [5, 10], [10, 15], [10, 15, 20], [10, 20, 25]]
    assert bits(checkpoint.restore_pack(pack, 10, make())) == bits(make(10))


def test_a_newer_checkpoint_is_not_removed(pack):
    """Left by a run that went further in this folder than in its fellow's: it is written again in time."""
    checkpoint.save_pack(pack[:1], 20, make(), ())
    checkpoint.save_pack(pack, 10, make(), ())
    assert [checkpoint.steps(folder) for folder in pack] == [[10, 20], [10]]


def test_old_ones_are_removed_only_when_the_whole_pack_has_the_new_one(pack, monkeypatch):
    checkpoint.save_pack(pack, 5, make(), ())
    real = checkpoint.ocp.save

    def save(path, state):
        if path.parts[-3] == "b":
            raise KeyboardInterrupt
        real(path, state)

    monkeypatch.setattr(checkpoint.ocp, "save", save)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save_pack(pack, 10, make(), ())
    assert [checkpoint.steps(folder) for folder in pack] == [[5, 10], [5]]
    assert checkpoint.latest_common(pack) == 5


def test_latest_common(pack):
    assert checkpoint.steps(pack[0]) == []
    assert checkpoint.latest_common(pack) == 0
    for folder, there in zip(pack, [("100", "9", "20"), ("20", "9", "300")], strict=True):
        for name in (*there, "400.orbax-checkpoint-tmp-1", ".1000"):
            (folder / "checkpoints" / name).mkdir(parents=True)
    assert checkpoint.steps(pack[0]) == [9, 20, 100]  # by number, whole ones only
    assert checkpoint.latest_common(pack) == 20
    assert checkpoint.latest_common(pack[:1]) == 100


@pytest.mark.parametrize("damage", ["delete", "empty", "half"])
def test_damage_is_refused_by_name_and_never_read_as_other_numbers(pack, damage):
    state = make()
    checkpoint.save_pack(pack, 7, state, ())
    whole = pack[1] / "checkpoints" / "7"
    refused = []
    for file in sorted(path for path in whole.rglob("*") if path.is_file()):
        content = file.read_bytes()
        if damage == "delete":
            file.unlink()
        else:
            file.write_bytes(content[: len(content) // 2 if damage == "half" else 0])
        try:
            assert bits(checkpoint.restore_pack(pack, 7, state)) == bits(state)  # a file that is not needed
        except checkpoint.DamagedError as error:
            assert error.path == whole  # noqa: PT017
            assert f"{whole}: damaged checkpoint" in str(error)  # noqa: PT017
            assert "remove this folder" in str(error)  # noqa: PT017
            refused.append(file.name)
        file.write_bytes(content)
    assert {"_METADATA", "manifest.ocdbt"} <= set(refused)
    assert any(len(name) == 32 for name in refused)  # the numbers themselves
    assert bits(checkpoint.restore_pack(pack, 7, state)) == bits(state)


def test_a_missing_or_empty_folder_is_refused_by_name(pack):
    checkpoint.save_pack(pack, 7, make(), ())
    whole = pack[0] / "checkpoints" / "7"
    shutil.rmtree(whole)
    with pytest.raises(UserError, match=str(whole)):
        checkpoint.restore_pack(pack, 7, make())
    whole.mkdir()
    with pytest.raises(UserError, match=str(whole)):
        checkpoint.restore_pack(pack, 7, make())


def test_another_network_is_refused(pack):
    state = make()
    checkpoint.save_pack(pack, 7, state, ())
    wider = jax.tree.map(lambda leaf: jnp.zeros((*leaf.shape, 2), leaf.dtype), state)
    with pytest.raises(UserError, match="damaged checkpoint"):
        checkpoint.restore_pack(pack, 7, wider)
    with pytest.raises(UserError, match="damaged checkpoint"):
        checkpoint.restore_pack(pack, 7, state._replace(params={"other": jnp.zeros((2, 3))}))


def test_a_full_disk_is_an_error_of_the_disk(pack, monkeypatch):
    def save(path, state):
        raise ValueError(f"RESOURCE_EXHAUSTED: Error writing {path} [os_error_code='{errno.ENOSPC}']")

    monkeypatch.setattr(checkpoint.ocp, "save", save)
    with pytest.raises(OSError, match="space") as caught:
        checkpoint.save_pack(pack, 7, make(), ())
    assert caught.value.errno == errno.ENOSPC
    monkeypatch.setattr(checkpoint.ocp, "save", lambda path, state: int("a defect of ours"))
    with pytest.raises(ValueError, match="invalid literal"):
        checkpoint.save_pack(pack, 7, make(), ())


def test_one_bit_of_the_numbers_is_noticed(pack):
    """Other numbers are never read, though orbax itself would: it has no checksum of large arrays."""
    state = {"kernel": jnp.asarray(np.random.default_rng(0).standard_normal((2, 50, 20)), jnp.float32)}
    checkpoint.save_pack(pack, 7, state, ())
    whole, noticed = pack[0] / "checkpoints" / "7", 0
    for file in sorted(path for path in (whole / "state").rglob("*") if len(path.name) == 32):
        content = file.read_bytes()
        for place in range(0, len(content), max(1, len(content) // 25)):
            file.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
            try:
                assert bits(checkpoint.restore_pack(pack, 7, state)) == bits(state)
            except checkpoint.DamagedError as error:
                noticed += "its numbers are not those that were written" in str(error)
        file.write_bytes(content)
    assert noticed


def test_the_digest_is_of_names_types_shapes_and_values():
    """Written out; it must stay as it is, or every checkpoint there is would be damaged."""
    own = jax.tree.map(lambda leaf: np.asarray(leaf[0]), make())
    kernels = own.params["blocks"]
    sha = hashlib.sha256()
    for name, dtype, shape, value in (
        (".step", "int32", "()", own.step),
        (".params['blocks'][0]['kernel']", "float32", "(3, 5)", kernels[0]["kernel"]),
        (".params['blocks'][1]['kernel']", "float32", "(3, 5)", kernels[1]["kernel"]),
        (".opt[0]", "int32", "()", own.opt[0]),
        (".opt[1]['mu']['blocks'][0]['kernel']", "float32", "(3, 5)", kernels[0]["kernel"]),
        (".opt[1]['mu']['blocks'][1]['kernel']", "float32", "(3, 5)", kernels[1]["kernel"]),
    ):
        sha.update(f"{name} {dtype} {shape}\n".encode() + np.asarray(value).tobytes())
    assert checkpoint._digest(own).tobytes() == sha.digest()
    column = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    assert np.array_equal(checkpoint._digest(column), checkpoint._digest(column.copy("C")))
    assert not np.array_equal(checkpoint._digest({"a": column}), checkpoint._digest({"b": column}))


@pytest.mark.parametrize(
    ("there", "keep", "step"),
    [
        ((), (), 0),
        ((5, 10), (), 10),
        ((5, 10), (5, 10), 10),
        ((5, 10), (5, 10, 15), 10),  # one that is still to come
        ((5, 10, 15), (10,), 15),
        ((5, 15), (10,), 5),  # 10 is wanted: back before it
        ((15, 20), (10,), 0),
        ((5, 10, 20), (5, 15), 10),
        ((5, 10, 20), (3, 15), 0),
    ],
)
def test_from_which_step_to_go_on(pack, there, keep, step):
    for folder in pack:
        for name in there:
            (folder / "checkpoints" / str(name)).mkdir(parents=True)
    (pack[0] / "checkpoints" / "400").mkdir(parents=True)  # its fellow has not got there
    assert checkpoint.resume_step(pack, keep) == step


def spoil(folder, step):
    (folder / "checkpoints" / str(step) / "state" / "_METADATA").write_text("")


def test_a_damaged_newest_one_is_named_and_the_last_good_one_used(pack, warned):
    for step in (5, 10, 15):
        checkpoint.save_pack(pack, step, make(step), (5,))
    spoil(pack[1], 15)
    step, state = checkpoint.restore_newest(pack, (5,), make())
    assert (step, bits(state)) == (10, bits(make(10)))
    assert len(warned) == 1
    assert warned[0].startswith(f"{pack[1] / 'checkpoints' / '15'} is damaged (")
    assert warned[0].endswith("goes on from step 10")
    assert [checkpoint.steps(folder) for folder in pack] == [[5, 10, 15], [5, 10]]
    spoil(pack[0], 10)
    assert checkpoint.restore_newest(pack, (5,), make())[0] == 5
    assert len(warned) == 2


def test_the_only_one_is_never_removed(pack, warned):
    assert checkpoint.restore_newest(pack, (), make()) == (0, None)
    checkpoint.save_pack(pack, 5, make(), ())
    spoil(pack[0], 5)
    with pytest.raises(checkpoint.DamagedError, match=f"{pack[0]}/checkpoints/5: damaged checkpoint"):
        checkpoint.restore_newest(pack, (), make())
    assert [checkpoint.steps(folder) for folder in pack] == [[5], [5]]
    assert warned == []


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        PermissionError(errno.EACCES, "closed to us"),
        ValueError("PERMISSION_DENIED: Error opening file"),
        jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 9 bytes"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_this_machine_cannot_do_is_no_damage(pack, warned, monkeypatch, error):
    """A good checkpoint must not go because there is no memory to read it."""
    for step in (5, 10):
        checkpoint.save_pack(pack, step, make(step), ())

    def load(*_):
        raise Exception("Encountered error while reading array index") from error

    monkeypatch.setattr(checkpoint.ocp, "load", load)
    with pytest.raises(Exception, match="Encountered error") as caught:
        checkpoint.restore_newest(pack, (), make())
    assert not isinstance(caught.value, UserError)
    assert [checkpoint.steps(folder) for folder in pack] == [[5, 10], [5, 10]]
    assert warned == []


def test_what_killed_processes_left_is_swept(pack):
    checkpoint.sweep(pack[0])  # nothing there yet
    checkpoint.save_pack(pack, 5, make(), ())
    left = pack[0] / "checkpoints" / "10.orbax-checkpoint-tmp-3"
    (left / "state").mkdir(parents=True)
    (left / "state" / "half").write_bytes(b"ha")
    checkpoint.sweep(pack[0])
    assert [path.name for path in (pack[0] / "checkpoints").iterdir()] == ["5"]
    assert bits(checkpoint.restore_pack(pack, 5, make())) == bits(make())


# Reads what the other wrote on another number of devices, and writes it again from copies on all of its own.
PROCESS = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import jax
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from test_checkpoint import bits, checkpoint, make
pack = [Path(name) for name in sys.argv[2:]]
assert len(jax.devices()) == 2
state = checkpoint.restore_pack(pack, 7, make())
assert bits(state) == bits(make())
assert all(leaf.devices() == {jax.devices()[0]} for leaf in jax.tree.leaves(state))
mesh = jax.make_mesh((2,), ("data",), (AxisType.Auto,))
copies = jax.device_put(make(8), NamedSharding(mesh, PartitionSpec()))
assert all(len(leaf.devices()) == 2 for leaf in jax.tree.leaves(copies))
checkpoint.save_pack(pack, 8, copies, ())
"""


def test_a_state_is_read_on_other_devices_than_wrote_it(pack):
    assert len(jax.devices()) == 1
    checkpoint.save_pack(pack, 7, make(), ())
    here = Path(__file__).parent
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", PROCESS, str(here), *map(str, pack)]
    result = subprocess.run(command, env=environment, cwd=here.parents[2], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert bits(checkpoint.restore_pack(pack, 8, make())) == bits(make(8))

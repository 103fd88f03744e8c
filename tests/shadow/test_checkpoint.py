"""Checkpoints: bit for bit there and back, and a damaged one is refused by name."""

import errno
import shutil
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shadow import checkpoint
from shadow.errors import UserError

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
    return [tmp_path / "a", tmp_path / "b"]


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


def test_only_the_newest_and_those_kept_stay(pack):
    for step in (5, 10, 15, 20):
        checkpoint.save_pack(pack, step, make(step), (10, 30))
    assert checkpoint.steps(pack[0]) == checkpoint.steps(pack[1]) == [10, 20]
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
        except UserError as error:
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

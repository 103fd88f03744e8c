"""Tests compile the same small functions many times: compiled once a session, and not optimised much."""

import shutil
import tempfile

import jax
import pytest

_CACHE = tempfile.TemporaryDirectory()  # removed when the process ends
jax.config.update("jax_compilation_cache_dir", _CACHE.name)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    """A pipeline of diffusers with random weights. Not to be written to."""
    from hub_folders import generator

    from shadow import hub

    folder = tmp_path_factory.mktemp("hub") / "pipeline"
    hub.write_pipeline(generator(), folder)
    return folder


@pytest.fixture
def pipeline(written, tmp_path):
    """A copy of it, to be spoilt."""
    return shutil.copytree(written, tmp_path / "pipeline")


@pytest.fixture(scope="session")
def straight(tmp_path_factory):
    """A pack of two, six steps without a break: its folders and its last state. Not to be written to."""
    from tiny_training import folders, make, saved

    from shadow.training import train

    where = folders(tmp_path_factory.mktemp("straight"))
    train.train_pack(make(), where, ())
    return where, saved(where)

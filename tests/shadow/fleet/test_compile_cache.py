"""The shared cache of compiled programs: whole entries only, whoever is killed, and nobody else's to read."""

import os
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import filelock
import pytest
from tiny_fleet import held

from shadow.fleet import compile_cache

ROOT = Path(compile_cache.__file__).parents[2]

# Prints the programs that were found and those that were not.
PROCESS = """
import os, signal, sys
from pathlib import Path
import jax, jax.numpy as jnp
from shadow.fleet import compile_cache
found = []
jax.monitoring.register_event_listener(lambda name, **_: found.append(name.rpartition("/")[2]))
try:
    with compile_cache.cache(Path(sys.argv[1])):
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
        jax.jit(lambda x: jnp.sin(x) @ x.T)(jnp.ones((3, 5))).block_until_ready()
        if sys.argv[2] == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if sys.argv[2] == "raise":
            raise {"error": RuntimeError, "interrupt": KeyboardInterrupt}[sys.argv[3]]
except (RuntimeError, KeyboardInterrupt):
    pass
print(found.count("cache_hits"), found.count("cache_misses"))
"""


def process(workdir, *words, **environment):
    kept = {k: v for k, v in os.environ.items() if k not in ("JAX_COMPILATION_CACHE_DIR", "XLA_FLAGS")}
    command = [sys.executable, "-c", PROCESS, str(workdir), *(words or ("end",))]
    result = subprocess.run(command, env=kept | environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == (-signal.SIGKILL if words == ("kill",) else 0), result.stderr
    return [int(word) for word in result.stdout.split()]


def shared(workdir):
    (folder,) = (workdir / ".compiled").iterdir()
    return folder


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.slow
def test_a_second_process_finds_what_the_first_compiled(tmp_path):
    """Also where a third was killed between, whose folder is swept and whose entries nobody gets."""
    process(tmp_path, "kill")
    (left,) = [name for name in names(shared(tmp_path)) if not name.endswith(".lock")]
    assert left.startswith(".own-")
    assert len(names(shared(tmp_path) / left)) > 0
    hits, misses = process(tmp_path)
    assert hits == 0
    assert misses > 0
    entries = names(shared(tmp_path))
    assert len(entries) >= misses
    assert all(name.endswith("-cache") for name in entries)
    assert process(tmp_path) == [misses, 0]
    assert names(shared(tmp_path)) == entries
    assert stat.S_IMODE((tmp_path / ".compiled").stat().st_mode) == 0o700


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "published"), [("error", True), ("interrupt", False)])
def test_an_error_leaves_whole_entries_and_an_interrupt_none(tmp_path, kind, published):
    process(tmp_path, "raise", kind)
    found = names(shared(tmp_path))
    assert bool(found) == published
    assert all(name.endswith("-cache") for name in found)


def test_the_users_own_cache_is_left_to_them(tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "theirs"))
    monkeypatch.setattr(compile_cache.jax.config, "update", None)
    with compile_cache.cache(tmp_path):
        pass
    assert not (tmp_path / ".compiled").exists()


@pytest.fixture
def told(monkeypatch):
    """What JAX is told, without it being told."""
    settings = {}
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setattr(compile_cache.jax.config, "update", settings.__setitem__)
    return settings


def test_a_process_writes_to_a_folder_of_its_own(tmp_path, told):
    with compile_cache.cache(tmp_path):
        own, common = Path(told["jax_compilation_cache_dir"]), shared(tmp_path)
        assert own.parent == common
        (own / "a-cache").write_text("whole")
        (own / "b-atime").write_text("of no use")
        assert not (common / "a-cache").exists()
        with compile_cache.cache(tmp_path):  # another at the same time: neither sweeps the other
            other = Path(told["jax_compilation_cache_dir"])
            assert other != own
            (other / "a-cache").write_text("the same, compiled at the same time")
            assert own.is_dir()
        assert (common / "a-cache").read_text() == "the same, compiled at the same time"
    assert names(common) == ["a-cache"]
    with compile_cache.cache(tmp_path):
        own = Path(told["jax_compilation_cache_dir"])
        assert names(own) == ["a-cache"]


def test_only_folders_of_the_dead_are_swept(tmp_path, told):
    with compile_cache.cache(tmp_path):
        common = shared(tmp_path)
        alive = common / ".own-alive"
        alive.mkdir()
        (common / ".own-dead").mkdir()
        (common / ".own-dead" / "half-cache").write_text("ha")
        (common / "x-cache").write_text("whole")
        with held(f"{alive}.lock"):
            compile_cache.sweep(tmp_path)
            assert alive.is_dir()
            assert Path(told["jax_compilation_cache_dir"]).is_dir()
            assert not (common / ".own-dead").exists()
        compile_cache.sweep(tmp_path)
        assert not alive.exists()
    assert names(common) == ["x-cache"]


def test_a_folder_is_never_seen_without_its_lock(tmp_path, told, monkeypatch):
    """Another process may sweep at any moment: whenever a folder is there, its lock is held."""
    seen, real = [], Path.mkdir

    def mkdir(self, *arguments, **options):
        real(self, *arguments, **options)
        if self.name.startswith(".own-"):
            seen.append(self)
            with pytest.raises(filelock.Timeout):
                filelock.FileLock(f"{self}.lock", timeout=0).acquire()

    monkeypatch.setattr(Path, "mkdir", mkdir)
    with compile_cache.cache(tmp_path):
        assert seen == [Path(told["jax_compilation_cache_dir"])]


def test_kinds_of_machines_do_not_share(tmp_path, told, monkeypatch):
    with compile_cache.cache(tmp_path):
        pass
    monkeypatch.setattr(compile_cache.platform, "machine", lambda: "another")
    with compile_cache.cache(tmp_path):
        pass
    assert len(names(tmp_path / ".compiled")) == 2


def test_nothing_to_sweep(tmp_path):
    compile_cache.sweep(tmp_path)
    assert names(tmp_path) == []
    shutil.rmtree(tmp_path)
    compile_cache.sweep(tmp_path)

"""A tiny run from start to report through the real `launch.py`, made once, and folders of images to feed it."""

# ruff: noqa: E402 (imports come after what they read from the environment)

from __future__ import annotations

import os

# Before NumPy, JAX or PyTorch start their threads: two workers of xdist share two cores, and threads that wait for work
# by spinning take them from each other. NPROC is what XLA reads; the processes that tests start get these too.
for _threads in ("NPROC", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_threads, "1")

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from launcher import Launcher
from PIL import Image
from tiny_run import LAUNCH, TINY

Launch = Callable[..., Any]

settings.register_profile("busy", deadline=None)  # on a machine that others use a slow example is no failure
settings.load_profile("busy")

FLEET = Path(__file__).parent / "shadow" / "fleet"
FLEETS = (Path(__file__).parent / "test_fleet.py",)  # they make runs of their own


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: left to `make test-slow`; `make test` runs the others")


@pytest.hookimpl(tryfirst=True)  # xdist reads the marks in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Who runs beside whom under `--dist=loadgroup`: a file stays with one worker. So do the files that share the
    finished run, those that start `launch.py` without it, which share what it compiled, and those of fleets. These
    groups come first: they take longest, and a worker that met them last would leave the other idle."""
    sharing = {item.path for item in items if "finished" in getattr(item, "fixturenames", ())}
    launching = {item.path for item in items if "environment" in getattr(item, "fixturenames", ())}

    def group(item: pytest.Item) -> str:
        if item.path in FLEETS or item.path.is_relative_to(FLEET):
            return "fleet"
        if item.path in launching:
            return "finished" if item.path in sharing else "launch"
        return str(item.path.relative_to(item.config.rootpath))

    for item in items:
        item.add_marker(pytest.mark.xdist_group(group(item)))
    items.sort(key=lambda item: {"finished": 0, "fleet": 1, "launch": 2}.get(group(item), 3))


@pytest.fixture(scope="session")
def environment(tmp_path_factory) -> dict[str, str]:
    """Compiling is most of a tiny run: the processes of a session share what they compiled, hardly optimised. They
    share the bytecode of our modules, too, whatever the user does."""
    flags = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
    return {
        **{name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {flags}".strip(),
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("compiled")),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }


@pytest.fixture(scope="session")
def start(environment) -> Launch:
    """Starts `launch.py` with these arguments, as a user does."""

    def started(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(LAUNCH), *map(str, arguments)]
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, env=environment, text=True, **pipes)

    return started


@pytest.fixture(scope="session")
def launch(environment) -> Iterator[Launch]:
    """Runs `launch.py` with these arguments to its end; `file_limit`: bytes a file of the process may have."""
    launcher = Launcher(environment)
    yield launcher.run
    launcher.close()


@pytest.fixture(scope="session")
def tiny(launch) -> Launch:
    """`launch.py COMMAND` on a folder with the tiny recipe."""

    def launched(command: str, workdir: Path, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return launch(command, f"--config={TINY}", f"--workdir={workdir}", *arguments, **options)

    return launched


@pytest.fixture(scope="session")
def first(tiny, tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """The folder of a finished run (not to be written to), and what the run said."""
    folder = tmp_path_factory.mktemp("first") / "run"
    return folder, tiny("run", folder)


@pytest.fixture(scope="session")
def finished(first) -> Path:
    folder, result = first
    assert result.returncode == 0, result.stderr
    return folder


@pytest.fixture
def run(finished, tmp_path) -> Iterator[Path]:
    """A copy of the finished run."""
    yield Path(shutil.copytree(finished, tmp_path / "run"))
    shutil.rmtree(tmp_path / "run")


@pytest.fixture
def images(tmp_path) -> Path:
    """A folder in the 2023 layout with noise of 16 x 16 pixels."""
    root, rng = tmp_path / "images", np.random.default_rng(0)
    roles = {
        "dev/generated/generated_{:04d}.png": 24,
        "dev/used/used_{:04d}.png": 8,
        "dev/not_used/not_used_{:04d}.png": 8,
        "test/generated_1/generated_{:05d}.png": 24,
        "test/real_unknown_1/real_unknown_{:04d}.png": 8,
    }
    for name, count in roles.items():
        for i in range(count):
            path = root / name.format(i + 1)
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (16, 16), np.uint8)).save(path)
    (root / "sealed").mkdir()  # a challenge of our own: its numbers of images are no surprise
    return root

"""`--multihost`: processes that spread the batch of a pack over their devices train what one process trains."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny_run import LAUNCH, TINY, fails, leftovers

from shadow.errors import Stopped, UserError
from shadow.training import team
from shadow.training.team import END, PACK, STEPS, Order


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@pytest.mark.parametrize("asked", ["node", "node:1,2,2", "node:1,-1,2", "node,0,2", "node:1,0"])
def test_what_makes_no_sense_is_refused(asked):
    with pytest.raises(UserError, match="write auto, or HOST:PORT,NUMBER,COUNT"):
        team.join(asked)


def test_packs_of_a_cluster_are_given_out_otherwise(launch, tmp_path):
    words = ("train", f"--config={TINY}", f"--workdir={tmp_path / 'run'}", "--multihost=auto")
    assert "leave out --reuse and --executor" in fails(launch(*words, "--executor=slurm"))
    assert "run `launch.py plan`" in fails(launch(*words))
    assert not (tmp_path / "run").exists()


def test_a_follower_takes_the_steps_that_it_is_told(monkeypatch):
    said = [Order(PACK, 3, 20), Order(STEPS, 5), Order(STEPS, 2), Order(STEPS, 0), Order(PACK, 4), Order(STEPS, 1)]
    taken = []

    def begin(pack, step):
        return lambda count: taken.append((pack, step, count))

    for last, raised in ((0, None), (143, Stopped), (1, UserError)):
        heard = iter([*said, Order(STEPS, 0), Order(END, last)])
        monkeypatch.setattr(team, "hear", lambda heard=heard: next(heard))
        taken.clear()
        if raised is None:
            team.follow(begin)
        else:
            with pytest.raises(raised):
                team.follow(begin)
        assert taken == [(3, 20, 5), (3, 20, 2), (4, 0, 1)]


def piles(folder: Path) -> np.ndarray:
    return np.stack([np.load(path) for path in sorted(folder.glob("shadows/*/piles/*.npy"))]).astype(int)


def weights(folder: Path) -> list[np.ndarray]:
    from orbax.checkpoint import v1 as ocp

    found = [ocp.load(path)["state"] for path in sorted(folder.glob("shadows/*/checkpoints/30"))]
    import jax

    return [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(found)]


def together(folder: Path, environment: dict[str, str]) -> None:
    """`launch.py sample` in two processes with a device each."""
    where = f"127.0.0.1:{free_port()}"
    both = [
        subprocess.Popen(
            [sys.executable, LAUNCH, "sample", f"--workdir={folder}", f"--multihost={where},{number},2"],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    try:
        said = [process.communicate(timeout=500)[1] for process in both]
    finally:
        for process in both:
            process.kill()
            process.communicate()
    assert [process.returncode for process in both] == [0, 0], said


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_two_processes_train_what_one_trains(tmp_path, images, environment):
    environment = environment | {"JAX_PLATFORMS": "cpu"}
    one, two = tmp_path / "one", tmp_path / "two"
    options = [f"--config.data.root={images}", "--config.fleet.pack=8", "--config.fleet.devices=2"]
    for folder in (one, two):
        command = [sys.executable, LAUNCH, "plan", f"--config={TINY}", f"--workdir={folder}", *options]
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    virtual = {"XLA_FLAGS": f"{environment['XLA_FLAGS']} --xla_force_host_platform_device_count=2"}
    alone = [sys.executable, LAUNCH, "sample", f"--workdir={one}", "--pack=0"]
    subprocess.run(alone, env=environment | virtual, check=True)
    together(two, environment)

    def compare() -> None:
        for mine, theirs in zip(weights(two), weights(one), strict=True):
            np.testing.assert_allclose(mine, theirs, atol=1e-5)
        assert np.abs(piles(two) - piles(one)).max() <= 1
        assert leftovers(two) == []
        assert not [path for path in (two / "shadows").iterdir() if path.name.startswith(".")]

    compare()
    for folder in two.glob("shadows/*"):  # as if they had been killed after step 20
        shutil.rmtree(folder / "checkpoints" / "30")
        shutil.rmtree(folder / "piles")
        (folder / "result.json").unlink()
    together(two, environment)
    compare()

"""Images of noise, and a fleet on them that is done: made once, not to be written to."""

import copy
import shutil

import numpy as np
import pytest
from PIL import Image
from tiny_fleet import planned

ROLES = {
    "dev/generated/generated_{:04d}.png": 6,
    "dev/used/used_{:04d}.png": 6,
    "dev/not_used/not_used_{:04d}.png": 6,
    "test/generated_1/generated_{:05d}.png": 6,
    "test/real_unknown_1/real_unknown_{:04d}.png": 6,
}


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    root, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for name, count in ROLES.items():
        for i in range(count):
            path = root / name.format(i + 1)
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (16, 16), np.uint8)).save(path)
    (root / "sealed").mkdir()  # a challenge of our own: its numbers of images are no surprise
    return root


@pytest.fixture(scope="session")
def done(data, tmp_path_factory):
    """The fleet, every pack done."""
    fleet = planned(tmp_path_factory.mktemp("done"), data)
    for pack in range(3):
        assert fleet.run(pack, "sample")
    return fleet


@pytest.fixture
def fleet(done, data, tmp_path):
    """The same, planned and not begun."""
    workdir = tmp_path / "run"
    workdir.mkdir()
    for name in ("config.json", "manifest.csv", "membership.npy", "plan.json"):
        shutil.copyfile(done.workdir / name, workdir / name)
    return type(done)(workdir, data, copy.deepcopy(done.config))

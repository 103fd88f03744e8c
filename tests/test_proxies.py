"""The signal `proxy` through launch.py: trained once by workers, read by `signals`, and in the attack."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tiny_run import fails, leftovers, snapshot

PROXY = (
    "--config.attack.signals=('mosaic','proxy')",
    "--config.attack.proxy.steps=6",
    "--config.attack.proxy.batch_size=4",
    "--config.attack.proxy.denoiser.patch=4",
    "--config.attack.proxy.denoiser.width=16",
    "--config.attack.proxy.denoiser.depth=1",
    "--config.attack.proxy.times=(50,200)",
    "--config.attack.proxy.noises=2",
)


@pytest.mark.slow
def test_proxies_are_trained_once_and_enter_the_attack(run, tiny):
    result = tiny("proxies", run, *PROXY)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("proxies: 10 diffusion models")  # of 8 shadows' piles and two of the target's
    made = snapshot(run / "signals" / "proxies")
    assert sum(name.endswith(".npy") for name in made) == 4  # two packs of shadows, and a target's pile each
    assert leftovers(run / "signals") == []
    result = tiny("signals", run, *PROXY)
    assert result.returncode == 0, result.stderr
    assert "diffusion models" not in result.stdout
    assert snapshot(run / "signals" / "proxies") == made
    names = json.loads((run / "signals" / "names.json").read_text())
    values = np.load(run / "signals" / "values.npy")
    columns = [names["signals"].index(f"proxy.{t}") for t in (50, 200)]
    assert len(np.unique(values[..., columns])) > 0.9 * values[..., columns].size
    result = tiny("fit", run, *PROXY)
    assert result.returncode == 0, result.stderr
    assert "proxy" in (run / "attack" / "model.json").read_text()


def test_proxies_that_nobody_asks_for_are_not_trained(run, tiny):
    assert "which attack.signals does not ask for" in fails(tiny("proxies", run))
    assert not (run / "signals" / "proxies").exists()

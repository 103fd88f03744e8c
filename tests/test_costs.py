"""`launch.py plan --dry_run`: what it foretells is what a run takes, and it writes nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from recipes import tiny as tiny_recipe
from tiny_run import LAUNCH, TINY, fails

from attack.pipeline.costs import command
from shadow.config import Config
from shadow.errors import UserError

_OVERRIDES = ("train.steps=600", "pile.count=100", "attack.pile=100", "challenge.train.steps=600")
_ESTIMATE = """
import json, sys
from pathlib import Path
sys.path[:0] = sys.argv[1:3]
import tiny
from attack.pipeline.costs import command
config = tiny.get_config()
for change in sys.argv[4:]:
    name, value = change.split("=")
    *parts, last = name.split(".")
    section = config
    for part in parts:
        section = getattr(section, part)
    setattr(section, last, int(value))
found = command.estimate(Path(sys.argv[3]), config)
print(json.dumps({cost.stage: cost.took.processor for cost in found.costs}))
print(json.dumps([sum(c.stored.bytes for c in found.costs), sum(c.stored.files for c in found.costs)]))
"""


def test_without_shadows_there_is_nothing_to_foretell(tmp_path):
    config = Config()
    config.fleet.shadows = 0
    with pytest.raises(UserError, match="trains nothing"):
        command.dry_run(tmp_path / "run", config)


def test_contradictions_are_found_before_anything_is_measured(tmp_path):
    config = tiny_recipe.get_config()
    config.attack.signals = ("nothing",)
    with pytest.raises(UserError, match=r"attack\.signals"):
        command.dry_run(tmp_path / "run", config)
    assert not (tmp_path / "run").exists()


def test_it_is_for_plan_alone(launch, tmp_path):
    said = launch("train", f"--config={TINY}", f"--workdir={tmp_path / 'run'}", "--dry_run")
    assert "--dry_run is not for train" in fails(said)


@pytest.mark.slow
@pytest.mark.timeout(1800)  # two runs' worth, on a machine that others use
@pytest.mark.skipif(
    "SHADOWPRINT_TIMED" not in os.environ, reason="minutes of timing, for quiet cores: SHADOWPRINT_TIMED=1"
)
def test_it_foretells_a_run(tmp_path, environment):
    """In processor time, since a busy machine stretches the clock. Both compile everything anew."""
    variables = {name: value for name, value in environment.items() if not name.startswith("JAX_")}
    folder = tmp_path / "run"
    words = [sys.executable, "-c", _ESTIMATE, str(TINY.parent), str(LAUNCH.parent), str(folder), *_OVERRIDES]
    asked = subprocess.run(words, env=variables, capture_output=True, text=True)
    assert asked.returncode == 0, asked.stderr
    assert not folder.exists()
    foretold, (size, files) = map(json.loads, asked.stdout.splitlines()[-2:])

    words = ["run", f"--config={TINY}", f"--workdir={folder}", *(f"--config.{change}" for change in _OVERRIDES)]
    process = subprocess.Popen([sys.executable, str(LAUNCH), *words], env=variables, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    took = used.ru_utime + used.ru_stime
    assert sum(foretold.values()) == pytest.approx(took, rel=0.25), foretold

    there = [path for path in folder.rglob("*") if ".compiled" not in path.parts and path.suffix != ".lock"]
    assert size == pytest.approx(sum(path.stat().st_size for path in there if path.is_file()), rel=0.25)
    assert files == pytest.approx(len(there), rel=0.25)

"""The table of stages: every function is there, and what a stage reads was made by one before it."""

import importlib
import inspect

import pytest

from attack import stages
from attack.baselines.alone import run as alone

OF_THE_FLEET = {"shadows/*/piles/*.npy", "membership.npy", "config.json", "sealed/truth.csv"}


@pytest.mark.parametrize("table", [stages.STAGES, alone.STAGES])
def test_stages_read_what_was_made_before_them(table):
    made = set(OF_THE_FLEET)
    for stage in table:
        assert set(stage.reads) <= made, stage.name
        made |= set(stage.makes)
        module, name = stage.function.split(":")
        function = getattr(importlib.import_module(module), name)
        assert list(inspect.signature(function).parameters) == ["workdir", "manifest", "config"]

"""Every recipe is a legal config that says what it needs, and that of 2025 takes the edition's own kind of files."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import configs
from attack.decision import submission
from shadow.data import manifest
from shadow.fleet import families, orchestrate
from shadow.fleet import plan as plans
from shadow.validate import validate

NOT_RECIPES = ("actions", "commands", "converting", "existing", "flag", "helping", "home", "inspecting", "options")
RECIPES = sorted(p.stem for p in Path(configs.__path__[0]).glob("*.py") if p.stem not in (*NOT_RECIPES, "__init__"))


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_legal_and_says_what_it_needs(name):
    recipe = importlib.import_module(f"configs.{name}")
    config = recipe.get_config()
    validate(config)
    submission.of_config(config)
    for said in ("\nData ", "\nHardware ", "\nTime ", "\nExpected ", "\nCommand "):
        assert said in recipe.__doc__, said
    assert recipe.get_config() is not config


def test_recipes_of_the_edition_have_room_on_the_disk_that_they_name():
    for name, gib in (("imageclef2023", 2), ("imageclef2023_gpu", 8), ("imageclef2025", 2)):
        recipe = importlib.import_module(f"configs.{name}")
        config = recipe.get_config()
        assert f"{gib} GiB of disk" in recipe.__doc__
        assert gib / 2 < orchestrate.disk_bytes(config, range(config.fleet.shadows)) / 2**30 < gib
        packs = families.packs(config, 0, config.fleet.shadows, config.fleet.pack)
        assert sum(map(len, packs)) == config.fleet.shadows


def test_the_recipe_of_2025_reads_palette_images_and_names_without_zeros(tmp_path):
    rng, root = np.random.default_rng(0), tmp_path / "data"
    folders = {"dev/generated": 12, "dev/real_used": 10, "dev/real_not_used": 10}
    for folder, count in (folders | {"test/generated": 12, "test/real_unknown": 12}).items():
        (root / folder).mkdir(parents=True)
        for i in range(count):
            image = Image.fromarray(rng.integers(0, 256, (32, 32), np.uint8)).convert("P")
            stem = "generated" if "generated" in folder else folder.partition("/")[2]
            image.save(root / folder / f"{stem}_{i + 1}.png")
    config = importlib.import_module("configs.imageclef2025").get_config()
    (tmp_path / "run").mkdir()
    orchestrate.plan(tmp_path / "run", root, config)
    found = manifest.read(tmp_path / "run/manifest.csv", root)
    assert set(found.mode.tolist()) == {"P"}
    assert {"test_generated_1", "generated_12", "real_unknown_10"} <= set(found.id.tolist())
    assert plans.read_plan(tmp_path / "run/plan.json").shadows == 32
    assert config.attack.objective == "kappa"

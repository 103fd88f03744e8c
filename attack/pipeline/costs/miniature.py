"""What the attack costs on this machine: its stages are carried out on stand-ins for the shadows of a block or two.

The stand-ins' piles are mixtures of real slices, made below a temporary folder, and of few images where only the number
of shadows matters. The rest of the run, `launch.py plan` on the user's own images included, is as it will be.
"""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from attack.evidence import layout, measuring
from attack.pipeline.costs import model
from attack.pipeline.costs.asking import Stopwatch, ask, peak_memory, since_start
from attack.pipeline.costs.model import AttackRates, Growth, Took
from attack.stages import STAGES
from shadow import files, fleet, keys, piles, workdir
from shadow.config import AttackConfig, Config, from_dict
from shadow.data import manifest
from shadow.fleet import orchestrate

_FEW = 64  # images of piles where only their number matters
_PARTS = (200, 1000)  # images of the target's pile that are measured, to know what each of all of them costs
_LATER = ("fit", "predict", "report")


@dataclass(frozen=True)
class Evidence:
    """The stage `signals`: seconds of a shadow's pile, of an image of the target's, and of the rest; memory: bytes of
    the process at most, by images of the target's piles."""

    rest: Took
    pile: Took
    image: Took
    memory: Growth


def rates(folder: Path, data_root: Path, config: Config) -> AttackRates:
    """Of all stages after the fleet, and of the plan, for a run of `config` on the images below `data_root`. `folder`:
    for the stand-ins; it is made here. Raises UserError as `launch.py plan` does."""
    block = config.membership.block * max(1, len(config.fleet.families))
    here = _Miniature(folder, data_root, config, 2 * block)
    planned = here.ask("plan", config.attack, 2 * block)
    small, large = (here.ask("stages", _few(config), count) for count in (block, 2 * block))
    evidence = _evidence(here)
    seen = _target_images(config, planned["images"])
    fixed, steps = evidence.rest + evidence.image * seen, len(fleet.pile_steps(config))
    seconds = [
        (
            "signals",
            Growth(fixed.wall, evidence.pile.wall * steps, model.LINEAR),
            Growth(fixed.processor, evidence.pile.processor * steps, model.LINEAR),
        )
    ]
    for stage in _LATER:
        power = model.LINEAR if stage == "report" else model.SQUARE
        pairs = zip(small["seconds"][stage], large["seconds"][stage], strict=True)
        wall, processor = (model.through((block, low), (2 * block, high), power) for low, high in pairs)
        seconds.append((stage, wall, processor))
    memory = model.through((block, small["memory"]), (2 * block, large["memory"]), model.LINEAR)
    return AttackRates(
        Took(*planned["start"]),
        Took(*planned["took"]),
        tuple(seconds),
        dataclasses.replace(memory, fixed=max(memory.fixed, evidence.memory.at(seen))),
        model.through((block, small["bytes"]), (2 * block, large["bytes"]), model.LINEAR),
        large["files"],
        planned["pool"],
    )


@dataclass(frozen=True)
class _Miniature:
    """Where the stand-ins are, whose run they stand for, and how many shadows are planned there."""

    folder: Path
    data_root: Path
    config: Config
    shadows: int

    def ask(self, what: str, attack: AttackConfig, shadows: int) -> dict[str, Any]:
        """The answer of one of the functions below, in a process of its own, with this attack and so many shadows."""
        own = dataclasses.replace(self.config.fleet, shadows=self.shadows, pack=1)
        fields = dataclasses.asdict(dataclasses.replace(self.config, fleet=own, attack=attack))
        question = {"folder": str(self.folder), "root": str(self.data_root), "fields": fields, "shadows": shadows}
        return ask(f"miniature:{what}", question, [{}])[0]


def _few(config: Config) -> AttackConfig:
    """The attack on piles of few images."""
    few = min(config.attack.pile, _FEW)
    return dataclasses.replace(config.attack, pile=few, target_pile=few)


def _target_images(config: Config, there: Mapping[str, int]) -> int:
    """Images of the target's piles that distances see."""
    test = there["generated_test"]
    most = min(config.attack.target_pile or test, test)
    return sum(max(min(config.attack.pile, count), min(most, count)) for count in there.values())


def _evidence(here: _Miniature) -> Evidence:
    """From three measurements: of two sizes of the target's pile, and of one with the piles of a shadow as well."""
    asked = here.config.attack
    sizes = (dataclasses.replace(asked, pile=count, target_pile=count) for count in _PARTS)
    found = [here.ask("signals", attack, 0) for attack in sizes]
    with_piles = here.ask("signals", dataclasses.replace(asked, target_pile=1), 1)
    low, high = (Took(*one["took"]) for one in found)
    seen = [sum(one["seen"].values()) for one in found]
    memory = [float(one["memory"]) for one in found]
    if seen[1] > seen[0]:
        image = (high - low) * (1 / (seen[1] - seen[0]))
        grown = model.through((seen[0], memory[0]), (seen[1], memory[1]), model.LINEAR)
    else:  # the whole pile is small
        image, grown = low * (1 / seen[0]), Growth(max(memory), 0.0, model.LINEAR)
    rest = low - image * seen[0]
    of_piles = Took(*with_piles["took"]) - (rest + image * sum(with_piles["seen"].values()))
    return Evidence(rest, of_piles * (1 / len(fleet.pile_steps(here.config))), image, grown)


def plan(began: float, folder: str, root: str, fields: dict[str, Any], shadows: int) -> dict[str, Any]:
    """In a process of its own: plans a run in `folder`, which is new, and makes the piles of its stand-ins.

    took, start: [wall, processor] of the plan and of what comes before it; images: in the target's piles, by role;
    pool: images of the membership matrix."""
    import attack.pipeline  # noqa: F401 (as `launch.py plan` does)

    config, place = from_dict(fields), Path(folder)
    start, watch = since_start(began), Stopwatch()
    place.mkdir(mode=0o700)
    workdir.settle(place, config)
    with contextlib.redirect_stdout(sys.stderr):
        orchestrate.plan(place, Path(root), config)
    took, found = watch.took(), manifest.read(place / "manifest.csv", root)
    for k in range(shadows):
        _stand_in(place, found, config, k, _few(config).pile)
    _stand_in(place, found, config, shadows, config.attack.pile)
    roles = {role: len(found.rows(role)) for role in layout.TARGETS if len(found.rows(role))}
    pool = len(fleet.pool_ids(found, config))
    return {"start": _pair(start), "took": _pair(took), "images": roles, "pool": pool}


def stages(began: float, folder: str, root: str, fields: dict[str, Any], shadows: int) -> dict[str, Any]:
    """In a process of its own: the stages after the fleet on so many stand-ins. seconds: {stage: [wall, processor]};
    bytes, files: of what they leave, and memory, bytes."""
    _on_cpu()
    config, place = from_dict(fields), Path(folder)
    found = manifest.read(place / "manifest.csv", root)
    measuring.build(place, found, config, range(shadows))
    took = {}
    for stage in (stage for stage in STAGES if stage.name in _LATER):
        watch = Stopwatch()
        stage.carry_out(place, found, config)
        took[stage.name] = _pair(watch.took())
    kept = [path for path in place.rglob("*") if not path.is_relative_to(place / "shadows")]
    size = sum(path.stat().st_size for path in kept if path.is_file())
    return {"seconds": took, "memory": peak_memory(), "bytes": size, "files": len(kept) + 1}


def signals(began: float, folder: str, root: str, fields: dict[str, Any], shadows: int) -> dict[str, Any]:
    """In a process of its own: the stage `signals` for the stand-in with a pile of full size (shadows = 1), or for
    none. took: [wall, processor]; seen: images of the target's piles, by role; memory: bytes."""
    _on_cpu()
    config, place = from_dict(fields), Path(folder)
    found = manifest.read(place / "manifest.csv", root)
    watch = Stopwatch()
    measuring.build(place, found, config, [config.fleet.shadows] * shadows)
    return {"took": _pair(watch.took()), "memory": peak_memory(), "seen": measuring.seen_of(found, config)}


def _on_cpu() -> None:
    import jax

    jax.config.update("jax_platforms", "cpu")  # as a run's own process


def _stand_in(place: Path, found: manifest.Manifest, config: Config, shadow: int, count: int) -> None:
    """Piles of a shadow that nobody trained: mixtures of two slices with noise."""
    slices = found.images_at(fleet.pool_ids(found, config), config.data.resolution)
    rng = keys.generator(config.seed, "costs/stand-in", shadow)
    for step in fleet.pile_steps(config):
        first, second = rng.choice(len(slices), (2, count))
        made = 0.7 * slices[first] + 0.3 * slices[second] + rng.normal(0, 8, (count, *slices.shape[1:]))
        path = piles.pile_path(fleet.shadow_folder(place, shadow), step)
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_array(path, np.clip(made, 0, 255).astype(np.uint8))


def _pair(took: Took) -> list[float]:
    return [took.wall, took.processor]

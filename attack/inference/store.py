"""signals/: the evidence of every pile about every real image, on disk, and how the attack reads it.

`signals/values.npy` is float32 [pile, candidate, number]; `signals/names.json` names the three axes, says which numbers
make a block, which shadows were there and how many the config asked for, and holds each pile's own statistics and by
what piles were flipped. Written by `measuring`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from attack.evidence import layout
from attack.evidence.embeddings import builtin
from attack.evidence.flips import Flips
from attack.evidence.layout import Layout, pile_name
from attack.inference.crossfit import Labelled
from attack.inference.shadow_signals import ShadowSignals, excluded_as_in_pool
from attack.inference.target import Target
from shadow import fleet
from shadow.config import Config
from shadow.data.manifest import Manifest
from shadow.training import membership

LEAST_KNOWN = 10  # slices: a mean over fewer is off by a third of a standard deviation or more


def group_numbers(groups: Sequence[str]) -> np.ndarray:
    """Numbers by first appearance: those of dev images do not depend on the test images after them."""
    number: dict[str, int] = {}
    return np.array([number.setdefault(name, len(number)) for name in groups])


def shadows_in(workdir: Path) -> tuple[list[int], int] | None:
    """(shadows in the store, number the config asked for); None where there is no store or none that tells."""
    try:
        names = json.loads((workdir / "signals" / "names.json").read_text())
        return names["shadows"], names["asked"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def membership_of(workdir: Path, shadows: Sequence[int]) -> np.ndarray:
    """Who is in which of `shadows`, bool [shadow, image of the pool]."""
    return np.load(workdir / "membership.npy", allow_pickle=False)[list(shadows)]


@dataclass(frozen=True)
class Store:
    """What the attack reads: everything of `signals/`, and who is in which shadow. Axes [shadow] are of `shadows`."""

    values: np.ndarray  # float32 [pile, candidate, number], memory-mapped
    layout: Layout  # of the numbers
    piles: tuple[str, ...]
    dev: tuple[str, ...]
    test: tuple[str, ...]
    groups: tuple[str, ...]  # of dev, then test
    member: np.ndarray  # bool [shadow, image of the pool]: the dev images, and with membership.candidates the test ones
    used: np.ndarray  # bool [dev image], known to be; of a reference slice neither is known
    not_used: np.ndarray  # bool [dev image]
    statistics: dict[str, list[float]]
    sizes: dict[str, int]  # images of the shadows' piles that each target pile is compared with
    seen: dict[str, int]  # images of each target pile, as many or more
    flips: Flips  # by which every pile was looked at
    shadows: tuple[int, ...]  # that were there, rising
    asked: int  # shadows of the config when the signals were measured
    config: Config

    @property
    def missing(self) -> list[int]:
        """Shadows that were asked for and not there."""
        return sorted(set(range(self.asked)) - set(self.shadows))

    @property
    def pool(self) -> tuple[str, ...]:
        """The images that shadows were drawn from, the first of dev and test in a row: the attack is fitted on them."""
        return (*self.dev, *self.test)[: self.member.shape[1]]

    @property
    def presumed(self) -> bool:
        """Are fewer than LEAST_KNOWN slices known not to be used, and of others nothing is known? Then most of the dev
        images are presumed not to be."""
        return bool(self.not_used.sum() < LEAST_KNOWN and not (self.used | self.not_used).all())

    @property
    def null(self) -> np.ndarray:
        """Slices that stand for the non-members of a target's pile, bool [image of the pool]: those known not to be
        used, or where they are `presumed` all dev images."""
        found, dev = np.zeros(len(self.pool), bool), len(self.dev)
        found[:dev] = self.presumed | self.not_used
        return found

    def labelled(self, step: int, like: str) -> Labelled:
        """The shadows' piles of one training step about the pool, at the size of the target pile `like`."""
        pool = len(self.pool)
        shadow_signals = self._shadow_signals(step, like, np.arange(pool), self.member)
        family = np.array([fleet.family_of(self.config, k) for k in self.shadows])
        return Labelled(shadow_signals, self.pool, group_numbers(self.groups)[:pool], family)

    def target(self, name: str, step: int, only: Sequence[str] | None = None) -> Target:
        """The target's pile `name` about the test candidates (`only` some of them)."""
        dev, pool, shadows = len(self.dev), len(self.pool), len(self.member)
        pile = self.layout.signals(self.values[self.piles.index(name)])
        wanted = set(self.test if only is None else only)
        ids = tuple(name for name in self.test if name in wanted)
        chosen = [dev + i for i, name in enumerate(self.test) if name in wanted]
        held = self.member[:, chosen] if pool > dev else np.zeros((shadows, len(chosen)), bool)
        shadow_signals = self._shadow_signals(step, name, chosen, held)
        if pool == dev:
            shadow_signals = dataclasses.replace(
                shadow_signals, excluded=self._excluded(chosen, shadow_signals.holds_relative)
            )
        return Target(pile[:pool], pile[chosen], self.null, shadow_signals, ids, self.presumed)

    def pool_target(self, step: int, name: str = "generated_dev") -> Target:
        """The target's pile `name` about the pool's images themselves."""
        data = self.labelled(step, name)
        about = self.layout.signals(self.values[self.piles.index(name), : len(self.pool)])
        return Target(about, about, self.null, data.shadow_signals, self.pool, self.presumed)

    def _shadow_signals(
        self, step: int, like: str, chosen: Sequence[int] | np.ndarray, member: np.ndarray
    ) -> ShadowSignals:
        """The shadows' signals of the images `chosen` of dev and test in a row; member: bool [shadow, image], no
        reference of it."""
        holds_relative = self._hold_relative(np.asarray(self.groups)[chosen].tolist())
        steps = list(fleet.pile_steps(self.config))
        of_steps = np.stack([self.layout.signals(self._evidence(s, like)[:, chosen]) for s in steps])
        return ShadowSignals(of_steps[steps.index(step)], of_steps, member, holds_relative, self.layout.names)

    def _hold_relative(self, groups: Sequence[str]) -> np.ndarray:
        """Which shadows hold an image of each of these groups, bool [shadow, group]."""
        return membership.holds_relative(self.member, self.groups[: len(self.pool)], groups)

    def _excluded(self, chosen: Sequence[int], holds_relative: np.ndarray) -> np.ndarray | None:
        """Shadows that may be no reference of the candidates `chosen`, who are in none; None where there are none such.
        holds_relative: bool [shadow, candidate]."""
        dev, group = len(self.dev), group_numbers(self.groups)
        if membership.of_two_kinds(self.groups[:dev], self.groups[dev:]):
            return None
        of_pool = self._hold_relative(self.groups[:dev])
        return excluded_as_in_pool(self.member, of_pool, group[:dev], holds_relative, group[chosen])

    def _evidence(self, step: int, like: str) -> np.ndarray:
        """Of the shadows' piles, [shadow, candidate, number]: a view, not a copy of the store."""
        first, second = (self.piles.index(pile_name(k, step, self.sizes[like])) for k in self.shadows[:2])
        stride = second - first  # one pile a shadow, or two sizes of it
        return self.values[first : first + stride * len(self.shadows) : stride]


def read(workdir: Path, manifest: Manifest, config: Config) -> Store:
    """The store, memory-mapped."""
    names = json.loads((workdir / "signals" / "names.json").read_text())
    values = np.load(workdir / "signals" / "values.npy", mmap_mode="r", allow_pickle=False)
    dev = fleet.dev_ids(manifest)
    label = {name: int(label) for name, label in zip(manifest.id.tolist(), manifest.label.tolist(), strict=True)}
    return Store(
        values,
        Layout(
            layout.columns_of(builtin.names(config.attack), config.attack.signals),
            {block: tuple(numbers) for block, numbers in names["blocks"].items()},
        ),
        tuple(names["piles"]),
        tuple(dev),
        tuple(names["candidates"][len(dev) :]),
        tuple(manifest.groups_of(names["candidates"])),
        membership_of(workdir, names["shadows"]),
        np.array([label[name] == 1 for name in dev]),
        np.array([label[name] == 0 for name in dev]),
        names["statistics"],
        names["sizes"],
        names["seen"],
        Flips(tuple(names["flips"]["names"]), names["flips"]["share"]),
        tuple(names["shadows"]),
        names["asked"],
        config,
    )

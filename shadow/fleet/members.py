"""Which slices are in which shadows of a run: by the unit of membership that fits the data, or by subsets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from absl import logging

from shadow.config import Config, MembershipConfig
from shadow.data import editions, subsets
from shadow.data import manifest as manifests
from shadow.fleet import families
from shadow.fleet import plan as plans
from shadow.fleet.plan import dev_ids, pool_ids
from shadow.training import membership, subset_membership


def settled_unit(found: manifests.Manifest, config: Config) -> tuple[membership.UnitChoice, MembershipConfig]:
    """Which images share their shadows, said and checked. Raises UserError where nothing could be held out."""
    if config.data.edition == editions.SUBSETS:
        real = subsets.read(found)
        subsets.piles(found, real.names)
        subsets.shared(found, real)
        print(f"subsets: {', '.join(real.names)}; {subset_membership.UNIT.why}", flush=True)
        return subset_membership.UNIT, plans.with_unit(subset_membership.UNIT, config)
    choice = _choose_unit(found, config)
    settled = plans.with_unit(choice, config)
    # slices of which some are no candidates: the units of the target's pile are theirs
    membership.checked_units(_groups(found, dev_ids(found)), settled, config.seed)
    print(unit_line(choice, config), flush=True)
    if choice.warning:
        logging.warning("%s", choice.warning)
    membership.warn_of_large_units(_groups(found, pool_ids(found, config)), settled, config.seed)
    return choice, settled


def _groups(manifest: manifests.Manifest, names: Sequence[str]) -> list[str]:
    group = dict(zip(manifest.id.tolist(), manifest.group.tolist(), strict=True))
    return [str(group[name]) for name in names]


def _choose_unit(manifest: manifests.Manifest, config: Config) -> membership.UnitChoice:
    dev, test = dev_ids(manifest), manifest.id[manifest.rows("unknown")].tolist()
    label = dict(zip(manifest.id.tolist(), manifest.label.tolist(), strict=True))
    return membership.choose_unit(
        _groups(manifest, dev),
        _groups(manifest, test),
        np.array([label[name] for name in dev]),
        config.membership.unit,
        config.membership.candidates,
        config.seed,
    )


def unit_line(choice: membership.UnitChoice | None, config: Config) -> str:
    """Says which unit of membership a plan has, and why; None stands for a plan of before that was written down."""
    if choice is None:
        return f"membership.unit = {plans.with_unit(None, config).unit}"
    return f"membership.unit = {choice.unit}: {choice.why}"


def draw(manifest: manifests.Manifest, config: Config, settled: MembershipConfig) -> np.ndarray:
    """bool [shadow, image of the pool]. Raises UserError as `membership.draw` and `subset_membership.draw`."""
    if config.data.edition == editions.SUBSETS:
        family = [families.family_of(config, k) for k in range(config.fleet.shadows)]
        return subset_membership.draw(subsets.read(manifest).of, family)
    return membership.draw(_groups(manifest, pool_ids(manifest, config)), config.fleet.shadows, settled, config.seed)

"""A fleet: the plan, its packs, and who carries them out."""

from shadow.fleet.families import family_names, family_of
from shadow.fleet.packs import Fleet, present, read_membership, verify_piles
from shadow.fleet.plan import dev_ids, pile_steps, pool_ids, shadow_folder

__all__ = [
    "Fleet",
    "dev_ids",
    "family_names",
    "family_of",
    "pile_steps",
    "pool_ids",
    "present",
    "read_membership",
    "shadow_folder",
    "verify_piles",
]

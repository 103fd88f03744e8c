"""Worlds of the bench of strangers: what each target is, and which slice has which role.

A world is a row of `WORLDS`: a kind of generator, its recipe, its slices, and the sizes of the folders. Nothing may be
chosen on worlds of the role "judging", which are run once; then they are "judged", and a world of the same recipe with
a fresh seed takes their place. Those of the roles "tuning" and "judged" are free to look at. Roles of slices are dealt
by the world's seed, before any generator is trained.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from shadow import keys
from shadow.config import Config
from shadow.data import challenge, decoding, phantom
from shadow.errors import UserError

TUNING_SEEDS, JUDGING_SEEDS = range(1101, 1107), range(1201, 1207)
SIZED_SEEDS = range(1501, 1505)  # of judging worlds with as many slices as the challenge of 2023 has
# Of judging worlds whose recipe was judged before, once and twice: how their names begin, and their seeds.
AGAIN = (("fresh", range(1301, 1307)), ("third", range(1401, 1407)))
JUDGED = (  # have been run and looked at
    *("judge-eps", "judge-flow", "judge-gan", "judge-v-attn", "judge-eps-attn"),
    *("fresh-eps", "fresh-gan", "fresh-v-attn", "sized-gan", "sized-v-attn"),
)
KINDS = ("eps", "flow", "gan", "dit", "v-attn", "eps-attn")
SHARING = ("slice", "group", "half")
RESOLUTION = 32  # pixels a side of training images and of generated ones
_STRANGERS = 200  # slices that no target sees, at least
_COPIED = 60  # slices that are nobody's and no candidates: copies and the collapsed generator come from them


@dataclass(frozen=True)
class World:
    """One target generator, or two of one recipe, and the folders that are made of it.

    training: slices the target sees; dev_used and test_used of them are in the folders, the others in none.
    sharing: "slice", all slices are dealt at random; "group", a patient has one role; "half", half of the candidates
    are of patients that are dealt among dev too, the others of patients without a dev slice.
    epochs: the longest training; it ends before where more would only leave the bands.
    ema: decay of the averaged weights a step, 0 for none.
    sampler: a name and its number of steps, as "ddim 25"; empty for a GAN.
    dev_pile, test_pile: generated images of the two folders. second: a second target on other slices.
    """

    name: str
    role: str
    kind: str
    seed: int
    pool: str = "phantom"
    training: int = 120
    dev_used: int = 40
    dev_not_used: int = 40
    test_used: int = 50
    test_not_used: int = 50
    slices_a_patient: int = 4
    sharing: str = "slice"
    publish_patients: bool = True
    epochs: int = 1500
    batch: int = 16
    learning_rate: float = 4e-3
    ema: float = 0.0
    flip: bool = False
    sampler: str = ""
    dev_pile: int = 300
    test_pile: int = 600
    second: bool = False


def _table() -> tuple[World, ...]:
    t, j = TUNING_SEEDS, JUDGING_SEEDS
    return (
        World(
            *("tune-eps", "tuning", "eps", t[0]), training=80, dev_used=30, epochs=1600, ema=0.995, sampler="ddim 25",
            second=True,
        ),
        World(
            *("tune-flow", "tuning", "flow", t[1]), training=120, test_used=60, test_not_used=60, sharing="group",
            epochs=1500, batch=32, sampler="euler 25", dev_pile=250, test_pile=500,
        ),
        World(
            *("tune-gan", "tuning", "gan", t[2], "real"), training=80, dev_used=30, dev_not_used=50, epochs=6000,
            batch=32, learning_rate=2e-4, ema=0.99, dev_pile=500, test_pile=10_000,
        ),
        World(
            *("tune-dit", "tuning", "dit", t[3]), training=240, dev_used=80, dev_not_used=80, test_used=100,
            test_not_used=100, slices_a_patient=5, sharing="group", epochs=1200, batch=32, learning_rate=2e-3,
            ema=0.995, sampler="dpm 20", dev_pile=400, test_pile=2000, second=True,
        ),
        World(
            *("tune-v-attn", "tuning", "v-attn", t[4]), training=100, dev_used=50, dev_not_used=50,
            slices_a_patient=6, sharing="half", epochs=1500, batch=32, flip=True, sampler="ddim 30", dev_pile=500,
            test_pile=1000,
        ),
        World(
            *("tune-eps-attn", "tuning", "eps-attn", t[5], "real"), training=90, dev_used=30, dev_not_used=30,
            test_used=60, test_not_used=60, publish_patients=False, epochs=1500, ema=0.99, sampler="ddpm 50",
            dev_pile=250, test_pile=300,
        ),
        World(
            *("judge-eps", "judging", "eps", j[0]), training=150, dev_used=50, dev_not_used=50, slices_a_patient=6,
            sharing="half", epochs=1200, batch=64, sampler="dpm 15", dev_pile=500, test_pile=1500,
        ),
        World(
            *("judge-flow", "judging", "flow", j[1]), training=100, dev_used=30, dev_not_used=30, epochs=1500,
            ema=0.99, sampler="euler 20", dev_pile=250, test_pile=1000, second=True,
        ),
        World(
            *("judge-gan", "judging", "gan", j[2], "real"), training=100, test_used=60, test_not_used=60,
            publish_patients=False, epochs=6000, batch=64, learning_rate=2e-4, dev_pile=500, test_pile=2000,
        ),
        World(
            *("judge-dit", "judging", "dit", j[3]), training=800, dev_used=80, dev_not_used=80, test_used=100,
            test_not_used=100, slices_a_patient=3, epochs=600, batch=64, learning_rate=2e-3, sampler="ddim 25",
            dev_pile=500, test_pile=2000,
        ),
        World(
            *("judge-v-attn", "judging", "v-attn", j[4]), training=90, sharing="group", epochs=1500, ema=0.995,
            flip=True, sampler="dpm 20", dev_pile=400, test_pile=500, second=True,
        ),
        World(
            *("judge-eps-attn", "judging", "eps-attn", j[5], "real"), training=120, dev_used=50, dev_not_used=30,
            test_used=60, test_not_used=60, epochs=1500, batch=32, sampler="ddim 40", dev_pile=300, test_pile=250,
        ),
    )  # fmt: skip


def _sized() -> tuple[World, ...]:
    """Worlds with as many slices as the challenge of 2023 has, where the verdict has its power.

    The flow has twice the candidates: a rate at a false positive rate of .01 needs 200 that were not used.
    """
    s = SIZED_SEEDS
    dev, test, many = (
        {"dev_used": 80, "dev_not_used": 80, "dev_pile": 500},
        {"test_used": 100, "test_not_used": 100},
        {"test_used": 200, "test_not_used": 200},
    )
    return (
        World(
            *("sized-gan", "judging", "gan", s[0], "real"), training=200, **dev, **test, epochs=6000, batch=64,
            learning_rate=2e-4, ema=0.99, test_pile=10_000,
        ),
        World(
            *("sized-v-attn", "judging", "v-attn", s[1]), training=200, **dev, **test, slices_a_patient=2,
            epochs=1500, batch=32, ema=0.995, sampler="dpm 20", test_pile=2000,
        ),
        World(
            *("sized-flow", "judging", "flow", s[2]), training=320, **dev, **many, slices_a_patient=2, epochs=1500,
            batch=32, ema=0.99, sampler="euler 20", test_pile=2000,
        ),
        World(
            *("sized-dit", "judging", "dit", s[3]), training=200, **dev, **test, slices_a_patient=2, epochs=2500,
            batch=32, learning_rate=2e-3, sampler="ddim 25", test_pile=2000,
        ),
    )  # fmt: skip


def _rounds() -> tuple[World, ...]:
    """The table, with what was judged, and a fresh world of the same recipe for each of those, as often as it was."""
    found = last = list(_table())
    for start, seeds in AGAIN:
        last = [
            replace(world, name=f"{start}-{world.name.split('-', 1)[1]}", seed=seeds[world.seed % 100 - 1])
            for world in last
            if world.name in JUDGED
        ]
        found = [*found, *last]
    found += _sized()
    return tuple(replace(world, role="judged") if world.name in JUDGED else world for world in found)


WORLDS: dict[str, World] = {world.name: world for world in _rounds()}


def find(name: str) -> World:
    """The world of a name. Raises UserError where there is none."""
    if name not in WORLDS:
        raise UserError(f"--worlds: {name!r} is no world of the bench; those are {', '.join(WORLDS)}")
    return WORLDS[name]


def roles(world: World) -> dict[str, int]:
    """Slices of every role, in the order in which they are dealt.

    `rest` is trained on and in no folder. Slices of `unseen_used` and `unseen_not_used` are seen by no target: the two
    are labels dealt by a fair coin. `spare` is seen by none and is no candidate. Roles `second_...` are those of the
    second target.
    """
    unseen = world.test_used + world.test_not_used
    found = {
        "dev_used": world.dev_used,
        "dev_not_used": world.dev_not_used,
        "test_used": world.test_used,
        "test_not_used": world.test_not_used,
        "unseen_used": world.test_used,
        "unseen_not_used": world.test_not_used,
        "rest": world.training - world.dev_used - world.test_used,
        "spare": max(_COPIED, _STRANGERS - unseen),
    }
    if world.second:
        found |= {f"second_{role}": found[role] for role in ("dev_used", "dev_not_used", "test_used", "rest")}
    return found


@dataclass(frozen=True)
class Dealt:
    """The slices of a world, uint8 [image, height, width] with a patient each, and indices into them by role."""

    pool: challenge.Pool
    chosen: dict[str, np.ndarray]

    def of(self, *names: str) -> np.ndarray:
        """Indices of the slices of these roles, one role after the other. A role that the world lacks has none."""
        return np.concatenate([self.chosen.get(name, np.empty(0, int)) for name in names])

    def members(self, target: str) -> np.ndarray:
        """Indices of what the `first` or the `second` target is trained on."""
        start = "" if target == "first" else "second_"
        return self.of(f"{start}dev_used", f"{start}test_used", f"{start}rest")

    def strangers(self, target: str) -> np.ndarray:
        """Indices of all dealt slices that the `first` or the `second` target never saw."""
        return np.setdiff1d(self.of(*self.chosen), self.members(target))


def deal(world: World, pool: challenge.Pool | None = None) -> Dealt:
    """The slices of a world and their roles, by its seed.

    pool: real slices; None for phantoms, of which just enough are drawn. Raises UserError where the pool is too small.
    """
    wanted = roles(world)
    if pool is not None:
        pool = thinned(pool, sum(wanted.values()))
    parts = _halves(wanted) if world.sharing == "half" else [wanted]
    count = world.slices_a_patient
    patients = [
        sum(-(-n // count) for n in part.values()) if world.sharing == "group" else -(-sum(part.values()) // count)
        for part in parts
    ]
    real = pool is not None
    if pool is None:
        pool = _phantoms(world, sum(patients))
    elif world.sharing == "half":
        raise UserError(f"world {world.name}: slices of a folder cannot be dealt by halves; give it sharing = slice")
    names = np.asarray(pool.groups)
    first = len(pool.images) if real else patients[0] * count
    places = np.split(np.arange(len(pool.images)), [first])
    chosen: dict[str, list[int]] = {role: [] for role in wanted}
    for i, (part, place) in enumerate(zip(parts, places, strict=False)):
        rng = keys.generator(world.seed, "foreign/roles", i)
        dealt = _by_patient(rng, part, place, names) if world.sharing == "group" else _by_slice(rng, part, place)
        for role, slices in dealt.items():
            chosen[role] += slices
    short = next((role for role, n in wanted.items() if len(chosen[role]) < n), None)
    if short is not None:
        raise UserError(
            f"world {world.name}: the pool of {len(pool.images)} slices is too small (it needs {sum(wanted.values())}, "
            f"and none are left for {short!r}); give --pool a folder with more slices"
        )
    return Dealt(pool, {role: np.array(slices, int) for role, slices in chosen.items()})


def thinned(pool: challenge.Pool, count: int) -> challenge.Pool:
    """The `count` slices of a pool that are least alike, in its order; all of a pool that has no more.

    Of dense volumes nearly every slice has a near copy, and a generator that copies one of the two copies both. Chosen
    is, one after the other, the slice that is furthest from its nearest fellow chosen before (Gonzalez 1985).
    """
    if len(pool.images) <= count:
        return pool
    small = decoding.resize(pool.images, min(RESOLUTION, pool.images.shape[1])).reshape(len(pool.images), -1)
    chosen, apart = [0], np.full(len(small), np.inf)
    while len(chosen) < count:
        apart = np.minimum(apart, np.square(small - small[chosen[-1]]).mean(1))
        chosen.append(int(apart.argmax()))
    kept = sorted(chosen)
    return challenge.Pool(pool.images[kept], [pool.groups[i] for i in kept], [pool.names[i] for i in kept])


def _halves(wanted: dict[str, int]) -> list[dict[str, int]]:
    """What is dealt among the patients that the dev set has slices of, and what among the others."""
    candidates = ("test_used", "test_not_used", "unseen_used", "unseen_not_used")
    with_dev = {role: n if role.startswith("dev_") else n // 2 for role, n in wanted.items() if "_" in role}
    with_dev = {role: n for role, n in with_dev.items() if role.startswith("dev_") or role in candidates}
    return [with_dev, {role: n - with_dev.get(role, 0) for role, n in wanted.items()}]


def _by_slice(rng: np.random.Generator, wanted: dict[str, int], place: np.ndarray) -> dict[str, list[int]]:
    queue = rng.permutation(place).tolist()
    return {role: [queue.pop() for _ in range(min(count, len(queue)))] for role, count in wanted.items()}


def _by_patient(
    rng: np.random.Generator, wanted: dict[str, int], place: np.ndarray, names: np.ndarray
) -> dict[str, list[int]]:
    patients = rng.permutation(sorted(set(names[place].tolist()))).tolist()
    found: dict[str, list[int]] = {}
    for role, count in wanted.items():
        slices: list[int] = []
        while patients and len(slices) < count:
            slices += rng.permutation(np.flatnonzero(names == patients.pop())).tolist()
        found[role] = rng.permutation(slices[:count]).astype(int).tolist()
    return found


def _phantoms(world: World, patients: int) -> challenge.Pool:
    """Phantom patients with `slices_a_patient` slices each, at evenly spaced heights."""
    count = world.slices_a_patient
    start = keys.generator(world.seed, "foreign/heights").uniform(0.05, 0.55, patients)
    images = phantom.slices(world.seed, range(patients), start[:, None] + np.linspace(0, 0.4, count)[None])
    names = [f"patient {p} slice {s}" for p in range(patients) for s in range(count)]
    return challenge.Pool(
        images.reshape(-1, *images.shape[2:]), [f"p{p:04d}" for p in range(patients) for _ in range(count)], names
    )


def read_pool(pool: str, patients: str) -> challenge.Pool:
    """Real slices of a folder, with their patients from a csv `file,patient`.

    Raises UserError where the folder or the csv is missing, or where they contradict each other.
    """
    if not Path(pool).is_dir():
        raise UserError(f"--pool={pool}: no such folder; name a folder of PNG slices, or leave the flag out")
    if not patients:
        raise UserError("--patients is missing: name the csv file,patient of the slices in --pool")
    config = Config().challenge
    config.pool, config.patients = pool, patients
    return challenge.folder_pool(config)


def digest(pool: challenge.Pool | None) -> str:
    """What tells one pool from another: "phantom", or a SHA-256 of the slices and their patients."""
    if pool is None:
        return "phantom"
    content = hashlib.sha256(np.ascontiguousarray(pool.images).tobytes())
    content.update("\n".join(pool.groups).encode())
    return content.hexdigest()

"""A challenge of our own: a target generator trained on a hidden subset of a pool, in the 2023 layout.

The folder is made under a hidden name and renamed when it is whole. `datasets.load_dataset` opens it, too
(`imagefolder.py`). What the attack must not see (labels, how it was made, the target's weights) lies in `sealed/`.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from shadow import files, keys, piles
from shadow.config import ChallengeConfig, Config
from shadow.data import decoding, imagefolder, phantom
from shadow.data.pool import Pool, folder_pool
from shadow.errors import UserError
from shadow.training import train

# Role folders and file names of the 2023 edition: (folder, stem, digits).
USED, NOT_USED = ("dev/used", "used", 4), ("dev/not_used", "not_used", 4)
GENERATED, TEST_GENERATED = ("dev/generated", "generated", 4), ("test/generated_1", "generated", 5)
UNKNOWN = ("test/real_unknown_1", "real_unknown", 4)


def phantom_pool(config: ChallengeConfig) -> Pool:
    """Just enough phantom patients, each with `slices_a_patient` slices at evenly spaced heights."""
    count = config.slices_a_patient
    roles = [config.dev_used, config.test_used, config.dev_not_used, config.test_not_used]
    if config.split != "group":  # else each role needs whole patients
        roles = [sum(roles)]
    return phantoms(config, sum(-(-role // count) for role in roles))


def phantoms(config: ChallengeConfig, patients: int) -> Pool:
    """The first `patients` phantom patients of the population `challenge.seed`."""
    count = config.slices_a_patient
    rng = keys.generator(config.seed, "challenge/heights")
    start = rng.uniform(0.05, 0.55, patients)
    positions = start[:, None] + np.linspace(0, 0.4, count)[None]
    images = phantom.slices(config.seed, range(patients), positions)
    names = [f"patient {p} slice {s}" for p in range(patients) for s in range(count)]
    return Pool(
        images.reshape(-1, *images.shape[2:]), [f"p{p:04d}" for p in range(patients) for _ in range(count)], names
    )


def split_pool(pool: Pool, config: ChallengeConfig) -> dict[str, np.ndarray]:
    """Indices into the pool for dev_used, test_used, dev_not_used, test_not_used.

    `split = slice`: slices are dealt at random, so a member's patient may have non-members. `group`: all slices of a
    patient that are in the challenge have one role: were dev and test slices of one patient, whether it was used could
    be read off the dev labels, without any generated image. Raises UserError where the pool is too small.
    """
    wanted = {side: (getattr(config, f"dev_{side}"), getattr(config, f"test_{side}")) for side in ("used", "not_used")}
    for side, counts in wanted.items():
        if min(counts) < 1:
            raise UserError(f"challenge.dev_{side} and challenge.test_{side} must be 1 or more, not {counts}")
    rng = keys.generator(config.seed, "challenge/split")
    result = {}
    if config.split == "slice":
        used, not_used = (sum(counts) for counts in wanted.values())
        queue = rng.permutation(len(pool.images))
        for side, share in zip(wanted, (queue[:used], queue[used : used + not_used]), strict=True):
            dealt, dev = rng.permutation(share), wanted[side][0]
            result[f"dev_{side}"], result[f"test_{side}"] = dealt[:dev], dealt[dev:]
    elif config.split == "group":
        names = np.asarray(pool.groups)
        patients = rng.permutation(sorted(set(pool.groups))).tolist()
        for side, counts in wanted.items():
            for role, count in zip(("dev", "test"), counts, strict=True):
                found: list[int] = []
                while patients and len(found) < count:
                    found += rng.permutation(np.flatnonzero(names == patients.pop())).tolist()
                result[f"{role}_{side}"] = rng.permutation(found[:count]).astype(int)
    else:
        raise UserError(f"challenge.split = {config.split!r}: use 'slice' or 'group'")
    for side, counts in wanted.items():
        left = len(result[f"dev_{side}"]) + len(result[f"test_{side}"])
        if left < sum(counts):
            raise UserError(
                f"the pool of {len(pool.images)} slices is too small for challenge.dev_{side} + challenge.test_{side} "
                f"= {sum(counts)} (split by {config.split}: {left} are left); lower them or enlarge it"
            )
    return result


@dataclass(frozen=True)
class Dealt:
    """A pool and who of it is what: indices into the pool."""

    pool: Pool
    chosen: dict[str, np.ndarray]
    unknown: np.ndarray  # of the test candidates, in their published order

    @property
    def members(self) -> np.ndarray:
        """What the target is trained on."""
        return np.concatenate([self.chosen["dev_used"], self.chosen["test_used"]])


def deal(config: ChallengeConfig) -> Dealt:
    """The pool, and a role for each of its slices. Raises UserError as `folder_pool` and `split_pool` do."""
    pool = phantom_pool(config) if config.pool == "phantom" else folder_pool(config)
    chosen = split_pool(pool, config)
    unknown = np.concatenate([chosen["test_used"], chosen["test_not_used"]])
    order = keys.generator(config.seed, "challenge/order").permutation(len(unknown))
    return Dealt(pool, chosen, unknown[order])


def target_spec(dealt: Dealt, config: Config) -> train.Spec:
    """How the target generator is trained."""
    small = decoding.resize(dealt.pool.images, config.data.resolution)
    return train.Spec(
        config.challenge.seed,
        "target",
        (0,),
        decoding.to_unit(small[dealt.members]),
        (np.arange(len(dealt.members)),),
        config.challenge.denoiser,
        config.diffusion,
        config.challenge.train,
    )


def make(
    workdir: Path,
    config: Config,
    stage: Callable[[str], train.Progress] = lambda name: train.silent,
    stop: Callable[[], bool] = train.never,
) -> Path:
    """Makes WORKDIR/challenge unless it is there; resumes after a kill. Returns its path.

    `stage` gives the progress of a named stage; raises Stopped, with the work saved, when `stop()` says so.
    """
    done = workdir / "challenge"
    if done.is_dir():
        return done
    challenge, dealt = config.challenge, deal(config.challenge)
    part = workdir / ".challenge.part"
    spec = target_spec(dealt, config)
    folder = part / "sealed" / "target"
    folder.mkdir(parents=True, exist_ok=True)
    train.train_pack(spec, [folder], (), stage("target train"), stop)
    pile = piles.pile_path(folder, challenge.train.steps)
    sampling = dataclasses.replace(config.pile, count=challenge.dev_generated + challenge.test_generated)
    piles.draw_piles(spec, [folder], [pile], challenge.train.steps, sampling, stage("target sample"), stop)
    write(part, dealt, piles.open_pile(pile), config, challenge.train.steps)
    os.replace(part, done)
    return done


def write(part: Path, dealt: Dealt, generated: np.ndarray, config: Config, step: int) -> None:
    """Writes the folders of a challenge below `part`, for the caller to rename.

    generated: uint8 [image, height, width] of the target after `step` steps of training, those of the dev pile first.
    """
    challenge, pool, chosen, unknown = config.challenge, dealt.pool, dealt.chosen, dealt.unknown
    for role, images in ((USED, chosen["dev_used"]), (NOT_USED, chosen["dev_not_used"]), (UNKNOWN, unknown)):
        _write_images(part, role, pool.images[images])
    _write_images(part, GENERATED, generated[: challenge.dev_generated])
    _write_images(part, TEST_GENERATED, generated[challenge.dev_generated :])
    shown = (
        _shown("generated_dev", GENERATED, len(generated[: challenge.dev_generated])),
        _shown("used", USED, len(chosen["dev_used"])),
        _shown("not_used", NOT_USED, len(chosen["dev_not_used"])),
        _shown("generated_test", TEST_GENERATED, len(generated[challenge.dev_generated :])),
        _shown("unknown", UNKNOWN, len(unknown)),
    )
    imagefolder.write(part, shown, pool.images.shape[-1], challenge.pool == "phantom")

    used = set(chosen["test_used"].tolist())
    rows = [(_name(UNKNOWN, i), int(x in used), pool.groups[x]) for i, x in enumerate(unknown.tolist())]
    files.write_csv(part / "sealed" / "truth.csv", ("id", "label", "group"), rows)
    files.write_json(
        part / "sealed" / "challenge.json",
        {
            "challenge": json.loads(json.dumps(dataclasses.asdict(challenge))),
            "diffusion": dataclasses.asdict(config.diffusion),
            "sampler": json.loads(json.dumps(dataclasses.asdict(config.pile) | {"count": len(generated)})),
            "resolution": config.data.resolution,
            "members": [pool.names[x] for x in dealt.members.tolist()],
            "images_seen_a_member": step * challenge.train.batch_size / len(dealt.members),
        },
    )
    if challenge.publish_patients:
        named = [(chosen["dev_used"], USED), (chosen["dev_not_used"], NOT_USED), (unknown, UNKNOWN)]
        table = [
            (f"{_name(role, i)}.png", pool.groups[x]) for x_all, role in named for i, x in enumerate(x_all.tolist())
        ]
        files.write_csv(part / "patients.csv", ("file", "patient"), table)


def _name(role: tuple[str, str, int], index: int) -> str:
    _, stem, digits = role
    return f"{stem}_{index + 1:0{digits}d}"


def _shown(role: str, place: tuple[str, str, int], count: int) -> imagefolder.Shown:
    split, folder = place[0].split("/")
    return imagefolder.Shown(split, role, tuple(f"{folder}/{_name(place, i)}.png" for i in range(count)))


def _write_images(root: Path, role: tuple[str, str, int], images: np.ndarray) -> None:
    folder = root / role[0]
    folder.mkdir(parents=True, exist_ok=True)
    for i, image in enumerate(images):
        # the whole challenge folder is renamed at the end, so a single file needs no temporary name
        Image.fromarray(image).save(folder / f"{_name(role, i)}.png")

"""Case folders of the bench of strangers: targets of other people's code, in two bands of leakage, and nulls.

python benchmarks/foreign_cases.py --root=DIR [--pool=DIR --patients=CSV] [--worlds=tune-eps,...]

Worlds are those of foreign_worlds.py. Each is trained once, with piles at several lengths of training; difficulty is
settled by the best attack without shadows, told by the truth, before ours is looked at. Made are
ROOT/WORLD/CASE/data in the layout of the 2023 challenge, with what an attack must not see in data/sealed. A killed run
goes on with the target it was at; a world that fails does not keep the others from being made. Cases:

faint, clear: the target leaks, so that the best baseline is in a band of BANDS (or as near to it as it gets).
foreign-dev: as clear, with the dev folders of a second target of the same recipe that was trained on other slices.
unseen: the generator of clear is asked about slices that it never saw.
unseen-other: the same, with the test pile of the second target, which never saw them either.
untrained: a target that learned nothing yet; half of the candidates are in its training set all the same.
collapsed: images that are five slices of nobody, each with tiny changes.
scanner: as unseen, and the candidates come from another scanner (intensity, sharpness, noise).
copies: the pile is slightly changed copies of slices that are no candidates.
Of the last five there is a second one each (unseen-2, ...), with other candidates, none of which the target saw, and
other pictures where no network draws them.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from absl import app, flags
from PIL import Image
from scipy import ndimage

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import foreign_worlds  # noqa: E402
from foreign_worlds import RESOLUTION, WORLDS, Dealt, World  # noqa: E402

from attack import baselines  # noqa: E402
from attack.metrics import ranking  # noqa: E402
from shadow import files, keys  # noqa: E402
from shadow.data import challenge, decoding  # noqa: E402
from shadow.errors import UserError, exits  # noqa: E402

_ROOT = flags.DEFINE_string("root", None, "Folder of the bench.", required=True)
_WORLDS = flags.DEFINE_list("worlds", [], "Worlds; all where empty.")
_POOL = flags.DEFINE_string("pool", "", "Folder of real slices, for the worlds that want some.")
_PATIENTS = flags.DEFINE_string("patients", "", "csv `file,patient` of them.")

BANDS = {"faint": (0.60, 0.75), "clear": (0.85, 0.95)}
SECOND = "-2"  # ends the name of a null that is the second of its kind
_TWICE = ("unseen", "untrained", "collapsed", "scanner", "copies")
NULLS = ("unseen-other", *_TWICE, *(f"{name}{SECOND}" for name in _TWICE))
_LENGTHS, _RATIO = 9, 1.4  # lengths of training that are tried, each so many times the one before
_SEARCHED = 300  # images by which the lengths are compared
_SEARCHED_CHEAP = 2000  # of a GAN, which draws an image in one step
_ENOUGH = 0.87  # AUC from which more training only leaves the bands
# AUC of the best baseline on all slices that are trained on, from which a target has learned some of them: on the few
# candidates the best of many attacks has .6 by chance, too.
_LEARNED = 0.6
_LEAST = 0.6  # AUC that a target must reach at some length
_SMALLEST = 250  # images of a test pile
_MADE = 1000  # images of a test pile that no network draws, at most
_PLAIN = [
    name for name, b in baselines.BASELINES.items() if not (b.set_dependent or b.needs_reference or b.ssim)
]  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A folder to attack. null: no candidate left a trace in its test pile. same_generator: the truth of whether dev
    pile and test pile are of one generator. role: "tuning", "judging" or "judged"."""

    world: str
    name: str
    folder: Path
    null: bool
    same_generator: bool
    role: str
    kind: str


def make(root: Path, world: str, pool: str, patients: str) -> list[Case]:
    """Makes all cases of a world below ROOT/WORLD, resuming, and returns them.

    pool, patients: a folder of real slices and its csv `file,patient`; empty where the worlds that want real slices get
    phantoms. Raises UserError where PyTorch is missing, where the target did not train, where the pool is missing,
    contradicts its csv or is too small, and where ROOT/WORLD was made of other slices or by another table.
    """
    spec = foreign_worlds.find(world)
    wanted = bool(pool) and spec.pool == "real"
    slices = foreign_worlds.read_pool(pool, patients) if wanted else None
    return make_world(root, spec, slices)


def make_world(root: Path, world: World, slices: challenge.Pool | None) -> list[Case]:
    """As `make`, for a world that need not be in the table. slices: the real ones; None for phantoms."""
    folder = root / world.name
    fields = {name: value for name, value in dataclasses.asdict(world).items() if name != "role"}  # it changes nothing
    made_of = json.loads(json.dumps({"world": fields, "pool": foreign_worlds.digest(slices)}))
    known = folder / "world.json"
    if not known.exists():
        files.write_json(known, made_of)
    elif json.loads(known.read_text()) != made_of:
        raise UserError(f"{folder}: was made of other slices or by another table; remove it, or choose another --root")
    done = folder / "cases.json"
    if not done.exists():
        dealt = foreign_worlds.deal(world, slices)
        targets = {name: _target(folder, world, dealt, name) for name in ("first", "second")[: 1 + world.second]}
        names = [case.write(folder) for case in _plans(world, dealt, targets)]
        files.write_json(done, names)
    return [_case(folder, world, name) for name in json.loads(done.read_text())]


def _case(folder: Path, world: World, name: str) -> Case:
    said = json.loads((folder / name / "data" / "sealed" / "case.json").read_text())
    return Case(world.name, name, folder / name / "data", said["null"], said["same_generator"], world.role, world.kind)


def _say(world: World, text: str) -> None:
    print(f"{world.name}: {text}", flush=True)


# --- targets


@dataclass(frozen=True)
class _Piles:
    """What is kept of a target: piles uint8 [image, side, side] by name, those of the dev folder first, and of each the
    row of its search. searched: the rows of all lengths of training."""

    piles: dict[str, np.ndarray]
    rows: dict[str, dict[str, Any]]
    searched: list[dict[str, Any]]


def _target(folder: Path, world: World, dealt: Dealt, name: str) -> _Piles:
    """The piles of the world's `first` or `second` target, trained unless they are kept."""
    done = folder / "targets" / name
    if not done.is_dir():
        part = done.with_name(f".{name}.part")
        shutil.rmtree(part, ignore_errors=True)  # of a killed process
        part.mkdir(parents=True)
        trained = _train(world, dealt, name)
        for pile, images in trained.piles.items():
            files.write_array(part / f"{pile}.npy", images)
        files.write_json(part / "chosen.json", {"chosen": trained.rows, "searched": trained.searched})
        os.replace(part, done)
    said = json.loads((done / "chosen.json").read_text())
    return _Piles({name: np.load(done / f"{name}.npy") for name in said["chosen"]}, said["chosen"], said["searched"])


def lengths(world: World) -> list[int]:
    """Steps of training at which a target's pile is looked at. After the first it has learned no slice."""
    last = world.epochs * world.training / world.batch
    early = max(2, 2 * world.training // world.batch)
    grid = [round(last / _RATIO**k) for k in reversed(range(_LENGTHS))]
    return [early, *sorted({step for step in grid if step > early})]


def _train(world: World, dealt: Dealt, name: str) -> _Piles:
    try:
        import foreign_targets
    except ImportError as error:
        if error.name not in ("torch", "diffusers"):
            raise
        raise UserError("PyTorch is missing: make torch") from error
    small = decoding.resize(dealt.pool.images, RESOLUTION)
    seed = int(keys.generator(world.seed, "foreign/target", name).integers(2**31))
    target = foreign_targets.build(world, decoding.to_unit(small[dealt.members(name)]), seed)
    truth = _Truth(world, dealt, small, name)
    found: list[dict[str, Any]] = []
    kept: dict[int, Any] = {}
    before, searched = 0, min(world.test_pile, _SEARCHED_CHEAP) if world.kind == "gan" else _SEARCHED
    for step in lengths(world):
        loss = target.train(step - before)
        if not np.isfinite(loss):
            raise UserError(f"world {world.name}: its {name} target did not train (its loss is no number); lower its "
                            "learning rate in foreign_worlds.py")  # fmt: skip
        before, kept[step] = step, target.keep()
        drawn = target.sample(searched)
        row: dict[str, Any] = {
            "step": step,
            "epochs": round(step * world.batch / world.training, 1),
            "loss": round(loss, 4),
        }
        found.append(row | truth.measure(drawn) | {"constant": bool((drawn == drawn[:1]).all())})
        now = found[-1]
        _say(
            world, f"{name} target after {row['epochs']} epochs: {now['best']} {now['auc']:.3f}, wide {now['wide']:.3f}"
        )
        if found[-1]["auc"] >= _ENOUGH and len(found) > 3:
            break
    chosen = choose(world, name, found)
    piles = {}
    for band, row in chosen.items():
        target.restore(kept[row["step"]])
        piles[band] = target.sample(world.dev_pile + (world.test_pile if band != "early" else _made(world)))
        if band != "early":
            chosen[band] = row | _size(truth, piles[band][world.dev_pile :], BANDS[band])
    return _Piles(piles, chosen, found)


def _made(world: World) -> int:
    return min(world.test_pile, _MADE)


class _Truth:
    """How well the best attack without shadows tells the slices of a target."""

    def __init__(self, world: World, dealt: Dealt, small: np.ndarray, name: str) -> None:
        start = "" if name == "first" else "second_"
        others = dealt.of("test_not_used") if name == "first" else dealt.of("unseen_used", "unseen_not_used")
        mine = dealt.of(f"{start}test_used")
        members, strangers = dealt.members(name), dealt.strangers(name)
        rows = np.concatenate([members, strangers])
        self.images, self.member = small[rows], np.arange(len(rows)) < len(members)
        self.candidate = np.isin(rows, np.concatenate([mine, others]))

    def measure(self, pile: np.ndarray) -> dict[str, Any]:
        """The best baseline on the candidates, its AUC there, and its AUC on all slices of the world, `wide`."""
        scores = baselines.score_all(self.images, pile.astype(np.float32), names=_PLAIN)
        asked = self.candidate
        aucs = {name: float(ranking.auc(score[asked], self.member[asked])) for name, score in scores.items()}
        best = max(aucs, key=lambda name: aucs[name])
        wide = float(ranking.auc(scores[best], self.member))
        return {"best": best, "auc": round(aucs[best], 4), "wide": round(wide, 4)}


def choose(world: World, name: str, found: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The lengths of training for the piles `early`, `faint` and `clear`, from rows with auc, wide and constant.

    `clear` is the row nearest to the middle of its band. `faint` is the nearest to its own of those that leak less and
    have learned something; there may be none. Raises UserError where no row shows that the target trained.
    """
    early, later = found[0], [row for row in found[1:] if not row["constant"]]
    if not later:
        raise UserError(f"world {world.name}: its {name} target did not train (all its piles are of one image); change "
                        "its learning rate in foreign_worlds.py")  # fmt: skip
    learned = [row for row in later if row["wide"] >= _LEARNED and row["auc"] > _LEAST]
    if not learned:
        best = max(row["auc"] for row in later)
        raise UserError(f"world {world.name}: its {name} target learned none of its slices (the best AUC is {best:.2f})"
                        "; raise its epochs in foreign_worlds.py")  # fmt: skip

    def nearest(rows: list[dict[str, Any]], band: str) -> dict[str, Any]:
        return min(rows, key=lambda row: abs(row["auc"] - sum(BANDS[band]) / 2))

    chosen = {"early": early, "clear": nearest(learned, "clear")}
    less = [row for row in learned if row["auc"] < chosen["clear"]["auc"]]
    return chosen | ({"faint": nearest(less, "faint")} if less else {})


def _size(truth: _Truth, pile: np.ndarray, band: tuple[float, float]) -> dict[str, Any]:
    """The images of a test pile that bring the best baseline into the band, the most of them that do."""
    sizes = [len(pile)]
    while sizes[-1] // 2 >= _SMALLEST:
        sizes.append(sizes[-1] // 2)
    rows = []
    for size in sizes:
        rows.append({"size": size, **truth.measure(pile[:size])})
        rows[-1]["inside"] = bool(band[0] <= rows[-1]["auc"] <= band[1])
        if rows[-1]["inside"]:
            return rows[-1]
    return min(rows, key=lambda row: abs(row["auc"] - sum(band) / 2))


# --- cases


@dataclass(frozen=True)
class _Plan:
    """A case before it is written. Real slices are uint8 [image, height, width] and go with their patients."""

    world: World
    name: str
    dealt: Dealt
    dev: tuple[np.ndarray, np.ndarray]  # indices of the slices used and not used
    dev_pile: np.ndarray
    test_pile: np.ndarray
    candidates: np.ndarray  # indices, those with label 1 first
    said: dict[str, Any]
    look: tuple[float, float, float, float] | None = None  # of another scanner, as `scanned` takes it

    def write(self, folder: Path) -> str:
        """Writes FOLDER/NAME/data unless it is there. Returns its name."""
        done = folder / self.name / "data"
        if done.is_dir():
            return self.name
        part = done.with_name(".data.part")
        shutil.rmtree(part, ignore_errors=True)  # of a killed process
        part.mkdir(parents=True)
        seed, pool = self.world.seed, self.dealt.pool
        label = np.arange(len(self.candidates)) < self.world.test_used
        order = keys.generator(seed, "foreign/order", self.name).permutation(len(self.candidates))
        asked, label = self.candidates[order], label[order]
        shown = pool.images[asked]
        if self.look is not None:
            shown = scanned(shown, self.look, keys.generator(seed, "foreign/scanner noise"))
        for place, images in (
            (challenge.USED, pool.images[self.dev[0]]),
            (challenge.NOT_USED, pool.images[self.dev[1]]),
            (challenge.GENERATED, self.dev_pile),
            (challenge.TEST_GENERATED, self.test_pile),
            (challenge.UNKNOWN, shown),
        ):
            _write_images(part, place, images)
        names = [_file(challenge.UNKNOWN, i) for i in range(len(asked))]
        groups = [pool.groups[x] for x in asked]
        files.write_csv(
            part / "sealed" / "truth.csv", ("id", "label", "group"), zip(names, label.astype(int), groups, strict=True)
        )
        if self.world.publish_patients:
            rows = [(f"{name}.png", group) for name, group in zip(names, groups, strict=True)]
            for place, chosen in zip((challenge.USED, challenge.NOT_USED), self.dev, strict=True):
                rows += [(f"{_file(place, i)}.png", pool.groups[x]) for i, x in enumerate(chosen)]
            files.write_csv(part / "patients.csv", ("file", "patient"), rows)
        files.write_json(
            part / "sealed" / "case.json",
            {"world": self.world.name, "case": self.name, "recipe": dataclasses.asdict(self.world), **self.said},
        )
        os.replace(part, done)
        _say(self.world, f"{self.name} is written")
        return self.name


def _file(place: tuple[str, str, int], index: int) -> str:
    _, stem, digits = place
    return f"{stem}_{index + 1:0{digits}d}"


def _write_images(root: Path, place: tuple[str, str, int], images: np.ndarray) -> None:
    folder = root / place[0]
    folder.mkdir(parents=True)
    for i, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{_file(place, i)}.png")


def _plans(world: World, dealt: Dealt, targets: dict[str, _Piles]) -> list[_Plan]:
    """All cases of a world."""
    first, second = targets["first"], targets.get("second")
    cut = world.dev_pile
    dev = dealt.of("dev_used"), dealt.of("dev_not_used")
    asked = dealt.of("test_used", "test_not_used")
    unseen = dealt.of("unseen_used", "unseen_not_used")
    plan = functools.partial(_Plan, world, dealt=dealt, dev=dev, candidates=asked)
    plans = []
    for band in ("faint", "clear"):
        if band in first.piles:
            pile, row = first.piles[band], first.rows[band]
            plans.append(plan(band, dev_pile=pile[:cut], test_pile=pile[cut:][: row["size"]], said=_leaks(band, row)))
    clear = first.piles["clear"]
    row = first.rows["clear"]
    if second is not None:
        pile, other = second.piles["clear"], (dealt.of("second_dev_used"), dealt.of("dev_not_used"))
        said = _leaks("clear", row) | {"same_generator": False, "dev_auc": second.rows["clear"]["auc"]}
        plans += [
            plan("foreign-dev", dev=other, dev_pile=pile[:cut], test_pile=clear[cut:][: row["size"]], said=said),
            plan(
                "unseen-other",
                dev_pile=clear[:cut],
                test_pile=pile[cut:],
                candidates=unseen,
                said=_null("dev pile of the first target, test pile of the second; neither saw a candidate", False),
            ),
        ]
    plans += _nulls(plan, world, dealt, first, asked, unseen, "")
    # slices that no target saw either, and where they are too few, some of those that were asked about before
    rng = keys.generator(world.seed, "foreign/others")
    others = np.concatenate([rng.permutation(dealt.of("test_not_used", "spare")), rng.permutation(unseen)])
    plans += _nulls(plan, world, dealt, first, unseen, others[: len(unseen)], SECOND)
    small = decoding.resize(dealt.pool.images, RESOLUTION)
    return [_measured(one, small) for one in plans]


def _nulls(
    plan: Callable[..., _Plan],
    world: World,
    dealt: Dealt,
    first: _Piles,
    asked: np.ndarray,
    unseen: np.ndarray,
    end: str,
) -> list[_Plan]:
    """Nulls whose names end in `end`. asked: candidates where the pile cannot show any slice; unseen: candidates that
    the target never saw, where it can."""
    cut, clear, early = world.dev_pile, first.piles["clear"], first.piles["early"]
    spare = decoding.resize(dealt.pool.images[dealt.of("spare")], RESOLUTION)
    count = cut + _made(world)
    copies = changed(spare, count, 1.0, keys.generator(world.seed, f"foreign/copies{end}"))
    nobody = spare[:5] if not end else spare[5:10]
    few = changed(nobody, count, 0.3, keys.generator(world.seed, f"foreign/collapsed{end}"))
    look = scanner(keys.generator(world.seed, f"foreign/scanner{end}"))
    seen = plan(
        f"unseen{end}",
        dev_pile=clear[:cut],
        test_pile=clear[cut:],
        candidates=unseen,
        said=_null("the generator never saw a candidate; labels are dealt by a fair coin"),
    )
    how = f"as unseen, of another scanner: gamma, gain, blur as a share of the side, noise in grey levels = {look}"
    return [
        seen,
        plan(
            f"untrained{end}",
            dev_pile=early[:cut],
            test_pile=early[cut:],
            candidates=asked,
            said=_null(f"a target after {first.rows['early']['epochs']} epochs, which has learned no slice"),
        ),
        plan(
            f"collapsed{end}",
            dev_pile=few[:cut],
            test_pile=few[cut:],
            candidates=asked,
            said=_null("the pile is five slices of nobody with tiny changes; labels were dealt before"),
        ),
        dataclasses.replace(seen, name=f"scanner{end}", look=look, said=_null(how)),
        plan(
            f"copies{end}",
            dev_pile=copies[:cut],
            test_pile=copies[cut:],
            candidates=asked,
            said=_null("the pile is changed copies of slices that are no candidates; labels were dealt before"),
        ),
    ]


def _leaks(band: str, row: dict[str, Any]) -> dict[str, Any]:
    return {
        "null": False,
        "same_generator": True,
        "band": band,
        "inside": row["inside"],
        "step": row["step"],
        "epochs": row["epochs"],
        "auc_of_all_slices": row["wide"],
    }


def _null(how: str, same: bool = True) -> dict[str, Any]:
    return {"null": True, "same_generator": same, "band": None, "inside": None, "how": how}


def _measured(plan: _Plan, small: np.ndarray) -> _Plan:
    """The plan with its best baseline, told by the truth, and the AUC of that."""
    images = small[plan.candidates]
    if plan.look is not None:  # the noise is left out: next to nothing of it is left at this size
        bare = (*plan.look[:3], 0.0)
        images = decoding.resize(
            scanned(plan.dealt.pool.images[plan.candidates], bare, np.random.default_rng(0)), RESOLUTION
        )
    label = np.arange(len(images)) < plan.world.test_used
    scores = baselines.score_all(images, plan.test_pile.astype(np.float32), names=_PLAIN)
    aucs = {name: round(float(ranking.auc(score, label)), 4) for name, score in scores.items()}
    best = max(aucs, key=lambda name: aucs[name])
    return dataclasses.replace(plan, said=plan.said | {"best_baseline": best, "auc": aucs[best]})


# --- pictures that no network draws


def changed(images: np.ndarray, count: int, much: float, rng: np.random.Generator) -> np.ndarray:
    """`count` slightly changed copies, uint8 [image, side, side], of images chosen at random with replacement.

    images: [image, side, side] in grey levels. much: 1 shifts by up to half a pixel, scales intensities by some 3 % and
    adds noise of 3 grey levels (standard deviations); other values scale all of these.
    """
    chosen = images[rng.integers(len(images), size=count)]
    shifts = rng.uniform(-0.5, 0.5, (count, 2)) * much
    moved = np.stack([ndimage.shift(x, by, order=1, mode="nearest") for x, by in zip(chosen, shifts, strict=True)])
    gain = 1 + 0.03 * much * rng.standard_normal((count, 1, 1))
    noise = 3 * much * rng.standard_normal(moved.shape)
    return np.rint(moved * gain + noise).clip(0, 255).astype(np.uint8)


def scanner(rng: np.random.Generator) -> tuple[float, float, float, float]:
    """How another scanner looks: gamma, gain, width of the blur as a share of the side, noise in grey levels."""
    gamma = rng.choice([rng.uniform(0.75, 0.9), rng.uniform(1.1, 1.3)])
    return (
        round(float(gamma), 3),
        round(float(rng.uniform(0.9, 1.1)), 3),
        round(float(rng.uniform(0.005, 0.015)), 4),
        round(float(rng.uniform(4, 10)), 2),
    )


def scanned(images: np.ndarray, look: tuple[float, float, float, float], rng: np.random.Generator) -> np.ndarray:
    """Slices uint8 [image, side, side] as another scanner would show them; `look` as `scanner` returns it."""
    gamma, gain, blur, noise = look
    values = 255 * gain * (images / 255.0) ** gamma
    width = blur * images.shape[-1]
    values = ndimage.gaussian_filter(values, (0, width, width))
    return np.rint(values + noise * rng.standard_normal(values.shape)).clip(0, 255).astype(np.uint8)


def main(_: list[str]) -> None:
    root, errors = Path(_ROOT.value), []
    for name in _WORLDS.value or list(WORLDS):
        try:
            cases = make(root, name, _POOL.value, _PATIENTS.value)
        except UserError as error:  # the other worlds can be made all the same
            errors.append(str(error))
            continue
        print(f"{name}: {len(cases)} cases: {', '.join(case.name for case in cases)}", flush=True)
    if errors:
        raise UserError("; ".join(dict.fromkeys(errors)))


if __name__ == "__main__":
    with exits(lambda: _ROOT.value):
        app.run(main)

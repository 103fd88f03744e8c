"""Did one generator make the dev pile and the test pile? Only then do dev labels count as labels of the target.

Three pieces of evidence are joined in `decide`:

- `compare_piles`: a two-sample test of the images of both piles, with an exact level;
- `power_on_shadows`: how often that test tells two shadows apart, which are two runs of one recipe;
- `label_consistency`: whether the dev labels separate as well on the test pile as on the dev pile, and with what power.

The labels count where neither test rejects and at least one of them would have seen another run of the recipe. Two
errors are possible. A wrong "different" loses the labels. Its chance is about the sum of both levels, .10 by default.
A wrong "same" takes labels of another generator for those of the target, and the figures of the report are then
wrong. This costs more, so no labels count without power. A test without power cannot reject, whatever the truth is.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import threadpoolctl
from scipy import stats

from attack.evidence.embeddings import pca
from attack.evidence.embeddings.builtin import detail, highpass, standardised
from attack.evidence.embeddings.distances import distances
from attack.metrics.intervals import Interval, clopper_pearson, group_numbers
from attack.metrics.ranking import auc, auc_difference_grouped, check_labels, check_scores
from shadow import keys
from shadow.data.decoding import resize

LEVEL = 0.05  # of the test of the piles, and of that of the labels
POWER = 0.8  # to see another run of the recipe: below, "not told apart" says nothing
FEWEST = 20  # images of a pile; fewer are not compared
FEWEST_GROUPS = 6  # patients with a used slice, and with one that was not used; a bootstrap of fewer has no level
MATTERS = 0.05  # difference of two AUCs; a smaller one is not held against labels, and near 1 its p is too small
SAME_IMAGES = 0.95  # share of a pile that lies in the other byte for byte: then the one is a part of the other

_MOST = 500  # images of each pile that are compared
_SIDE = 64  # pixels; larger images are reduced
_NEIGHBOURS = 10  # of an image; 3 and 5 had less power on shadows' piles
_RANKS = 32  # nearest images among which the nearest of the own pile is looked up
_NEAR = 0.5  # distance of standardised images below which two are near-duplicates, as in attack/evidence/pile_shift.py
_FOLDS = 5
_RIDGE = 0.05  # of the classifier, in units of a component's variance
_PERMUTATIONS = 499
_PAIRS = 12  # of shadows, for the power
_SURE = 0.8  # one-sided level of the lower limit of the power on shadows
_NULLS = 100  # made-up scores of a generator without the dev slices, for the power of the labels
_DRAWS = 500  # of the bootstrap of each


@dataclass(frozen=True)
class StatisticTest:
    """One of the tests of two piles.

    value: its statistic; expected: the mean of the statistic over permutations, as if one generator made both piles;
    p: in (0, 1], adjusted for all the tests (Westfall and Young 1993), so the smallest is that of the whole.
    """

    value: float
    expected: float
    p: float


@dataclass(frozen=True)
class PileTest:
    """Whether two piles can be told apart.

    p: of "one generator made both piles", in (0, 1], None where the piles are too few images; parts: the tests by
    name; images: number compared of each pile; shared: share of the smaller pile that lies in the other byte for byte;
    why: the reason where p is None, else empty.
    """

    p: float | None
    level: float
    images: int
    shared: float
    parts: dict[str, StatisticTest]
    why: str = ""

    @property
    def differ(self) -> bool:
        """The piles are told apart at the level, and are not the same images."""
        return self.p is not None and self.p <= self.level and not self.identical

    @property
    def identical(self) -> bool:
        """One pile is, but for a few images, a part of the other."""
        return self.p is not None and self.shared >= SAME_IMAGES

    @property
    def strongest(self) -> str:
        """Name of the test with the smallest p, "" where there is none."""
        return min(self.parts, key=lambda name: self.parts[name].p) if self.parts else ""


def compare_piles(dev: np.ndarray, test: np.ndarray, seed: int, level: float = LEVEL) -> PileTest:
    """Tests whether images of two piles [image, side, side], grey levels 0 to 255, are of one distribution.

    Eight statistics have one permutation law. Their smallest p is compared with the smallest p of each permutation
    (Westfall and Young 1993). So the level is exact, whatever the images are, if images of a pile are independent.

    - "neighbours (pixels)", "neighbours (detail)": share of the ten nearest neighbours of an image that are of its own
      pile (Schilling 1986; Henze 1988), in two embeddings. A generator that memorised puts images near its members.
    - "nearest": the same of the one nearest neighbour in pixels. This and all shares of neighbours are two-sided: from
      the same noise two generators make like images, and too few neighbours are then of the own pile.
    - "kernel (pixels)", "kernel (detail)": squared maximum mean discrepancy (Gretton et al. 2012) of a Gaussian kernel
      whose width is the median distance. It sees that two generators learned from other slices, before any is copied.
    - "classifier": AUC of a linear classifier of principal components on images that it was not fitted on (after
      Lopez-Paz and Oquab 2017, arXiv 1610.06545). It is least squares, which is Fisher's discriminant, since that is
      fitted to every permutation at the cost of one.
    - "near-duplicates": share of images with a near-duplicate in their own pile, less the share with one in the other,
      two-sided too.
    - "statistics": the largest difference of the piles' mean brightness, contrast and `regime.pile_statistics`, in
      standard deviations of its permutations.

    Equal numbers are compared, at most 500 of each. The result is a function of the sets of images and the seed. It is
    the same for other orders of the images, and with dev and test exchanged. The test has no power against piles of
    one distribution that two generators made. ValueError for images of two sizes or a level outside (0, 1).
    """
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
    if dev.ndim != 3 or dev.shape[1:] != test.shape[1:]:
        raise ValueError(f"piles must be images of one size, got {dev.shape} and {test.shape}")
    images = min(len(dev), len(test), _MOST)
    if images < FEWEST:
        few = min(len(dev), len(test))
        why = f"a pile of {few} image{'' if few == 1 else 's'} is too small to compare: {FEWEST} are needed"
        return PileTest(None, level, images, 0.0, {}, why)
    if dev.dtype != test.dtype:
        dev, test = np.asarray(dev, np.float32), np.asarray(test, np.float32)
    digests = _digests(dev), _digests(test)
    shared = _shared(*digests)
    chosen = [_choose(d, images, seed) for d in digests]
    both = np.concatenate([_small(dev[chosen[0]]), _small(test[chosen[1]])])
    names = np.concatenate([digests[0][chosen[0]], digests[1][chosen[1]]])
    # An order that knows no pile: by content, and copies of one image at random.
    shuffled = keys.generator(seed, "same_generator/order").permutation(2 * images)
    order = np.argsort(names, kind="stable")[shuffled]
    pile = np.repeat(np.array([1.0, -1.0], np.float32), images)[order]
    rng = keys.generator(seed, "same_generator/permutations")
    sides = np.stack([pile, *(rng.permutation(pile) for _ in range(_PERMUTATIONS))], axis=1)
    parts = _judge(_statistics(both[order], sides))
    return PileTest(min(part.p for part in parts.values()), level, images, shared, parts)


def _digests(pile: np.ndarray) -> np.ndarray:
    """A fingerprint of each image, bytes [image]."""
    return np.array([hashlib.sha256(image.tobytes()).hexdigest() for image in pile])


def _shared(dev: np.ndarray, test: np.ndarray) -> float:
    """Share of the distinct images of the smaller pile that lie in the other; 0 where they are few: two collapsed
    generators may have some image in common."""
    sets = sorted((set(dev.tolist()), set(test.tolist())), key=len)
    return len(sets[0] & sets[1]) / len(sets[0]) if len(sets[0]) >= FEWEST else 0.0


def _choose(digests: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Places of `count` images at random, a function of the set of images."""
    picked = keys.generator(seed, "same_generator/images").permutation(len(digests))[:count]
    return np.argsort(digests, kind="stable")[picked]


def _small(images: np.ndarray) -> np.ndarray:
    """Images [image, side, side] at no more than _SIDE pixels a side."""
    side = images.shape[-1]
    return resize(images, _SIDE) if side > _SIDE and side == images.shape[1] else np.asarray(images, np.float32)


@dataclass(frozen=True)
class _Values:
    """A statistic of the true assignment (first) and of permuted ones, float64 [assignment]; a larger `extreme` speaks
    against one generator."""

    shown: np.ndarray
    extreme: np.ndarray


def _two_sided(values: np.ndarray) -> _Values:
    # the true assignment counts in the mean, so that all assignments are treated alike
    return _Values(values, np.abs(values - values.mean()))


@functools.cache
def _threads() -> threadpoolctl.ThreadpoolController:
    """The threads of the matrix libraries. One is used: the matrices are small, and where the cores are busy, threads
    that wait for each other take many times as long."""
    return threadpoolctl.ThreadpoolController()


def _statistics(images: np.ndarray, sides: np.ndarray) -> dict[str, _Values]:
    """Every statistic of images [image, side, side] under assignments +1/-1 float32 [image, assignment]."""
    embedded = {"detail": highpass(images), "pixels": standardised(images)}
    apart = {name: distances(vectors, vectors) for name, vectors in embedded.items()}
    views = images, detail(images)
    with _threads().limit(limits=1, user_api="blas"):
        bases = [pca.fit(view, pca.components(len(view))) for view in views]
    features = np.concatenate([basis.embed(view) for basis, view in zip(bases, views, strict=True)], axis=1)
    with _threads().limit(limits=1, user_api="blas"):
        return _tests(images, apart, features, sides)


def _tests(
    images: np.ndarray, apart: dict[str, np.ndarray], features: np.ndarray, sides: np.ndarray
) -> dict[str, _Values]:
    """As `_statistics`, from distances [image, image] in each embedding, and features [image, component]."""
    half, count = len(images) // 2, min(_NEIGHBOURS, len(images) - 1)
    result: dict[str, _Values] = {}
    ranked: dict[str, np.ndarray] = {}  # nearest images of each image, nearest first
    for name, found in apart.items():
        np.fill_diagonal(found, np.inf)
        order = ranked[name] = np.argsort(found, axis=1, kind="stable")[:, : min(_RANKS, len(images) - 1)]
        result[f"neighbours ({name})"] = _own(order[:, :count], sides)
        square = found**2
        kernel = np.exp(-square / max(float(np.median(square)), 1e-6))  # 0 for an image and itself
        closer = (sides * (kernel @ sides)).sum(0, dtype=np.float64) / half**2
        result[f"kernel ({name})"] = _Values(closer, closer)
    result["nearest"] = _own(ranked["pixels"][:, :1], sides)
    ranks = stats.rankdata(_held_out(features, sides), axis=0)
    area = ((ranks * (sides > 0)).sum(0) / half - (half + 1) / 2) / half
    result["classifier"] = _Values(area, area)
    result["near-duplicates"] = _two_sided(_near_duplicates(apart["pixels"], sides))
    largest = _differences(images, apart["pixels"], ranked["pixels"], sides)
    result["statistics"] = _Values(largest, largest)
    return result


def _own(neighbours: np.ndarray, sides: np.ndarray) -> _Values:
    """Share of the neighbours [image, neighbour] of an image that are of its own pile."""
    near = np.zeros((len(sides), len(sides)), np.float32)
    np.put_along_axis(near, neighbours, 1.0, axis=1)
    return _two_sided((1 + (sides * (near @ sides)).sum(0, dtype=np.float64) / neighbours.size) / 2)


def _judge(statistics: dict[str, _Values]) -> dict[str, StatisticTest]:
    """Each test with its p of the true assignment, adjusted by the smallest p of every assignment."""
    p = {name: stats.rankdata(-found.extreme, method="max") / len(found.extreme) for name, found in statistics.items()}
    smallest = np.min(list(p.values()), axis=0)
    return {
        name: StatisticTest(float(found.shown[0]), float(found.shown.mean()), float((smallest <= p[name][0]).mean()))
        for name, found in statistics.items()
    }


def _held_out(features: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """The classifier's output [image, assignment] for each image, fitted on the other folds. Folds know no pile: images
    come in random order."""
    x = np.asarray(features, np.float64)
    fold = np.arange(len(x)) % _FOLDS
    result = np.empty(sides.shape)
    for f in range(_FOLDS):
        fit, judged = x[fold != f], x[fold == f]
        inner = fit.T @ fit + _RIDGE * len(fit) * np.eye(x.shape[1])
        result[fold == f] = judged @ np.linalg.solve(inner, fit.T @ sides[fold != f].astype(np.float64))
    # predictions that only rounding tells apart are ties
    return np.round(result, 9)


def _near_duplicates(apart: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """Share of images with a near-duplicate in their own pile, less that with one in the other [assignment]."""
    near = (apart < _NEAR).astype(np.float32)
    first, second = near @ (sides > 0).astype(np.float32) > 0, near @ (sides < 0).astype(np.float32) > 0
    more = first.astype(np.float32) - second
    return (more * sides).sum(0, dtype=np.float64) / len(apart)


def _differences(images: np.ndarray, apart: np.ndarray, order: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """The largest standardised difference of the piles' statistics [assignment]."""
    signs = sides.astype(np.float64)
    logs = np.log(np.maximum(apart, 1e-4).astype(np.float64))
    ranked = np.take_along_axis(logs, order, axis=1)
    nearest = np.empty((2, 2, sides.shape[1]))  # pile, [median log, share of near-duplicates], assignment
    for column, side in enumerate(sides.T):
        own = side[order] == side[:, None]
        # where none of the nearest is a fellow: the last of them, a lower bound
        place = np.where(own.any(1), own.argmax(1), order.shape[1] - 1)
        found = ranked[np.arange(len(images)), place]
        for i, mine in enumerate((found[side > 0], found[side < 0])):
            nearest[i, :, column] = np.median(mine), (mine < np.log(_NEAR)).mean()
    np.fill_diagonal(logs, 0.0)
    half = len(images) // 2
    spread = logs.sum(1) @ signs  # pairs across the piles cancel
    grey = np.asarray(images, np.float64)
    contrast = grey.std((1, 2))
    energy = (detail(images) ** 2).mean((1, 2)) / np.maximum(contrast**2, 1e-9)
    alone = np.stack([grey.mean((1, 2)), np.log(np.maximum(contrast, 1e-3)), np.log(np.maximum(energy, 1e-9))], axis=1)
    gaps = np.concatenate([nearest[0] - nearest[1], spread[None] / (half * (half - 1)), (signs.T @ alone).T / half])
    scale = np.sqrt((gaps**2).mean(1, keepdims=True))
    return np.abs(np.divide(gaps, scale, out=np.zeros_like(gaps), where=scale > 1e-9)).max(0)


@dataclass(frozen=True)
class Power:
    """How often `compare_piles` tells two shadows apart: two runs of one recipe on different slices.

    told_apart of pairs; interval: 95 % (Clopper and Pearson 1934); images: compared of each pile; halves: piles whose
    first half was compared with the second, false_alarms: how many of these were told apart, about `level` of them
    where the images of a pile are independent; why: the reason where there are no pairs, else empty.
    """

    told_apart: int
    pairs: int
    interval: Interval
    images: int
    level: float
    halves: int
    false_alarms: int
    why: str = ""

    @property
    def value(self) -> float:
        """The power, in [0, 1]; 0 without pairs."""
        return self.told_apart / self.pairs if self.pairs else 0.0

    @property
    def enough(self) -> bool:
        """The one-sided 80 % lower limit of the power is `POWER` at least: 8 to 12 pairs must all be told apart. Then,
        if pairs are independent, a fleet passes and the test misses in at most 5 % of cases, whatever the power is."""
        return self.pairs > 0 and clopper_pearson(self.told_apart, self.pairs, 2 * _SURE - 1)[0] >= POWER


def power_on_shadows(piles: Sequence[np.ndarray], seed: int, level: float = LEVEL, images: int = _MOST) -> Power:
    """Measures the power of `compare_piles` on shadows' piles [image, side, side], one pile of each shadow.

    The piles should be of the training step that is most like the target's. `images`: number compared of each pile, as
    in `PileTest.images`; smaller piles are compared at their own size, where the test has less power. Two shadows share
    about half of their members, so that the power against a generator of other slices is larger than this. At most 12
    pairs are compared, each shadow in about as many as any other; pairs that share a shadow are not independent.
    """
    order = keys.generator(seed, "same_generator/pairs").permutation(len(piles)).tolist()
    steps = range(1, len(order) // 2 + 1)  # round a circle: neighbours first, then those two places apart, ...
    circle = [(order[i], order[(i + step) % len(order)]) for step in steps for i in range(len(order))]
    pairs = list(dict.fromkeys((min(pair), max(pair)) for pair in circle))[:_PAIRS]

    def some(k: int) -> np.ndarray:
        """As many images of a pile as are asked for, at random."""
        chosen = keys.generator(seed, "same_generator/shadow", k).permutation(len(piles[k]))[:images]
        return piles[k][np.sort(chosen)]

    found = [compare_piles(some(a), some(b), seed, level) for a, b in pairs]
    split = [(piles[k][: len(piles[k]) // 2], piles[k][len(piles[k]) // 2 :]) for k in sorted(order[: _PAIRS // 2])]
    halves = [compare_piles(first[:images], second[:images], seed, level) for first, second in split]
    done, checked = ([test for test in tests if test.p is not None] for tests in (found, halves))
    told, alarms = (sum(test.differ for test in tests) for tests in (done, checked))
    why = ""
    if not pairs:
        why = "there are no two shadows to compare"
    elif not done:
        why = found[0].why
    return Power(
        told,
        len(done),
        clopper_pearson(told, len(done)) if done else (0.0, 1.0),
        min((test.images for test in done), default=0),
        level,
        len(checked),
        alarms,
        why,
    )


@dataclass(frozen=True)
class LabelTest:
    """Whether the dev labels separate as well on the test pile as on the dev pile.

    auc_dev, auc_test: AUC of the dev slices on either pile; interval: 95 % of auc_dev - auc_test; p: one-sided, small
    where the test pile's is lower, None where the patients are too few; power: chance that they differ if the AUC on
    the test pile were .5; groups: patients, the smaller of those with a used slice and those with one that was not
    used; why: the reason where p is None, else empty.
    """

    auc_dev: float
    auc_test: float
    interval: Interval
    p: float | None
    power: float
    groups: int
    level: float
    why: str = ""

    @property
    def differ(self) -> bool:
        """The labels separate worse on the test pile: at the level, and by `MATTERS` at least."""
        return self.p is not None and _lower(self.auc_dev - self.auc_test, self.p, self.level)

    @property
    def enough(self) -> bool:
        """The power is `POWER` at least."""
        return self.p is not None and self.power >= POWER


def label_consistency(
    score_on_dev_pile: np.ndarray,
    score_on_test_pile: np.ndarray,
    label: np.ndarray,
    group: np.ndarray,
    seed: int = 0,
    level: float = LEVEL,
) -> LabelTest:
    """Tests whether labels of dev slices (1 = used) separate their scores worse on the test pile than on the dev pile.

    Both scores [slice] are of one attack, higher for "used", on piles of equal numbers of images: a smaller pile alone
    lowers the AUC. The test is the paired bootstrap over groups (patients) of `auc_difference_grouped`, one-sided. A
    generator that never saw the used slices has an AUC of .5 there. The power is the share of 100 made-up generators of
    that kind which the test sees. Their scores are normal scores of those on the test pile, less the mean of their
    class, with a random sign for each group (a wild bootstrap, Cameron, Gelbach and Miller 2008). The scores on the dev
    pile stay as they are. ValueError for labels of one class and scores that are not finite.
    """
    target = check_labels(label)
    first, second = (check_scores(s, len(target)) for s in (score_on_dev_pile, score_on_test_pile))
    areas = auc(first, target), auc(second, target)
    names, numbers = group_numbers(group, len(target))
    groups = min(len(np.unique(numbers[target == kind])) for kind in (0, 1))
    if groups < FEWEST_GROUPS:
        kinds = "with a used slice, and with one that was not used"
        why = f"{FEWEST_GROUPS} patients {kinds}, are needed to compare the labels; there are {groups}"
        return LabelTest(*areas, (-1.0, 1.0), None, 0.0, groups, level, why)
    found = auc_difference_grouped(first, second, target, group, seed=seed)
    noise = stats.norm.ppf((stats.rankdata(second) - 0.5) / len(second))
    for kind in (0, 1):
        noise[target == kind] -= noise[target == kind].mean()
    rng, seen = keys.generator(seed, "same_generator/labels"), 0
    for _ in range(_NULLS):
        made = noise * rng.choice((-1.0, 1.0), len(names))[numbers]
        other = auc_difference_grouped(first, made, target, group, seed=seed, draws=_DRAWS)
        seen += _lower(other.difference, _one_sided(other.difference, other.p), level)
    p = _one_sided(found.difference, found.p)
    return LabelTest(*areas, found.interval, p, seen / _NULLS, groups, level)


def _one_sided(difference: float, p: float) -> float:
    """p of "not above zero", from the two-sided one."""
    return p / 2 if difference > 0 else 1 - p / 2


def _lower(difference: float, p: float, level: float) -> bool:
    """An AUC is lower than another, with one-sided p, and by enough."""
    return p <= level and difference >= MATTERS


@dataclass(frozen=True)
class SameGenerator:
    """Whether dev labels count as labels of the target.

    same: they do; kind: why, one of KINDS; reason: the same as a sentence for a report; power: the largest of those
    that count, in [0, 1]; piles, shadows, labels: the evidence, None where it was not given.
    """

    same: bool
    kind: str
    reason: str
    power: float
    piles: PileTest
    shadows: Power | None
    labels: LabelTest | None


KINDS = ("same", "identical", "piles differ", "labels differ", "no power", "too few")


def decide(piles: PileTest, shadows: Power | None, labels: LabelTest | None, outside: bool = False) -> SameGenerator:
    """Joins the evidence: dev labels count where both tests could have seen another generator, and did not.

    1. Piles that are too small to compare, or told apart, never count.
    2. Labels that separate worse on the test pile never count.
    3. Else one of the two tests must have power against another run of the recipe: the test of the piles, measured on
       shadows (`Power.enough`), or that of the labels (`LabelTest.enough`).

    `outside`: the target's pile lies outside the shadows' range (`regime.excess` above 0). Shadows then say nothing of
    the power. Where one pile is a part of the other, no power is needed.
    """

    def result(same: bool, kind: str, reason: str, power: float) -> SameGenerator:
        return SameGenerator(same, kind, reason, power, piles, shadows, labels)

    on_shadows = 0.0 if shadows is None or outside else shadows.value
    power = max(on_shadows, 0.0 if labels is None else labels.power)
    if piles.p is None:
        return result(False, "too few", f"The dev pile and the test pile are not compared: {piles.why}.", 0.0)
    if piles.identical:
        share = f"{piles.shared:.0%}"
        return result(True, "identical", f"{share} of the smaller pile's images lie in the other pile too.", 1.0)
    if piles.differ:
        return result(
            False,
            "piles differ",
            f"The dev pile and the test pile are not of one generator: {_words(piles)}.",
            power,
        )
    if labels is not None and labels.differ:
        return result(
            False,
            "labels differ",
            f"The dev labels separate worse on the test pile (AUC {labels.auc_test:.2f}) than on the dev pile "
            f"({labels.auc_dev:.2f}; p = {labels.p:.3f}).",
            power,
        )
    apart = f"The dev pile and the test pile cannot be told apart (p = {piles.p:.2f})"
    by_piles = shadows is not None and not outside and shadows.enough
    by_labels = labels is not None and labels.enough
    if not (by_piles or by_labels):
        return result(False, "no power", f"{apart}, but another run of the recipe would not be either.", power)
    ways = []
    if by_piles and shadows is not None:
        ways.append(f"{shadows.told_apart} of {shadows.pairs} pairs of shadows, runs of one recipe, are told apart")
    if by_labels and labels is not None:
        ways.append(
            f"the dev labels separate as well on the test pile (AUC {labels.auc_test:.2f}) as on the dev pile "
            f"({labels.auc_dev:.2f}), and an AUC of .50 would be seen with a power of {labels.power:.2f}"
        )
    return result(True, "same", f"{apart}; {'; '.join(ways)}.", power)


def _words(piles: PileTest) -> str:
    """The test that tells them apart, for a reader."""
    part = piles.parts[piles.strongest]
    more = "more" if part.value > part.expected else "less"
    said = {
        "neighbours (pixels)": f"{part.value:.0%} of an image's nearest neighbours are of its own pile",
        "neighbours (detail)": f"{part.value:.0%} of an image's nearest neighbours in detail are of its own pile",
        "classifier": f"a classifier tells their images apart with an AUC of {part.value:.2f}",
        "kernel (pixels)": "their images are more alike within a pile than across the piles",
        "kernel (detail)": "their images are more alike in detail within a pile than across the piles",
        "nearest": f"the nearest neighbour of {part.value:.0%} of the images is of their own pile",
        "near-duplicates": f"images have near-duplicates {more} often in their own pile than in the other",
        "statistics": "statistics of the piles differ",
    }[piles.strongest]
    return f"{said} (p = {part.p:.3f})"

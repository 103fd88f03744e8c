"""Can the images of two piles be told apart, and how often are those of two shadows?"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from attack.decision.same_generator import two_samples
from attack.decision.same_generator.two_samples import StatisticTest
from attack.metrics.intervals import Interval, clopper_pearson
from shadow import keys
from shadow.data.decoding import resize

LEVEL = 0.05  # of the test
ENOUGH = 0.8  # power to see another run of the recipe: below, "not told apart" says nothing
FEWEST = 20  # images of a pile; fewer are not compared
SAME_IMAGES = 0.95  # share of a pile that lies in the other byte for byte: then the one is a part of the other
_MOST = 500  # images of each pile that are compared
_SIDE = 64  # pixels; larger images are reduced
_PERMUTATIONS = 499
_PAIRS = 12  # of shadows, for the power
_SURE = 0.8  # one-sided level of the lower limit of the power on shadows


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
    - "statistics": the largest difference of the piles' mean brightness, contrast and `pile_shift.pile_statistics`, in
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
    both = np.concatenate([reduced(dev[chosen[0]]), reduced(test[chosen[1]])])
    names = np.concatenate([digests[0][chosen[0]], digests[1][chosen[1]]])
    # An order that knows no pile: by content, and copies of one image at random.
    shuffled = keys.generator(seed, "same_generator/order").permutation(2 * images)
    order = np.argsort(names, kind="stable")[shuffled]
    pile = np.repeat(np.array([1.0, -1.0], np.float32), images)[order]
    rng = keys.generator(seed, "same_generator/permutations")
    sides = np.stack([pile, *(rng.permutation(pile) for _ in range(_PERMUTATIONS))], axis=1)
    parts = two_samples.adjusted(two_samples.statistics_of(both[order], sides))
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


def reduced(images: np.ndarray) -> np.ndarray:
    """Images [image, side, side] at no more than _SIDE pixels a side."""
    side = images.shape[-1]
    return resize(images, _SIDE) if side > _SIDE and side == images.shape[1] else np.asarray(images, np.float32)


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
        """The one-sided 80 % lower limit of the power is `ENOUGH` at least: 8 to 12 pairs must all be told apart. Then,
        if pairs are independent, a fleet passes and the test misses in at most 5 % of cases, whatever the power is."""
        return self.pairs > 0 and clopper_pearson(self.told_apart, self.pairs, 2 * _SURE - 1)[0] >= ENOUGH


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

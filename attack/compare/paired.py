"""Which of two checkpoints leaks more: tests of a difference, paired by image.

Two steps of one shadow have the same members, two shadows have other ones of the same images, and two runs may share no
image. In each case the variance of a difference comes from what every image contributes to it (its influence); what is
shared is subtracted before it is squared.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from attack import metrics
from attack.results.compared import Difference
from attack.results.figures import Figure

_Z = float(stats.norm.ppf(0.975))


@dataclass(frozen=True)
class Scored:
    """Scores of one checkpoint, higher = more likely a member, and the answer; `images` are names that two checkpoints
    share where the picture is the same one, and `groups` those of patients or clusters, of one image each where None.
    """

    images: tuple[str, ...]
    score: np.ndarray
    member: np.ndarray
    groups: tuple[str, ...] | None = None

    @property
    def clustered(self) -> bool:
        """Are there images of one group?"""
        return self.groups is not None and len(set(self.groups)) < len(self.groups)

    @property
    def label(self) -> np.ndarray:
        """1 for members."""
        return self.member.astype(int)

    @property
    def auc(self) -> float:
        """ValueError where a class is missing."""
        return metrics.auc(self.score, self.label)

    @property
    def both(self) -> bool:
        """Are there members and non-members?"""
        return bool(self.member.any() and not self.member.all())


def auc_difference(a: Scored, b: Scored) -> Difference:
    """AUC of a minus AUC of b.

    DeLong's paired test (DeLong, DeLong and Clarke-Pearson 1988) where images and members are the same, and no two
    images are of one group; else its structural components, summed by image or group (Obuchowski 1997, Biometrics 53),
    with those that only one of them has on their own. ValueError where a class is missing.
    """
    clustered = a.clustered or b.clustered
    if not clustered and a.images == b.images and np.array_equal(a.member, b.member):
        found = metrics.delong_paired(a.score, b.score, a.label)
        return _difference(found.difference, found.interval, found.p, "DeLong, paired by image")
    first, second = (_influence(x) for x in (a, b))
    shared = first.keys() & second.keys()
    squares = _squares(first, second)
    method = f"DeLong's components, paired by {'group' if clustered else 'image'}" if shared else "unpaired"
    return _tested(a.auc - b.auc, squares, method)


def _influence(x: Scored) -> dict[str, float]:
    """What each image, or each group, adds to the AUC's error; the sum of squares is DeLong's variance."""
    components = metrics.placements(x.score, x.label)
    found = np.zeros(len(components))
    for side in (x.member, ~x.member):
        count = int(side.sum())
        found[side] = (components[side] - components[side].mean()) / np.sqrt(count * max(count - 1, 1))
    summed: dict[str, float] = {}
    for name, value in zip(x.groups if x.clustered and x.groups else x.images, found.tolist(), strict=True):
        summed[name] = summed.get(name, 0.0) + value
    return summed


def _squares(first: dict[str, float], second: dict[str, float]) -> float:
    """The variance of a difference by what each image or group adds to either side; in one order, to the last bit."""
    return sum((first.get(name, 0.0) - second.get(name, 0.0)) ** 2 for name in first | second)


def _tested(difference: float, variance: float, method: str) -> Difference:
    """By the normal distribution; without any variance only no difference at all is none."""
    error = float(np.sqrt(variance))
    if error < 1e-12:
        return _difference(difference, (difference, difference), 1.0 if abs(difference) < 1e-12 else 0.0, method)
    limits = (difference - _Z * error, difference + _Z * error)
    return _difference(difference, limits, float(2 * stats.norm.sf(abs(difference) / error)), method)


def _difference(value: float, limits: tuple[float, float], p: float, method: str) -> Difference:
    return Difference(difference=value, low=limits[0], high=limits[1], p=p, method=method)


@dataclass(frozen=True)
class Losses:
    """Losses [level, image] of one checkpoint on named images, and which of them it was trained on."""

    images: tuple[str, ...]
    loss: np.ndarray
    member: np.ndarray


def mean_interval(values: np.ndarray) -> Figure:
    """The mean with Student's t interval (both ends the mean, for a single value)."""
    mean, n = float(values.mean()), len(values)
    half = float(stats.t.ppf(0.975, n - 1) * values.std(ddof=1) / np.sqrt(n)) if n > 1 else 0.0
    return Figure(value=mean, low=mean - half, high=mean + half)


def gap(x: Losses) -> tuple[Figure, ...]:
    """By level: how much larger the loss on images it was not trained on is, as a share: mean OUT / mean IN - 1, with
    an interval from the logs by the delta method. ValueError where a class is missing."""
    rows = []
    for log_ratio, influence in (_log_ratio(row, x.member) for row in x.loss):
        half = _Z * float(np.sqrt((influence**2).sum()))
        value, low, high = (float(np.expm1(z)) for z in (log_ratio, log_ratio - half, log_ratio + half))
        rows.append(Figure(value=value, low=low, high=high))
    return tuple(rows)


def _log_ratio(loss: np.ndarray, member: np.ndarray) -> tuple[float, np.ndarray]:
    """log(mean OUT / mean IN) of losses [image], and the influence of each image on it."""
    if not member.any() or member.all():
        raise ValueError("one class is missing")
    inside, outside = loss[member].mean(), loss[~member].mean()
    influence = np.where(member, -(loss / inside - 1) / member.sum(), (loss / outside - 1) / (~member).sum())
    return float(np.log(outside / inside)), influence


def gap_difference(a: Losses, b: Losses) -> Difference:
    """As `auc_difference`, of the mean over levels of log(mean OUT / mean IN). ValueError where a class is missing."""
    values, influences = [], []
    for x in (a, b):
        rows = [_log_ratio(row, x.member) for row in x.loss]
        values.append(float(np.mean([value for value, _ in rows])))
        influences.append(dict(zip(x.images, np.mean([i for _, i in rows], axis=0).tolist(), strict=True)))
    first, second = influences
    squares = _squares(first, second)
    shared = bool(first.keys() & second.keys())
    return _tested(values[0] - values[1], squares, "delta method, paired by image" if shared else "unpaired")


def spearman(a: Scored, b: Scored) -> float | None:
    """Rank correlation of the scores on the images both have; None with fewer than 3, or where one is constant."""
    place = {name: i for i, name in enumerate(b.images)}
    both = [(i, place[name]) for i, name in enumerate(a.images) if name in place]
    if len(both) < 3:
        return None
    x, y = a.score[[i for i, _ in both]], b.score[[j for _, j in both]]
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    return float(stats.spearmanr(x, y).statistic)

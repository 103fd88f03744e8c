"""Which of two piles does the candidate look like? (after LOGAN, Hayes et al. 2019, arXiv 1705.07663, but synthetic
against synthetic: what sets generated images apart from real ones is in both piles and cancels.)

For every two piles of equal size a logistic regression with an L2 penalty tells one from the other by whitened
principal components. Its log odds at x count for the one and, with the other sign, against the other: it is fitted
once. The signal is the mean over the references, each a pile whose generator has not seen x. A classifier of two piles
knows nothing of any third, so a held-out shadow is in none that is used without it.
"""

from __future__ import annotations

import numpy as np

from attack.signals.evidence import Evidence
from attack.signals.scene import Pile, PileBlock, Scene
from attack.vectors.embeddings import in_parts

COLUMNS = ("discriminator",)
_PENALTY = 10.0  # weight of |w|^2 / 2 against the sum of the log losses of the images of both piles


def log_odds(points: np.ndarray, pile: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Log odds float64 [point] of `pile` against `other`, from features [image, feature]; both weigh one half. 0 for
    two equal piles, up to rounding."""
    from sklearn.linear_model import LogisticRegression  # slow to import, and every command knows the signals

    features = np.concatenate([pile, other]).astype(np.float64)
    label = np.repeat([1, 0], [len(pile), len(other)])
    model = LogisticRegression(C=1 / _PENALTY, class_weight="balanced", max_iter=1000).fit(features, label)
    # no matrix product, whose last bit may depend on the number of rows
    return (points.astype(np.float64) * model.coef_[0]).sum(1) + model.intercept_[0]


def rivals(scene: Scene, pile: Pile) -> list[int]:
    """Piles of shadows that `pile` is told from, as places in the scene: those of its size, and for a shadow's pile of
    its training step."""
    return [
        i
        for i, other in enumerate(scene.piles)
        if other.shadow >= 0 and other.count == pile.count and (pile.shadow < 0 or other.step == pile.step)
    ]


def _numbers(scene: Scene) -> tuple[str, ...]:
    """One for every training step and shadow."""
    first = min(pile.count for pile in scene.piles)
    return tuple(f"discriminator.{p.shadow:04d}/{p.step}" for p in scene.piles if p.shadow >= 0 and p.count == first)


def measure(scene: Scene) -> np.ndarray:
    """[pile, candidate, training step and shadow]; a shadow's pile has 0 at other steps than its own, and at its own
    place."""
    numbers = {name: i for i, name in enumerate(_numbers(scene))}
    column = [numbers.get(f"discriminator.{p.shadow:04d}/{p.step}", -1) for p in scene.piles]
    result = np.zeros((len(scene.piles), len(scene.images), len(numbers)), np.float32)
    for about, basis in scene.bases:
        if not len(about):
            continue
        points = basis.embed(scene.images[about])
        made = [in_parts(basis.embed, pile.read()) for pile in scene.piles]
        for i, pile in enumerate(scene.piles):
            for j in rivals(scene, pile):
                if pile.shadow < 0 or i < j:
                    found = log_odds(points, made[i], made[j])
                    result[i, about, column[j]] = found
                    if pile.shadow >= 0:
                        result[j, about, column[i]] = -found
    return result


BLOCK = PileBlock("discriminator", _numbers, measure, by_step=True)


def signal(own: Evidence, references: Evidence) -> np.ndarray:
    """[..., 1]: mean over the references of the log odds of the pile against theirs."""
    if references.shadows is None:
        raise ValueError("the discriminator must know whose piles the references are")
    return np.take_along_axis(own["discriminator"], references.shadows, -1).astype(np.float64).mean(-1)[..., None]

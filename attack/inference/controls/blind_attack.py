"""An attack that never sees the pile: what it finds lies in the split of the slices."""

from __future__ import annotations

import numpy as np
from scipy import stats
from sklearn import decomposition, pipeline, preprocessing

from attack.inference import estimate
from attack.metrics import ranking
from attack.results import Control
from shadow import keys

_DEALS = 999  # of the roles: p is a multiple of .001


def blind(images: np.ndarray, label: np.ndarray, groups: np.ndarray, seed: int) -> Control:
    """Can used and not-used dev slices be told apart without any generated image?

    images [dev image, height, width], label 0/1, groups int [dev image]. A linear discriminant (least squares) of ten
    principal components of the slices, judged on groups that it has not seen. The AUC is the mean of the AUCs within
    folds, a fold weighing as its pairs: scores of two folds are of two discriminants, and pooled they push the AUC of a
    random split below .5.

    Returns a control row. `p`, one-sided, compares the AUC with those of roles that are dealt anew within the folds,
    `_DEALS` times: groups of one role swap theirs, and in a group of both its slices do. It holds for a split by slice
    and for one by patient. A low `p` is a finding about how the challenge was split (Das, Zhang and Tramer 2024, arXiv
    2406.16201). The interval is Student's t on the logit scale, with the larger of two variances: that of groups, and
    that of dealing.
    """
    label = np.asarray(label).astype(int)
    if len(set(label.tolist())) < 2:
        return Control(name="blind", why="no used and not-used slices are labelled")
    vectors = images.reshape(len(images), -1).astype(np.float64)
    if np.ptp(vectors, axis=0).max() < 1e-9:
        return Control(name="blind", why="the slices are all the same")
    number = np.unique(groups, return_inverse=True)[1].reshape(-1)
    fold = _blind_folds(label, number, seed)
    parts = max(1, min(10, len(images) // 4))
    # Fitted on all slices: it sees no label, and so no deal of the roles needs its own.
    seen = pipeline.make_pipeline(decomposition.PCA(parts, svd_solver="full"), preprocessing.StandardScaler())
    dealt = _dealt(label, number, fold, keys.generator(seed, "blind/deals"))
    score = _discriminant(seen.fit_transform(vectors), dealt, fold)
    placed, pairs = _within_folds(score, dealt, fold)
    if not pairs[0] > 0:
        return Control(name="blind", why="too few groups to judge it on slices it has not seen")
    aucs = placed[pairs > 0] / pairs[pairs > 0]
    area = float(aucs[0])
    variance = max(
        _group_variance(score[:, 0], label, number, fold, area),
        # The spread of deals is that at .5, which shrinks towards 0 and 1 as A (1 - A) does on the logit scale.
        float(aucs[1:].var()) * (4 * area * (1 - area)) ** 2 if len(aucs) > 1 else 0.0,
    )
    trials = min(len(np.unique(number[label == kind])) for kind in (0, 1))
    return Control(
        name="blind",
        auc=area,
        interval=estimate.interval(area, variance, max(trials - 1, 1), trials),
        p=float((1 + (aucs[1:] >= area - 1e-12).sum()) / len(aucs)),
        what="A classifier that never sees a generated image, on the labelled development slices.",
    )


def _blind_folds(label: np.ndarray, number: np.ndarray, seed: int) -> np.ndarray:
    """Fold of each slice, int [slice]: groups in random order, those of each role (used, not used, both) dealt in turn,
    so that each fold holds every role where there are enough groups."""
    share = np.bincount(number, label) / np.bincount(number)
    order = keys.generator(seed, "blind/folds").permutation(len(share))
    role = np.where(share == 1, 2, np.where(share == 0, 0, 1))
    order = order[np.argsort(role[order], kind="stable")]
    scarcest = min(int(np.sum(share > 0)), int(np.sum(share < 1)))
    count = int(np.clip(min(scarcest, len(share) // 2), 2, 5))
    fold = np.empty(len(share), int)
    fold[order] = np.arange(len(share)) % count
    return fold[number]


def _dealt(label: np.ndarray, number: np.ndarray, fold: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Roles 0/1 [slice, 1 + _DEALS]: first the real ones, then deals as in `blind`."""
    dealt = np.repeat(label[:, None], 1 + _DEALS, 1)
    share = np.bincount(number, label) / np.bincount(number)
    pure = (share == 0) | (share == 1)
    of_group = np.zeros(len(share), int)
    of_group[number] = fold
    for f in range(int(fold.max()) + 1):
        mine = np.flatnonzero(pure & (of_group == f))
        if len(mine):
            roles = rng.permuted(np.repeat(share[mine].astype(int)[:, None], _DEALS, 1), axis=0)
            here = pure[number] & (fold == f)
            dealt[here, 1:] = roles[np.searchsorted(mine, number[here])]
    for g in np.flatnonzero(~pure):
        here = number == g
        dealt[here, 1:] = rng.permuted(dealt[here, 1:], axis=0)
    return dealt


def _discriminant(vectors: np.ndarray, dealt: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Scores [slice, deal]: the least-squares direction of the roles `dealt` [slice, deal] in `vectors` [slice, part],
    fitted on the other folds. The ridge of 1 is that of scikit-learn's logistic regression by default."""
    score = np.zeros(dealt.shape)
    for f in range(int(fold.max()) + 1):
        fit, judge = fold != f, fold == f
        inside = vectors[fit] - vectors[fit].mean(0)
        roles = dealt[fit] - dealt[fit].mean(0)
        score[judge] = vectors[judge] @ np.linalg.solve(inside.T @ inside + np.eye(inside.shape[1]), inside.T @ roles)
    return score


def _within_folds(score: np.ndarray, dealt: np.ndarray, fold: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of a used and a not-used slice in one fold that are in the right order (ties one half), and all such pairs:
    each [deal]; `score` and `dealt` [slice, deal]."""
    right, pairs = np.zeros((2, dealt.shape[1]))
    for f in range(int(fold.max()) + 1):
        roles = dealt[fold == f]
        members = roles.sum(0)
        ranks = stats.rankdata(score[fold == f], axis=0)
        right += (ranks * roles).sum(0) - members * (members + 1) / 2
        pairs += members * (len(roles) - members)
    return right, pairs


def _group_variance(score: np.ndarray, label: np.ndarray, number: np.ndarray, fold: np.ndarray, area: float) -> float:
    """Variance of the AUC within folds, `area`, clustered by group: DeLong's influences [slice] summed over groups."""
    influence, pairs = np.zeros(len(label)), 0
    for f in range(int(fold.max()) + 1):
        here = fold == f
        members = int(label[here].sum())
        others = int(here.sum()) - members
        if members and others:
            placed = ranking.placements(score[here], label[here]) - area
            influence[here] = placed * np.where(label[here] == 1, others, members)
            pairs += members * others
    sums = np.bincount(number, influence) / pairs
    return len(sums) / max(len(sums) - 1, 1) * float(sums @ sums)

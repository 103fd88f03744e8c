"""Scores with labels, drawn and for hypothesis, and the naive form of the Mann-Whitney statistic."""

import numpy as np
from hypothesis import strategies as st


def sample(seed=0, members=30, others=40, shift=1.0, ties=False):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.r_[np.ones(members, int), np.zeros(others, int)])
    scores = rng.normal(size=len(labels)) + shift * labels
    return (np.round(scores * 2) / 2 if ties else scores), labels


def naive_psi(scores, labels):
    """The kernel matrix [members, non-members] of the Mann-Whitney statistic."""
    member, other = scores[labels == 1], scores[labels == 0]
    return (member[:, None] > other) + 0.5 * (member[:, None] == other)


scored = st.lists(st.tuples(st.integers(-4, 4), st.integers(0, 1)), min_size=2, max_size=30).filter(
    lambda rows: 0 < sum(label for _, label in rows) < len(rows)
)


def columns(rows):
    return np.array([row[0] for row in rows], float), np.array([row[1] for row in rows])

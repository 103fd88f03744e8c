"""How far a pile is from piles without the candidate, in units of what those piles differ by: a Student-t ratio.

With few shadows the variance of a candidate's references is the weak point of every likelihood ratio (Brännvall 2026,
arXiv 2603.11799). So it is drawn towards the variances of other slices: given the variance the references are normal
with an unknown mean, the variances are scaled inverse chi-square (a normal-inverse-gamma prior whose mean knows
nothing), and one more value follows a Student-t. The prior's two numbers are fitted to the variances of the dev slices
by the moments of their logarithms (Smyth 2004, Statistical Applications in Genetics and Molecular Biology 3(1)).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import special, stats

_LEAST = 1e-8  # of a variance: references that agree to the last digit
_MOST = 1e6  # degrees of freedom of a prior that takes all variances for one


class Prior(NamedTuple):
    """Of the variances, by column: they are variance * degrees / chi-square(degrees)."""

    degrees: np.ndarray
    variance: np.ndarray


def fit_prior(variances: np.ndarray, degrees: int) -> Prior:
    """From sample variances [item, column] with so many degrees of freedom each.

    log variances have, beyond the chi-square's own spread, that of the prior: where there is none, `degrees` of the
    prior is _MOST and every variance becomes the mean one.
    """
    logs = np.log(np.maximum(variances, _LEAST))
    centred = logs - special.digamma(degrees / 2) + np.log(degrees / 2)
    excess = logs.var(0, ddof=1) - special.polygamma(1, degrees / 2) if len(logs) > 1 else np.zeros(logs.shape[1])
    own = np.array([2 * _inverse_trigamma(e) if e > 0 else _MOST for e in excess])
    own = np.minimum(own, _MOST)
    return Prior(own, np.exp(centred.mean(0) + special.digamma(own / 2) - np.log(own / 2)))


def _inverse_trigamma(value: float) -> float:
    """x with trigamma(x) = value > 0, by Newton's method on 1 / trigamma, which is nearly linear."""
    x = 0.5 + 1 / value
    for _ in range(50):
        found = float(special.polygamma(1, x))
        step = found * (1 - found / value) / float(special.polygamma(2, x))
        x += step
        if abs(step) < 1e-10 * x:
            break
    return x


def moderated(variance: np.ndarray, degrees: int, prior: Prior) -> np.ndarray:
    """Posterior variances [..., column] of sample variances with so many degrees of freedom."""
    return (prior.degrees * prior.variance + degrees * variance) / (prior.degrees + degrees)


def log_ratio(own: np.ndarray, references: np.ndarray, prior: Prior, shift: np.ndarray) -> np.ndarray:
    """Log likelihood ratio [..., column] of a member against a non-member.

    own [..., column] and references [..., R, column], R >= 2: raw columns. A non-member's value follows the Student-t
    of its references, a member's the same moved by `shift` [column] of its scale ("offline": no pile is known that
    holds the candidate). Higher = more likely a member.
    """
    t, degrees = standardised(own, references, prior)
    return stats.t.logpdf(t - shift, degrees) - stats.t.logpdf(t, degrees)


def standardised(own: np.ndarray, references: np.ndarray, prior: Prior) -> tuple[np.ndarray, np.ndarray]:
    """(t [..., column], its degrees of freedom [column]) of raw columns as in `log_ratio`."""
    count = references.shape[-2]
    variance = moderated(references.var(-2, ddof=1), count - 1, prior)
    scale = np.sqrt(np.maximum(variance, _LEAST) * (1 + 1 / count))
    return (own - references.mean(-2)) / scale, prior.degrees + count - 1

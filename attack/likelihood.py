"""Student-t likelihood ratios: how far a pile lies from its references, in units of what these differ by about the
candidate.

A few references hardly tell their own variance. So it is shrunk towards that of other candidates: the mean of a column
about a candidate has a flat prior, its variance a scaled inverse chi-square prior that all candidates share
(normal-inverse-gamma; Smyth 2004, "Linear models and empirical Bayes methods for assessing differential expression in
microarray experiments"; for membership BaVarIA, arXiv 2603.11799). What one more such pile would show then has a
Student-t distribution. Both ratios are those of LiRA (Carlini et al. 2022, arXiv 2112.03570): `offline` knows piles
without the candidate (OUT), `online` also piles with it (IN). Higher = more likely a member. No label of the pile asked
about is in any of this.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy import special

from attack.signals.evidence import Evidence

NONE, OFFLINE, ONLINE = "none", "offline", "online"
LEAST = 2  # references that differ
BOUND = 30.0  # of a ratio, in standard deviations or in nats; a normal tail beyond it is still above 0 in floats
_FLOOR = 1e-6  # of a variance, in squared units of a signal: references with ties differ by a thousandth at least
_FREEDOM = 1e6  # of a prior at most: references of all candidates differ alike, and t is normal to four digits


class Prior(NamedTuple):
    """Of the variance of one column about one candidate: nu_0 sigma_0^2 over a chi-square with nu_0 degrees of freedom.

    freedom: nu_0, above 0; variance: sigma_0^2, in squared units of the signal; both [..., 1, column].
    """

    freedom: np.ndarray
    variance: np.ndarray


def sum_of_squares(calibrated: Callable[[Evidence, Evidence], np.ndarray], references: Evidence) -> np.ndarray:
    """S float64 [..., column] of the values of R references about their mean, in squared units of the signal.

    A signal gives values relative to others alone, so each reference is asked about relative to the other R - 1: of
    plain differences d_j these are r_j - mean of the others = R/(R-1) (r_j - mean), so S = ((R-1)/R)^2 sum_j d_j^2.
    For other signals that is what S means. ValueError where R < 2.
    """
    count = next(iter(references.blocks.values())).shape[-2]
    if count < LEAST:
        raise ValueError(f"{count} references differ by nothing: {LEAST} are needed")
    squares: list[np.ndarray] = []
    for j in range(count):
        rest = [i for i in range(count) if i != j]
        own = Evidence({name: block[..., j, :] for name, block in references.blocks.items()})
        others = {name: block[..., rest, :] for name, block in references.blocks.items()}
        named = None if references.shadows is None else references.shadows[..., rest]
        squares.append(calibrated(own, Evidence(others, named)) ** 2)
    return np.sum(squares, axis=0, dtype=np.float64) * ((count - 1) / count) ** 2


def inverse_trigamma(value: np.ndarray) -> np.ndarray:
    """y > 0 with trigamma(y) = value > 0, any shape. Newton's steps for 1/trigamma, which is convex, rise to it from
    1/2 + 1/value (Smyth 2004, appendix)."""
    found = 0.5 + 1 / value
    for _ in range(100):
        slope = special.polygamma(1, found)
        step = slope * (1 - slope / value) / special.polygamma(2, found)
        found = found + step
        if (np.abs(step) <= 1e-12 * found).all():
            break
    return found


def prior(square: np.ndarray, count: int) -> Prior:
    """By the moments of log S, square [..., image, column] of `count` references each (Smyth 2004, section 6.2).

    With n = R - 1, e = log(S / n) - digamma(n / 2) + log(n / 2) has the variance trigamma(n / 2) + trigamma(nu_0 / 2)
    and the mean log sigma_0^2 - digamma(nu_0 / 2) + log(nu_0 / 2). Where e varies no more than the first term, or there
    is one image, all images have one variance: nu_0 ends at a million.
    """
    half = (count - 1) / 2
    e = np.log(_floored(square, count) / (count - 1)) - special.digamma(half) + np.log(half)
    mean = e.mean(-2, keepdims=True)
    spread = ((e - mean) ** 2).sum(-2, keepdims=True) / max(e.shape[-2] - 1, 1)
    least = special.polygamma(1, _FREEDOM / 2)
    freedom = 2 * inverse_trigamma(np.maximum(spread - special.polygamma(1, half), least))
    return Prior(freedom, np.exp(mean + special.digamma(freedom / 2) - np.log(freedom / 2)))


def _floored(square: np.ndarray, count: int) -> np.ndarray:
    return np.maximum(square, (count - 1) * _FLOOR)


def _predictive(value: np.ndarray, square: np.ndarray, count: int, known: Prior) -> tuple[np.ndarray, ...]:
    """t, scale and degrees of freedom of one more pile's `value` relative to the mean of its references."""
    freedom = known.freedom + count - 1
    variance = (known.freedom * known.variance + _floored(square, count)) / freedom
    scale = np.sqrt(variance * (1 + 1 / count))
    return value / scale, scale, freedom


def offline(value: np.ndarray, square: np.ndarray, count: int, known: Prior) -> np.ndarray:
    """float64 [..., image, column]: the normal quantile of the share of piles without the candidate that would show
    less than `value`, in standard deviations within +-BOUND.

    value: of the pile asked about, relative to the mean of `count` references; square: S of these.
    """
    t, _, freedom = _predictive(value, square, count, known)
    tail = special.stdtr(freedom, -np.abs(t))  # the smaller one: nothing is lost next to 1
    return -np.sign(t) * np.maximum(special.ndtri(np.maximum(tail, special.ndtr(-BOUND))), -BOUND)


def log_density(value: np.ndarray, square: np.ndarray, count: int, known: Prior) -> np.ndarray:
    """log of the density at `value` among such piles, as `offline`, by unit of the signal."""
    t, scale, freedom = _predictive(value, square, count, known)
    constant = special.gammaln((freedom + 1) / 2) - special.gammaln(freedom / 2) - np.log(freedom * np.pi) / 2
    return constant - np.log(scale) - (freedom + 1) / 2 * np.log1p(t**2 / freedom)


def priors(parts: np.ndarray, count: int, images: np.ndarray) -> list[Prior]:
    """One for each kind of references among parts [part, ..., image, column] (`calibration.relative`), fitted on
    `images`, bool [image]; none for plain differences."""
    return [prior(square[..., images, :], count) for square in parts[1::2]]


def scores(parts: np.ndarray, count: int, known: Sequence[Prior]) -> np.ndarray:
    """float64 [..., image, column] of parts [part, ..., image, column] with the `priors`: the difference itself
    without one, `offline` with one, and with two the log ratio of IN to OUT densities in nats, within +-BOUND."""
    if not known:
        return parts[0]
    if len(known) == 1:
        return offline(parts[0], parts[1], count, known[0])
    outside, inside = (log_density(parts[i], parts[i + 1], count, known[i // 2]) for i in (0, 2))
    return np.clip(inside - outside, -BOUND, BOUND)

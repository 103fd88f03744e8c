"""What each baseline is called, and what holds of it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection
from functools import partial
from typing import NamedTuple

import numpy as np

from attack.baselines import vcmi
from attack.baselines.clusters import cmla
from attack.baselines.density import domias
from attack.baselines.inputs import Inputs
from attack.baselines.logan import logan
from attack.baselines.near import calibrated, monte_carlo, nearest, ratio

FEATURES = ("pixels", "highpass")  # embeddings of ours that baselines are also tried on


class Baseline(NamedTuple):
    """decides: the method itself says 1 where its score is above 0. set_dependent: scores depend on who else is scored,
    as published."""

    score: Callable[[Inputs], np.ndarray]
    paper: str
    needs_reference: bool = False
    set_dependent: bool = False
    decides: bool = False
    ssim: bool = False


_LEAKS, _CARLO = "Chen et al. 2020, arXiv 1909.03935", "Hilprecht et al. 2019, PoPETs 2019(4)"
_DOMIAS, _LOGAN = "van Breugel et al. 2023, arXiv 2302.12580", "Hayes et al. 2019, arXiv 1705.07663"


def _registry() -> dict[str, Baseline]:
    found = {
        "gan_leaks": Baseline(partial(nearest, space="raw"), _LEAKS),
        "gan_leaks_calibrated": Baseline(partial(calibrated, space="raw"), _LEAKS, needs_reference=True),
        "monte_carlo.pca": Baseline(partial(monte_carlo, space="pca"), _CARLO),
        "monte_carlo_log.raw": Baseline(partial(monte_carlo, space="raw", weighted=True), _CARLO),
        "cmla": Baseline(cmla, "Mustaqim et al. 2025, arXiv 2512.06062"),
        "domias": Baseline(domias, _DOMIAS, needs_reference=True),
        "logan_d1": Baseline(partial(logan, network=True), _LOGAN, needs_reference=True),
        "logan_d1_linear": Baseline(partial(logan, network=False), _LOGAN, needs_reference=True),
    }
    for space in ("raw", *FEATURES):
        found[f"ratio.{space}"] = Baseline(partial(ratio, space=space), "Carlini et al. 2023, arXiv 2301.13188")
        found[f"monte_carlo.{space}"] = Baseline(partial(monte_carlo, space=space), _CARLO)
    for space in FEATURES:
        found[f"nearest.{space}"] = Baseline(partial(nearest, space=space), _LEAKS)
        found[f"calibrated.{space}"] = Baseline(partial(calibrated, space=space), _LEAKS, needs_reference=True)
    for family, rivals in (("vcmi", "reference"), ("vcmi_set", "candidates")):
        for space, decider in itertools.product(("ssim", *FEATURES), vcmi.DECIDERS):
            found[f"{family}.{decider.__name__}.{space}"] = Baseline(
                partial(decider, space=space, rivals=rivals),
                "Montenegro et al. 2023, CEUR-WS Vol-3497",
                needs_reference=rivals == "reference",
                set_dependent=rivals == "candidates",
                decides=True,
                ssim=space == "ssim",
            )
    return found


BASELINES: dict[str, Baseline] = _registry()


def score_all(
    candidates: np.ndarray,
    pile: np.ndarray,
    reference: np.ndarray | None = None,
    ssim: bool = True,
    names: Collection[str] = (),
) -> dict[str, np.ndarray]:
    """Scores of every baseline that can be had (of `names`, where given): without a reference, of those that need none;
    ssim: of those by SSIM.

    Images as for `Inputs`, which says what is refused; SSIM also refuses images of fewer than 7 pixels a side
    (ValueError).
    """
    return score_inputs(Inputs(candidates, pile, reference), ssim, names)


def score_inputs(inputs: Inputs, ssim: bool = True, names: Collection[str] = ()) -> dict[str, np.ndarray]:
    """As `score_all`, of images that other scores may share."""
    known = len(inputs.images["reference"]) > 0
    wanted = {name: b for name, b in BASELINES.items() if (known or not b.needs_reference) and (ssim or not b.ssim)}
    wanted = {name: b for name, b in wanted.items() if not names or name in names}
    return {name: baseline.score(inputs) for name, baseline in wanted.items()}


def decisions(scores: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """0/1 [candidate], 1 = used, of those among the scores of `score_all` whose method decides."""
    return {name: (values > 0).astype(np.int8) for name, values in scores.items() if BASELINES[name].decides}

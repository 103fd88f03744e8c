"""The attack on memberships that nobody trained: it must show nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from attack.inference import crossfit, estimate, reference_choice
from attack.inference.crossfit import Labelled, Options
from attack.results import Control
from shadow.config import MembershipConfig
from shadow.training import membership

_TRIES = 20  # memberships drawn for one that is enough, where shadows are missing


@dataclass(frozen=True)
class Redraw:
    """A membership that no shadow was trained on, member bool [shadow, candidate].

    logit: the attack's two-way held-out log odds for it, [shadow, candidate]."""

    member: np.ndarray
    logit: np.ndarray


def redraw(
    data: Labelled,
    groups: tuple[str, ...],
    config: MembershipConfig,
    options: Options,
    redraws: int,
    shadows: Sequence[int] | None = None,
) -> tuple[Redraw, ...]:
    """The two-way attack on up to `redraws` memberships drawn anew at the unit's level, which no shadow was trained on.

    `shadows`: the rows of the data as numbers in the fleet (all in turn where None). Where some are missing, their rows
    of a matrix drawn anew are missing too, and one that leaves too few references is passed over.

    Each redraw has its own order of references (its number is the draw). The piles are the same for all redraws. With
    one order as well, all their AUCs would share a chance effect. References of an image are the first in the order
    that do not hold it, and a member has one more to choose from than a non-member. So the expected AUC, given piles
    and order, is not .5: on the demo's 8 shadows it lay between .499 and .506 for four orders. With an order of its own
    the references of a redraw are a uniform choice, for members and non-members alike.
    """
    rows = list(range(len(data.shadow_signals.member)) if shadows is None else shadows)
    whole = -(-(max(rows) + 1) // config.block) * config.block
    found: list[Redraw] = []
    for i in range(_TRIES * redraws):
        held = membership.draw(groups, whole, config, options.seed + 1_000_003 * (i + 1))[rows]
        if not reference_choice.enough(held):
            continue
        shadow_signals = dataclasses.replace(
            data.shadow_signals, member=held, holds_relative=membership.holds_relative(held, groups, groups)
        )
        other = dataclasses.replace(data, shadow_signals=shadow_signals)
        found.append(Redraw(held, crossfit.two_way(other, options, i).logit))
        if len(found) == redraws:
            break
    return tuple(found)


def redrawn(found: Sequence[Redraw], auc: float) -> Control:
    """What `redraw` found, beside the real attack's `auc`, both not weighted.

    `auc` and `interval` of the control row are the mean and the range of the within-shadow AUCs. `p` is one-sided, of a
    test that their mean lies above .5: Student's t with redraws - 1 degrees of freedom, None for a single redraw.
    `result_p` is the share of redrawn memberships (the real one counted in) that look as strong as the real one. Where
    there is no redraw, `auc` is None and `why` says so.
    """
    if not found:
        return Control(name="membership redrawn", why="too few shadows are there to redraw who is in which")
    aucs = np.array([estimate.mean_within(drawn.logit, drawn.member) for drawn in found])
    p = None
    if len(aucs) > 1:
        error = max(float(aucs.std(ddof=1)) / np.sqrt(len(aucs)), 1e-9)
        p = float(stats.t.sf((aucs.mean() - 0.5) / error, len(aucs) - 1))
    asked = f"{len(aucs)} memberships that no shadow was trained on"
    return Control(
        name="membership redrawn",
        auc=float(aucs.mean()),
        interval=(float(aucs.min()), float(aucs.max())),
        p=p,
        what=f"The same attack asked about {asked}; range of the AUCs.",
        result_p=float((1 + (aucs >= auc).sum()) / (1 + len(aucs))),
    )

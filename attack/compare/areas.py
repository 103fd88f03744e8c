"""The AUC of one attack on a checkpoint, and of the strongest of several."""

from __future__ import annotations

from collections.abc import Mapping

from attack import metrics
from attack.compare.paired import Scored
from attack.results.checkpoints import AttackFigures, FoundAt, Strongest

RATES = (0.1, 0.01)  # of the figures at a low false positive rate


def auc_interval(scored: Scored, level: float = 0.95) -> tuple[float, float]:
    """Over groups, where several images are of one."""
    if scored.clustered and scored.groups is not None:
        return metrics.auc_interval_grouped(scored.score, scored.label, scored.groups, level)
    return metrics.auc_interval(scored.score, scored.label, level)


def attack_figures(scored: Scored) -> AttackFigures:
    """AUC with its interval, and the share of members found at low false positive rates."""
    low, high = auc_interval(scored)
    points = [metrics.tpr_at_fpr(scored.score, scored.label, rate) for rate in RATES]
    return AttackFigures(
        auc=scored.auc,
        low=low,
        high=high,
        by_group=scored.clustered,
        members=int(scored.member.sum()),
        non_members=int((~scored.member).sum()),
        tpr_at_fpr=tuple(
            FoundAt(
                fpr=point.wanted_fpr,
                tpr=point.tpr,
                interval=point.interval,
                found=point.true_positives,
                false=point.false_positives,
                why=point.why,
            )
            for point in points
        ),
    )


def strongest(attacks: Mapping[str, Scored]) -> Strongest:
    """The highest AUC, and an interval for the highest true one that allows for the choice: from the highest lower to
    the highest upper end of intervals that all hold at once (Bonferroni). The AUC is that of the attack chosen by it,
    and flatters a little. ValueError where a class is missing, or there is no attack.
    """
    found = {name: one.auc for name, one in attacks.items()}
    limits = [auc_interval(one, 1 - 0.05 / len(attacks)) for one in attacks.values()]
    best = max(found, key=lambda name: found[name])
    low, high = (max(ends) for ends in zip(*limits, strict=True))
    return Strongest(attack=best, auc=found[best], low=low, high=high, of=tuple(attacks))

"""The AUC of one attack on a checkpoint, and of the strongest of several."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attack import metrics
from attack.compare.paired import Scored

RATES = (0.1, 0.01)  # of the figures at a low false positive rate


def auc_interval(scored: Scored, level: float = 0.95) -> tuple[float, float]:
    """Over groups, where several images are of one."""
    label = scored.member.astype(int)
    if scored.clustered and scored.groups is not None:
        return metrics.auc_interval_grouped(scored.score, label, scored.groups, level)
    return metrics.auc_interval(scored.score, label, level)


def auc_figures(scored: Scored) -> dict[str, Any]:
    """AUC with its interval, and the share of members found at low false positive rates, by the conservative step
    rule."""
    label = scored.member.astype(int)
    low, high = auc_interval(scored)
    rows = []
    for rate in RATES:
        point = metrics.tpr_at_fpr(scored.score, label, rate)
        rows.append(
            {
                "fpr": rate,
                "tpr": point.tpr,
                "interval": point.interval,
                "found": point.true_positives,
                "false": point.false_positives,
                "why": point.why,
            }
        )
    return {
        "auc": metrics.auc(scored.score, label),
        "low": low,
        "high": high,
        "by_group": scored.clustered,
        "members": int(label.sum()),
        "non_members": int(len(label) - label.sum()),
        "tpr_at_fpr": rows,
    }


def strongest(attacks: Mapping[str, Scored]) -> dict[str, Any]:
    """{attack, auc, low, high, of}: the highest AUC, and an interval for the highest true one that allows for the
    choice: from the highest lower to the highest upper end of intervals that all hold at once (Bonferroni). The AUC is
    that of the attack chosen by it, and flatters a little. ValueError where a class is missing, or there is no attack.
    """
    found = {name: metrics.auc(one.score, one.member.astype(int)) for name, one in attacks.items()}
    limits = [auc_interval(one, 1 - 0.05 / len(attacks)) for one in attacks.values()]
    best = max(found, key=lambda name: found[name])
    low, high = (max(ends) for ends in zip(*limits, strict=True))
    return {"attack": best, "auc": found[best], "low": low, "high": high, "of": list(attacks)}

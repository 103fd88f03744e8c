"""Figures of scores, probabilities and labellings against labels, each with its interval. `evaluate` gives them all."""

from attack.metrics.decisions import (
    Decision,
    decide,
    decision_figures,
    expected_f1_decision,
    trivial_labellings,
)
from attack.metrics.evaluation import DECISIONS, evaluate
from attack.metrics.intervals import clopper_pearson, proportion_interval
from attack.metrics.probabilities import (
    brier,
    calibration_figures,
    ece,
    log_loss,
    ppv_at_prior,
    reliability,
    shift_prior,
)
from attack.metrics.ranking import (
    auc,
    auc_difference_grouped,
    auc_interval,
    auc_interval_grouped,
    delong,
    delong_paired,
    hanley_mcneil,
    per_group,
    placements,
    smallest_detectable_auc,
)
from attack.metrics.roc_curve import OperatingPoint, Roc, held_out_point, roc, tpr_at_fpr

__all__ = [
    "DECISIONS",
    "Decision",
    "OperatingPoint",
    "Roc",
    "auc",
    "auc_difference_grouped",
    "auc_interval",
    "auc_interval_grouped",
    "brier",
    "calibration_figures",
    "clopper_pearson",
    "decide",
    "decision_figures",
    "delong",
    "delong_paired",
    "ece",
    "evaluate",
    "expected_f1_decision",
    "hanley_mcneil",
    "held_out_point",
    "log_loss",
    "per_group",
    "placements",
    "ppv_at_prior",
    "proportion_interval",
    "reliability",
    "roc",
    "shift_prior",
    "smallest_detectable_auc",
    "tpr_at_fpr",
    "trivial_labellings",
]

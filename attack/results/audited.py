"""What an audit from Python gives back."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from attack.results.evaluated import Evaluation


@dataclass(frozen=True)
class Verdict:
    """`level`: "leak", "labelled only" or "cannot tell"; `sentence`: the first line of the report."""

    level: str
    sentence: str


@dataclass(frozen=True, eq=False)
class Audit:
    """What an audit found. Arrays have one entry for each candidate, in the order in which candidates were given.

    ids: names of the candidates in the report and the files; `candidate_0003` is `candidates[3]`.
    score: float64 [candidate]; higher means more likely used. Only its order means something.
    probability: float64 [candidate], of having been used, if a share `attack.prior` of the candidates was.
    low, high: float64 [candidate]; how well the probability is known. No range of likely truths.
    decision: "used", "not used" or "undetermined" for each candidate.
    labels: int [candidate], 1 = used; the labelling with the highest expected F1 (or `attack.objective`).
    verdict: whether leakage was shown.
    auc: how often the attack picks the used one of a used and an unused candidate; None where that cannot be told.
    auc_interval: the 95 % interval of `auc`, or None. auc_why: why one of them is None, else empty.
    promised_f1: the F1 that `labels` have in expectation; None where `attack.objective` is another aim.
    evaluation: every figure of the report (`attack.results.Evaluation`), as in attack/evaluation.json.
    report: the page report.html.
    """

    ids: tuple[str, ...] = field(repr=False)
    score: np.ndarray = field(repr=False)
    probability: np.ndarray = field(repr=False)
    low: np.ndarray = field(repr=False)
    high: np.ndarray = field(repr=False)
    decision: tuple[str, ...] = field(repr=False)
    labels: np.ndarray = field(repr=False)
    verdict: Verdict
    auc: float | None
    auc_interval: tuple[float, float] | None
    auc_why: str
    promised_f1: float | None
    evaluation: Evaluation = field(repr=False)
    report: str = field(repr=False)

    def predict_proba(self) -> np.ndarray:
        """float64 [candidate, 2]: the probabilities of not used and of used, as scikit-learn orders classes 0 and 1."""
        return np.column_stack([1 - self.probability, self.probability])

    def predict(self) -> np.ndarray:
        """int [candidate]: a label for everybody, 1 = used, as in submission.csv."""
        return self.labels.copy()

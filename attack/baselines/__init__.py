"""Published attacks that see generated images alone, on the same inputs as ours, to compare with.

A baseline is a function of `Inputs` and a line in `BASELINES`. Scores are float64 [candidate]; higher = more likely a
member. The score of a candidate depends on its image, the pile and the reference only, to the last bit whoever else is
scored, but for baselines marked `set_dependent`. Where ours departs from the paper, its function says so.
"""

from attack.baselines.inputs import Inputs, Turn
from attack.baselines.registry import BASELINES, Baseline, decisions, score_all, score_inputs

__all__ = ["BASELINES", "Baseline", "Inputs", "Turn", "decisions", "score_all", "score_inputs"]

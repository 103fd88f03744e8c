"""Experiments with a known answer.

`planted` copies must be found and `null` piles must show nothing: both go through the attack's real path from images
to probabilities, without training anything. `redrawn` and `blind` are run on the user's own data and printed beside
the result; they must show nothing either.
"""

from attack.inference.controls.blind_attack import blind
from attack.inference.controls.redrawn_memberships import Redraw, redraw, redrawn
from attack.inference.controls.self_tests import SelfTest, Size, evidence_of, null, planted, run

__all__ = ["Redraw", "SelfTest", "Size", "blind", "evidence_of", "null", "planted", "redraw", "redrawn", "run"]

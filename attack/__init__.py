"""Upper floor: piles and candidates in, probabilities of membership out. Imports `shadow`, never `launch`.

From Python: `attack.audit(pile, candidates, not_used=...)` returns an `attack.Audit`. Both are imported when they are
asked for, since JAX takes seconds.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from attack.auditing import Audit, Verdict, audit

__all__ = ["Audit", "Verdict", "audit"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("attack.auditing"), name)

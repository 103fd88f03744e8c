"""Questions to processes of their own: each starts as the run's processes do, and says what its answer took.

So times hold the imports and the compilation of a process, and its memory is that of this work alone.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attack.pipeline.costs.model import Took
from shadow.errors import UserError
from shadow.fleet import local

_ROOT = Path(__file__).resolve().parents[3]
_CODE = (
    f"import sys; sys.path.insert(0, {str(_ROOT)!r}); "
    "from attack.pipeline.costs import asking; asking.answer(sys.argv[1])"
)
_KIB = 1024 if sys.platform.startswith("linux") else 1  # unit of ru_maxrss


class Stopwatch:
    """Seconds since it was made, on the clock and of all threads of this process."""

    def __init__(self) -> None:
        self._wall, self._processor = time.perf_counter(), time.process_time()

    def took(self) -> Took:
        """Since it was made."""
        return Took(time.perf_counter() - self._wall, time.process_time() - self._processor)


def since_start(began: float) -> Took:
    """Of this process since it was started, at the Unix time `began`."""
    return Took(time.time() - began, time.process_time())


def peak_memory() -> int:
    """Bytes that this process held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _KIB


def ask(function: str, question: Mapping[str, Any], environments: Sequence[Mapping[str, str]]) -> list[dict[str, Any]]:
    """What `function` ("module:name" of this folder) answers to the question, {name: JSON value}, in a process for each
    of the environments, all at once. Raises UserError where one of them fails; it has said why on stderr."""
    content = {"function": function, "question": dict(question), "began": time.time()}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", _CODE, json.dumps(content)],
            env=local.MEMORY | os.environ | dict(added),
            stdout=subprocess.PIPE,
            text=True,
        )
        for added in environments
    ]
    try:
        said = [process.communicate()[0] for process in running]
    finally:
        for process in running:
            process.kill()  # none outlives this, whatever happens
            process.wait()
    if any(process.returncode for process in running):
        raise UserError("plan --dry_run: a measurement failed (see above); with less memory a run would, too")
    found: list[dict[str, Any]] = [json.loads(words.splitlines()[-1]) for words in said]
    return found


def answer(content: str) -> None:
    """In a process of its own: prints what the function answers, as JSON."""
    asked = json.loads(content)
    module, name = asked["function"].split(":")
    function = getattr(importlib.import_module(f"attack.pipeline.costs.{module}"), name)
    print(json.dumps(function(began=asked["began"], **asked["question"])), flush=True)

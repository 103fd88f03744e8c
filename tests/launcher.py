"""Runs `launch.py` in copies of one process that has imported everything: the imports take longer than most commands.

A copy is made by fork, before JAX has started anything. It is a process like any other: it has its own arguments,
streams, folder and limits, and runs the file `launch.py` as a program. Run as a script, this file is the process that
is copied. Processes that `launch.py` starts itself are new ones, as ever.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import resource
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path

LAUNCH = Path(__file__).parent.parent / "launch.py"
_IMPORTS = (
    *("shadow.fleet.worker", "shadow.hub", "shadow.imported"),
    *("attack.pipeline", "attack.baselines.alone.run", "attack.report.write", "attack.compare.command"),
)


class Launcher:
    """One process to be copied, started when it is needed."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment
        self.process: subprocess.Popen[str] | None = None

    def run(self, *arguments: str, cwd: Path | None = None, file_limit: int = 0) -> subprocess.CompletedProcess[str]:
        """Runs `launch.py` with these arguments to its end; `file_limit`: bytes that a file of it may have."""
        words = list(map(str, arguments))
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            streams = [f"/proc/{os.getpid()}/fd/{stream.fileno()}" for stream in (out, err)]
            asked = {"arguments": words, "cwd": str(cwd or Path.cwd()), "file_limit": file_limit, "streams": streams}
            try:
                code = self._ask(json.dumps(asked))
            except BaseException:  # a test that ran out of time
                self.close()
                raise
            said = []
            for stream in (out, err):
                stream.seek(0)
                said.append(stream.read().decode())
        return subprocess.CompletedProcess([sys.executable, str(LAUNCH), *words], code, *said)

    def _ask(self, line: str) -> int:
        if self.process is None:
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            self.process = subprocess.Popen([sys.executable, __file__], env=self.environment, text=True, **pipes)
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None


def _serve() -> list[str]:
    """Copies this process for every line on stdin, and says how each copy ended; in a copy, returns its arguments."""
    while line := sys.stdin.readline():
        asked = json.loads(line)
        copy = os.fork()
        if not copy:
            _become(asked["streams"], asked["cwd"], asked["file_limit"])
            return asked["arguments"]
        _, status = os.waitpid(copy, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
    os._exit(0)


def _become(streams: list[str], cwd: str, file_limit: int) -> None:
    files = [os.open(os.devnull, os.O_RDONLY), *(os.open(path, os.O_WRONLY | os.O_APPEND) for path in streams)]
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 (the old one may have read ahead)
    os.chdir(cwd)
    if file_limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))


if __name__ == "__main__":
    sys.path[0] = str(LAUNCH.parent)
    for _name in _IMPORTS:
        importlib.import_module(_name)
    assert len(os.listdir("/proc/self/task")) == 1  # a fork copies one thread alone
    gc.collect()
    gc.freeze()
    sys.argv = [str(LAUNCH), *_serve()]
    runpy.run_path(str(LAUNCH), run_name="__main__")

"""Packs as a SLURM job array: each task is the command line of one pack, and requeueing it is the same line again.

Plain `sbatch`: nothing is pickled, and the script that runs is there to be read (WORKDIR/slurm/train.sbatch). A task
that comes near its time limit saves a checkpoint and puts itself back into the queue; one that is pre-empted, or whose
node fails, is put back by SLURM; one that ends with an error is not, and its pack is then missing.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import filelock

from shadow import files
from shadow.errors import Stopped, UserError
from shadow.fleet import local, worker
from shadow.fleet.locks import Lock
from shadow.fleet.plan import read_plan

_POLL = (2.0, 15.0)  # seconds between two looks at the queue: at first, and at most
_PATIENCE = 1800.0  # seconds for which the queue may be out of reach before waiting for it is given up
_TIMEOUT = 60.0  # seconds a command of SLURM may take

# 143: ended by SIGTERM, with a checkpoint. A task is named by its array and index: SLURM_JOB_ID of one task is the
# id of the whole array, and `scontrol requeue` with that would put back all of it.
_SCRIPT = r"""#!/bin/bash
# {command} for one pack, written anew at each submission. By hand: sbatch --array=PACKS {options}THIS_FILE
#SBATCH --job-name=shadowprint-{command}
#SBATCH --output={log}
#SBATCH --open-mode=append
#SBATCH --cpus-per-task={threads}
#SBATCH --requeue
#SBATCH --signal=B:USR1@60

task="${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID"
child='' near='' again=''
stop() {{ again=1; [ -z "$child" ] || kill -TERM "$child" 2>/dev/null; }}
trap 'near=1; stop' USR1  # the time limit is near, or pre-emption where the cluster is set to say so
trap stop TERM  # pre-empted, cancelled, or requeued from outside: SLURM knows what comes next

echo "$(date '+%F %T') pack $SLURM_ARRAY_TASK_ID on $(hostname), restart ${{SLURM_RESTART_COUNT:-0}}"
{run} --pack="$SLURM_ARRAY_TASK_ID" </dev/null &
child=$!
[ -z "$again" ] || stop
while :; do  # a signal ends `wait`, not what is waited for
  again=''
  wait "$child"
  code=$?
  [ -n "$again" ] || break
done

if [ -n "$near" ] && [ "$code" = 143 ]; then
  trap '' TERM
  echo "$(date '+%F %T') told that time runs out: back into the queue"
  scontrol requeue "$task" || exit 1
fi
exit "$code"
"""


@dataclass(frozen=True)
class _Job:
    """A submitted array. cluster: empty, or where sbatch says that it went to one of several."""

    id: str
    cluster: str
    command: str
    script: str
    packs: tuple[int, ...]


def run(workdir: Path, command: str, packs: Sequence[int], options: str, show: Callable[[], None]) -> None:
    """Submits `launch.py COMMAND --pack=I` for each of `packs` that is in no active job of this run, and waits until
    none of its tasks is in the queue. Which packs are done then is for the caller to see.

    options: of sbatch, in one string; they win over ours. show: called about once a second while waiting. Raises
    UserError where SLURM is missing, refuses the job or stays out of reach, and on Ctrl-C (Stopped on SIGTERM), which
    leave the jobs alone.
    """
    if not shutil.which("sbatch") or not shutil.which("squeue"):
        raise UserError("--executor=slurm: no sbatch here; use a login node of the cluster, or --executor=local")
    words, limit = _options(options)
    folder = workdir.absolute() / "slurm"
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    try:
        _wait([job for job in _jobs(workdir) if job.command != command], show)  # their tasks hold the packs' locks
        try:
            held = Lock(folder / ".lock", timeout=2 * _TIMEOUT).acquire()
        except filelock.Timeout as error:
            raise UserError(f"{folder}: another process is submitting jobs: run again when it has ended") from error
        with held:
            active = _look(_jobs(workdir), _TIMEOUT, show)
            if left := sorted(set(packs) - set(active)):
                kept = [job for job in _jobs(workdir) if job.id in {owner for owner, _ in active.values()}]
                script = folder / f"{command}.sbatch"
                files.write_text(script, _script(workdir.absolute(), command, words))
                # In a thread, which a Ctrl-C does not end: a job that is submitted is also written down.
                with ThreadPoolExecutor(1) as pool:
                    pool.submit(_submit, kept, command, script, left, words, limit).result()
        _wait(_jobs(workdir), show)
    except KeyboardInterrupt:
        raise UserError(f"{_left(workdir)}; run the same command again to go on") from None
    except Stopped:
        raise Stopped(_left(workdir)) from None


def _left(workdir: Path) -> str:
    """What happens without us."""
    if ids := " ".join(job.id for job in _jobs(workdir)):
        return f"stopped waiting; SLURM goes on with job {ids}: `launch.py status` shows it, `scancel {ids}` ends it"
    return "stopped; nothing was submitted"


def states(workdir: Path) -> dict[int, str]:
    """What SLURM says of the packs in its queue: {pack: "RUNNING"}, or "PENDING (reason)". {}: no job, no answer."""
    try:
        found = _look(_jobs(workdir), 0, lambda: None)
    except UserError:
        return {}
    return {pack: state for pack, (_, state) in sorted(found.items())}


def compress(packs: Sequence[int]) -> str:
    """sbatch's way to write a set of numbers: [0, 1, 2, 3, 7] is "0-3,7"."""
    runs: list[list[int]] = []
    for pack in sorted(set(packs)):
        if runs and pack == runs[-1][1] + 1:
            runs[-1][1] = pack
        else:
            runs.append([pack, pack])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def _options(options: str) -> tuple[list[str], str]:
    """The words of the user's options, and "%N" where they say `--array=%N`: at most N tasks at once."""
    try:
        words = shlex.split(options)
    except ValueError as error:
        raise UserError(f"fleet.sbatch={options!r}: {error}") from error
    limit, kept = "", []
    for word in words:
        if re.fullmatch(r"--array=%\d+", word):
            limit = word.partition("=")[2]
        elif re.match(r"(--array|-a|--wait|-W|--wrap)(?![a-z-])", word):
            raise UserError(f"fleet.sbatch: {word} is not for you to set (--array=%N alone limits tasks at once)")
        else:
            kept.append(word)
    return kept, limit


def _script(workdir: Path, command: str, words: Sequence[str]) -> str:
    """The batch script. User options are not in it, since the user's SBATCH_* variables would win over them there."""
    launch = Path(__file__).resolve().parent.parent.parent / "launch.py"
    memory = [f"{name}={value}" for name, value in local.MEMORY.items()]
    run = shlex.join(["env", *memory, sys.executable, str(launch), command, f"--workdir={workdir}"])
    log = str(workdir / "slurm" / "logs").replace("%", "%%").replace("\\", "\\\\").replace('"', '\\"')
    return _SCRIPT.format(
        command=command,
        options="".join(f"{shlex.quote(word)} " for word in words).replace("\n", " "),
        log=f'"{log}/%A_%a.txt"',
        threads=read_plan(workdir / "plan.json").threads,
        run=run,
    )


def _submit(kept: list[_Job], command: str, script: Path, packs: list[int], words: list[str], limit: str) -> None:
    """Submits the packs and writes the job down beside those that are `kept`."""
    array = f"--array={compress(packs)}{limit}"
    done = _ask("sbatch", "--parsable", array, *words, str(script))
    answer = re.search(r"^(\d+)(?:;(\S+))?$", done.stdout, re.MULTILINE)
    if done.returncode or answer is None:
        said = " ".join((done.stderr or done.stdout).split()) or f"exit code {done.returncode}"
        raise UserError(f"`{shlex.join(['sbatch', array, *words])}`: {said}")
    jobs = [*kept, _Job(answer[1], answer[2] or "", command, str(script), tuple(packs))]
    files.write_json(script.parent / "job.json", {"jobs": [dataclasses.asdict(job) for job in jobs]})
    logs = script.parent / "logs"
    print(f"{command}: SLURM job {answer[1]}, packs {compress(packs)}; logs in {logs}", file=sys.stderr, flush=True)


def _jobs(workdir: Path) -> list[_Job]:
    """The arrays that were not over when the last one was submitted."""
    path = workdir / "slurm" / "job.json"
    try:
        rows = json.loads(path.read_text())["jobs"]
        return [_Job(**{**row, "packs": tuple(row["packs"])}) for row in rows]
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not a list of jobs ({error}); see that `squeue` has none, and remove it") from error


def _wait(jobs: Sequence[_Job], show: Callable[[], None]) -> None:
    """Until no task of the jobs is in the queue."""
    pause = _POLL[0]
    while jobs and _look(jobs, _PATIENCE, show):
        _sleep(pause, show)
        pause = min(1.5 * pause, _POLL[1])


def _sleep(seconds: float, show: Callable[[], None]) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        show()
        if worker.stopping():
            raise Stopped("")
        time.sleep(min(1.0, left))


def _look(jobs: Sequence[_Job], patience: float, show: Callable[[], None]) -> dict[int, tuple[str, str]]:
    """{pack: (job id, state)} of the tasks in the queue. Raises UserError where that is out of reach for `patience`
    seconds: a busy controller often is for some."""
    deadline = time.monotonic() + patience
    while True:
        try:
            return {pack: (job.id, state) for job in jobs for pack, state in _queue(job).items()}
        except UserError:
            if time.monotonic() >= deadline:
                raise
        _sleep(min(_POLL[1], patience / 10), show)


def _queue(job: _Job) -> dict[int, str]:
    """{pack: state} of a job's tasks in the queue. Raises UserError where squeue fails."""
    where = [f"--clusters={job.cluster}"] if job.cluster else []
    done = _ask("squeue", "--noheader", "--array", f"--jobs={job.id}", *where, "--format=%F|%K|%T|%r|%o")
    if done.returncode and "Invalid job id" not in done.stderr:  # which it says some minutes after the job's end
        said = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
        raise UserError(f"squeue: {said}; SLURM goes on with job {job.id}; run the same command again to wait for it")
    found = {}
    for line in done.stdout.splitlines():
        owner, index, state, reason, script = (line.split("|", 4) + [""] * 4)[:5]
        # Ids start anew on another cluster, or one that was set up again: a job is ours only if its script is.
        if owner == job.id and index.isdigit() and script == job.script:
            found[int(index)] = f"{state} ({reason})" if state == "PENDING" else state
    return found


def _ask(*command: str) -> subprocess.CompletedProcess[str]:
    """Runs a command of SLURM out of reach of Ctrl-C, and of variables that would filter what squeue says or let
    sbatch wait for the job."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SQUEUE_", "SBATCH_WAIT"))}
    try:
        return subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT,
            start_new_session=True,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(f"{command[0]}: {error}") from error

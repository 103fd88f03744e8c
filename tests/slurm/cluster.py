"""A SLURM cluster of one node on this machine, all of it in one folder, gone when the block is left."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

# `urgent` pre-empts `normal`. Nothing of systemd, cgroups or an accounting database is needed.
CONF = """
ClusterName=test
SlurmctldHost={name}(127.0.0.1)
SlurmctldPort={ctld}
SlurmdPort={d}
AuthType=auth/munge
AuthInfo=socket={home}/munge/socket
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={home}/state
SlurmdSpoolDir={home}/spool
SlurmctldPidFile={home}/slurmctld.pid
SlurmdPidFile={home}/slurmd.pid
SlurmctldLogFile={home}/slurmctld.log
SlurmdLogFile={home}/slurmd.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=5,sched_interval=5
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
ReturnToService=2
OverTimeLimit=0
KillWait=30
MinJobAge=300
NodeName={name} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=normal Nodes={name} Default=YES PriorityTier=1 MaxTime=INFINITE State=UP
PartitionName=grace Nodes={name} PriorityTier=1 GraceTime=40 MaxTime=INFINITE State=UP
PartitionName=urgent Nodes={name} PriorityTier=9 PreemptMode=OFF MaxTime=INFINITE State=UP
"""

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel")


def missing() -> list[str]:
    return [name for name in PROGRAMS if shutil.which(name) is None]


def install() -> str:
    """Installs Debian's packages where programs are missing; why that cannot be, or nothing."""
    if not missing():
        return ""
    if shutil.which("apt-get") is None:
        return f"{', '.join(missing())} missing, and no apt-get to install them with"
    command = "apt-get update -qq; apt-get install -qq -y --no-install-recommends slurm-wlm munge"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=600)
    if done.returncode or missing():
        return f"apt-get could not install slurm-wlm and munge: {(done.stderr or done.stdout).strip()[-300:]}"
    return ""


@contextlib.contextmanager
def cluster(home: Path, cpus: int) -> Iterator[dict[str, str]]:
    """Starts munged, slurmctld and slurmd below `home`; yields the environment in which sbatch finds them.

    Raises RuntimeError with the daemons' last words where the node does not come up.
    """
    home.chmod(0o755)  # munged is no root and must get in
    for name in ("state", "spool", "munge"):
        (home / name).mkdir()
    with contextlib.ExitStack() as ports:
        free = [ports.enter_context(socket.socket()) for _ in range(2)]
        for each in free:
            each.bind(("127.0.0.1", 0))
        ctld, d = (each.getsockname()[1] for each in free)
    name = socket.gethostname().split(".")[0]
    (home / "slurm.conf").write_text(CONF.format(name=name, ctld=ctld, d=d, home=home, cpus=cpus))
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "SBATCH_", "SQUEUE_"))}
    environment["SLURM_CONF"] = str(home / "slurm.conf")
    munge, own = pwd.getpwnam("munge"), home / "munge"
    (own / "key").write_bytes(os.urandom(1024))
    (own / "key").chmod(0o400)
    for path in (own, own / "key"):
        os.chown(path, munge.pw_uid, munge.pw_gid)
    munged = ["munged", "--foreground", f"--socket={own}/socket"]
    munged += [f"--{what}-file={own}/{what}" for what in ("key", "pid", "log", "seed")]
    daemons: list[subprocess.Popen[bytes]] = []

    def start(command: list[str], **options: int) -> None:
        with (home / f"{command[0]}.out").open("ab") as out:
            daemons.append(subprocess.Popen(command, env=environment, stdout=out, stderr=out, **options))

    def ask(*command: str) -> str:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        return done.stdout.strip()

    try:
        start(munged, user=munge.pw_uid, group=munge.pw_gid)
        deadline = time.monotonic() + 60
        while not (own / "socket").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        start(["slurmctld", "-D", "-c"])
        start(["slurmd", "-D", "-N", name])
        while ask("sinfo", "--noheader", "--partition=normal", "--format=%t") != "idle":
            if time.monotonic() > deadline or any(daemon.poll() is not None for daemon in daemons):
                said = "".join(path.read_text(errors="replace")[-2000:] for path in home.glob("*.log"))
                raise RuntimeError(f"the node did not come up:\n{said}")
            time.sleep(0.5)
        yield environment
    finally:
        if len(daemons) == 3:
            ask("scancel", "--user=root")
            deadline = time.monotonic() + 60
            while ask("squeue", "--noheader") and time.monotonic() < deadline:
                time.sleep(1)
        for daemon in reversed(daemons):
            daemon.terminate()
        for daemon in daemons:
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()

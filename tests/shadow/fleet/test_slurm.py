"""Job arrays with made-up commands of SLURM: what is asked of them, and what is made of their answers."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from shadow import files
from shadow.errors import Stopped, UserError
from shadow.fleet import plan, slurm, worker

# Each writes down its arguments and says what the file of its name holds; `sbatch` counts its jobs.
COMMAND = """#!/bin/bash
cd "$(dirname "$0")"
name=$(basename "$0")
printf '%s\\n' "$(printf '%q ' "$@")" >> $name.asked
cat $name.errors >&2 2>/dev/null
cat $name.says 2>/dev/null
exit $(cat $name.code 2>/dev/null || echo 0)
"""


class Fake:
    """The made-up commands of one test."""

    def __init__(self, folder, workdir):
        self.folder, self.workdir = folder, workdir
        for name in ("sbatch", "squeue", "scontrol"):
            (folder / name).write_text(COMMAND)
            (folder / name).chmod(0o755)
        self.sets("sbatch", "12\n")
        self.queue()

    def sets(self, name, says="", errors="", code=0):
        for what, content in (("says", says), ("errors", errors), ("code", str(code))):
            (self.folder / f"{name}.{what}").write_text(content)

    def queue(self, *tasks, command="train", job="12", script=None):
        """What is in the queue: (pack, state) each."""
        script = script or self.workdir / "slurm" / f"{command}.sbatch"
        self.sets("squeue", "".join(f"{job}|{pack}|{state}|Priority|{script}\n" for pack, state in tasks))

    def asked(self, name):
        """Arguments of each call."""
        path = self.folder / f"{name}.asked"
        return [shlex.split(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def workdir(tmp_path):
    folder = tmp_path / "a 50% run"
    plan.Plan((), pack_size=1, workers=1, threads=3, devices=1, trainer="", sampler="").write(folder / "plan.json")
    return folder


@pytest.fixture
def fake(tmp_path, workdir, monkeypatch):
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setattr(slurm, "_POLL", (0.01, 0.02))
    (tmp_path / "bin").mkdir()
    return Fake(tmp_path / "bin", workdir)


def nothing():
    pass


def run(workdir, packs, options="", show=nothing, command="train"):
    slurm.run(workdir, command, packs, options, show)


@pytest.mark.parametrize(
    ("packs", "said"),
    [([], ""), ([3], "3"), ([1, 0], "0-1"), ([0, 1, 2, 3, 7], "0-3,7"), ([9, 2, 4, 5, 9], "2,4-5,9")],
)
def test_compress(packs, said):
    assert slurm.compress(packs) == said


def test_a_job_is_submitted_and_waited_for(fake, workdir, capfd):
    shown = []

    def show():
        shown.append(slurm.states(workdir))
        if len(shown) == 3:
            fake.queue((7, "COMPLETING"))
        elif len(shown) == 5:
            fake.queue()

    fake.queue((2, "RUNNING"), (7, "PENDING"))
    run(workdir, [7, 0, 2, 1], "--partition=gpu --comment='two words'", show)
    script = workdir / "slurm" / "train.sbatch"
    assert fake.asked("sbatch") == [
        ["--parsable", "--array=0-2,7", "--partition=gpu", "--comment=two words", str(script)]
    ]
    assert shown[0] == {2: "RUNNING", 7: "PENDING (Priority)"}
    assert shown[3] == {7: "COMPLETING"}
    assert slurm.states(workdir) == {}
    assert (workdir / "slurm" / "logs").is_dir()
    assert "train: SLURM job 12, packs 0-2,7" in capfd.readouterr().err
    job = json.loads((workdir / "slurm" / "job.json").read_text())["jobs"][0]
    assert job == {"id": "12", "cluster": "", "command": "train", "script": str(script), "packs": [0, 1, 2, 7]}


def test_an_active_job_is_waited_for_and_the_others_submitted(fake, workdir):
    run(workdir, [0, 1, 2])
    fake.queue((1, "RUNNING"))
    fake.sets("sbatch", "13\n")

    run(workdir, [0, 1, 2], show=fake.queue)
    assert [words[1] for words in fake.asked("sbatch")] == ["--array=0-2", "--array=0,2"]
    jobs = json.loads((workdir / "slurm" / "job.json").read_text())["jobs"]
    assert [(job["id"], job["packs"]) for job in jobs] == [("12", [0, 1, 2]), ("13", [0, 2])]

    fake.queue((1, "RUNNING"))
    run(workdir, [1], show=fake.queue)
    assert len(fake.asked("sbatch")) == 2
    run(workdir, [1])
    jobs = json.loads((workdir / "slurm" / "job.json").read_text())["jobs"]
    assert len(jobs) == 1  # of those that are over none is kept


def test_a_job_of_another_command_is_over_first(fake, workdir):
    run(workdir, [0, 1])
    fake.queue((1, "RUNNING"))
    submitted = []

    def show():
        submitted.append(len(fake.asked("sbatch")))
        fake.queue()

    run(workdir, [0, 1], show=show, command="sample")
    assert submitted == [1]
    assert fake.asked("sbatch")[1][1:] == ["--array=0-1", str(workdir / "slurm" / "sample.sbatch")]


def test_a_job_with_our_id_but_another_script_is_not_ours(fake, workdir):
    run(workdir, [0])
    fake.queue((0, "RUNNING"), script="/elsewhere/train.sbatch")
    assert slurm.states(workdir) == {}
    run(workdir, [0])
    assert len(fake.asked("sbatch")) == 2


def test_one_of_several_clusters(fake, workdir):
    fake.sets("sbatch", "12;north\n")
    run(workdir, [0])
    assert "--clusters=north" in fake.asked("squeue")[-1]


def test_a_site_that_talks(fake, workdir):
    fake.sets("sbatch", "sbatch: account is chosen for you\n12\n")
    run(workdir, [0])
    assert json.loads((workdir / "slurm" / "job.json").read_text())["jobs"][0]["id"] == "12"


def test_variables_that_would_filter_the_queue_are_dropped(fake, workdir, monkeypatch):
    monkeypatch.setenv("SQUEUE_STATES", "SUSPENDED")
    (fake.folder / "squeue").write_text('#!/bin/bash\necho "$SQUEUE_STATES" >> "$(dirname "$0")/seen"\n')
    run(workdir, [0])
    assert (fake.folder / "seen").read_text().split() == []


@pytest.mark.parametrize("failure", ["Unable to contact slurm controller", "Socket timed out on send/recv operation"])
def test_the_queue_may_be_out_of_reach_for_a_while(fake, workdir, failure):
    looks = []

    def show():
        looks.append(1)
        if len(looks) == 2:
            fake.sets("squeue", errors=f"slurm_load_jobs error: {failure}\n", code=1)
        elif len(looks) == 4:
            fake.queue()

    fake.queue((0, "RUNNING"))
    slurm_patience, slurm._PATIENCE = slurm._PATIENCE, 0.5
    try:
        run(workdir, [0], show=show)
        assert len(looks) >= 4

        fake.sets("squeue", errors=f"slurm_load_jobs error: {failure}\n", code=1)
        assert slurm.states(workdir) == {}
        with pytest.raises(UserError, match=f"{failure}; SLURM goes on with job 12; run the same command again"):
            slurm._wait(slurm._jobs(workdir), nothing)
    finally:
        slurm._PATIENCE = slurm_patience


def test_nothing_is_submitted_where_an_active_job_cannot_be_looked_for(fake, workdir, monkeypatch):
    run(workdir, [0])
    monkeypatch.setattr(slurm, "_TIMEOUT", 0.2)
    (fake.folder / "squeue").write_text("#!/bin/bash\nexec sleep 5\n")
    with pytest.raises(UserError, match=r"squeue: .* timed out"):
        run(workdir, [0])
    assert len(fake.asked("sbatch")) == 1


def test_a_job_that_slurm_has_forgotten_is_over(fake, workdir):
    run(workdir, [0])
    fake.sets("squeue", errors="slurm_load_jobs error: Invalid job id specified\n", code=1)
    run(workdir, [])
    assert slurm.states(workdir) == {}


def test_no_slurm(workdir, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="--executor=slurm: no sbatch here"):
        run(workdir, [0])
    assert slurm.states(workdir) == {}
    files.write_json(workdir / "slurm" / "job.json", {"jobs": []})
    assert slurm.states(workdir) == {}


@pytest.mark.parametrize(
    ("says", "errors", "code", "words"),
    [
        ("", "sbatch: error: invalid partition specified: gpu\n", 1, "invalid partition specified: gpu"),
        ("", "", 3, "exit code 3"),
        ("Submitted batch job\n", "", 0, "Submitted batch job"),
    ],
)
def test_sbatch_refuses(fake, workdir, says, errors, code, words):
    fake.sets("sbatch", says, errors, code)
    with pytest.raises(UserError, match=rf"`sbatch --array=4 --partition=gpu`: .*{words}"):
        run(workdir, [4], "--partition=gpu")
    assert not (workdir / "slurm" / "job.json").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--comment='open", "No closing quotation"),
        ("--array=3", "--array=3 is not for you to set"),
        ("-a 3", "-a is not for you to set"),
        ("--wait", "--wait is not for you to set"),
        ("-W", "-W is not for you to set"),
        ("--wrap=true", "--wrap=true is not for you to set"),
    ],
)
def test_options_that_are_refused(fake, workdir, options, said):
    with pytest.raises(UserError, match=rf"fleet\.sbatch.*{said}"):
        run(workdir, [0], options)


def test_tasks_at_once_may_be_limited(fake, workdir):
    run(workdir, [0, 1, 2], "--array=%2 --wait-all-nodes=1 -A lab")
    assert fake.asked("sbatch")[0][1:-1] == ["--array=0-2%2", "--wait-all-nodes=1", "-A", "lab"]


@pytest.mark.parametrize("content", ["", "[]", '{"jobs": 3}', '{"jobs": [{"id": "12"}]}'])
def test_a_damaged_list_of_jobs(fake, workdir, content):
    files.write_text(workdir / "slurm" / "job.json", content)
    with pytest.raises(UserError, match=r"job\.json: not a list of jobs"):
        run(workdir, [0])
    assert slurm.states(workdir) == {}
    assert fake.asked("sbatch") == []


def test_ctrl_c_leaves_the_job(fake, workdir):
    def stop():
        raise KeyboardInterrupt

    fake.queue((0, "RUNNING"))
    with pytest.raises(UserError, match=r"SLURM goes on with job 12: .*status.*`scancel 12` ends it; run the same"):
        run(workdir, [0], show=stop)
    assert slurm.states(workdir) == {0: "RUNNING"}


def test_ctrl_c_while_submitting_writes_the_job_down(fake, workdir):
    slow = COMMAND.replace("cat $name.says", "sleep 1; cat $name.says")
    (fake.folder / "sbatch").write_text(slow)
    code = (
        "import sys, pathlib; from shadow.fleet import slurm; from shadow.errors import UserError\n"
        "try: slurm.run(pathlib.Path(sys.argv[1]), 'train', [0], '', lambda: None)\n"
        "except UserError as error: print(error)"
    )
    command = [sys.executable, "-c", f"import signal; signal.signal(2, signal.default_int_handler)\n{code}", workdir]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(slurm.__file__).parents[2]) as process:
        while not fake.asked("sbatch"):
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        assert "SLURM goes on with job 12" in process.communicate(timeout=30)[0]
    assert json.loads((workdir / "slurm" / "job.json").read_text())["jobs"][0]["id"] == "12"


def test_sigterm_ends_the_waiting_and_leaves_the_job(fake, workdir, monkeypatch):
    monkeypatch.setattr(worker, "stopping", lambda: True)
    fake.queue((0, "RUNNING"))
    with pytest.raises(Stopped, match="SLURM goes on with job 12"):
        run(workdir, [0])


PYTHON = """#!/bin/bash
printf '%s\\n' "$@" > "$(dirname "$0")/words"
trap 'echo saved; sleep 0.2; exit {stopped}' TERM
touch "$(dirname "$0")/ready"
for i in $(seq {length}); do sleep 0.1; done
exit {code}
"""


@pytest.fixture
def task(fake, workdir, monkeypatch):
    """Runs the script of task 3 of job 12 with a made-up Python; returns its exit code, and what was requeued."""

    def ran(sent=(), code=0, stopped=143, length=100):
        python = fake.folder / "py thon"
        python.write_text(PYTHON.format(code=code, stopped=stopped, length=length if sent else 1))
        python.chmod(0o755)
        monkeypatch.setattr(slurm, "sys", SimpleNamespace(executable=str(python), stderr=sys.stderr))
        run(workdir, [3], "--time=5")
        environment = {**os.environ, "SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "3", "SLURM_JOB_ID": "12"}
        with subprocess.Popen(["bash", workdir / "slurm" / "train.sbatch"], env=environment) as process:
            deadline = time.monotonic() + 20
            while not (fake.folder / "ready").exists():
                assert time.monotonic() < deadline
                time.sleep(0.02)
            for number in sent:
                process.send_signal(number)
                time.sleep(0.05)
            result = process.wait(20)
        (fake.folder / "ready").unlink()
        return result, fake.asked("scontrol")

    return ran


def test_the_script(task, fake, workdir):
    assert task() == (0, [])
    words = (fake.folder / "words").read_text().splitlines()
    assert Path(words[0]).name == "launch.py"
    assert Path(words[0]).exists()
    assert words[1:] == ["train", f"--workdir={workdir}", "--pack=3"]
    lines = (workdir / "slurm" / "train.sbatch").read_text().splitlines()
    assert "--array=PACKS --time=5 THIS_FILE" in lines[1]
    log = str(workdir / "slurm" / "logs").replace("50%", "50%%")
    assert [line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH")] == [
        "--job-name=shadowprint-train",
        f'--output="{log}/%A_%a.txt"',
        "--open-mode=append",
        "--cpus-per-task=3",
        "--requeue",
        "--signal=B:USR1@60",
    ]


@pytest.mark.parametrize("code", [1, 2, 137])
def test_a_failed_task_is_not_requeued(task, code):
    assert task(code=code) == (code, [])


@pytest.mark.parametrize("sent", [[signal.SIGUSR1], [signal.SIGUSR1, signal.SIGTERM], [signal.SIGUSR1] * 3])
def test_a_task_near_its_time_limit_requeues_itself_alone(task, sent):
    assert task(sent) == (143, [["requeue", "12_3"]])


def test_a_task_that_ends_near_its_time_limit_is_not_requeued(task):
    assert task([signal.SIGUSR1], stopped=0) == (0, [])
    assert task([signal.SIGUSR1], stopped=2) == (2, [])


def test_a_task_that_slurm_ends_leaves_the_requeueing_to_it(task):
    assert task([signal.SIGTERM, signal.SIGTERM]) == (143, [])


def test_a_requeue_that_is_refused_is_a_failure(task, fake):
    fake.sets("scontrol", errors="Requested operation is presently disabled\n", code=1)
    assert task([signal.SIGUSR1]) == (1, [["requeue", "12_3"]])

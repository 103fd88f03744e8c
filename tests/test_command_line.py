"""The command line as people try it: help, mistyped commands, `~`, and what `status` says."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from recipes import tiny as tiny_recipe
from tiny_run import LAUNCH, TINY, fails, snapshot

from configs import home
from shadow.config import Config

COMMANDS = """
run status challenge plan train sample images signals fit predict report
inspect convert validate score compare export import
"""
_READ_TABLE = """
import dataclasses, json
from configs import commands, helping, options
rows = []
for command in commands.COMMANDS.values():
    row = {f.name: getattr(command, f.name) for f in dataclasses.fields(command) if f.name != "action"}
    rows.append(row | {"help": helping.explanation(command)})
print(json.dumps(rows))
"""


@pytest.fixture(scope="module")
def table() -> list[dict]:
    """The table of commands, read in a process of its own: benchmarks define flags of the same names."""
    said = subprocess.run([sys.executable, "-c", _READ_TABLE], cwd=LAUNCH.parent, capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    return json.loads(said.stdout)


def test_help_lists_all_commands_with_an_example(launch, table):
    asked = [launch(*words) for words in ((), ("help",), ("--help",))]
    assert [(said.returncode, said.stderr) for said in asked] == [(0, "")] * 3
    assert len({said.stdout for said in asked}) == 1
    lines = asked[0].stdout.splitlines()
    assert [line.split()[0] for line in lines if line.startswith("  ") and line[2] != " "] == COMMANDS.split()
    examples = [line.strip().removeprefix("python launch.py ") for line in lines if "   python launch.py" in line]
    assert examples == [row["example"] for row in table]


def test_help_of_one_command(launch, table):
    for words in (("help", "train"), ("train", "--help")):
        said = launch(*words)
        assert (said.returncode, said.stderr) == (0, "")
        assert said.stdout.strip() == next(row["help"] for row in table if row["name"] == "train")


def test_every_flag_is_explained_and_examples_use_no_other(table):
    for row in table:
        name, *words = shlex.split(row["example"])
        assert name == row["name"]
        for word in words:
            flag, _, value = word.removeprefix("--").partition("=")
            assert value, word
            assert ("config.FIELD" if flag.startswith("config.") else flag) in row["flags"], word
        explained = [line.split()[0] for line in row["help"].splitlines() if line.startswith("  --")]
        assert [line.removeprefix("--") for line in explained if "=" not in line] == row["flags"]
        assert max(map(len, row["help"].splitlines())) <= 160


def test_the_options_named_are_options(table):
    for row in table:
        for field in row["fields"]:
            value = Config()
            for part in field.split("."):
                value = getattr(value, part)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("trian",), "no command 'trian': did you mean `train`?"),
        (("help", "reprot"), "no command 'reprot': did you mean `report`?"),
        (("xyz",), "no command 'xyz': `python launch.py help` lists all of them"),
        (("plan", "runs/demo"), "plan takes no further word: 'runs/demo'"),
        (("score", "--workdir=run"), "--workdir is not for score, which takes --predictions, --truth, --json"),
        (("validate", "--submission=a", "--to=b"), "--to is not for validate"),
        (("export", "--config.seed=1"), "--config.FIELD is not for export"),
        (("status", "--workdir=run", "--reuse=a"), "--reuse is not for status"),
        (("train", "--workdir=run", "--pack=0", "--reuse=a"), "--pack does one pack"),
        (("score",), "--predictions is missing"),
    ],
)
def test_mistakes_are_one_line(launch, tmp_path, words, said):
    assert said in fails(launch(*words, cwd=tmp_path))
    assert not list(tmp_path.iterdir())


def test_home_is_expanded_in_words(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    words = ["launch.py", "compare", "--workdir=~/a", "--to", "~/b", "--checkpoints=~/c@1,d,~/e", "-config=~/f.py:~"]
    words += ["--salt=~/g", "--salt", "~/h", "--truth=x~/i", "~/j", "--workdir=", "--pack=3"]
    expanded = home.expand_words(words)
    assert expanded[2:5] == ["--workdir=/home/me/a", "--to", "/home/me/b"]
    assert expanded[5:7] == ["--checkpoints=/home/me/c@1,d,/home/me/e", "-config=/home/me/f.py:~"]
    assert expanded[7:] == words[7:]


def test_home_is_expanded_in_every_path_of_a_config(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    config = Config()
    config.data.root, config.data.patients = "~/data", "~/data/patients.csv"
    config.challenge.pool, config.challenge.patients = "~/pool", ""
    config.attack.embeddings_from = "~/vectors.npz"
    home.expand_fields(config)
    assert (config.data.root, config.data.patients) == ("/home/me/data", "/home/me/data/patients.csv")
    assert (config.challenge.pool, config.challenge.patients) == ("/home/me/pool", "")
    assert config.attack.embeddings_from == "/home/me/vectors.npz"


def test_home_is_expanded_by_commands(images, tmp_path, environment):
    (tmp_path / "recipe.py").write_text(TINY.read_text())
    words = ("plan", "--config=~/recipe.py", "--workdir", "~/run", "--config.data.root=~/images")
    variables = {**environment, "HOME": str(tmp_path)}
    said = subprocess.run([sys.executable, LAUNCH, *words], env=variables, capture_output=True, text=True)
    assert (said.returncode, said.stderr) == (0, "")
    assert json.loads((tmp_path / "run/config.json").read_text())["config"]["data"]["root"] == str(images)
    words = ("status", "--workdir=~/run")
    said = subprocess.run([sys.executable, LAUNCH, *words], env=variables, capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    assert said.stdout.splitlines()[-2:] == [
        "progress   1 of 6 steps done; the next one is sample",
        "next       python launch.py run '--workdir=~/run'",
    ]


def test_status_of_a_finished_run_says_where_everything_is(tiny, run):
    before = snapshot(run)
    lines = tiny("status", run).stdout.splitlines()
    assert snapshot(run) == before
    assert lines[-5:] == [
        f"predict    done: {run / 'predictions.csv'}, {run / 'submission.csv'}",
        f"report     done: {run / 'report.html'}",
        "progress   7 of 7 steps done",
        f"next       open {run / 'report.html'} in a browser",
        f"then       python launch.py score --predictions={run / 'predictions.csv'} "
        f"--truth={run / 'challenge/sealed/truth.csv'}",
    ]


def test_status_says_the_next_command_and_which_results_are_old(tiny, launch, run, tmp_path):
    shutil.rmtree(run / "signals")
    lines = tiny("status", run, "--config.attack.ridge=2.0").stdout.splitlines()
    old = f"{run / 'predictions.csv'}, {run / 'submission.csv'}"
    assert f"predict    not yet; of other options or other shadows: {old}" in lines
    assert lines[-2] == "progress   3 of 7 steps done; the next one is signals"
    assert lines[-1] == f"next       python launch.py run --config={TINY} --workdir={run} --config.attack.ridge=2.0"
    again = launch(*shlex.split(lines[-1])[3:])  # what it says does what it says
    assert (again.returncode, again.stderr) == (0, "")
    assert "not yet" not in launch("status", f"--workdir={run}").stdout
    new = tiny("status", tmp_path / "new").stdout.splitlines()
    assert new[0] == f"{tmp_path / 'new'} holds no run yet"
    assert new[-2] == "progress   0 of 7 steps done; the next one is challenge"


def test_a_config_without_paths_is_left_alone():
    config = tiny_recipe.get_config()
    home.expand_fields(config)
    assert config == tiny_recipe.get_config()
    assert Path(os.path.expanduser("~")).is_absolute()

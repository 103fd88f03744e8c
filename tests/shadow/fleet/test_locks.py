"""Locks, also on file systems that have none."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys

import filelock
import pytest

from shadow.errors import UserError
from shadow.fleet import locks

HOLDER = "import filelock, sys; held = filelock.SoftFileLock(sys.argv[1]).acquire(); print(1, flush=True); input()"


def without_locks(monkeypatch, code):
    def refuse(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)


@pytest.fixture
def logged(monkeypatch):
    lines = []
    monkeypatch.setattr(locks.logging, "warning", lambda text, *values: lines.append(text % values))
    locks._warn.cache_clear()
    return lines


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EIO, errno.ESTALE])
def test_a_marker_stands_in_where_the_file_system_has_no_locks(tmp_path, monkeypatch, logged, code):
    without_locks(monkeypatch, code)
    path = tmp_path / ".lock"
    for _ in range(2):
        with locks.patient_lock(path, "busy"):
            with pytest.raises(filelock.Timeout):
                locks.Lock(path, timeout=0).acquire()
            assert (tmp_path / ".held.lock").exists()
        assert not (tmp_path / ".held.lock").exists()
    (line,) = logged
    assert str(tmp_path) in line
    assert ".held.*" in line


def test_the_marker_of_a_killed_process_is_passed_over(tmp_path, monkeypatch, logged):
    path = tmp_path / ".pack0003.lock"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([sys.executable, "-c", HOLDER, locks.Lock(path).marker], text=True, **pipes) as holder:
        assert holder.stdout.readline() == "1\n"
        without_locks(monkeypatch, errno.ENOLCK)
        with pytest.raises(filelock.Timeout):
            locks.Lock(path, timeout=0).acquire()
        holder.kill()
        holder.wait()
    with locks.Lock(path, timeout=5).acquire():
        assert (tmp_path / ".held.pack0003.lock").exists()


def test_who_is_in_the_way_can_be_removed_by_hand(tmp_path, monkeypatch, logged):
    """Whether a process on another machine lives cannot be seen from here."""
    without_locks(monkeypatch, errno.ENOLCK)
    (tmp_path / ".held.lock").write_text("4711\nelsewhere\n")
    monkeypatch.setattr(locks, "_PATIENCE", 0.1)
    with pytest.raises(UserError, match=r"^busy; if its machine is gone, remove .*/\.held\.lock$"):
        locks.patient_lock(tmp_path / ".lock", "busy")


def test_where_nothing_can_be_written_the_folder_is_named(tmp_path, monkeypatch, logged):
    without_locks(monkeypatch, errno.EIO)

    def refuse(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(filelock.SoftFileLock, "acquire", refuse)
    with pytest.raises(UserError, match=rf"^{tmp_path}: no lock can be had there .*--workdir on another disk$"):
        locks.patient_lock(tmp_path / ".lock", "busy")


def test_other_errors_are_not_taken_for_a_file_system_without_locks(tmp_path, monkeypatch):
    without_locks(monkeypatch, errno.ENOSPC)
    with pytest.raises(OSError, match="No space left"):
        locks.Lock(tmp_path / ".lock", timeout=0).acquire()

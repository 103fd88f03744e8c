"""Event files of TensorBoard against metrics.jsonl."""

import struct
import time

import pytest
from tensorboardX.proto import event_pb2
from tiny_training import Killed, folders, kill_at, make, rows

from shadow.training import train


def events(folder):
    """{step: {name: value}} of all event files of a generator, without what was purged, and how often each came."""
    found, seen = {}, []
    for path in sorted((folder / "tensorboard").iterdir()):
        content = path.read_bytes()
        while content:  # length, its checksum, an Event, its checksum
            (length,) = struct.unpack("<Q", content[:8])
            event = event_pb2.Event.FromString(content[12 : 12 + length])
            content = content[16 + length :]
            if event.session_log.status == event_pb2.SessionLog.START:
                found = {step: values for step, values in found.items() if step < event.step}
            for value in event.summary.value:
                seen.append((event.step, value.tag))
                assert value.tag not in found.setdefault(event.step, {}), "twice, and not purged"
                found[event.step][value.tag] = value.simple_value
    return found, seen


def as_scalars(row):
    """A row of metrics.jsonl as TensorBoard is to show it."""
    flat = {}
    for name, value in row.items():
        if isinstance(value, list):
            flat |= {f"{name}/t_{share}": at for share, at in zip((0.05, 0.2, 0.5), value, strict=True)}
        elif name != "step" and value is not None:
            flat[name] = value
    return flat


def agree(folder):
    found, seen = events(folder)
    assert [*found] == [row["step"] for row in rows(folder)]
    for row in rows(folder):
        assert found[row["step"]] == pytest.approx(as_scalars(row), rel=1e-6)
    return found, seen


def test_tensorboard_shows_the_metrics(tmp_path):
    where = folders(tmp_path)
    train.train_pack(make(), where, (), tensorboard=True)
    for folder in where:
        found, seen = agree(folder)
        assert len(seen) == len(set(seen))
        assert {"loss", "gradient_norm", "images", "images_per_second"} == {*found[2]}
        assert {"loss_in/t_0.05", "loss_out/t_0.5"} <= {*found[3]}


def test_tensorboard_after_a_kill(tmp_path):
    """Rows after the restored step are purged and written again."""
    where = folders(tmp_path)
    with pytest.raises(Killed):
        train.train_pack(make(), where, (), kill_at(4), tensorboard=True)
    time.sleep(1.1)  # event files are named by the second
    train.train_pack(make(), where, (), tensorboard=True)
    for folder in where:
        _, seen = agree(folder)
        assert {step for step, _ in seen if seen.count((step, "loss")) > 1} == {4}


def test_no_event_files_unless_asked_for(straight):
    assert sorted(path.name for path in straight[0][0].iterdir()) == ["checkpoints", "metrics.jsonl"]
